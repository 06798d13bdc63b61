"""`recover` and `journal` on the command line."""

from __future__ import annotations

import json
import shutil
from pathlib import Path

import pytest
from cli_words import CONFIRMED, SIGNED_UP, Run

from consentlib import Ledger


@pytest.fixture
def restored(run: Run, url: str, tmp_path: Path) -> str:
    """A ledger restored to before Anna's withdrawal."""
    path = tmp_path / "events.jsonl"
    path.write_text("\n".join(json.dumps(one) for one in (SIGNED_UP, CONFIRMED)))
    assert run("record", url, path).exit_code == 0
    for name in ("shop.db", "shop.db.keys"):
        shutil.copy(tmp_path / name, tmp_path / f"backup-{name}")
    assert run("stop", url, "anna@example.dk").exit_code == 0
    shutil.copy(tmp_path / "backup-shop.db", tmp_path / "shop.db")
    return url


def test_recover(run: Run, restored: str, tmp_path: Path) -> None:
    """The new ledger has the stop; the words say what was done, JSON gives the same in figures."""
    new = f"sqlite:///{tmp_path / 'new.db'}"
    assert run("doctor", restored).exit_code == 1
    result = run("recover", restored, new, "--by", "ops", "--reason", "disk-failure")
    assert result.exit_code == 0, result.stderr
    assert "log `littlesteps/consent-2` goes on from 3 entries" in result.stdout
    assert "2 stops and 0 erasures since the backup recorded again" in result.stdout
    assert run("check", new, "anna@example.dk", "--use", "newsletter", "--marketing").exit_code == 1
    assert run("doctor", new).exit_code == 0
    assert run("verify", new).exit_code == 10
    taken = run("recover", restored, f"sqlite:///{tmp_path / 'more.db'}", "--by", "ops", "--reason", "x")
    assert (taken.exit_code, (tmp_path / "more.db").exists()) == (3, False)
    assert "expected no checkpoint of a log `littlesteps/consent-2`" in taken.stderr
    again = run(
        "recover", restored, f"sqlite:///{tmp_path / 'more.db'}", "--by", "ops", "--reason", "x", "--json", "--origin", "a"
    )
    assert json.loads(again.stdout) == {
        "origin": "a",
        "entries": 3,
        "stops": 2,
        "erasures": 0,
        "journal": True,
    }


def test_recover_without_a_journal(run: Run, restored: str, tmp_path: Path) -> None:
    """A missing journal is one line that says what to do; doing without it is said too."""
    with Ledger.open(restored) as ledger:
        kept = ledger._notary.checkpoints
    (kept.folder / "stops").unlink()  # type: ignore[attr-defined]
    new = f"sqlite:///{tmp_path / 'new.db'}"
    result = run("recover", restored, new, "--by", "ops", "--reason", "x")
    assert result.exit_code == 3
    assert result.stderr.count("\n") == 1
    assert "recover without it" in result.stderr
    result = run("recover", restored, new, "--by", "ops", "--reason", "x", "--without-journal")
    assert result.exit_code == 0
    assert "until the person agrees anew" in result.stderr


def test_journal(run: Run, url: str) -> None:
    """How many lines there are, and since when; old ones go, and not before they are in the log."""
    assert "0 lines; 0 not known" in run("journal", url).stdout
    run("stop", url, "anna@example.dk")
    found = json.loads(run("journal", url, "--json").stdout)
    assert (found["lines"], found["waiting"], found["pruned"]) == (2, 0, 0)
    assert run("journal", url, "--prune-days", "1").stdout.endswith("0 lines taken out\n")
    assert "anna" not in run("journal", url).stdout
