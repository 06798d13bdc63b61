"""A ledger copied to another store: the same log to the byte, whatever cuts the copy short, and caught up later."""

from __future__ import annotations

import os
import shutil
import signal
import sqlite3
import warnings
from collections.abc import Callable
from contextlib import closing
from pathlib import Path
from typing import Any

import pytest

from consentlib import Ledger, transfer
from consentlib.audit.receipt import verify_receipt
from consentlib.checkpoints import FileCheckpoints, MemoryCheckpoints
from consentlib.copying import Copied, copy
from consentlib.errors import InputError, KeyFileError, LedgerError, LedgerExistsError, VerificationError
from consentlib.events import IdentityLinked, OrderPlaced
from consentlib.journal import FileJournal
from consentlib.keys import Keys
from consentlib.log.note import Verifier
from consentlib.store import Changes, NewEntry, open_locked_store, open_store
from consentlib.store.sqlite import SqliteStore
from consentlib.store.sqlite_view import Transaction
from consentlib.store.vault import Vault
from shop import LETTER, Shop

ANN, BO, CARL = (f"{name}@example.dk" for name in ("ann", "bo", "carl"))


@pytest.fixture
def new(tmp_path: Path) -> str:
    """Where the copy goes."""
    (tmp_path / "new").mkdir()
    return f"sqlite:///{tmp_path}/new/new.db"


def fill(shop: Shop) -> None:
    """Two sign up, one withdraws, one has orders and a second address, one is erased."""
    for one in (ANN, BO, CARL):
        shop.sign_up(one)
    shop.ledger.record_many([OrderPlaced(BO, order="o1"), IdentityLinked(BO, other="b@work.dk")])
    shop.ledger.withdraw(ANN, text="no more")
    shop.ledger.erase(CARL, reason="art17", by="dpo")
    shop.ledger.checkpoint()


def go_on(shop: Shop) -> None:
    """What comes after a first copy: a stop, a sign-up, and two erasures, of which one takes a life and its orders with it."""
    shop.clock.tick(days=4000)
    shop.sign_up("dora@example.dk")
    shop.ledger.withdraw("eva@example.dk")
    shop.ledger.erase(BO, reason="art17", by="dpo")
    shop.ledger.erase(ANN, reason="art17", by="dpo")
    shop.ledger.checkpoint()


def held(url: str, **place: Any) -> dict[str, Any]:
    """Everything a store holds but its mark."""
    store = open_store(url, **place)
    with store.read() as view:
        lives = sorted(view.all_lives())
        ids = [life.id for life in lives]
        rows = {
            "head": view.head()._replace(unverified=None),
            "entries": list(view.entries()),
            "kinds": list(view.kinds()),
            "lives": lives,
            "orders": sorted(view.orders(ids)),
            "about": [view.about(id) for id in ids],
            "events": sorted(view.all_events()),
            "suppressions": sorted(view.all_suppressions()),
        }
    store.close()
    return rows


def _about(url: str, id: str) -> tuple[int, ...]:
    store = open_store(url)
    with store.read() as view:
        found = view.about(id)
    store.close()
    return found


def mark(url: str) -> str | None:
    """Why the log there is not to be trusted."""
    store = open_locked_store(url)
    with store.read() as view:
        found = view.head().unverified
    store.close()
    return found


def test_same_log_elsewhere(shop: Shop, new: str, tmp_path: Path) -> None:
    """Entries, rows, keys, root, checkpoints and answers are the same, and the old ledger is as it was."""
    fill(shop)
    receipt = shop.ledger.receipt(1)
    before, decision = held(shop.url), shop.newsletter(BO)
    seen: list[int] = []
    done = copy(shop.url, new, progress=seen.append)
    assert (done.origin, done.size, done.carried) == ("littlesteps/consent", before["head"].size, before["head"].size)
    assert seen[-1] == done.size
    assert held(new) == held(shop.url) == before
    assert mark(new) is None
    path = tmp_path / "new" / "new.db.keys"
    assert path.read_bytes() == Path(f"{shop.path}.keys").read_bytes()
    assert path.stat().st_mode & 0o777 == 0o600
    with Ledger.open(new, clock=shop.clock) as ledger:
        verify_receipt(receipt, verifiers=[Verifier.parse(ledger.verifier)])
        moved = ledger.check(BO, use="marketing_newsletter", message=LETTER)
        assert (moved.reason, moved.tip) == (decision.reason, decision.tip)
        assert ledger.verify(read_models=True, checkpoints=[shop.ledger.checkpoint()]).level == "history"


