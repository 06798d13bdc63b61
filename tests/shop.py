"""A small shop for tests: a ledger under a clock set by hand, people who sign up, and a thief with access to the files."""

from __future__ import annotations

import json
import sqlite3
import zipfile
from collections.abc import Callable
from contextlib import closing
from pathlib import Path
from typing import Any

from consentlib import Decision, Evidence, Ledger, Message, Recorded
from consentlib.events import ConsentConfirmed, ConsentGiven
from consentlib.policy import parse_policy, starter

NOW = 1_772_445_600_000  # 2026-03-02T10:00:00Z
DAY = 86_400_000
POLICY = parse_policy(starter())
LETTER = Message(marketing=True, unsubscribe=True, sender_identified=True)
SEEN = Evidence(reference="form 1")


class Clock:
    """Milliseconds since the epoch, moved by hand."""

    def __init__(self, now: int = NOW) -> None:
        self.now = now

    def __call__(self) -> int:
        return self.now

    def tick(self, seconds: float = 0, *, days: float = 0) -> None:
        self.now += int(seconds * 1000 + days * DAY)


class Shop:
    """A shop with a ledger at `url`."""

    def __init__(self, url: str = "memory:", **options: Any) -> None:
        self.url = url
        self.path = Path(url.removeprefix("sqlite:///"))
        self.clock = Clock()
        self.ledger = Ledger.create(url, policy=POLICY, clock=self.clock, **options)

    def sign_up(self, address: str, **more: Any) -> Recorded:
        """A newsletter sign-up, confirmed."""
        asked = self.ledger.record(ConsentGiven(address, form="footer", evidence=SEEN, **more))
        self.ledger.record(ConsentConfirmed.of(asked))
        return asked

    def newsletter(self, address: Any, **asked: Any) -> Decision:
        """May the newsletter go there?"""
        return self.ledger.check(address, use="marketing_newsletter", message=LETTER, **asked)

    def steal(self, *statements: str, values: tuple[Any, ...] = ()) -> None:
        """What somebody does who can write to the database file: the guards first, then the statements."""
        with closing(sqlite3.connect(self.path, isolation_level=None)) as thief:
            for (name,) in thief.execute("SELECT name FROM sqlite_master WHERE type = 'trigger'").fetchall():
                thief.execute(f"DROP TRIGGER {name}")
            for statement in statements:
                assert thief.execute(statement, values if "?" in statement else ()).rowcount != 0

    def look(self, sql: str, *values: Any) -> list[tuple[Any, ...]]:
        """Rows of the database file."""
        with closing(sqlite3.connect(self.path)) as reader:
            return reader.execute(sql, values).fetchall()


def rewrite(source: Path, target: Path, change: Callable[[list[dict[str, Any]]], None]) -> Path:
    """An export with its lines changed, written as a new zip."""
    with zipfile.ZipFile(source) as old, zipfile.ZipFile(target, "w") as new:
        lines = [json.loads(line) for line in old.read("log.ndjson").splitlines()]
        change(lines)
        for name in old.namelist():
            text = "".join(json.dumps(line, separators=(",", ":")) + "\n" for line in lines)
            new.writestr(name, text if name == "log.ndjson" else old.read(name))
    return target
