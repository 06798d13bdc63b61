"""Attack 8: a part is wiped without an erasure entry, or an erasure is denied afterwards. Level *content* catches both."""

from pathlib import Path

import pytest

from consentlib.audit.verify import verify_file
from consentlib.errors import VerificationError
from shop import Shop, rewrite


@pytest.mark.parametrize(
    "theft",
    [
        "UPDATE consentlib_parts SET salt = NULL, data = NULL WHERE idx = 1 AND name = 'person'",
        "DELETE FROM consentlib_parts WHERE idx = 1 AND name = 'person'",
    ],
)
def test_wiped(shop: Shop, theft: str) -> None:
    """A part that is gone without a record of its erasure is tampering; the leaf that commits to it shows it."""
    shop.sign_up("anna@example.dk")
    shop.steal(theft)
    with pytest.raises(VerificationError, match="record of its erasure") as caught:
        shop.ledger.verify()
    assert (caught.value.level, caught.value.index) == ("content", 1)
    assert b"\nperson " in caught.value.evidence["leaf"]


def test_wiped_policy(shop: Shop) -> None:
    """A policy can never be erased, whatever an entry says."""
    shop.steal("UPDATE consentlib_parts SET salt = NULL, data = NULL WHERE idx = 0 AND name = 'policy'")
    with pytest.raises(VerificationError, match="never be erased") as caught:
        shop.ledger.verify()
    assert (caught.value.level, caught.value.index) == ("content", 0)


def test_denied(shop: Shop, tmp_path: Path) -> None:
    """Erased, then put back: the record of the erasure contradicts the part that is there, and names it."""
    shop.sign_up("anna@example.dk")
    [(salt, data)] = shop.look("SELECT salt, data FROM consentlib_parts WHERE idx = 1 AND name = 'person'")
    erased = shop.ledger.erase("anna@example.dk", reason="art17", by="dpo")
    assert shop.ledger.verify().erased == erased.parts
    shop.steal("UPDATE consentlib_parts SET salt = ?, data = ? WHERE idx = 1 AND name = 'person'", values=(salt, data))
    with pytest.raises(VerificationError, match="gone as recorded") as caught:
        shop.ledger.verify()
    assert (caught.value.level, caught.value.index) == ("content", erased.index)
    assert b"part.erased" in caught.value.evidence["leaf"]


def test_export(shop: Shop, tmp_path: Path) -> None:
    """A part replaced by null in the exported file, as if it had been erased, is found."""
    shop.sign_up("anna@example.dk")
    shop.ledger.export(tmp_path / "audit.zip")

    def wipe(lines: list) -> None:
        lines[1]["parts"]["facts"] = None

    with pytest.raises(VerificationError, match="record of its erasure") as caught:
        verify_file(rewrite(tmp_path / "audit.zip", tmp_path / "wiped.zip", wipe))
    assert (caught.value.level, caught.value.index) == ("content", 1)
    assert caught.value.evidence["part"] is None
