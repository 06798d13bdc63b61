"""Rotating the signing key: what it leaves behind, wherever it is cut, and what other processes meet that hold the old key."""

import json
import logging
import os
import signal
import stat
import subprocess
import sys
import threading
from pathlib import Path

import pytest

from consentlib import Ledger
from consentlib import rotation as steps
from consentlib.audit.verify import verify_file
from consentlib.checkpoints import FileCheckpoints, MemoryCheckpoints, covered_size
from consentlib.checkpoints.sqlite import SqliteCheckpoints
from consentlib.errors import CheckpointConflictError, KeyFileError, VerificationError
from consentlib.keys import Keys
from consentlib.log import Report
from consentlib.log.note import Verifier, parse_note
from consentlib.notary import Notary
from forger import forge, reopen, restore, save
from shop import Shop

ANN = "anna@example.dk"


def key_file(shop: Shop) -> Path:
    """Where the shop's keys lie."""
    return Path(f"{shop.path}.keys")


def ids(note: bytes) -> list[str]:
    """The ids of the keys that signed a note."""
    return [one.id.hex() for one in parse_note(note)[1]]


def id_of(verifier: str) -> str:
    """The id in a verifier key."""
    return verifier.split("+")[1]


def kinds(shop: Shop) -> list[str]:
    """The kinds of all entries."""
    return [kind for (kind,) in shop.look("SELECT kind FROM consentlib_entries ORDER BY idx")]


def seen_by(shop: Shop, *pinned: str, kept: tuple[bytes, ...] = ()) -> Report:
    """What an auditor finds who knows these keys and kept these notes."""
    path = shop.path.parent / "audit.zip"
    shop.ledger.export(path)
    return verify_file(path, verifiers=[Verifier.parse(one) for one in pinned], checkpoints=kept)


def check_rotated(shop: Shop, old: str, kept: bytes) -> None:
    """One rotation is done, whole, and every auditor is led on."""
    new = shop.ledger.verifier
    assert new != old
    assert kinds(shop).count("key.added") == 1
    index = kinds(shop).index("key.added")
    assert shop.ledger.verifiers() == [(old, None), (new, index)]
    keys = Keys.load(key_file(shop))
    assert (keys.next_signing, keys.retired) == (None, (Verifier.parse(old).key,))
    notes = shop.ledger._notary.checkpoints.history()
    both = [one for one in notes if len(ids(one)) == 2]
    assert [ids(one) for one in both] == [[id_of(old), id_of(new)]]
    assert covered_size(both[0]) > index
    assert all(ids(one) == [id_of(old)] for one in notes if covered_size(one) < covered_size(both[0]))
    assert shop.newsletter(ANN)
    shop.ledger.withdraw("bo@example.dk", limited=True)
    assert ids(shop.ledger.checkpoint()) == [id_of(new)]
    for pinned in ((old,), (new,), (old, new)):
        report = seen_by(shop, *pinned)
        assert (report.level, report.signed_size) == ("signature", len(kinds(shop)))
    assert seen_by(shop, old, kept=(kept,)).level == "history"
    assert any("signed by no key that counts" in gap for gap in seen_by(shop, new).not_checked)
    assert shop.ledger.verify(checkpoints=[kept]).level == "history"


# What it leaves behind.


@pytest.fixture
def old(shop: Shop) -> str:
    """The key before; somebody signed up."""
    shop.sign_up(ANN)
    return shop.ledger.verifier


def test_rotated(shop: Shop, old: str) -> None:
    """The log says which key comes next, both sign once, the old one never again, and who trusts either is led on."""
    kept = shop.ledger.checkpoint()
    new = shop.ledger.rotate_key()
    assert shop.ledger.verifier == new
    check_rotated(shop, old, kept)
    folder = shop.ledger._notary.checkpoints.folder
    reopen(shop)
    assert shop.ledger._notary.checkpoints.folder == folder
    assert shop.ledger.verifier == new
    check_rotated(shop, old, kept)


def test_key_file(shop: Shop, old: str) -> None:
    """Rewritten whole, for its owner alone; the other keys stay, and the database still knows it as its own."""
    before = Keys.load(key_file(shop))
    shop.ledger.rotate_key()
    after = Keys.load(key_file(shop))
    assert stat.S_IMODE(key_file(shop).stat().st_mode) == 0o600
    assert (after.address, after.event, after.suppression) == (before.address, before.event, before.suppression)
    assert after.signing != before.signing
    assert after.checks() == before.checks()
    assert before.signing.hex() not in key_file(shop).read_text()
    assert {one.name for one in shop.path.parent.iterdir()} <= {"shop.db", "shop.db-wal", "shop.db-shm", "shop.db.keys"}


