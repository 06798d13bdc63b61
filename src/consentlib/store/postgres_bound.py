"""A PostgreSQL store inside a transaction of the shop's own, on the shop's connection.

Binding takes the writer's seat, the lock on the head's row, which the shop's transaction keeps to its end. Each append is a
savepoint in it. Statements go through a cursor of our own, so that the shop's ways of reading its rows do not matter.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any, Final, Self

import psycopg
from psycopg.pq import Format, TransactionStatus
from psycopg.rows import tuple_row

from consentlib.errors import LedgerError, StoreUnavailableError
from consentlib.store import postgres_schema as schema
from consentlib.store.binding import BoundStore
from consentlib.store.postgres_connection import translated
from consentlib.store.postgres_rows import register
from consentlib.store.postgres_view import NOT_OPEN, Transaction, View
from consentlib.store.protocol import NOTHING_WANTED, Changes, Head, Wanted
from consentlib.store.turn import WAIT

if TYPE_CHECKING:
    from consentlib.store.postgres import PostgresStore

_SERVER: Final = "SELECT pg_postmaster_start_time()::text, oid::text FROM pg_database WHERE datname = current_database()"
_SEAT: Final = f"SELECT * FROM consentlib.seat(%b, {schema.VERSION}, NULL, NULL, NULL)"
_PATIENCE: Final = "SELECT current_setting('lock_timeout'), set_config('lock_timeout', %b, true)"
_DURABLE: Final = """SELECT set_config('synchronous_commit', 'on', true)
    WHERE current_setting('synchronous_commit') IN ('off', 'local')"""
_READ: Final = ("bool", "bytea", "float8", "int4", "int8", "text")


class BoundPostgresStore(BoundStore["PostgresStore"]):
    """What `PostgresStore.bind` gives: a store as the shop's transaction sees it, which commits and ends nothing.

    For one thread at a time. The transaction must be open and unharmed at each use, else `LedgerError`.
    """

    def __init__(self, store: PostgresStore, connection: Any) -> None:
        super().__init__(store)
        if not isinstance(connection, psycopg.Connection):
            raise LedgerError(f"expected a connection of `psycopg`, found `{type(connection).__name__}`")
        self._connection = connection
        self._check_open()
        self._cursor = _own_cursor(connection)
        with store.read() as view:
            ours = view._conn.rows(_SERVER)
        if self._rows(_SERVER) != ours:
            raise LedgerError("expected a connection to the ledger's own database, found another's")
        with self.write():
            pass  # which takes the seat
        store._bound.append(self._thread)

    def read(self) -> BoundView:
        """See `Store.read`: what is committed, and what this transaction did."""
        return BoundView(self, self._store)

    def write(self, wanted: Wanted = NOTHING_WANTED) -> BoundTransaction:
        """See `Store.write`: a savepoint, which becomes durable when the shop commits."""
        return BoundTransaction(self, self._store)

    def _check_transaction(self) -> None:
        if self._connection.info.transaction_status is not TransactionStatus.INTRANS:
            raise LedgerError(
                "expected an open transaction of the shop's, found none, or one that failed",
                note="open it with `connection.transaction()`, and bind the ledger then",
            )

    def _rows(self, sql: str, *values: Any) -> list[Any]:
        try:
            return self._cursor.rows(sql, values)
        except psycopg.Error as error:
            raise translated(self._store._target, error) from None


class BoundView(View):
    """A view of the shop's transaction. It is of no one moment: what the transaction does meanwhile shows in it."""

    def __init__(self, bound: BoundPostgresStore, store: PostgresStore) -> None:
        super().__init__(store)
        self._bound = bound

    def __enter__(self) -> Self:
        self._bound._check_open()
        self._conn = self._bound._cursor  # type: ignore[assignment]
        return self

    def __exit__(self, kind: type[BaseException] | None, *_: object) -> None:
        self._conn, self._head = NOT_OPEN, None


class BoundTransaction(Transaction):
    """A savepoint of the shop's transaction, in which it has the writer's seat."""

    def __init__(self, bound: BoundPostgresStore, store: PostgresStore) -> None:
        super().__init__(store, NOTHING_WANTED)
        self._bound = bound

    def __enter__(self) -> Self:
        bound = self._bound
        bound._check_open()
        bound._rows("SAVEPOINT consentlib")
        try:
            [(patience, _)] = bound._rows(_PATIENCE, f"{WAIT:.0f}s")
            [row] = bound._rows(_SEAT, self._ledger)
            bound._rows(_PATIENCE, patience)
            bound._rows(_DURABLE)  # what is answered must be on disk, and on the standby where there is one
        except BaseException:
            self._undo()
            raise
        self._store._heard(row[6])
        self._conn = bound._cursor  # type: ignore[assignment]
        self._head = Head._make(row[:6])
        self._failed = False
        return self

    def apply(self, changes: Changes) -> None:
        """See `Transaction.apply`: at once, as no commit comes with it."""
        super().apply(changes)
        self._send()

    def __exit__(self, kind: type[BaseException] | None, *_: object) -> None:
        self._conn, self._head = NOT_OPEN, None
        if kind is None and not self._failed:
            self._bound._rows("RELEASE SAVEPOINT consentlib")
            return
        self._undo()
        if kind is None:
            raise StoreUnavailableError("expected changes that can stay, found one that failed")

    def _undo(self) -> None:
        if not self._bound._connection.closed:
            self._bound._rows("ROLLBACK TO SAVEPOINT consentlib")
            self._bound._rows("RELEASE SAVEPOINT consentlib")


class _Cursor(psycopg.Cursor[tuple[Any, ...]]):
    """A cursor that can be asked as our own connections can."""

    def rows(self, sql: str, values: Sequence[Any] = ()) -> list[tuple[Any, ...]]:
        """See `Connection.rows`."""
        self.execute(sql, values, binary=True)
        return self.fetchall() if self.description else []


def _own_cursor(connection: psycopg.Connection[Any]) -> _Cursor:
    """A cursor with the driver's own way to read the types of ours, whatever the connection makes of them."""
    cursor = _Cursor(connection, row_factory=tuple_row)
    register(cursor)
    for name in _READ:
        oid = psycopg.adapters.types[name].oid
        loader = psycopg.adapters.get_loader(oid, Format.BINARY)
        assert loader is not None  # noqa: S101  # the driver has one for each of these
        cursor.adapters.register_loader(oid, loader)
    return cursor
