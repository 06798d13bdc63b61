"""What every checkpoint store must do, and what is particular to the one in a database."""

import multiprocessing
import os
import signal
import sqlite3
import stat
import subprocess
import sys
import threading
from collections.abc import Callable
from contextlib import closing
from pathlib import Path

import pytest

from consentlib import Ledger
from consentlib.checkpoints import (
    CheckpointsOnDisk,
    CheckpointStore,
    FileCheckpoints,
    MemoryCheckpoints,
    checkpoint_store,
    covered_size,
)
from consentlib.checkpoints import sqlite as in_database
from consentlib.checkpoints.sqlite import SqliteCheckpoints
from consentlib.errors import CheckpointConflictError, InputError, StoreUnavailableError
from consentlib.keys import Keys
from forger import held, reopen
from shop import POLICY, Shop

SPAWN = multiprocessing.get_context("spawn")

Make = Callable[[], CheckpointStore]


@pytest.fixture(params=["memory", "folder", "database"])
def make(request: pytest.FixtureRequest, tmp_path: Path) -> Make:
    """Opens one and the same store, as often as it is called."""
    memory = MemoryCheckpoints()
    return {
        "memory": lambda: memory,
        "folder": lambda: FileCheckpoints(tmp_path / "kept" / "folder"),
        "database": lambda: SqliteCheckpoints(tmp_path / "kept" / "checkpoints.db", "shop"),
    }[request.param]


def note(size: int, rest: bytes = b"a") -> bytes:
    """What looks enough like a checkpoint for a store."""
    return b"o\n%d\n%b\n" % (size, rest)


# The contract.


def test_empty(make: Make) -> None:
    """A new store can be read before anything was kept, and be made ready more than once."""
    assert (make().read(), make().history()) == (None, [])
    make().prepare()
    make().prepare()
    assert (make().read(), make().history()) == (None, [])


def test_compare_and_swap(make: Make) -> None:
    """A checkpoint is taken only in the place of the one that its maker saw, and all stay, smallest first."""
    one = make()
    one.replace(None, note(1))
    for old in (None, note(2), note(1, b"b")):
        with pytest.raises(CheckpointConflictError):
            one.replace(old, note(3))
    assert (one.read(), one.history()) == (note(1), [note(1)])
    one.replace(note(1), note(9))
    one.replace(note(9), note(10))
    assert (make().read(), make().history()) == (note(10), [note(1), note(9), note(10)])


def test_same_size(make: Make) -> None:
    """One of the same size, which more keys signed, takes the old one's place altogether."""
    one = make()
    one.replace(None, note(1))
    one.replace(note(1), note(2))
    one.replace(note(2), note(2, b"both"))
    assert (one.read(), one.history()) == (note(2, b"both"), [note(1), note(2, b"both")])
    with pytest.raises(CheckpointConflictError):
        one.replace(note(2), note(3))


