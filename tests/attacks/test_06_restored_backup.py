"""Attack 6: the database is restored from a backup, with its keys. The checkpoint store, elsewhere, tells."""

from pathlib import Path

import pytest

from consentlib.audit.verify import verify_file
from consentlib.errors import LedgerError, VerificationError
from consentlib.events import OrderPlaced
from forger import key, reopen, restore, save
from shop import Shop

ANN = "anna@example.dk"


@pytest.fixture
def kept(shop: Shop) -> bytes:
    """The newest checkpoint of a shop whose database is then restored to before a withdrawal."""
    shop.sign_up(ANN)
    shop.sign_up("bo@example.dk")
    backup = save(shop)
    reopen(shop)
    shop.ledger.withdraw(ANN)
    kept = shop.ledger.checkpoint()
    restore(shop, backup)
    return kept


def test_restored(shop: Shop, kept: bytes, caplog: pytest.LogCaptureFixture) -> None:
    """It opens marked: nobody is allowed, no grant recorded, nothing signed; a stop is taken, is on record, and counts.

    `_examine` and `check_extends` mark, `_refuse_if_unsafe` (recorder.py) refuses grants and lets stops through.
    """
    reopen(shop)
    assert "rolled back or cut" in caplog.text
    for one in (ANN, "bo@example.dk"):
        assert shop.newsletter(one).reason == "ledger_unverified"
    before = shop.look("SELECT size, unverified FROM consentlib_head")
    with pytest.raises(LedgerError, match="expected a verified log"):
        shop.sign_up("carl@example.dk")
    assert shop.look("SELECT size, unverified FROM consentlib_head") == before
    for act in (shop.ledger.checkpoint, lambda: shop.ledger.receipt(6)):
        stop = shop.ledger.withdraw("bo@example.dk", limited=True)
        with pytest.raises(VerificationError) as caught:
            act()
        assert (caught.value.level, caught.value.evidence["checkpoint"]) == ("history", kept)
    assert shop.ledger.history("bo@example.dk")[-1].index == stop.index
    assert shop.ledger._notary.checkpoints.read() == kept
    reopen(shop)
    assert not shop.newsletter("bo@example.dk")


def test_stays_marked(shop: Shop, kept: bytes, tmp_path: Path) -> None:
    """Growing past the signed size with stops, verifying and reopening don't lift the mark; an export of it is unsigned."""
    reopen(shop)
    for number in range(6):
        shop.ledger.withdraw(f"p{number}@example.dk", limited=True)
    for _ in range(2):
        with pytest.raises(VerificationError) as caught:
            shop.ledger.verify()
        assert (caught.value.level, caught.value.evidence["checkpoint"]) == ("history", kept)
        reopen(shop)
        assert shop.newsletter("bo@example.dk").reason == "ledger_unverified"
    shop.ledger.export(tmp_path / "audit.zip")
    with pytest.raises(VerificationError) as caught:
        verify_file(tmp_path / "audit.zip", verifiers=[key(shop)])
    assert caught.value.level == "signature"


def test_restored_under_a_running_shop(shop: Shop, kept: bytes, monkeypatch: pytest.MonkeyPatch) -> None:
    """Even if the mark is wiped: the next automatic checkpoint is refused, marks the ledger, and the event is recorded."""
    reopen(shop)
    shop.steal("UPDATE consentlib_head SET unverified = NULL")
    assert shop.newsletter("bo@example.dk")
    monkeypatch.setattr("consentlib.notary.SIGN_AFTER_ENTRIES", 1)
    recorded = shop.ledger.record(OrderPlaced("bo@example.dk", order="o1"))
    assert shop.ledger.history("bo@example.dk")[-1].index == recorded.index
    assert shop.newsletter("bo@example.dk").reason == "ledger_unverified"
