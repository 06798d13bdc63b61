"""The SQLite store in a transaction of the shop's: the contract, and what a connection must be like."""

from __future__ import annotations

import re
import sqlite3
import threading
from collections.abc import Callable, Iterator
from contextlib import closing
from pathlib import Path
from typing import Any

import pytest

from consentlib.errors import LedgerError, StoreUnavailableError
from consentlib.fold import Order
from consentlib.store import Store, bind, create_store
from consentlib.store.sqlite_file import DEMANDED, prepare
from consentlib.testing import BindContract, FaultyStore
from consentlib.testing.store_contract import KEY, META, append, check_chain, life


def begin(path: Path, statement: str | None = "BEGIN IMMEDIATE", **options: Any) -> sqlite3.Connection:
    """A connection of the shop's that is fit, in a transaction."""
    connection = sqlite3.connect(path, **options)
    prepare(connection)
    if statement is not None:
        connection.execute(statement)
    return connection


class TestBound(BindContract):
    """The contract."""

    @pytest.fixture
    def store_url(self, tmp_path: Path) -> str:
        """A file in a folder of the test's own."""
        return f"sqlite:///{tmp_path}/ledger.db"

    @pytest.fixture
    def begin(self, tmp_path: Path) -> Callable[[], sqlite3.Connection]:
        """A transaction that holds the write lock."""
        return lambda: begin(tmp_path / "ledger.db")


@pytest.fixture
def path(tmp_path: Path) -> Path:
    """Where the ledger is."""
    return tmp_path / "ledger.db"


@pytest.fixture
def store(path: Path) -> Iterator[Store]:
    """A ledger with a row of each kind."""
    store = create_store(f"sqlite:///{path}", META)
    with store.write() as transaction:
        append(transaction, about=("a",), lives=[life("a")], orders=[("a", Order("1"))], facts=b"1", person=b"\xff")
    yield store
    store.close()


def test_a_deferred_transaction_is_refused(store: Store, path: Path) -> None:
    """A transaction that only reads so far is refused with advice, whether or not somebody else writes meanwhile."""
    with closing(begin(path, "BEGIN", timeout=0.05)) as connection:
        with pytest.raises(LedgerError, match="write lock") as caught:
            bind(store, connection)
        assert "BEGIN IMMEDIATE" in caught.value.__notes__[0]
        connection.execute("SELECT * FROM consentlib_head").fetchall()
        with closing(begin(path)), pytest.raises(LedgerError, match="write lock"):
            bind(store, connection)
        assert connection.in_transaction


def test_a_transaction_that_wrote_is_taken(store: Store, path: Path) -> None:
    """However it came to the write lock: the driver's own way of beginning transactions does, once the shop has written."""
    with closing(begin(path, "CREATE TABLE orders (id)")) as connection:
        connection.commit()
        connection.execute("INSERT INTO orders VALUES (1)")
        bound = bind(store, connection)
        with bound.write() as transaction:
            append(transaction)
        bound.close()
        connection.commit()
    check_chain(store, 2)


def test_without_a_transaction(store: Store, path: Path) -> None:
    """No transaction, nothing to bind to; a closed connection has none."""
    connection = begin(path, None)
    with pytest.raises(LedgerError, match="open transaction"):
        bind(store, connection)
    connection.close()
    with pytest.raises(LedgerError, match="open transaction"):
        bind(store, connection)


@pytest.mark.parametrize("name", DEMANDED)
def test_each_pragma_is_demanded(store: Store, path: Path, name: str) -> None:
    """A connection without one of them is refused, by its name; `prepare` sets them, outside of transactions only."""
    with closing(sqlite3.connect(path)) as connection:
        prepare(connection)
        connection.execute(f"PRAGMA {name} = {'NORMAL' if name == 'synchronous' else 'OFF'}")
        connection.execute("BEGIN IMMEDIATE")
        with pytest.raises(LedgerError, match=f"PRAGMA {name} = ") as caught:
            bind(store, connection)
        assert "prepare" in caught.value.__notes__[0]
        with pytest.raises(LedgerError, match="without an open transaction"):
            prepare(connection)
        connection.rollback()
        prepare(connection)
        connection.execute("PRAGMA synchronous = EXTRA")
        connection.execute("BEGIN IMMEDIATE")
        bind(store, connection).close()


