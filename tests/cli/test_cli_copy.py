"""`copy` on the command line."""

from __future__ import annotations

import json
from pathlib import Path

from cli_words import CONFIRMED, SIGNED_UP, Run


def test_copy_and_catch_up(run: Run, url: str, tmp_path: Path) -> None:
    """The copy answers and verifies as the old one; words and JSON say how much was carried, each time."""
    path = tmp_path / "events.jsonl"
    path.write_text("\n".join(json.dumps(one) for one in (SIGNED_UP, CONFIRMED)))
    assert run("record", url, path).exit_code == 0
    new = f"sqlite:///{tmp_path / 'new.db'}"
    result = run("copy", url, new)
    assert result.exit_code == 0, result.stderr
    assert "log `littlesteps/consent`: 3 entries carried, 3 in all, verified" in result.stdout
    assert "stopped, copy once more" in result.stdout
    assert run("stop", url, "anna@example.dk").exit_code == 0
    again = json.loads(run("copy", url, new, "--json").stdout)
    assert (again["entries"], again["carried"], again["pending"]) == (5, 2, False)
    assert again["root"] == json.loads(run("verify", new, "--json").stdout)["root"]
    assert run("check", new, "anna@example.dk", "--use", "newsletter", "--marketing").exit_code == 1
    assert run("doctor", new).exit_code == 0
    assert run("verify", new).exit_code == 10
    assert (tmp_path / "new.db.keys").stat().st_mode & 0o777 == 0o600


def test_copy_over_another_ledger(run: Run, url: str, policy: Path, tmp_path: Path) -> None:
    """Another ledger in the new place is one line on standard error and stays as it is; so is the same place."""
    other = f"sqlite:///{tmp_path / 'other.db'}"
    assert run("init", other, "--policy", policy, "--origin", "other/consent").exit_code == 0
    refused = run("copy", url, other)
    assert (refused.exit_code, refused.stderr.count("\n")) == (3, 1)
    assert run("verify", other).exit_code == 10
    assert run("copy", url, url).exit_code == 2
