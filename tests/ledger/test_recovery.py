"""A restored backup, recovered: what it had forgotten comes back, and what nobody knows any more is a no."""

from __future__ import annotations

import json
import sqlite3
from base64 import b64decode
from pathlib import Path

import pytest

from consentlib import Ledger, Message
from consentlib.audit.verify import verify_file
from consentlib.checkpoints import FileCheckpoints
from consentlib.errors import (
    InputError,
    KeyFileError,
    LedgerExistsError,
    StoreUnavailableError,
    VerificationError,
)
from consentlib.events import ConsentConfirmed, ConsentGiven, ConsentWithdrawn, IdentityLinked, OrderPlaced, RestrictionSet
from consentlib.log import parse_leaf
from consentlib.log.merkle import frontier_root
from consentlib.log.note import Verifier
from consentlib.recovery import Recovery, recover
from forger import reopen, restore, save
from shop import LETTER, SEEN, Shop

ANN, BO, CARL, DORA = (f"{name}@example.dk" for name in ("ann", "bo", "carl", "dora"))


@pytest.fixture
def restored(shop: Shop) -> Shop:
    """A shop whose backup was restored; since it was made, Ann withdrew, Carl was erased, Dora restricted, Eva signed up."""
    for one in (ANN, BO, CARL, DORA):
        shop.sign_up(one)
    shop.ledger.record(IdentityLinked(ANN, other="a@work.dk"))
    shop.ledger.erase("gone@example.dk", reason="art17", by="dpo")
    shop.ledger.record(OrderPlaced(BO, order="o1"))
    backup = save(shop)
    reopen(shop)
    shop.clock.tick(60)
    shop.ledger.withdraw("a@work.dk", text="no more")
    shop.ledger.erase(CARL, reason="art17", by="dpo")
    shop.ledger.record(RestrictionSet(DORA))
    shop.sign_up("eva@example.dk")
    shop.ledger.withdraw("new@example.dk")
    shop.ledger.checkpoint()
    restore(shop, backup)
    reopen(shop)
    return shop


def recovered(shop: Shop, **more: object) -> tuple[Recovery, Ledger]:
    """The shop's new ledger."""
    url = f"sqlite:///{shop.path.parent}/new.db"
    done = recover(shop.url, url, by="ops", reason="disk-failure", clock=shop.clock, **more)  # type: ignore[arg-type]
    return done, Ledger.open(url, clock=shop.clock)


def allowed(ledger: Ledger, address: str) -> str:
    """The reason for or against the newsletter."""
    return ledger.check(address, use="marketing_newsletter", message=LETTER).reason


def test_everything_forgotten_comes_back(shop: Shop, restored: Shop, tmp_path: Path) -> None:
    """Stops and erasures since the backup hold in the new log, others keep what they had, and it verifies and signs."""
    assert allowed(restored.ledger, BO) == "ledger_unverified"
    done, ledger = recovered(restored)
    assert (done.origin, done.stops, done.erasures, done.journal) == ("littlesteps/consent-2", 5, 1, True)
    assert allowed(ledger, BO) == "consent_valid"
    assert allowed(ledger, ANN) == "objection_direct_marketing"
    assert allowed(ledger, "a@work.dk") == "objection_direct_marketing"
    assert allowed(ledger, CARL) == "erased"
    assert allowed(ledger, DORA) == "restricted"
    assert not ledger.check("new@example.dk", use="marketing_newsletter", message=LETTER)
    assert ledger.check("eva@example.dk", use="marketing_newsletter", message=LETTER).reason == "unknown_subject"
    with sqlite3.connect(tmp_path / "new.db") as reader:
        assert CARL not in "".join(reader.iterdump())
    reader.close()
    assert ledger.verify(read_models=True, checkpoints=[ledger.checkpoint()]).level == "history"
    ledger.export(tmp_path / "audit.zip")
    assert verify_file(tmp_path / "audit.zip", verifiers=[Verifier.parse(ledger.verifier)]).level == "signature"
    ledger.close()


