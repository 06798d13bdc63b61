"""Attack 2: bytes of a leaf are edited. Level *chain* catches it."""

from base64 import b64decode, b64encode
from pathlib import Path

import pytest

from consentlib.audit.verify import verify_file
from consentlib.errors import VerificationError
from shop import Shop, rewrite


def test_database(shop: Shop) -> None:
    """An edited leaf no longer is what its successor names; both are in the evidence."""
    asked = shop.sign_up("anna@example.dk")
    shop.clock.tick(60)
    shop.sign_up("bo@example.dk")
    edited = "leaf = replace(leaf, 'consent.given', 'consent.taken'), kind = 'consent.taken'"
    shop.steal(f"UPDATE consentlib_entries SET {edited} WHERE idx = {asked.index}")
    with pytest.raises(VerificationError) as caught:
        shop.ledger.verify()
    assert (caught.value.level, caught.value.index) == ("chain", asked.index + 1)
    assert b"consent.taken" in caught.value.evidence["previous_leaf"]


def test_newest_leaf(shop: Shop) -> None:
    """The newest leaf has no successor: the head names it."""
    asked = shop.sign_up("anna@example.dk")
    shop.steal(
        f"UPDATE consentlib_entries SET leaf = replace(leaf, 'consent.conf', 'consent.comf') WHERE idx = {asked.index + 1}"
    )
    shop.steal(f"UPDATE consentlib_entries SET kind = 'consent.comfirmed' WHERE idx = {asked.index + 1}")
    with pytest.raises(VerificationError) as caught:
        shop.ledger.verify()
    assert caught.value.level == "chain"
    assert caught.value.evidence["head"].tip != caught.value.evidence["found"].tip


@pytest.mark.parametrize("column", ["time = time - 1", "kind = 'consent.withdrawn'"])
def test_columns_beside_the_leaf(shop: Shop, column: str) -> None:
    """Time and kind stand beside the leaf for people who look; one that differs from the leaf is found."""
    asked = shop.sign_up("anna@example.dk")
    shop.steal(f"UPDATE consentlib_entries SET {column} WHERE idx = {asked.index}")
    with pytest.raises(VerificationError, match="time and kind") as caught:
        shop.ledger.verify()
    assert (caught.value.index, bool(caught.value.evidence["leaf"])) == (asked.index, True)


def test_export(shop: Shop, tmp_path: Path) -> None:
    """An edited leaf is found in the exported file."""
    shop.sign_up("anna@example.dk")
    shop.ledger.export(tmp_path / "audit.zip")

    def edit(lines: list) -> None:
        lines[1]["leaf"] = b64encode(b64decode(lines[1]["leaf"]).replace(b"given", b"taken")).decode()

    with pytest.raises(VerificationError) as caught:
        verify_file(rewrite(tmp_path / "audit.zip", tmp_path / "edited.zip", edit))
    assert (caught.value.level, caught.value.index) == ("chain", 2)
    assert b"consent.taken" in caught.value.evidence["previous_leaf"]
