"""A store in an SQLite file: `sqlite:///relative.db`, `sqlite:////absolute.db`, alone or in the shop's own database.

Every commit is durable (WAL with `synchronous=FULL`). A thread has a connection to itself, one more for each view that
it holds open; writers of one process queue at a lock, those of several at the file. A child after a fork opens its own
and leaves the parent's alone.
"""

from __future__ import annotations

import os
import sqlite3
import threading
import time
from collections.abc import Iterator, Mapping, Sequence
from itertools import chain
from pathlib import Path
from types import MappingProxyType
from typing import Any, Final, NoReturn, Self
from weakref import WeakSet

from consentlib.errors import (
    InputError,
    LedgerExistsError,
    LedgerMissingError,
    LedgerVersionError,
    StoreUnavailableError,
)
from consentlib.fold import Order
from consentlib.log import Entry, genesis
from consentlib.store import sqlite_schema as schema
from consentlib.store.protocol import Changes, EventRow, Head, Life, Suppression

_WAIT: Final = 30.0
_PAGE: Final = 256
_FIXED_RELEASE: Final = (3, 51, 3)  # before it, SQLite may in rare cases corrupt a database when the WAL restarts
_PRAGMAS: Final = {
    "synchronous": ("FULL", 2),
    "recursive_triggers": ("ON", 1),
    "foreign_keys": ("ON", 1),
    "trusted_schema": ("OFF", 0),
    "secure_delete": ("ON", 1),
    "temp_store": ("MEMORY", 2),
}

_HEAD: Final = "SELECT size, tip, time, frontier, scope, unverified FROM consentlib_head WHERE id = 0"
_LIFE: Final = "SELECT key, id, since, idx, suppressed, fold FROM consentlib_lives"
_LOOKUP: Final = """SELECT h.size, h.tip, h.time, h.frontier, h.scope, h.unverified,
    l.key, l.id, l.since, l.idx, l.suppressed, l.fold
    FROM consentlib_head AS h LEFT JOIN consentlib_lives AS l ON l.key = ? WHERE h.id = 0 ORDER BY l.idx"""
_ORDER: Final = f"SELECT address, {', '.join(schema.ORDER_COLUMNS)} FROM consentlib_orders WHERE address = ?"


def _put(table: str, key: str, columns: str) -> str:
    """The statement that puts a row, in place of the one with the same key."""
    names = columns.split()
    changed = ", ".join(f"{name} = excluded.{name}" for name in names if name not in key.split(", "))
    values = ", ".join("?" * len(names))
    return f"INSERT INTO {table} ({', '.join(names)}) VALUES ({values}) ON CONFLICT ({key}) DO UPDATE SET {changed}"


_PUT_LIFE: Final = _put("consentlib_lives", "id", "key id since idx suppressed fold")
_PUT_ORDER: Final = _put("consentlib_orders", "address, order_id", " ".join(("address", *schema.ORDER_COLUMNS)))
_PUT_EVENT: Final = _put("consentlib_events", "id", "id idx digest")
_PUT_SUPPRESSION: Final = _put("consentlib_suppressions", "key", "key erased_at review_at stops")
_PUT_NODE: Final = _put("consentlib_nodes", "level, position", "level position hash")

_creating = threading.Lock()
_stores: WeakSet[SqliteStore] = WeakSet()


