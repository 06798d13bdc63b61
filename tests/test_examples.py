"""The examples run, and say what they should."""

import os
import subprocess
import sys
from pathlib import Path

import pytest

EXAMPLES = Path(__file__).parent.parent / "examples"
DATA = Path(os.environ.get("CONSENTLIB_DATA", EXAMPLES.parent.parent / "shared" / "data"))


def run(*command: str) -> str:
    """The output of an example that must succeed."""
    done = subprocess.run([sys.executable, *command], capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    return done.stdout


def test_littlesteps() -> None:
    """The shop sends to who confirmed and did not stop, and may still deliver to who stopped."""
    shown = run(str(EXAMPLES / "littlesteps" / "shop.py"))
    assert "'allowed': 1, 'objection_direct_marketing': 1, 'unknown_subject': 1" in shown
    assert "under way" in shown
    assert "verified:" in shown


def test_cdnow() -> None:
    """Real orders carry contract and legal uses, and no marketing at all."""
    path = DATA / "cdnow" / "CDNOW_master.txt"
    if not path.exists():
        pytest.skip("the CDNOW data is not here")
    shown = run(str(EXAMPLES / "cdnow" / "cdnow.py"), str(path), "--customers", "300")
    assert "allowed    300  within_complaint_period" in shown
    assert "allowed    300  within_statutory_period" in shown
    assert "denied     300  no_ground" in shown
