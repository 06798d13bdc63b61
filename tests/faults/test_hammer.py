"""The hammer: many processes at one ledger, and one line where something does not hold."""

from __future__ import annotations

import sqlite3
import subprocess
import sys
from contextlib import closing
from pathlib import Path

import pytest
from lives import begin

from consentlib.errors import VerificationError
from consentlib.testing import hammer as program
from consentlib.testing.hammer import Place


def hammer(*arguments: str) -> subprocess.CompletedProcess[str]:
    """Run the program for a second."""
    command = [sys.executable, "-m", "consentlib.testing.hammer", *arguments, "--seconds", "1"]
    return subprocess.run(command, capture_output=True, text=True, check=False)


def test_sqlite(tmp_path: Path) -> None:
    """Writers and both kinds of readers work on a new ledger at once, and the table has a line for each."""
    done = hammer(f"sqlite:///{tmp_path}/new.db", "--writers", "3", "--checkpoints", str(tmp_path / "aside"))
    assert done.returncode == 0, done.stderr
    lines = done.stdout.splitlines()
    assert [line[:14].strip() for line in lines] == ["", "writer", "full reader", "random reader"]
    assert all(int(line.split()[-5]) > 0 for line in lines[1:])


def test_postgres(postgres_url: str, tmp_path: Path) -> None:
    """The same on PostgreSQL."""
    done = hammer(postgres_url, "--writers", "3", "--keys", str(tmp_path / "keys"), "--checkpoints", str(tmp_path / "aside"))
    assert done.returncode == 0, done.stderr
    assert len(done.stdout.splitlines()) == 4


@pytest.mark.parametrize("readers", [("--readers", "1"), ("--random-readers", "1")])
def test_a_changed_entry_is_found(tmp_path: Path, readers: tuple[str, str]) -> None:
    """Readers of a log that somebody changed meanwhile end it with one line."""
    place = begin(tmp_path / "ledger")
    with closing(sqlite3.connect(place.database, isolation_level=None)) as thief:
        for (name,) in thief.execute("SELECT name FROM sqlite_master WHERE type = 'trigger'").fetchall():
            thief.execute(f"DROP TRIGGER {name}")
        thief.execute("UPDATE consentlib_entries SET leaf = replace(leaf, 'consent.given', 'consent.taken') WHERE idx = 1")
    none = ("--writers", "0", "--readers", "0", "--random-readers", "0")
    url = f"sqlite:///{place.database}"
    done = hammer(url, *none, *readers, "--checkpoints", str(place.checkpoints))
    assert done.returncode == 1
    assert done.stderr.startswith("hammer: ")
    assert done.stderr.count("\n") == 1


def test_an_entry_that_nobody_was_answered_for_is_found(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Entries are counted: one too many is found, though the log verifies."""
    place = begin(tmp_path / "ledger")
    where = Place(f"sqlite:///{place.database}", checkpoints=str(place.checkpoints))
    monkeypatch.setattr(Place, "begin", lambda self: 0)
    with pytest.raises(VerificationError, match="as answered"):
        program.hammer(where, {"writer": 1}, 0.1)
