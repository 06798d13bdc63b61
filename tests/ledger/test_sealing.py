"""A sealed ledger: what its files hold, what an erasure does to copies made before it, and what restoring brings back."""

from __future__ import annotations

import shutil
import subprocess
import sys
import zipfile
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from consentlib import Evidence, Ledger
from consentlib.audit.receipt import verify_receipt
from consentlib.audit.verify import verify_file
from consentlib.errors import ErasedError, KeyFileError, StoreUnavailableError, VerificationError
from consentlib.events import ConsentConfirmed, ConsentGiven, IdentityLinked, InquiryReceived, ObjectionRaised, OrderPlaced
from consentlib.log import LOST
from consentlib.log.note import Verifier
from consentlib.store.vault import Vault
from shop import DAY, LETTER, SEEN, Shop

ANN = "ann@example.dk"
BO = "bo@example.dk"
WHY: dict[str, Any] = {"reason": "art17", "by": "dpo"}
SECRETS = ("ann@example", "Ann Secretsen", "192.0.2.77", "SecretBrowser")


@pytest.fixture
def shop(tmp_path: Path) -> Iterator[Shop]:
    """A shop with a sealed ledger in a folder of its own."""
    (tmp_path / "shop").mkdir()
    opened = Shop(f"sqlite:///{tmp_path}/shop/shop.db", sealed=True)
    yield opened
    opened.ledger.close()


def fill(shop: Shop) -> None:
    """Ann signs up and orders, with everything personal in clear words; Bo signs up."""
    evidence = Evidence(ip="192.0.2.77", user_agent="SecretBrowser")
    shop.ledger.record(ConsentGiven(ANN, form="footer", evidence=evidence, address_verified=True))
    shop.ledger.record(OrderPlaced(ANN, order="o1"))
    shop.ledger.record(ObjectionRaised(ANN, text="my name is Ann Secretsen"))
    shop.sign_up(BO)


def found(folder: Path, words: tuple[str, ...] = SECRETS) -> set[tuple[str, str]]:
    """The words that stand in files, with the file."""
    return {(path.name, word) for path in folder.iterdir() for word in words if word.encode() in path.read_bytes()}


def copied(shop: Shop, target: Path, *names: str) -> None:
    """A copy of files of the ledger while nobody has it open; all of them if none is named."""
    shop.ledger.close()
    target.mkdir(exist_ok=True)
    for path in shop.path.parent.iterdir():
        if not names or path.name in names:
            shutil.copy(path, target)
    shop.ledger = Ledger.open(shop.url, clock=shop.clock)


def restore(shop: Shop, source: Path, *names: str) -> None:
    """Put copies in the place of files, and open the ledger again."""
    shop.ledger.close()
    for name in names:
        for path in shop.path.parent.glob(f"{name}*"):
            if path.name in (name, f"{name}-wal", f"{name}-shm"):
                path.unlink()
        shutil.copy(source / name, shop.path.parent)
    shop.ledger = Ledger.open(shop.url, clock=shop.clock)


def vault(shop: Shop) -> Vault:
    """The vault in use."""
    return shop.ledger._store.vault  # type: ignore[attr-defined, no-any-return]


def test_everything_works_on_a_sealed_ledger(shop: Shop, tmp_path: Path) -> None:
    """Asking, looking, verifying, exporting and receipts are as without sealing; files hold no personal word at any time."""
    fill(shop)
    assert shop.newsletter(BO)
    assert len(list(shop.ledger.permits([BO], use="marketing", message=LETTER))) == 1
    assert found(shop.path.parent) == set()
    assert [entry.person for entry in shop.ledger.history(ANN) if entry.kind == "objection.raised"] == [
        {"text": "my name is Ann Secretsen"}
    ]
    assert shop.ledger.verify(read_models=True).withheld == 0
    shop.ledger.export(tmp_path / "audit.zip")
    assert verify_file(tmp_path / "audit.zip").withheld == 0
    with zipfile.ZipFile(tmp_path / "audit.zip") as archive:
        assert archive.read("log.ndjson").count(b'"person":{"salt"') == 3
    receipt = shop.ledger.receipt(1)
    assert isinstance(verify_receipt(receipt, [Verifier.parse(shop.ledger.verifier)]).parts["person"], tuple)