def test_says_where_it_comes_from(restored: Shop) -> None:
    """Entries keep index, time, kind and commitments; the first new one names the old log, its root, and what it had signed."""
    with restored.ledger._store.read() as view:
        old = list(view.entries())
        root = frontier_root(view.head().frontier)
    kept = restored.ledger._notary.checkpoints.read()
    done, ledger = recovered(restored)
    with ledger._store.read() as view:
        new = list(view.entries())
    assert done.entries == len(old)
    for before, after in zip(old, new, strict=False):
        one, other = parse_leaf(before.leaf), parse_leaf(after.leaf)
        assert (one.index, one.t, one.kind, one.parts) == (other.index, other.t, other.kind, other.parts)
        # Carl's are erased again: by then everything else came over as it was.
        assert before.parts == after.parts or (None in after.parts.values() and before.parts["person"] is not None)
    first = new[len(old)]
    assert parse_leaf(first.leaf).kind == "log.recovered"
    part = first.parts["facts"]
    assert isinstance(part, tuple)
    facts = json.loads(part[1])
    assert (facts["from"], facts["size"], facts["by"], facts["journal"]) == ("littlesteps/consent", len(old), "ops", True)
    assert b64decode(facts["root"]) == root
    assert facts["checkpoint"].encode() == kept
    ledger.close()


def test_old_one_is_left_alone(restored: Shop) -> None:
    """The restored database stays as it is: marked, allowing nothing, taking stops."""
    with restored.ledger._store.read() as view:
        before = view.head()
    _, ledger = recovered(restored)
    with restored.ledger._store.read() as view:
        assert view.head() == before
    assert allowed(restored.ledger, BO) == "ledger_unverified"
    assert restored.ledger.withdraw(BO).index == before.size
    ledger.close()


def test_without_journal(restored: Shop) -> None:
    """Without it every use that a no can end is denied to all who were on record, in every mode, until they agree anew."""
    folder = restored.ledger._notary.checkpoints
    assert isinstance(folder, FileCheckpoints)
    (folder.folder / "stops").unlink()
    with pytest.raises(StoreUnavailableError, match="found none"):
        recovered(restored)
    done, ledger = recovered(restored, without_journal=True)
    assert (done.stops, done.erasures, done.journal) == (0, 0, False)
    observing = Ledger.open(f"sqlite:///{restored.path.parent}/new.db", clock=restored.clock, mode="observe")
    for one in (ANN, BO, CARL, DORA):
        for use in ("marketing_newsletter", "survey", "marketing_post", "marketing_segmentation"):
            decision = observing.check(one, use=use, message=LETTER)
            assert not decision, (one, use)
    assert allowed(ledger, BO) == "ledger_unverified"
    assert ledger.check(BO, use="delivery", order="o1", message=Message(marketing=False)).reason == "contract_open"
    before = restored.clock()
    restored.clock.tick(60)
    asked = ledger.record(ConsentGiven(BO, form="footer", evidence=SEEN))
    ledger.record(ConsentConfirmed.of(asked))
    assert allowed(ledger, BO) == "consent_valid"
    assert ledger.check(BO, use="marketing_newsletter", message=LETTER, at=before).reason == "ledger_unverified"
    observing.close()
    ledger.close()


def test_damaged_journal(restored: Shop) -> None:
    """A journal that can't be read in full is none."""
    folder = restored.ledger._notary.checkpoints
    assert isinstance(folder, FileCheckpoints)
    data = bytearray((folder.folder / "stops").read_bytes())
    data[100] ^= 1
    (folder.folder / "stops").write_bytes(bytes(data))
    with pytest.raises(StoreUnavailableError, match="damaged") as caught:
        recovered(restored)
    assert "recover without it" in "".join(caught.value.__notes__)
    assert not (restored.path.parent / "new.db").exists()


