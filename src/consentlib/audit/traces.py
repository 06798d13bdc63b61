"""What was said and sent last by address, kept in a file without a name: memory does not grow with the number of people.

Ids are the random ones of the log. A stop covers what the rules let it cover; where no policy says, it covers everything.
"""

from __future__ import annotations

import sqlite3
from collections.abc import Iterable, Mapping
from types import TracebackType
from typing import Any, Final, NamedTuple, Self

from consentlib.fields import ALL
from consentlib.policy.model import Policy, Use

STOPS: Final = frozenset({"consent.withdrawn", "consent.refused", "objection.raised"})
"""Kinds by which a person says no."""

_SCHEMA: Final = """
CREATE TABLE word (id TEXT, what TEXT, channel TEXT, entry INTEGER, time INTEGER, PRIMARY KEY (id, what, channel))
 WITHOUT ROWID;
CREATE TABLE sent (id TEXT PRIMARY KEY, time INTEGER) WITHOUT ROWID;
"""
_ANY: Final = "*"
_KEEP: Final = "INSERT OR REPLACE INTO word VALUES (?, ?, ?, ?, ?)"


class Word(NamedTuple):
    """A stop that was on record, with the recorded time of its entry."""

    entry: int
    time: int


class Traces:
    """By address id: the newest stop and grant by use and channel, and the newest send. A context manager."""

    def __init__(self) -> None:
        self._db = sqlite3.connect("", isolation_level=None)  # a temporary file of SQLite's own, gone when closed
        self._db.executescript(f"PRAGMA journal_mode=OFF; PRAGMA synchronous=OFF; PRAGMA cache_size=-16000; {_SCHEMA} BEGIN;")

    def __enter__(self) -> Self:
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None) -> None:
        self._db.close()

    def grant(self, ids: Iterable[str], uses: Iterable[str], channels: Iterable[str], entry: int, time: int) -> None:
        """A consent was recorded."""
        self._keep(ids, [f"+{use}" for use in uses], channels, entry, time)

    def stop(self, kind: str, ids: Iterable[str], facts: Mapping[str, Any], entry: int, time: int) -> None:
        """A person said no: to uses, to all, or by an objection."""
        channels = facts.get("channels", ALL)
        if kind == "objection.raised":
            what = [f"!{facts.get('kind', 'direct_marketing')}"]
        elif (uses := facts.get("uses", ALL)) == ALL:
            what = ["-*limited" if facts.get("limited") else "-*"]
        else:
            what = [f"-{use}" for use in uses]
        self._keep(ids, what, [_ANY] if channels == ALL else channels, entry, time)

    def send(self, id: str, use: str, channel: str, policy: Policy | None, time: int) -> Word | None:
        """A send was recorded. Gives the stop that covers it, if none of its consents was recorded later."""
        rows = self._db.execute("SELECT what, channel, entry, time FROM word WHERE id = ?", (id,)).fetchall()
        self._db.execute("INSERT OR REPLACE INTO sent VALUES (?, ?)", (id, time))
        if not rows:
            return None
        declared = policy.uses.get(use) if policy is not None else None
        reached = [row for row in rows if channel in (row[1], "any") or row[1] in (_ANY, "any")]
        stops = [Word(entry, at) for what, _, entry, at in reached if _covers(what, use, declared)]
        granted = max((entry for what, _, entry, _ in reached if what == f"+{use}"), default=-1)
        newest = max(stops, default=None)
        return newest if newest is not None and newest.entry > granted else None

    def sent_since(self, ids: Iterable[str], said: int) -> bool:
        """Whether a send to one of these addresses was recorded at `said` or later."""
        query = "SELECT 1 FROM sent WHERE id = ? AND time >= ?"
        return any(self._db.execute(query, (id, said)).fetchone() is not None for id in ids)

    def _keep(self, ids: Iterable[str], what: Iterable[str], channels: Iterable[str], entry: int, time: int) -> None:
        places = [(one, channel) for one in what for channel in channels]
        self._db.executemany(_KEEP, [(id, *place, entry, time) for id in ids for place in places])


def _covers(what: str, use: str, declared: Use | None) -> bool:
    """Whether a stop reaches a use, as the rules have it; anything of a use that no policy declares."""
    sign, name = what[0], what[1:]
    if sign == "+":
        return False
    if sign == "-" and not name.startswith("*"):
        return name == use
    if declared is None:
        return True
    if sign == "-":
        return "consent" in declared.grounds or (declared.marketing and name == "*")
    if name == "direct_marketing":
        return declared.marketing
    return name in declared.grounds or name in declared.objections
