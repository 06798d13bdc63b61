"""Attack 5: the tail is cut, or cut and grown past the signed size. Level *history* catches both, and nothing is signed."""

from pathlib import Path

import pytest

from consentlib.audit.verify import verify_file, verify_view
from consentlib.errors import VerificationError
from forger import forge, held, reopen
from shop import Shop


@pytest.fixture
def kept(shop: Shop) -> bytes:
    """What an auditor keeps of a log whose last entry is a withdrawal, which is then cut off."""
    shop.sign_up("anna@example.dk")
    shop.ledger.withdraw("anna@example.dk", limited=True)
    kept = shop.ledger.checkpoint()
    forge(shop, lambda entries: entries.__delitem__(-1))
    return kept


def refused(shop: Shop, kept: bytes, match: str) -> VerificationError:
    """The error of the signer, which has kept its checkpoint as it was; `verify` gives the same."""
    for act in (shop.ledger.verify, shop.ledger.checkpoint):
        with pytest.raises(VerificationError, match=match) as caught:
            act()
        assert (caught.value.level, caught.value.evidence["checkpoint"]) == ("history", kept)
    assert shop.ledger._notary.checkpoints.read() == kept
    return caught.value


def test_cut(shop: Shop, kept: bytes, tmp_path: Path) -> None:
    """Behind the signed size: the first comparison of `check_extends` (checkpoints.py), and `check_end` (log/verify.py)."""
    with shop.ledger._store.read() as view:
        assert verify_view(view, shop.ledger.origin).size == 3
        tip = view.head().tip
    assert refused(shop, kept, "expected at least 4 entries, as signed, found 3").evidence["tip"] == tip
    reopen(shop)
    assert shop.newsletter("anna@example.dk").reason == "ledger_unverified"
    with shop.ledger._store.read() as view, pytest.raises(VerificationError, match="at least `4` entries") as caught:
        verify_view(view, shop.ledger.origin, checkpoints=[held(shop, kept)])
    assert (caught.value.level, caught.value.evidence["note"]) == ("history", kept)
    shop.ledger.export(tmp_path / "audit.zip")  # grows by its own entry
    with pytest.raises(VerificationError, match="have the root that was signed") as caught:
        verify_file(tmp_path / "audit.zip", checkpoints=[held(shop, kept)])
    assert (caught.value.level, caught.value.evidence["note"]) == ("history", kept)


def test_cut_and_grown(shop: Shop, kept: bytes, tmp_path: Path) -> None:
    """Grown past it by honest entries: the root at the signed size is another (`check_extends`, and `compare` there)."""
    shop.sign_up("bo@example.dk")
    with shop.ledger._store.read() as view:
        assert verify_view(view, shop.ledger.origin).size == 5
    assert refused(shop, kept, "root signed for the first 4 entries").evidence["root"] != held(shop, kept).root
    reopen(shop)
    assert shop.newsletter("bo@example.dk").reason == "ledger_unverified"
    shop.ledger.export(tmp_path / "audit.zip")
    with pytest.raises(VerificationError, match="have the root that was signed") as caught:
        verify_file(tmp_path / "audit.zip", checkpoints=[held(shop, kept)])
    assert (caught.value.level, caught.value.evidence["note"]) == ("history", kept)


def test_export_of_an_open_ledger(shop: Shop, kept: bytes, tmp_path: Path) -> None:
    """Cut under a running shop: the export is refused and marks the ledger; then it is evidence, and says it is unsigned."""
    with pytest.raises(VerificationError) as caught:
        shop.ledger.export(tmp_path / "audit.zip")
    assert (caught.value.level, caught.value.evidence["checkpoint"]) == ("history", kept)
    assert not (tmp_path / "audit.zip").exists()
    assert shop.newsletter("anna@example.dk").reason == "ledger_unverified"
    assert shop.ledger.export(tmp_path / "audit.zip") == 5  # the three that are left, and each export