def test_recovered_and_restored_again(restored: Shop) -> None:
    """The new log has checkpoints and a journal of its own; it can be restored and recovered in its turn."""
    _, ledger = recovered(restored)
    ledger.close()
    (restored.path.parent / "backup").rename(restored.path.parent / "first backup")
    second = Shop.__new__(Shop)
    second.url, second.path = f"sqlite:///{restored.path.parent}/new.db", restored.path.parent / "new.db"
    second.clock, second.ledger = restored.clock, Ledger.open(f"sqlite:///{restored.path.parent}/new.db", clock=restored.clock)
    backup = save(second)
    reopen(second)
    second.ledger.withdraw(BO)
    second.ledger.checkpoint()
    restore(second, backup)
    reopen(second)
    done = recover(second.url, f"sqlite:///{restored.path.parent}/third.db", by="ops", reason="again", clock=second.clock)
    assert (done.origin, done.stops) == ("littlesteps/consent-3", 2)
    third = Ledger.open(f"sqlite:///{restored.path.parent}/third.db", clock=second.clock)
    assert allowed(third, BO) == "objection_direct_marketing"
    assert allowed(third, ANN) == "objection_direct_marketing"
    third.close()
    second.ledger.close()


def test_cut_short(restored: Shop, monkeypatch: pytest.MonkeyPatch) -> None:
    """A recovery that was cut before the stops were there leaves a log that allows nothing, whoever verifies it."""

    def cut(*_: object) -> None:
        raise KeyboardInterrupt

    monkeypatch.setattr("consentlib.recovery._append", cut)
    with pytest.raises(KeyboardInterrupt):
        recovered(restored)
    monkeypatch.undo()
    with Ledger.open(f"sqlite:///{restored.path.parent}/new.db", clock=restored.clock) as half:
        assert allowed(half, BO) == "ledger_unverified"
        half.verify(read_models=True)
        assert allowed(half, ANN) == "ledger_unverified"


def test_refusals(restored: Shop, tmp_path: Path) -> None:
    """No reason, the same origin, a place that is taken, other keys, a log that does not verify: nothing is begun."""
    url = f"sqlite:///{tmp_path}/new.db"
    with pytest.raises(InputError):
        recover(restored.url, url, by="", reason="x")
    with pytest.raises(InputError, match="another origin"):
        recover(restored.url, url, by="ops", reason="x", origin="littlesteps/consent")
    with pytest.raises(LedgerExistsError):
        recover(restored.url, restored.url, by="ops", reason="x")
    other = Shop(f"sqlite:///{tmp_path}/other.db")
    with pytest.raises(KeyFileError):
        recover(restored.url, url, by="ops", reason="x", keys=tmp_path / "other.db.keys")
    other.ledger.close()
    restored.steal("UPDATE consentlib_parts SET data = '{}' WHERE idx = 3 AND name = 'facts'")
    with pytest.raises(VerificationError):
        recover(restored.url, url, by="ops", reason="x")
    assert not (tmp_path / "new.db").exists()


def test_a_stop_recorded_twice_counts_once(restored: Shop) -> None:
    """Stops that the restored ledger took meanwhile are in the log and in the journal, and come over once."""
    restored.ledger.record(ConsentWithdrawn(BO, event_id="once"))
    _, ledger = recovered(restored)
    assert [one.kind for one in ledger.history(BO)].count("consent.withdrawn") == 1
    ledger.close()


def test_sealed(tmp_path: Path) -> None:
    """A sealed ledger is recovered into a sealed one: what its vault opens no more was erased, and that comes on record."""
    shop = Shop(f"sqlite:///{tmp_path}/shop.db", sealed=True)
    for one in (ANN, BO):
        shop.sign_up(one)
    backup = save(shop)
    reopen(shop)
    shop.ledger.erase(ANN, reason="art17", by="dpo")
    shop.ledger.checkpoint()
    restore(shop, backup)
    reopen(shop)
    done, ledger = recovered(shop)
    assert (done.erasures, ledger.verify(read_models=True).erased) == (1, 1)
    assert (allowed(ledger, ANN), allowed(ledger, BO)) == ("erased", "consent_valid")
    assert ledger.history(BO)[0].person is not None
    assert BO.encode() not in (tmp_path / "new.db").read_bytes()
    ledger.close()
    shop.ledger.close()
