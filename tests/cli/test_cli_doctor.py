"""`consentlib doctor`."""

from __future__ import annotations

import json
import os
import sqlite3
import time
from pathlib import Path
from typing import Any

import psycopg
import pytest
from cli_words import SEND, Run
from click.testing import Result

from consentlib import Ledger
from consentlib.cli.doctor_postgres import findings
from consentlib.events import OrderPlaced
from consentlib.policy import starter


def sick(result: Result) -> list[str]:
    """The checks that found a problem."""
    assert result.exit_code == 1
    told = json.loads(result.stdout)
    assert told["healthy"] is False
    return [one["check"] for one in told["checks"] if one["state"] == "problem"]


def test_a_fresh_ledger_is_healthy(run: Run, url: str) -> None:
    """Exit 0, every check is listed, and the version of SQLite is told."""
    result = run("doctor", url, "--json")
    told = json.loads(result.stdout)
    assert (result.exit_code, told["healthy"], told["entries"]) == (0, True, 1)
    assert {"append-only guards", "key file", "clock", "log", "policy", "erased bytes", "SQLite"} <= {
        one["check"] for one in told["checks"]
    }
    assert run("doctor", url).stdout.endswith("healthy\n")


def test_a_missing_guard_is_found(run: Run, url: str) -> None:
    """A dropped trigger is a problem, by name."""
    with sqlite3.connect(url.removeprefix("sqlite:///")) as found:
        found.execute("DROP TRIGGER consentlib_guard_entry_delete")
    found.close()
    assert sick(run("doctor", url, "--json")) == ["append-only guards"]


def test_a_key_file_open_to_others_is_found(run: Run, url: str, tmp_path: Path) -> None:
    """Keys must be their owner's alone."""
    (tmp_path / "shop.db.keys").chmod(0o644)
    assert sick(run("doctor", url, "--json")) == ["key file"]


