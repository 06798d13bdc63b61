"""What the entries say about an address: a fold, free of policy and of the present time.

An entry reaches this module as its index, recorded time, kind and facts (the pseudonymous part). `apply` changes the folds
and orders of the addresses it names. The same code folds one entry at a time while recording and a whole past afresh when
somebody asks what was known then, so both give the same answer.

Times are milliseconds. Two readings of an entry's times, and no third:

- a stop counts from `min(said, recorded)`;
- everything else keeps what was said and what was recorded; the rules decide how far the two may differ.

A fold does not grow without end: of stops with the same scope the newest stays, of links with the same address the oldest,
messages become gaps, and orders are rows of their own.
"""

import json
from collections.abc import Callable, Container, Iterable, Mapping
from typing import Any, Final, NamedTuple, Self

from consentlib.codec import writer

_RECENT: Final = 4
"""Sends that can still be taken back by a `message.failed`."""

NO_ENTRY: Final = -1
"""In the place of an index, where something is known that is no entry of the log yet."""

SCOPE_KINDS: Final = frozenset({"policy.published", "text.published", "log.recovered"})
"""Kinds that are about the ledger as a whole: which policy and texts hold, and whether stops were lost."""


class Clock(NamedTuple):
    """Messages sent under a grant, by use and channel: the first, the newest few, and the longest gap before those."""

    use: str
    channel: str
    first: int
    gap: int
    recent: list[int]

    def widest_gap(self) -> int:
        """The longest time between two messages in a row."""
        return max([self.gap, *(b - a for a, b in zip(self.recent, self.recent[1:], strict=False))])

    def sent(self, said: int) -> Self:
        """With one more message. One that is older than the newest changes nothing: it can't shorten a known gap."""
        if said <= self.recent[-1]:
            return self
        recent = [*self.recent, said]
        if len(recent) <= _RECENT:
            return self._replace(recent=recent)
        return self._replace(gap=max(self.gap, recent[1] - recent[0]), recent=recent[1:])


class Grant(NamedTuple):
    """A consent as it was given: one act, for uses, channels and controllers."""

    ref: str
    said: int
    recorded: int
    index: int  # type: ignore[assignment]  # hides tuple.index
    uses: list[str]
    channels: list[str]
    controllers: list[str]
    text: str | None
    faults: list[str]
    proven: bool
    verified: bool
    parent: bool
    until: int | None
    partner: str | None
    processors: list[str]
    others: list[str]
    confirmed: int | None = None
    confirmed_recorded: int | None = None
    invalidated: int | None = None
    why: str | None = None
    left: int | None = None
    clocks: list[Clock] = []  # noqa: RUF012  # never changed in place


class Stop(NamedTuple):
    """A no. `uses` None is all; `channels` None is all; `controller` None is all."""

    kind: str
    since: int
    index: int  # type: ignore[assignment]  # hides tuple.index
    uses: list[str] | None
    channels: list[str] | None
    controller: str | None
    limited: bool

    @property
    def scope(self) -> tuple[Any, ...]:
        return (self.kind, self.uses, self.channels, self.controller, self.limited)


class Link(NamedTuple):
    """Another address of the same person."""

    other: str
    index: int  # type: ignore[assignment]  # hides tuple.index


class Campaign(NamedTuple):
    """A part taken in a campaign, and the prize if it was won."""

    name: str
    said: int
    recorded: int
    index: int  # type: ignore[assignment]  # hides tuple.index
    faults: list[str]
    drawn: int | None = None


class Negotiation(NamedTuple):
    """The newest quote asked for, by kind of goods, with the notice about marketing it carried."""

    category: str | None
    said: int
    recorded: int
    index: int  # type: ignore[assignment]  # hides tuple.index
    offered: bool


class Register(NamedTuple):
    """The newest look into a public register."""

    name: str
    said: int
    listed: bool
    index: int  # type: ignore[assignment]  # hides tuple.index


class Order(NamedTuple):
    """A contract and what became of it. Times are None until they happened."""

    order: str
    category: str | None = None
    placed: int | None = None
    recorded: int | None = None
    index: int = NO_ENTRY  # type: ignore[assignment]  # hides tuple.index
    offered: bool = False
    declined: bool = False
    delivered: int | None = None
    cancelled: int | None = None
    closed: int | None = None
    complaint_opened: int | None = None
    complaint_closed: int | None = None
    return_opened: int | None = None
    return_closed: int | None = None


