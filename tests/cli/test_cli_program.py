"""The program as a whole: help, versions, errors in one line, nothing personal, real processes."""

from __future__ import annotations

import json
import os
import subprocess
import sys
import time
from pathlib import Path

import pytest
from cli_words import SEND, Run

import consentlib
from consentlib.cli import main

PEOPLE = "anna@example.dk"


def shell(*args: str | Path, **env: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [sys.executable, "-m", "consentlib", *map(str, args)], capture_output=True, text=True, env={**os.environ, **env}
    )


def test_help_names_every_command_and_the_exit_codes(run: Run) -> None:
    """`--help` lists the commands and says how the program ends."""
    result = run("--help")
    commands = set(main.commands)  # type: ignore[attr-defined]
    assert result.exit_code == 0
    assert {"record", "stop", "check", "verify", "verify-receipt"} <= commands
    assert commands <= set(result.stdout.split())
    assert "Exit codes" in result.stdout


def test_version(run: Run) -> None:
    """`--version` names the version of the library."""
    assert consentlib.__version__ in run("--version").stdout


def test_without_command_help_is_shown_as_usage_error(run: Run) -> None:
    """No command: help on standard error and exit 2."""
    result = run()
    assert (result.exit_code, result.stdout) == (2, "")
    assert "Usage: consentlib" in result.stderr


@pytest.mark.parametrize(
    "args",
    [
        ("frob", PEOPLE),
        ("check", "sqlite:///x.db", PEOPLE),
        ("check", "sqlite:///x.db", "x", PEOPLE, "--use", "newsletter"),
        ("check", "sqlite:///x.db", "x", "Anna Holm", "--use", "newsletter"),
        ("check", "sqlite:///x.db", f"--{PEOPLE}", "--use", "newsletter"),
        ("check", "sqlite:///x.db", "x", "--use", "newsletter", "--mode", PEOPLE),
        ("check", "shop.db", PEOPLE, "--use", "newsletter"),
        ("check", "sqlite:///x.db", PEOPLE, "--use", "newsletter", "--at", "2026-09-01T10:00:00"),
        ("check", "sqlite:///x.db", PEOPLE, "--use", "newsletter", "--known-at", "yesterday"),
        ("erase", "sqlite:///x.db", PEOPLE),
    ],
)
def test_usage_errors_are_one_line_without_a_personal_datum(run: Run, args: tuple[str, ...]) -> None:
    """What can't be used ends with exit 2 and one line that never repeats an address."""
    result = run(*args)
    assert result.exit_code == 2
    assert result.stdout == ""
    assert result.stderr.startswith("consentlib: ")
    assert result.stderr.count("\n") == 1
    assert "anna" not in result.stderr.lower()


def test_missing_ledger_is_a_ledger_error(run: Run, tmp_path: Path) -> None:
    """A mistyped path starts no history: exit 3, one line, no file."""
    result = run("check", f"sqlite:///{tmp_path / 'nothing.db'}", PEOPLE, *SEND)
    assert result.exit_code == 3
    assert result.stderr.count("\n") == 1
    assert list(tmp_path.iterdir()) == []


def test_a_real_process_answers_with_exit_codes_and_no_traceback(url: str, tmp_path: Path) -> None:
    """`python -m consentlib` does what the script does; output to a pipe has no colour."""
    denied = shell("check", url, PEOPLE, *SEND)
    missing = shell("check", f"sqlite:///{tmp_path / 'no.db'}", PEOPLE, *SEND)
    assert (denied.returncode, denied.stderr) == (1, "")
    assert denied.stdout.startswith("denied: unknown_subject")
    assert missing.returncode == 3
    assert missing.stderr.startswith("consentlib: expected a ledger in")
    assert "\x1b" not in denied.stdout


def on_terminal(*args: str | Path, **env: str) -> str:
    """What a terminal would show of both streams."""
    pty = pytest.importorskip("pty")
    ours, theirs = pty.openpty()
    command = [sys.executable, "-m", "consentlib", *map(str, args)]
    process = subprocess.Popen(command, stdout=theirs, stderr=theirs, stdin=theirs, env={**os.environ, **env})
    os.close(theirs)
    shown = b""
    try:
        while piece := os.read(ours, 65_536):
            shown += piece
    except OSError:  # Linux says so that the other end is closed
        pass
    process.wait()
    os.close(ours)
    return shown.decode()


def test_bars_and_colours_only_on_a_terminal(url: str) -> None:
    """A terminal gets a progress bar and colours; with NO_COLOR no colours; a pipe gets neither."""
    green = "\x1b[32m"
    shown = on_terminal("verify", url)
    assert "verifying  [####" in shown
    assert green in shown
    assert green not in on_terminal("verify", url, NO_COLOR="1")
    piped = shell("verify", url)
    assert piped.stderr == ""
    assert "\x1b" not in piped.stdout


def test_of_two_that_begin_at_once_one_does(tmp_path: Path, policy: Path) -> None:
    """Two processes create the same ledger: one succeeds, the other is refused, and the ledger is whole."""
    url = f"sqlite:///{tmp_path / 'new.db'}"
    command = [sys.executable, "-m", "consentlib", "init", url, "--policy", str(policy)]
    both = [subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE) for _ in range(2)]
    for one in both:
        one.communicate()
    assert sorted(one.returncode for one in both) == [0, 3]
    assert shell("verify", url).returncode == 10


def test_a_killed_import_leaves_all_or_nothing(url: str, tmp_path: Path) -> None:
    """kill -9 while `record` runs: the ledger verifies, with the whole file in it or none of it."""
    path = tmp_path / "events.jsonl"
    path.write_text("".join(f'{{"type":"order.placed","subject":"c{n}@example.org","order":"o{n}"}}\n' for n in range(20_000)))
    process = subprocess.Popen([sys.executable, "-m", "consentlib", "record", url, str(path)], stdout=subprocess.DEVNULL)
    time.sleep(0.6)
    process.kill()
    process.wait()
    found = shell("verify", url, "--json")
    assert found.returncode == 10
    assert json.loads(found.stdout)["size"] in (1, 20_001)


def test_help_loads_no_backend() -> None:
    """`--help` is quick: neither sqlite_utils nor cattrs nor the demo's story is loaded for it."""
    code = "import sys, consentlib.cli; print({'sqlite_utils', 'cattrs', 'consentlib.cli.shop_year'} & set(sys.modules))"
    found = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True)
    assert found.stdout == "set()\n"


def test_a_closed_pipe_is_no_traceback(url: str) -> None:
    """`consentlib policy starter | head -1` ends quietly."""
    command = f"{sys.executable} -m consentlib policy starter | head -1"
    found = subprocess.run(command, shell=True, capture_output=True, text=True)
    assert found.stdout.startswith("# The policy")
    assert "Traceback" not in found.stderr
