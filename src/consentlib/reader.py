"""What the ledger holds about a person, now or at an earlier state, for the rules to judge."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterable, Mapping, Sequence
from typing import NamedTuple, Protocol

from consentlib.damage import ReadingRows
from consentlib.events import NOBODY
from consentlib.facts import upcast
from consentlib.fold import SCOPE_KINDS, Book, Fold, Known, Order, Stop, refold
from consentlib.log import Entry
from consentlib.log.leaf import parse_leaf
from consentlib.policy.model import Policy
from consentlib.rules import Holdings, Texts
from consentlib.rules.consent import LOST
from consentlib.store.protocol import Head, Life, Suppression


class Rows(Protocol):
    """What answering needs of a store's view, or of anything else that holds a log's read models. Methods as in `View`."""

    def lives_by_id(self, ids: Sequence[str]) -> tuple[Life, ...]: ...

    def orders(self, ids: Sequence[str], order: str | None = None) -> tuple[tuple[str, Order], ...]: ...

    def suppression(self, key: bytes) -> Suppression | None: ...

    def about(self, id: str) -> tuple[int, ...]: ...

    def entries_at(self, indices: Iterable[int]) -> Mapping[int, Entry]: ...


class Limit(NamedTuple):
    """How much of the log counts: entries below `size`, recorded at `time` or earlier."""

    size: int
    time: int | None = None

    def admits(self, entry: Known) -> bool:
        return entry.index < self.size and (self.time is None or entry.time <= self.time)


class Scope(NamedTuple):
    """Policy and texts as of a log size, with the entries they came from.

    `lost` is a no of everybody, where the log was recovered from a backup without the stops that came after it.
    """

    size: int
    policy: Policy | None
    texts: Texts
    lost: Stop | None = None


def known(entry: Entry) -> Known | None:
    """An entry as rules read it; None where its facts were erased. Raises `VerificationError` where they can't be read."""
    with ReadingRows():
        leaf = parse_leaf(entry.leaf)
        part = entry.parts.get("facts")
        if not isinstance(part, tuple):
            return None
        facts = upcast(leaf.kind, json.loads(part[1]))
        if type(facts["occurred_at"]) is not int:
            raise TypeError
        return Known(entry.index, leaf.t, leaf.kind, facts)


def read_known(view: Rows, indices: Iterable[int], limit: Limit) -> list[Known]:
    """The entries at these indices that count and still have their facts, in order."""
    entries = view.entries_at([index for index in indices if index < limit.size])
    found = [one for _, entry in sorted(entries.items()) if (one := known(entry)) is not None]
    return [one for one in found if limit.admits(one)]


def read_scope(view: Rows, limit: Limit) -> Scope:
    """Policy and texts: those published last, and every text ever held; and whether stops were lost.

    Raises `VerificationError` where one of them can't be read.
    """
    with ReadingRows():
        return _read_scope(view, limit)


def _read_scope(view: Rows, limit: Limit) -> Scope:
    policy, texts, size, lost = None, Texts(), 0, None
    entries = view.entries_at([index for index in view.about(NOBODY) if index < limit.size])
    for index, entry in sorted(entries.items()):
        one = known(entry)
        if one is None or one.kind not in SCOPE_KINDS or not limit.admits(one):
            continue
        size = index + 1
        if one.kind == "policy.published":
            _, data = entry.parts["policy"]  # type: ignore[misc]  # never erasable
            policy = Policy.from_canonical(data)
            texts.add_policy(policy, one.time)
        elif one.kind == "text.published":
            texts.add_published(one.facts, one.time)
        elif not one.facts["journal"]:
            lost = Stop(LOST, one.time, one.index, None, None, None, False)
    return Scope(size, policy, texts, lost)


def suppressed(row: Suppression) -> Fold:
    """What remains of an erased address: that it was erased, and the stops in force then."""
    stops = [Stop(*one) for one in json.loads(row.stops)]
    return Fold(entries=1, stops=stops, erased=row.erased_at)


def simple(life: Life, fold: Fold) -> bool:
    """Whether one row says all: an address without links and without an earlier life."""
    return not fold.links and life.suppressed is None and life.since == 0


