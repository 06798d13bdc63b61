"""Attack 18: a withdrawal is dropped: before it is recorded, or with the hour in which it was. The person's receipt tells."""

import json
from pathlib import Path

import pytest

from consentlib.audit.receipt import verify_receipt
from consentlib.audit.verify import verify_file
from consentlib.errors import VerificationError
from consentlib.log import parse_leaf
from consentlib.log.receipt import Proof
from forger import held, key, reopen, restore, save
from shop import Shop

ANN = "anna@example.dk"


def test_dropped_with_the_hour(tmp_path: Path) -> None:
    """The log without it is signed and whole, and its signer's own receipt contradicts it (`_Checkpoints`, log/verify.py)."""
    folder = tmp_path / "checkpoints"
    shop = Shop(f"sqlite:///{tmp_path}/shop.db", checkpoints=folder)
    shop.sign_up(ANN)
    backup = save(shop, folder)
    reopen(shop, checkpoints=folder)
    receipt = shop.ledger.receipt(shop.ledger.withdraw(ANN, limited=True))
    restore(shop, backup, folder)
    reopen(shop, checkpoints=folder)
    for number in range(3):
        shop.ledger.withdraw(f"p{number}@example.dk", limited=True)
    assert shop.newsletter(ANN)
    shop.ledger.export(tmp_path / "audit.zip")
    assert verify_file(tmp_path / "audit.zip", verifiers=[key(shop)]).level == "signature"
    entry = verify_receipt(receipt, [key(shop)])
    assert parse_leaf(entry.leaf).kind == "consent.withdrawn"
    note = Proof.parse(receipt).checkpoint
    with pytest.raises(VerificationError) as caught:
        verify_file(tmp_path / "audit.zip", verifiers=[key(shop)], checkpoints=[held(shop, note)])
    assert (caught.value.level, caught.value.evidence["note"]) == ("history", note)
    shop.ledger.close()


def test_never_recorded(shop: Shop) -> None:
    """Who dropped it has no receipt to give: somebody else's, or of another entry, does not say that this person withdrew."""
    asked = shop.sign_up(ANN)
    other = shop.ledger.withdraw("bo@example.dk", limited=True)
    size = shop.newsletter(ANN).size
    for index in range(size):
        entry = verify_receipt(shop.ledger.receipt(index), [key(shop)])
        person = entry.parts.get("person")
        named = json.loads(person[1]).get("addresses", {}) if isinstance(person, tuple) else {}
        assert not (parse_leaf(entry.leaf).kind == "consent.withdrawn" and f"email:{ANN}" in named.values())
    mine, theirs = (Proof.parse(shop.ledger.receipt(one)) for one in (asked, other))
    with pytest.raises(VerificationError, match="another root") as caught:
        verify_receipt(Proof(theirs.index, mine.hashes, mine.checkpoint, theirs.extra).format(), [key(shop)])
    assert caught.value.level == "proof"
