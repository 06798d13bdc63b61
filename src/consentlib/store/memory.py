"""A store in the memory of one process, for tests and trials: `memory:` or, to be found again by `open`, `memory://name`.

A transaction collects its rows apart and lays them over the state when it commits. A state that a view still reads is
copied first, so views are true snapshots. Nothing survives the process; a child after a fork goes on with its own copy.
"""

from __future__ import annotations

import os
import threading
from collections.abc import Iterable, Iterator, Mapping, Sequence
from types import MappingProxyType
from typing import Any, Final, Self
from weakref import WeakSet

from consentlib.errors import InputError, LedgerExistsError, LedgerMissingError, StoreUnavailableError
from consentlib.fold import Order
from consentlib.log import Entry, genesis
from consentlib.store.protocol import (
    NOTHING_FOUND,
    NOTHING_WANTED,
    Changes,
    EventRow,
    Head,
    Life,
    Suppression,
    Wanted,
    system_clock,
)
from consentlib.store.turn import Turn

_TABLES: Final = ("entries", "parts", "nodes", "lives", "keys", "orders", "events", "suppressions", "about")
_GONE: Final = object()


class _State:
    """Committed rows: tables of immutable values, so that a copy of the tables is a copy of everything."""

    def __init__(self, head: Head, tables: Mapping[str, dict[Any, Any]]) -> None:
        self.head = head
        self.tables = tables
        self.readers = 0

    def with_rows(self, head: Head, changed: Mapping[str, dict[Any, Any]]) -> _State:
        """The state after a commit: this one changed in place, or a copy if somebody reads it."""
        state = _State(head, {name: dict(rows) for name, rows in self.tables.items()}) if self.readers else self
        state.head = head
        for name, rows in changed.items():
            table = state.tables[name]
            table.update(rows)
            for key in [key for key, value in rows.items() if value is _GONE]:
                del table[key]
        return state


class _Ledger:
    """What the handles on one ledger share."""

    def __init__(self, meta: Mapping[str, str]) -> None:
        self.meta = MappingProxyType(dict(meta))
        self.state = _State(Head(0, genesis(meta["origin"]), 0, b"", 0, None), {name: {} for name in _TABLES})
        self.turn = Turn()
        self.fork()

    def fork(self) -> None:
        """A new lock: a child has none of the threads that held the old one."""
        self.changing = threading.Lock()
        self.views = 0


_ledgers: WeakSet[_Ledger] = WeakSet()
_named: dict[str, _Ledger] = {}
_naming = threading.Lock()
_held: list[threading.Lock] = []


def _before_fork() -> None:
    _held.extend([_naming, *(ledger.changing for ledger in _ledgers)])
    for lock in _held:
        lock.acquire()


def _after_fork_in_parent() -> None:
    while _held:
        _held.pop().release()


def _after_fork_in_child() -> None:
    _after_fork_in_parent()
    for ledger in _ledgers:
        ledger.fork()


if hasattr(os, "register_at_fork"):
    os.register_at_fork(before=_before_fork, after_in_parent=_after_fork_in_parent, after_in_child=_after_fork_in_child)


class MemoryStore:
    """The store of `memory:` URLs."""

    clock = staticmethod(system_clock)

    def __init__(self, ledger: _Ledger) -> None:
        self._ledger = ledger
        self._closed = False
        self.meta: Mapping[str, str] = ledger.meta

    @classmethod
    def create(cls, url: str, meta: Mapping[str, str]) -> Self:
        """Begin a ledger; `meta` must name the `origin`. Raises `LedgerExistsError`."""
        name = _name(url)
        if "origin" not in meta:
            raise InputError("expected `origin` among what describes the ledger, found none")
        ledger = _Ledger(meta)
        with _naming:
            if name and _named.setdefault(name, ledger) is not ledger:
                raise LedgerExistsError(f"expected no ledger at `memory://{name}`, found one")
            _ledgers.add(ledger)
        return cls(ledger)

    @classmethod
    def open(cls, url: str) -> Self:
        """A ledger made in this process. Raises `LedgerMissingError`."""
        name = _name(url)
        with _naming:
            ledger = _named.get(name)
        if ledger is None:
            raise LedgerMissingError(f"expected a ledger of this process at `memory://{name}`, found none")
        return cls(ledger)

    def __reduce__(self) -> tuple[Any, ...]:
        """See `Store`: no other process can open it."""
        raise InputError("expected a store that another process can open, found one in memory")

    def lookup(self, key: bytes) -> tuple[Head, tuple[Life, ...]]:
        """See `Store.lookup`."""
        ledger = self._open_ledger()
        with ledger.changing:
            tables = ledger.state.tables
            return ledger.state.head, tuple([tables["lives"][id] for id in tables["keys"].get(key, ())])

    def read(self) -> _View:
        """See `Store.read`."""
        return _View(self._open_ledger())

    def write(self, wanted: Wanted = NOTHING_WANTED) -> _Transaction:
        """See `Store.write`."""
        return _Transaction(self._open_ledger())

    def purge(self) -> bool:
        """See `Store.purge`. Erased rows are gone from the state; only an open view may hold an older one."""
        ledger = self._open_ledger()
        with ledger.changing:
            return ledger.views == 0

    def close(self) -> None:
        """See `Store.close`. A ledger with a name stays for `open`."""
        self._closed = True

    def _open_ledger(self) -> _Ledger:
        if self._closed:
            raise StoreUnavailableError("expected an open store, found it closed")
        return self._ledger


