"""Attack 10: a part is added that no leaf commits to. Level *content* catches it."""

from pathlib import Path

import pytest

from consentlib.audit.verify import verify_file
from consentlib.errors import VerificationError
from shop import Shop, rewrite


def test_database(shop: Shop) -> None:
    """A part beside the committed ones is found and shown."""
    asked = shop.sign_up("anna@example.dk")
    shop.steal(
        "INSERT INTO consentlib_parts (id, idx, name, salt, data) VALUES (?, ?, 'note', zeroblob(32), 'she said yes')",
        values=(asked.index * 256 + 9, asked.index),
    )
    with pytest.raises(VerificationError, match="only parts that the leaf commits to") as caught:
        shop.ledger.verify()
    assert (caught.value.level, caught.value.index) == ("content", asked.index)
    assert caught.value.evidence["part"] == (bytes(32), b"she said yes")


def test_second_part_of_the_same_name(shop: Shop) -> None:
    """A part that hides behind the name of a committed one is found, whichever of the two comes first."""
    asked = shop.sign_up("anna@example.dk")
    theft = "INSERT INTO consentlib_parts (id, idx, name, salt, data) VALUES (?, ?, 'facts', zeroblob(32), '{}')"
    shop.steal(f"UPDATE consentlib_parts SET id = id + 100 WHERE idx = {asked.index}")
    shop.steal(theft, values=(asked.index * 256, asked.index))
    with pytest.raises(VerificationError) as caught:
        shop.ledger.verify()
    assert (caught.value.level, caught.value.index) == ("content", asked.index)


def test_part_under_another_number(shop: Shop) -> None:
    """A part that people would find under another entry than the one it belongs to is found."""
    shop.sign_up("anna@example.dk")
    shop.sign_up("bo@example.dk")
    shop.steal("UPDATE consentlib_parts SET idx = 3 WHERE idx = 1 AND name = 'person'")
    with pytest.raises(VerificationError) as caught:
        shop.ledger.verify()
    assert (caught.value.level, caught.value.index) == ("content", 1)


def test_export(shop: Shop, tmp_path: Path) -> None:
    """A part added to a line of the exported file is found."""
    shop.sign_up("anna@example.dk")
    shop.ledger.export(tmp_path / "audit.zip")

    def add(lines: list) -> None:
        lines[2]["parts"]["note"] = lines[2]["parts"]["facts"]

    with pytest.raises(VerificationError, match="only parts that the leaf commits to") as caught:
        verify_file(rewrite(tmp_path / "audit.zip", tmp_path / "added.zip", add))
    assert (caught.value.level, caught.value.index) == ("content", 2)
