"""The command line on a sealed ledger: beginning it, its vault, verifying without one, and letting go of what remains."""

import json
import shutil
import sqlite3
from contextlib import closing
from pathlib import Path

import pytest
from cli_words import Run

ANN = "ann@example.dk"


@pytest.fixture
def sealed(run: Run, policy: Path, tmp_path: Path) -> str:
    """A sealed ledger with an inquiry and an objection."""
    url = f"sqlite:///{tmp_path / 'sealed.db'}"
    result = run("init", url, "--policy", policy, "--sealed")
    assert result.exit_code == 0
    assert f"vault in `{tmp_path}/sealed.db.vault`" in result.stdout
    assert run("record", url, "-", input=json.dumps({"type": "inquiry.received", "subject": ANN}) + "\n").exit_code == 0
    assert run("stop", url, "bo@example.dk").exit_code == 0
    return url


def test_commands_find_the_vault(run: Run, sealed: str, tmp_path: Path) -> None:
    """Beside the database, or where `--vault` says; without it the ledger does not open."""
    assert ANN in run("history", sealed, ANN, "--json").stdout
    shutil.move(tmp_path / "sealed.db.vault", tmp_path / "elsewhere")
    missing = run("history", sealed, ANN)
    assert (missing.exit_code, "CONSENTLIB_VAULT" in missing.stderr) == (3, True)
    assert ANN in run("history", sealed, ANN, "--json", "--vault", tmp_path / "elsewhere").stdout
    assert run("verify", sealed, "--vault", tmp_path / "elsewhere").exit_code == 10
    assert run("doctor", sealed, "--vault", tmp_path / "elsewhere").exit_code == 0


def test_verify_without_keys_and_vault(run: Run, sealed: str, tmp_path: Path) -> None:
    """The database alone still verifies, and the report says that its personal parts are withheld."""
    (tmp_path / "sealed.db.keys").unlink()
    (tmp_path / "sealed.db.vault").unlink()
    result = run("verify", sealed, "--json")
    told = json.loads(result.stdout)
    assert (result.exit_code, told["verified"], told["withheld"]) == (10, True, 2)


def test_a_vault_only_where_it_is_sealed(run: Run, policy: Path, tmp_path: Path) -> None:
    """`--vault` without `--sealed` is a mistake, and begins nothing."""
    result = run("init", f"sqlite:///{tmp_path}/x.db", "--policy", policy, "--vault", tmp_path / "v")
    assert (result.exit_code, "--sealed" in result.stderr) == (2, True)
    assert not (tmp_path / "x.db").exists()


def test_doctor_looks_at_the_vault(run: Run, sealed: str, tmp_path: Path) -> None:
    """Its place, mode and keys are told; a vault that others can read is a problem; keys that wait are erased on the way."""

    def finding() -> list[str]:
        checks = json.loads(run("doctor", sealed, "--json").stdout)["checks"]
        [found] = [one for one in checks if one["check"] == "vault"]
        return [found["state"], found["detail"]]

    assert finding() == ["ok", f"`{tmp_path}/sealed.db.vault`, mode 0600, 2 keys"]
    with closing(sqlite3.connect(tmp_path / "sealed.db.vault", isolation_level=None)) as vault:
        vault.execute("INSERT INTO condemned SELECT n, 99, NULL FROM keys WHERE n = 1")
    assert finding()[0] == "ok"
    (tmp_path / "sealed.db.vault").chmod(0o644)
    assert finding()[0] == "problem"


def test_review(run: Run, sealed: str, tmp_path: Path) -> None:
    """What is not due stays; what is due goes, but for stops."""
    for one in (ANN, "bo@example.dk"):
        assert run("erase", sealed, one, "--reason", "art17", "--by", "dpo").exit_code == 0
    nothing = "0 parts of 0 people erased, facts of 2 entries stay for now\n"
    assert run("review", sealed, "--by", "dpo").stdout == f"{nothing}0 rows dropped, 0 that are due stay\n"
    with closing(sqlite3.connect(tmp_path / "sealed.db", isolation_level=None)) as database:
        database.execute("UPDATE consentlib_suppressions SET review_at = 0")
    told = json.loads(run("review", sealed, "--by", "dpo", "--json").stdout)
    assert (told["dropped"], told["kept"]) == (1, 1)
    assert told["finished"] == {"people": 0, "parts": 0, "kept": 2, "pending": False}
    assert run("review", sealed, "--by", "dpo").stdout == f"{nothing}0 rows dropped, 1 that are due stay\n"
    assert run("verify", sealed).exit_code == 10
