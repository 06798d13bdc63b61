"""Attack 9: two people's parts are swapped, or a part moves to another index or name. Level *content* catches it."""

from pathlib import Path

import pytest

from consentlib.audit.verify import verify_file
from consentlib.errors import VerificationError
from consentlib.log.leaf import commitment
from shop import Shop, rewrite


def swap(shop: Shop, one: tuple[int, str], other: tuple[int, str]) -> None:
    """Put the part of each place into the other, salt and all."""
    [first, second] = [
        shop.look("SELECT salt, data FROM consentlib_parts WHERE idx = ? AND name = ?", *place)[0] for place in (one, other)
    ]
    for (index, name), part in ((one, second), (other, first)):
        shop.steal(f"UPDATE consentlib_parts SET salt = ?, data = ? WHERE idx = {index} AND name = '{name}'", values=part)


@pytest.mark.parametrize(
    ("one", "other"),
    [((1, "person"), (3, "person")), ((1, "facts"), (2, "facts")), ((1, "facts"), (1, "person"))],
    ids=["two people", "two indices", "two names"],
)
def test_swapped(shop: Shop, one: tuple[int, str], other: tuple[int, str]) -> None:
    """Each part still has its own salt and bytes, but a commitment holds for one index and one name."""
    shop.sign_up("anna@example.dk")
    shop.sign_up("bo@example.dk")
    swap(shop, one, other)
    with pytest.raises(VerificationError, match="open its commitment") as caught:
        shop.ledger.verify()
    assert (caught.value.level, caught.value.index) == ("content", 1)
    salt, data = caught.value.evidence["part"]
    assert any(commitment(*place, salt, data) for place in (one, other))
    swap(shop, one, other)
    shop.ledger.verify()


def test_export(shop: Shop, tmp_path: Path) -> None:
    """Two people's parts swapped in the exported file are found."""
    shop.sign_up("anna@example.dk")
    shop.sign_up("bo@example.dk")
    shop.ledger.export(tmp_path / "audit.zip")

    def exchange(lines: list) -> None:
        lines[1]["parts"], lines[3]["parts"] = lines[3]["parts"], lines[1]["parts"]

    with pytest.raises(VerificationError) as caught:
        verify_file(rewrite(tmp_path / "audit.zip", tmp_path / "swapped.zip", exchange))
    assert (caught.value.level, caught.value.index) == ("content", 1)
