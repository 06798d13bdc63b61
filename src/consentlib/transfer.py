"""Carrying a ledger from one store to another: its entries with their parts, and the rows that checks read.

A target may hold a beginning of the source already, from an earlier time or one that was cut short. Then what is missing is
carried, and what the source has forgotten or erased since goes in the target too. Each step is one transaction, after which
carrying can end and begin again.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator
from itertools import islice
from typing import Any, Final, TypeVar

from consentlib.checkpoints.making import frontier_at
from consentlib.errors import LedgerError
from consentlib.events import NOBODY
from consentlib.fold import about
from consentlib.log import LOST, Entry, encode_leaf, genesis, leaf_hash, parse_leaf
from consentlib.log.merkle import extend_many
from consentlib.reader import known
from consentlib.store.protocol import Changes, Head, NewEntry, Store, Transaction, View

TRANSFER: Final = "transfer"
"""The level named in the mark of a log that is being carried over; no verification lifts it."""

_UNFINISHED: Final = f"{TRANSFER}: expected the whole log to be carried over, found that it was not finished"
_BATCH: Final = 1_000
_T = TypeVar("_T")


class Shown:
    """A view whose entries are as `show` gives them; all else is as it was."""

    def __init__(self, view: View, show: Callable[[Entry], Entry]) -> None:
        self._view = view
        self._show = show

    def __getattr__(self, name: str) -> Any:
        return getattr(self._view, name)

    def entries(self, start: int = 0, stop: int | None = None) -> Iterator[Entry]:
        return map(self._show, self._view.entries(start, stop))


def transfer(source: View, target: Store, *, progress: Callable[[int], None] | None = None) -> list[tuple[int, str]]:
    """Bring a store to what a view shows. It must hold nothing yet, or a beginning of the same log, compared by its tree.

    From the first change on the target is marked until `finished` lifts it: half of a log must allow nothing. The source's
    own mark stays behind.

    Where the target has another origin, each leaf is written anew with that origin and the links that follow from it. Index,
    time, kind and commitments stay, and so do salts and parts: whoever has an old leaf can compare it line by line.
    `progress` is called with the number of entries carried. Gives the parts that were lost with their key, as (index, name):
    they come over as erased, and whoever carries them puts that on record. Raises `LedgerError` for a target that holds
    another log, `StoreUnavailableError`; what was carried by then stays.
    """
    with target.read() as view:
        head = view.head()
    if not _begins(source, head):
        raise LedgerError("expected an empty log or a beginning of the same one to carry entries into, found another")
    begun = head.size > 0
    lost: list[tuple[int, str]] = []
    for entries in _batches(source.entries(head.size)):
        head = _append(source, target, head, entries)
        lost += [(entry.index, name) for entry in entries for name, part in entry.parts.items() if part is LOST]
        if progress is not None:
            progress(head.size)
    if head.scope != source.head().scope:
        head = _apply(target, head, head._replace(scope=source.head().scope))
    _put_rows(source, target, head)
    if begun:
        _forget_rows(source, target, head)
    return lost


def finished(transaction: Transaction) -> None:
    """Lift the mark: everything is there."""
    transaction.apply(Changes(transaction.head()._replace(unverified=None)))


def _begins(source: View, head: Head) -> bool:
    """Whether a log with this head is a beginning of the source."""
    try:
        return frontier_at(source, head.size) == head.frontier
    except KeyError:  # it is longer
        return False


def _append(source: View, target: Store, head: Head, entries: list[Entry]) -> Head:
    """Append a batch, and erase what it says was erased and the target still has."""
    origin = target.meta["origin"]
    tip, time = head.tip if head.size else genesis(origin), head.time
    new = []
    for entry, ids in zip(entries, _about(source, entries), strict=True):
        leaf = parse_leaf(entry.leaf)
        data = encode_leaf(origin, leaf.index, tip, leaf.t, leaf.kind, dict(leaf.parts))
        tip, time = leaf_hash(data), leaf.t
        parts = {name: part if isinstance(part, tuple) else None for name, part in entry.parts.items()}
        new.append(NewEntry(leaf.index, leaf.t, leaf.kind, data, tip, parts, ids))
    frontier, nodes = extend_many(head.frontier, head.size, [one.hash for one in new])
    after = Head(head.size + len(new), tip, time, frontier, head.scope, None)
    with target.read() as held:
        erased = [one for one in _erased(entries) if one[0] < head.size and _holds(held, *one)]
    return _apply(target, head, after, entries=new, nodes=nodes, erase_parts=erased)


def _erased(entries: Iterable[Entry]) -> list[tuple[int, str]]:
    """The parts that these entries say were erased."""
    found = [one for entry in entries if (one := known(entry)) is not None and one.kind == "part.erased"]
    return list(dict.fromkeys((index, name) for one in found for index, name in one.facts["parts"]))


def _holds(view: View, index: int, name: str) -> bool:
    entry = view.entry(index)
    return entry is not None and entry.parts.get(name) is not None


def _put_rows(source: View, target: Store, head: Head) -> None:
    """Rows that the target lacks or has otherwise."""
    for lives in _batches(source.all_lives()):
        ids = [life.id for life in lives]
        with target.read() as held:
            same, orders = set(held.lives_by_id(ids)), set(held.orders(ids))
        new_orders = [one for one in source.orders(ids) if one not in orders]
        _apply(target, head, head, lives=[one for one in lives if one not in same], orders=new_orders)
    for events in _batches(source.all_events()):
        with target.read() as held:
            rows = held.events([one.id for one in events])
        _apply(target, head, head, events=[one for one in events if rows[one.id] != one])
    for suppressions in _batches(source.all_suppressions()):
        with target.read() as held:
            new = [one for one in suppressions if held.suppression(one.key) != one]
        _apply(target, head, head, suppressions=new)


def _forget_rows(source: View, target: Store, head: Head) -> None:
    """Rows that the source has no more."""
    with target.read() as held:
        for lives in _batches(held.all_lives()):
            ids = [life.id for life in lives]
            living = {life.id for life in source.lives_by_id(ids)}
            orders = {(id, order.order) for id, order in source.orders(ids)}
            _apply(
                target,
                head,
                head,
                forget_lives=[id for id in ids if id not in living],
                forget_orders=[key for id, order in held.orders(ids) if (key := (id, order.order)) not in orders],
                forget_about=[(id, index) for id in ids for index in set(held.about(id)).difference(source.about(id))],
            )
        for rows in _batches(held.all_suppressions()):
            _apply(target, head, head, forget_suppressions=[row.key for row in rows if source.suppression(row.key) is None])


def _about(source: View, entries: list[Entry]) -> list[list[str]]:
    """The addresses each entry is found by: those that its facts name and that are still known."""
    facts = [one.facts if (one := known(entry)) is not None else None for entry in entries]
    named = [[] if one is None else about(one) or [NOBODY] for one in facts]
    living = {life.id for life in source.lives_by_id([id for ids in named for id in ids])} | {NOBODY}
    return [[id for id in ids if id in living] for ids in named]


def _apply(target: Store, before: Head, after: Head, **rows: list[Any]) -> Head:
    """One step, marked as unfinished. Nothing is written where there is nothing to change."""
    if before == after and not any(rows.values()):
        return before
    after = after._replace(unverified=_UNFINISHED)
    with target.write() as transaction:
        if transaction.head()[:2] != before[:2]:
            raise LedgerError("expected nobody else to write where a log is carried to, found new entries")
        transaction.apply(Changes(after, **rows))
    return after


def _batches(rows: Iterable[_T]) -> Iterator[list[_T]]:
    each = iter(rows)
    while batch := list(islice(each, _BATCH)):
        yield batch
