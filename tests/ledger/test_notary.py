"""Signing: what is signed and when, where it is kept, and what happens where that can't be read, written, or is behind."""

import logging
import multiprocessing
import os
import signal
import stat
import subprocess
import sys
import threading
from pathlib import Path

import pytest

from consentlib import Ledger
from consentlib.checkpoints import FileCheckpoints, MemoryCheckpoints, checkpoint_store, covered_size, default_folder
from consentlib.errors import CheckpointConflictError, StoreUnavailableError, VerificationError
from consentlib.events import OrderPlaced
from consentlib.keys import Keys
from consentlib.store.sqlite_view import View
from forger import forge, held, key, reopen, restore, save
from shop import Shop

ANN = "anna@example.dk"
SPAWN = multiprocessing.get_context("spawn")


def kept(shop: Shop) -> FileCheckpoints:
    """The shop's checkpoint store."""
    store = shop.ledger._notary.checkpoints
    assert isinstance(store, FileCheckpoints)
    return store


def sizes(shop: Shop) -> list[int]:
    """The sizes that were ever signed, in the order in which the store gives them."""
    return [covered_size(one) for one in kept(shop).history()]


# What is signed, and when.


def test_created(shop: Shop) -> None:
    """A new ledger is signed at once, its policy with it, under the key that it tells."""
    note = kept(shop).read()
    assert note is not None
    assert (held(shop, note).origin, held(shop, note).size) == (shop.ledger.origin, 1)
    assert key(shop).name == shop.ledger.origin


def test_idempotent_and_extends(shop: Shop) -> None:
    """The same bytes as long as nothing is new; then one that extends it, and all of them stay."""
    first = shop.ledger.checkpoint()
    written = kept(shop).folder.stat().st_mtime_ns
    assert shop.ledger.checkpoint() == first == kept(shop).read()
    assert kept(shop).folder.stat().st_mtime_ns == written
    shop.sign_up(ANN)
    second = shop.ledger.checkpoint()
    assert held(shop, second).size == 3
    assert kept(shop).history() == [first, second]
    assert shop.ledger.verify(checkpoints=[first, second]).level == "history"
    assert shop.ledger.verify(checkpoints=[first.replace(b"\n", b"\r\n")]).level == "history"  # as mail makes it


def test_after_so_many_entries(shop: Shop, monkeypatch: pytest.MonkeyPatch) -> None:
    """A checkpoint comes by itself after so many entries, counted from the newest one."""
    monkeypatch.setattr("consentlib.notary.SIGN_AFTER_ENTRIES", 4)
    for number in range(9):
        shop.ledger.withdraw(f"p{number}@example.dk", limited=True)
    assert sizes(shop) == [1, 5, 9]


def test_after_so_long(shop: Shop, monkeypatch: pytest.MonkeyPatch) -> None:
    """Or after so long, at the next entry."""
    monkeypatch.setattr("consentlib.notary.SIGN_AFTER_TIME", 60_000)
    shop.ledger.withdraw("p0@example.dk", limited=True)
    shop.clock.tick(59)
    shop.ledger.withdraw("p1@example.dk", limited=True)
    assert sizes(shop) == [1]
    shop.clock.tick(1)
    shop.ledger.withdraw("p2@example.dk", limited=True)
    assert sizes(shop) == [1, 4]


def test_on_close(shop: Shop) -> None:
    """Closing signs what came; opening and closing again signs nothing."""
    shop.sign_up(ANN)
    reopen(shop)
    assert sizes(shop) == [1, 3]
    reopen(shop)
    assert sizes(shop) == [1, 3]


def test_closed_twice(shop: Shop, caplog: pytest.LogCaptureFixture) -> None:
    """Closing again does nothing, and complains of nothing."""
    shop.ledger.close()
    shop.ledger.close()
    assert caplog.text == ""


