"""The small parts: texts, skew, calendar limits, the decision as a value."""

from __future__ import annotations

import pickle
from datetime import UTC, date, datetime

import pytest

from consentlib.policy import Policy
from consentlib.reasons import REASONS
from consentlib.rules import Decision, Holdings, Message, Request, Texts, judge
from consentlib.rules.question import DAY, Question
from consentlib.testing.cases import decide_case

from .conftest import all_cases, little_steps


def _ms(text: str) -> int:
    return int(datetime.fromisoformat(text).astimezone(UTC).timestamp() * 1000)


def _question(policy: Policy, at: int = 0) -> Question:
    request = Request("marketing_newsletter", "email", "email:anna@example.dk", "littlesteps", at)
    return Question(policy, Texts(), Holdings(None), request, at)


def _published(old: str, new: str, uses: tuple[str, ...], when: int, *, material: bool = True) -> dict[str, object]:
    return {"supersedes": old, "text_version": new, "uses": list(uses), "material": material, "occurred_at": when}


def test_a_text_held_stays_held(policy: Policy) -> None:
    """A later policy adds texts and takes none away."""
    texts = Texts()
    texts.add_policy(policy, 0)
    before = dict(texts.uses)
    texts.add_policy(policy.overlay(None, {"passivity_days": 100}), 10)
    assert texts.uses == before
    assert texts.uses["nl-1"] == {"marketing_newsletter"}


def test_a_material_change_passes_down_the_chain() -> None:
    """A change ends every text before it, for its uses, from the earliest material step."""
    texts = Texts()
    texts.add_published(_published("b", "c", ("use",), 30), 30)
    texts.add_published(_published("a", "b", ("other",), 20), 20)
    assert texts.superseded("a", "use") == 30
    assert texts.superseded("a", "other") == 20
    assert texts.superseded("b", "other") is None
    assert texts.superseded("c", "use") is None


def test_a_new_wording_ends_nothing() -> None:
    """A change that is not material supersedes nothing."""
    texts = Texts()
    texts.add_published(_published("a", "b", ("use",), 20, material=False), 20)
    assert texts.superseded("a", "use") is None


def test_a_chain_that_goes_round_ends() -> None:
    """Texts that supersede each other in a circle are all superseded, and nothing hangs."""
    texts = Texts()
    texts.add_published(_published("a", "b", ("use",), 20), 20)
    texts.add_published(_published("b", "a", ("use",), 30), 30)
    assert (texts.superseded("a", "use"), texts.superseded("b", "use")) == (20, 20)


def test_a_change_counts_from_when_it_was_said_or_recorded_first() -> None:
    """A publication dated ahead counts from its recording, one recorded late from its date."""
    texts = Texts()
    texts.add_published(_published("a", "b", ("use",), 50), 20)
    texts.add_published(_published("c", "d", ("use",), 10), 40)
    assert (texts.superseded("a", "use"), texts.superseded("c", "use")) == (20, 10)


@pytest.mark.parametrize(("ahead", "counts"), [(-5_000, -5_000), (0, 0), (299_999, 0), (300_000, 0), (300_001, 300_001)])
def test_skew_is_forgiven_up_to_its_limit(policy: Policy, ahead: int, counts: int) -> None:
    """What a clock is ahead by no more than the skew counts from its recording; beyond it from what was said."""
    recorded = 1_000_000_000
    assert _question(policy).spoke(recorded + ahead, recorded) - recorded == counts


@pytest.mark.parametrize(
    ("start", "days", "end"),
    [
        ("2026-08-18T10:00+02:00", 14, "2026-09-02T00:00+02:00"),
        ("2026-08-18T00:00+02:00", 14, "2026-09-02T00:00+02:00"),
        ("2026-08-17T23:59+02:00", 14, "2026-09-01T00:00+02:00"),
        ("2026-10-20T10:00+02:00", 14, "2026-11-04T00:00+01:00"),
        ("2026-03-20T10:00+01:00", 14, "2026-04-04T00:00+02:00"),
        ("2028-02-28T10:00+01:00", 1, "2028-03-01T00:00+01:00"),
        ("2027-02-28T10:00+01:00", 1, "2027-03-02T00:00+01:00"),
    ],
)
def test_statutory_days_end_at_danish_midnight(policy: Policy, start: str, days: int, end: str) -> None:
    """The day it starts does not count; the end is midnight in the profile's zone, in summer, winter and leap years."""
    assert _question(policy).day_limit(_ms(start), days) == _ms(end)


