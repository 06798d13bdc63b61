"""`consentlib rotate-key` and `key --all`; checkpoints in a second database, on the command line."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path

import pytest
from cli_words import SIGNED_UP, STOPPED, Run

from consentlib.keys import Keys
from consentlib.signing import signer

Lines = Callable[..., Path]


@pytest.fixture
def old(run: Run, url: str, lines: Lines, tmp_path: Path) -> str:
    """The key before, and a checkpoint under it in `kept`."""
    run("record", url, lines(SIGNED_UP, STOPPED))
    run("checkpoint", url, "--output", tmp_path / "kept")
    return run("key", url).stdout.strip()


def test_rotate_key(run: Run, url: str, old: str, tmp_path: Path) -> None:
    """It tells the new key; `key` tells the current one, `--all` each with its entry; who has either key can verify."""
    new = json.loads(run("rotate-key", url, "--json").stdout)["verifier"]
    assert new != old
    assert run("key", url).stdout == f"{new}\n"
    assert run("key", "--all", url).stdout.splitlines() == [f"{old}  from the start", f"{new}  added by entry 3"]
    told = json.loads(run("key", "--all", url, "--json").stdout)
    assert told == {"verifier": new, "all": [{"verifier": old, "added_by": None}, {"verifier": new, "added_by": 3}]}
    audit = tmp_path / "audit.zip"
    run("export", url, audit)
    kept = ["--checkpoint", tmp_path / "kept"]
    for source in (audit, url):
        assert run("verify", source, "--key", old, *kept).exit_code == 0
        assert run("verify", source, "--key", old).exit_code == run("verify", source, "--key", new).exit_code == 10
    found = json.loads(run("verify", audit, "--key", old, "--json").stdout)
    assert (found["level"], found["led_to"]) == ("signature", [new])
    assert f"led on to    {new}" in run("verify", audit, "--key", old).stdout
    assert run("verify", audit, "--key", new, *kept).exit_code == 2
    stranger = signer("littlesteps/consent", bytes(32)).verifier
    assert run("verify", url, "--key", str(stranger)).exit_code == 40
    assert run("report", audit, tmp_path / "report.html", "--key", old, *kept).exit_code == 0


def test_database_without_keys(run: Run, url: str, old: str, tmp_path: Path) -> None:
    """A database without its key file is verified as well, by who was led on."""
    run("rotate-key", url)
    run("checkpoint", url, "--output", tmp_path / "late")
    key_file = Path(f"{url.removeprefix('sqlite:///')}.keys")
    key_file.rename(key_file.with_name("elsewhere"))
    both = ["--checkpoint", tmp_path / "kept", "--checkpoint", tmp_path / "late"]
    assert run("verify", url, "--key", old, *both).exit_code == 0


def test_doctor_sees_an_unfinished_rotation(run: Run, url: str, old: str) -> None:
    """A prepared key that never took over is a warning; finishing it makes it go."""
    path = Path(f"{url.removeprefix('sqlite:///')}.keys")
    Keys.load(path).prepared().replace(path)
    assert "begun and not finished" in run("doctor", url).stdout
    assert run("rotate-key", url).exit_code == 0
    assert "begun and not finished" not in run("doctor", url).stdout


def test_checkpoints_in_a_database(run: Run, policy: Path, tmp_path: Path) -> None:
    """`init` says where, `doctor` warns where it lies beside the ledger; the ledger's own database is refused."""
    url, kept = f"sqlite:///{tmp_path}/a/shop.db", tmp_path / "elsewhere" / "c.db"
    (tmp_path / "a").mkdir()
    begun = run("init", url, "--policy", policy, "--checkpoints", f"sqlite:///{kept}")
    assert f"checkpoints in `{kept}`" in begun.stdout
    looked = run("doctor", url, "--checkpoints", f"sqlite:///{kept}").stdout
    assert f"`{kept}`, outside the database's folder" in looked
    assert "covers 1 entry of 1, signed 0 h ago" in looked
    beside = run("doctor", url, "--checkpoints", f"sqlite:///{tmp_path}/a/c.db").stdout
    assert "with the database: a restore takes back both" in beside
    assert run("checkpoint", url, "--checkpoints", url).exit_code == 2
