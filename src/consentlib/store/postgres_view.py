"""Views and transactions of the PostgreSQL store: the statements that read a ledger, and the one call that changes it."""

from __future__ import annotations

from collections.abc import Collection, Iterable, Iterator, Mapping, Sequence
from functools import cache
from time import monotonic
from typing import TYPE_CHECKING, Any, Final, NoReturn, Self

import psycopg
from psycopg.pq import TransactionStatus

from consentlib.errors import CommitUnknownError, StoreUnavailableError
from consentlib.fold import Order
from consentlib.log import Entry
from consentlib.store import postgres_schema as schema
from consentlib.store.postgres_connection import Connection, Statement, translated
from consentlib.store.postgres_rows import encoder
from consentlib.store.protocol import (
    NOTHING_FOUND,
    Changes,
    EventRow,
    Found,
    Head,
    Life,
    NewEntry,
    Suppression,
    Wanted,
)
from consentlib.store.turn import WAIT

if TYPE_CHECKING:
    from consentlib.store.postgres import PostgresStore

_PAGE: Final = 256
_HEAD: Final = "SELECT size, tip, time, frontier, scope, unverified FROM consentlib.heads WHERE ledger = {}"
_READ: Final = f"BEGIN ISOLATION LEVEL REPEATABLE READ READ ONLY; {_HEAD}"
_SEAT: Final = f"""BEGIN ISOLATION LEVEL READ COMMITTED READ WRITE; SET LOCAL lock_timeout = {{}};
    SET LOCAL idle_in_transaction_session_timeout = 60000;
    SELECT * FROM consentlib.seat({{}}, {schema.VERSION}, {{}}, {{}}, {{}})"""
_LIFE: Final = "SELECT key, id, since, index, suppressed, fold FROM consentlib.lives WHERE ledger = %b"
_ORDER: Final = f"SELECT {', '.join(schema.ORDERS.names)} FROM consentlib.orders WHERE ledger = %b AND address = ANY(%b)"
_EVENT: Final = "SELECT id, index, digest FROM consentlib.events WHERE ledger = %b"
_SUPPRESSION: Final = "SELECT key, erased_at, review_at, stops FROM consentlib.suppressions WHERE ledger = %b"

_PUT: Final = [encoder(one) for one in schema.PUT]


_PARTS: Final = "SELECT index, name, salt, data FROM consentlib.parts WHERE ledger = %b"


def _with_parts(rows: Sequence[tuple[int, bytes]], parts: Iterable[tuple[int, str, bytes, bytes]]) -> Iterator[Entry]:
    """Entries of rows of leaves and of the rows of their parts."""
    held: dict[int, dict[str, Any]] = {index: {} for index, _ in rows}
    for index, name, salt, data in parts:
        if index in held:  # else its entry is not there, which who follows the chain will see
            held[index][name] = None if salt is None and data is None else (salt or b"", data or b"")
    for index, leaf in rows:
        yield Entry(index, leaf, held[index])


class _Ended:
    """What stands for the connection of a view that is not open."""

    def __init__(self, found: str) -> None:
        self._found = found

    def rows(self, *_: object) -> NoReturn:
        raise StoreUnavailableError(f"expected an open view, found {self._found}")


_GONE: Final = (None, None)
NOT_OPEN: Final[Any] = _Ended("one that is not open")
FORKED: Final[Any] = _Ended("one of the parent process")


