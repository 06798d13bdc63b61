"""Three PostgreSQL nodes with quorum replication, whose primary is killed again and again while eight processes write."""

from __future__ import annotations

import json
import os
import shutil
import time
from collections import Counter
from collections.abc import Iterator
from contextlib import ExitStack
from itertools import pairwise
from pathlib import Path

import pytest

from consentlib import Ledger
from consentlib.errors import ConsentlibError
from consentlib.events import ConsentConfirmed, ConsentGiven, OrderPlaced
from consentlib.recorder import event_key
from postgres_server import PASSWORD, Server
from shop import POLICY, SEEN

WRITERS = 8
NAMES = ("node0", "node1", "node2")
SETTINGS = {
    "synchronous_standby_names": f"ANY 1 ({', '.join(NAMES)})",  # on all three: whoever is promoted waits for another at once
    "wal_keep_size": "512MB",
    "wal_retrieve_retry_interval": "50ms",
    "max_connections": "120",
}


class Cluster:
    """Three nodes, of which one is the primary. What a tool for failover does is done here, one step after the other."""

    def __init__(self, stack: ExitStack) -> None:
        self._nodes = {name: stack.enter_context(Server(**SETTINGS)) for name in NAMES}
        self.primary = NAMES[0]
        first = self._nodes[self.primary].init().start()
        for name in NAMES[1:]:
            self._nodes[name].copy_of(first, name).start()
        hosts = ",".join(f"127.0.0.1:{one.port}" for one in self._nodes.values())
        self.url = f"postgresql://owner:{PASSWORD}@{hosts}/postgres"

    def fail_over(self) -> None:
        """Kill the primary, promote the standby that has most, let the other follow it."""
        self._nodes[self.primary].kill()
        others = [name for name in NAMES if name != self.primary]
        last, self.primary = self.primary, max(others, key=self._received)
        self._nodes[self.primary].promote()
        [other] = {*others} - {self.primary}
        where = self._nodes[self.primary].url(application_name=other)
        self._nodes[other].set(primary_conninfo=where)
        self._lost = last

    def repair(self) -> None:
        """Make a new standby of the node that was killed."""
        lost = self._nodes[self._lost]
        shutil.rmtree(lost.data)
        lost.copy_of(self._nodes[self.primary], self._lost).start()
        end = time.monotonic() + 30
        while self._nodes[self.primary].execute("SELECT count(*) FROM pg_stat_replication") != [(2,)]:
            assert time.monotonic() < end
            time.sleep(0.02)

    def _received(self, name: str) -> int:
        sql = "SELECT greatest(pg_last_wal_receive_lsn(), pg_last_wal_replay_lsn()) - '0/0'::pg_lsn"
        return int(self._nodes[name].execute(sql)[0][0])


class Writer:
    """A process that records until it is told to end: what it began and what was answered goes to a file of its own."""

    def __init__(self, number: int, url: str, folder: Path) -> None:
        self._path = folder / f"writer{number}"
        self._path.touch()
        self._pid = os.fork()
        if self._pid == 0:
            try:
                self._write(number, url, folder)
                os._exit(0)
            finally:
                os._exit(1)

    def _write(self, number: int, url: str, folder: Path) -> None:
        with Ledger.open(url, keys=folder / "keys", checkpoints=folder / "aside") as ledger, self._path.open("a") as said:
            for count in range(10**6):
                if (folder / "end").exists():
                    return
                event = OrderPlaced(f"p{count}@example.dk", order=f"{number}-{count}", event_id=f"{number}-{count}")
                tries = 0
                while True:
                    try:
                        tries += 1
                        index = ledger.record(event).index
                        break
                    except ConsentlibError:
                        time.sleep(0.01)
                print(json.dumps([event.event_id, index, tries, time.monotonic()]), file=said, flush=True)
                if count % 50 == 49:
                    self._stop(ledger, number, count, said)

    def _stop(self, ledger: Ledger, number: int, count: int, said: object) -> None:
        """Every now and then a stop, and a checkpoint that must never be ahead of the log."""
        ledger.withdraw(f"s{number}-{count}@example.dk")
        print(json.dumps([None, f"s{number}-{count}@example.dk", 1, time.monotonic()]), file=said, flush=True)  # type: ignore[call-overload]
        try:
            ledger.checkpoint()
        except ConsentlibError:
            pass

    def answers(self) -> list[list[object]]:
        """[event id, index, tries, when]; [None, address, …] for stops."""
        return [json.loads(line) for line in self._path.read_text().splitlines(keepends=True) if line.endswith("\n")]

    def end(self) -> int:
        """How it ended."""
        return os.waitstatus_to_exitcode(os.waitpid(self._pid, 0)[1])


@pytest.fixture
def cluster() -> Iterator[Cluster]:
    """Three nodes."""
    with ExitStack() as stack:
        yield Cluster(stack)


@pytest.mark.parametrize("rounds", [2, pytest.param(20, marks=pytest.mark.slow)])
def test_the_primary_dies_while_eight_write(
    cluster: Cluster, tmp_path: Path, rounds: int, capsys: pytest.CaptureFixture[str]
) -> None:
    """Every event that was answered is there once, at its index, every other once or not at all; the chain is whole."""
    with Ledger.create(cluster.url, policy=POLICY, keys=tmp_path / "keys", checkpoints=tmp_path / "aside") as ledger:
        ledger.record(ConsentConfirmed.of(ledger.record(ConsentGiven("ann@example.dk", form="footer", evidence=SEEN))))
        writers = [Writer(number, cluster.url, tmp_path) for number in range(WRITERS)]
        silences = []
        for _ in range(rounds):
            progress(writers, 10)
            killed = time.monotonic()
            cluster.fail_over()
            cluster.repair()
            progress(writers, 5)
            silences.append(silence(writers, killed))
        (tmp_path / "end").touch()
        assert [writer.end() for writer in writers] == [0] * WRITERS
        answers = [one for writer in writers for one in writer.answers()]
        check(ledger, answers)
        retried = sum(int(str(one[2])) > 1 for one in answers)
        with capsys.disabled():
            print(
                f"\n{rounds} rounds, {len(answers)} answers, {retried} after an error, "
                f"silence {min(silences):.2f} to {max(silences):.2f} s, 0 lost, 0 twice"
            )


def silence(writers: list[Writer], killed: float) -> float:
    """For how many seconds nobody was answered once the primary was killed."""
    times = sorted(float(str(one[3])) for writer in writers for one in writer.answers())
    return max(after - before for before, after in pairwise(times) if after > killed > before - 0.5)


def progress(writers: list[Writer], more: int) -> None:
    """Wait until every writer was answered so many times more."""
    wanted = [len(one.answers()) + more for one in writers]
    end = time.monotonic() + 90
    while any(len(one.answers()) < count for one, count in zip(writers, wanted, strict=True)):
        assert time.monotonic() < end
        time.sleep(0.05)


def check(ledger: Ledger, answers: list[list[object]]) -> None:
    """Compare what was answered with what is in the log, which must verify."""
    ledger.verify(read_models=True)
    placed: Counter[str] = Counter()
    with ledger._store.read() as view:
        indices = {}
        for entry in view.entries():
            facts = entry.parts.get("facts")
            if isinstance(facts, tuple) and (id := json.loads(facts[1]).get("event_id")) is not None:
                placed[id] += 1
                indices[id] = entry.index
    assert set(placed.values()) == {1}
    for id, index, _, _ in answers:
        if id is not None:
            assert indices.get(event_key(ledger._keys, str(id)).hex()) == index
        else:
            assert [one.kind for one in ledger.history(str(index))].count("consent.withdrawn") == 1