@pytest.mark.parametrize("damage", ["retired", "first", "next", "gone"])
def test_damaged_key_file(shop: Shop, old: str, damage: str) -> None:
    """What rotation adds to the file is read as strictly as the rest."""
    shop.ledger.rotate_key()
    shop.ledger.close()
    said = json.loads(key_file(shop).read_text())
    if damage == "retired":
        said["retired"] = ["00"]
    elif damage == "first":
        said["first"] = "\u00e6" * 32
    elif damage == "next":
        said["keys"].append({"purpose": "signing.next", "check": "0" * 32, "key": "00" * 32})
    else:
        del said["first"]
    key_file(shop).write_text(json.dumps(said))
    with pytest.raises(KeyFileError, match=r"damaged one|another form"):
        Ledger.open(shop.url)


def test_often(shop: Shop, old: str) -> None:
    """Each rotation leads on from the one before; who knows only the first key, or only a middle one, reaches the last."""
    kept, keys = [shop.ledger.checkpoint()], [old]
    for _ in range(3):
        keys.append(shop.ledger.rotate_key())
        shop.ledger.withdraw("bo@example.dk", limited=True)
        kept.append(shop.ledger.checkpoint())
    assert [one for one, _ in shop.ledger.verifiers()] == keys
    for place, key in enumerate(keys):
        later = tuple(kept[place:])
        assert seen_by(shop, key, kept=later).level == "history"
        if place:
            with pytest.raises(VerificationError, match="by a known key, found none") as caught:
                seen_by(shop, key, kept=(kept[0],))
            assert caught.value.level == "signature"
    reopen(shop)
    assert shop.ledger.verify(checkpoints=kept).level == "history"


def test_receipts(shop: Shop, old: str) -> None:
    """A receipt from before verifies under the old key, one from after under the new."""
    from consentlib.audit.receipt import verify_receipt

    early = shop.ledger.receipt(1)
    new = shop.ledger.rotate_key()
    shop.ledger.withdraw("bo@example.dk", limited=True)
    late = shop.ledger.receipt(len(kinds(shop)) - 1)
    assert verify_receipt(early, [Verifier.parse(old)]).index == 1
    assert verify_receipt(late, [Verifier.parse(new)])
    with pytest.raises(VerificationError, match="by a known key, found none"):
        verify_receipt(late, [Verifier.parse(old)])


def test_without_a_file(tmp_path: Path) -> None:
    """Keys that were handed in can't be rotated: nobody would keep the new one."""
    shop = Shop(f"sqlite:///{tmp_path}/shop.db", keys=Keys.generate())
    with pytest.raises(KeyFileError, match="found keys without one"):
        shop.ledger.rotate_key()
    assert kinds(shop) == ["policy.published"]


def test_key_file_that_can_not_be_written(shop: Shop, old: str) -> None:
    """Where the file can't be written anew nothing is announced, and the old one is whole."""
    before = key_file(shop).read_bytes()
    key_file(shop).with_name(f"shop.db.keys.{os.getpid()}-{threading.get_ident()}.new").mkdir()
    with pytest.raises(KeyFileError, match="expected to write the key file"):
        shop.ledger.rotate_key()
    assert "key.added" not in kinds(shop)
    assert key_file(shop).read_bytes() == before


def test_of_a_log_that_fell_behind(shop: Shop, old: str, tmp_path: Path) -> None:
    """A log that can't be signed is not rotated either: the key file and the log stay as they were."""
    shop.ledger.checkpoint()
    forge(shop, lambda entries: entries.__delitem__(-1))
    before = key_file(shop).read_bytes()
    with pytest.raises(VerificationError):
        shop.ledger.rotate_key()
    assert key_file(shop).read_bytes() == before
    assert "key.added" not in kinds(shop)


# Cut anywhere.

CUTS: dict[str, tuple[object, str, int]] = {
    "before the new seed is kept": (Keys, "replace", 0),
    "before it is announced": (steps, "_announce", 0),
    "before it is covered": (Notary, "sign", 1),
    "before both sign": (Notary, "hand_over", 0),
    "before it is the current one": (Keys, "replace", 1),
}


class Cut(Exception):
    """The moment at which something fails."""