def holdings(
    view: Rows,
    head: Head,
    lives: Sequence[Life],
    *,
    suppression: Suppression | None,
    orders: str | bool,
    at: int,
    limit: Limit | None,
    waiting: Callable[[Iterable[bytes]], Fold | None] | None = None,
) -> Holdings:
    """Everything known about the person behind an address.

    `orders` is the id of the one order needed, True for all, False for none. `at` and `limit` in the past fold the entries
    known then afresh; else the stored folds answer. `waiting` gives what the stop journal alone has about keyed addresses.
    """
    if not lives and suppression is None:
        return Holdings(None, verified=head.unverified is None, size=head.size, tip=head.tip)
    if limit is None:
        own, others, reached, stamps = _present(view, lives)
        if all(fold.newest <= at for fold in (own, *others) if fold is not None):
            rows = view.orders(reached, orders if isinstance(orders, str) else None) if orders and reached else ()
            found, elsewhere = _sides(rows, reached)
        else:
            limit = Limit(head.size)
    if limit is not None:
        then = [life for life in lives if life.index < limit.size and life.since <= at]
        own, others, found, elsewhere, reached, stamps = _past(view, then, limit, at)
    kept = [view.suppression(key) for key in stamps]
    rest = tuple(suppressed(row) for row in (*kept, suppression) if row is not None and row.erased_at <= at)
    unrecorded = waiting(life.key for life in view.lives_by_id(reached)) if waiting is not None else None
    return Holdings(
        own,
        (*others, *rest, *((unrecorded,) if unrecorded is not None else ())),
        found,
        verified=head.unverified is None,
        size=head.size if limit is None else limit.size,
        tip=head.tip,
        elsewhere=elsewhere,
    )


_Orders = tuple[Order, ...]


def _sides(rows: Iterable[tuple[str, Order]], reached: Sequence[str]) -> tuple[_Orders, _Orders]:
    """Orders under the address itself, and those under the others reached."""
    rows = list(rows)
    own = tuple(order for owner, order in rows if owner == reached[0]) if reached else ()
    return own, tuple(order for owner, order in rows if owner in reached[1:])


def _present(view: Rows, lives: Sequence[Life]) -> tuple[Fold | None, tuple[Fold, ...], list[str], list[bytes]]:
    """From the stored folds: own, others, all ids reached, and the keys of suppression rows that count."""
    folds = {life.id: Fold.load(life.fold) for life in lives}
    rows = {life.id: life for life in lives}
    reached = _first(lives, folds)
    for one in reached:
        new = [link.other for link in folds[one].links if link.other not in reached]
        missing = [other for other in new if other not in folds]
        for life in view.lives_by_id(missing) if missing else ():
            folds[life.id], rows[life.id] = Fold.load(life.fold), life
        reached += dict.fromkeys(other for other in new if other in folds)
    stamps = [key for one in reached if (key := rows[one].suppressed) is not None]
    own = folds[reached[0]] if reached else None
    return own, tuple(folds[one] for one in reached[1:]), reached, stamps


def linked(view: Rows, lives: Sequence[Life]) -> list[str]:
    """The ids of the person who has an address now: its newest life first, then linked addresses and erased lives."""
    return _present(view, lives)[2]


def has_returned(lives: Sequence[Life]) -> bool:
    """Whether an erased life of the same address comes before the newest, and speaks in it: its stops, its orders."""
    erased = (Fold.load(life.fold).erased is not None for life in lives[:-1])
    return lives[-1].suppressed is not None or any(erased)


def _first(lives: Sequence[Life], folds: dict[str, Fold]) -> list[str]:
    """The newest life, and those before it that ended by erasure: the same person. A released one was somebody else's."""
    if not lives or folds[lives[-1].id].released is not None:
        return []
    earlier = [life.id for life in lives[:-1] if life.id in folds and folds[life.id].erased is not None]
    return [lives[-1].id, *earlier]


def _past(
    view: Rows, lives: Sequence[Life], limit: Limit, at: int
) -> tuple[Fold | None, tuple[Fold, ...], _Orders, _Orders, list[str], list[bytes]]:
    """From the entries known then: own, others, orders here and elsewhere, all ids reached, and the keys of suppression rows
    that count."""
    ids = {life.id for life in lives}
    read: set[str] = set()
    indices: set[int] = set()
    book = Book()
    while ids - read:
        for one in ids - read:
            indices.update(view.about(one))
        read |= ids
        entries = read_known(view, indices, limit)
        book = refold(entries, until=at, only=read)
        ids |= {link.other for fold in book.folds.values() for link in fold.links}
    seen = [life for life in lives if life.id in book.folds]
    reached = _first(seen, book.folds)
    for one in reached:
        reached += [link.other for link in book.folds[one].links if link.other not in reached and link.other in book.folds]
    orders, elsewhere = _sides(((owner, order) for (owner, _), order in book.orders.items()), reached)
    stamps = [life.suppressed for life in lives if life.suppressed is not None]
    own = book.folds[reached[0]] if reached else None
    return own, tuple(book.folds[one] for one in reached[1:]), orders, elsewhere, reached, stamps