def test_catches_up(shop: Shop, new: str, tmp_path: Path) -> None:
    """A later copy brings what came since; what was erased since is erased there too, to the last byte of the file."""
    fill(shop)
    copy(shop.url, new)
    first = held(new)
    go_on(shop)
    with closing(sqlite3.connect(tmp_path / "new" / "new.db")) as reader:  # who has it open keeps the WAL from going
        reader.execute("SELECT count(*) FROM consentlib_entries").fetchall()
        done = copy(shop.url, new)
        assert not done.pending
        for path in (tmp_path / "new").iterdir():
            assert not any(one.encode() in path.read_bytes() for one in (ANN, BO))
    assert 0 < done.carried < done.size
    assert held(new) == held(shop.url) != first
    gone = {life.id for life in first["lives"]} - {life.id for life in held(new)["lives"]}
    assert gone
    assert not any(_about(new, id) for id in gone)
    assert first["orders"] != held(new)["orders"]
    assert copy(shop.url, new).carried == 0


def test_sealed_stays_sealed(tmp_path: Path, new: str) -> None:
    """A sealed ledger gets a vault of its own, and an erasure carried over erases the key there."""
    shop = Shop(f"sqlite:///{tmp_path}/shop.db", sealed=True)
    fill(shop)
    copy(shop.url, new)
    assert held(new) == held(shop.url)
    copied = Path(f"{tmp_path}/new/new.db.vault").read_bytes()
    assert copied != Path(f"{shop.path}.vault").read_bytes()
    keys = _keys(new)
    go_on(shop)
    copy(shop.url, new)
    gone = [one for one in keys if one not in _keys(new)]  # before it is opened, which would make up for it
    assert held(new) == held(shop.url)
    assert gone
    now = Path(f"{tmp_path}/new/new.db.vault").read_bytes()
    assert not any(one in now for one in gone)
    for name in ("new.db", "new.db.vault"):
        assert BO.encode() not in Path(f"{tmp_path}/new/{name}").read_bytes()
    shop.ledger.close()


def _keys(url: str) -> set[bytes]:
    path = Path(url.removeprefix("sqlite:///") + ".vault")
    with closing(sqlite3.connect(path)) as reader:
        return {key for (key,) in reader.execute("SELECT key FROM keys WHERE key <> zeroblob(32)")}


def test_lost_parts_are_not_copied(tmp_path: Path, new: str) -> None:
    """Where the key of a part is gone without a record, there is no copy that could say so."""
    shop = Shop(f"sqlite:///{tmp_path}/shop.db", sealed=True)
    shop.sign_up(ANN)
    shop.ledger.checkpoint()
    with sqlite3.connect(f"{shop.path}.vault") as thief:
        thief.execute("UPDATE keys SET key = zeroblob(32)")
    thief.close()
    with pytest.raises(KeyFileError, match="key of part `person`"):
        copy(shop.url, new)
    shop.ledger.close()


@pytest.mark.parametrize("sealed", [False, True])
def test_killed_anywhere(tmp_path: Path, new: str, monkeypatch: pytest.MonkeyPatch, *, sealed: bool) -> None:
    """Killed after any step, the copy allows nothing unless it was whole, goes on where it was, and ends as if never killed."""
    monkeypatch.setattr(transfer, "_BATCH", 4)
    shop = Shop(f"sqlite:///{tmp_path}/shop.db", sealed=sealed)
    fill(shop)
    shop.ledger.close()
    assert _killed_at_each_step(shop, new, tmp_path) > 10
    shop.ledger = Ledger.open(shop.url, clock=shop.clock)
    go_on(shop)
    shop.ledger.close()
    assert _killed_at_each_step(shop, new, tmp_path) > 8
    with Ledger.open(new, clock=shop.clock, checkpoints=tmp_path / "new" / "signed") as ledger:
        assert ledger.verify(read_models=True).size == held(shop.url)["head"].size
        assert ledger.check("dora@example.dk", use="marketing_newsletter", message=LETTER)