def test_threads(make: Make) -> None:
    """Of many threads that replace the same one, one succeeds."""
    make().replace(None, note(1))
    won: list[bytes] = []

    def try_to(new: bytes) -> None:
        try:
            make().replace(note(1), new)
        except CheckpointConflictError:
            return
        won.append(new)

    threads = [threading.Thread(target=try_to, args=(note(number),)) for number in range(2, 12)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert won == [make().read()]
    assert make().history() == [note(1), *won]


def count_up(kind: str, place: Path, times: int) -> None:
    """Another process: puts a checkpoint one larger in the place of the newest, so many times."""
    store = FileCheckpoints(place) if kind == "folder" else SqliteCheckpoints(place, "shop")
    done = 0
    while done < times:
        old = store.read()
        try:
            store.replace(old, note(1 if old is None else covered_size(old) + 1, b"%d" % os.getpid()))
            done += 1
        except CheckpointConflictError:
            pass


@pytest.mark.parametrize("kind", ["folder", "database"])
def test_processes(kind: str, tmp_path: Path) -> None:
    """Processes that race from the first checkpoint on lose none and take none back."""
    place = tmp_path / "kept"
    processes = [SPAWN.Process(target=count_up, args=(kind, place, 15)) for _ in range(3)]
    for process in processes:
        process.start()
    for process in processes:
        process.join()
    assert [process.exitcode for process in processes] == [0, 0, 0]
    store = FileCheckpoints(place) if kind == "folder" else SqliteCheckpoints(place, "shop")
    assert [covered_size(one) for one in store.history()] == list(range(1, 46))


KILLED = """
import os, signal, sys
from pathlib import Path
from consentlib.checkpoints import sqlite
name, when = sys.argv[2:]
class Dying(sqlite.sqlite3.Connection):
    def execute(self, statement, *more):
        mine = statement.startswith(name)
        if mine and when == "before":
            os.kill(os.getpid(), signal.SIGKILL)
        found = super().execute(statement, *more)
        if mine:
            os.kill(os.getpid(), signal.SIGKILL)
        return found
real = sqlite.sqlite3.connect
sqlite.sqlite3.connect = lambda *args, **more: real(*args, factory=Dying, **more)
sqlite.SqliteCheckpoints(Path(sys.argv[1]), "shop").replace(b"o\\n1\\na\\n", b"o\\n2\\na\\n")
"""


@pytest.mark.parametrize(("name", "when"), [("INSERT", "before"), ("COMMIT", "before"), ("COMMIT", "after")])
def test_killed(tmp_path: Path, name: str, when: str) -> None:
    """Killed at any moment, the newest is the old one or the new one, and the next is taken in its place."""
    store = SqliteCheckpoints(tmp_path / "c.db", "shop")
    store.replace(None, note(1))
    found = subprocess.run([sys.executable, "-c", KILLED, store.place, name, when], check=False)
    assert found.returncode == -signal.SIGKILL
    left = note(2) if when == "after" else note(1)
    assert store.read() == left
    store.replace(left, note(3))
    assert store.history()[-2:] == [left, note(3)]


def test_fork(make: Make) -> None:
    """A child goes on with the parent's store, and the parent with what the child kept."""
    if isinstance(make(), MemoryCheckpoints):
        pytest.skip("nothing to share")
    make().replace(None, note(1))
    child = os.fork()
    if child == 0:
        try:
            make().replace(note(1), note(2))
            os._exit(0)
        finally:
            os._exit(4)
    _, status = os.waitpid(child, 0)
    assert os.waitstatus_to_exitcode(status) == 0
    make().replace(note(2), note(3))
    assert make().history() == [note(1), note(2), note(3)]


def test_fork_beside_a_writer(tmp_path: Path) -> None:
    """A child forked while another thread writes can write too: nothing is connected at that moment."""
    store = SqliteCheckpoints(tmp_path / "c.db", "shop")
    store.replace(None, note(1))
    stop = threading.Event()

    def work() -> None:
        other, size = SqliteCheckpoints(store.place, "other"), 0
        while not stop.is_set():
            other.replace(note(size) if size else None, note(size + 1))
            size += 1

    worker = threading.Thread(target=work)
    worker.start()
    codes = []
    for number in range(1, 6):
        child = os.fork()
        if child == 0:
            try:
                store.replace(note(number), note(number + 1))
                os._exit(0)
            finally:
                os._exit(4)
        codes.append(os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]))
    stop.set()
    worker.join()
    assert codes == [0] * 5
    assert store.read() == note(6)


# In a database.


def test_says_where_and_when(tmp_path: Path) -> None:
    """A store on disk says where it lies and when it was last written."""
    for store in (FileCheckpoints(tmp_path / "folder"), SqliteCheckpoints(tmp_path / "c.db", "shop")):
        assert isinstance(store, CheckpointsOnDisk)
        assert store.newest_at() is None
        store.replace(None, note(1))
        assert (store.newest_at() or 0) > 1_700_000_000
        assert store.place.exists()
    assert not isinstance(MemoryCheckpoints(), CheckpointsOnDisk)


def test_database_file(tmp_path: Path) -> None:
    """For its owner alone, and so is what SQLite puts beside it; each commit is synced."""
    store = SqliteCheckpoints(tmp_path / "kept" / "c.db", "shop")
    store.replace(None, note(1))
    with closing(sqlite3.connect(store.place)) as reader:
        assert reader.execute("PRAGMA journal_mode").fetchall() == [("wal",)]
        assert {stat.S_IMODE(one.stat().st_mode) for one in store.place.parent.iterdir()} == {0o600}
    with store._connected() as conn:
        assert conn.execute("PRAGMA synchronous").fetchall() == [(2,)]