def test_erasure_reaches_every_copy(shop: Shop, tmp_path: Path) -> None:
    """After an erasure no file holds the plaintext, bookkeeping still answers, and a full copy from before opens no more."""
    fill(shop)
    copied(shop, tmp_path / "copy")
    erased = shop.ledger.erase(ANN, **WHY)
    assert (erased.parts, erased.pending) == (2, False)
    assert found(shop.path.parent) == set()
    assert shop.ledger.check(ANN, use="legal_bookkeeping", order="o1")
    assert shop.newsletter(ANN).reason == "erased"
    assert shop.newsletter(BO)
    assert shop.ledger.verify(read_models=True).erased == 2

    # The copy, whole but for its vault, with the vault as it is now.
    names = ("shop.db.vault",)
    shop.ledger.close()
    for path in (tmp_path / "copy").glob("shop.db.vault*"):
        path.unlink()
    for name in names:
        shutil.copy(shop.path.parent / name, tmp_path / "copy")
    assert found(tmp_path / "copy") == set()
    with Ledger.open(f"sqlite:///{tmp_path}/copy/shop.db", clock=shop.clock) as old:
        assert [entry.person for entry in old.history(ANN)] == [None] * 3
        assert old.history(BO)[0].person is not None
        with pytest.raises(VerificationError, match="erasure") as caught:
            old.verify()
    assert caught.value.level == "content"
    shop.ledger = Ledger.open(shop.url, clock=shop.clock)


def test_an_erasure_that_copies_do_not_know_is_recorded(shop: Shop, tmp_path: Path) -> None:
    """In a restored log whose keys are gone, erasing the person again puts it on record, and the log verifies."""
    fill(shop)
    copied(shop, tmp_path / "copy", "shop.db")
    shop.ledger.erase(ANN, **WHY)
    restore(shop, tmp_path / "copy", "shop.db")
    with shop.ledger._store.read() as view:
        assert view.entry(1).parts["person"] is LOST  # type: ignore[union-attr]
    assert shop.ledger.erase(ANN, **WHY).parts == 2
    with shop.ledger._store.read() as view:
        assert view.entry(1).parts["person"] is None  # type: ignore[union-attr]


def test_a_restored_vault_forgets_again(shop: Shop, tmp_path: Path) -> None:
    """A vault from before an erasure brings its keys back; opening the ledger erases them again, and no others."""
    fill(shop)
    copied(shop, tmp_path / "copy", "shop.db", "shop.db.vault")
    old = Vault.open(tmp_path / "copy" / "shop.db.vault", vault(shop).id)
    shop.ledger.erase(ANN, **WHY)
    shop.sign_up(BO)
    restore(shop, tmp_path / "copy", "shop.db.vault")
    assert (old.health()["keys"], vault(shop).health()["keys"]) == (2, 1)
    assert shop.ledger.history(BO)[0].person is not None
    old.close()


def test_a_restored_vault_with_a_newer_log(shop: Shop, tmp_path: Path) -> None:
    """What was sealed under keys that a restored vault never had is lost, and verification says so."""
    fill(shop)
    copied(shop, tmp_path / "copy", "shop.db.vault")
    shop.sign_up("new@example.dk")
    assert shop.ledger.verify()
    restore(shop, tmp_path / "copy", "shop.db.vault")
    with pytest.raises(VerificationError, match="found neither"):
        shop.ledger.verify()


@pytest.mark.parametrize("step", ["before the commit", "before the purge"])
def test_a_crash_in_the_middle(shop: Shop, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, step: str) -> None:
    """A process that dies between condemning, committing and purging leaves no trace of the person: opening finishes it."""
    fill(shop)
    store = shop.ledger._store

    class Died(BaseException):
        pass

    def die(*_: object) -> None:
        raise Died

    if step == "before the commit":
        monkeypatch.setattr("consentlib.store.sqlite_view._apply", die)
    else:
        monkeypatch.setattr(type(store), "purge", die)
    with pytest.raises(Died):
        shop.ledger.erase(ANN, **WHY)
    monkeypatch.undo()
    assert len(vault(shop).condemned()) == 1
    shop.ledger.close()
    shop.ledger = Ledger.open(shop.url, clock=shop.clock)
    assert shop.ledger.verify().erased == 2
    assert shop.ledger.erase(ANN, **WHY).index is None
    assert (vault(shop).condemned(), vault(shop).health()["keys"]) == ([], 1)
    assert shop.ledger.verify().erased == 2
    assert found(shop.path.parent) == set()


def test_other_people_in_the_same_entry(shop: Shop) -> None:
    """Who stands in an entry with an erased person loses what is in that entry, and nothing else."""
    fill(shop)
    shop.ledger.record(IdentityLinked(BO, other="bo@work.dk"))
    shop.ledger.record(InquiryReceived("carl@example.dk"))
    shop.ledger.erase(BO, **WHY)
    assert [entry.person is None for entry in shop.ledger.history(ANN)] == [False, True, False]
    assert shop.ledger.history("carl@example.dk")[0].person is not None
    shop.ledger.verify(read_models=True)


def test_who_comes_back(shop: Shop) -> None:
    """A new life after an erasure has keys of its own, and can be erased again."""
    fill(shop)
    shop.ledger.erase(ANN, **WHY)
    shop.clock.tick(days=1)
    shop.sign_up(ANN)
    assert [entry.person for entry in shop.ledger.history(ANN)][-2] is not None
    shop.ledger.erase(ANN, **WHY)
    assert vault(shop).health()["keys"] == 1
    shop.ledger.verify(read_models=True)


