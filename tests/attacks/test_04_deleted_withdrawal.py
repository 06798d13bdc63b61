"""Attack 4: a withdrawal in the middle is deleted, all after it renumbered and re-chained. Level *history* catches it."""

from pathlib import Path

import pytest

from consentlib.audit.verify import verify_file, verify_view
from consentlib.errors import VerificationError
from consentlib.log import parse_leaf
from forger import forge, held, reopen
from shop import Shop


@pytest.mark.parametrize("grown", [False, True])
def test_deleted(shop: Shop, tmp_path: Path, grown: bool) -> None:
    """Behind the signed size or past it again: `verify`, the signer, the next open and an auditor's checkpoint all tell.

    `check_extends` in checkpoints.py for the ledger's own checkpoint, `_Checkpoints` in log/verify.py for the auditor's.
    """
    shop.sign_up("anna@example.dk")
    gone = shop.ledger.withdraw("anna@example.dk", limited=True)
    shop.sign_up("bo@example.dk")
    kept = shop.ledger.checkpoint()
    if grown:
        shop.sign_up("carl@example.dk")
    size = held(shop, kept).size + 2 * grown
    forge(shop, lambda entries: entries.__delitem__(gone.index))
    with shop.ledger._store.read() as view:
        assert verify_view(view, shop.ledger.origin).size == size - 1
        assert "consent.withdrawn" not in {parse_leaf(entry.leaf).kind for entry in view.entries()}
    for act in (shop.ledger.verify, shop.ledger.checkpoint, lambda: shop.ledger.verify(checkpoints=[kept])):
        with pytest.raises(VerificationError, match=r"as signed|signed for the first|that was signed") as caught:
            act()
        assert caught.value.level == "history"
        assert kept in (caught.value.evidence.get("note"), caught.value.evidence["checkpoint"])
    reopen(shop)
    assert shop.newsletter("bo@example.dk").reason == "ledger_unverified"
    shop.ledger.export(tmp_path / "audit.zip")
    with pytest.raises(VerificationError) as caught:
        verify_file(tmp_path / "audit.zip", checkpoints=[held(shop, kept)])
    assert (caught.value.level, caught.value.evidence["note"]) == ("history", kept)
