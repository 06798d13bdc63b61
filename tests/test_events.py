"""Events as values: equality, hash, repr and pickling are written once, in `Event`, and hold for every kind."""

from __future__ import annotations

import pickle
from typing import Any

import pytest
from attrs import NOTHING, evolve

from consentlib.events import KINDS, ConsentGiven, Event, OrderDelivered, OrderPlaced, slots

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


def test_left_out_fields_keep_their_default() -> None:
    """A default given by hand is the same as none given."""
    given = ConsentGiven("anna@example.dk", form=None, uses=(), address_verified=False, given_by="self")
    assert given == ConsentGiven("anna@example.dk")
