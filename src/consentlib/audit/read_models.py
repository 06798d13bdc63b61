"""Comparing what checks read with what the log says: folds, orders and event ids are kept beside the log, not in it."""

from __future__ import annotations

import json
from typing import Any

from consentlib.addresses import address_key
from consentlib.errors import VerificationError
from consentlib.events import NOBODY
from consentlib.fold import SCOPE_KINDS, Book, Fold, Known, about, refold
from consentlib.keys import Keys
from consentlib.log import Entry, leaf_hash, parse_leaf
from consentlib.log.merkle import extend
from consentlib.reader import known
from consentlib.store.protocol import Life, View


def verify_read_models(view: View, keys: Keys) -> None:
    """Compare the rows that checks read with a fresh reading of the log, which must have verified.

    Each address's fold and orders, its key while its address is there, which entries are about it, each event id and the
    nodes of the tree. Raises `VerificationError` (level `read_models`) at the first that differs. Memory
    does not grow with the log, only with the entries about one person.
    """
    named, found, frontier = 0, 0, b""
    for entry in view.entries():
        named += _check_entry(view, entry)
        frontier, nodes = extend(frontier, entry.index, leaf_hash(entry.leaf))
        for level, position, value in ((0, entry.index, leaf_hash(entry.leaf)), *nodes):
            if _node(view, level, position) != value:
                raise _wrong("tree", entry.index, expected=(level, position, value))
    for life in view.all_lives():
        entries = _read_about(view, life.id)
        found += len(entries)
        _check_life(view, life, entries, keys)
    nobody, head = view.about(NOBODY), view.head()
    if named != found + len(nobody):
        raise _wrong("entries by address", None, expected=named, found=found + len(nobody))
    scope = max((index + 1 for index in nobody if _kind(view, index) in SCOPE_KINDS), default=0)
    if scope != head.scope:
        raise _wrong("size at which policy or texts changed", None, expected=scope, found=head.scope)


def _node(view: View, level: int, position: int) -> bytes | None:
    try:
        return view.node(level, position)
    except KeyError:
        return None


def _check_entry(view: View, entry: Entry) -> int:
    """The number of addresses that an entry is about and that have a life; nobody counts for one."""
    one = known(entry)
    if one is None:
        return 0
    for name in {"event_id", "line"} & one.facts.keys():
        row = view.event(bytes.fromhex(one.facts[name]))
        if row is None or row.index != one.index or not row.digest:
            raise _wrong("event id", one.index, leaf=entry.leaf, row=row)
    ids = about(one.facts)
    return len(view.lives_by_id(ids)) if ids else 1


def _kind(view: View, index: int) -> str | None:
    entry = view.entry(index)
    return None if entry is None else parse_leaf(entry.leaf).kind


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
    introduced = view.entry(life.index)
    person = introduced.parts.get("person") if introduced is not None else None
    if isinstance(person, tuple):
        normal = json.loads(person[1]).get("addresses", {}).get(life.id)
        if normal is None or address_key(keys.address, normal) != life.key:
            raise _wrong("key of an address", life.index, leaf=introduced and introduced.leaf)


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