class Fold(NamedTuple):
    """What the entries say about one address in one life (a released or erased address that comes back begins another)."""

    entries: int = 0
    newest: int = 0
    alive: int | None = None
    grants: list[Grant] = []  # noqa: RUF012  # never changed in place
    stops: list[Stop] = []  # noqa: RUF012
    links: list[Link] = []  # noqa: RUF012
    orders: int = 0
    restricted: int | None = None
    lifted: int | None = None
    erased: int | None = None
    released: int | None = None
    inherited: bool = False
    birthdate: str | None = None
    asked: list[int] | None = None
    answered: int | None = None
    campaigns: list[Campaign] = []  # noqa: RUF012
    negotiations: list[Negotiation] = []  # noqa: RUF012
    registers: list[Register] = []  # noqa: RUF012

    def dump(self) -> str:
        """As JSON text, for a store to keep."""
        return _dump(self)

    @classmethod
    def load(cls, text: str) -> Self:
        """From what `dump` gave."""
        row, end = _read(text)
        if end != len(text):
            raise ValueError("expected one JSON text as a fold, found more")
        if row[3]:
            row[3] = [Grant._make([*one[:-1], [Clock(*clock) for clock in one[-1]]]) for one in row[3]]
        for place, of in _PARTS:
            if row[place]:
                row[place] = [of(*one) for one in row[place]]
        return cls(*row)


_PARTS: Final = ((4, Stop), (5, Link), (15, Campaign), (16, Negotiation), (17, Register))
_dump = writer(sort_keys=False)
_read = json.JSONDecoder().raw_decode  # `json.loads` also looks for white space, for as long again


class Known(NamedTuple):
    """An entry as this module reads it."""

    index: int  # type: ignore[assignment]  # hides tuple.index
    time: int
    kind: str
    facts: Mapping[str, Any]


class Book:
    """Folds and orders while entries are applied. Missing ones are begun empty; `changed_*` name what was touched."""

    def __init__(self, folds: Mapping[str, Fold] | None = None, orders: Mapping[tuple[str, str], Order] | None = None) -> None:
        self.folds: dict[str, Fold] = dict(folds or {})
        self.orders: dict[tuple[str, str], Order] = dict(orders or {})
        self.changed_folds: set[str] = set()
        self.changed_orders: set[tuple[str, str]] = set()

    def apply(self, entry: Known, only: Container[str] | None = None, *, later: bool = False) -> None:
        """Let one entry have its effect on every address it names, or on those of `only`.

        `later`: it came after the moment asked about, and has only the effect of what is true whenever it is learned.
        """
        handler = (_TIMELESS if later else _HANDLERS).get(entry.kind)
        for address in about(entry.facts):
            if only is not None and address not in only:
                continue
            fold = self.folds.get(address, _EMPTY)
            alive = _newer(fold.alive, _since(entry)) if entry.kind in _LIFE and not later else fold.alive
            fold = Fold(fold.entries + 1, entry.time, alive, *fold[3:])  # a third of what `_replace` costs, for every entry
            self.folds[address] = handler(self, address, fold, entry) if handler else fold
            self.changed_folds.add(address)

    def order(self, address: str, entry: Known, **changes: Any) -> None:
        """Change, or begin, an order of an address."""
        key = (address, entry.facts["order"])
        before = self.orders.get(key)
        self.orders[key] = Order(key[1], **changes) if before is None else before._replace(**changes)
        self.changed_orders.add(key)


_LIFE: Final = frozenset({"consent.given", "order.placed", "inquiry.received", "campaign.joined"})
"""Kinds that begin a new life after an erasure."""


_FURTHER: Final = ("addresses", "other", "to", "life")


def about(facts: Mapping[str, Any]) -> list[str]:
    """The ids of the addresses that facts name, the subject's first."""
    found = [facts["address"]] if "address" in facts else []
    if facts.keys().isdisjoint(_FURTHER):
        return found
    found += facts.get("addresses", ())
    found += [facts[name] for name in ("other", "to", "life") if name in facts]
    return list(dict.fromkeys(found)) if len(found) > 1 else found


