"""A ledger in the shop's own transaction: what commits and fails together, and what stays all the same."""

from __future__ import annotations

import os
import sqlite3
import subprocess
import sys
import threading
from collections.abc import Callable, Iterator
from contextlib import closing
from pathlib import Path
from typing import Any

import psycopg
import pytest

from consentlib import Ledger
from consentlib.errors import (
    ClockError,
    EventConflictError,
    EventError,
    LedgerError,
    NotAllowedError,
    StoreUnavailableError,
)
from consentlib.events import ConsentConfirmed, ConsentGiven, ObjectionRaised, OrderPlaced
from consentlib.keys import Keys
from consentlib.store.sqlite_file import prepare
from postgres_server import Database, Server
from shop import LETTER, SEEN, Shop

ANN, BO = "ann@example.dk", "bo@example.dk"
Begin = Callable[[], Any]


@pytest.fixture(params=["sqlite", "postgres", "sealed"])
def kind(request: pytest.FixtureRequest) -> str:
    """Where the shop keeps its ledger and its orders."""
    return str(request.param)


@pytest.fixture(scope="session")
def server() -> Iterator[Database]:
    """A running PostgreSQL server."""
    given = os.environ.get("CONSENTLIB_TEST_POSTGRES")
    if given is not None:
        yield Database(given)
    else:
        with Server(18).init() as started:
            yield started.start()


@pytest.fixture
def shop(kind: str, tmp_path: Path, request: pytest.FixtureRequest) -> Iterator[Shop]:
    """A shop whose orders are a table beside the ledger."""
    if kind == "postgres":
        named = f"consentlib_{os.urandom(8).hex()}"
        url = request.getfixturevalue("server").database(named)
        opened = Shop(url, keys=tmp_path / "keys")
        with psycopg.connect(url) as server:
            server.execute("CREATE TABLE orders (id text)")
    else:
        opened = Shop(f"sqlite:///{tmp_path}/shop.db", sealed=kind == "sealed")
        with closing(sqlite3.connect(opened.path)) as connection:
            connection.execute("CREATE TABLE orders (id TEXT)")
            connection.commit()
    yield opened
    opened.ledger.close()
    if kind == "postgres":
        request.getfixturevalue("server").execute(f"DROP DATABASE {named} WITH (FORCE)")


@pytest.fixture
def begin(kind: str, shop: Shop) -> Iterator[Begin]:
    """Opens a connection of the shop's in a transaction; all are closed at the end."""
    opened: list[Any] = []

    def call() -> Any:
        if kind == "postgres":
            opened.append(psycopg.connect(shop.url))
            opened[-1].execute("SELECT 1")
        else:
            opened.append(sqlite3.connect(shop.path))
            prepare(opened[-1])
            opened[-1].execute("BEGIN IMMEDIATE")
        return opened[-1]

    yield call
    for one in opened:
        one.close()


def orders(shop: Shop) -> list[str]:
    """The orders that were committed."""
    connection: Any = psycopg.connect(shop.url) if shop.url.startswith("postgres") else sqlite3.connect(shop.path)
    with closing(connection):
        return [id for (id,) in connection.execute("SELECT id FROM orders").fetchall()]


def place(connection: Any, id: str) -> None:
    """The shop's own row."""
    connection.execute(f"INSERT INTO orders VALUES ('{id}')")


def sign_up(bound: Any, address: str) -> None:
    """A newsletter sign-up, confirmed."""
    asked = bound.record(ConsentGiven(address, form="footer", evidence=SEEN))
    bound.record(ConsentConfirmed.of(asked))


def test_commit_together(shop: Shop, begin: Begin) -> None:
    """Order and consent are there together once the shop commits; before, only inside. The log verifies and is signed."""
    connection = begin()
    with shop.ledger.bind(connection) as bound:
        place(connection, "o1")
        bound.record(OrderPlaced(ANN, order="o1"))
        sign_up(bound, ANN)
        assert bound.require(ANN, use="marketing_newsletter", message=LETTER).reason == "consent_valid"
        assert shop.newsletter(ANN).reason == "unknown_subject"
        with pytest.raises(NotAllowedError):
            bound.require(BO, use="marketing_newsletter", message=LETTER)
    assert (shop.newsletter(ANN).reason, orders(shop)) == ("unknown_subject", [])
    connection.commit()
    assert (shop.newsletter(ANN).reason, orders(shop)) == ("consent_valid", ["o1"])
    assert shop.ledger.verify(read_models=True, checkpoints=[shop.ledger.checkpoint()]).size == 4
    assert shop.ledger.receipt(1)


