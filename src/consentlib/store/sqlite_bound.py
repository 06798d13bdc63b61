"""An SQLite store inside a transaction of the shop's own, on the shop's connection.

The shop begins and ends the transaction; each append is a savepoint in it. Rows are read with a cursor of our own, so that
the shop's ways of reading its rows do not matter.
"""

from __future__ import annotations

import os
import sqlite3
from collections.abc import Iterable, Sequence
from typing import TYPE_CHECKING, Any, Final, NamedTuple, Self

from consentlib.errors import LedgerError, StoreUnavailableError
from consentlib.store.binding import BoundStore
from consentlib.store.protocol import NOTHING_WANTED, Head, Wanted
from consentlib.store.sqlite_file import DEMANDED, PRAGMAS
from consentlib.store.sqlite_view import NOT_OPEN, Transaction, View

if TYPE_CHECKING:
    from consentlib.store.sqlite import SqliteStore

_ADVICE: Final = "begin it with `BEGIN IMMEDIATE`, and bind the ledger then"
_TAKE_LOCK: Final = "UPDATE consentlib_head SET size = size WHERE id <> 0"  # a row there is none of: only the lock


class BoundSqliteStore(BoundStore["SqliteStore"]):
    """What `SqliteStore.bind` gives: a store as the shop's transaction sees it, which commits and ends nothing.

    For one thread, that of the connection. The transaction must be open and hold the write lock at each use, else
    `LedgerError`.
    """

    def __init__(self, store: SqliteStore, connection: Any) -> None:
        super().__init__(store)
        if not isinstance(connection, sqlite3.Connection):
            raise LedgerError(f"expected a connection of `sqlite3`, found `{type(connection).__name__}`")
        self._borrowed = _Borrowed(connection)
        self._check_open()
        self._check_file()
        self._check_pragmas()
        self._check_lock()
        store._bound.append(self._thread)

    def read(self) -> BoundView:
        """See `Store.read`: what is committed, and what this transaction did."""
        return BoundView(self, self._store)

    def write(self, wanted: Wanted = NOTHING_WANTED) -> BoundTransaction:
        """See `Store.write`: a savepoint, which becomes durable when the shop commits."""
        return BoundTransaction(self, self._store)

    def _check_transaction(self) -> None:
        if not self._borrowed.in_transaction:
            raise LedgerError("expected an open transaction of the shop's, found none", note=_ADVICE)

    def _check_file(self) -> None:
        main = next((file for _, name, file in self._rows("PRAGMA database_list") if name == "main"), "")
        try:
            same = bool(main) and os.path.samefile(main, self._store._path)
        except OSError:
            same = False
        if not same:
            raise LedgerError("expected a connection to the ledger's own database file, found another's")

    def _check_pragmas(self) -> None:
        for name in DEMANDED:
            [(found,)] = self._rows(f"PRAGMA {name}")
            setting, wanted = PRAGMAS[name]
            if found != wanted and not (name == "synchronous" and found > wanted):
                raise LedgerError(
                    f"expected a connection with `PRAGMA {name} = {setting}`, found `{found}`",
                    note="set it outside of transactions: `consentlib.store.sqlite_file.prepare(connection)` sets all",
                )

    def _check_lock(self) -> None:
        """Raise unless the shop's transaction is the writer: where nobody is, or another, it only reads."""
        if not self._store._can_begin():
            try:
                self._borrowed.execute(_TAKE_LOCK)
            except sqlite3.Error as error:
                raise _deferred() from error
        else:
            raise _deferred()

    def _rows(self, sql: str) -> list[Any]:
        try:
            return self._borrowed.execute(sql).fetchall()
        except sqlite3.Error as error:
            self._store._fail(error)


class BoundView(View):
    """A view of the shop's transaction. It is of no one moment: what the transaction does meanwhile shows in it."""

    def __init__(self, bound: BoundSqliteStore, store: SqliteStore) -> None:
        super().__init__(store)
        self._bound = bound

    def __enter__(self) -> Self:
        self._bound._check_open()
        self._conn = self._bound._borrowed  # type: ignore[assignment]
        return self

    def __exit__(self, kind: type[BaseException] | None, *_: object) -> None:
        self._conn = NOT_OPEN


class BoundTransaction(Transaction):
    """A savepoint of the shop's transaction."""

    def __init__(self, bound: BoundSqliteStore, store: SqliteStore) -> None:
        super().__init__(store)
        self._bound = bound

    def __enter__(self) -> Self:
        bound = self._bound
        bound._check_open()
        bound._check_lock()
        bound._rows("SAVEPOINT consentlib")
        self._conn = bound._borrowed  # type: ignore[assignment]
        self._head: Head | None = None
        self._failed = False
        return self

    def __exit__(self, kind: type[BaseException] | None, *_: object) -> None:
        self._conn = NOT_OPEN
        if kind is None and not self._failed:
            self._bound._rows("RELEASE consentlib")
            return
        if self._bound._borrowed.in_transaction:  # else SQLite has ended all of it, as when the disk is full
            self._bound._rows("ROLLBACK TO consentlib")
            self._bound._rows("RELEASE consentlib")
        if kind is None:
            raise StoreUnavailableError("expected changes that can stay, found one that failed")


class _Done(NamedTuple):
    rows: list[Any]
    rowcount: int

    def fetchall(self) -> list[Any]:
        return self.rows


class _Borrowed:
    """The shop's connection for a statement of ours at a time: rows as plain tuples, text as `str`, and back as it was."""

    def __init__(self, connection: sqlite3.Connection) -> None:
        self._connection = connection

    @property
    def in_transaction(self) -> bool:
        try:
            return self._connection.in_transaction
        except sqlite3.Error:  # closed, or another thread's
            return False

    def execute(self, sql: str, values: Sequence[Any] = ()) -> _Done:
        return self._do(lambda cursor: cursor.execute(sql, values))

    def executemany(self, sql: str, rows: Iterable[Sequence[Any]]) -> _Done:
        return self._do(lambda cursor: cursor.executemany(sql, rows))

    def _do(self, act: Any) -> _Done:
        connection = self._connection
        before = connection.text_factory
        connection.text_factory = str
        try:
            cursor = sqlite3.Cursor(connection)
            cursor.row_factory = None
            act(cursor)
            return _Done(cursor.fetchall(), cursor.rowcount)
        finally:
            connection.text_factory = before


def _deferred() -> LedgerError:
    problem = "expected a transaction that holds the write lock, found one that only reads so far"
    return LedgerError(problem, note=_ADVICE)
