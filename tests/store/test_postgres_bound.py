"""The PostgreSQL store in a transaction of the shop's: the contract, and what a connection must be like."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import Any

import psycopg
import pytest
from psycopg.adapt import Loader
from psycopg.rows import dict_row

from consentlib.errors import LedgerError, StoreUnavailableError
from consentlib.fold import Order
from consentlib.store import bind, create_store
from consentlib.store.postgres import PostgresStore
from consentlib.testing import BindContract
from consentlib.testing.store_contract import KEY, META, append, check_chain, life
from postgres_server import Database


def begin(url: str, **options: Any) -> psycopg.Connection[Any]:
    """A connection of the shop's in a transaction."""
    connection: psycopg.Connection[Any] = psycopg.connect(url, **options)
    connection.execute("SELECT 1")
    return connection


class TestBound(BindContract):
    """The contract."""

    @pytest.fixture
    def store_url(self, postgres_url: str) -> str:
        """A database of the test's own."""
        return postgres_url

    @pytest.fixture
    def begin(self, postgres_url: str) -> Callable[[], psycopg.Connection[Any]]:
        """An open transaction."""
        return lambda: begin(postgres_url)


@pytest.fixture
def store(postgres_url: str) -> Iterator[PostgresStore]:
    """A ledger with a row of each kind."""
    store = create_store(postgres_url, META)
    assert isinstance(store, PostgresStore)
    with store.write() as transaction:
        append(transaction, about=("a",), lives=[life("a")], orders=[("a", Order("1", offered=True))], facts=b"1")
    yield store
    store.close()


def test_needs_an_open_transaction(store: PostgresStore, postgres_url: str) -> None:
    """One that was not begun, or failed, is refused with advice; other drivers' connections too."""
    with psycopg.connect(postgres_url) as connection:
        with pytest.raises(LedgerError, match="open transaction") as caught:
            bind(store, connection)
        assert "connection.transaction()" in caught.value.__notes__[0]
        with pytest.raises(psycopg.Error):
            connection.execute("SELECT 1 / 0")
        with pytest.raises(LedgerError, match="one that failed"):
            bind(store, connection)
        connection.rollback()
        with connection.transaction():
            bind(store, connection).close()
    with pytest.raises(LedgerError, match="connection of `psycopg`, found `object`"):
        bind(store, object())


def test_another_database_is_refused(store: PostgresStore, postgres: Database) -> None:
    """Only the ledger's own database will do, and the shop's transaction is left as it was."""
    with begin(postgres.url()) as connection:
        with pytest.raises(LedgerError, match="own database"):
            bind(store, connection)
        assert connection.execute("SELECT 2").fetchall() == [(2,)]


def test_the_shops_ways_do_not_matter(store: PostgresStore, postgres_url: str) -> None:
    """Row factories, cursor classes and loaders of the shop's: rows are read as ever."""

    class Odd(Loader):
        def load(self, data: Any) -> str:
            return "odd"

    with store.read() as view:
        expected = view.head(), list(view.entries()), view.lives(KEY), view.orders(["a"]), list(view.kinds())
    with begin(postgres_url, row_factory=dict_row, cursor_factory=psycopg.ClientCursor) as connection:
        for name in ("int8", "text", "bytea", "bool"):
            connection.adapters.register_loader(name, type("OddBinary", (Odd,), {"format": psycopg.pq.Format.BINARY}))
            connection.adapters.register_loader(name, Odd)
        bound = bind(store, connection)
        with bound.read() as seen:
            assert (seen.head(), list(seen.entries()), seen.lives(KEY)) == expected[:3]
            assert (seen.orders(["a"]), list(seen.kinds())) == expected[3:]
        with bound.write() as transaction:
            append(transaction, "mine", lives=[life("b", index=1)])
        bound.close()
    check_chain(store, 2)


@pytest.mark.parametrize("level", psycopg.IsolationLevel)
def test_any_isolation_level(store: PostgresStore, postgres_url: str, level: psycopg.IsolationLevel) -> None:
    """A transaction that sees an old moment can't write after another: it is refused, and can go on without the ledger."""
    with psycopg.connect(postgres_url) as connection:
        connection.isolation_level = level
        connection.execute("SELECT count(*) FROM consentlib.heads")
        with store.write() as transaction:
            append(transaction, "other")
        if level > psycopg.IsolationLevel.READ_COMMITTED:
            with pytest.raises(StoreUnavailableError, match="40001"):
                bind(store, connection)
            connection.rollback()
            connection.execute("SELECT 1")
        bound = bind(store, connection)
        with bound.write() as transaction:
            append(transaction, "bound")
        bound.close()
    assert check_chain(store, 3)[1:] == ["other", "bound"]


def test_what_is_set_for_the_shop(store: PostgresStore, postgres_url: str) -> None:
    """The commit becomes durable even where the shop's are not; how long its own statements wait is left as it was."""
    with begin(postgres_url) as connection:
        connection.execute("SET synchronous_commit = off")
        connection.execute("SET lock_timeout = '7s'")
        bound = bind(store, connection)
        assert connection.execute("SHOW synchronous_commit").fetchall() == [("on",)]
        assert connection.execute("SHOW lock_timeout").fetchall() == [("7s",)]
        bound.close()
        connection.commit()
        assert connection.execute("SHOW synchronous_commit").fetchall() == [("off",)]


def test_waits_for_its_turn(store: PostgresStore, postgres_url: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """Binding waits for another writer, not for ever; refused, the shop's transaction can go on."""
    monkeypatch.setattr("consentlib.store.postgres_bound.WAIT", 1)
    with begin(postgres_url) as first, begin(postgres_url) as second:
        bind(store, first).close()
        with pytest.raises(StoreUnavailableError, match="turn"):
            bind(store, second)
        assert second.execute("SELECT 2").fetchall() == [(2,)]