def test_several_ledgers(tmp_path: Path) -> None:
    """Ledgers of one origin and several keep their checkpoints in one database, each its own."""
    kept = f"sqlite:///{tmp_path}/elsewhere/c.db"
    shops = [Shop(f"sqlite:///{tmp_path}/{name}.db", checkpoints=kept) for name in ("a", "b")]
    for shop in shops:
        shop.sign_up("anna@example.dk")
        note = shop.ledger.checkpoint()
        reopen(shop, checkpoints=kept)
        assert shop.ledger._notary.checkpoints.read() == note
        assert held(shop, note).size == 3
        assert shop.newsletter("anna@example.dk")
    assert len({shop.ledger._notary.checkpoints.read() for shop in shops}) == 2
    for shop in shops:
        shop.ledger.close()


def test_rolled_back_database(tmp_path: Path) -> None:
    """A ledger that fell behind what the database keeps is marked when it opens."""
    kept = f"sqlite:///{tmp_path}/elsewhere/c.db"
    shop = Shop(f"sqlite:///{tmp_path}/shop.db", checkpoints=kept)
    shop.ledger.close()
    before = shop.path.read_bytes()
    reopen(shop, checkpoints=kept)
    shop.sign_up("anna@example.dk")
    shop.ledger.close()
    shop.path.write_bytes(before)
    reopen(shop, checkpoints=kept)
    assert shop.newsletter("anna@example.dk").reason == "ledger_unverified"
    shop.ledger.close()


def test_never_the_ledgers_own(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The ledger's own database is refused, under whatever name, before a ledger is made; and so is one with another ledger."""
    monkeypatch.chdir(tmp_path)
    (tmp_path / "link").symlink_to(tmp_path)
    for said in (f"sqlite:///{tmp_path}/shop.db", "sqlite:///shop.db", f"sqlite:///{tmp_path}/link/shop.db"):
        with pytest.raises(InputError, match="another database than the ledger's"):
            Ledger.create(f"sqlite:///{tmp_path}/shop.db", policy=POLICY, checkpoints=said)
    assert [one.name for one in tmp_path.iterdir()] == ["link"]
    with Ledger.create("sqlite:///shop.db", policy=POLICY), pytest.raises(StoreUnavailableError, match="without a ledger"):
        Ledger.create("sqlite:///other.db", policy=POLICY, checkpoints="sqlite:///shop.db")
    assert not (tmp_path / "other.db").exists()


@pytest.mark.parametrize("said", ["sqlite:c.db", "sqlite://c.db", "sqlite:///", "sqlite:///:memory:"])
def test_other_urls(said: str) -> None:
    """What names no file is refused."""
    with pytest.raises(InputError, match="the path of a file"):
        checkpoint_store("sqlite:///a.db", "a", Keys.generate(), said)


def test_by_environment(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    """CONSENTLIB_CHECKPOINTS may name a database too."""
    monkeypatch.setenv("CONSENTLIB_CHECKPOINTS", f"sqlite:///{tmp_path}/c.db")
    store = checkpoint_store("sqlite:///a.db", "a", Keys.generate(), None)
    assert isinstance(store, SqliteCheckpoints)
    assert store.place == tmp_path / "c.db"


@pytest.mark.parametrize("how", ["folder", "no database", "no room"])
def test_what_can_not_be_used(how: str, tmp_path: Path) -> None:
    """A place that can't be a database is one clear error, and nothing is begun."""
    path = tmp_path / "c.db"
    if how == "folder":
        path.mkdir()
    elif how == "no database":
        path.write_bytes(b"something else " * 100)
    else:
        path.write_text("in the way")
        path = path / "c.db"
    with pytest.raises(StoreUnavailableError, match="checkpoints"):
        Ledger.create(f"sqlite:///{tmp_path}/shop.db", policy=POLICY, checkpoints=f"sqlite:///{path}")
    assert not (tmp_path / "shop.db").exists()


def test_locked_for_long(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Somebody who holds the database is waited for, and then named as the reason."""
    monkeypatch.setattr(in_database, "WAIT", 0.2)
    store = SqliteCheckpoints(tmp_path / "c.db", "shop")
    store.replace(None, note(1))
    with closing(sqlite3.connect(store.place, isolation_level=None)) as other:
        other.execute("BEGIN IMMEDIATE")
        with pytest.raises(StoreUnavailableError, match="SQLITE_BUSY"):
            store.replace(note(1), note(2))
        assert store.read() == note(1)
    store.replace(note(1), note(2))
