"""A store in PostgreSQL: `postgresql://user@host/database`, with `?ledger=name` one of several in a database.

Every commit is durable as the server is set up, never less than on its own disk. The writer holds a lock on the head's
row; readers see one moment each and wait for nobody. No statement depends on a session, so a proxy that pools
transactions may stand between. Connections are opened when they are needed, and by a child after a fork anew.
"""

from __future__ import annotations

import math
import os
import threading
from collections.abc import Mapping, Sequence
from time import monotonic
from types import MappingProxyType
from typing import Any, Final, Self
from weakref import WeakSet

import psycopg

from consentlib.errors import InputError, LedgerExistsError, LedgerMissingError, StoreUnavailableError
from consentlib.log import genesis
from consentlib.store import postgres_schema as schema
from consentlib.store.postgres_bound import BoundPostgresStore
from consentlib.store.postgres_connection import MOST, Connection, Connections, Late, Target, connect, translated
from consentlib.store.postgres_health import health
from consentlib.store.postgres_view import FORKED, Transaction, View
from consentlib.store.protocol import NOTHING_WANTED, Head, Life, Wanted
from consentlib.store.turn import Turn

_LOOKUP: Final = "SELECT * FROM consentlib.lookup(%b, %b)"
_stores: WeakSet[PostgresStore] = WeakSet()
_inherited: list[object] = []
"""What a child has of its parent: kept, as letting go of it would say good-bye on the parent's sockets."""