def test_little_beyond_what_is_new(shop: Shop, monkeypatch: pytest.MonkeyPatch) -> None:
    """Signing and opening read back what came since the newest checkpoint and a few nodes, however long the log is."""
    for _ in range(3):
        shop.ledger.record_many([OrderPlaced(f"p{number}@example.dk", order="o1") for number in range(1000)])
    shop.ledger.checkpoint()
    shop.ledger.record_many([OrderPlaced(ANN, order=f"o{number}") for number in range(5)])
    read: list[int] = []
    nodes: list[tuple[int, int]] = []
    entries, node = View.entries, View.node

    def counted(self, start=0, stop=None):
        for entry in entries(self, start, stop):
            read.append(entry.index)
            yield entry

    def counted_node(self, level, position):
        nodes.append((level, position))
        return node(self, level, position)

    monkeypatch.setattr(View, "entries", counted)
    monkeypatch.setattr(View, "node", counted_node)
    other = Ledger.open(shop.url, clock=shop.clock)
    assert read == list(range(3001, 3006))
    shop.ledger.checkpoint()
    assert read == 2 * list(range(3001, 3006))
    assert len(nodes) <= 2 * 2 * (3006).bit_length()
    shop.ledger.checkpoint()
    assert len(read) == 10
    other.close()


# Two at once.


def sign_often(url: str, name: str) -> None:
    """Record and sign, again and again."""
    with Ledger.open(url) as ledger:
        for number in range(8):
            ledger.withdraw(f"{name}{number}@example.dk", limited=True)
            ledger.checkpoint()


def test_processes_and_threads(shop: Shop) -> None:
    """Processes and threads that record, sign and verify at once all get there: no fork, no false alarm, all in order."""
    processes = [SPAWN.Process(target=sign_often, args=(shop.url, name)) for name in "ab"]
    for process in processes:
        process.start()
    wrong: list[Exception] = []

    def work(name: str) -> None:
        try:
            for number in range(5):
                shop.ledger.withdraw(f"{name}{number}@example.dk", limited=True)
                shop.ledger.checkpoint()
                shop.ledger.verify()
        except Exception as error:  # noqa: BLE001
            wrong.append(error)

    threads = [threading.Thread(target=work, args=(name,)) for name in "cde"]
    for thread in threads:
        thread.start()
    for each in (*threads, *processes):
        each.join()
    assert ([process.exitcode for process in processes], wrong) == ([0, 0], [])
    last = shop.ledger.checkpoint()
    assert held(shop, last).size == 1 + 16 + 15
    assert sizes(shop) == sorted(set(sizes(shop)))
    assert shop.ledger.verify(checkpoints=kept(shop).history()).held_size == 32


def test_signed_while_verifying(shop: Shop) -> None:
    """What another process records and signs during a verification, a look or an export is no sign of a cut log."""
    other = Ledger.open(shop.url, clock=shop.clock)
    done = []

    def meanwhile(_: int) -> None:
        if not done:
            done.append(other.withdraw(ANN, limited=True))
            other.checkpoint()

    shop.ledger.verify(progress=meanwhile)
    assert done
    done.clear()
    shop.ledger.export(shop.path.parent / "audit.zip", progress=meanwhile)
    assert done
    assert shop.newsletter(ANN).reason != "ledger_unverified"
    other.close()


class Busy(MemoryCheckpoints):
    """A store that another process signs in whenever somebody is about to read it, a few times."""

    def __init__(self) -> None:
        super().__init__()
        self.others: list[Ledger] = []

    def read(self) -> bytes | None:
        if self.others:
            other = self.others.pop()
            other.withdraw("bo@example.dk", limited=True)
            other.checkpoint()
        return super().read()


def test_signed_before_each_read(tmp_path: Path) -> None:
    """A checkpoint newer than a view that was opened before it is nobody's rollback: each act gets there, unmarked."""
    store = Busy()
    shop = Shop(f"sqlite:///{tmp_path}/shop.db", checkpoints=store)
    shop.sign_up(ANN)
    other = Ledger.open(shop.url, clock=shop.clock, checkpoints=store)
    acts = (
        shop.ledger.checkpoint,
        shop.ledger.verify,
        lambda: shop.ledger.verify(checkpoints=store.history()),
        lambda: shop.ledger.export(tmp_path / "audit.zip"),
        lambda: shop.ledger.receipt(1),
        lambda: Ledger.open(shop.url, clock=shop.clock, checkpoints=store).close(),
        shop.ledger.close,
    )
    for act in acts:
        store.others = [other]
        act()
        assert shop.look("SELECT unverified FROM consentlib_head") == [(None,)]
        assert not store.others or act == shop.ledger.close
    other.close()