class _View:
    """A view of a committed state; in a transaction also of the rows laid over it."""

    def __init__(self, ledger: _Ledger) -> None:
        self._ledger = ledger
        self._state: _State | None = None
        self._lock: threading.Lock | None = None

    def __enter__(self) -> Self:
        ledger = self._ledger
        with ledger.changing:
            self._lock = ledger.changing
            self._state = ledger.state
            self._state.readers += 1
            ledger.views += 1
        return self

    def __exit__(self, kind: type[BaseException] | None, *_: object) -> None:
        self._leave()

    def _leave(self) -> None:
        ledger, state, self._state = self._ledger, self._state, None
        if state is not None and self._lock is ledger.changing:
            with ledger.changing:
                state.readers -= 1
                ledger.views -= 1

    def _table(self, name: str) -> dict[Any, Any]:
        if self._state is None:
            raise _closed_view()
        return self._state.tables[name]

    def _get(self, name: str, key: Any) -> Any:
        return self._table(name).get(key)

    def head(self) -> Head:
        """See `View.head`."""
        if self._state is None:
            raise _closed_view()
        return self._state.head

    def lives(self, key: bytes) -> tuple[Life, ...]:
        """See `View.lives`."""
        return self.lives_by_id(self._get("keys", key) or ())

    def lives_many(self, keys: Sequence[bytes]) -> dict[bytes, tuple[Life, ...]]:
        """See `View.lives_many`."""
        return {key: self.lives(key) for key in keys}

    def lives_by_id(self, ids: Sequence[str]) -> tuple[Life, ...]:
        """See `View.lives_by_id`."""
        return tuple([life for id in dict.fromkeys(ids) if (life := self._get("lives", id)) is not None])

    def all_lives(self) -> Iterator[Life]:
        """See `View.all_lives`."""
        yield from self._all("lives")

    def orders(self, ids: Sequence[str], order: str | None = None) -> tuple[tuple[str, Order], ...]:
        """See `View.orders`."""
        found = [(id, self._get("orders", id) or {}) for id in dict.fromkeys(ids)]
        return tuple((id, one) for id, rows in found for one in rows.values() if order is None or one.order == order)

    def event(self, id: bytes) -> EventRow | None:
        """See `View.event`."""
        row: EventRow | None = self._get("events", id)
        return row

    def events(self, ids: Sequence[bytes]) -> dict[bytes, EventRow | None]:
        """See `View.events`."""
        return {id: self.event(id) for id in ids}

    def all_events(self) -> Iterator[EventRow]:
        """See `View.all_events`."""
        yield from self._all("events")

    def suppression(self, key: bytes) -> Suppression | None:
        """See `View.suppression`."""
        row: Suppression | None = self._get("suppressions", key)
        return row

    def all_suppressions(self) -> Iterator[Suppression]:
        """See `View.all_suppressions`."""
        yield from self._all("suppressions")

    def about(self, id: str) -> tuple[int, ...]:
        """See `View.about`."""
        return tuple(sorted(self._get("about", id) or ()))

    def entries(self, start: int = 0, stop: int | None = None) -> Iterator[Entry]:
        """See `View.entries`."""
        for index in self._indices(start, stop):
            _, _, leaf, _ = self._get("entries", index)
            yield Entry(index, leaf, self._get("parts", index))

    def entry(self, index: int) -> Entry | None:
        """See `View.entry`."""
        row = self._get("entries", index)
        return None if row is None else Entry(index, row[2], self._get("parts", index))

    def entries_at(self, indices: Iterable[int]) -> dict[int, Entry]:
        """See `View.entries_at`."""
        return {index: entry for index in indices if (entry := self.entry(index)) is not None}

    def kinds(self, start: int = 0, stop: int | None = None) -> Iterator[tuple[int, int, str]]:
        """See `View.kinds`."""
        for index in self._indices(start, stop):
            time, kind, *_ = self._get("entries", index)
            yield index, time, kind

    def node(self, level: int, position: int) -> bytes:
        """See `View.node`."""
        return self.nodes([(level, position)])[level, position]

    def nodes(self, places: Sequence[tuple[int, int]]) -> dict[tuple[int, int], bytes]:
        """See `View.nodes`."""
        found = {}
        for level, position in places:
            row = self._get("entries", position) if level == 0 else None
            value = row[3] if row else self._get("nodes", (level, position))
            if value is not None:
                found[level, position] = bytes(value)
        return found

    def _all(self, name: str) -> Iterator[Any]:
        for key in self._keys(name):
            yield self._get(name, key)

    def _keys(self, name: str) -> list[Any]:
        return list(self._table(name))

    def _indices(self, start: int, stop: int | None) -> list[int]:
        return sorted(index for index in self._table("entries") if index >= start and (stop is None or index < stop))