@pytest.mark.parametrize("reopened", [False, True])
@pytest.mark.parametrize("cut", CUTS)
def test_cut(shop: Shop, old: str, cut: str, reopened: bool) -> None:
    """Wherever it fails, the ledger goes on as before, and doing it again ends the same."""
    kept = shop.ledger.checkpoint()
    owner, name, count = CUTS[cut]
    real, calls = getattr(owner, name), []

    def fail(*args: object) -> object:
        calls.append(1)
        if len(calls) > count:
            raise Cut
        return real(*args)

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(owner, name, fail)
        with pytest.raises(Cut):
            shop.ledger.rotate_key()
    if reopened:
        reopen(shop)
    assert shop.newsletter(ANN)
    shop.ledger.withdraw("dora@example.dk", limited=True)
    shop.ledger.checkpoint()
    assert seen_by(shop, old, kept=(kept,)).level == "history"
    shop.ledger.rotate_key()
    check_rotated(shop, old, kept)
    reopen(shop)
    check_rotated(shop, old, kept)


KILLED = """
import os, signal, sys
from consentlib import Ledger
from consentlib.store.sqlite_view import Transaction
left = int(sys.argv[2])
def count(real):
    def counted(*args):
        global left
        left -= 1
        if left < 0:
            os.kill(os.getpid(), signal.SIGKILL)
        return real(*args)
    return counted
ledger = Ledger.open(sys.argv[1])
os.replace, os.fsync = count(os.replace), count(os.fsync)
Transaction.apply = count(Transaction.apply)
ledger.rotate_key()
"""


@pytest.mark.parametrize("left", [pytest.param(one, marks=[pytest.mark.slow] if one % 4 else []) for one in range(19)])
def test_killed(shop: Shop, old: str, left: int) -> None:
    """Killed before any of its writes reaches the disk, at any step, the same holds."""
    kept = shop.ledger.checkpoint()
    found = subprocess.run([sys.executable, "-c", KILLED, shop.url, str(left)], check=False)
    assert found.returncode == -signal.SIGKILL
    shop.ledger.close()
    shop.clock.now += 10**12
    reopen(shop)
    assert shop.newsletter(ANN).reason != "ledger_unverified"
    shop.ledger.verify()
    shop.ledger.withdraw("dora@example.dk", limited=True)
    shop.ledger.checkpoint()
    assert seen_by(shop, old, kept=(kept,)).level == "history"
    if len(Keys.load(key_file(shop)).retired) == 0:
        shop.ledger.rotate_key()
    new = shop.ledger.verifier
    assert kinds(shop).count("key.added") == 1
    shop.ledger.withdraw("bo@example.dk", limited=True)
    assert ids(shop.ledger.checkpoint()) == [id_of(new)]
    assert seen_by(shop, old, kept=(kept,)).level == "history"
    assert seen_by(shop, new).level == "signature"
    aside = [one.name for one in shop.path.parent.iterdir() if one.name.endswith(".new")]
    assert len(aside) <= 1


def test_killed_counts_every_write(shop: Shop, old: str) -> None:
    """The kills above reach up to the last write: with one more to come the rotation is done."""
    shop.ledger.checkpoint()
    found = subprocess.run([sys.executable, "-c", KILLED, shop.url, "19"], check=False)
    assert found.returncode == 0
    assert len(Keys.load(key_file(shop)).retired) == 1


# Others.


def test_another_process_with_the_old_key(shop: Shop, old: str, caplog: pytest.LogCaptureFixture) -> None:
    """It records and answers on, never signs, says why, and does not take the log for forged; opened again it signs."""
    other = Ledger.open(shop.url, clock=shop.clock)
    shop.ledger.rotate_key()
    other.withdraw("bo@example.dk", limited=True)
    for act in (other.checkpoint, other.verify, lambda: other.receipt(2), lambda: other.export(shop.path.parent / "a.zip")):
        with pytest.raises(KeyFileError, match="before a rotation") as caught:
            act()
        assert "open the ledger again" in caught.value.__notes__[0]
    assert shop.newsletter(ANN)
    assert shop.look("SELECT unverified FROM consentlib_head") == [(None,)]
    caplog.set_level(logging.ERROR, "consentlib")
    other.close()
    assert "no checkpoint could be signed" in caplog.text
    assert ids(shop.ledger._notary.checkpoints.read() or b"") == [id_of(old), id_of(shop.ledger.verifier)]
    again = Ledger.open(shop.url, clock=shop.clock)
    assert ids(again.checkpoint()) == [id_of(shop.ledger.verifier)]
    again.close()


@pytest.mark.parametrize("cut", list(CUTS)[1:])
def test_another_process_during_a_rotation(shop: Shop, old: str, cut: str) -> None:
    """Whatever step the rotation is at, a process with the old key alone signs rightly or not at all."""
    other = Ledger.open(shop.url, clock=shop.clock)
    owner, name, count = CUTS[cut]
    real, calls = getattr(owner, name), []

    def meanwhile(*args: object) -> object:
        calls.append(1)
        if len(calls) == count + 1:
            other.withdraw("bo@example.dk", limited=True)
            try:
                other.checkpoint()
            except KeyFileError:
                assert cut != "before it is announced"
            Ledger.open(shop.url, clock=shop.clock).close()
        return real(*args)

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(owner, name, meanwhile)
        shop.ledger.rotate_key()
    other.close()
    assert shop.look("SELECT unverified FROM consentlib_head") == [(None,)]
    assert seen_by(shop, old).level == seen_by(shop, shop.ledger.verifier).level == "signature"