def refold(entries: Iterable[Known], *, until: int | None = None, only: Container[str] | None = None) -> Book:
    """Fold entries afresh, in order; what a correction names is left out.

    With `until`, entries that neither were said nor recorded by then are later ones: what is asked about an earlier moment
    must not be covered by what came later. With `only`, only these addresses are folded.
    """
    entries = list(entries)
    wrong = {entry.facts["corrects"] for entry in entries if entry.kind == "entry.corrected"}
    book = Book()
    for entry in entries:
        if entry.index not in wrong:
            book.apply(entry, only, later=until is not None and _since(entry) > until)
    return book


# One function a kind. Each takes the fold of one address the entry names and gives the new one back.

_Handler = Callable[[Book, str, Fold, Known], Fold]
_HANDLERS: dict[str, _Handler] = {}


def _on(*kinds: str) -> Callable[[_Handler], _Handler]:
    def register(handler: _Handler) -> _Handler:
        _HANDLERS.update(dict.fromkeys(kinds, handler))
        return handler

    return register


def _since(entry: Known) -> int:
    said: int = entry.facts["occurred_at"]
    return min(said, entry.time)


def _newer(old: int | None, new: int) -> int:
    return new if old is None else max(old, new)


@_on("consent.given")
def _given(_: Book, address: str, fold: Fold, entry: Known) -> Fold:
    facts = entry.facts
    grant = Grant(
        ref=facts["ref"],
        said=facts["occurred_at"],
        recorded=entry.time,
        index=entry.index,
        uses=facts.get("uses", []),
        channels=facts.get("channels", []),
        controllers=facts.get("controllers", []),
        text=facts.get("text_version"),
        faults=facts.get("faults", []),
        proven=bool(facts.get("evidence")),
        verified=facts.get("address_verified", False),
        parent=facts.get("given_by") == "parent",
        until=facts.get("valid_until"),
        partner=facts.get("partner"),
        processors=facts.get("processors", []),
        others=[one for one in about(facts) if one != address],
    )
    links = _with_links(fold.links, grant.others, entry)
    return Fold._make((*fold[:3], [*_bounded(fold.grants, grant), grant], fold.stops, links, *fold[6:]))


def _with_links(links: list[Link], others: Iterable[str], entry: Known) -> list[Link]:
    """Of several links with the same address the oldest stays: the rules ask whether there is one, never since when."""
    held = {link.other for link in links}
    return links + [Link(one, entry.index) for one in others if one not in held]


def _bounded(grants: list[Grant], new: Grant) -> list[Grant]:
    """A sign-up that was never confirmed gives way to the next with the same scope, so that repeating it adds nothing."""

    def replaced(old: Grant) -> bool:
        return (
            old.confirmed is None
            and not (old.verified or old.clocks)
            and (old.uses, old.channels, old.controllers, old.text, old.partner)
            == (new.uses, new.channels, new.controllers, new.text, new.partner)
            and old.said <= new.said
        )

    return [old for old in grants if not replaced(old)] if len(grants) >= _MOST_PENDING else grants


_MOST_PENDING: Final = 8


@_on("consent.confirmed")
def _confirmed(_: Book, __: str, fold: Fold, entry: Known) -> Fold:
    said, ref = entry.facts["occurred_at"], entry.facts["ref"]

    def confirm(grant: Grant) -> Grant:
        if grant.ref != ref or (grant.confirmed is not None and grant.confirmed <= said):
            return grant
        return grant._replace(confirmed=said, confirmed_recorded=entry.time)

    return Fold._make((*fold[:3], [confirm(grant) for grant in fold.grants], *fold[4:]))


@_on("consent.invalidated")
def _invalidated(_: Book, __: str, fold: Fold, entry: Known) -> Fold:
    ref, since = entry.facts.get("ref"), _since(entry)
    if ref is None:
        fold = _with_stop(fold, Stop("invalidated", since, entry.index, None, None, None, False))

    def invalidate(grant: Grant) -> Grant:
        hit = grant.ref == ref if ref is not None else grant.said <= since
        if not hit or (grant.invalidated is not None and grant.invalidated <= since):
            return grant
        return grant._replace(invalidated=since, why=entry.facts.get("why"))

    return fold._replace(grants=[invalidate(grant) for grant in fold.grants])


