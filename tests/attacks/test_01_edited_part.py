"""Attack 1: a stored part is edited. Level *content* catches it."""

import json
from base64 import b64decode, b64encode
from pathlib import Path

import pytest

from consentlib.audit.verify import verify_file
from consentlib.errors import VerificationError
from consentlib.log.leaf import commitment, parse_leaf
from shop import Shop, rewrite


def test_database(shop: Shop) -> None:
    """A part edited in the database is found, and the error carries leaf and part, from which anyone sees it."""
    asked = shop.sign_up("anna@example.dk")
    shop.steal(
        "UPDATE consentlib_parts SET data = replace(data, '\"email\"', '\"phone\"') WHERE idx = ? AND name = 'facts'",
        values=(asked.index,),
    )
    with pytest.raises(VerificationError) as caught:
        shop.ledger.verify()
    assert (caught.value.level, caught.value.index) == ("content", asked.index)
    leaf, (salt, data) = caught.value.evidence["leaf"], caught.value.evidence["part"]
    assert b'"phone"' in data
    assert dict(parse_leaf(leaf).parts)["facts"] != commitment(asked.index, "facts", salt, data)


def test_nothing_is_allowed_until_repaired(shop: Shop) -> None:
    """A ledger that did not verify allows nothing, takes stops, and allows again once its bytes are back and verify."""
    shop.sign_up("anna@example.dk")
    shop.steal("UPDATE consentlib_parts SET data = data || ' ' WHERE idx = 1 AND name = 'facts'")
    assert shop.newsletter("anna@example.dk")
    with pytest.raises(VerificationError):
        shop.ledger.verify()
    assert shop.newsletter("anna@example.dk").reason == "ledger_unverified"
    shop.ledger.withdraw("bo@example.dk")
    shop.steal("UPDATE consentlib_parts SET data = rtrim(data) WHERE idx = 1 AND name = 'facts'")
    shop.ledger.verify()
    assert shop.newsletter("anna@example.dk")
    assert not shop.newsletter("bo@example.dk")


def test_export(shop: Shop, tmp_path: Path) -> None:
    """A part edited in the exported file is found without the database."""
    shop.sign_up("anna@example.dk")
    shop.ledger.export(tmp_path / "audit.zip")

    def edit(lines: list) -> None:
        facts = json.loads(b64decode(lines[1]["parts"]["facts"]["data"]))
        data = json.dumps({**facts, "uses": ["survey"]}, sort_keys=True, separators=(",", ":")).encode()
        lines[1]["parts"]["facts"]["data"] = b64encode(data).decode()

    with pytest.raises(VerificationError) as caught:
        verify_file(rewrite(tmp_path / "audit.zip", tmp_path / "edited.zip", edit))
    assert (caught.value.level, caught.value.index) == ("content", 1)
    assert b"survey" in caught.value.evidence["part"][1]
