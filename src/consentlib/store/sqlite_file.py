"""An SQLite file as several threads and processes use it: connections, waiting, forks, and bytes that must go for good.

Every commit is durable (WAL with `synchronous=FULL`). A thread has a connection to itself, one more for each view that
it holds open; writers of one process queue at a lock, those of several at the file. A child after a fork opens its own
and leaves the parent's alone.
"""

from __future__ import annotations

import os
import sqlite3
import threading
import time
from pathlib import Path
from typing import Final, NoReturn
from weakref import WeakSet

from consentlib.damage import damaged
from consentlib.errors import LedgerError, StoreUnavailableError
from consentlib.files import leave_line, stand_in_line
from consentlib.store.turn import WAIT, Turn

PRAGMAS: Final = {
    "synchronous": ("FULL", 2),
    "recursive_triggers": ("ON", 1),
    "foreign_keys": ("ON", 1),
    "trusted_schema": ("OFF", 0),
    "secure_delete": ("ON", 1),
    "temp_store": ("MEMORY", 2),
    "cache_size": ("-16000", -16000),  # KiB; with SQLite's 2,000 a batch of a thousand spills its pages, half again as slow
}

DEMANDED: Final = ("synchronous", "recursive_triggers", "foreign_keys", "secure_delete")
"""Those that a connection of the shop's needs to write to a ledger: what they guard is not its own business alone."""

_files: WeakSet[SqliteFile] = WeakSet()


def prepare(connection: sqlite3.Connection) -> None:
    """Make a connection of the shop's fit for `Ledger.bind`: durable commits, guards that hold, erased bytes overwritten.

    Once a connection, and outside of transactions, in which SQLite would not heed it: raises `LedgerError` there.
    """
    if connection.in_transaction:
        raise LedgerError("expected a connection without an open transaction, found one in it")
    for name in DEMANDED:
        sqlite3.Cursor(connection).execute(f"PRAGMA {name} = {PRAGMAS[name][0]}").fetchall()


def switch_to_wal(conn: sqlite3.Connection) -> None:
    """Write a log ahead from now on, durably; waits for others as long as a writer does."""
    end = time.monotonic() + WAIT
    while True:  # the switch does not heed the busy timeout
        try:
            conn.execute("PRAGMA journal_mode = WAL").fetchall()
            return
        except sqlite3.OperationalError as error:
            if error.sqlite_errorcode & 0xFF != sqlite3.SQLITE_BUSY or time.monotonic() > end:
                raise
            time.sleep(0.02)


class SqliteFile:
    """A database file and this process's connections to it."""

    _creating = threading.Lock()  # in one process, one file is begun at a time

    def __init__(self, path: Path) -> None:
        self._path = path
        self._closed = False
        self._turn = Turn()
        self._begin_process()
        _files.add(self)

    def _make_file(self) -> bool:
        """Make the file, of mode 0600. False where there is one."""
        try:
            # Closing any descriptor of a database drops this process's locks on it: hence only a file just made.
            os.close(os.open(self._path, os.O_RDWR | os.O_CREAT | os.O_EXCL, 0o600))
        except FileExistsError:
            return False
        except OSError as error:
            raise StoreUnavailableError(f"expected to make the file `{self._path}`, found `{error.strerror}`") from error
        return True

    def _begin_process(self) -> None:
        self._local = threading.local()
        self._place: int | None = None
        self._registering = threading.Lock()
        self._connections: list[tuple[threading.Thread, sqlite3.Connection]] = []
        self._idle: list[tuple[threading.Thread, list[sqlite3.Connection]]] = []

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
                timeout=WAIT,
                isolation_level=None,
                check_same_thread=False,
            )
            self._connections.append((threading.current_thread(), conn))
        for name, (setting, _) in PRAGMAS.items():
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

    def _seat(self) -> None:
        """Wait for the writer's turn: among the threads of this process, then among processes.

        SQLite's own wait naps ever longer, so that who waits long loses to who comes fresh: of eight writers one waited for
        more than ten seconds. So they queue at its log before they ask it, which never locks that file itself.
        """
        self._turn.take(WAIT)
        self._place = stand_in_line(self._path.with_name(f"{self._path.name}-wal"), WAIT)

    def _unseat(self) -> None:
        place, self._place = self._place, None
        leave_line(place)
        self._turn.leave()

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

    def _fail(self, error: sqlite3.Error | OverflowError) -> NoReturn:
        if not hasattr(error, "sqlite_errorcode") and isinstance(error, (sqlite3.OperationalError, OverflowError)):
            raise damaged(error) from None  # a text that is not UTF-8, which the driver repeats, or a number out of range
        name = getattr(error, "sqlite_errorname", None) or type(error).__name__
        raise StoreUnavailableError(f"expected `{self._path}` to do its work, found `{name}`: {error}") from error

    def _inherit(self) -> None:
        """In a child after a fork: leave the parent's connections alone and begin anew."""
        for _, conn in self._connections:
            import ctypes

            _inherited.add(self._path)
            ctypes.pythonapi.Py_IncRef(ctypes.py_object(conn))  # never closed here: that could delete the parent's WAL
        if self._place is not None:
            os.close(self._place)  # or the parent's turn would last as long as this child
        self._begin_process()

    def _truncate_wal(self) -> bool:
        """Empty the WAL, with what it still holds of erased bytes. False where a reader prevents it."""
        conn = self._take()
        try:
            conn.execute("PRAGMA busy_timeout = 1000").fetchall()
            [(busy, _, _)] = conn.execute("PRAGMA wal_checkpoint(TRUNCATE)").fetchall()
            conn.execute(f"PRAGMA busy_timeout = {WAIT * 1000:.0f}").fetchall()
        except sqlite3.Error as error:
            self._drop(conn)
            self._fail(error)
        self._give_back(conn)
        return not busy

    def close(self) -> None:
        """Let go of everything. Waits for a transaction of another thread; views that are open end when they are left."""
        waited = self._turn.try_to_take(WAIT)
        with self._registering:
            self._closed = True
            self._close_idle()
        if waited:
            self._turn.leave()


# SQLite counts its locks a file and process, and a child inherits the count without the locks: with a connection of the
# parent around, a new one in the child would take for held what is not. So connections are closed before a fork, and a
# child of a process that was in the middle of reading or writing is refused.

_WAIT_TO_FORK: Final = 2.0
_inherited: set[Path] = set()
_resting: list[SqliteFile] = []


def _before_fork() -> None:
    _resting.extend(_files)
    for file in _resting:
        file._rest()


def _after_fork_in_parent() -> None:
    while _resting:
        _resting.pop()._registering.release()


def _after_fork_in_child() -> None:
    SqliteFile._creating = threading.Lock()
    for file in _resting:
        file._inherit()
    _resting.clear()


if hasattr(os, "register_at_fork"):
    os.register_at_fork(before=_before_fork, after_in_parent=_after_fork_in_parent, after_in_child=_after_fork_in_child)
