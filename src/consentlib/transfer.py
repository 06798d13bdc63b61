"""Carrying a ledger from one store to another: its entries with their parts, and the rows that checks read."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator
from itertools import islice
from typing import Any, Final, TypeVar

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


def transfer(source: View, target: Store, *, progress: Callable[[int], None] | None = None) -> list[tuple[int, str]]:
    """Append everything a view shows to a store that holds nothing yet.

    The target is marked until `finished` lifts it: half of a log must allow nothing. The source's own mark stays behind.

    Where the target has another origin, each leaf is written anew with that origin and the links that follow from it. Index,
    time, kind and commitments stay, and so do salts and parts: whoever has an old leaf can compare it line by line.
    `progress` is called with the number of entries carried. Gives the parts that were lost with their key, as (index, name):
    they come over as erased, and whoever carries them puts that on record. Raises `StoreUnavailableError`; what was carried
    by then stays.
    """
    origin = target.meta["origin"]
    with target.read() as view:
        if view.head().size:
            raise LedgerError("expected an empty log to carry entries into, found one with entries")
    tip, frontier, size, time = genesis(origin), b"", 0, 0
    lost: list[tuple[int, str]] = []
    for entries in _batches(source.entries()):
        new = []
        for entry, ids in zip(entries, _about(source, entries), strict=True):
            leaf = parse_leaf(entry.leaf)
            data = encode_leaf(origin, leaf.index, tip, leaf.t, leaf.kind, dict(leaf.parts))
            tip, time = leaf_hash(data), leaf.t
            parts = {name: part if isinstance(part, tuple) else None for name, part in entry.parts.items()}
            lost += [(entry.index, name) for name, part in entry.parts.items() if part is LOST]
            new.append(NewEntry(leaf.index, leaf.t, leaf.kind, data, tip, parts, ids))
        frontier, nodes = extend_many(frontier, size, [one.hash for one in new])
        size += len(new)
        _apply(target, Head(size, tip, time, frontier, 0, _UNFINISHED), entries=new, nodes=nodes)
        if progress is not None:
            progress(size)
    head = Head(size, tip, time, frontier, source.head().scope, _UNFINISHED)
    _apply(target, head)
    for lives in _batches(source.all_lives()):
        _apply(target, head, lives=lives, orders=list(source.orders([life.id for life in lives])))
    for events in _batches(source.all_events()):
        _apply(target, head, events=events)
    for rows in _batches(source.all_suppressions()):
        _apply(target, head, suppressions=rows)
    return lost


def finished(transaction: Transaction) -> None:
    """Lift the mark: everything is there."""
    transaction.apply(Changes(transaction.head()._replace(unverified=None)))


def _about(source: View, entries: list[Entry]) -> list[list[str]]:
    """The addresses each entry is found by: those that its facts name and that are still known."""
    facts = [one.facts if (one := known(entry)) is not None else None for entry in entries]
    named = [[] if one is None else about(one) or [NOBODY] for one in facts]
    living = {life.id for life in source.lives_by_id([id for ids in named for id in ids])} | {NOBODY}
    return [[id for id in ids if id in living] for ids in named]


def _apply(target: Store, head: Head, **rows: Any) -> None:
    with target.write() as transaction:
        transaction.apply(Changes(head, **rows))


def _batches(rows: Iterable[_T]) -> Iterator[list[_T]]:
    each = iter(rows)
    while batch := list(islice(each, _BATCH)):
        yield batch