def _killed_at_each_step(shop: Shop, new: str, tmp_path: Path) -> int:
    """Copy in a process that is killed after 0, 1, 2… steps, each time from the same beginning, and then to the end."""
    folder, begun, expected = tmp_path / "new", tmp_path / "begun", held(shop.url)
    before = _size_if_open(folder / "new.db") if (folder / "new.db").exists() else 0
    shutil.copytree(folder, begun)
    step = 0
    while True:
        status = _copy_in_child(shop, new, step)
        if status == 0:
            shutil.rmtree(begun)
            return step
        assert status == -signal.SIGKILL
        if (folder / "new.db").exists():
            assert _size_if_open(folder / "new.db") in (None, before, expected["head"].size)
        copy(shop.url, new, new_checkpoints=folder / "signed")
        assert held(new) == expected
        assert mark(new) is None
        assert FileJournal(folder / "signed" / "stops").read()[0] == shop.ledger.journal.read()[0]
        shutil.rmtree(folder)
        shutil.copytree(begun, folder)
        step += 1


def _size_if_open(path: Path) -> int | None:
    """The size of a log that is not marked; None where it is, or where there is none yet."""
    with closing(sqlite3.connect(path)) as reader:
        if not reader.execute("SELECT 1 FROM sqlite_master WHERE name = 'consentlib_head'").fetchall():
            return None
        [(size, found)] = reader.execute("SELECT size, unverified FROM consentlib_head").fetchall()
    return size if found is None else None


def _copy_in_child(shop: Shop, new: str, steps: int) -> int:
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", DeprecationWarning)
        child = os.fork()
    if child == 0:
        status = 1
        try:
            _kill_after(steps)
            copy(shop.url, new, new_checkpoints=Path(new.removeprefix("sqlite:///")).parent / "signed")
            status = 0
        finally:
            os._exit(status)
    return os.waitstatus_to_exitcode(os.waitpid(child, 0)[1])


def _kill_after(steps: int) -> None:
    """Let this process be killed when it has made so many changes, whatever they are, and makes the next."""
    left = [steps]

    def killing(do: Callable[..., Any]) -> Callable[..., Any]:
        def call(*args: Any, **more: Any) -> Any:
            if left[0] == 0:
                os.kill(os.getpid(), signal.SIGKILL)
            left[0] -= 1
            return do(*args, **more)

        return call

    for cls, name in (
        (Transaction, "__exit__"),
        (Keys, "replace"),
        (Vault, "create"),
        (SqliteStore, "create"),
        (FileCheckpoints, "replace"),
        (FileCheckpoints, "prepare"),
        (FileJournal, "append"),
    ):
        setattr(cls, name, killing(getattr(cls, name)))


