"""Creating and opening: nothing is overwritten, nothing begun by mistake, no keys lost."""

import multiprocessing
import stat
import threading
from pathlib import Path
from typing import Any

import pytest

from consentlib import ConsentlibError, Ledger, opening
from consentlib.errors import (
    FormatError,
    KeyFileError,
    LedgerExistsError,
    LedgerMissingError,
    LedgerVersionError,
    StoreUnavailableError,
)
from consentlib.keys import Keys
from consentlib.store import open_locked_store
from shop import NOW, POLICY, Clock, Shop


def files(folder: Path) -> dict[str, bytes]:
    return {path.name: path.read_bytes() for path in folder.iterdir()}


def test_create(shop: Shop) -> None:
    """The key file lies beside the database, for its owner alone; the policy is the first entry."""
    keys = Path(f"{shop.path}.keys")
    assert stat.S_IMODE(keys.stat().st_mode) == 0o600
    assert (shop.ledger.origin, shop.ledger.policy, shop.ledger.verify().size) == ("littlesteps/consent", POLICY, 1)
    with Ledger.open(shop.url, clock=shop.clock) as again:
        assert again.policy == POLICY


def test_create_refuses_a_ledger(shop: Shop) -> None:
    """What is there is not touched, whether or not its keys are still beside it."""
    shop.ledger.close()
    before = files(shop.path.parent)
    with pytest.raises(LedgerExistsError):
        Ledger.create(shop.url, policy=POLICY)
    assert files(shop.path.parent) == before
    Path(f"{shop.path}.keys").unlink()
    with pytest.raises(LedgerExistsError):
        Ledger.create(shop.url, policy=POLICY)
    assert not Path(f"{shop.path}.keys").exists()


def test_create_refuses_keys_without_a_ledger(tmp_path: Path) -> None:
    """A key file is never replaced: a ledger somewhere may need it."""
    (tmp_path / "shop.db.keys").write_text("precious")
    with pytest.raises(KeyFileError):
        Ledger.create(f"sqlite:///{tmp_path}/shop.db", policy=POLICY)
    assert files(tmp_path) == {"shop.db.keys": b"precious"}


@pytest.mark.parametrize("origin", ["", "Shop", "a b", "x" * 129, "ø"])
def test_create_refuses_a_bad_origin(tmp_path: Path, origin: str) -> None:
    """Nothing is made."""
    with pytest.raises(FormatError):
        Ledger.create(f"sqlite:///{tmp_path}/shop.db", policy=POLICY, origin=origin)
    assert files(tmp_path) == {}


def test_create_where_nothing_can_be_made(tmp_path: Path) -> None:
    """A folder that is missing, or a file that is no database, is one clear error, and no keys are left behind."""
    with pytest.raises(ConsentlibError):
        Ledger.create(f"sqlite:///{tmp_path}/none/shop.db", policy=POLICY)
    (tmp_path / "shop.db").write_text("my notes, and they are long enough for a header of a database" * 9)
    before = files(tmp_path)
    with pytest.raises(StoreUnavailableError):
        Ledger.create(f"sqlite:///{tmp_path}/shop.db", policy=POLICY)
    assert files(tmp_path) == before


def create(url: str, results: "multiprocessing.Queue[str]", sealed: bool) -> None:
    """One of several processes."""
    try:
        Ledger.create(url, policy=POLICY, sealed=sealed).close()
    except ConsentlibError as error:
        results.put(type(error).__name__)
    else:
        results.put("made")


@pytest.mark.parametrize("sealed", [False, True])
def test_two_processes_at_once(tmp_path: Path, sealed: bool) -> None:
    """One makes the ledger, the others are told that there is one; the key file is that ledger's."""
    url = f"sqlite:///{tmp_path}/shop.db"
    context = multiprocessing.get_context("fork")
    results: multiprocessing.Queue[str] = context.Queue()
    processes = [context.Process(target=create, args=(url, results, sealed)) for _ in range(4)]
    for process in processes:
        process.start()
    found = [results.get(timeout=30) for _ in processes]
    for process in processes:
        process.join()
    assert sorted(found) == [*["LedgerExistsError"] * 3, "made"]
    with Ledger.open(url) as ledger:
        assert ledger.verify().size == 1


def test_keys_of_a_ledger_that_comes(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Keys that another process has written and not yet begun its ledger for are no lost keys."""
    url = f"sqlite:///{tmp_path}/shop.db"

    def slow(self: Keys, path: Path) -> None:
        save(self, path)
        thread.start()
        begun.wait(30)

    def second() -> None:
        try:
            Ledger.create(url, policy=POLICY)
        except ConsentlibError as error:
            found.append(type(error).__name__)

    def find(of: str) -> Any:
        looked.append(of)
        if len(looked) == 3:
            begun.set()
        return open_locked_store(of)

    save, found, looked, begun, thread = Keys.save, list[str](), list[str](), threading.Event(), threading.Thread(target=second)
    monkeypatch.setattr(opening, "open_locked_store", find)
    monkeypatch.setattr(Keys, "save", slow)
    with Ledger.create(url, policy=POLICY) as ledger:
        thread.join()
        assert ledger.verify().size == 1
    assert found == ["LedgerExistsError"]


def test_open_refuses(tmp_path: Path, shop: Shop) -> None:
    """A mistyped path, another database, other keys and a newer format are refused, and nothing is begun."""
    with pytest.raises(LedgerMissingError):
        Ledger.open(f"sqlite:///{tmp_path}/shpo.db")
    assert not (tmp_path / "shpo.db").exists()
    with pytest.raises(KeyFileError, match="another"):
        Ledger.open(shop.url, keys=Keys.generate())
    with pytest.raises(KeyFileError):
        Ledger.open(shop.url, keys=tmp_path / "none.keys")
    (tmp_path / "bad.keys").write_text("{}")
    with pytest.raises(KeyFileError):
        Ledger.open(shop.url, keys=tmp_path / "bad.keys")
    shop.ledger.close()
    shop.steal("UPDATE consentlib_meta SET value = 'consentlib.dev/ledger/v2' WHERE name = 'format'")
    with pytest.raises(LedgerVersionError):
        Ledger.open(shop.url)
    with pytest.raises(LedgerMissingError):
        Ledger.open("memory://nosuch")


def test_keys_elsewhere(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Keys lie where the argument or CONSENTLIB_KEYS says, and nowhere else."""
    url = f"sqlite:///{tmp_path}/shop.db"
    monkeypatch.setenv("CONSENTLIB_KEYS", str(tmp_path / "other.keys"))
    Ledger.create(url, policy=POLICY).close()
    assert not (tmp_path / "shop.db.keys").exists()
    Ledger.open(url).close()
    monkeypatch.delenv("CONSENTLIB_KEYS")
    with pytest.raises(KeyFileError):
        Ledger.open(url)
    Ledger.open(url, keys=tmp_path / "other.keys").close()


def test_memory_needs_keys_to_open() -> None:
    """A ledger in memory has no place for a key file: who opens it must bring the keys."""
    keys = Keys.generate()
    with Ledger.create("memory://opening", policy=POLICY, keys=keys, clock=Clock(NOW)):
        with pytest.raises(KeyFileError):
            Ledger.open("memory://opening")
        assert Ledger.open("memory://opening", keys=keys, clock=Clock(NOW)).policy == POLICY
