"""The benchmark script itself: that it runs, never how fast."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path

import pytest


def test_quick_run_prints_every_figure() -> None:
    """`run.py --quick --json` ends well, says nothing on the side and gives every figure."""
    script = Path(__file__).with_name("run.py")
    done = subprocess.run([sys.executable, script, "--quick", "--json"], check=False, text=True, capture_output=True)
    assert (done.returncode, done.stderr) == (0, "")
    rows = [json.loads(line) for line in done.stdout.splitlines()]
    subjects = [row["name"].replace(":", ",").partition(",")[0] for row in rows]
    assert subjects == [
        "single durable append",
        "batches of 1",
        "batches of 1",
        "batches of 1",
        "judge from a fold",
        "check",
        "check",
        "export",
        "history of the ledger on one core",
        "history of the ledger on two cores",
        "history of the export on one core",
        "history of the export on two cores",
        "receipts",
        "receipts",
        "checkpoint of 61 entries",
        "history by the one-file verifier",
        "memory of verify",
        "memory of export",
        "memory of verify the export",
        "meaning",
        "import consentlib",
    ]
    assert all(row["value"] for row in rows)


@pytest.mark.slow
def test_quick_run_on_postgres_prints_every_figure() -> None:
    """`postgres.py --quick --json` ends well on a server of its own, says nothing on the side and gives every figure."""
    script = Path(__file__).with_name("postgres.py")
    done = subprocess.run([sys.executable, script, "--quick", "--json"], check=False, text=True, capture_output=True)
    assert (done.returncode, done.stderr) == (0, "")
    rows = [json.loads(line) for line in done.stdout.splitlines()]
    assert [row["name"].partition(",")[0] for row in rows] == [
        "check",
        "batches of 100: entries",
        "batches of 100: events",
        "8 writers",
        "8 writers",
        "8 writers",
    ]
