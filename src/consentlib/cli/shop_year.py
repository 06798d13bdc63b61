"""A year of a made-up shop: what its customers do, day by day, played into a ledger with a clock that moves.

The same seed plays the same year, ending yesterday. All people and addresses are invented, under domains that nobody can own.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from datetime import UTC, date, datetime, timedelta
from itertools import count, islice
from random import Random
from typing import Final

from attrs import define, field, frozen

from consentlib.events import (
    AddressChanged,
    BirthdateLearned,
    CampaignEnded,
    CampaignJoined,
    ComplaintClosed,
    ComplaintOpened,
    ConsentConfirmed,
    ConsentGiven,
    Event,
    Evidence,
    InquiryClosed,
    InquiryReceived,
    ObjectionRaised,
    OrderClosed,
    OrderDelivered,
    OrderPlaced,
    PrizeDrawn,
)
from consentlib.ledger import Ledger
from consentlib.rules import Message

DAY: Final = 86_400_000
HOUR: Final = 3_600_000
NEWSLETTER: Final = Message(marketing=True, unsubscribe=True, sender_identified=True)
SERVICE: Final = Message(marketing=False, sender_identified=True)
CAMPAIGN: Final = "summer-photo"

ANNA: Final = "anna.holm@mail.example"
BO: Final = "bo.krog@mail.example"
CLARA: Final = "clara.lund@mail.example"
DORTE: Final = "dorte.vang@mail.example"
ERIK: Final = "erik.bang@mail.example"
FREJA_BEFORE: Final = "freja.dahl@mail.example"
FREJA: Final = "freja.dahl@post.example"
GUSTAV: Final = "gustav.friis@mail.example"
HANNE: Final = "hanne.juhl@mail.example"
IB: Final = "ib.moos@mail.example"
CAST: Final = (ANNA, BO, CLARA, DORTE, ERIK, FREJA_BEFORE, FREJA, GUSTAV, HANNE, IB)

_FIRST: Final = ("alma", "asger", "cecilie", "david", "ella", "filip", "ida", "jens", "karla", "maja")
_LAST: Final = ("ager", "bech", "dam", "falk", "gade", "ibsen", "lind", "mose", "ravn", "skov")
_DOMAINS: Final = ("mail.example", "post.example", "inbox.example", "example.org")
_GOODS: Final = ("baby_clothes", "children_clothes", "toys")
_NEWSLETTERS: Final = (80, 170, 260)
"""Days on which the shop sends one during the year."""


@define
class Clock:
    """The moving clock of the ledger, milliseconds."""

    now: int

    def __call__(self) -> int:
        return self.now


@frozen
class Happening:
    """Something at a time: an event to record, or something the shop does."""

    time: int
    what: Event | Callable[[Ledger], object]


@define
class Year:
    """The year: what happens, in order, and who is on the shop's list at its end."""

    start: int
    end: int
    happenings: list[Happening]
    customers: list[str]
    counts: dict[str, int] = field(factory=dict)
    open_order: str = ""
    """An order of Anna's that is still to be delivered."""

    def at(self, day: int, what: Callable[[Ledger], object]) -> int:
        """Let something more happen, at noon of a day of the year. Gives the time."""
        time = self.start + day * DAY + 12 * HOUR
        self.happenings.append(Happening(time, what))
        self.happenings.sort(key=lambda one: one.time)
        return time

    def play(self, ledger: Ledger, clock: Clock, progress: Callable[[int], None] = lambda done: None) -> None:
        """Let it all happen. Events of one day are recorded together; what the shop does is done at its moment."""
        batch: list[Event] = []
        for done, one in enumerate(self.happenings, start=1):
            if batch and (callable(one.what) or one.time // DAY != clock.now // DAY):
                ledger.record_many(batch)
                batch = []
            clock.now = one.time
            if callable(one.what):
                one.what(ledger)
            else:
                batch.append(one.what)
            progress(done)
        if batch:
            ledger.record_many(batch)
        clock.now = self.end


def begin(today: date) -> tuple[int, int]:
    """The year that ends with the day before `today`: first and last moment in milliseconds."""
    midnight = datetime(today.year, today.month, today.day, tzinfo=UTC)
    start = midnight - timedelta(days=364)
    return int(start.timestamp()) * 1000, int(midnight.timestamp()) * 1000 - HOUR


def write_year(customers: int, *, today: date, seed: int = 2026) -> Year:
    """The year of a shop with so many customers besides the cast."""
    start, end = begin(today)
    random = Random(seed)
    year = Year(start, end, [], [])
    story = _Story(year, random)
    for address in islice(_names(random), customers):
        story.customer(address)
    story.cast()
    story.shop()
    year.happenings.sort(key=lambda one: one.time)
    year.happenings = [one for one in year.happenings if one.time <= end]
    year.customers += CAST
    return year


def _names(random: Random) -> Iterator[str]:
    for number in count(1):
        yield f"{random.choice(_FIRST)}.{random.choice(_LAST)}.{number}@{random.choice(_DOMAINS)}"


class _Story:
    """Writes happenings into a year."""

    def __init__(self, year: Year, random: Random) -> None:
        self._year = year
        self._random = random
        self._orders = 0
        self._signups = 0

    def at(self, time: int, what: Event | Callable[[Ledger], object], kind: str) -> None:
        """Let something happen, and count it unless it is after the end of the year."""
        if time <= self._year.end:
            self._year.happenings.append(Happening(time, what))
            self._year.counts[kind] = self._year.counts.get(kind, 0) + 1

    def day(self, number: int, hour: int = 10) -> int:
        """A moment of the year: day from 0, hour of the day."""
        return self._year.start + number * DAY + hour * HOUR

    def customer(self, address: str) -> None:
        """One customer's year."""
        random = self._random
        self._year.customers.append(address)
        joined = self.day(random.randrange(0, 330), random.randrange(7, 22)) + random.randrange(HOUR)
        for _ in range(random.choice((0, 1, 1, 1, 2, 3))):
            self.order(address, joined + random.randrange(120) * DAY, declined=random.random() < 0.2)
        if random.random() < 0.45:
            form = random.choice(("footer", "footer", "checkout"))
            self.sign_up(address, joined, form, confirmed=random.random() < 0.85)
            if random.random() < 0.2:
                via = random.choice(("unsubscribe_link", "unsubscribe_link", "list_unsubscribe_post"))
                self.unsubscribe(address, joined + random.randrange(20, 200) * DAY, via)
        if random.random() < 0.08:
            self.join(address, self.day(random.randrange(180, 210)))
        if random.random() < 0.05:
            self.inquiry(address, joined + 3 * DAY)
        if random.random() < 0.01:
            self.object_to_marketing(address, joined + random.randrange(5, 90) * DAY)

    def order(self, address: str, time: int, *, declined: bool = False, delivered: bool = True) -> str:
        """An order, delivered a few days later, rarely complained about. Gives its number."""
        self._orders += 1
        order = f"order-{self._orders}"
        goods = self._random.choice(_GOODS)
        placed = OrderPlaced(
            address, order=order, product_category=goods, optout_offered=True, optout_declined=declined, occurred_at=time
        )
        self.at(time, placed, "orders with no thanks at checkout" if declined else "orders")
        if delivered:
            arrived = time + self._random.randrange(2, 7) * DAY
            self.at(arrived, OrderDelivered(address, order=order, occurred_at=arrived), "deliveries")
            if self._random.random() < 0.03:
                opened = arrived + 9 * DAY
                self.at(opened, ComplaintOpened(address, order=order, occurred_at=opened), "complaints")
                closed = opened + 4 * DAY
                self.at(closed, ComplaintClosed(address, order=order, occurred_at=closed), "complaints settled")
            closed = arrived + 30 * DAY
            self.at(closed, OrderClosed(address, order=order, occurred_at=closed), "orders settled")
        return order

    def sign_up(self, address: str, time: int, form: str, *, confirmed: bool) -> None:
        """A sign-up on a form of the policy and, where the person answers the mail, its confirmation."""
        self._signups += 1
        ref = f"signup-{self._signups}"
        held = Evidence(ip=f"192.0.2.{self._signups % 250 + 1}", url=f"https://littlesteps.example/{form}")
        self.at(time, ConsentGiven(address, form=form, ref=ref, evidence=held, occurred_at=time), "sign-ups")
        if confirmed:
            answered = time + self._random.randrange(1, 40) * HOUR
            held = Evidence(ip=f"192.0.2.{self._signups % 250 + 1}", reference=f"confirmation mail {ref}")
            self.at(answered, ConsentConfirmed(address, ref=ref, evidence=held, occurred_at=answered), "confirmations")

    def unsubscribe(self, address: str, time: int, via: str) -> None:
        """A no to all marketing."""
        kind = "unsubscribed by mail client" if via == "list_unsubscribe_post" else "unsubscribed by link"
        self.at(time, lambda ledger: ledger.withdraw(address, via=via, occurred_at=time), kind)

    def object_to_marketing(self, address: str, time: int) -> None:
        """An objection (GDPR 21(2)), in the person's words."""
        said = ObjectionRaised(address, via="reply", text="Please stop writing to me.", occurred_at=time)
        self.at(time, said, "objections")

    def join(self, address: str, time: int) -> None:
        """Taking part in the campaign."""
        self.at(time, CampaignJoined(address, campaign=CAMPAIGN, form="campaign", occurred_at=time), "campaign entries")

    def inquiry(self, address: str, time: int) -> None:
        """A question and its answer."""
        self.at(time, InquiryReceived(address, occurred_at=time), "questions")
        self.at(time + DAY, InquiryClosed(address, occurred_at=time + DAY), "questions answered")

    def cast(self) -> None:
        """The people the demo speaks of."""
        self.sign_up(ANNA, self.day(40), "checkout", confirmed=True)
        self.order(ANNA, self.day(40))
        self._year.open_order = self.order(ANNA, self.day(361), delivered=False)
        self.unsubscribe(ANNA, self.day(362), "unsubscribe_link")

        self.sign_up(BO, self.day(200), "footer", confirmed=False)

        born = datetime.fromtimestamp(self._year.end / 1000, UTC).date().replace(day=1)
        self.at(self.day(220), BirthdateLearned(CLARA, date=born.replace(year=born.year - 12)), "birth dates")
        self.sign_up(CLARA, self.day(220, 11), "footer", confirmed=True)

        self.order(DORTE, self.day(300), declined=True)

        self.sign_up(ERIK, self.day(30), "footer", confirmed=True)
        self.order(ERIK, self.day(31))
        self.at(self.day(250), lambda ledger: ledger.erase(ERIK, reason="art17", by="customer-service"), "erasures")

        self.sign_up(FREJA_BEFORE, self.day(60), "footer", confirmed=True)
        moved = self.day(280)
        change = AddressChanged(FREJA_BEFORE, to=FREJA, by="subject", address_verified=True, occurred_at=moved)
        self.at(moved, change, "changed addresses")

        self.sign_up(GUSTAV, self.day(90), "footer", confirmed=True)
        self.object_to_marketing(GUSTAV, self.day(320))

        self.order(HANNE, self.day(150))
        self.join(HANNE, self.day(190))

        self.sign_up(IB, self.day(110), "checkout", confirmed=True)
        self.unsubscribe(IB, self.day(171), "list_unsubscribe_post")

    def shop(self) -> None:
        """What the shop does: newsletters, and the campaign's end."""
        everybody = self._year.customers
        for number in _NEWSLETTERS:
            self.at(self.day(number, 9), lambda ledger: _send(ledger, everybody), "newsletters")
        self.at(self.day(345), CampaignEnded(campaign=CAMPAIGN, occurred_at=self.day(345)), "campaigns ended")
        self.at(self.day(350), PrizeDrawn(HANNE, campaign=CAMPAIGN, occurred_at=self.day(350)), "prizes drawn")


def _send(ledger: Ledger, customers: list[str]) -> None:
    for _ in ledger.permits(customers, use="marketing_newsletter", channel="email", message=NEWSLETTER):
        pass  # the shop's mail server would take it here
