"""Comparing what checks read with what the log says: folds, orders and event ids are kept beside the log, not in it."""

from __future__ import annotations

import json
from bisect import bisect_left
from collections.abc import Callable, Container
from functools import lru_cache
from typing import Any, Final

from consentlib.addresses import address_key
from consentlib.errors import VerificationError
from consentlib.events import NOBODY
from consentlib.fold import SCOPE_KINDS, Book, Fold, Known, about, refold
from consentlib.keys import Keys
from consentlib.log import NEVER_ERASED, Entry, leaf_hash, parse_leaf
from consentlib.log.merkle import extend
from consentlib.reader import known
from consentlib.store.protocol import Life, Suppression, View

_PEOPLE: Final = 1_000
"""Of so many addresses the lists of their entries stay at hand: the entries about one often come close together."""


def verify_read_models(view: View, keys: Keys) -> None:
    """Compare the rows that checks read with a fresh reading of the log, which must have verified.

    Which entries are about each address and which about nobody; that each address has its row, with its fold, its orders and
    the entry and time it begins with, and while its address is in the log also its key and the erasure before it; each event
    id; the nodes of the tree; that each row of an erased address is from an erasure. Which stops such a row must hold, and
    which erased addresses must have one, the log does not tell. Raises `VerificationError` (level `read_models`) at the first
    that differs. Memory does not grow with the log, only with the entries about one person or about nobody.
    """
    found_by, nobody = lru_cache(_PEOPLE)(view.about), set(view.about(NOBODY))
    scope, frontier = 0, b""
    for entry in view.entries():
        one = known(entry)
        if (one is not None and not about(one.facts)) != (entry.index in nobody):
            raise _wrong("entries about nobody", entry.index, leaf=entry.leaf)
        nobody.discard(entry.index)
        if one is not None:
            _check_entry(view, one, _introduced(entry), found_by)
            scope = one.index + 1 if one.kind in SCOPE_KINDS else scope
        frontier, nodes = extend(frontier, entry.index, leaf_hash(entry.leaf))
        for level, position, value in ((0, entry.index, leaf_hash(entry.leaf)), *nodes):
            if _node(view, level, position) != value:
                raise _wrong("tree", entry.index, expected=(level, position, value))
    if nobody:
        raise _wrong("entries about nobody", min(nobody))
    if scope != view.head().scope:
        raise _wrong("size at which policy or texts changed", None, expected=scope, found=view.head().scope)
    for life in view.all_lives():
        _check_life(view, life, _read_about(view, life.id), keys)
    for row in view.all_suppressions():
        _check_suppression(view, row)


def _node(view: View, level: int, position: int) -> bytes | None:
    try:
        return view.node(level, position)
    except KeyError:
        return None


def _introduced(entry: Entry) -> dict[str, str]:
    """The addresses that an entry introduces, id to key form, while they are in it."""
    person = entry.parts.get("person")
    found: dict[str, str] = json.loads(person[1]).get("addresses", {}) if isinstance(person, tuple) else {}
    return found


def _check_entry(view: View, one: Known, begun: Container[str], found_by: Callable[[str], tuple[int, ...]]) -> None:
    """The event id of an entry is there, and so are the addresses that it names; they find it, and begin with it if `begun`."""
    for name in {"event_id", "line"} & one.facts.keys():
        row = view.event(bytes.fromhex(one.facts[name]))
        if row is None or row.index != one.index or not row.digest:
            raise _wrong("event id", one.index, row=row)
    ids = about(one.facts)
    lives = view.lives_by_id(ids) if ids else ()
    if len(lives) < len(ids) and one.kind not in NEVER_ERASED:  # an erasure goes on naming whom a later one left nothing of
        raise _wrong("address", one.index, expected=ids, found=[life.id for life in lives])
    if not all(one.index in found_by(life.id) for life in lives):
        raise _wrong("entries by address", one.index, expected=ids)
    if any(life.index != one.index for life in lives if life.id in begun):
        raise _wrong("entry that introduced an address", one.index, expected=one.index)


def _read_about(view: View, id: str) -> list[Known]:
    """The entries that a store says are about an address: each must say so too."""
    found = []
    indices = view.about(id)
    entries = view.entries_at(indices)
    for index in indices:
        entry = entries.get(index)
        one = known(entry) if entry is not None else None
        if one is None or id not in about(one.facts):
            raise _wrong("entries by address", index, entry=entry)
        found.append(one)
    return found


def _check_life(view: View, life: Life, entries: list[Known], keys: Keys) -> None:
    book = _fold_with_linked(view, life.id, entries)
    fresh = book.folds.get(life.id, Fold())
    if life.fold != fresh.dump():
        raise _wrong("fold", life.index, expected=fresh.dump(), found=life.fold)
    orders = {order.order: order for _, order in view.orders([life.id])}
    wanted = {order.order: order for (owner, _), order in book.orders.items() if owner == life.id}
    if orders != wanted:
        raise _wrong("orders", life.index, expected=wanted, found=orders)
    _check_beginning(view, life, entries, keys)


def _check_beginning(view: View, life: Life, entries: list[Known], keys: Keys) -> None:
    """The entry that introduced an address, which may have lost its parts since, against what its row says of it."""
    entry = view.entry(life.index)
    one = known(entry) if entry is not None else None
    first = entries[0].index if entries else None
    if entry is None or first is None or first < life.index or (one is not None and first != life.index):
        raise _wrong("entry that introduced an address", life.index, expected=first)
    time = parse_leaf(entry.leaf).t
    if one is None:
        begins = life.since <= time
    else:  # the first life holds all that was ever said; others may have been there, and be forgotten
        alone = life.since == 0 and view.lives(life.key)[0].id == life.id
        begins = alone or life.since == min(one.facts["occurred_at"], time)
    if not begins:
        raise _wrong("time that a life begins with", life.index, found=life.since)
    normal, stamp = _introduced(entry).get(life.id), life.suppressed
    if normal is not None:
        if address_key(keys.address, normal) != life.key:
            raise _wrong("key of an address", life.index, leaf=entry.leaf)
        stamp = address_key(keys.suppression, normal)
    row = view.suppression(stamp) if stamp is not None else None
    erased = row is not None and (life.suppressed is not None or row.erased_at < time)
    if life.suppressed != (stamp if erased else None):
        raise _wrong("earlier erasure of an address", life.index, leaf=entry.leaf, row=row)


def _check_suppression(view: View, row: Suppression) -> None:
    """A row of an erased address is from a moment at which the log says that something was erased."""
    size = view.head().size
    start = bisect_left(range(size), row.erased_at, key=lambda index: next(view.kinds(index, index + 1))[1])
    for _, time, kind in view.kinds(start):
        if time != row.erased_at:
            break
        if kind == "part.erased":
            return
    raise _wrong("time of an erasure", None, row=row)


def _fold_with_linked(view: View, id: str, entries: list[Known]) -> Book:
    """The fold of an address and of all it is linked with: a change of address moves grants from one to the other."""
    found = {one.index: one for one in entries}
    ids = [id]
    for one in ids:
        own = entries if one == id else _read_about(view, one)
        found |= {entry.index: entry for entry in own}
        links = refold(own, only={one}).folds.get(one, Fold()).links
        ids += dict.fromkeys(link.other for link in links if link.other not in ids)
    return refold([found[index] for index in sorted(found)], only=set(ids))


def _wrong(what: str, index: int | None, **evidence: Any) -> VerificationError:
    place = "" if index is None else f", at entry `{index}`"
    problem = f"expected the stored {what} to be what the log says, found another{place}"
    return VerificationError(problem, level="read_models", index=index, **evidence)
