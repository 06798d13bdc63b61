"""The contract of a store that works inside a transaction of the shop's own (`consentlib.store.Binds`), as tests.

Subclass `BindContract` beside `StoreContract`, with the same `store_url` and a fixture that makes connections::

    class TestMyStoreBound(BindContract):
        @pytest.fixture
        def store_url(self, tmp_path): ...

        @pytest.fixture
        def begin(self, store_url):
            def begin():
                connection = my_driver.connect(...)
                connection.execute("BEGIN")     # an open transaction that may write
                return connection
            return begin

A connection must have `commit`, `rollback` and `close`, as PEP 249 has them.
"""

# ruff: noqa: S101, PT012
from __future__ import annotations

import threading
import time
from collections.abc import Callable, Iterator
from typing import Any

import pytest

from consentlib.errors import LedgerError, StoreUnavailableError
from consentlib.store import Binds, Changes, Head, Store, bind, create_store
from consentlib.testing.store_contract import KEY, META, append, check_chain, entry, life

Begin = Callable[[], Any]


class BindContract:
    """The tests. Every one gets the URL of a place where nothing is yet."""

    @pytest.fixture
    def store_url(self) -> str:
        """The URL of a fresh place: to be given by the subclass."""
        raise NotImplementedError("a subclass of BindContract gives the fixture `store_url`")

    @pytest.fixture
    def begin(self) -> Begin:
        """What opens a connection with a transaction that may write: to be given by the subclass."""
        raise NotImplementedError("a subclass of BindContract gives the fixture `begin`")

    @pytest.fixture
    def store(self, store_url: str) -> Iterator[Store]:
        """A ledger with one entry, closed at the end."""
        store = create_store(store_url, META)
        with store.write() as transaction:
            append(transaction, "before")
        yield store
        store.close()

    @pytest.fixture
    def connection(self, store: Store, begin: Begin) -> Iterator[Any]:
        """A connection of the shop's in an open transaction."""
        connection = begin()
        yield connection
        connection.close()

    def test_binds(self, store: Store) -> None:
        """The store says that it can."""
        assert isinstance(store, Binds)

    def test_stays_if_the_shop_commits(self, store: Store, connection: Any) -> None:
        """What was applied shows inside at once, to others after the shop's commit, and not before."""
        bound = bind(store, connection)
        with bound.write() as transaction:
            append(transaction, "bound", lives=[life("a", index=1)])
            assert transaction.head().size == 2
        with bound.read() as view:
            assert (view.head().size, view.lives(KEY)) == (2, (life("a", index=1),))
        assert bound.lookup(KEY)[0].size == 2
        assert store.lookup(KEY)[0].size == 1
        bound.close()
        assert store.lookup(KEY)[0].size == 1
        connection.commit()
        assert store.lookup(KEY)[1] == (life("a", index=1),)
        assert check_chain(store, 2) == ["before", "bound"]

    def test_goes_if_the_shop_rolls_back(self, store: Store, connection: Any) -> None:
        """Nothing stays, the next writer is not kept out, and the index is taken by another entry."""
        bound = bind(store, connection)
        with bound.write() as transaction:
            append(transaction, "lost", lives=[life("a", index=1)])
        bound.close()
        connection.rollback()
        assert store.lookup(KEY)[1] == ()
        with store.write() as transaction:
            append(transaction, "next")
        assert check_chain(store, 2) == ["before", "next"]

    def test_an_error_undoes_its_block_alone(self, store: Store, connection: Any) -> None:
        """A block that raises leaves what came before, and a transaction that can go on."""
        bound = bind(store, connection)
        with bound.write() as transaction:
            append(transaction, "kept")
        with pytest.raises(ZeroDivisionError), bound.write() as transaction:
            append(transaction, "lost", lives=[life("a", index=2)])
            raise ZeroDivisionError
        with bound.write() as transaction:
            assert (transaction.head().size, transaction.lives(KEY)) == (2, ())
            append(transaction, "next")
        bound.close()
        connection.commit()
        assert check_chain(store, 3) == ["before", "kept", "next"]

    def test_a_failed_change_dooms_its_block_alone(self, store: Store, connection: Any) -> None:
        """An entry whose index is taken is refused, also for who catches the error; the transaction can go on."""
        bound = bind(store, connection)
        twice = entry(Head(0, bytes(32), 0, b"", 0, None), "second")
        with pytest.raises(StoreUnavailableError), bound.write() as transaction, pytest.raises(StoreUnavailableError):
            append(transaction, "lost")
            transaction.apply(Changes(transaction.head(), [twice]))
        with bound.write() as transaction:
            append(transaction, "next")
        bound.close()
        connection.commit()
        assert check_chain(store, 2) == ["before", "next"]

    @pytest.mark.parametrize("end", ["commit", "rollback", "close"])
    def test_is_over_with_the_transaction(self, store: Store, connection: Any, end: str) -> None:
        """Once the shop has ended its transaction or its connection, every use raises, and nothing is written."""
        bound = bind(store, connection)
        getattr(connection, end)()
        for use in (bound.read, bound.write):
            with pytest.raises(LedgerError), use():
                pass
        with pytest.raises(LedgerError):
            bound.lookup(KEY)
        bound.close()
        check_chain(store, 1)

    def test_is_over_with_its_close(self, store: Store, connection: Any) -> None:
        """After `close`, which may come twice, every use raises, and the shop's transaction is as it was."""
        bound = bind(store, connection)
        with bound.write() as transaction:
            append(transaction, "kept")
        bound.close()
        bound.close()
        for use in (bound.read, bound.write):
            with pytest.raises(LedgerError), use():
                pass
        connection.commit()
        check_chain(store, 2)

    def test_purges_nothing(self, store: Store, connection: Any) -> None:
        """Nothing can be made unrecoverable before it is committed."""
        bound = bind(store, connection)
        with pytest.raises(LedgerError):
            bound.purge()
        bound.close()

    def test_the_same_thread_is_told_at_once(self, store: Store, connection: Any) -> None:
        """A thread that asks the store for a transaction inside its own does not wait for itself; reads go on."""
        bound = bind(store, connection)
        started = time.monotonic()
        with pytest.raises(StoreUnavailableError), store.write():
            pass
        assert time.monotonic() < started + 5
        assert store.lookup(KEY)[0].size == 1
        bound.close()
        connection.rollback()
        with store.write() as transaction:
            append(transaction)

    def test_other_writers_wait(self, store: Store, connection: Any) -> None:
        """Another writer waits from the binding to the end of the shop's transaction, and goes on from there."""
        bound = bind(store, connection)
        done = threading.Event()

        def write() -> None:
            with store.write() as transaction:
                append(transaction, "other")
            done.set()

        other = threading.Thread(target=write)
        other.start()
        assert not done.wait(0.2)
        with bound.write() as transaction:
            append(transaction, "bound")
        bound.close()
        assert not done.wait(0.2)
        connection.commit()
        other.join(20)
        assert check_chain(store, 3) == ["before", "bound", "other"]
