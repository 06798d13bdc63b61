"""Views and transactions of the SQLite store: the statements that read and change a ledger."""

from __future__ import annotations

import sqlite3
import threading
from collections.abc import Iterable, Iterator, Sequence
from itertools import chain
from typing import TYPE_CHECKING, Any, Final, NoReturn, Self

from consentlib.errors import StoreUnavailableError
from consentlib.fold import Order
from consentlib.log import Entry
from consentlib.store import sqlite_schema as schema
from consentlib.store.protocol import NOTHING_FOUND, Changes, EventRow, Head, Life, Suppression

if TYPE_CHECKING:
    from consentlib.store.sqlite import SqliteStore

_PAGE: Final = 256
_AT_ONCE: Final = 250
_MANY: Final = ", ".join("?" * _AT_ONCE)
_HEAD: Final = "SELECT size, tip, time, frontier, scope, unverified FROM consentlib_head WHERE id = 0"
_LIFE: Final = "SELECT key, id, since, idx, suppressed, fold FROM consentlib_lives"
_EVENT: Final = "SELECT id, idx, digest FROM consentlib_events"
_SUPPRESSION: Final = "SELECT key, erased_at, review_at, stops FROM consentlib_suppressions"
_ORDER: Final = f"SELECT address, {', '.join(schema.ORDER_COLUMNS)} FROM consentlib_orders WHERE address = ?"


_LEAF_HASHES: Final = "SELECT idx, hash FROM consentlib_entries WHERE ? = 0 AND idx"
_NODES: Final = "SELECT position, hash FROM consentlib_nodes WHERE level = ? AND position"


def _put(table: str, key: str, columns: str) -> str:
    """The statement that puts a row, in place of the one with the same key."""
    names = columns.split()
    changed = ", ".join(f"{name} = excluded.{name}" for name in names if name not in key.split(", "))
    values = ", ".join("?" * len(names))
    return f"INSERT INTO {table} ({', '.join(names)}) VALUES ({values}) ON CONFLICT ({key}) DO UPDATE SET {changed}"


_PUT_LIFE: Final = _put("consentlib_lives", "id", "key id since idx suppressed fold")
_REFOLD: Final = "UPDATE consentlib_lives SET fold = ? WHERE key = ? AND id = ? AND since = ? AND idx = ? AND suppressed IS ?"
_PUT_ORDER: Final = _put("consentlib_orders", "address, order_id", " ".join(("address", *schema.ORDER_COLUMNS)))
_PUT_EVENT: Final = _put("consentlib_events", "id", "id idx digest")
_PUT_SUPPRESSION: Final = _put("consentlib_suppressions", "key", "key erased_at review_at stops")
_PUT_NODE: Final = _put("consentlib_nodes", "level, position", "level position hash")


_PARTS: Final = "SELECT id, consentlib_parts.idx, name, salt, CAST(data AS BLOB)"
_PARTS_AT: Final = f"""{_PARTS} FROM consentlib_entries AS entry CROSS JOIN consentlib_parts
    ON id >= entry.idx * {schema.PARTS_AN_ENTRY} AND id < (entry.idx + 1) * {schema.PARTS_AN_ENTRY}
    WHERE entry.idx IN ({_MANY})"""