def _with_stop(fold: Fold, stop: Stop) -> Fold:
    kept = [one for one in fold.stops if one.scope != stop.scope]
    same = [one for one in fold.stops if one.scope == stop.scope]
    return fold._replace(stops=[*kept, max([*same, stop], key=lambda one: (one.since, -one.index))])


def _scope(value: Any) -> list[str] | None:
    return None if value is None or value == "all" or "any" in value else value


@_on("consent.withdrawn", "consent.refused")
def _withdrawn(_: Book, __: str, fold: Fold, entry: Known) -> Fold:
    facts = entry.facts
    stop = Stop(
        kind=entry.kind.removeprefix("consent."),
        since=_since(entry),
        index=entry.index,
        uses=_scope(facts.get("uses")),
        channels=_scope(facts.get("channels")),
        controller=facts.get("controller"),
        limited=facts.get("limited", False),
    )
    return _with_stop(fold, stop)


@_on("objection.raised")
def _objected(_: Book, __: str, fold: Fold, entry: Known) -> Fold:
    kind = entry.facts.get("kind", "direct_marketing")
    channels = _scope(entry.facts.get("channels"))
    return _with_stop(fold, Stop(kind, _since(entry), entry.index, None, channels, None, False))


def _declined(fold: Fold, entry: Known) -> Fold:
    """A "no thanks" at checkout is an objection like any other (GDPR 21(3))."""
    if not entry.facts.get("optout_declined"):
        return fold
    return _with_stop(fold, Stop("declined", _since(entry), entry.index, None, None, None, False))


@_on("restriction.set")
def _restricted(_: Book, __: str, fold: Fold, entry: Known) -> Fold:
    return fold._replace(restricted=_newer(fold.restricted, _since(entry)))


@_on("restriction.lifted")
def _lifted(_: Book, __: str, fold: Fold, entry: Known) -> Fold:
    return fold._replace(lifted=_newer(fold.lifted, entry.facts["occurred_at"]))


@_on("erasure.completed", "part.erased")
def _erased(_: Book, __: str, fold: Fold, entry: Known) -> Fold:
    return fold._replace(erased=_newer(fold.erased, _since(entry)))


@_on("identity.released")
def _released(_: Book, address: str, fold: Fold, entry: Known) -> Fold:
    if entry.facts.get("life") == address:
        return fold._replace(inherited=True)
    return fold._replace(released=_since(entry))


@_on("identity.linked")
def _linked(_: Book, address: str, fold: Fold, entry: Known) -> Fold:
    others = [one for one in about(entry.facts) if one != address]
    return fold._replace(links=_with_links(fold.links, others, entry))


@_on("identity.address_changed")
def _moved(book: Book, address: str, fold: Fold, entry: Known) -> Fold:
    """The old address keeps no grant. The new one gets them only where the person said so and verified it."""
    facts = entry.facts
    fold = _linked(book, address, fold, entry)
    if address != facts["address"]:
        return fold
    going = [grant for grant in fold.grants if grant.said <= facts["occurred_at"] and grant.left is None]
    if facts.get("by") == "subject" and facts.get("address_verified", False):
        new = book.folds.get(facts["to"], _EMPTY)
        book.folds[facts["to"]] = new._replace(grants=new.grants + going)
    left = _since(entry)
    return fold._replace(grants=[grant._replace(left=left) if grant in going else grant for grant in fold.grants])


@_on("subject.birthdate")
def _born(_: Book, __: str, fold: Fold, entry: Known) -> Fold:
    return fold._replace(birthdate=entry.facts["date"])


@_on("order.placed")
def _placed(book: Book, address: str, fold: Fold, entry: Known) -> Fold:
    facts = entry.facts
    book.order(
        address,
        entry,
        category=facts.get("product_category"),
        placed=facts["occurred_at"],
        recorded=entry.time,
        index=entry.index,
        offered=facts.get("optout_offered", False),
        declined=facts.get("optout_declined", False),
    )
    return _declined(fold, entry)._replace(orders=fold.orders + 1)


@_on("negotiation.opened")
def _negotiated(_: Book, __: str, fold: Fold, entry: Known) -> Fold:
    facts = entry.facts
    offered = facts.get("optout_offered", False) and not facts.get("optout_declined", False)
    new = Negotiation(facts.get("product_category"), facts["occurred_at"], entry.time, entry.index, offered)
    kept = [one for one in fold.negotiations if one.category != new.category or one.said > new.said]
    return _declined(fold, entry)._replace(negotiations=[*kept, new])


