"""A checkpoint store in a second SQLite database, elsewhere, which may keep the checkpoints of several ledgers."""

from __future__ import annotations

import os
import sqlite3
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Final

from consentlib.checkpoints.stores import conflict, covered_size
from consentlib.errors import StoreUnavailableError
from consentlib.journal import FileJournal, StopJournal
from consentlib.store.sqlite_file import switch_to_wal
from consentlib.store.sqlite_schema import has_ledger
from consentlib.store.turn import WAIT

_TABLE: Final = """CREATE TABLE IF NOT EXISTS consentlib_checkpoints (
    log TEXT NOT NULL, size INTEGER NOT NULL, written_at REAL NOT NULL, note BLOB NOT NULL,
    PRIMARY KEY (log, size)) STRICT, WITHOUT ROWID"""
_NEWEST: Final = "SELECT note, written_at FROM consentlib_checkpoints WHERE log = ? ORDER BY size DESC LIMIT 1"
_PUT: Final = """INSERT INTO consentlib_checkpoints (log, size, written_at, note) VALUES (?, ?, ?, ?)
    ON CONFLICT (log, size) DO UPDATE SET written_at = excluded.written_at, note = excluded.note"""


class SqliteCheckpoints:
    """The checkpoints of `log` in the database at `path`, which must hold no ledger: a restore would take back both.

    The stop journal is a file beside it: every check asks whether it changed, and a look at a file's size is quick.
    Each call has a connection of its own, so that threads and children after a fork need no care.
    """

    def __init__(self, path: Path, log: str) -> None:
        self.place = path.absolute()
        self._log = log
        self.journal: StopJournal = FileJournal(self.place.with_name(f"{path.name}.{log}.stops"))

    def prepare(self, since: int = 0) -> None:
        with self._connected(make=True) as conn:
            conn.execute(_TABLE)
        self.journal.begin(since)

    def read(self) -> bytes | None:
        rows = self._ask(_NEWEST)
        return rows[0][0] if rows else None

    def replace(self, old: bytes | None, new: bytes) -> None:
        with self._connected(make=True) as conn:
            conn.execute("BEGIN IMMEDIATE")
            conn.execute(_TABLE)
            if [note for note, _ in conn.execute(_NEWEST, (self._log,))] != ([] if old is None else [old]):
                raise conflict()
            conn.execute(_PUT, (self._log, covered_size(new), time.time(), new))
            conn.execute("COMMIT")

    def history(self) -> list[bytes]:
        return [note for note, _ in self._ask("SELECT note, size FROM consentlib_checkpoints WHERE log = ? ORDER BY size")]

    def newest_at(self) -> float | None:
        rows = self._ask(_NEWEST)
        return rows[0][1] if rows else None

    def _ask(self, query: str) -> list[tuple[bytes, float]]:
        if not self.place.is_file():
            return []
        with self._connected() as conn:
            conn.execute(_TABLE)
            return conn.execute(query, (self._log,)).fetchall()

    @contextmanager
    def _connected(self, *, make: bool = False) -> Iterator[sqlite3.Connection]:
        """A connection for one use; what it has not committed when it is left is undone."""
        try:
            with _using:
                if make:
                    self._make_file()
                conn = sqlite3.connect(f"{self.place.as_uri()}?mode=rw", uri=True, timeout=WAIT, isolation_level=None)
                try:
                    if has_ledger(conn):
                        problem = "expected a database without a ledger for the checkpoints, found one"
                        raise StoreUnavailableError(problem, note="what restores the ledger must not restore its checkpoints")
                    switch_to_wal(conn)
                    conn.execute("PRAGMA synchronous = FULL").fetchall()
                    yield conn
                finally:
                    conn.close()
        except sqlite3.Error as error:
            name = getattr(error, "sqlite_errorname", None) or type(error).__name__
            raise StoreUnavailableError(
                f"expected to use the checkpoints in `{self.place}`, found `{name}`: {error}"
            ) from error
        except OSError as error:
            problem = f"expected a database for checkpoints at `{self.place}`, found: {error.strerror}"
            raise StoreUnavailableError(problem, note="pass `checkpoints`, or set CONSENTLIB_CHECKPOINTS") from error

    def _make_file(self) -> None:
        """For its owner alone, and so are those that SQLite puts beside it."""
        self.place.parent.mkdir(parents=True, exist_ok=True, mode=0o700)
        # Closing any descriptor of a database drops this process's locks on it: hence only a file just made.
        try:
            os.close(os.open(self.place, os.O_RDWR | os.O_CREAT | os.O_EXCL, 0o600))
        except FileExistsError:
            pass


# SQLite counts its locks a file and process, and a child inherits the count without the locks. So nothing of a process is
# connected while it forks.
_using = threading.Lock()
if hasattr(os, "register_at_fork"):
    os.register_at_fork(before=_using.acquire, after_in_parent=_using.release, after_in_child=_using.release)
