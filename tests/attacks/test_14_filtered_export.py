"""Attack 14: an export leaves one person's withdrawal out and is called whole. Chain and root catch it."""

import sys
import zipfile
from base64 import b64decode, b64encode
from pathlib import Path
from subprocess import run

import pytest

from consentlib.audit.verify import verify_file
from consentlib.errors import VerificationError
from consentlib.log.leaf import base64, leaf_hash
from shop import Shop, rewrite


@pytest.fixture
def export(shop: Shop, tmp_path: Path) -> Path:
    """An export with a withdrawal in the middle."""
    shop.sign_up("anna@example.dk")
    shop.ledger.withdraw("anna@example.dk", limited=True)
    shop.sign_up("bo@example.dk")
    shop.ledger.export(tmp_path / "audit.zip")
    return tmp_path / "audit.zip"


def leave_out(lines: list) -> None:
    """Take out the withdrawal."""
    del lines[3]


def renumber(lines: list) -> None:
    """Take it out and give all after it its numbers: in the lines, and with `relink` in the leaves."""
    leave_out(lines)
    for index, line in enumerate(lines):
        line["i"] = index


def relink(lines: list) -> None:
    """Re-chain everything after it as well."""
    renumber(lines)
    previous = b64decode(lines[2]["leaf"])
    for index, line in enumerate(lines[3:], 3):
        rows = b64decode(line["leaf"]).split(b"\n")
        rows[2], rows[3] = b"%d" % index, base64(leaf_hash(previous))
        previous = b"\n".join(rows)
        line["leaf"] = b64encode(previous).decode()


@pytest.mark.parametrize(("change", "level"), [(leave_out, "chain"), (renumber, "chain"), (relink, "content")])
def test_left_out(export: Path, tmp_path: Path, change, level: str) -> None:
    """Left out, renumbered, even re-chained: the index is in the leaf and in each commitment, so nothing fits any more."""
    filtered = rewrite(export, tmp_path / "filtered.zip", change)
    with pytest.raises(VerificationError) as caught:
        verify_file(filtered)
    assert (caught.value.level, caught.value.index) == (level, 3)
    assert caught.value.evidence["leaf"]
    script = Path(__file__).parents[1] / "independent_verify.py"
    assert run([sys.executable, script, filtered], capture_output=True, check=False).returncode != 0


def test_cut(shop: Shop, export: Path, tmp_path: Path) -> None:
    """Cut at the end, the checkpoint beside it tells, also without a key. Without that it verifies as what it is: shorter, with
    another root, and it says that no head was compared."""
    whole = shop.ledger.verify()
    assert verify_file(export).root == whole.root
    cut = rewrite(export, tmp_path / "cut.zip", lambda lines: lines.__delitem__(slice(3, None)))
    with pytest.raises(VerificationError, match="expected at least `7` entries, as signed, found `3`"):
        verify_file(cut)
    with zipfile.ZipFile(cut) as old, zipfile.ZipFile(tmp_path / "bare.zip", "w") as new:
        for name in [one for one in old.namelist() if not one.startswith("checkpoint")]:
            new.writestr(name, old.read(name))
    bare = verify_file(tmp_path / "bare.zip")
    assert (bare.size, bare.root != whole.root) == (3, True)
    assert any(line.startswith("head:") for line in bare.not_checked)


def test_withheld_parts_show(export: Path, tmp_path: Path) -> None:
    """With a part withheld the report says that it is partial."""

    def withhold(lines: list) -> None:
        lines[3]["parts"]["facts"] = "withheld"

    report = verify_file(rewrite(export, tmp_path / "partial.zip", withhold))
    assert report.partial
    assert any("withheld" in line for line in report.not_checked)
    assert not verify_file(export).partial
