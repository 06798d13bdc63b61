"""`consentlib demo`, with few customers."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
from cli_words import Run

FEW = 60


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("demo") / "shop"


@pytest.fixture(scope="module")
def told(folder: Path) -> str:
    from click.testing import CliRunner

    from consentlib.cli import main

    result = CliRunner().invoke(main, ["demo", "--folder", str(folder), "--customers", str(FEW)])
    assert (result.exit_code, result.stderr) == (0, "")
    return result.stdout


def test_the_demo_tells_the_whole_story(told: str, folder: Path) -> None:
    """A year, a newsletter with reasons, refusals in two languages, a delivery, a proof, a receipt and three forgeries."""
    for said in (
        f"{FEW + 10} customers",
        "unsubscribed by mail client",
        "consent_unconfirmed",
        "anna.holm@mail.example: objection_direct_marketing",
        "clara.lund@mail.example: minor_without_parent",
        "GDPR 21(2)",
        "Du har gjort indsigelse",
        "allowed: contract_open, ground contract",
        "campaign_winner",
        "verified at level history",
        "consent.withdrawn` of",
        "caught at level content",
        "entries are append-only",
        "caught at level chain",
        "ledger_unverified",
        "it verifies at level signature",
        "caught at level history",
        f"All files are in {folder}",
    ):
        assert said in told, said
    assert {path.name for path in folder.iterdir()} >= {"shop.db", "shop.db.keys", "littlesteps.toml", "audit.zip"}


def test_what_the_demo_leaves_can_be_used(run: Run, told: str, folder: Path) -> None:
    """The ledger is healthy and verifies, its forgeries do not, and the last lines' commands work."""
    url = f"sqlite:///{folder / 'shop.db'}"
    commands = [line.split("   ")[0].split()[1:] for line in told.splitlines() if line.startswith("  consentlib ")]
    assert [run(*command).exit_code for command in commands] == [0, 0, 0, 0, 30, 0, 0, 0]
    aside = ("--checkpoints", folder / "elsewhere")
    assert run("verify", url, *aside).exit_code == 10
    assert run("verify", url, *aside, "--checkpoint", folder / "auditor.checkpoint").exit_code == 0
    assert run("verify", folder / "audit.zip").exit_code == 10
    assert run("verify", f"sqlite:///{folder / 'forged.db'}", "--keys", folder / "shop.db.keys", *aside).exit_code == 40


def test_the_demo_is_the_same_each_time(run: Run, tmp_path: Path) -> None:
    """Two runs count the same; --json tells all of it in one object; a folder that holds a demo is refused."""
    first, second = (json.loads(run("demo", "--folder", tmp_path / name, "--customers", FEW, "--json").stdout) for name in "ab")
    for part in ("year", "newsletter", "others", "forged_export", "forged_database", "rewritten_log", "receipt"):
        assert first[part] == second[part]
    assert first["report"]["size"] == second["report"]["size"]
    assert first["newsletter"]["allowed"] > 5
    assert [one["reason"] for one in first["refused"].values()] == [
        "objection_direct_marketing",
        "consent_unconfirmed",
        "minor_without_parent",
    ]
    assert first["delivery"]["reason"] == "contract_open"
    assert run("demo", "--folder", tmp_path / "a", "--customers", FEW).exit_code == 3


def test_every_address_of_the_demo_is_under_an_example_domain(told: str, folder: Path) -> None:
    """Nobody real is named: all addresses are under `.example` or `example.org`."""
    from datetime import date

    from consentlib.cli.shop_year import write_year

    people = write_year(300, today=date(2026, 11, 22)).customers
    assert len(set(people)) == 310
    assert {address.rpartition("@")[2] for address in people} == {
        "mail.example",
        "post.example",
        "inbox.example",
        "example.org",
    }