_MOMENTS: Final = {
    "order.delivered": "delivered",
    "order.cancelled": "cancelled",
    "order.closed": "closed",
    "complaint.opened": "complaint_opened",
    "complaint.closed": "complaint_closed",
    "return.opened": "return_opened",
    "return.closed": "return_closed",
}


@_on(*_MOMENTS)
def _order_moved(book: Book, address: str, fold: Fold, entry: Known) -> Fold:
    book.order(address, entry, **{_MOMENTS[entry.kind]: _since(entry)})
    return fold._replace(orders=max(fold.orders, 1))


@_on("inquiry.received")
def _asked(_: Book, __: str, fold: Fold, entry: Known) -> Fold:
    new = [entry.facts["occurred_at"], entry.time, entry.index]
    return fold._replace(asked=new if fold.asked is None or new[0] >= fold.asked[0] else fold.asked)


@_on("inquiry.closed")
def _answered(_: Book, __: str, fold: Fold, entry: Known) -> Fold:
    return fold._replace(answered=_newer(fold.answered, _since(entry)))


@_on("campaign.joined")
def _joined(_: Book, __: str, fold: Fold, entry: Known) -> Fold:
    facts = entry.facts
    before = next((one for one in fold.campaigns if one.name == facts["campaign"]), None)
    drawn = before.drawn if before else None
    new = Campaign(facts["campaign"], facts["occurred_at"], entry.time, entry.index, facts.get("faults", []), drawn)
    return fold._replace(campaigns=[*(one for one in fold.campaigns if one is not before), new])


@_on("prize.drawn")
def _drawn(_: Book, __: str, fold: Fold, entry: Known) -> Fold:
    name, since = entry.facts["campaign"], _since(entry)
    return fold._replace(
        campaigns=[one._replace(drawn=_newer(one.drawn, since)) if one.name == name else one for one in fold.campaigns]
    )


@_on("register.checked")
def _checked(_: Book, __: str, fold: Fold, entry: Known) -> Fold:
    facts = entry.facts
    new = Register(facts["register"], _since(entry), facts["listed"], entry.index)
    same = [one for one in fold.registers if one.name == new.name]
    newest = max([*same, new], key=lambda one: (one.said, one.listed))
    return fold._replace(registers=[*(one for one in fold.registers if one.name != new.name), newest])


@_on("message.sent")
def _sent(_: Book, __: str, fold: Fold, entry: Known) -> Fold:
    use, channel, said = entry.facts["use"], entry.facts.get("channel") or "", _since(entry)

    def feed(grant: Grant) -> Grant:
        if grant.said > said:
            return grant
        for place, clock in enumerate(grant.clocks):
            if clock.use == use and clock.channel == channel:
                return grant._replace(clocks=[*grant.clocks[:place], clock.sent(said), *grant.clocks[place + 1 :]])
        return grant._replace(clocks=[*grant.clocks, Clock(use, channel, said, 0, [said])])

    return fold._replace(grants=[feed(grant) for grant in fold.grants])


@_on("message.failed")
def _failed(_: Book, __: str, fold: Fold, entry: Known) -> Fold:
    use, channel = entry.facts["use"], entry.facts.get("channel") or ""
    said = entry.facts.get("sent", entry.facts["occurred_at"])

    def take_back(grant: Grant) -> Grant:
        clocks = []
        for clock in grant.clocks:
            if clock.use == use and clock.channel == channel:
                recent = [one for one in clock.recent if one != said] if "sent" in entry.facts else clock.recent[:-1]
                if not recent:
                    continue
                clock = clock._replace(recent=recent, first=recent[0] if clock.first == said else clock.first)
            clocks.append(clock)
        return grant._replace(clocks=clocks)

    return fold._replace(grants=[take_back(grant) for grant in fold.grants])


_TIMELESS: Final[dict[str, _Handler]] = {
    "consent.given": _given,
    "identity.address_changed": _linked,
    "identity.linked": _linked,
    "subject.birthdate": _born,
}
"""What is true whenever it is learned: who is one person, and how old. A grant that is still to come is known as such."""

_EMPTY: Final = Fold()
