"""A ledger on a real file, and the program to run on it."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from cli_words import Run
from click.testing import CliRunner, Result

from consentlib import Ledger
from consentlib.cli import main
from consentlib.policy import starter


@pytest.fixture(autouse=True)
def _surroundings(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ("CONSENTLIB_KEYS", "NO_COLOR", "FORCE_COLOR"):
        monkeypatch.delenv(name, raising=False)


@pytest.fixture
def run() -> Run:
    """Runs the program in this process."""

    def call(*args: str | Path, input: str | bytes | None = None) -> Result:
        result = CliRunner().invoke(main, [str(arg) for arg in args], input=input)
        assert result.exception is None or isinstance(result.exception, SystemExit), result.exception
        return result

    return call


@pytest.fixture
def policy(tmp_path: Path) -> Path:
    """A policy file."""
    path = tmp_path / "policy.toml"
    path.write_text(starter(), encoding="utf-8")
    return path


@pytest.fixture
def url(tmp_path: Path, policy: Path) -> str:
    """A ledger that holds nothing but its policy."""
    found = f"sqlite:///{tmp_path / 'shop.db'}"
    Ledger.create(found, policy=policy).close()
    return found


@pytest.fixture
def lines(tmp_path: Path) -> Callable[..., Path]:
    """Writes a file of JSON lines; text is written as it is."""

    def write(*events: Any) -> Path:
        path = tmp_path / "events.jsonl"
        path.write_text("".join((one if isinstance(one, str) else json.dumps(one)) + "\n" for one in events))
        return path

    return write