class PostgresStore:
    """The store of `postgresql:` URLs."""

    def __init__(self, target: Target) -> None:
        self._target = target
        self._ledger = 0
        self._ahead = 0.0
        self.meta: Mapping[str, str] = MappingProxyType({})
        self._turn = Turn()
        self._begin_process()
        _stores.add(self)

    @classmethod
    def create(cls, url: str, meta: Mapping[str, str]) -> Self:
        """Begin a ledger, and make the schema `consentlib` where there is none. `meta` must name the `origin`.

        The role must own that schema, or be allowed to make it. Raises `LedgerExistsError`, also when another process
        was quicker.
        """
        if "origin" not in meta:
            raise InputError("expected `origin` among what describes the ledger, found none")
        store = cls(Target.parse(url))
        with connect(store._target) as conn:
            try:
                with conn.transaction():
                    store._create(conn, meta)
            except psycopg.Error as error:
                raise translated(store._target, error) from None
        return store

    @classmethod
    def open(cls, url: str) -> Self:
        """A ledger that is there; a step to a newer version of the tables is taken on the way, if the role may.

        Raises `LedgerMissingError`, and `LedgerVersionError` where a newer version of this library has been.
        """
        return cls._at(Target.parse(url))

    def __reduce__(self) -> tuple[Any, ...]:
        """See `Store`: opened anew where it is unpickled."""
        return type(self)._at, (self._target,)

    # Opening and creating

    @classmethod
    def _at(cls, target: Target) -> Self:
        store = cls(target)
        with connect(target) as conn:
            try:
                store._open(conn)
            except psycopg.Error as error:
                raise translated(store._target, error) from None
        return store

    def _create(self, conn: Connection, meta: Mapping[str, str]) -> None:
        if conn.info.server_version < schema.OLDEST:
            raise StoreUnavailableError("expected PostgreSQL 15 or newer, found an older one")
        found = conn.info.parameter_status("server_encoding")
        if found != schema.ENCODING:
            raise StoreUnavailableError(f"expected a database in `{schema.ENCODING}`, found one in `{found}`")
        schema.migrate(conn)
        name = self._target.ledger
        sql = "INSERT INTO consentlib.ledgers (name) VALUES (%s) ON CONFLICT DO NOTHING RETURNING ledger"
        row = conn.execute(sql, (name,)).fetchone()
        if row is None:
            raise LedgerExistsError(f"expected no ledger `{name}` in this database, found one")
        [self._ledger] = row
        with conn.cursor() as cursor:
            rows = [(self._ledger, *one) for one in meta.items()]
            cursor.executemany("INSERT INTO consentlib.meta (ledger, name, value) VALUES (%s, %s, %s)", rows)
        sql = "INSERT INTO consentlib.heads VALUES (%s, 0, %s, 0, '', 0, NULL)"
        conn.execute(sql, (self._ledger, genesis(meta["origin"])))
        conn.execute("INSERT INTO consentlib.purges VALUES (%s, 0)", row)
        self.meta = MappingProxyType(dict(meta))
        self._heard(schema.clock(conn))

    def _open(self, conn: Connection) -> None:
        name = self._target.ledger
        if not schema.has_ledgers(conn):
            raise LedgerMissingError(f"expected a ledger `{name}` in this database, found no ledger")
        if schema.version(conn) < schema.VERSION:
            with conn.transaction():
                schema.migrate(conn)
        row = conn.execute("SELECT ledger FROM consentlib.ledgers WHERE name = %s", (name,)).fetchone()
        if row is None:
            raise LedgerMissingError(f"expected a ledger `{name}` in this database, found others")
        [self._ledger] = row
        rows: list[Any] = conn.execute("SELECT name, value FROM consentlib.meta WHERE ledger = %s", row).fetchall()
        self.meta = MappingProxyType(dict(rows))
        self._heard(schema.clock(conn))

    # Connections

    def _begin_process(self) -> None:
        self._connections = Connections(self._target)
        self._views: WeakSet[View] = WeakSet()
        self._bound: list[int] = []

    def _begin(self, sql: str, values: Sequence[Any] = (), *, again: bool = True) -> tuple[Connection, list[Any]]:
        """A connection on which `sql` was done first, and the rows that its statements give.

        A connection may have died while it lay idle: then all that lie idle are closed, and a new one is taken.
        """
        conn = self._connections.take()
        try:
            rows = conn.rows(sql, values)
        except psycopg.Error as error:
            died = conn.closed and not isinstance(error, Late)
            self._connections.give_back(conn)
            if not (died and again):
                raise translated(self._target, error) from None
        except BaseException:
            self._connections.give_back(conn)
            raise
        else:
            if rows:
                return conn, rows
            self._connections.give_back(conn)
            raise StoreUnavailableError("expected the head of this ledger, found none")
        self._connections.drop_idle()
        return self._begin(sql, values, again=False)

    def _queue(self, end: float) -> None:
        """Wait for the turn among the writers of this process."""
        if threading.get_ident() in self._bound:
            raise StoreUnavailableError("expected one write transaction at a time in a thread, found one open")
        self._turn.take(end - monotonic())

    def _heard(self, now: float) -> None:
        self._ahead = now - monotonic() * 1000

    # The protocol

    def lookup(self, key: bytes) -> tuple[Head, tuple[Life, ...]]:
        """See `Store.lookup`: one statement."""
        conn, rows = self._begin(_LOOKUP, (self._ledger, key))
        self._connections.give_back(conn)
        self._heard(rows[0][6])
        lives = tuple([Life._make(row[7:]) for row in rows]) if rows[0][7] is not None else ()
        return Head.of([rows[0][:6]]), lives

    def read(self) -> View:
        """See `Store.read`."""
        return View(self)

    def write(self, wanted: Wanted = NOTHING_WANTED) -> Transaction:
        """See `Store.write`: the seat and what is wanted in one trip, what is applied last and the commit in another."""
        return Transaction(self, wanted)

    def clock(self) -> int:
        """See `Store.clock`: the server's, as last heard with a lookup or a write transaction, and the time gone by since."""
        return int(monotonic() * 1000 + self._ahead)

    def purge(self) -> bool:
        """See `Store.purge`: VACUUM of what was erased, so that nothing in the tables' live space holds it.

        True when it went through and no transaction, slot or standby still needed what is to go. It reaches no WAL, standby
        or backup, nor the gaps of a page, which keep old bytes until a row is written over them. Needs a role that owns the
        tables or has MAINTAIN on them; else False.
        """
        if self._turn.mine():
            raise StoreUnavailableError("expected no write transaction of this thread at a purge, found one open")
        warned: list[object] = []
        conn, _ = self._begin("SELECT 1")
        try:
            conn.deadline = math.inf
            conn.add_notice_handler(warned.append)
            return schema.purge(conn, self._ledger) and not warned
        except psycopg.Error as error:
            raise translated(self._target, error) from None
        finally:
            conn.remove_notice_handler(warned.append)
            del conn.deadline
            self._connections.give_back(conn)

    def close(self) -> None:
        """See `Store.close`. Waits for a transaction of another thread; views that are open end when they are left."""
        waited = self._turn.try_to_take()
        self._connections.close()
        if waited:
            self._turn.leave()

    def bind(self, connection: Any) -> BoundPostgresStore:
        """See `Binds.bind`, for a connection of `psycopg` to this database whose role may keep ledgers. Waits for the seat."""
        return BoundPostgresStore(self, connection)

    # For `doctor`

    def guards(self) -> list[str]:
        """Names of the append-only guards that are missing, altered or off."""
        guards: list[str] = self.health()["missing_guards"]
        return guards

    def health(self) -> dict[str, Any]:
        """Facts about server, role and pool: see `postgres_health`."""
        with self.read() as view:
            try:
                return {**health(view._conn), "connections": MOST}
            except psycopg.Error as error:
                raise translated(self._target, error) from None


def _after_fork_in_child() -> None:
    for store in _stores:
        closed = store._connections.closed
        _inherited.append(store._connections)
        for view in store._views:
            _inherited.append(view._conn)
            view._conn = FORKED
        store._begin_process()
        if closed:
            store._connections.close()


if hasattr(os, "register_at_fork"):
    os.register_at_fork(after_in_child=_after_fork_in_child)