class View:
    """A read transaction on a connection that nothing else uses meanwhile."""

    def __init__(self, store: PostgresStore) -> None:
        self._store = store
        self._ledger = store._ledger
        self._conn: Connection = NOT_OPEN
        self._head: Head | None = None

    def __enter__(self) -> Self:
        self._conn, [row] = self._store._begin(_READ.format(self._ledger))
        self._head = Head._make(row)
        self._store._views.add(self)
        return self

    def __exit__(self, kind: type[BaseException] | None, *_: object) -> None:
        conn, self._conn, self._head = self._conn, NOT_OPEN, None
        if conn is not FORKED:
            self._store._views.discard(self)
            self._store._connections.give_back(conn)

    def _rows(self, sql: str, *values: Any) -> list[Any]:
        return self._ask(sql, (self._ledger, *values))

    def _ask(self, sql: str, values: Sequence[Any]) -> list[Any]:
        try:
            return self._conn.rows(sql, values)
        except psycopg.Error as error:
            raise translated(self._store._target, error) from None

    def _pages(self, sql: str, last: Any, place: int, *values: Any) -> Iterator[list[Any]]:
        """Rows of a statement page by page, in the order of the column at `place`, each page from after the last row's."""
        while rows := self._rows(f"{sql} LIMIT {_PAGE}", last, *values):
            yield rows
            last = rows[-1][place]

    def head(self) -> Head:
        """See `View.head`."""
        if self._head is None:
            self._head = Head._make(self._rows(_HEAD.format("%b"))[0])
        return Head.of([self._head])

    def lives(self, key: bytes) -> tuple[Life, ...]:
        """See `View.lives`."""
        return tuple(map(Life._make, self._rows(f"{_LIFE} AND key = %b ORDER BY index, since", key)))

    def lives_many(self, keys: Sequence[bytes]) -> dict[bytes, tuple[Life, ...]]:
        """See `View.lives_many`."""
        found: dict[bytes, list[Life]] = {key: [] for key in keys}
        for row in self._rows(f"{_LIFE} AND key = ANY(%b) ORDER BY index, since", list(found)):
            found[row[0]].append(Life._make(row))
        return {key: tuple(lives) for key, lives in found.items()}

    def lives_by_id(self, ids: Sequence[str]) -> tuple[Life, ...]:
        """See `View.lives_by_id`."""
        return tuple(map(Life._make, self._rows(f"{_LIFE} AND id = ANY(%b)", list(ids)))) if ids else ()

    def all_lives(self) -> Iterator[Life]:
        """See `View.all_lives`."""
        for rows in self._pages(f"{_LIFE} AND id > %b ORDER BY id", "", 1):
            yield from map(Life._make, rows)

    def orders(self, ids: Sequence[str], order: str | None = None) -> tuple[tuple[str, Order], ...]:
        """See `View.orders`."""
        if not ids:
            return ()
        rows = self._rows(_ORDER, list(ids)) if order is None else self._rows(f"{_ORDER} AND order_id = %b", list(ids), order)
        return tuple((row[0], Order._make(row[1:])) for row in rows)

    def event(self, id: bytes) -> EventRow | None:
        """See `View.event`."""
        rows = self._rows(f"{_EVENT} AND id = %b", id)
        return EventRow._make(rows[0]) if rows else None

    def events(self, ids: Sequence[bytes]) -> dict[bytes, EventRow | None]:
        """See `View.events`."""
        rows = self._rows(f"{_EVENT} AND id = ANY(%b)", list(dict.fromkeys(ids)))
        return {**dict.fromkeys(ids), **{row[0]: EventRow._make(row) for row in rows}}

    def all_events(self) -> Iterator[EventRow]:
        """See `View.all_events`."""
        for rows in self._pages(f"{_EVENT} AND id > %b ORDER BY id", b"", 0):
            yield from map(EventRow._make, rows)

    def suppression(self, key: bytes) -> Suppression | None:
        """See `View.suppression`."""
        rows = self._rows(f"{_SUPPRESSION} AND key = %b", key)
        return Suppression._make(rows[0]) if rows else None

    def all_suppressions(self) -> Iterator[Suppression]:
        """See `View.all_suppressions`."""
        for rows in self._pages(f"{_SUPPRESSION} AND key > %b ORDER BY key", b"", 0):
            yield from map(Suppression._make, rows)

    def about(self, id: str) -> tuple[int, ...]:
        """See `View.about`."""
        rows = self._rows("SELECT index FROM consentlib.about WHERE ledger = %b AND address = %b ORDER BY index", id)
        return tuple([index for (index,) in rows])

    def entries(self, start: int = 0, stop: int | None = None) -> Iterator[Entry]:
        """See `View.entries`."""
        for rows in self._of_entries("index, leaf", start, stop):
            yield from _with_parts(rows, self._rows(f"{_PARTS} AND index >= %b AND index <= %b", rows[0][0], rows[-1][0]))

    def entry(self, index: int) -> Entry | None:
        """See `View.entry`."""
        return next(self.entries(index, index + 1), None)

    def entries_at(self, indices: Iterable[int]) -> dict[int, Entry]:
        """See `View.entries_at`."""
        asked = list(indices)
        rows = self._rows("SELECT index, leaf FROM consentlib.entries WHERE ledger = %b AND index = ANY(%b)", asked)
        return {one.index: one for one in _with_parts(rows, self._rows(f"{_PARTS} AND index = ANY(%b)", asked))}

    def kinds(self, start: int = 0, stop: int | None = None) -> Iterator[tuple[int, int, str]]:
        """See `View.kinds`."""
        for rows in self._of_entries("index, time, kind", start, stop):
            yield from rows

    def _of_entries(self, columns: str, start: int, stop: int | None) -> Iterator[list[Any]]:
        sql = f"SELECT {columns} FROM consentlib.entries WHERE ledger = %b AND index > %b AND index < %b ORDER BY index"
        return self._pages(sql, start - 1, 0, 2**62 if stop is None else stop)

    def node(self, level: int, position: int) -> bytes:
        """See `View.node`."""
        return self.nodes([(level, position)])[level, position]

    def nodes(self, places: Sequence[tuple[int, int]]) -> dict[tuple[int, int], bytes]:
        """See `View.nodes`."""
        leaves = [position for level, position in places if level == 0]
        inner = [one for one in places if one[0] > 0]
        found: dict[tuple[int, int], bytes] = {}
        if leaves:
            rows = self._rows("SELECT index, hash FROM consentlib.entries WHERE ledger = %b AND index = ANY(%b)", leaves)
            found.update(((0, position), hash) for position, hash in rows)
        if inner:
            rows = self._rows(
                """SELECT level, position, hash FROM consentlib.nodes WHERE ledger = %b
                    AND (level, position) IN (SELECT * FROM unnest(%b::int8[], %b::int8[]))""",
                *map(list, zip(*inner, strict=True)),
            )
            found.update(((level, position), hash) for level, position, hash in rows)
        return found