class SqliteStore:
    """The store of `sqlite:` URLs."""

    def __init__(self, path: Path) -> None:
        self._path = path
        self._closed = False
        self.meta: Mapping[str, str] = MappingProxyType({})
        self._begin_process()
        _stores.add(self)

    @classmethod
    def create(cls, url: str, meta: Mapping[str, str]) -> Self:
        """Begin a ledger in a new file, of mode 0600, or in a database without one. `meta` must name the `origin`.

        Raises `LedgerExistsError`, also when another process was quicker.
        """
        if "origin" not in meta:
            raise InputError("expected `origin` among what describes the ledger, found none")
        store = cls(_path(url))
        with _creating:
            store._make_file()
            try:
                store._create(meta)
            except BaseException:
                store.close()
                raise
        return store

    @classmethod
    def open(cls, url: str) -> Self:
        """A ledger that is there; a step to a newer format of tables is taken on the way.

        Raises `LedgerMissingError` where there is no file, no ledger in it, or no database, `LedgerVersionError` where
        a newer version of this library has been.
        """
        store = cls(_path(url))
        if not store._path.is_file():
            raise LedgerMissingError(f"expected a ledger in `{store._path}`, found no file")
        try:
            store._open()
        except BaseException:
            store.close()
            raise
        return store

    # Opening and creating

    def _make_file(self) -> None:
        try:
            # Closing any descriptor of a database drops this process's locks on it: hence only a file just made.
            os.close(os.open(self._path, os.O_RDWR | os.O_CREAT | os.O_EXCL, 0o600))
        except FileExistsError:
            pass
        except OSError as error:
            raise StoreUnavailableError(f"expected to make the file `{self._path}`, found `{error.strerror}`") from error

    def _create(self, meta: Mapping[str, str]) -> None:
        conn = self._connect()
        try:
            self._refuse_existing(conn)
            if conn.execute("PRAGMA encoding").fetchall() != [("UTF-8",)]:
                raise StoreUnavailableError(f"expected a database in UTF-8 in `{self._path}`, found another encoding")
            self._switch_to_wal(conn)
            conn.execute("BEGIN IMMEDIATE")
            self._refuse_existing(conn)
            schema.migrate(conn)
            conn.executemany("INSERT INTO consentlib_meta (name, value) VALUES (?, ?)", meta.items())
            conn.execute("INSERT INTO consentlib_head VALUES (0, 0, ?, 0, X'', 0, NULL)", (genesis(meta["origin"]),))
            conn.execute("COMMIT")
        except sqlite3.Error as error:
            if error.sqlite_errorcode == sqlite3.SQLITE_NOTADB:
                raise StoreUnavailableError(f"expected a database in `{self._path}`, found another file") from error
            self._fail(error)
        self._give_back(conn)
        self.meta = MappingProxyType(dict(meta))

    def _refuse_existing(self, conn: sqlite3.Connection) -> None:
        if schema.has_ledger(conn):
            raise LedgerExistsError(f"expected no ledger in `{self._path}`, found one")

    def _switch_to_wal(self, conn: sqlite3.Connection) -> None:
        end = time.monotonic() + _WAIT
        while True:  # the switch does not heed the busy timeout
            try:
                conn.execute("PRAGMA journal_mode = WAL").fetchall()
                return
            except sqlite3.OperationalError as error:
                if error.sqlite_errorcode & 0xFF != sqlite3.SQLITE_BUSY or time.monotonic() > end:
                    raise
                time.sleep(0.02)

    def _open(self) -> None:
        conn = self._connect()
        try:
            if not schema.has_ledger(conn):
                raise LedgerMissingError(f"expected a ledger in `{self._path}`, found a database without one")
            if newer := schema.unknown_migrations(conn):
                raise LedgerVersionError(
                    f"expected a ledger of this or an older version in `{self._path}`, found format `{newer[-1]}`"
                )
            if not schema.is_current(conn):
                conn.execute("BEGIN IMMEDIATE")
                schema.migrate(conn)
                conn.execute("COMMIT")
            self.meta = MappingProxyType(dict(conn.execute("SELECT name, value FROM consentlib_meta").fetchall()))
        except sqlite3.Error as error:
            if error.sqlite_errorcode == sqlite3.SQLITE_NOTADB:
                raise LedgerMissingError(f"expected a ledger in `{self._path}`, found a file of another kind") from error
            self._fail(error)
        self._give_back(conn)

    # Connections

    def _begin_process(self) -> None:
        self._local = threading.local()
        self._writing = threading.Lock()
        self._writer: int | None = None
        self._registering = threading.Lock()
        self._connections: list[tuple[threading.Thread, sqlite3.Connection]] = []
        self._views: WeakSet[_View] = WeakSet()

    def _connect(self) -> sqlite3.Connection:
        """A new connection of this thread. Connections of threads that ended are closed on this occasion."""
        with self._registering:
            if self._closed:
                raise StoreUnavailableError(f"expected an open store of `{self._path}`, found it closed")
            ended = [pair for pair in self._connections if not pair[0].is_alive()]
            for pair in ended:
                self._connections.remove(pair)
                pair[1].close()
            try:
                conn = sqlite3.connect(
                    f"{self._path.as_uri()}?mode=rw",
                    uri=True,
                    timeout=_WAIT,
                    isolation_level=None,
                    check_same_thread=False,
                )
                self._connections.append((threading.current_thread(), conn))
                for name, (setting, _) in _PRAGMAS.items():
                    conn.execute(f"PRAGMA {name} = {setting}").fetchall()
            except sqlite3.Error as error:
                self._fail(error)
        return conn

    def _take(self) -> sqlite3.Connection:
        """An idle connection of this thread, which must be given back."""
        idle: list[sqlite3.Connection] | None = getattr(self._local, "idle", None)
        return idle.pop() if idle else self._connect()

    def _give_back(self, conn: sqlite3.Connection) -> None:
        """Keep a connection that has no transaction for the next use by this thread."""
        if self._closed:
            conn.close()
        else:
            self._local.__dict__.setdefault("idle", []).append(conn)

    def _drop(self, conn: sqlite3.Connection) -> None:
        with self._registering:
            self._connections = [pair for pair in self._connections if pair[1] is not conn]
        conn.close()

    def _fail(self, error: sqlite3.Error) -> NoReturn:
        name = getattr(error, "sqlite_errorname", None) or type(error).__name__
        raise StoreUnavailableError(f"expected `{self._path}` to do its work, found `{name}`: {error}") from error

    # The protocol

    def lookup(self, key: bytes) -> tuple[Head, tuple[Life, ...]]:
        """See `Store.lookup`: one statement."""
        try:
            idle = self._local.idle
            rows = idle[-1].execute(_LOOKUP, (key,)).fetchall()
        except (AttributeError, IndexError):
            self._give_back(self._connect())
            return self.lookup(key)
        except sqlite3.Error as error:
            self._fail(error)
        if rows[0][6] is None:
            return Head._make(rows[0][:6]), ()
        return Head._make(rows[0][:6]), tuple([Life._make(row[6:]) for row in rows])

    def read(self) -> _View:
        """See `Store.read`."""
        return _View(self)

    def write(self) -> _Transaction:
        """See `Store.write`."""
        return _Transaction(self)

    def purge(self) -> bool:
        """See `Store.purge`: rewrites what was forgotten from, then empties the WAL.

        Freed space holds nothing, as `secure_delete` is on, but the copies that SQLite leaves where it splits a page of
        lives or orders: after something was forgotten, those tables are written afresh (a second for a million rows or
        so, in which writers wait).
        """
        with self.write() as transaction:
            transaction._purge()
        conn = self._take()
        try:
            conn.execute("PRAGMA busy_timeout = 1000").fetchall()
            [(busy, _, _)] = conn.execute("PRAGMA wal_checkpoint(TRUNCATE)").fetchall()
            conn.execute(f"PRAGMA busy_timeout = {_WAIT * 1000:.0f}").fetchall()
        except sqlite3.Error as error:
            self._drop(conn)
            self._fail(error)
        self._give_back(conn)
        return not busy

    def close(self) -> None:
        """See `Store.close`. Waits for a transaction of another thread; views that are open end."""
        mine = self._writer == threading.get_ident()
        if not mine:
            self._writing.acquire(timeout=_WAIT)
        with self._registering:
            self._closed = True
            connections, self._connections = self._connections, []
            self._local = threading.local()
        for _, conn in connections:
            conn.close()
        if not mine:
            self._writing.release()

    # For `doctor`

    def guards(self) -> list[str]:
        """Names of the append-only guards that are missing or altered."""
        with self.read() as view:
            return schema.missing_guards(view._conn)

    def health(self) -> dict[str, Any]:
        """Facts about the file and how it is opened: `wrong_pragmas` and `missing_guards` must be empty."""
        with self.read() as view:
            conn = view._conn

            def ask(name: str) -> Any:
                return conn.execute(f"PRAGMA {name}").fetchall()[0][0]

            return {
                "path": str(self._path),
                "mode": self._path.stat().st_mode & 0o777,
                "bytes": ask("page_count") * ask("page_size"),
                "journal_mode": ask("journal_mode"),
                "wrong_pragmas": [name for name, (_, value) in _PRAGMAS.items() if ask(name) != value],
                "missing_guards": schema.missing_guards(conn),
                "sqlite_version": sqlite3.sqlite_version,
                "wal_reset_race": sqlite3.sqlite_version_info < _FIXED_RELEASE,
            }


