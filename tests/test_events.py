"""Events as values: equality, hash, repr and pickling are written once, in `Event`, and hold for every kind."""

from __future__ import annotations

import pickle
from datetime import UTC, datetime
from typing import Any

import pytest
from attrs import NOTHING, evolve

from consentlib.codec import millis
from consentlib.errors import EventError
from consentlib.events import KINDS, ConsentGiven, Event, OrderDelivered, OrderPlaced, Stop, slots
from consentlib.wire import event_json, read_event

_REQUIRED: dict[str, Any] = {
    "date": "1990-05-31",
    "by": "subject",
    "listed": True,
    "other": "bo@example.dk",
    "to": "bo@example.dk",
}


def make(cls: type[Event], subject: str = "anna@example.dk") -> Event:
    """An event of a kind with no more than it needs."""
    needed = [one for one in slots(cls) if one.default is NOTHING and one.name != "subject"]
    return cls(subject, **{one.alias: _REQUIRED.get(one.name, "x") for one in needed})


@pytest.mark.parametrize("cls", KINDS.values(), ids=KINDS)
def test_events_of_equal_content_are_equal(cls: type[Event]) -> None:
    """Equal content is equal and hashes alike, other content is not equal."""
    event = make(cls)
    assert event == make(cls)
    assert hash(event) == hash(make(cls))
    assert event != make(cls, "bo@example.dk")
    assert event != evolve(event, occurred_at=1_700_000_000_000)


def test_events_of_two_kinds_differ() -> None:
    """The same fields under another kind are another event; what is no event is never equal to one."""
    assert OrderDelivered("anna@example.dk", order="1") != OrderPlaced("anna@example.dk", order="1")
    assert OrderDelivered("anna@example.dk", order="1") != "anna@example.dk"


@pytest.mark.parametrize("cls", KINDS.values(), ids=KINDS)
def test_events_survive_pickling_and_show_no_person(cls: type[Event]) -> None:
    """A copy through pickle is equal; the repr names the class and no personal datum."""
    event = make(cls)
    assert pickle.loads(pickle.dumps(event)) == event
    assert repr(event).startswith(f"{cls.__name__}(")
    assert "@" not in repr(event)


NOT_STOPS = [cls for cls in KINDS.values() if not issubclass(cls, Stop)]


@pytest.mark.parametrize("cls", NOT_STOPS, ids=[cls.kind for cls in NOT_STOPS])
@pytest.mark.parametrize("seconds", [0, 1_772_445_600, -1, 946_684_799_999])
def test_seconds_for_milliseconds_are_refused(cls: type[Event], seconds: int) -> None:
    """A number that would be a time before 2000 is a mistake; a time that says so itself is not."""
    event = make(cls)
    with pytest.raises(
        EventError, match=r"^expected milli[^\d]* 1970 in `occurred_at`, found a number [^\d]* 2000: seconds\?$"
    ):
        evolve(event, occurred_at=seconds)
    assert evolve(event, occurred_at=946_684_800_000).occurred_at == 946_684_800_000
    old = datetime(1998, 5, 1, tzinfo=UTC)
    assert cls(**_fields(event) | {"occurred_at": old}).occurred_at == millis(old)
    assert read_event(event_json(event) | {"occurred_at": "1998-05-01T00:00:00Z"}).occurred_at == millis(old)


def _fields(event: Event) -> dict[str, Any]:
    return {slot.alias: getattr(event, slot.name) for slot in slots(type(event))}


STOPS = [cls for cls in KINDS.values() if issubclass(cls, Stop)]


@pytest.mark.parametrize("cls", STOPS, ids=[cls.kind for cls in STOPS])
def test_a_time_a_stop_can_not_mean_is_dropped_and_logged(cls: type[Event], caplog: pytest.LogCaptureFixture) -> None:
    """Seconds, a naive time or no time at all: the stop is kept without, and a line without the value says so."""
    for wrong in (1_772_445_600, datetime(2026, 3, 2, tzinfo=UTC).replace(tzinfo=None), "yesterday"):
        caplog.clear()
        assert cls("anna@example.dk", occurred_at=wrong).occurred_at is None  # type: ignore[arg-type]
        assert [one.levelname for one in caplog.records] == ["WARNING"]
        assert "counts from when it is recorded" in caplog.text
        assert not any(str(wrong) in one.getMessage() for one in caplog.records)
    caplog.clear()
    assert cls("anna@example.dk", occurred_at=1_772_445_600_000).occurred_at == 1_772_445_600_000
    assert cls("anna@example.dk").occurred_at is None
    assert caplog.text == ""


def test_left_out_fields_keep_their_default() -> None:
    """A default given by hand is the same as none given."""
    given = ConsentGiven("anna@example.dk", form=None, uses=(), address_verified=False, given_by="self")
    assert given == ConsentGiven("anna@example.dk")