def test_a_clock_behind_the_log_is_found(run: Run, url: str) -> None:
    """An entry from the future means that a clock was wrong."""
    with Ledger.open(url, clock=lambda: time.time_ns() // 1_000_000 + 86_400_000) as ledger:
        ledger.record(OrderPlaced("anna@example.dk", order="o1"))
    assert sick(run("doctor", url, "--json")) == ["clock"]


def test_a_log_that_did_not_verify_is_found(run: Run, url: str) -> None:
    """Each stored mark is told."""
    with sqlite3.connect(url.removeprefix("sqlite:///")) as found:
        found.execute("UPDATE consentlib_head SET unverified = 'content: a test' || char(10) || 'history: a test'")
    found.close()
    assert sick(run("doctor", url, "--json")) == ["log", "log"]
    assert run("check", url, "anna@example.dk", *SEND).stdout.startswith("denied: ledger_unverified")


def test_a_policy_with_errors_is_found(run: Run, url: str, tmp_path: Path) -> None:
    """Lints of the policy in force count."""
    path = tmp_path / "bad.toml"
    path.write_text(starter().replace("prechecked = false", "prechecked = true", 1), encoding="utf-8")
    assert run("publish", url, path, "--allow-errors").exit_code == 0
    assert sick(run("doctor", url, "--json")) == ["policy"]


def test_erased_bytes_that_a_reader_keeps_are_found(run: Run, url: str) -> None:
    """While a reader holds the file, erased bytes may wait in it."""
    with Ledger.open(url) as ledger:
        ledger.record(OrderPlaced("anna@example.dk", order="o1"))
        reader = sqlite3.connect(url.removeprefix("sqlite:///"))
        reader.execute("BEGIN")
        reader.execute("SELECT count(*) FROM consentlib_entries").fetchall()
        ledger.record(OrderPlaced("anna@example.dk", order="o2"))
        assert sick(run("doctor", url, "--json")) == ["erased bytes"]
        reader.close()
    assert run("doctor", url).exit_code == 0


def found(run: Run, url: str, *args: object) -> dict[str, tuple[str, str]]:
    """The findings by their check."""
    told = json.loads(run("doctor", url, "--json", *args).stdout)
    return {one["check"]: (one["state"], one["detail"]) for one in told["checks"]}


def test_checkpoints_are_looked_at(run: Run, url: str, tmp_path: Path) -> None:
    """Where they lie, what the newest covers and how old it is; with the database, none or old ones are remarked."""
    fresh = found(run, url)
    assert fresh["checkpoint store"][0] == "ok"
    assert fresh["newest checkpoint"] == ("ok", "covers 1 entry of 1, signed 0 h ago by the ledger's key")
    assert found(run, url, "--checkpoints", tmp_path / "here")["checkpoint store"][0] == "warning"
    assert sick(run("doctor", url, "--checkpoints", tmp_path / "here", "--json")) == ["newest checkpoint", "stop journal"]
    run("checkpoint", url, "--checkpoints", tmp_path / "here", "--begin")
    os.utime(tmp_path / "here" / "checkpoint", (0, time.time() - 2 * 86_400))
    ledger = Ledger.open(url)
    ledger.record(OrderPlaced("anna@example.dk", order="o1"))
    late = found(run, url, "--checkpoints", tmp_path / "here")
    assert late["newest checkpoint"] == ("warning", "covers 1 entry of 2, signed 48 h ago by the ledger's key")
    ledger.close()


def test_a_checkpoint_by_another_key_is_found(run: Run, url: str, tmp_path: Path, policy: Path) -> None:
    """Another ledger's checkpoint, or no folder at all, is a problem, and so is the log that it marks."""
    assert sick(run("doctor", url, "--checkpoints", policy, "--json")) == ["log", "newest checkpoint", "stop journal"]
    assert run("verify", url).exit_code == 10
    other = tmp_path / "elsewhere"
    assert run("init", f"sqlite:///{tmp_path / 'other.db'}", "--policy", policy, "--checkpoints", other).exit_code == 0
    assert sick(run("doctor", url, "--checkpoints", other, "--json")) == ["log", "newest checkpoint"]


@pytest.mark.parametrize("kind", ["missing", "foreign", "text"])
def test_what_is_no_ledger_is_one_line(run: Run, tmp_path: Path, kind: str) -> None:
    """No file, another database, no database: exit 3."""
    path = tmp_path / "x.db"
    if kind == "foreign":
        other = sqlite3.connect(path)
        other.execute("CREATE TABLE shop (id)")
        other.commit()
        other.close()
    elif kind == "text":
        path.write_text("no database " * 100)
    result = run("doctor", f"sqlite:///{path}")
    assert result.exit_code == 3
    assert result.stderr.startswith("consentlib: expected a ledger in")


def test_a_ledger_on_postgres(run: Run, postgres_url: str, policy: Path, tmp_path: Path) -> None:
    """Server, rights, replication and the server's clock are told, and a guard that is gone is a problem."""
    keys = ("--keys", tmp_path / "shop.keys")
    assert run("init", postgres_url, "--policy", policy, *keys).exit_code == 0
    told = {one["check"]: one for one in json.loads(run("doctor", postgres_url, *keys, "--json").stdout)["checks"]}
    assert told["PostgreSQL"]["state"] == told["server clock"]["state"] == told["connections"]["state"] == "ok"
    assert "waits for no standby" in told["replication"]["detail"]
    assert "UPDATE on entries" in told["rights"]["detail"]
    assert told["checkpoint store"]["detail"].endswith("outside the database's folder")
    assert "settings of the connection" not in told
    with psycopg.connect(postgres_url, autocommit=True) as owner:
        owner.execute("DROP TRIGGER guard_entry_change ON consentlib.entries")
    assert "append-only guards" in sick(run("doctor", postgres_url, *keys, "--json"))


@pytest.mark.parametrize(
    ("facts", "check", "state"),
    [
        ({"fsync": "off"}, "disk", "problem"),
        ({"standby": True}, "replication", "problem"),
        ({"synchronous_standby_names": "ANY 1 (a, b)", "standbys_streaming": 2}, "replication", "ok"),
        ({"clock_difference": -5_000}, "server clock", "warning"),
        ({"server_version": 140_022}, "PostgreSQL", "problem"),
        ({"loose_rights": []}, "rights", "ok"),
    ],
)
def test_what_is_said_of_a_server(facts: dict[str, Any], check: str, state: str) -> None:
    """Each fact that could harm is a line of its own."""
    sound = {"loose_rights": ["UPDATE on entries"], "server_version": 180_004, "fsync": "on", "full_page_writes": "on"}
    sound |= {"standby": False, "synchronous_standby_names": "", "synchronous_commit": "on", "standbys_streaming": 0}
    sound |= {"clock_difference": 3, "connections": 10}
    found = {name: found for name, found, _ in findings({**sound, **facts})}
    assert found[check] == state
