"""A store in an SQLite file: `sqlite:///relative.db`, `sqlite:////absolute.db`, alone or in the shop's own database."""

from __future__ import annotations

import sqlite3
from collections.abc import Mapping
from pathlib import Path
from types import MappingProxyType
from typing import Any, Final, Self
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
from consentlib.store.protocol import NOTHING_WANTED, Head, Life, Wanted, system_clock
from consentlib.store.sqlite_bound import BoundSqliteStore
from consentlib.store.sqlite_file import PRAGMAS, SqliteFile, switch_to_wal
from consentlib.store.sqlite_view import FORKED, Transaction, View
from consentlib.store.turn import WAIT

_FIXED_RELEASE: Final = (3, 51, 3)  # before it, SQLite may in rare cases corrupt a database when the WAL restarts
_LOOKUP: Final = """SELECT h.size, h.tip, h.time, h.frontier, h.scope, h.unverified,
    l.key, l.id, l.since, l.idx, l.suppressed, l.fold
    FROM consentlib_head AS h LEFT JOIN consentlib_lives AS l ON l.key = ? WHERE h.id = 0 ORDER BY l.idx"""


class SqliteStore(SqliteFile):
    """The store of `sqlite:` URLs."""

    clock = staticmethod(system_clock)

    def __init__(self, path: Path) -> None:
        super().__init__(path)
        self.meta: Mapping[str, str] = MappingProxyType({})

    @classmethod
    def create(cls, url: str, meta: Mapping[str, str]) -> Self:
        """Begin a ledger in a new file, of mode 0600, or in a database without one. `meta` must name the `origin`.

        Raises `LedgerExistsError`, also when another process was quicker.
        """
        if "origin" not in meta:
            raise InputError("expected `origin` among what describes the ledger, found none")
        store = cls(_path(url))
        with cls._creating:
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

    def _create(self, meta: Mapping[str, str]) -> None:
        try:
            conn = self._connect()
            try:
                self._make_ledger(conn, meta)
            except BaseException:
                self._drop(conn)  # with the lock it may hold, for which other creators wait
                raise
        except sqlite3.Error as error:
            if error.sqlite_errorcode == sqlite3.SQLITE_NOTADB:
                raise StoreUnavailableError(f"expected a database in `{self._path}`, found another file") from error
            self._fail(error)
        self._give_back(conn)
        self.meta = MappingProxyType(dict(meta))

    def _make_ledger(self, conn: sqlite3.Connection, meta: Mapping[str, str]) -> None:
        self._refuse_existing(conn)
        if conn.execute("PRAGMA encoding").fetchall() != [("UTF-8",)]:
            raise StoreUnavailableError(f"expected a database in UTF-8 in `{self._path}`, found another encoding")
        switch_to_wal(conn)
        conn.execute("BEGIN IMMEDIATE")
        self._refuse_existing(conn)
        schema.migrate(conn)
        conn.executemany("INSERT INTO consentlib_meta (name, value) VALUES (?, ?)", meta.items())
        conn.execute("INSERT INTO consentlib_head VALUES (0, 0, ?, 0, X'', 0, NULL)", (genesis(meta["origin"]),))
        conn.execute("COMMIT")

    def _refuse_existing(self, conn: sqlite3.Connection) -> None:
        if schema.has_ledger(conn):
            raise LedgerExistsError(f"expected no ledger in `{self._path}`, found one")

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
            if getattr(error, "sqlite_errorcode", None) == sqlite3.SQLITE_NOTADB:
                raise LedgerMissingError(f"expected a ledger in `{self._path}`, found a file of another kind") from error
            self._fail(error)
        self._give_back(conn)

    def _begin_process(self) -> None:
        super()._begin_process()
        self._views: WeakSet[View] = WeakSet()
        self._bound: list[int] = []

    def _inherit(self) -> None:
        for view in self._views:
            view._conn = FORKED
        super()._inherit()

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
        head = Head.of([row[:6] for row in rows])
        if rows[0][6] is None:
            return head, ()
        if len(rows) > 1:  # one entry may begin two lives: that of who had the address, and of who has it from then on
            rows.sort(key=lambda row: (row[9], row[8]))
        return head, tuple([Life._make(row[6:]) for row in rows])

    def read(self) -> View:
        """See `Store.read`."""
        return View(self)

    def write(self, wanted: Wanted = NOTHING_WANTED) -> Transaction:
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
        return self._truncate_wal()

    def bind(self, connection: Any) -> BoundSqliteStore:
        """See `Binds.bind`, for a connection of `sqlite3` to this file, prepared with `sqlite_file.prepare`."""
        return BoundSqliteStore(self, connection)

    def _can_begin(self) -> bool:
        """Whether nobody holds the write lock at this moment."""
        conn = self._take()
        try:
            conn.execute("PRAGMA busy_timeout = 0").fetchall()
            try:
                conn.execute("BEGIN IMMEDIATE")
            except sqlite3.OperationalError as error:
                if error.sqlite_errorcode & 0xFF != sqlite3.SQLITE_BUSY:
                    raise
                free = False
            else:
                conn.execute("ROLLBACK")
                free = True
            conn.execute(f"PRAGMA busy_timeout = {WAIT * 1000:.0f}").fetchall()
        except sqlite3.Error as error:
            self._drop(conn)
            self._fail(error)
        self._give_back(conn)
        return free

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
                "wrong_pragmas": [name for name, (_, value) in PRAGMAS.items() if ask(name) != value],
                "missing_guards": schema.missing_guards(conn),
                "sqlite_version": sqlite3.sqlite_version,
                "wal_reset_race": sqlite3.sqlite_version_info < _FIXED_RELEASE,
            }


def _path(url: str) -> Path:
    text = url.removeprefix("sqlite:///")
    if text == url or text in ("", ":memory:"):
        raise InputError("expected `sqlite:///` and the path of a file, found another form of URL")
    return Path(text).absolute()
