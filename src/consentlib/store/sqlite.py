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
from collections.abc import Mapping
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
from consentlib.log import genesis
from consentlib.store import sqlite_schema as schema
from consentlib.store.protocol import Head, Life
from consentlib.store.sqlite_view import FORKED, Transaction, View
from consentlib.store.sqlite_view import WAIT as _WAIT

_FIXED_RELEASE: Final = (3, 51, 3)  # before it, SQLite may in rare cases corrupt a database when the WAL restarts
_PRAGMAS: Final = {
    "synchronous": ("FULL", 2),
    "recursive_triggers": ("ON", 1),
    "foreign_keys": ("ON", 1),
    "trusted_schema": ("OFF", 0),
    "secure_delete": ("ON", 1),
    "temp_store": ("MEMORY", 2),
    "cache_size": ("-16000", -16000),  # KiB; with SQLite's 2,000 a batch of a thousand spills its pages, half again as slow
}

_LOOKUP: Final = """SELECT h.size, h.tip, h.time, h.frontier, h.scope, h.unverified,
    l.key, l.id, l.since, l.idx, l.suppressed, l.fold
    FROM consentlib_head AS h LEFT JOIN consentlib_lives AS l ON l.key = ? WHERE h.id = 0 ORDER BY l.idx"""
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

    def __reduce__(self) -> tuple[Any, ...]:
        """See `Store`: opened anew where it is unpickled."""
        return type(self).open, (f"sqlite:///{self._path}",)

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
        try:
            conn = self._connect()
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
        try:
            conn = self._connect()
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
        self._idle: list[tuple[threading.Thread, list[sqlite3.Connection]]] = []
        self._views: WeakSet[View] = WeakSet()

    def _connect(self) -> sqlite3.Connection:
        """A new connection of this thread. Connections of threads that ended are closed on this occasion."""
        with self._registering:
            if self._closed:
                raise StoreUnavailableError(f"expected an open store of `{self._path}`, found it closed")
            if self._path in _inherited:
                raise StoreUnavailableError(
                    f"expected a process that can open `{self._path}`, found a child of one that was reading or writing it",
                    note="leave views and transactions before a fork; SQLite's locks would be wrong in this process",
                )
            for pair in [pair for pair in self._connections if not pair[0].is_alive()]:
                self._connections.remove(pair)
                pair[1].close()
            self._idle = [pair for pair in self._idle if pair[0].is_alive()]
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
        return conn

    def _take(self) -> sqlite3.Connection:
        """An idle connection of this thread, which must be given back."""
        try:
            conn: sqlite3.Connection = self._local.idle.pop()
        except (AttributeError, IndexError):
            try:
                conn = self._connect()
            except sqlite3.Error as error:
                self._fail(error)
        return conn

    def _give_back(self, conn: sqlite3.Connection) -> None:
        """Keep a connection that has no transaction for the next use by this thread."""
        if self._closed:
            conn.close()
            return
        try:
            self._local.idle.append(conn)
        except AttributeError:
            self._local.idle = [conn]
            self._idle.append((threading.current_thread(), self._local.idle))

    def _drop(self, conn: sqlite3.Connection) -> None:
        with self._registering:
            self._connections = [pair for pair in self._connections if pair[1] is not conn]
        conn.close()

    def _close_idle(self) -> None:
        closed = set()
        for _, idle in self._idle:
            while idle:
                conn = idle.pop()  # what is in use is not in the list
                conn.close()
                closed.add(id(conn))
        self._connections = [pair for pair in self._connections if id(pair[1]) not in closed]

    def _rest(self) -> None:
        """Before a fork: let no connection be opened, wait a little for those in use by other threads, close all."""
        self._registering.acquire()
        me, end = threading.current_thread(), time.monotonic() + _WAIT_TO_FORK
        while True:
            self._close_idle()
            if all(thread is me for thread, _ in self._connections) or time.monotonic() > end:
                return
            time.sleep(0.001)

    def _fail(self, error: sqlite3.Error) -> NoReturn:
        name = getattr(error, "sqlite_errorname", None) or type(error).__name__
        raise StoreUnavailableError(f"expected `{self._path}` to do its work, found `{name}`: {error}") from error

    # The protocol

    def lookup(self, key: bytes) -> tuple[Head, tuple[Life, ...]]:
        """See `Store.lookup`: one statement."""
        conn = self._take()
        try:
            rows = conn.execute(_LOOKUP, (key,)).fetchall()
        except sqlite3.Error as error:
            self._drop(conn)
            self._fail(error)
        self._give_back(conn)
        if rows[0][6] is None:
            return Head._make(rows[0][:6]), ()
        if len(rows) > 1:  # one entry may begin two lives: that of who had the address, and of who has it from then on
            rows.sort(key=lambda row: (row[9], row[8]))
        return Head._make(rows[0][:6]), tuple([Life._make(row[6:]) for row in rows])

    def read(self) -> View:
        """See `Store.read`."""
        return View(self)

    def write(self) -> Transaction:
        """See `Store.write`."""
        return Transaction(self)

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
        """See `Store.close`. Waits for a transaction of another thread; views that are open end when they are left."""
        mine = self._writer == threading.get_ident()
        if not mine:
            self._writing.acquire(timeout=_WAIT)
        with self._registering:
            self._closed = True
            self._close_idle()
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


def _path(url: str) -> Path:
    text = url.removeprefix("sqlite:///")
    if text == url or text in ("", ":memory:"):
        raise InputError("expected `sqlite:///` and the path of a file, found another form of URL")
    return Path(text).absolute()


# SQLite counts its locks a file and process, and a child inherits the count without the locks: with a connection of the
# parent around, a new one in the child would take for held what is not. So connections are closed before a fork, and a
# child of a process that was in the middle of reading or writing is refused.

_WAIT_TO_FORK: Final = 2.0
_inherited: set[Path] = set()
_resting: list[SqliteStore] = []


def _before_fork() -> None:
    _resting.extend(_stores)
    for store in _resting:
        store._rest()


def _after_fork_in_parent() -> None:
    while _resting:
        _resting.pop()._registering.release()


def _after_fork_in_child() -> None:
    global _creating
    _creating = threading.Lock()
    for store in _resting:
        for _, conn in store._connections:
            import ctypes

            _inherited.add(store._path)
            ctypes.pythonapi.Py_IncRef(ctypes.py_object(conn))  # never closed here: that could delete the parent's WAL
        for view in store._views:
            view._conn = FORKED
        store._begin_process()
    _resting.clear()


if hasattr(os, "register_at_fork"):
    os.register_at_fork(before=_before_fork, after_in_parent=_after_fork_in_parent, after_in_child=_after_fork_in_child)