def _with_parts(rows: Sequence[tuple[int, bytes]], parts: Iterable[tuple[int, int, str, bytes, bytes]]) -> Iterator[Entry]:
    """Entries of rows of leaves and of the rows of their parts."""
    held: dict[int, dict[str, Any]] = {index: {} for index, _ in rows}
    for id, index, name, salt, data in parts:
        found = held.get(id // schema.PARTS_AN_ENTRY)
        if found is None:
            continue  # its entry is not there, which who follows the chain will see
        if name in found or id // schema.PARTS_AN_ENTRY != index:
            name += "?"  # not as it was written: no leaf commits to such a name
        found[name] = None if salt is None and data is None else (salt or b"", data or b"")
    for index, leaf in rows:
        yield Entry(index, leaf, held[index])


class _Ended:
    """What stands for the connection of a view that is not open."""

    in_transaction = True

    def __init__(self, found: str) -> None:
        self._found = found

    def execute(self, *_: object) -> NoReturn:
        raise StoreUnavailableError(f"expected an open view, found {self._found}")

    executemany = execute


_GONE: Final = (None, None)
NOT_OPEN: Final[Any] = _Ended("one that is not open")
FORKED: Final[Any] = _Ended("one of the parent process")


class View:
    """A read transaction on a connection that nothing else uses meanwhile."""

    def __init__(self, store: SqliteStore) -> None:
        self._store = store
        self._conn: sqlite3.Connection = NOT_OPEN
        self._failed = False

    def __enter__(self) -> Self:
        conn = self._store._take()
        try:
            conn.execute("BEGIN")
            conn.execute(_HEAD).fetchall()  # the first read fixes the moment
        except sqlite3.Error as error:
            self._store._drop(conn)
            self._store._fail(error)
        self._conn = conn
        self._store._views.add(self)
        return self

    def __exit__(self, kind: type[BaseException] | None, *_: object) -> None:
        conn, self._conn = self._conn, NOT_OPEN
        if conn is FORKED:
            return
        self._store._views.discard(self)
        self._undo(conn)

    def _undo(self, conn: sqlite3.Connection) -> None:
        """Leave no transaction open, whatever happened to it; a connection that can't do that is given up."""
        try:
            if conn.in_transaction:
                conn.execute("ROLLBACK")
        except sqlite3.Error:
            self._store._drop(conn)
        else:
            self._store._give_back(conn)

    def _rows(self, sql: str, values: Sequence[Any] = ()) -> list[Any]:
        try:
            return self._conn.execute(sql, values).fetchall()
        except (sqlite3.Error, OverflowError) as error:
            self._store._fail(error)

    def _among(self, sql: str, values: Sequence[bytes] | Sequence[int]) -> Iterator[Any]:
        """The rows of a statement over `_MANY` values, for any number of them. The rest are NULL, which equals nothing."""
        each = list(dict.fromkeys(values))
        for start in range(0, len(each), _AT_ONCE):
            some = each[start : start + _AT_ONCE]
            yield from self._rows(sql, (*some, *[None] * (_AT_ONCE - len(some))))

    def head(self) -> Head:
        """See `View.head`."""
        return Head.of(self._rows(_HEAD))

    def lives(self, key: bytes) -> tuple[Life, ...]:
        """See `View.lives`."""
        return tuple(map(Life._make, self._rows(f"{_LIFE} WHERE key = ? ORDER BY idx, since", (key,))))

    def lives_many(self, keys: Sequence[bytes]) -> dict[bytes, tuple[Life, ...]]:
        """See `View.lives_many`."""
        found: dict[bytes, list[Life]] = {key: [] for key in keys}
        for row in self._among(f"{_LIFE} WHERE key IN ({_MANY}) ORDER BY idx, since", keys):
            found[row[0]].append(Life._make(row))
        return {key: tuple(lives) for key, lives in found.items()}

    def lives_by_id(self, ids: Sequence[str]) -> tuple[Life, ...]:
        """See `View.lives_by_id`."""
        found = [self._rows(f"{_LIFE} WHERE id = ?", (id,)) for id in dict.fromkeys(ids)]
        return tuple(map(Life._make, chain.from_iterable(found)))

    def all_lives(self) -> Iterator[Life]:
        """See `View.all_lives`."""
        return self._all(Life, _LIFE, "id", "")

    def orders(self, ids: Sequence[str], order: str | None = None) -> tuple[tuple[str, Order], ...]:
        """See `View.orders`."""
        sql, more = (_ORDER, ()) if order is None else (f"{_ORDER} AND order_id = ?", (order,))
        found = [self._rows(sql, (id, *more)) for id in dict.fromkeys(ids)]
        return tuple((row[0], _order(row)) for row in chain.from_iterable(found))

    def event(self, id: bytes) -> EventRow | None:
        """See `View.event`."""
        rows = self._rows(f"{_EVENT} WHERE id = ?", (id,))
        return EventRow._make(rows[0]) if rows else None

    def events(self, ids: Sequence[bytes]) -> dict[bytes, EventRow | None]:
        """See `View.events`."""
        rows = self._among(f"{_EVENT} WHERE id IN ({_MANY})", ids)
        return {**dict.fromkeys(ids), **{row[0]: EventRow._make(row) for row in rows}}

    def all_events(self) -> Iterator[EventRow]:
        """See `View.all_events`."""
        return self._all(EventRow, _EVENT, "id", b"")

    def suppression(self, key: bytes) -> Suppression | None:
        """See `View.suppression`."""
        rows = self._rows(f"{_SUPPRESSION} WHERE key = ?", (key,))
        return Suppression._make(rows[0]) if rows else None

    def all_suppressions(self) -> Iterator[Suppression]:
        """See `View.all_suppressions`."""
        return self._all(Suppression, _SUPPRESSION, "key", b"")

    def about(self, id: str) -> tuple[int, ...]:
        """See `View.about`."""
        rows = self._rows("SELECT idx FROM consentlib_about WHERE address = ? ORDER BY idx", (id,))
        return tuple([index for (index,) in rows])

    def entries(self, start: int = 0, stop: int | None = None) -> Iterator[Entry]:
        """See `View.entries`."""
        for rows in self._pages("idx, CAST(leaf AS BLOB)", start, stop):
            first, last = rows[0][0] * schema.PARTS_AN_ENTRY, (rows[-1][0] + 1) * schema.PARTS_AN_ENTRY
            yield from _with_parts(rows, self._rows(f"{_PARTS} FROM consentlib_parts WHERE id >= ? AND id < ?", (first, last)))

    def entry(self, index: int) -> Entry | None:
        """See `View.entry`."""
        return next(self.entries(index, index + 1), None)

    def entries_at(self, indices: Iterable[int]) -> dict[int, Entry]:
        """See `View.entries_at`."""
        asked = sorted(indices)  # neighbours lie on one page
        rows = self._among(f"SELECT idx, CAST(leaf AS BLOB) FROM consentlib_entries WHERE idx IN ({_MANY})", asked)
        return {one.index: one for one in _with_parts(list(rows), self._among(_PARTS_AT, asked))}

    def kinds(self, start: int = 0, stop: int | None = None) -> Iterator[tuple[int, int, str]]:
        """See `View.kinds`."""
        for rows in self._pages("idx, time, kind", start, stop):
            yield from rows

    def node(self, level: int, position: int) -> bytes:
        """See `View.node`."""
        return self.nodes([(level, position)])[level, position]

    def nodes(self, places: Sequence[tuple[int, int]]) -> dict[tuple[int, int], bytes]:
        """See `View.nodes`: for each level its positions."""
        levels: dict[int, list[int]] = {}
        for level, position in dict.fromkeys(places):
            levels.setdefault(level, []).append(position)
        found = {}
        for level, positions in levels.items():
            table = _NODES if level else _LEAF_HASHES
            for start in range(0, len(positions), _AT_ONCE):
                some = positions[start : start + _AT_ONCE]
                sql = f"{table} IN ({', '.join('?' * len(some))})"
                for position, value in self._rows(sql, (level, *some)):
                    found[level, position] = bytes(value)
        return found

    def _all(self, of: Any, sql: str, key: str, last: Any) -> Iterator[Any]:
        """All rows of a table in the order of their key, page by page; `last` comes before the first."""
        while rows := [of._make(row) for row in self._rows(f"{sql} WHERE {key} > ? ORDER BY {key} LIMIT {_PAGE}", (last,))]:
            yield from rows
            last = getattr(rows[-1], key)

    def _pages(self, columns: str, start: int, stop: int | None) -> Iterator[list[Any]]:
        """Rows of entries page by page. No cursor stays open, which would hold the connection to an old state."""
        sql = f"SELECT {columns} FROM consentlib_entries WHERE idx >= ? AND idx < ? ORDER BY idx LIMIT {_PAGE}"
        end = 2**62 if stop is None else stop
        while start < end and (rows := self._rows(sql, (start, end))):
            yield rows
            start = rows[-1][0] + 1


class Transaction(View):
    """The one writer, from `BEGIN IMMEDIATE` to a durable commit."""

    found = NOTHING_FOUND

    def __enter__(self) -> Self:
        store = self._store
        if threading.get_ident() in store._bound:
            raise StoreUnavailableError("expected one write transaction at a time in a thread, found one open")
        store._seat()
        try:
            conn = store._take()
            try:
                conn.execute("BEGIN IMMEDIATE")
                newer = schema.unknown_migrations(conn)
            except sqlite3.Error as error:
                self._undo(conn)
                store._fail(error)
            if newer:  # it came while this process had the ledger open; what is written now it could not read
                self._undo(conn)
                raise StoreUnavailableError(f"expected tables of this or an older version, found newer ones (`{newer[-1]}`)")
        except BaseException:
            store._unseat()
            raise
        self._conn = conn
        self._head: Head | None = None
        self._failed = False
        store._views.add(self)
        return self

    def __exit__(self, kind: type[BaseException] | None, *_: object) -> None:
        store = self._store
        conn, self._conn = self._conn, NOT_OPEN
        if conn is FORKED:
            raise StoreUnavailableError("expected the process that began the transaction, found a child of it")
        try:
            if kind is None:
                if self._failed:
                    raise StoreUnavailableError("expected a transaction that can commit, found one with a failed change")
                conn.execute("COMMIT")
        except sqlite3.Error as error:
            store._fail(error)
        finally:
            store._views.discard(self)
            self._undo(conn)
            store._unseat()

    def head(self) -> Head:
        """See `View.head`. Read once, as nobody else can change it meanwhile."""
        if self._head is None or not self._conn.in_transaction:
            self._head = super().head()
        return self._head

    def apply(self, changes: Changes) -> None:
        """See `Transaction.apply`: one statement a table."""
        self._head = None
        # SQLite may end the transaction by itself on an error; what came after that would be committed by halves.
        if self._failed or not self._conn.in_transaction:
            self._failed = True
            raise StoreUnavailableError("expected an open transaction, found one that has failed")
        try:
            _apply(self._conn, changes)
        except sqlite3.Error as error:
            self._failed = True
            self._store._fail(error)
        except BaseException:
            self._failed = True
            raise

    def _purge(self) -> None:
        try:
            schema.rewrite_forgotten(self._conn)
        except sqlite3.Error as error:
            self._store._fail(error)


def _apply(conn: sqlite3.Connection, changes: Changes) -> None:
    if entries := changes.entries:
        conn.executemany(
            "INSERT INTO consentlib_entries (idx, time, kind, leaf, hash) VALUES (?, ?, ?, ?, ?)",
            [(one.index, one.time, one.kind, _text(one.leaf), one.hash) for one in entries],
        )
        conn.executemany(
            "INSERT INTO consentlib_parts (id, idx, name, salt, data) VALUES (?, ?, ?, ?, ?)",
            [
                (one.index * schema.PARTS_AN_ENTRY + place, one.index, name, *((part[0], _text(part[1])) if part else _GONE))
                for one in entries
                for place, (name, part) in enumerate(one.parts.items())
            ],
        )
        about = [(id, one.index) for one in entries for id in one.about]
        conn.executemany("INSERT OR IGNORE INTO consentlib_about (address, idx) VALUES (?, ?)", about)
    for sql, rows in (
        (_PUT_NODE, changes.nodes),
        (_PUT_LIFE, _refold(conn, changes)),
        (_PUT_ORDER, [(id, *order) for id, order in changes.orders]),
        (_PUT_EVENT, changes.events),
        (_PUT_SUPPRESSION, changes.suppressions),
    ):
        if rows:
            conn.executemany(sql, rows)
    if changes.erase_parts:
        _erase(conn, changes.erase_parts)
    if changes.forget_suppressions:
        keys = [(key,) for key in changes.forget_suppressions]
        conn.executemany("DELETE FROM consentlib_suppressions WHERE key = ?", keys)
    if changes.forget_about:
        conn.executemany("DELETE FROM consentlib_about WHERE address = ? AND idx = ?", changes.forget_about)
    if changes.forget_orders:
        conn.executemany("DELETE FROM consentlib_orders WHERE address = ? AND order_id = ?", changes.forget_orders)
    if changes.forget_lives:
        ids = [(id,) for id in changes.forget_lives]
        conn.executemany("DELETE FROM consentlib_lives WHERE id = ?", ids)
        conn.executemany("DELETE FROM consentlib_orders WHERE address = ?", ids)
    if changes.forget_lives or changes.forget_orders:
        conn.execute("INSERT OR IGNORE INTO consentlib_forgotten VALUES (1)")
    conn.execute(
        "UPDATE consentlib_head SET size = ?, tip = ?, time = ?, frontier = ?, scope = ?, unverified = ? WHERE id = 0",
        changes.head,
    )


def _refold(conn: sqlite3.Connection, changes: Changes) -> list[Life]:
    """Lives that are there and differ in their fold alone get the new one, which touches no index. Gives those still to put."""
    first = changes.entries[0].index if changes.entries else changes.head.size
    old = [life for life in changes.lives if life.index < first]
    if not old or conn.executemany(_REFOLD, [(life.fold, *life[:5]) for life in old]).rowcount < len(old):
        return changes.lives
    return [life for life in changes.lives if life.index >= first]


def _erase(conn: sqlite3.Connection, parts: Sequence[tuple[int, str]]) -> None:
    conn.execute("INSERT INTO consentlib_erasing VALUES (1)")  # the guard lets parts go only now
    for index, name in parts:
        first = index * schema.PARTS_AN_ENTRY
        done = conn.execute(
            """UPDATE consentlib_parts SET salt = NULL, data = NULL
                WHERE id >= ? AND id < ? AND name = ? AND coalesce(salt, data) IS NOT NULL""",
            (first, first + schema.PARTS_AN_ENTRY, name),
        )
        if done.rowcount != 1:
            raise StoreUnavailableError(f"expected part `{name}` of entry `{index}`, found none")
    conn.execute("DELETE FROM consentlib_erasing")


def _text(data: bytes) -> str | bytes:
    try:
        return data.decode()
    except UnicodeDecodeError:
        return data


def _order(row: tuple[Any, ...]) -> Order:
    found = Order._make(row[1:])
    return found._replace(offered=bool(found.offered), declined=bool(found.declined))
