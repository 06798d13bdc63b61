"""The verifier that imports nothing of ours reaches the same verdict on the same export."""

import subprocess
import sys
from base64 import b64encode
from pathlib import Path
from zipfile import ZipFile

import pytest
from small_log import opened, plain, with_erasure, without

from consentlib.errors import VerificationError
from consentlib.log import WITHHELD, Entry, format_line, verify_entries

SCRIPT = Path(__file__).parents[1] / "independent_verify.py"


def run(entries: list[Entry], folder: Path) -> "subprocess.CompletedProcess[str]":
    """The script's run over an export of the entries."""
    with ZipFile(folder / "export.zip", "w") as export:
        export.writestr("log.ndjson", b"".join(map(format_line, entries)))
    command = [sys.executable, "-I", str(SCRIPT), str(folder / "export.zip")]
    return subprocess.run(command, capture_output=True, text=True, check=False)


@pytest.mark.parametrize("entries", [[], plain(1), plain(7), with_erasure()], ids=["empty", "one", "seven", "erased"])
def test_same_root(entries: list[Entry], tmp_path: Path) -> None:
    """It prints the size and the root that we compute."""
    report, found = verify_entries(entries), run(entries, tmp_path)
    assert (found.returncode, found.stdout) == (0, f"{report.size} {b64encode(report.root).decode()}\n"), found.stderr


def broken_logs() -> dict[str, list[Entry]]:
    """A log for each kind of break."""
    whole, erased = plain(3), with_erasure()
    salt, data = bytes(32), b"{}"
    both = {name: opened(1, name) for name in ("facts", "person")}
    return {
        "edited part": [whole[0]._replace(parts={**whole[0].parts, "facts": (salt, data)}), *whole[1:]],
        "cut in the middle": [whole[0], whole[2]],
        "wiped": [without(whole[0], "person"), *whole[1:]],
        "erased and there": [erased[0], erased[1]._replace(parts=both), *erased[2:]],
        "uncommitted": [whole[0]._replace(parts={**whole[0].parts, "person.2": (salt, data)}), *whole[1:]],
        "renamed": [whole[0]._replace(parts={"facts": whole[0].parts["person"]}), *whole[1:]],
        "policy erased": [without(erased[0], "facts"), *erased[1:]],
        "erasure withheld": [*erased[:3], erased[3]._replace(parts={"facts": WITHHELD}), erased[4]],
    }


@pytest.mark.parametrize("entries", broken_logs().values(), ids=broken_logs())
def test_same_refusal(entries: list[Entry], tmp_path: Path) -> None:
    """It exits with 1 and prints no root where we refuse."""
    found = run(entries, tmp_path)
    assert (found.returncode, found.stdout) == (1, "")
    with pytest.raises(VerificationError):
        verify_entries(entries)