def test_checks_need_no_vault(shop: Shop) -> None:
    """While the vault can't be read, checks answer, and nothing personal is stored, not even in clear."""
    fill(shop)
    vault(shop).close()
    assert shop.newsletter(BO)
    with pytest.raises(StoreUnavailableError):
        shop.ledger.record(InquiryReceived("new@example.dk"))
    assert found(shop.path.parent, ("new@example",)) == set()


def test_opening_without_the_vault(shop: Shop, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A sealed ledger opens with its vault only, wherever that is said to be."""
    shop.ledger.close()
    moved = tmp_path / "apart.vault"
    shutil.move(f"{shop.path}.vault", moved)
    with pytest.raises(KeyFileError, match="vault of this ledger"):
        Ledger.open(shop.url)
    Ledger.open(shop.url, vault=moved).close()
    monkeypatch.setenv("CONSENTLIB_VAULT", str(moved))
    Ledger.open(shop.url).close()
    with pytest.raises(KeyFileError, match="never replaced"):
        Shop(f"sqlite:///{tmp_path}/other.db", sealed=True)
    assert not (tmp_path / "other.db").exists()
    assert not (tmp_path / "other.db.keys").exists()


def test_sealed_in_memory(tmp_path: Path) -> None:
    """A ledger in memory is sealed where it is told a vault."""
    with pytest.raises(KeyFileError, match="CONSENTLIB_VAULT"):
        Shop(sealed=True)
    shop = Shop(sealed=True, vault=tmp_path / "v")
    fill(shop)
    assert shop.ledger.erase(ANN, **WHY).pending is False
    shop.ledger.verify(read_models=True)
    shop.ledger.close()


# What remains of a no, and for how long


def test_review_lets_go_of_rows_that_hold_no_stop(shop: Shop, tmp_path: Path) -> None:
    """Rows go once their review date has come, on record; a stop stays; nothing that was erased comes back."""
    shop.sign_up(BO)
    shop.ledger.record(ObjectionRaised(ANN))
    for address in (ANN, BO):
        shop.ledger.erase(address, **WHY)
    before = shop.ledger.review_suppressions(by="dpo")
    assert (before.index, before.dropped, before.kept) == (None, 0, 0)
    shop.clock.tick(days=1095)
    done = shop.ledger.review_suppressions(by="dpo")
    assert (done.dropped, done.kept) == (1, 1)
    assert done.index is not None
    assert not shop.newsletter(BO)
    assert shop.newsletter(ANN).reason == "erased"
    shop.ledger.erase(BO, **WHY)  # what was kept as proof has run out as well
    shop.clock.tick(days=1095)
    shop.ledger.review_suppressions(by="dpo")
    assert not shop.newsletter(BO)
    assert shop.newsletter(BO).reason != "erased"
    assert shop.ledger.review_suppressions(by="dpo").kept == 1
    shop.ledger.verify(read_models=True)
    shop.ledger.export(tmp_path / "audit.zip")
    with zipfile.ZipFile(tmp_path / "audit.zip") as archive:
        archive.extract("verify.py", tmp_path)
    command = [sys.executable, str(tmp_path / "verify.py"), str(tmp_path / "audit.zip")]
    assert subprocess.run(command, capture_output=True, check=False).returncode in (0, 10)


def test_review_resurrects_no_consent(shop: Shop) -> None:
    """A consent from before an erasure that was imported after it stays without effect when the row is due for review."""
    old = shop.clock() - 10 * DAY
    shop.ledger.record(InquiryReceived(ANN))
    shop.ledger.erase(ANN, **WHY)
    shop.clock.tick(days=1000)
    grant = shop.ledger.record(ConsentGiven(ANN, form="footer", evidence=SEEN, address_verified=True, occurred_at=old))
    shop.ledger.record(ConsentConfirmed.of(grant, occurred_at=old))
    assert shop.newsletter(ANN).reason == "erased"
    shop.clock.tick(days=96)
    done = shop.ledger.review_suppressions(by="dpo")
    assert (done.dropped, done.kept) == (0, 1)
    assert shop.newsletter(ANN).reason == "erased"


def test_review_keeps_erased_event_ids(shop: Shop) -> None:
    """An event id of something erased stays taken, so that a repeated import brings nothing back after the review either."""
    shop.ledger.record(InquiryReceived(ANN, event_id="e1"))
    shop.ledger.erase(ANN, **WHY)
    shop.clock.tick(days=1096)
    assert shop.ledger.review_suppressions(by="dpo").dropped == 1
    with pytest.raises(ErasedError):
        shop.ledger.record(InquiryReceived(ANN, event_id="e1"))
