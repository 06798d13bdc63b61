"""A request together with everything the rules may read to answer it."""

from __future__ import annotations

from collections.abc import Mapping
from datetime import UTC, date, datetime, time, timedelta
from typing import Any, Final, NamedTuple

from consentlib.fold import Fold, Order, Stop
from consentlib.policy.model import Policy, Use
from consentlib.rules.decision import Holdings, Request

DAY: Final = 86_400_000


class Texts:
    """The consent texts the ledger holds, and from when a material change superseded each, by use.

    A text held once stays held: later policies add to the book, they take nothing out of it.
    """

    def __init__(self) -> None:
        self.uses: dict[str, frozenset[str]] = {}
        self.hashes: dict[str, str] = {}
        self._changes: list[tuple[str, str, frozenset[str], int]] = []
        self._superseded: dict[str, dict[str, int]] = {}

    def add_policy(self, policy: Policy, since: int) -> None:
        """The texts of a policy that came into force at `since` (milliseconds)."""
        for text in policy.texts.values():
            if text.version in self.uses:
                continue
            self.uses[text.version] = text.uses
            self.hashes[text.version] = text.hash
            if text.supersedes is not None:
                changed = text.uses if text.material else frozenset()
                self._add(text.supersedes, text.version, changed, since if text.published is None else text.published)

    def add_published(self, facts: Mapping[str, Any], recorded: int) -> None:
        """The facts of a `text.published` entry."""
        if "supersedes" in facts:
            changed = frozenset(facts.get("uses", ())) if facts.get("material") else frozenset()
            self._add(facts["supersedes"], facts["text_version"], changed, min(facts["occurred_at"], recorded))

    def superseded(self, text: str, use: str) -> int | None:
        """From when a material change ends consents to `use` given on `text`; None where none does."""
        ended = self._superseded.get(text)
        return None if ended is None else ended.get(use)

    def _add(self, old: str, new: str, uses: frozenset[str], since: int) -> None:
        self._changes.append((old, new, uses, since))
        # A chain of versions passes a material change on to every text before it.
        self._superseded = {}
        for first in {change[0] for change in self._changes}:
            reached, seen = [first], {first}
            ended = self._superseded.setdefault(first, {})
            while reached:
                here = reached.pop()
                for before, after, changed, when in self._changes:
                    if before == here:
                        ended.update({use: min(ended.get(use, when), when) for use in changed})
                        if after not in seen:
                            seen.add(after)
                            reached.append(after)


class Found(NamedTuple):
    """What a rule found: the reason code, the entry and time it rests on, and until when it stays so."""

    reason: str
    index: int | None = None  # type: ignore[assignment]  # hides tuple.index
    said: int | None = None
    until: int | None = None


class Question:
    """One request, the policy it is judged under, and what the ledger holds. Made for one answer and thrown away."""

    __slots__ = (
        "at",
        "birthdate",
        "channel",
        "controller",
        "erased",
        "held",
        "known",
        "message",
        "own",
        "policy",
        "request",
        "skew",
        "stops",
        "texts",
    )

    def __init__(self, policy: Policy, texts: Texts, held: Holdings, request: Request, at: int) -> None:
        self.policy = policy
        self.texts = texts
        self.held = held
        self.request = request
        self.at = at
        self.channel = request.channel
        self.controller = request.controller
        self.message = request.message
        self.skew = policy.parameters.clock_skew_seconds * 1000
        own = held.own
        self.known = own is not None or bool(held.others)
        self.own = own = _NOTHING if own is None else own
        self.stops: list[Stop] = own.stops
        self.erased = own.erased
        self.birthdate = own.birthdate
        if held.others:
            self._join(held.others)
        if held.lost is not None:
            self.stops = [*self.stops, held.lost]

    def _join(self, others: tuple[Fold, ...]) -> None:
        """Stops, erasure and birth date are a person's, whatever address they came by; the stricter counts."""
        folds = (self.own, *others)
        self.stops = [stop for fold in folds for stop in fold.stops]
        self.erased = max((fold.erased for fold in folds if fold.erased is not None), default=None)
        self.birthdate = max((fold.birthdate for fold in folds if fold.birthdate is not None), default=None)

    @property
    def folds(self) -> tuple[Fold, ...]:
        """The folds of all the person's addresses, the one asked about first."""
        return (self.own, *self.held.others)

    def spoke(self, said: int, recorded: int) -> int:
        """When it counts from: what was said, unless a clock was off by no more than the policy's skew."""
        return recorded if recorded < said <= recorded + self.skew else said

    def local_date(self, millis: int) -> date:
        """The calendar date in the profile's zone."""
        return datetime.fromtimestamp(millis / 1000, UTC).astimezone(self.policy.profile.tzinfo).date()

    def day_limit(self, start: int, days: int) -> int:
        """The end of a statutory period of calendar days: the day it starts does not count (Regulation 1182/71 art. 3)."""
        return self.midnight(self.local_date(start) + timedelta(days=days + 1))

    def midnight(self, day: date) -> int:
        """The first moment of a date in the profile's zone."""
        return int(datetime.combine(day, time(), self.policy.profile.tzinfo).timestamp() * 1000)

    def minor_on(self, millis: int) -> bool:
        """Whether the person was under the age of consent of the profile on that day (GDPR 8)."""
        if self.birthdate is None:
            return False
        born, day = date.fromisoformat(self.birthdate), self.local_date(millis)
        age = day.year - born.year - ((day.month, day.day) < (born.month, born.day))
        return age < self.policy.profile.child_age_on(day)

    def restricted(self) -> int | None:
        """Since when the person's data is restricted (GDPR 18); None if it is not."""
        if self.own.restricted is None and not self.held.others:
            return None
        since = None
        for fold in self.folds:
            start = fold.restricted
            if start is not None and start <= self.at:
                lifted = fold.lifted is not None and start < fold.lifted <= self.at
                since = since if lifted else max(start, since or start)
        return since

    def all_orders(self) -> list[Order]:
        """The person's orders, whatever address they were recorded under."""
        found: dict[str, Order] = {}
        for order in (*self.held.orders, *self.held.elsewhere):
            found[order.order] = _merge(found[order.order], order) if order.order in found else order
        return list(found.values())

    def orders(self, *, after_erasure: bool = True, bound: bool = False) -> list[Order]:
        """The orders that were placed by the time asked about; without those an erasure ended, unless they are asked for.

        `bound`: only those placed under the address asked about. What a sale allows is bound to the address given with it.
        """
        here = {order.order for order in self.held.orders if order.placed is not None}
        return [
            order
            for order in self.all_orders()
            if order.placed is not None
            and (not bound or order.order in here)
            and self.spoke(order.placed, order.recorded or 0) <= self.at
            and not (after_erasure and self.erased is not None and order.placed <= self.erased)
        ]

    def had(self, moment: int | None) -> bool:
        """Whether something has happened by the time asked about."""
        return moment is not None and moment <= self.at


_NOTHING: Final = Fold()


def _merge(one: Order, other: Order) -> Order:
    """The same order, known under two addresses of a person."""
    return Order._make(b if a is None or a is False or a == -1 else a for a, b in zip(one, other, strict=True))


def uses_named(policy: Policy, use: Use) -> tuple[str, ...]:
    """The purposes whose consent carries a use: its own, those that carry it, or, for a renewal, those that send messages."""
    if use.renews:
        sends = (one for one in policy.uses.values() if one.marketing and one.declare_marketing and not one.renews)
        return tuple(one.name for one in sends if "consent" in one.grounds)
    return (use.name, *use.carried_by)