class Transaction(View):
    """The one writer, from the lock on the head to a durable commit. What is applied last goes to the server with that."""

    def __init__(self, store: PostgresStore, wanted: Wanted) -> None:
        super().__init__(store)
        self._wanted = wanted
        self.found = NOTHING_FOUND
        self._unsent: list[Statement] = []

    def __enter__(self) -> Self:
        store = self._store
        end = monotonic() + WAIT
        store._queue(end)
        try:
            left = max(1, int((end - monotonic()) * 1000))
            self._conn, [row, *rows] = store._begin(_SEAT.format(left, self._ledger, *map(_literal, self._wanted)))
            try:
                store._heard(row[6])
                if row[7] in ("off", "local"):  # what is answered must be on disk, and on the standby where there is one
                    self._rows("SELECT set_config('synchronous_commit', 'on', true) WHERE %b > 0")
            except BaseException:
                conn, self._conn = self._conn, NOT_OPEN
                store._connections.give_back(conn)
                raise
        except BaseException:
            store._turn.leave()
            raise
        self._head = Head._make(row[:6])
        self.found = _found(self._wanted, rows)
        self._failed = False
        self._states: list[str | None] = []
        self._conn.add_notice_handler(self._notice)
        store._views.add(self)
        return self

    def _notice(self, diagnostic: psycopg.errors.Diagnostic) -> None:
        self._states.append(diagnostic.sqlstate)

    def __exit__(self, kind: type[BaseException] | None, *_: object) -> None:
        store = self._store
        conn, self._conn, self._head = self._conn, NOT_OPEN, None
        unsent, self._unsent = self._unsent, []
        if conn is FORKED:
            raise StoreUnavailableError("expected the process that began the transaction, found a child of it")
        try:
            if kind is None:
                self._commit(conn, unsent)
        finally:
            conn.remove_notice_handler(self._notice)
            store._views.discard(self)
            store._connections.give_back(conn)
            store._turn.leave()

    def _commit(self, conn: Connection, unsent: Sequence[Statement]) -> None:
        if self._failed or conn.info.transaction_status is not TransactionStatus.INTRANS:
            raise StoreUnavailableError("expected a transaction that can commit, found one with a failed change")
        self._states.clear()
        try:
            conn.commit_after(unsent)
        except psycopg.Error as error:
            if conn.closed:
                raise CommitUnknownError("expected an answer to the commit, found the connection lost") from None
            raise translated(self._store._target, error) from None
        if "01000" in self._states:  # somebody cancelled the wait for a standby: committed here, perhaps nowhere else
            raise CommitUnknownError("expected the commit to reach a standby, found the wait for it cancelled")

    def _ask(self, sql: str, values: Sequence[Any]) -> list[Any]:
        self._send()
        return super()._ask(sql, values)

    def apply(self, changes: Changes) -> None:
        """See `Transaction.apply`: one call, or two where something goes, with what comes next."""
        self._send()
        if self._failed or self._head is None:
            self._failed = True
            raise StoreUnavailableError("expected an open transaction, found one that has failed")
        self._failed = True
        coming = zip(_PUT, _coming(changes), strict=True)
        rows = [encode(self._ledger, group) if group else None for encode, group in coming]
        self._unsent.append(_call("apply", [self._ledger, *changes.head, *rows]))
        going = _going(changes)
        if any(going):
            self._unsent.append(_call("forget", [self._ledger, *going]))
        self._failed = False
        self._head = changes.head

    def _send(self) -> None:
        """Let the server do what was applied before."""
        unsent, self._unsent = self._unsent, []
        for sql, values in unsent:
            self._failed = True
            super()._ask(sql, values)
            self._failed = False