def test_signed_while_both_sign(shop: Shop, old: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """A checkpoint that came between is the one that both sign: compare-and-swap decides."""
    real, busy = FileCheckpoints.replace, []

    def replace(self: FileCheckpoints, before: bytes | None, new: bytes) -> None:
        if len(ids(new)) == 2 and not busy:
            busy.append(1)
            raise CheckpointConflictError("busy")
        real(self, before, new)

    monkeypatch.setattr(FileCheckpoints, "replace", replace)
    kept = shop.ledger.checkpoint()
    shop.ledger.rotate_key()
    monkeypatch.undo()
    assert busy
    check_rotated(shop, old, kept)


def test_at_once(shop: Shop, old: str) -> None:
    """Two that rotate at once do it one after the other, and all of it hangs together."""
    kept = shop.ledger.checkpoint()
    others = [Ledger.open(shop.url, clock=shop.clock) for _ in range(2)]
    threads = [threading.Thread(target=one.rotate_key) for one in others]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    for one in others:
        one.close()
    reopen(shop)
    assert len(shop.ledger.verifiers()) == 3
    assert seen_by(shop, old, kept=(kept,)).level == "history"


def test_old_key_file(shop: Shop, old: str) -> None:
    """A key file from before the rotation is a wrong one: nothing is opened, nothing marked."""
    before = key_file(shop).read_bytes()
    shop.ledger.rotate_key()
    shop.ledger.close()
    after = key_file(shop).read_bytes()
    key_file(shop).write_bytes(before)
    with pytest.raises(KeyFileError, match="before a rotation"):
        Ledger.open(shop.url, clock=shop.clock)
    assert shop.look("SELECT unverified FROM consentlib_head") == [(None,)]
    key_file(shop).write_bytes(after)
    reopen(shop)
    assert shop.newsletter(ANN)


@pytest.mark.parametrize("with_checkpoints", [False, True])
def test_rolled_back_behind_a_rotation(shop: Shop, old: str, with_checkpoints: bool) -> None:
    """A backup from before the rotation, under the key file of today, is found; also where it brought its checkpoints along."""
    folders = (shop.ledger._notary.checkpoints.folder,) if with_checkpoints else ()
    backup = save(shop, *folders)
    reopen(shop)
    shop.ledger.rotate_key()
    today = key_file(shop).read_bytes()
    restore(shop, backup, *folders)
    key_file(shop).write_bytes(today)
    reopen(shop)
    assert shop.newsletter(ANN).reason == "ledger_unverified"
    shop.ledger.withdraw(ANN, limited=True)
    for act in (shop.ledger.verify, shop.ledger.checkpoint, shop.ledger.rotate_key):
        with pytest.raises(VerificationError) as caught:
            act()
        assert caught.value.level == "history"


def test_rolled_back_under_a_process_with_the_old_key(shop: Shop, old: str) -> None:
    """A process with the old key does not take a cut log for a rotated one: nothing in it leads to the key that signed."""
    other = Ledger.open(shop.url, clock=shop.clock)
    shop.ledger.rotate_key()
    shop.ledger.withdraw("bo@example.dk", limited=True)
    shop.ledger.checkpoint()
    forge(shop, lambda entries: entries.__delitem__(slice(3, None)))
    with pytest.raises(VerificationError, match="by a known key, found none"):
        other.checkpoint()
    assert other.check(ANN, use="delivery").reason == "ledger_unverified"
    other.close()


@pytest.mark.parametrize("kept", ["memory", "database"])
def test_in_other_stores(tmp_path: Path, kept: str) -> None:
    """Checkpoints of one size replace each other in every store, and the rotated ledger finds them again."""
    store = MemoryCheckpoints() if kept == "memory" else SqliteCheckpoints(tmp_path / "kept" / "c.db", "shop")
    shop = Shop(f"sqlite:///{tmp_path}/shop.db", checkpoints=store)
    shop.sign_up(ANN)
    before, note = shop.ledger.verifier, shop.ledger.checkpoint()
    shop.ledger.rotate_key()
    check_rotated(shop, before, note)
    reopen(shop, checkpoints=store)
    check_rotated(shop, before, note)
    shop.ledger.close()