def test_fail_together(shop: Shop, begin: Begin) -> None:
    """Neither is there once the shop has rolled back, and the log goes on as if nothing had been."""
    connection = begin()
    with shop.ledger.bind(connection) as bound:
        place(connection, "o1")
        sign_up(bound, ANN)
    connection.rollback()
    assert (shop.newsletter(ANN).reason, orders(shop)) == ("unknown_subject", [])
    shop.sign_up(BO)
    assert shop.ledger.verify(read_models=True).size == 3
    assert shop.newsletter(BO)


def test_refused_event_leaves_the_transaction(shop: Shop, begin: Begin) -> None:
    """What is refused, whole lists too, undoes itself alone: the order commits, and what was recorded before and after."""
    shop.ledger.record(OrderPlaced(BO, order="o0", event_id="taken"))
    connection = begin()
    with shop.ledger.bind(connection) as bound:
        place(connection, "o1")
        bound.record(OrderPlaced(ANN, order="o1"))
        with pytest.raises(EventConflictError):
            bound.record(OrderPlaced(ANN, order="o2", event_id="taken"))
        with pytest.raises(EventError):
            bound.record_many([OrderPlaced(ANN, order="o3"), ConsentConfirmed(ANN, ref="none")])
        bound.record(OrderPlaced(ANN, order="o4"))
    connection.commit()
    assert orders(shop) == ["o1"]
    assert [one.facts["order"] for one in shop.ledger.history(ANN)] == ["o1", "o4"]
    assert shop.ledger.verify(read_models=True)


def test_stop_stays_where_the_shop_rolls_back(shop: Shop, begin: Begin) -> None:
    """A stop counts everywhere from the moment it is taken, and becomes an entry, with its address, if the shop rolls back."""
    shop.sign_up(ANN)
    connection = begin()
    with shop.ledger.bind(connection) as bound:
        place(connection, "o1")
        assert bound.withdraw(ANN, text="no more").index is not None
        assert bound.withdraw("eva@example.dk", event_id="h1") == bound.withdraw("eva@example.dk", event_id="h1")
        assert bound.check(ANN, use="marketing_newsletter", message=LETTER).reason == "objection_direct_marketing"
        assert shop.newsletter(ANN).reason == "objection_direct_marketing"
    connection.rollback()
    assert orders(shop) == []
    assert shop.newsletter(ANN).reason == "objection_direct_marketing"
    shop.sign_up(BO)
    assert [one.kind for one in shop.ledger.history(ANN)][-2:] == ["consent.withdrawn", "objection.raised"]
    assert len(shop.ledger.history("eva@example.dk")) == 2
    with shop.ledger._store.read() as view:
        assert any("no more" in str(entry.parts.get("person")) for entry in view.entries())
    assert shop.ledger.verify(read_models=True).size == 9


def test_stop_is_recorded_once_where_the_shop_commits(shop: Shop, begin: Begin) -> None:
    """What the journal promised to make up for is found in the log."""
    shop.sign_up(ANN)
    connection = begin()
    with shop.ledger.bind(connection) as bound:
        bound.withdraw(ANN)
    connection.commit()
    shop.sign_up(BO)
    assert shop.ledger.verify(read_models=True).size == 7
    assert not shop.newsletter(ANN)


def test_stop_in_a_refused_list_stays(shop: Shop, begin: Begin) -> None:
    """A list that is refused is not recorded; the stops in it are kept all the same."""
    shop.sign_up(ANN)
    connection = begin()
    with shop.ledger.bind(connection) as bound:
        with pytest.raises(EventError):
            bound.record_many([ObjectionRaised(ANN), ConsentConfirmed(BO, ref="none")])
        assert not bound.check(ANN, use="marketing_newsletter", message=LETTER)
    connection.commit()
    assert shop.newsletter(ANN).reason == "objection_direct_marketing"
    shop.sign_up(BO)
    assert [one.kind for one in shop.ledger.history(ANN)][-1] == "objection.raised"


def test_over_with_the_transaction(shop: Shop, begin: Begin) -> None:
    """After a commit, and after the block, every call raises; a stop that was said then is kept all the same."""
    shop.sign_up(ANN)
    connection = begin()
    with shop.ledger.bind(connection) as bound:
        connection.commit()
        for call in (
            lambda: bound.record(OrderPlaced(ANN, order="o1")),
            lambda: bound.check(ANN, use="delivery"),
            lambda: bound.withdraw(ANN),
        ):
            with pytest.raises(LedgerError, match="open transaction"):
                call()
    with pytest.raises(LedgerError, match="block left"):
        bound.check(ANN, use="delivery")
    assert shop.newsletter(ANN).reason == "objection_direct_marketing"