def _literal(values: Sequence[bytes]) -> str:
    """An array of bytes for a statement without parameters. In an `E` literal, so that no setting changes what is read."""
    return "E'{" + ",".join(rf'"\\\\x{one.hex()}"' for one in values) + "}'"


def _found(wanted: Wanted, rows: Iterable[Any]) -> Found:
    lives: dict[bytes, list[Life]] = {key: [] for key in wanted.lives}
    suppressions: dict[bytes, Suppression | None] = dict.fromkeys(wanted.suppressions)
    events: dict[bytes, EventRow | None] = dict.fromkeys(wanted.events)
    for *_, what, key, id, since, index, data, text in rows:
        if what == "life":
            lives[key].append(Life(key, id, since, index, data, text))
        elif what == "suppression":
            suppressions[key] = Suppression(key, since, index, text)
        else:
            events[key] = EventRow(key, index, data)
    return Found({key: tuple(found) for key, found in lives.items()}, suppressions, events)


def _call(name: str, values: list[Any]) -> Statement:
    """A call of a function, without what is left out at the end."""
    while values[-1] is None:
        values.pop()
    return _calling(name, len(values)), values


@cache
def _calling(name: str, number: int) -> str:
    return f"SELECT consentlib.{name}({', '.join(['%b'] * number)})"


def _coming(changes: Changes) -> tuple[Collection[Sequence[Any]], ...]:
    """The rows that are put, by the groups of `apply`."""
    entries: Sequence[NewEntry] = changes.entries
    return (
        [(one.index, one.time, one.kind, one.leaf, one.hash) for one in entries],
        [(one.index, name, *(part or _GONE)) for one in entries for name, part in one.parts.items()],
        {(id, one.index): None for one in entries for id in one.about},
        _last((one[:2], one) for one in changes.nodes),
        _last((one.id, one) for one in changes.events),
        _last((one.id, one) for one in changes.lives),
        _last(((id, one.order), (id, *one)) for id, one in changes.orders),
        _last((one.key, one) for one in changes.suppressions),
    )


def _going(changes: Changes) -> list[list[Any] | None]:
    """The keys of the rows that go, by the groups of `forget`: a list for each of their columns, None without rows."""
    groups = (
        (2, changes.erase_parts),
        (2, changes.forget_about),
        (2, changes.forget_orders),
        (1, [(id,) for id in changes.forget_lives]),
        (1, [(key,) for key in changes.forget_suppressions]),
    )
    return [column for width, keys in groups for column in (map(list, zip(*keys, strict=True)) if keys else [None] * width)]


def _last(rows: Iterable[tuple[Any, Any]]) -> Collection[Any]:
    """Of the rows with one key the last: one statement can't put a row twice."""
    found: Mapping[Any, Any] = dict(rows)
    return found.values()