def test_unfinished_allows_nothing(shop: Shop, new: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """A copy cut short is marked, and no verification lifts that; copying again does."""
    monkeypatch.setattr(transfer, "_BATCH", 4)
    fill(shop)

    def stop(size: int) -> None:
        raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        copy(shop.url, new, progress=stop)
    assert (mark(new) or "").startswith("transfer: ")
    copy(shop.url, new)
    assert mark(new) is None
    assert held(new) == held(shop.url)


def test_a_second_writer_is_noticed(shop: Shop, new: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """An entry that somebody else appends to the copy meanwhile is not built upon."""
    monkeypatch.setattr(transfer, "_BATCH", 4)
    fill(shop)

    def append(size: int) -> None:
        store = open_store(new)
        with store.write() as tx, shop.ledger._store.read() as view:
            entry = next(view.entries(size))
            row = NewEntry(size, 1, "contact.imported", entry.leaf, bytes(32), {}, [])
            tx.apply(Changes(tx.head()._replace(size=size + 1, tip=bytes(32)), [row]))
        store.close()

    with pytest.raises(LedgerError, match="nobody else"):
        copy(shop.url, new, progress=append)


def test_copy_that_does_not_verify_stays_marked(shop: Shop, new: str) -> None:
    """Rows that checks read are compared with the log before the mark goes: what the old ledger had wrong stays out."""
    fill(shop)
    shop.steal("UPDATE consentlib_lives SET fold = '[]' WHERE fold LIKE '%marketing%'")
    with pytest.raises(VerificationError, match="fold"):
        copy(shop.url, new)
    assert (mark(new) or "").startswith("transfer: ")


def test_checkpoints_and_journal_come_along(tmp_path: Path, new: str) -> None:
    """Where another place is named, each checkpoint and each line of the journal is there, in order; what is there stays."""
    shop = Shop(f"sqlite:///{tmp_path}/shop.db", checkpoints=tmp_path / "one")
    fill(shop)
    old, other = FileCheckpoints(tmp_path / "one"), FileCheckpoints(tmp_path / "two")
    for _ in range(2):
        copy(shop.url, new, checkpoints=tmp_path / "one", new_checkpoints=tmp_path / "two")
        assert other.history() == old.history()
        assert other.read() == old.read()
        assert other.journal.read()[0] == old.journal.read()[0]
        go_on(shop)
    shop.ledger.rotate_key()
    copy(shop.url, new, checkpoints=tmp_path / "one", new_checkpoints=tmp_path / "two")
    assert other.history() == old.history()
    assert Path(f"{tmp_path}/new/new.db.keys").read_bytes() == Path(f"{shop.path}.keys").read_bytes()
    with Ledger.open(new, clock=shop.clock, checkpoints=tmp_path / "two") as ledger:
        assert ledger.verify(read_models=True)
        assert ledger.verifier == shop.ledger.verifier
    shop.ledger.close()


def test_a_pruned_journal_does_not_claim_more(tmp_path: Path, new: str) -> None:
    """The copy's journal says from when on it is whole, as the old one does; one that claims more is refused."""
    shop = Shop(f"sqlite:///{tmp_path}/shop.db", checkpoints=tmp_path / "one")
    fill(shop)
    place: dict[str, Path] = {"checkpoints": tmp_path / "one"}
    copy(shop.url, new, **place, new_checkpoints=tmp_path / "two")
    assert shop.ledger.journal.prune(shop.clock.now + 1) > 0
    with pytest.raises(LedgerError, match="claims more"):
        copy(shop.url, new, **place, new_checkpoints=tmp_path / "two")
    copy(shop.url, new, **place, new_checkpoints=tmp_path / "three")
    assert FileCheckpoints(tmp_path / "three").journal.since() == shop.ledger.journal.since() > 0
    shop.ledger.close()


def test_other_checkpoints_are_refused(shop: Shop, new: str, tmp_path: Path) -> None:
    """A place that holds another log's checkpoints is not mixed with this one's."""
    other = Shop(f"sqlite:///{tmp_path}/other.db", checkpoints=tmp_path / "taken", origin="other/consent")
    other.sign_up(ANN)
    other.ledger.close()
    fill(shop)
    with pytest.raises(LedgerExistsError, match="checkpoints"):
        copy(shop.url, new, new_checkpoints=tmp_path / "taken")


def test_to_memory_and_back(shop: Shop, new: str) -> None:
    """Any store does: into memory, and from there into a file."""
    fill(shop)
    url = f"memory://{shop.path}"
    keys = Keys.load(Path(f"{shop.path}.keys"))
    copy(shop.url, url)
    assert held(url) == held(shop.url)
    assert MemoryCheckpoints.named(url).history() == shop.ledger._notary.checkpoints.history()
    go_on(shop)
    copy(shop.url, url)
    copy(url, new, keys=keys, new_keys=Path(new.removeprefix("sqlite:///") + ".keys"))
    assert held(new) == held(shop.url)


def test_to_postgresql_and_back(shop: Shop, new: str, postgres_url: str, tmp_path: Path) -> None:
    """From a file to a server and from there to a file: the same log, caught up with, and it goes on there."""
    fill(shop)
    with pytest.raises(KeyFileError, match="place for the keys"):
        copy(shop.url, postgres_url)
    keys = tmp_path / "server.keys"
    copy(shop.url, postgres_url, new_keys=keys)
    assert held(postgres_url) == held(shop.url)
    go_on(shop)
    assert copy(shop.url, postgres_url, new_keys=keys).carried > 0
    assert held(postgres_url) == held(shop.url)
    with Ledger.open(postgres_url, keys=keys, clock=shop.clock) as ledger:
        ledger.withdraw("eva@example.dk")
        assert ledger.verify(read_models=True)
    copy(postgres_url, new, keys=keys)
    assert held(new) == held(postgres_url) != held(shop.url)


def test_another_log_is_refused(shop: Shop, new: str, tmp_path: Path) -> None:
    """Another ledger, and a copy that went on by itself, are left as they are."""
    fill(shop)
    with pytest.raises(InputError, match="same"):
        copy(shop.url, f"sqlite:///{tmp_path}/../{tmp_path.name}/shop.db")
    other = Shop(f"sqlite:///{tmp_path}/other.db", origin="other/consent")
    other.ledger.close()
    before = held(other.url)
    with pytest.raises(LedgerExistsError, match="found another"):
        copy(shop.url, other.url)
    assert held(other.url) == before
    aside = tmp_path / "aside"
    copy(shop.url, new, new_checkpoints=aside)
    with Ledger.open(new, clock=shop.clock, checkpoints=aside) as ledger:
        ledger.withdraw(BO)
    before = held(new)
    shop.sign_up("dora@example.dk")
    with pytest.raises(LedgerError, match="beginning of the same"):
        copy(shop.url, new, new_checkpoints=aside)
    assert held(new) == before


def test_other_keys_are_refused(shop: Shop, new: str) -> None:
    """A key file of something else in the place of the copy's is not replaced."""
    path = Path(new.removeprefix("sqlite:///") + ".keys")
    Keys.generate().save(path)
    kept = path.read_bytes()
    with pytest.raises(KeyFileError, match="found another"):
        copy(shop.url, new)
    assert path.read_bytes() == kept


def test_a_vault_in_use_is_not_replaced(tmp_path: Path, new: str) -> None:
    """Only a vault without any key makes room for the copy's."""
    shop = Shop(f"sqlite:///{tmp_path}/shop.db", sealed=True)
    fill(shop)
    path = Path(new.removeprefix("sqlite:///") + ".vault")
    shop.ledger.close()
    shutil.copy(f"{shop.path}.vault", path)
    kept = path.read_bytes()
    with pytest.raises(KeyFileError, match="never replaced"):
        copy(shop.url, new)
    assert path.read_bytes() == kept


def test_marked_or_restored_is_not_copied(shop: Shop, new: str, tmp_path: Path) -> None:
    """A log that is behind its newest checkpoint, or marked for whatever reason, has to be verified or recovered first."""
    fill(shop)
    shop.ledger.close()
    backup = shutil.copy(shop.path, tmp_path / "backup.db")
    shop.ledger = Ledger.open(shop.url, clock=shop.clock)
    shop.sign_up("dora@example.dk")
    shop.ledger.close()
    shutil.copy(backup, shop.path)
    with pytest.raises(VerificationError, match="rolled back"):
        copy(shop.url, new)
    Ledger.open(shop.url, clock=shop.clock).close()
    with pytest.raises(LedgerError, match="marked"):
        copy(shop.url, new)
    assert not Path(new.removeprefix("sqlite:///")).exists()


def test_says_what_it_did(shop: Shop, new: str) -> None:
    """What `copy` gives can be shown: sizes, and the root that the newest checkpoint signs."""
    fill(shop)
    done = copy(shop.url, new)
    assert done == Copied(done.origin, done.size, done.root, done.size)
    assert shop.ledger.verify().root == done.root
