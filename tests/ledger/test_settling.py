"""Lost answers: a ledger on PostgreSQL neither doubles nor drops what it answered for, wherever line or server break."""

from __future__ import annotations

import threading
import time
from collections.abc import Iterator

import pytest

from consentlib import Ledger
from consentlib.checkpoints import MemoryCheckpoints
from consentlib.errors import CommitUnknownError, StoreUnavailableError
from consentlib.events import OrderPlaced
from consentlib.keys import Keys
from consentlib.testing import FaultyStore
from postgres_proxy import Line
from postgres_server import Database, Server
from shop import LETTER, POLICY, Shop

ANN = "ann@example.dk"
COMMIT = b"COMMIT\0"


@pytest.fixture
def near(postgres_url: str) -> Iterator[Shop]:
    """A shop at the server's side of the line, with one person who may be written to."""
    shop = Shop(postgres_url, keys=Keys.generate(), checkpoints=MemoryCheckpoints())
    shop.sign_up(ANN)
    yield shop
    shop.ledger.close()


@pytest.fixture
def line(postgres_url: str) -> Iterator[Line]:
    """A line to the server that can be broken."""
    with Line(postgres_url) as one:
        yield one


@pytest.fixture
def far(near: Shop, line: Line) -> Iterator[Ledger]:
    """The same ledger at the other end of the line."""
    with Ledger.open(line.url, keys=near.ledger._keys, checkpoints=near.ledger._notary.checkpoints, clock=near.clock) as ledger:
        ledger.record(OrderPlaced(ANN, order="first"))
        yield ledger


def size(shop: Shop) -> int:
    """How many entries there are, read at the server's side, of a log that verifies."""
    return shop.ledger.verify(read_models=True).size


@pytest.mark.parametrize("reached", [False, True])
@pytest.mark.parametrize("words", [b"BEGIN", b"consentlib.orders", COMMIT])
def test_a_line_that_breaks_at_each_step(near: Shop, far: Ledger, line: Line, words: bytes, reached: bool) -> None:
    """An event is there once if it was answered, and not at all if it was refused; a lost commit is always answered."""
    before = size(near)
    line.break_at(words, reached=reached)
    try:
        recorded = far.record(OrderPlaced(ANN, order="second"))
    except StoreUnavailableError:
        assert words not in (b"BEGIN", COMMIT)
        assert size(near) == before
        recorded = far.record(OrderPlaced(ANN, order="second"))
    assert line.cut_at is None
    assert (recorded.index, size(near)) == (before, before + 1)
    assert [one.kind for one in near.ledger.history(ANN)][-1] == "order.placed"


@pytest.mark.parametrize("action", ["withdraw", "permit", "erase", "publish"])
@pytest.mark.parametrize("reached", [False, True])
def test_every_action_settles(near: Shop, far: Ledger, line: Line, action: str, reached: bool) -> None:
    """Not records alone: a withdrawal, a send, an erasure and a policy are there once after their answer was lost."""
    before = size(near)
    line.break_at(COMMIT, reached=reached)
    if action == "withdraw":
        far.withdraw(ANN)
        assert not near.newsletter(ANN)
    elif action == "permit":
        with far.permit(ANN, use="marketing_newsletter", message=LETTER):
            pass
    elif action == "erase":
        assert far.erase(ANN, reason="art17", by="dpo").index == before
    else:
        far.publish(POLICY)
    assert line.cut_at is None
    assert size(near) == before + (2 if action == "withdraw" else 1)


def test_another_writer_comes_between(near: Shop, far: Ledger, line: Line) -> None:
    """A commit that did not take place, and whose place another writer took: it is made anew, behind that one's."""
    before = size(near)
    line.break_at(COMMIT, reached=False, meanwhile=lambda: near.ledger.record(OrderPlaced("bo@example.dk", order="b")))
    recorded = far.record_many([OrderPlaced(ANN, order="second"), OrderPlaced(ANN, order="third", event_id="e3")])
    assert [one.index for one in recorded] == [before + 1, before + 2]
    assert size(near) == before + 3
    line.break_at(COMMIT, reached=False, meanwhile=lambda: near.ledger.record(OrderPlaced("bo@example.dk", order="c")))
    assert far.erase(ANN, reason="art17", by="dpo").index == before + 4
    assert size(near) == before + 5
    assert near.newsletter(ANN).reason == "erased"


