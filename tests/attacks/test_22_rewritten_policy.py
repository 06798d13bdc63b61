"""Attack 22: the policies beside an export's log, where people read what was agreed to, are rewritten or not there. Level
*content*."""

import sys
import zipfile
from pathlib import Path
from subprocess import run

import pytest

from consentlib.audit.verify import verify_file
from consentlib.errors import FormatError, VerificationError
from forger import export_policies, held, key
from shop import Shop

SCRIPT = Path(__file__).parents[2] / "src/consentlib/audit/standalone/verify.py"


def test_policies_beside_the_log(shop: Shop, tmp_path: Path) -> None:
    """Each differs from the log that verifies beside it (`_check_policies`, audit/verify.py): at no level, by no verifier."""
    note = shop.ledger.checkpoint()
    (tmp_path / "kept").write_bytes(note)
    true, forged = export_policies(shop, tmp_path)
    arguments = ["--key", str(key(shop)), "--checkpoint", str(tmp_path / "kept")]
    assert verify_file(true, verifiers=[key(shop)], checkpoints=[held(shop, note)], processes=2).level == "history"
    assert run([sys.executable, SCRIPT, true, *arguments], capture_output=True, check=False).returncode == 0
    for path in forged:
        for verifiers, processes in (([], 1), ([key(shop)], 2)):
            with pytest.raises((VerificationError, FormatError), match="polic"):
                verify_file(path, verifiers=verifiers, processes=processes)
        for given in ([], arguments):
            found = run([sys.executable, SCRIPT, path, *given], capture_output=True, text=True, check=False)
            assert (found.returncode, found.stdout.count("\n"), found.stdout[:9]) == (40, 1, "INVALID: "), path.name
            assert found.stdout[:-1].isprintable()
            assert "polic" in found.stdout.lower()


def test_named_in_the_message(shop: Shop, tmp_path: Path) -> None:
    """The line says which file it is, however its name was chosen."""
    _, forged = export_policies(shop, tmp_path)
    names = {"_rewritten": "`policy/0.json`", "_taken_out": "`policy/1.json`", "_of_no_such_entry": "'policy/2.json'"}
    for path in forged:
        with pytest.raises((VerificationError, FormatError)) as caught:
            verify_file(path)
        assert names.get(path.stem, "") in str(caught.value)
        assert str(caught.value).isprintable()


def test_a_folder_is_no_file(shop: Shop, tmp_path: Path) -> None:
    """Packed anew with an entry for the folder itself, an export is still whole."""
    true, _ = export_policies(shop, tmp_path)
    with zipfile.ZipFile(true, "a") as archive:
        archive.writestr("policy/", b"")
    assert verify_file(true).level == "content"
    assert run([sys.executable, SCRIPT, true], capture_output=True, check=False).returncode == 10
