"""The decision cases: judged alone, and through a real ledger whose clock moves with the events."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pytest

from consentlib import Ledger, Message
from consentlib.codec import read_time
from consentlib.errors import EventError
from consentlib.events import Event
from consentlib.rules import Decision
from consentlib.testing.cases import decide_case, read_cases, run_cases
from consentlib.wire import read_event

from .conftest import MORE, SHARED, all_cases, little_steps

_EPOCH = datetime(2000, 1, 1, tzinfo=UTC)


def _id(case: dict[str, Any]) -> str:
    return f"{case['id']} {case['title']}"


def _answers(case: dict[str, Any]) -> None:
    (result,) = run_cases(little_steps(), [case])
    assert result.wrong == ()


@pytest.mark.parametrize("case", read_cases(MORE.read_bytes()), ids=_id)
def test_further_case(case: dict[str, Any]) -> None:
    """A case of ours is answered as it says."""
    _answers(case)


@pytest.mark.skipif(not SHARED.exists(), reason="the shared cases are not at hand")
@pytest.mark.parametrize("case", read_cases(SHARED.read_bytes()) if SHARED.exists() else [], ids=_id)
def test_shared_case(case: dict[str, Any]) -> None:
    """A case of the shared file is answered as it says."""
    _answers(case)


def test_every_further_case_says_where_it_follows_from() -> None:
    """Each of our cases has a source and names the clause of the rules it rests on."""
    cases = read_cases(MORE.read_bytes())
    assert all(case["sources"] and case["note"] and case["basis"] in ("law", "guidance", "policy", "design") for case in cases)
    assert len({case["id"] for case in all_cases()}) == len(all_cases())


class Replay:
    """A case recorded in a ledger, each event when it was recorded, and asked there."""

    def __init__(self, case: dict[str, Any], url: str) -> None:
        self.case = case
        self.now = int(_EPOCH.timestamp() * 1000)
        policy = little_steps().overlay(case.get("profile"), case.get("policy_override", {}))
        self.ledger = Ledger.create(url, policy=policy, clock=lambda: self.now, allow_errors=True)

    def record(self, *, until: int | None) -> None:
        """Record the events that were known by then, all for None."""
        for found in sorted(self.case["events"], key=lambda one: read_time(one["recorded_at"])):
            recorded = read_time(found["recorded_at"])
            if until is None or recorded <= until:
                self.now = max(self.now, recorded)
                fields = {key: value for key, value in found.items() if key not in ("recorded_at", "proof")}
                if found.get("proof"):
                    fields["evidence"] = {"reference": "case file"}
                if found["type"] == "erasure.completed":
                    self.ledger.erase(found["subject"], reason="art17", by="dpo")
                else:
                    self._record(read_event(fields))

    def _record(self, event: Event) -> None:
        try:
            self.ledger.record(event)
        except EventError:
            if event.kind != "consent.confirmed":
                raise
            pytest.skip("a ledger refuses to record that a consent was confirmed which the address never gave")

    def ask(self) -> Decision:
        """Ask what the case asks."""
        asked = dict(self.case["request"])
        message = Message(**asked.pop("content", {}))
        for name in ("at", "known_at"):
            if name in asked:
                asked[name] = datetime.fromisoformat(asked[name])
        return self.ledger.check(asked.pop("to"), message=message, **asked)


def _known_at(case: dict[str, Any]) -> int | None:
    """When the case is asked; None for a time that can't be read."""
    asked = datetime.fromisoformat(case["request"].get("known_at", case["request"]["at"]))
    return None if asked.tzinfo is None else int(asked.timestamp() * 1000)


def _recordable(case: dict[str, Any]) -> None:
    if case.get("system"):
        pytest.skip("a ledger can't be told to be broken; its faults have tests of their own")
    erased = [one for one in case["events"] if one["type"] == "erasure.completed"]
    if any(one["recorded_at"] != one["occurred_at"] for one in erased):
        pytest.skip("a ledger erases now or never")


def _same(case: dict[str, Any], found: Decision) -> None:
    wanted = decide_case(little_steps(), case)
    assert (found.allowed, found.reason, found.ground) == (wanted.allowed, wanted.reason, wanted.ground)
    assert found.valid_until == wanted.valid_until


@pytest.mark.parametrize("case", all_cases(), ids=_id)
def test_ledger_answers_alike(case: dict[str, Any]) -> None:
    """A ledger that knows just this much answers as the rules alone do."""
    _recordable(case)
    replay = Replay(case, "memory:")
    replay.record(until=_known_at(case))
    replay.now = max(replay.now, _known_at(case) or 0)
    _same(case, replay.ask())


@pytest.mark.parametrize("case", all_cases(), ids=_id)
def test_ledger_remembers_alike(case: dict[str, Any]) -> None:
    """A ledger that has learned more since answers, for what it knew then, as it did."""
    _recordable(case)
    if any(one["type"] == "erasure.completed" for one in case["events"]):
        pytest.skip("what was erased can't be remembered")
    replay = Replay(case, "memory:")
    replay.record(until=None)
    replay.now = max(replay.now, _known_at(case) or 0) + int(timedelta(days=30).total_seconds() * 1000)
    case = {**case, "request": {"known_at": case["request"]["at"], **case["request"]}}
    _same(case, replay.ask())


@pytest.mark.parametrize("case", all_cases()[::25], ids=_id)
def test_sqlite_ledger_answers_alike(case: dict[str, Any], tmp_path: Path) -> None:
    """A ledger in a file answers as the rules alone do."""
    _recordable(case)
    replay = Replay(case, f"sqlite:///{tmp_path / 'ledger.db'}")
    with replay.ledger:
        replay.record(until=_known_at(case))
        replay.now = max(replay.now, _known_at(case) or 0)
        _same(case, replay.ask())