def test_another_writer_comes_after(near: Shop, far: Ledger, line: Line) -> None:
    """A commit that took place is found also when others appended behind it meanwhile."""
    before = size(near)
    line.break_at(COMMIT, reached=True, meanwhile=lambda: near.ledger.record(OrderPlaced("bo@example.dk", order="b")))
    assert far.record(OrderPlaced(ANN, order="second")).index == before
    assert size(near) == before + 2


@pytest.mark.parametrize("persisted", [False, True])
def test_what_can_not_be_found_out_is_said(persisted: bool) -> None:
    """If the store is away when the ledger looks, the caller learns that the commit is unknown."""
    shop = Shop()

    class Away(FaultyStore):
        def write(self, *wanted):  # type: ignore[no-untyped-def]
            if not self.armed and self.steps > 0:
                raise StoreUnavailableError("expected the server, found none")
            return super().write(*wanted)

    store = Away(shop.ledger._store)
    ledger = Ledger(store, shop.ledger._keys, MemoryCheckpoints(), clock=shop.clock)
    store.fail_next(persisted=persisted)
    with pytest.raises(CommitUnknownError if persisted else StoreUnavailableError, match="on purpose"):
        ledger.record(OrderPlaced(ANN, order="o1"))


def test_the_server_dies_again_and_again(postgres_url: str) -> None:
    """Writers whose server is stopped at any moment: what was answered is there once, and nothing refused is there."""
    with Server().init() as server:
        shop = Shop(server.start().url(), keys=Keys.generate(), checkpoints=MemoryCheckpoints())
        answered: list[str] = []
        doubtful: list[str] = []
        stop = threading.Event()

        def write(name: str) -> None:
            number = 0
            while not stop.is_set():
                number += 1
                try:
                    shop.ledger.record(OrderPlaced(f"{name}{number}@example.dk", order="o1"))
                    answered.append(f"{name}{number}")
                except CommitUnknownError:
                    doubtful.append(f"{name}{number}")
                except StoreUnavailableError:
                    time.sleep(0.02)

        writers = [threading.Thread(target=write, args=(name,)) for name in "abc"]
        for one in writers:
            one.start()
        for mode in ("immediate", "kill", "immediate"):
            enough = len(answered) + 10
            end = time.monotonic() + 60
            while len(answered) < enough and time.monotonic() < end:
                time.sleep(0.02)
            server.kill() if mode == "kill" else server.stop(mode)
            server.start()
        stop.set()
        for one in writers:
            one.join()
        found = shop.ledger.verify(read_models=True).size - 1
        assert len(answered) <= found <= len(answered) + len(doubtful)
        assert all(len(shop.ledger.history(f"{one}@example.dk")) == 1 for one in answered)
        shop.ledger.close()


def test_a_cancelled_wait_for_a_standby_is_waited_for_again() -> None:
    """A record is answered only once a standby has it, though somebody cancelled the wait of its commit."""
    with Server().init() as server:
        shop = Shop(server.start().url(), keys=Keys.generate(), checkpoints=MemoryCheckpoints())
        server.set(synchronous_standby_names="ANY 1 (nobody)")
        answered: list[int] = []
        writer = threading.Thread(target=lambda: answered.append(shop.ledger.record(OrderPlaced(ANN, order="o1")).index))
        writer.start()
        server.execute("SELECT pg_cancel_backend(%s)", (waiting(server),))
        time.sleep(0.3)
        waiting(server)
        assert answered == []
        server.set(synchronous_standby_names="")
        writer.join(20)
        assert answered == [1]
        assert shop.ledger.verify(read_models=True).size == 2
        shop.ledger.close()


def waiting(server: Database) -> int:
    """The process of a session that waits for a standby."""
    end = time.monotonic() + 20
    while not (found := server.execute("SELECT pid FROM pg_stat_activity WHERE wait_event = 'SyncRep'")):
        assert time.monotonic() < end
        time.sleep(0.02)
    pid: int = found[0][0]
    return pid