class _Ended:
    """What stands for the connection of a view that is not open."""

    def __init__(self, found: str) -> None:
        self._found = found

    def execute(self, *_: object) -> NoReturn:
        raise StoreUnavailableError(f"expected an open view, found {self._found}")

    executemany = execute


_NOT_OPEN: Final[Any] = _Ended("one that is not open")
_FORKED: Final[Any] = _Ended("one of the parent process")


class _View:
    """A read transaction on a connection that nothing else uses meanwhile."""

    def __init__(self, store: SqliteStore) -> None:
        self._store = store
        self._conn: sqlite3.Connection = _NOT_OPEN

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
        conn, self._conn = self._conn, _NOT_OPEN
        if conn is _FORKED:
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
        except sqlite3.Error as error:
            self._store._fail(error)

    def head(self) -> Head:
        """See `View.head`."""
        return Head._make(self._rows(_HEAD)[0])

    def lives(self, key: bytes) -> tuple[Life, ...]:
        """See `View.lives`."""
        return tuple(map(Life._make, self._rows(f"{_LIFE} WHERE key = ? ORDER BY idx", (key,))))

    def lives_by_id(self, ids: Sequence[str]) -> tuple[Life, ...]:
        """See `View.lives_by_id`."""
        found = [self._rows(f"{_LIFE} WHERE id = ?", (id,)) for id in dict.fromkeys(ids)]
        return tuple(map(Life._make, chain.from_iterable(found)))

    def orders(self, ids: Sequence[str], order: str | None = None) -> tuple[tuple[str, Order], ...]:
        """See `View.orders`."""
        sql, more = (_ORDER, ()) if order is None else (f"{_ORDER} AND order_id = ?", (order,))
        found = [self._rows(sql, (id, *more)) for id in dict.fromkeys(ids)]
        return tuple((row[0], _order(row)) for row in chain.from_iterable(found))

    def event(self, id: bytes) -> EventRow | None:
        """See `View.event`."""
        rows = self._rows("SELECT id, idx, digest FROM consentlib_events WHERE id = ?", (id,))
        return EventRow._make(rows[0]) if rows else None

    def suppression(self, key: bytes) -> Suppression | None:
        """See `View.suppression`."""
        rows = self._rows("SELECT key, erased_at, review_at, stops FROM consentlib_suppressions WHERE key = ?", (key,))
        return Suppression._make(rows[0]) if rows else None

    def about(self, id: str) -> tuple[int, ...]:
        """See `View.about`."""
        rows = self._rows("SELECT idx FROM consentlib_about WHERE address = ? ORDER BY idx", (id,))
        return tuple([index for (index,) in rows])

    def entries(self, start: int = 0, stop: int | None = None) -> Iterator[Entry]:
        """See `View.entries`."""
        for rows in self._pages("idx, CAST(leaf AS BLOB)", start, stop):
            first, last = rows[0][0] * schema.PARTS_AN_ENTRY, (rows[-1][0] + 1) * schema.PARTS_AN_ENTRY
            parts: dict[int, dict[str, Any]] = {index: {} for index, _ in rows}
            for id, name, salt, data in self._rows(
                "SELECT id, name, salt, CAST(data AS BLOB) FROM consentlib_parts WHERE id >= ? AND id < ?",
                (first, last),
            ):
                parts[id // schema.PARTS_AN_ENTRY][name] = None if salt is None and data is None else (salt, data)
            for index, leaf in rows:
                yield Entry(index, leaf, parts[index])

    def entry(self, index: int) -> Entry | None:
        """See `View.entry`."""
        return next(self.entries(index, index + 1), None)

    def kinds(self, start: int = 0, stop: int | None = None) -> Iterator[tuple[int, int, str]]:
        """See `View.kinds`."""
        for rows in self._pages("idx, time, kind", start, stop):
            yield from rows

    def node(self, level: int, position: int) -> bytes:
        """See `View.node`."""
        if level == 0:
            rows = self._rows("SELECT hash FROM consentlib_entries WHERE idx = ?", (position,))
        else:
            sql = "SELECT hash FROM consentlib_nodes WHERE level = ? AND position = ?"
            rows = self._rows(sql, (level, position))
        if not rows:
            raise KeyError((level, position))
        return bytes(rows[0][0])

    def _pages(self, columns: str, start: int, stop: int | None) -> Iterator[list[Any]]:
        """Rows of entries page by page. No cursor stays open, which would hold the connection to an old state."""
        sql = f"SELECT {columns} FROM consentlib_entries WHERE idx >= ? AND idx < ? ORDER BY idx LIMIT {_PAGE}"
        end = 2**62 if stop is None else stop
        while rows := self._rows(sql, (start, end)):
            yield rows
            start = rows[-1][0] + 1


class _Transaction(_View):
    """The one writer, from `BEGIN IMMEDIATE` to a durable commit."""

    def __enter__(self) -> Self:
        store = self._store
        if store._writer == threading.get_ident():
            raise StoreUnavailableError("expected one write transaction at a time in a thread, found one open")
        if not store._writing.acquire(timeout=_WAIT):
            raise StoreUnavailableError(f"expected the writer's turn within {_WAIT:.0f} s, found another transaction")
        try:
            conn = store._take()
            try:
                conn.execute("BEGIN IMMEDIATE")
            except sqlite3.Error as error:
                self._undo(conn)
                store._fail(error)
        except BaseException:
            store._writing.release()
            raise
        store._writer = threading.get_ident()
        self._conn = conn
        self._failed = False
        store._views.add(self)
        return self

    def __exit__(self, kind: type[BaseException] | None, *_: object) -> None:
        store = self._store
        conn, self._conn = self._conn, _NOT_OPEN
        if conn is _FORKED:
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
            store._writer = None
            store._writing.release()

    def apply(self, changes: Changes) -> None:
        """See `Transaction.apply`: one statement a table."""
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
                (one.index * schema.PARTS_AN_ENTRY + place, one.index, name, part[0], _text(part[1]))
                for one in entries
                for place, (name, part) in enumerate(one.parts.items())
            ],
        )
        about = [(id, one.index) for one in entries for id in one.about]
        conn.executemany("INSERT OR IGNORE INTO consentlib_about (address, idx) VALUES (?, ?)", about)
    for sql, rows in (
        (_PUT_NODE, changes.nodes),
        (_PUT_LIFE, changes.lives),
        (_PUT_ORDER, [(id, *order) for id, order in changes.orders]),
        (_PUT_EVENT, changes.events),
        (_PUT_SUPPRESSION, changes.suppressions),
    ):
        if rows:
            conn.executemany(sql, rows)
    if changes.erase_parts:
        _erase(conn, changes.erase_parts)
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


def _erase(conn: sqlite3.Connection, parts: Sequence[tuple[int, str]]) -> None:
    conn.execute("INSERT INTO consentlib_erasing VALUES (1)")  # the guard lets parts go only now
    for index, name in parts:
        first = index * schema.PARTS_AN_ENTRY
        done = conn.execute(
            "UPDATE consentlib_parts SET salt = NULL, data = NULL WHERE id >= ? AND id < ? AND name = ? AND data IS NOT NULL",
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


def _path(url: str) -> Path:
    text = url.removeprefix("sqlite:///")
    if text == url or text in ("", ":memory:"):
        raise InputError("expected `sqlite:///` and the path of a file, found another form of URL")
    return Path(text).absolute()


def _after_fork_in_child() -> None:
    """Forget the parent's connections without ever closing them, which could delete its WAL."""
    import ctypes

    for store in _stores:
        for _, conn in store._connections:
            ctypes.pythonapi.Py_IncRef(ctypes.py_object(conn))
        for view in store._views:
            view._conn = _FORKED
        store._begin_process()


if hasattr(os, "register_at_fork"):
    os.register_at_fork(after_in_child=_after_fork_in_child)