def test_another_database_is_refused(store: Store, path: Path, tmp_path: Path) -> None:
    """Only the ledger's own file will do: not a copy, not memory, not one that has it attached, not another driver's."""
    with closing(sqlite3.connect(tmp_path / "copy.db")) as copy, closing(sqlite3.connect(path)) as source:
        source.backup(copy)
    for place in (tmp_path / "copy.db", ":memory:"):
        with closing(begin(place, None)) as connection:  # type: ignore[arg-type]
            connection.execute(f"ATTACH '{path}' AS ledger")
            connection.execute("BEGIN IMMEDIATE")
            with pytest.raises(LedgerError, match="own database file"):
                bind(store, connection)
    with pytest.raises(LedgerError, match="connection of `sqlite3`, found `object`"):
        bind(store, object())


def test_another_name_of_the_file_will_do(store: Store, path: Path, tmp_path: Path) -> None:
    """A link to the file is the file."""
    (tmp_path / "link").symlink_to(tmp_path)
    with closing(begin(tmp_path / "link" / "ledger.db")) as connection:
        bind(store, connection).close()


def test_the_shops_ways_do_not_matter(store: Store, path: Path) -> None:
    """Row and text factories, a cursor class, isolation levels: rows are read as ever, and the shop's ways stay."""

    class Odd(sqlite3.Connection):
        def cursor(self, *_: Any) -> Any:
            raise AssertionError

    with store.read() as view:
        expected = view.head(), list(view.entries()), view.lives(KEY), view.orders(["a"]), list(view.kinds())
    for level in (None, "DEFERRED", "EXCLUSIVE"):
        connection = sqlite3.connect(path, isolation_level=level, factory=Odd)
        prepare(connection)
        sqlite3.Cursor(connection).execute("BEGIN IMMEDIATE")
        connection.row_factory = sqlite3.Row
        connection.text_factory = lambda data: data[::-1]
        bound = bind(store, connection)
        with bound.read() as seen:
            found = seen.head(), list(seen.entries()), seen.lives(KEY), seen.orders(["a"]), list(seen.kinds())
        assert found == expected
        with bound.write() as transaction:
            append(transaction, "mine")
        assert (connection.row_factory, connection.text_factory(b"ab")) == (sqlite3.Row, b"ba")
        bound.close()
        connection.rollback()
        connection.close()


def test_the_shops_savepoints_stay(store: Store, path: Path) -> None:
    """The shop may go back to a savepoint of its own: what was appended after it is gone, what came before stays."""
    with closing(begin(path, isolation_level=None)) as connection:
        bound = bind(store, connection)
        with bound.write() as transaction:
            append(transaction, "kept")
        connection.execute("SAVEPOINT consentlib")
        with bound.write() as transaction:
            append(transaction, "lost")
        connection.execute("ROLLBACK TO consentlib")
        with bound.write() as transaction:
            append(transaction, "next")
        bound.close()
        connection.execute("COMMIT")
    assert check_chain(store, 3)[1:] == ["kept", "next"]


def test_another_thread_gets_an_error(store: Store, path: Path) -> None:
    """The connection is one thread's: from another nothing is read or written."""
    with closing(begin(path)) as connection:
        bound = bind(store, connection)
        found: list[BaseException] = []

        def use() -> None:
            try:
                bound.lookup(KEY)
            except (LedgerError, StoreUnavailableError) as error:
                found.append(error)

        thread = threading.Thread(target=use)
        thread.start()
        thread.join()
        assert len(found) == 1
        bound.close()


def test_a_store_may_be_unable(store: Store) -> None:
    """A store without the capability says so."""
    for one in (create_store("memory:", META), FaultyStore(store)):
        with pytest.raises(LedgerError, match="found one that can't"):
            bind(one, object())


def test_messages_hold_no_path_of_the_shops(store: Store, path: Path) -> None:
    """An error of the driver's is translated, and names the ledger's file alone."""
    with closing(begin(path)) as connection:
        bound = bind(store, connection)
        connection.execute("DROP TABLE consentlib_suppressions")
        with pytest.raises(StoreUnavailableError, match=re.escape(f"expected `{path}` to do its work")), bound.read() as view:
            view.suppression(KEY)
        bound.close()