@pytest.mark.parametrize("store", [MemoryCheckpoints, FileCheckpoints])
def test_compare_and_swap(store: type, tmp_path: Path) -> None:
    """A store takes a checkpoint only in the place of the one that its maker saw, also from many threads at once."""
    one = store(tmp_path / "kept") if store is FileCheckpoints else store()
    assert (one.read(), one.history()) == (None, [])
    one.replace(None, b"o\n1\na\n")
    with pytest.raises(CheckpointConflictError):
        one.replace(None, b"o\n2\nb\n")
    won: list[bytes] = []

    def try_to(new: bytes) -> None:
        try:
            one.replace(b"o\n1\na\n", new)
        except CheckpointConflictError:
            return
        won.append(new)

    threads = [threading.Thread(target=try_to, args=(b"o\n%d\nc\n" % number,)) for number in range(2, 12)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert won == [one.read()]
    assert one.history() == [b"o\n1\na\n", *won]


def test_fork(shop: Shop) -> None:
    """A child signs with the parent's ledger, and both go on from what the other signed."""
    shop.sign_up(ANN)
    child = os.fork()
    if child == 0:
        try:
            shop.ledger.withdraw(ANN, limited=True)
            os._exit(0 if covered_size(shop.ledger.checkpoint()) == 4 else 3)
        finally:
            os._exit(4)
    _, status = os.waitpid(child, 0)
    assert os.waitstatus_to_exitcode(status) == 0
    shop.ledger.withdraw(ANN, limited=True)
    assert covered_size(shop.ledger.checkpoint()) == 5
    assert sizes(shop) == [1, 4, 5]


LOCKED = """
import os, sys, time
from pathlib import Path
from consentlib.files import locked
with locked(Path(sys.argv[1])):
    if os.fork() == 0:
        time.sleep(30)
        os._exit(0)
print("left", flush=True)
with locked(Path(sys.argv[1])):
    print("again", flush=True)
os.killpg(0, 9)
"""


def test_fork_while_the_lock_is_held(tmp_path: Path) -> None:
    """A child forked while the parent holds the lock does not hold it on when the parent lets go."""
    found = subprocess.run(
        [sys.executable, "-c", LOCKED, tmp_path / "lock"], capture_output=True, timeout=20, start_new_session=True, check=False
    )
    assert found.stdout.split() == [b"left", b"again"]


KILLED = """
import os, signal, sys
from consentlib import Ledger
real, left = os.replace, int(sys.argv[2])
def replace(source, target):
    global left
    left -= 1
    if left < 0:
        os.kill(os.getpid(), signal.SIGKILL)
    real(source, target)
ledger = Ledger.open(sys.argv[1])
ledger.withdraw("anna@example.dk", limited=True)
os.replace = replace
ledger.checkpoint()
"""


@pytest.mark.parametrize("done", [0, 1])
def test_killed(shop: Shop, done: int) -> None:
    """Killed between the new file and its taking the old one's place, the old one is whole, and the next is signed."""
    before = kept(shop).read()
    found = subprocess.run([sys.executable, "-c", KILLED, shop.url, str(done)], check=False)
    assert found.returncode == -signal.SIGKILL
    assert kept(shop).read() == before
    shop.clock.now += 10**12
    reopen(shop)
    assert covered_size(shop.ledger.checkpoint()) == 2
    assert sizes(shop) == [1, 2]
    assert shop.ledger.verify().size == 2


# Where they are kept.


def test_modes(shop: Shop) -> None:
    """The folder is for its owner alone, and so is each file in it."""
    shop.sign_up(ANN)
    shop.ledger.checkpoint()
    assert stat.S_IMODE(kept(shop).folder.stat().st_mode) == 0o700
    files = {one.name: stat.S_IMODE(one.stat().st_mode) for one in kept(shop).folder.iterdir()}
    names = {"checkpoint", "checkpoint.1", "checkpoint.3", "lock", "stops", "stops.lock", "stops.settled"}
    assert files == dict.fromkeys(names, 0o600)


def test_default_folder(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    """In CONSENTLIB_CHECKPOINTS, else with the user's state; named after log and key, so that logs don't meet there."""
    keys, others = Keys.generate(), Keys.generate()
    monkeypatch.setenv("CONSENTLIB_CHECKPOINTS", str(tmp_path / "said"))
    folder = default_folder("shop.dk/consent", keys)
    assert folder.parent == tmp_path / "said"
    assert folder.name.startswith("shop.dk_consent-")
    assert len({folder, default_folder("shop.dk/consent", others), default_folder("other.dk/consent", keys)}) == 3
    assert keys.signing.hex()[:16] not in folder.name
    monkeypatch.delenv("CONSENTLIB_CHECKPOINTS")
    monkeypatch.setenv("XDG_STATE_HOME", str(tmp_path / "state"))
    assert default_folder("shop.dk/consent", keys) == tmp_path / "state" / "consentlib" / folder.name
    monkeypatch.delenv("XDG_STATE_HOME")
    monkeypatch.setenv("HOME", str(tmp_path / "home"))
    assert default_folder("shop.dk/consent", keys) == tmp_path / "home/.local/state/consentlib" / folder.name
    monkeypatch.setattr(Path, "home", lambda: Path("~nobody-at-all").expanduser())
    with pytest.raises(StoreUnavailableError, match="found no home"):
        default_folder("shop.dk/consent", keys)


def test_outside_the_database(shop: Shop) -> None:
    """Nothing of it lies in the database's folder, which a restored backup brings back."""
    shop.sign_up(ANN)
    shop.ledger.checkpoint()
    assert {one.name.split("-")[0] for one in shop.path.parent.iterdir()} == {"shop.db", "shop.db.keys"}


def test_said(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A folder that is named stays where it was when the process moves; a store that is handed in is used as it is."""
    monkeypatch.chdir(tmp_path)
    own = MemoryCheckpoints()
    found = checkpoint_store("sqlite:///a.db", "a", Keys.generate(), "here")
    monkeypatch.chdir("/")
    found.replace(None, b"o\n1\na\n")
    assert (tmp_path / "here" / "checkpoint").is_file()
    assert checkpoint_store("sqlite:///a.db", "a", Keys.generate(), own) is own


# Trouble.


class Broken(MemoryCheckpoints):
    """A store that can't be reached while `down`."""

    down = False

    def read(self) -> bytes | None:
        if self.down:
            raise StoreUnavailableError("expected the bucket, found no network")
        return super().read()


def test_not_reachable(tmp_path: Path, caplog: pytest.LogCaptureFixture, monkeypatch: pytest.MonkeyPatch) -> None:
    """Recording goes on and says so in the log, once for each time it was due; signing raises; nothing is marked."""
    store = Broken()
    shop = Shop(f"sqlite:///{tmp_path}/shop.db", checkpoints=store)
    monkeypatch.setattr("consentlib.notary.SIGN_AFTER_ENTRIES", 2)
    store.down = True
    for number in range(6):
        shop.ledger.withdraw(f"p{number}@example.dk", limited=True)
    assert caplog.text.count("no checkpoint could be signed: expected the bucket, found no network") == 3
    for act in (shop.ledger.checkpoint, shop.ledger.verify, lambda: shop.ledger.receipt(1)):
        with pytest.raises(StoreUnavailableError, match="bucket"):
            act()
    store.down = False
    shop.sign_up(ANN)
    assert shop.newsletter(ANN)
    shop.ledger.close()
    assert covered_size(store.read() or b"") == 9


def test_not_writable(shop: Shop, caplog: pytest.LogCaptureFixture) -> None:
    """Where the folder's place is taken by a file: recording and closing go on, signing is one clear error."""
    shop.sign_up(ANN)
    folder = kept(shop).folder
    (folder / "lock").unlink()
    (folder / "lock").mkdir()
    with pytest.raises(StoreUnavailableError, match="expected to write the checkpoint, found: Is a directory"):
        shop.ledger.checkpoint()
    shop.ledger.withdraw(ANN, limited=True)
    shop.ledger.close()
    assert "no checkpoint could be signed" in caplog.text


@pytest.mark.parametrize("how", ["unreadable", "empty", "garbage", "foreign", "flipped"])
def test_opened_with_a_checkpoint_that_says_nothing(shop: Shop, tmp_path: Path, how: str) -> None:
    """It opens, marked; stops are taken; `verify` and the signer refuse, and lift nothing until the right one is back."""
    shop.sign_up(ANN)
    shop.ledger.close()
    path = kept(shop).folder / "checkpoint"
    right = path.read_bytes()
    path.unlink()
    if how == "unreadable":
        path.mkdir()
    elif how == "foreign":
        other = Shop(f"sqlite:///{tmp_path}/other.db")
        other.ledger.close()
        path.write_bytes((kept(other).folder / "checkpoint").read_bytes())
    else:
        path.write_bytes({"empty": b"", "garbage": b"\xff\n\n", "flipped": right.replace(b"\n3\n", b"\n2\n")}[how])
    reopen(shop)
    assert shop.newsletter(ANN).reason == "ledger_unverified"
    shop.ledger.withdraw("bo@example.dk", limited=True)
    for act in (shop.ledger.verify, shop.ledger.checkpoint):
        with pytest.raises((VerificationError, StoreUnavailableError)) as caught:
            act()
        assert "\n" not in str(caught.value)
    assert shop.newsletter(ANN).reason == "ledger_unverified"
    path.rmdir() if how == "unreadable" else path.unlink()
    shop.ledger.verify()
    assert shop.newsletter(ANN).reason == "ledger_unverified"
    path.write_bytes(right)
    shop.ledger.verify()
    assert shop.newsletter(ANN)
    assert covered_size(shop.ledger.checkpoint()) == 4


def test_mark_lifted_when_it_agrees_again(shop: Shop) -> None:
    """A rolled back log stays marked until the log that was signed is back; then `verify` lifts the mark."""
    shop.sign_up(ANN)
    early = save(shop)
    reopen(shop)
    shop.ledger.withdraw("bo@example.dk", limited=True)
    shop.ledger.close()
    early.rename(early.with_name("early"))
    late = save(shop)
    restore(shop, early.with_name("early"))
    reopen(shop)
    with pytest.raises(VerificationError):
        shop.ledger.verify()
    assert shop.newsletter(ANN).reason == "ledger_unverified"
    restore(shop, late)
    shop.steal("UPDATE consentlib_head SET unverified = 'history: as it was found'")
    reopen(shop)
    assert shop.newsletter(ANN).reason == "ledger_unverified"
    shop.ledger.verify()
    assert shop.newsletter(ANN)


def test_rows_of_another_type(shop: Shop) -> None:
    """Rows that nobody wrote like that are found on open as any other edit, and don't keep the shop from taking stops."""
    shop.sign_up(ANN)
    moved = "salt = CAST(salt || CAST(substr(data, 1, 1) AS BLOB) AS BLOB), data = substr(data, 2)"
    for damage in (moved, "salt = NULL", "data = 7"):
        shop.steal(f"UPDATE consentlib_parts SET {damage} WHERE idx = 2 AND name = 'facts'")
        with pytest.raises(VerificationError):
            shop.ledger.checkpoint()
        other = Ledger.open(shop.url, clock=shop.clock)
        other.withdraw("bo@example.dk", limited=True)
        assert other.check(ANN, use="delivery").reason == "ledger_unverified"
        other.close()
    shop.steal("UPDATE consentlib_entries SET leaf = 7 WHERE idx = 2")
    with pytest.raises(VerificationError):
        shop.ledger.checkpoint()


def test_an_old_file_that_is_none(shop: Shop, tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    """A broken file among the earlier ones is left out of an export, and said so in the log."""
    shop.sign_up(ANN)
    (kept(shop).folder / "checkpoint.2").write_bytes(b"broken")
    caplog.set_level(logging.ERROR, "consentlib")
    assert shop.ledger.export(tmp_path / "audit.zip") == 4
    assert "an earlier checkpoint can't be used" in caplog.text


def test_forged_under_a_signer(shop: Shop) -> None:
    """What is rewritten below the newest checkpoint is never signed over, whoever asks first."""
    shop.sign_up(ANN)
    note = shop.ledger.checkpoint()
    forge(shop, lambda entries: entries.__delitem__(2))
    shop.ledger.close()
    assert kept(shop).read() == note
