"""Attack 13: an export is unsigned, or signed by another key or for another log, and shown as signed. Level *signature*."""

import zipfile
from collections.abc import Callable
from pathlib import Path

import pytest

from consentlib.audit.verify import verify_file
from consentlib.errors import VerificationError
from consentlib.log.checkpoint import Checkpoint
from consentlib.log.note import sign_note
from consentlib.signing import sign, signer
from forger import held, key
from shop import Shop

SEED = b"somebody else's".ljust(32, b"\0")


@pytest.fixture
def export(shop: Shop, tmp_path: Path) -> Path:
    """A signed export."""
    shop.sign_up("anna@example.dk")
    shop.ledger.export(tmp_path / "audit.zip")
    assert verify_file(tmp_path / "audit.zip", verifiers=[key(shop)]).level == "signature"
    return tmp_path / "audit.zip"


def resign(export: Path, change: Callable[[bytes], bytes | None]) -> Path:
    """The export with another checkpoint, or none."""
    target = export.with_name("changed.zip")
    with zipfile.ZipFile(export) as old, zipfile.ZipFile(target, "w") as new:
        for name in old.namelist():
            data = change(old.read(name)) if name == "checkpoint" else old.read(name)
            if data is not None:
                new.writestr(name, data)
    return target


def test_unsigned(shop: Shop, export: Path) -> None:
    """Without its checkpoint it passes under no key, and without a key it says what it is (`_shipped`, audit/verify.py)."""
    bare = resign(export, lambda note: None)
    with pytest.raises(VerificationError, match="without a checkpoint") as caught:
        verify_file(bare, verifiers=[key(shop)])
    assert caught.value.level == "signature"
    report = verify_file(bare)
    assert (report.level, report.signed_size) == ("content", None)
    assert any(line.startswith("signature:") for line in report.not_checked)


def test_another_key(shop: Shop, export: Path) -> None:
    """Signed in the log's name by a key the auditor was not told: its signature is nobody's (`open_note`, log/note.py)."""

    def forge(note: bytes) -> bytes:
        return sign_note(held(shop, note).text(), [signer(shop.ledger.origin, SEED)], sign)

    with pytest.raises(VerificationError, match="by a known key, found none") as caught:
        verify_file(resign(export, forge), verifiers=[key(shop)])
    assert caught.value.level == "signature"
    assert shop.ledger.origin.encode() in caught.value.evidence["note"]


def test_claimed_key(shop: Shop, export: Path) -> None:
    """A signature by another key under the id of the known one fails, and is not passed over (`open_note`, log/note.py)."""

    def forge(note: bytes) -> bytes:
        return note.replace(f"{held(shop, note).size}\n".encode(), b"2\n", 1)

    with pytest.raises(VerificationError, match="found one that fails") as caught:
        verify_file(resign(export, forge), verifiers=[key(shop)])
    assert caught.value.level == "signature"
    assert caught.value.evidence["note"].split(b"\n")[1] == b"2"


def test_another_origin(shop: Shop, export: Path) -> None:
    """A checkpoint of another log, rightly signed for that one, is none of this one (`check_origin`, log/verify.py)."""
    other = signer("other.example/consent", SEED)

    def forge(note: bytes) -> bytes:
        found = held(shop, note)
        return sign_note(Checkpoint(other.name, found.size, found.root).text(), [other], sign)

    moved = resign(export, forge)
    with pytest.raises(VerificationError, match="by a known key, found none"):
        verify_file(moved, verifiers=[key(shop)])
    with pytest.raises(VerificationError, match=f"of `{shop.ledger.origin}`, found one of `{other.name}`") as caught:
        verify_file(moved, verifiers=[key(shop), other.verifier])
    assert (caught.value.level, caught.value.evidence["note"]) == ("signature", forge(shop.ledger.checkpoint()))


def test_key_of_another_log(shop: Shop, export: Path) -> None:
    """A known key signs for the log of its own name alone (`open_checkpoint`, log/checkpoint.py)."""
    other = signer("other.example/consent", SEED)
    crossed = resign(export, lambda note: sign_note(held(shop, note).text(), [other], sign))
    with pytest.raises(VerificationError, match="found only those of others") as caught:
        verify_file(crossed, verifiers=[key(shop), other.verifier])
    assert caught.value.level == "signature"


def test_part_of_the_log(shop: Shop, export: Path) -> None:
    """An earlier checkpoint of the same key, over the beginning alone, does not sign the rest (`check_end`, log/verify.py)."""
    early = shop.ledger._notary.checkpoints.history()[0]
    with pytest.raises(VerificationError, match="covers all `4` entries, found one of `1`") as caught:
        verify_file(resign(export, lambda note: early), verifiers=[key(shop)])
    assert (caught.value.level, caught.value.evidence["note"]) == ("signature", early)
