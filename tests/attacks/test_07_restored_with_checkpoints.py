"""Attack 7: the database is restored together with its checkpoint store. Only what an auditor kept elsewhere tells."""

from pathlib import Path

import pytest

from consentlib.audit.verify import verify_file
from consentlib.errors import VerificationError
from forger import held, key, reopen, restore, save
from shop import Shop


@pytest.mark.parametrize("grown", [False, True])
def test_restored_together(tmp_path: Path, grown: bool) -> None:
    """The shop can't see it and signs; a checkpoint that somebody else holds contradicts it (`_Checkpoints`, log/verify.py)."""
    folder = tmp_path / "checkpoints"
    shop = Shop(f"sqlite:///{tmp_path}/shop.db", checkpoints=folder)
    shop.sign_up("anna@example.dk")
    backup = save(shop, folder)
    reopen(shop, checkpoints=folder)
    shop.ledger.withdraw("anna@example.dk")
    kept = shop.ledger.checkpoint()
    restore(shop, backup, folder)
    reopen(shop, checkpoints=folder)
    if grown:
        shop.sign_up("bo@example.dk")
        shop.sign_up("carl@example.dk")
    assert shop.newsletter("anna@example.dk")
    shop.ledger.verify()
    shop.ledger.export(tmp_path / "audit.zip")
    assert verify_file(tmp_path / "audit.zip", verifiers=[key(shop)]).level == "signature"
    match = "have the root that was signed" if grown else "expected at least `5` entries"
    with pytest.raises(VerificationError, match=match) as caught:
        verify_file(tmp_path / "audit.zip", verifiers=[key(shop)], checkpoints=[held(shop, kept)])
    assert (caught.value.level, caught.value.evidence["note"]) == ("history", kept)
    with pytest.raises(VerificationError, match=match) as caught:
        shop.ledger.verify(checkpoints=[kept])
    assert (caught.value.level, caught.value.evidence["note"]) == ("history", kept)
    assert shop.newsletter("anna@example.dk").reason == "ledger_unverified"
    shop.ledger.close()