def test_no_proofs_and_no_sends(shop: Shop, begin: Begin) -> None:
    """What is not committed proves nothing, and a send must be on record before it is handed over: each error says so."""
    connection = begin()
    with shop.ledger.bind(connection) as bound:
        for name in ("receipt", "export", "verify", "checkpoint", "disclose"):
            with pytest.raises(LedgerError, match=f"`{name}` outside") as caught:
                getattr(bound, name)
            assert "after the commit" in caught.value.__notes__[0]
        with pytest.raises(LedgerError, match="`permit` outside"):
            bound.permit(ANN, use="delivery")  # type: ignore[operator]
        with pytest.raises(AttributeError):
            bound.nothing  # noqa: B018


def test_nothing_is_signed_inside(shop: Shop, begin: Begin, monkeypatch: pytest.MonkeyPatch) -> None:
    """However many entries came: nothing is hashed and signed while others wait, least of all what may be rolled back."""
    shop.sign_up(ANN)
    monkeypatch.setattr("consentlib.notary.SIGN_AFTER_ENTRIES", 1)
    before = shop.ledger._notary.checkpoints.read()
    connection = begin()
    with shop.ledger.bind(connection) as bound:
        bound.record_many([OrderPlaced(ANN, order=str(number)) for number in range(5)])
        assert shop.ledger._notary.checkpoints.read() == before
    connection.commit()
    assert shop.ledger._notary.checkpoints.read() == before
    shop.sign_up(BO)
    assert shop.ledger._notary.checkpoints.read() != before


def test_doubts_hold_inside(shop: Shop, begin: Begin) -> None:
    """A clock behind the log refuses grants as ever."""
    shop.sign_up(ANN)
    connection = begin()
    shop.clock.tick(days=-2)
    with shop.ledger.bind(connection) as bound:
        with pytest.raises(ClockError):
            bound.record(ConsentGiven(BO, form="footer", evidence=SEEN))
        assert not bound.check(ANN, use="marketing_newsletter", message=LETTER)


def test_same_thread_is_not_left_waiting(shop: Shop, begin: Begin) -> None:
    """Recording past the binding in its own thread is refused at once; a stop is answered from the journal."""
    connection = begin()
    with shop.ledger.bind(connection):
        with pytest.raises(StoreUnavailableError):
            shop.ledger.record(OrderPlaced(ANN, order="o1"))
        assert shop.ledger.withdraw(ANN).index is None
    connection.rollback()
    shop.sign_up(BO)
    assert [one.kind for one in shop.ledger.history(ANN)] == ["consent.withdrawn", "objection.raised"]


def test_other_threads_wait_and_go_on(shop: Shop, begin: Begin) -> None:
    """Another thread's record waits for the shop's transaction and is neither lost nor turned away."""
    connection = begin()
    with shop.ledger.bind(connection) as bound:
        other = threading.Thread(target=shop.sign_up, args=(BO,))
        other.start()
        sign_up(bound, ANN)
    other.join(0.1)
    assert other.is_alive()
    connection.commit()
    other.join(20)
    assert shop.newsletter(ANN)
    assert shop.newsletter(BO)
    assert shop.ledger.verify(read_models=True).size == 5


_OTHER = """
import sqlite3, sys
from consentlib import Ledger
from consentlib.events import OrderPlaced
url, keys, how = sys.argv[1:]
ledger = Ledger.open(url, keys=keys)
if how == "bound":
    from consentlib.store.sqlite_file import prepare
    if url.startswith("sqlite"):
        connection = sqlite3.connect(url.removeprefix("sqlite:///"), timeout=30)
        prepare(connection)
    else:
        import psycopg
        connection = psycopg.connect(url)
for number in range(12):
    if how == "bound":
        connection.execute("BEGIN IMMEDIATE" if url.startswith("sqlite") else "SELECT 1")
        with ledger.bind(connection) as bound:
            connection.execute(f"INSERT INTO orders VALUES ('{number}')")
            bound.record(OrderPlaced("ann@example.dk", order=f"bound-{number}"))
        connection.commit() if number % 3 else connection.rollback()
    else:
        ledger.record(OrderPlaced("ann@example.dk", order=f"alone-{number}"))
ledger.close()
"""


def test_processes(shop: Shop, kind: str, tmp_path: Path) -> None:
    """One process records in its own transactions, another in the ledger's: nothing is lost, doubled or left behind."""
    keys = tmp_path / "keys" if kind == "postgres" else Path(f"{shop.path}.keys")
    shop.ledger.close()
    workers = [
        subprocess.Popen([sys.executable, "-c", _OTHER, shop.url, str(keys), how], stderr=subprocess.PIPE)
        for how in ("bound", "alone", "bound")
    ]
    for worker in workers:
        _, said = worker.communicate(timeout=120)
        assert worker.returncode == 0, said.decode()
    with Ledger.open(shop.url, keys=Keys.load(keys), clock=shop.clock) as ledger:
        found = [one.facts["order"] for one in ledger.history("ann@example.dk")]
        assert len(found) == len(orders(shop)) + 12 == 28
        assert ledger.verify(read_models=True).size == 29