class _Transaction(_View):
    """The one writer: rows to change are kept apart, in the shape of the tables, until the block is left."""

    found = NOTHING_FOUND

    def __enter__(self) -> Self:
        self._ledger.turn.take()
        super().__enter__()
        self._head: Head | None = None
        self._over: dict[str, dict[Any, Any]] = {name: {} for name in _TABLES}
        self._failed = False
        return self

    def __exit__(self, kind: type[BaseException] | None, *_: object) -> None:
        ledger = self._ledger
        if self._lock is not ledger.changing:
            raise StoreUnavailableError("expected the process that began the transaction, found a child of it")
        head, self._head = self._head, None
        over, self._over = self._over, {name: {} for name in _TABLES}
        self._leave()
        try:
            if kind is None and self._failed:
                raise StoreUnavailableError("expected a transaction that can commit, found one with a failed change")
            if kind is None and head is not None:
                with ledger.changing:
                    ledger.state = ledger.state.with_rows(head, over)
        finally:
            ledger.turn.leave()

    def head(self) -> Head:
        """See `View.head`."""
        return self._head or super().head()

    def _get(self, name: str, key: Any) -> Any:
        rows = self._over[name]
        if key not in rows:
            return super()._get(name, key)
        return None if rows[key] is _GONE else rows[key]

    def _keys(self, name: str) -> list[Any]:
        return [key for key in dict.fromkeys([*super()._keys(name), *self._over[name]]) if self._get(name, key) is not None]

    def _indices(self, start: int, stop: int | None) -> list[int]:
        new = (index for index in self._over["entries"] if index >= start and (stop is None or index < stop))
        return [*super()._indices(start, stop), *sorted(new)]

    def apply(self, changes: Changes) -> None:
        """See `Transaction.apply`."""
        self._table("entries")
        try:
            self._apply(changes)
        except BaseException:
            self._failed = True
            raise
        self._head = changes.head

    def _apply(self, changes: Changes) -> None:
        over = self._over
        for entry in changes.entries:
            if self._get("entries", entry.index) is not None:
                raise StoreUnavailableError(f"expected no entry `{entry.index}` yet, found one")
            over["entries"][entry.index] = (entry.time, entry.kind, bytes(entry.leaf), bytes(entry.hash))
            over["parts"][entry.index] = dict(entry.parts)
            for id in entry.about:
                over["about"][id] = (self._get("about", id) or frozenset()) | {entry.index}
        for level, position, value in changes.nodes:
            over["nodes"][level, position] = value
        for life in changes.lives:
            self._put_life(life)
        for id, order in changes.orders:
            over["orders"][id] = {**(self._get("orders", id) or {}), order.order: order}
        over["events"].update((row.id, row) for row in changes.events)
        over["suppressions"].update((row.key, row) for row in changes.suppressions)
        for key in changes.forget_suppressions:
            self._put("suppressions", key, None)
        for index, name in changes.erase_parts:
            parts = self._get("parts", index) or {}
            if parts.get(name) is None:
                raise StoreUnavailableError(f"expected part `{name}` of entry `{index}`, found none")
            over["parts"][index] = {**parts, name: None}
        for id, index in changes.forget_about:
            self._put("about", id, (self._get("about", id) or frozenset()) - {index})
        for id, order_id in changes.forget_orders:
            rows = self._get("orders", id) or {}
            self._put("orders", id, {key: one for key, one in rows.items() if key != order_id})
        for id in changes.forget_lives:
            self._forget_life(id)
            self._put("orders", id, {})

    def _put(self, name: str, key: Any, value: Any) -> None:
        """Lay a row over the state; an empty one goes altogether."""
        if value:
            self._over[name][key] = value
        elif self._state is not None and key in self._state.tables[name]:
            self._over[name][key] = _GONE
        else:
            self._over[name].pop(key, None)

    def _put_life(self, life: Life) -> None:
        old = self._get("lives", life.id)
        if old is not None and old[:4] != life[:4]:
            self._forget_life(life.id)
            old = None
        self._over["lives"][life.id] = life
        if old is None:
            lives = [*self.lives(life.key), life]
            self._put("keys", life.key, tuple(one.id for one in sorted(lives, key=lambda one: (one.index, one.since))))

    def _forget_life(self, id: str) -> None:
        life = self._get("lives", id)
        if life is not None:
            self._put("lives", id, None)
            self._put("keys", life.key, tuple(one for one in self._get("keys", life.key) if one != id))


def _closed_view() -> StoreUnavailableError:
    return StoreUnavailableError("expected an open view, found it closed")


def _name(url: str) -> str:
    if url == "memory:":
        return ""
    name = url.removeprefix("memory://")
    if name == url or not name:
        raise InputError("expected `memory:` or `memory://name`, found another form")
    return name