def test_midnight_in_the_profile(policy: Policy) -> None:
    """A date begins at the zone's midnight, not at UTC's."""
    assert _question(policy).midnight(date(2026, 1, 1)) == _ms("2025-12-31T23:00+00:00")
    assert _question(policy.overlay("CA")).midnight(date(2026, 7, 1)) == _ms("2026-07-01T04:00+00:00")


def _decided() -> list[Decision]:
    return [decide_case(little_steps(), case) for case in all_cases()]


def test_a_decision_is_true_if_it_allows() -> None:
    """The truth of a decision is its verdict, and a ground is named on an allow alone."""
    for one in _decided():
        assert bool(one) is one.allowed is (one.ground is not None)
        assert REASONS[one.reason].allows is one.allowed
        assert one.determined_by
        assert one.allowed or (one.obligations, one.valid_until) == ((), None)


def test_a_decision_shows_nobody() -> None:
    """Neither repr nor JSON of a decision holds an address."""
    for one in _decided():
        shown = repr(one) + str(one) + repr(one.as_dict())
        assert "anna" not in shown.lower()
        assert "@" not in shown
        assert "+45" not in shown


def test_a_decision_survives_pickling() -> None:
    """A decision is a value: pickled and back it is equal."""
    for one in _decided():
        assert pickle.loads(pickle.dumps(one)) == one


def test_a_decision_as_json_has_the_public_names(policy: Policy) -> None:
    """`as_dict` has the names of the design, times as RFC 3339, and both languages."""
    case = next(one for one in all_cases() if one["expect"]["reason"] == "consent_valid")
    found = decide_case(policy, case).as_dict()
    assert list(found) == [
        "decision",
        "reason",
        "use",
        "channel",
        "controller",
        "ground",
        "at",
        "known_at",
        "determined_by",
        "also_failed",
        "would_allow_if",
        "obligations",
        "valid_until",
        "policy",
        "ledger",
        "text",
    ]
    assert found["at"].endswith("Z")
    assert set(found["text"]) == {"en", "da"}
    assert found["determined_by"][0]["rule"] == "consent.valid"


@pytest.mark.parametrize("reason", REASONS)
def test_every_reason_speaks_both_languages(reason: str) -> None:
    """Every reason has a sentence for the shop and one for the person, in English and Danish."""
    one = Decision(REASONS[reason].allows, reason, "u", "c", "k", None, None, None, (), (), (), None, ("", "", ""), 0, b"")
    texts = {one.text(language, reader=reader) for language in ("en", "da") for reader in ("shop", "person")}
    assert len(texts) >= 2
    assert all(text and text.endswith(".") for text in texts)
    assert one.allowed == (not one.would_allow_if) or not REASONS[reason].repair


@pytest.mark.parametrize("name", ["marketing", "unsubscribe", "sender_identified", "own_products", "branded", "tracking"])
def test_a_declaration_is_yes_no_or_nothing(name: str) -> None:
    """A flag of a message is true, false or undeclared; text and numbers are refused."""
    for wrong in ("yes", 1, 0, "true"):
        with pytest.raises(TypeError, match=name):
            Message(**{name: wrong})


def test_an_address_that_is_none_denies(policy: Policy) -> None:
    """What is no address is denied with its own reason, after what is wrong with the question."""
    request = Request("marketing_newsletter", "email", None, "littlesteps", DAY)
    assert judge(policy, Texts(), Holdings(None), request).reason == "invalid_address"
    assert judge(policy, Texts(), Holdings(None), request._replace(use="nope")).reason == "unknown_use"
