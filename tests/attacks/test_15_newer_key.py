"""Attack 15: the log is truncated or filtered and signed with a newer key (journald, CVE-2023-31437 to -31439).

Level *history* catches both: what an auditor kept contradicts the log, whoever signed it and with whatever key.
"""

import zipfile
from base64 import b64decode
from pathlib import Path

import pytest

from consentlib.audit.verify import verify_file, verify_view
from consentlib.errors import VerificationError
from consentlib.log.checkpoint import Checkpoint
from consentlib.log.merkle import frontier_root
from consentlib.log.note import Verifier, sign_note
from consentlib.signing import sign, signer
from forger import forge, held, key
from shop import Shop, rewrite

NEWER = b"a newer key".ljust(32, b"\0")


def export_under(shop: Shop, target: Path, seed: bytes) -> Verifier:
    """What the holder of the database can make of it: an export of what is there now, signed by a key of the log's name."""
    shop.ledger._writing.mark("history: so that the export is the evidence, unsigned")
    shop.ledger.export(target)
    with shop.ledger._store.read() as view:
        head = view.head()
        assert verify_view(view, shop.ledger.origin).size == head.size
    new = signer(shop.ledger.origin, seed)
    note = sign_note(Checkpoint(new.name, head.size, frontier_root(head.frontier)).text(), [new], sign)
    with zipfile.ZipFile(target, "a") as archive:
        archive.writestr("checkpoint", note)
    return new.verifier


@pytest.mark.parametrize("grown", [0, 1])
@pytest.mark.parametrize("newer", [True, False])
def test_truncated(shop: Shop, tmp_path: Path, grown: int, newer: bool) -> None:
    """Cut, perhaps grown, and signed: fine under that key; refused by `_Checkpoints` (log/verify.py) for what is held."""
    shop.sign_up("anna@example.dk")
    shop.ledger.withdraw("anna@example.dk", limited=True)
    kept = shop.ledger.checkpoint()
    forge(shop, lambda entries: entries.__delitem__(-1))
    if grown:
        shop.ledger.withdraw("bo@example.dk", limited=True)
    seed = NEWER if newer else shop.ledger._keys.signing
    told = export_under(shop, tmp_path / "audit.zip", seed)
    assert verify_file(tmp_path / "audit.zip", verifiers=[told]).level == "signature"
    if newer:
        with pytest.raises(VerificationError, match="by a known key") as caught:
            verify_file(tmp_path / "audit.zip", verifiers=[key(shop)])
        assert caught.value.level == "signature"
    with pytest.raises(VerificationError) as caught:
        verify_file(tmp_path / "audit.zip", verifiers=[told], checkpoints=[held(shop, kept)])
    assert (caught.value.level, caught.value.evidence["note"]) == ("history", kept)
    assert caught.value.evidence["root"] != held(shop, kept).root


def test_filtered_view(shop: Shop, tmp_path: Path) -> None:
    """One person's entries hidden, the rest re-chained and signed by the log's own key: refused for what an auditor holds."""
    shop.sign_up("anna@example.dk")
    shop.ledger.withdraw("anna@example.dk", limited=True)
    shop.sign_up("bo@example.dk")
    kept = shop.ledger.checkpoint()
    forge(shop, lambda entries: entries.__delitem__(slice(1, 4)))
    told = export_under(shop, tmp_path / "audit.zip", shop.ledger._keys.signing)
    assert verify_file(tmp_path / "audit.zip", verifiers=[told]).size == 4  # with that of the export
    with pytest.raises(VerificationError, match="at least `6` entries") as caught:
        verify_file(tmp_path / "audit.zip", verifiers=[told], checkpoints=[held(shop, kept)])
    assert (caught.value.level, caught.value.evidence["note"]) == ("history", kept)


def test_hidden_in_a_signed_file(shop: Shop, tmp_path: Path) -> None:
    """An entry left out of the signed file breaks its chain (`verify_entries`), at the entry that came after it."""
    shop.sign_up("anna@example.dk")
    shop.ledger.withdraw("anna@example.dk", limited=True)
    shop.ledger.withdraw("bo@example.dk", limited=True)
    shop.ledger.export(tmp_path / "audit.zip")
    shown: list[dict] = []

    def hide(lines: list) -> None:
        del lines[3]
        shown.extend(lines)

    with pytest.raises(VerificationError) as caught:
        verify_file(rewrite(tmp_path / "audit.zip", tmp_path / "hidden.zip", hide), verifiers=[key(shop)])
    assert (caught.value.level, caught.value.index) == ("chain", 3)
    assert caught.value.evidence["leaf"] == b64decode(shown[3]["leaf"])
