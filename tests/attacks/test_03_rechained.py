"""Attack 3: an entry is edited, salted anew, and everything after it re-chained: only a checkpoint newer than it tells."""

from pathlib import Path

import pytest

from consentlib.audit.verify import verify_file, verify_view
from consentlib.errors import VerificationError
from consentlib.log.merkle import frontier_root
from forger import Forged, forge, held, key, reopen
from shop import Shop


def widen(entries: list[Forged]) -> None:
    """Let the consent of entry 1 cover another use."""
    entries[1].parts["facts"] = entries[1].parts["facts"].replace(b'"marketing_newsletter"', b'"marketing_profiling"')


@pytest.fixture
def kept(shop: Shop) -> bytes:
    """What an auditor keeps of a log in which the consent stands as it was given; the log then grows, and is forged."""
    shop.sign_up("anna@example.dk")
    kept = shop.ledger.checkpoint()
    shop.sign_up("bo@example.dk")
    before = shop.look("SELECT CAST(data AS BLOB) FROM consentlib_parts WHERE idx = 1 AND name = 'facts'")
    forge(shop, widen)
    assert shop.look("SELECT CAST(data AS BLOB) FROM consentlib_parts WHERE idx = 1 AND name = 'facts'") != before
    return kept


def test_fits_together(shop: Shop, kept: bytes) -> None:
    """The forgery is a good one: chain, content and the stored head of the new log agree."""
    with shop.ledger._store.read() as view:
        assert verify_view(view, shop.ledger.origin).level == "content"


def test_held_checkpoint(shop: Shop, kept: bytes) -> None:
    """With the auditor's checkpoint the verifier names it and both roots (`_Checkpoints.compare` in log/verify.py)."""
    with shop.ledger._store.read() as view, pytest.raises(VerificationError, match="have the root that was signed") as caught:
        verify_view(view, shop.ledger.origin, checkpoints=[held(shop, kept)])
    assert (caught.value.level, caught.value.evidence["note"]) == ("history", kept)
    assert caught.value.evidence["signed_root"] == held(shop, kept).root != caught.value.evidence["root"]
    with pytest.raises(VerificationError) as caught:
        shop.ledger.verify(checkpoints=[kept])
    assert caught.value.level == "history"
    assert shop.newsletter("anna@example.dk").reason == "ledger_unverified"


def test_own_checkpoint(shop: Shop, kept: bytes) -> None:
    """The ledger's own checkpoint tells as well: `verify` raises, and nothing is signed (`check_extends` in checkpoints.py)."""
    for act in (shop.ledger.verify, shop.ledger.checkpoint):
        with pytest.raises(VerificationError, match="rewritten") as caught:
            act()
        assert (caught.value.level, caught.value.evidence["checkpoint"]) == ("history", kept)
        assert caught.value.evidence["root"] != held(shop, kept).root
    assert shop.ledger._notary.checkpoints.read() == kept


def test_on_open(shop: Shop, kept: bytes) -> None:
    """The next open finds it and marks the ledger, whose thief had lifted the mark (`_examine` in ledger.py)."""
    assert shop.newsletter("anna@example.dk").reason != "ledger_unverified"
    reopen(shop)
    assert shop.newsletter("anna@example.dk").reason == "ledger_unverified"
    assert shop.ledger.withdraw("anna@example.dk").index


def test_export(shop: Shop, kept: bytes, tmp_path: Path) -> None:
    """An export of it holds by itself, and fails against the checkpoint that the auditor holds."""
    reopen(shop)
    size = shop.ledger.export(tmp_path / "audit.zip")
    assert verify_file(tmp_path / "audit.zip").size == size
    with pytest.raises(VerificationError) as caught:
        verify_file(tmp_path / "audit.zip", checkpoints=[held(shop, kept)])
    assert (caught.value.level, caught.value.evidence["note"]) == ("history", kept)


def test_older_checkpoint(shop: Shop, tmp_path: Path) -> None:
    """A checkpoint older than the entry says nothing of it, and the report says from where on it says nothing."""
    older = shop.ledger.checkpoint()
    shop.sign_up("anna@example.dk")
    forge(shop, widen)
    with shop.ledger._store.read() as view:
        report = verify_view(view, shop.ledger.origin, checkpoints=[held(shop, older)])
        assert report.root == frontier_root(view.head().frontier)
    assert report.level == "content"
    assert "history: the entries from 1 on are newer than the checkpoints that were held" in report.not_checked
    assert key(shop).name == report.origin
