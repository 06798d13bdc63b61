"""A PostgreSQL server that ends, cancels or restarts under a ledger at each step of an append."""

from __future__ import annotations

import socket
import threading
import time
from collections.abc import Iterator

import psycopg
import pytest

from consentlib import Ledger
from consentlib.checkpoints import MemoryCheckpoints
from consentlib.errors import StoreUnavailableError
from consentlib.events import OrderPlaced
from consentlib.keys import Keys
from postgres_proxy import Line
from postgres_server import Server
from shop import Shop

ANN = "ann@example.dk"
WORDS = [b"BEGIN", b"consentlib.orders", b"COMMIT\0"]
SESSIONS = "FROM pg_stat_activity WHERE application_name = 'consentlib'"


class Interrupted(Line):
    """A line that holds up a message, or the answer to it, while something happens to the server; and then goes on."""

    def _break(self, client: socket.socket, server: socket.socket, data: bytes) -> None:
        assert self.meanwhile is not None
        server_said = b""
        if self.reached:
            server.sendall(data)
            server_said = server.recv(65_536)
        self.meanwhile()
        client.sendall(server_said) if self.reached else server.sendall(data)
        while self._carry(client, server):
            pass


@pytest.fixture(scope="module")
def server() -> Iterator[Server]:
    """A server that may be restarted."""
    with Server().init() as one:
        yield one.start()


@pytest.fixture
def near(server: Server, request: pytest.FixtureRequest) -> Iterator[Shop]:
    """A shop at the server's side of the line."""
    name = f"steps_{abs(hash(request.node.name))}"
    shop = Shop(server.database(name), keys=Keys.generate(), checkpoints=MemoryCheckpoints())
    shop.sign_up(ANN)
    yield shop
    shop.ledger.close()


@pytest.fixture
def line(near: Shop) -> Iterator[Interrupted]:
    """A line to the server."""
    with Interrupted(near.url) as one:
        yield one


@pytest.fixture
def far(near: Shop, line: Interrupted) -> Iterator[Ledger]:
    """The same ledger at the other end of the line."""
    with Ledger.open(line.url, keys=near.ledger._keys, checkpoints=near.ledger._notary.checkpoints, clock=near.clock) as ledger:
        ledger.record(OrderPlaced(ANN, order="first"))
        yield ledger


@pytest.mark.parametrize("act", ["terminate", "cancel", pytest.param("restart", marks=pytest.mark.slow), "crash"])
@pytest.mark.parametrize("words", WORDS)
@pytest.mark.parametrize("reached", [False, True])
def test_at_each_step(
    near: Shop, far: Ledger, line: Interrupted, server: Server, words: bytes, reached: bool, act: str
) -> None:
    """An event is there once if it was answered, and not at all if it was refused."""

    def happen() -> None:
        if act in ("terminate", "cancel"):
            server.execute(f"SELECT pg_{act}_backend(pid) {SESSIONS}")
        else:
            server.stop("fast" if act == "restart" else "immediate")
            server.start()

    before = near.ledger.verify(read_models=True).size
    line.break_at(words, reached=reached, meanwhile=happen)
    event = OrderPlaced(ANN, order="second", event_id="second")
    try:
        recorded = far.record(event)
    except StoreUnavailableError:
        assert act != "cancel"
        assert near.ledger.verify(read_models=True).size == before
        recorded = far.record(event)
    assert line.cut_at is None
    assert recorded.index == before
    assert far.record(event).index == before
    assert near.ledger.verify(read_models=True).size == before + 1


def test_cancelled_while_it_waits_for_its_turn(near: Shop, server: Server) -> None:
    """A writer that somebody cancels in the queue gets one clear error, leaves nothing, and writes again."""
    found: list[BaseException] = []

    def write() -> None:
        try:
            near.ledger.record(OrderPlaced(ANN, order="o1"))
        except BaseException as error:  # noqa: BLE001  # looked at below
            found.append(error)

    before = near.ledger.verify().size
    with psycopg.connect(near.url) as other:
        other.execute("SELECT * FROM consentlib.heads FOR UPDATE")
        writer = threading.Thread(target=write)
        writer.start()
        end = time.monotonic() + 20
        while not server.execute(f"SELECT pg_cancel_backend(pid) {SESSIONS} AND wait_event_type = 'Lock'"):
            assert time.monotonic() < end
            time.sleep(0.01)
        writer.join(20)
    assert [type(one) for one in found] == [StoreUnavailableError]
    assert near.ledger.record(OrderPlaced(ANN, order="o1")).index == before
    assert near.ledger.verify(read_models=True).size == before + 1
