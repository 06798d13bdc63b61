"""Properties of the rules that hold whatever happened and whatever is asked."""

from __future__ import annotations

from functools import cache
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from consentlib.codec import show_time
from consentlib.fold import Book, refold
from consentlib.policy import Policy
from consentlib.rules import Texts, judge
from consentlib.testing.cases import CaseLedger, decide_case, judged

from .conftest import all_cases, little_steps

_GOOD = {
    "active": True,
    "prechecked": False,
    "bundled_in_terms": False,
    "conditional_on_purchase": False,
    "informed_of_withdrawal": True,
}
_MINUTE = 60_000
_START = 1_780_000_000_000
_ANNA, _WORK = "email:anna@example.dk", "email:a.hansen@work.dk"

moments = st.integers(0, 40).map(lambda n: _START + n * 13 * 24 * 60 * _MINUTE)
subjects = st.sampled_from([_ANNA, _ANNA, _WORK])
uses = st.sampled_from([["marketing_newsletter"], ["marketing_newsletter", "marketing_offers_profiled"]])
channels = st.sampled_from([["email"], ["sms"], ["email", "sms"], ["any"]])
scopes = st.one_of(st.just("all"), uses)


def _events(of: str, /, **fields: Any) -> st.SearchStrategy[dict[str, Any]]:
    common = {"type": st.just(of), "subject": subjects, "occurred_at": moments}
    return st.fixed_dictionaries(
        common | {name: one if isinstance(one, st.SearchStrategy) else st.just(one) for name, one in fields.items()}
    )


grants = _events(
    "consent.given",
    ref=st.sampled_from(["c1", "c2", "c3"]),
    uses=uses,
    channels=channels,
    text_version=st.sampled_from(["nl-1", "nlp-1"]),
    form=_GOOD,
    proof=st.sampled_from([True, True, True, False]),
    address_verified=st.sampled_from([True, True, False]),
)
stops = st.one_of(
    _events("consent.withdrawn", uses=scopes, channels=st.one_of(st.just("all"), channels)),
    _events("consent.refused", uses=scopes, channels=st.one_of(st.just("all"), channels)),
    _events("objection.raised", kind=st.sampled_from(["direct_marketing", "legitimate_interest", "survey"])),
    _events("consent.invalidated", ref=st.sampled_from(["c1", "c2"])),
    _events("consent.invalidated"),
    _events("restriction.set"),
    _events("erasure.completed"),
)
others = st.one_of(
    _events("consent.confirmed", ref=st.sampled_from(["c1", "c2", "c3"])),
    _events("order.placed", order=st.sampled_from(["o1", "o2"]), product_category="toys", optout_offered=True),
    _events("order.delivered", order=st.sampled_from(["o1", "o2"])),
    _events("order.cancelled", order=st.sampled_from(["o1", "o2"])),
    _events("message.sent", use="marketing_newsletter", channel="email"),
    _events("identity.linked", subject=_ANNA, other=_WORK),
    _events("subject.birthdate", date=st.sampled_from(["1980-01-01", "2015-01-01"])),
    _events("inquiry.received"),
)
histories = st.lists(st.one_of(grants, grants, stops, others), max_size=12)
asked = st.fixed_dictionaries(
    {
        "use": st.sampled_from(
            ["marketing_newsletter", "marketing_offers_profiled", "marketing_post", "delivery", "follow_up"]
        ),
        "channel": st.sampled_from(["email", "sms", "post"]),
        "to": st.just(_ANNA),
        "order": st.just("o1"),
        "at": moments.map(show_time),
        "content": st.just(
            {
                "marketing": True,
                "unsubscribe": True,
                "sender_identified": True,
                "own_products": True,
                "product_category": "toys",
            }
        ),
    }
)


def _case(events: list[dict[str, Any]], request: dict[str, Any]) -> dict[str, Any]:
    timed = [{**event, "occurred_at": show_time(event["occurred_at"])} for event in events]
    return {"events": [{"recorded_at": one["occurred_at"], **one} for one in timed], "request": request}


@cache
def _policy() -> Policy:
    return little_steps().overlay(None, {"soft_opt_in_channels": ["email"]})


@settings(max_examples=300, deadline=None)
@given(histories, stops, asked)
def test_a_stop_more_never_allows(events: list[dict[str, Any]], stop: dict[str, Any], request: dict[str, Any]) -> None:
    """Adding a stop never turns a denial into an allow."""
    if not decide_case(_policy(), _case(events, request)).allowed:
        assert not decide_case(_policy(), _case([*events, stop], request)).allowed


@settings(max_examples=300, deadline=None)
@given(st.lists(st.one_of(grants, stops), max_size=8, unique_by=lambda one: one["occurred_at"]), st.randoms(), asked)
def test_order_of_recording_does_not_matter(events: list[dict[str, Any]], random: Any, request: dict[str, Any]) -> None:
    """What was said by when decides, not what was recorded first, once everything is recorded and said is said."""
    events = [{**event, "ref": f"c{n}"} if "ref" in event else event for n, event in enumerate(events)]
    late = _START + 10**12
    first, second = _case(events, request), _case(random.sample(events, len(events)), request)
    for case in (first, second):
        for place, event in enumerate(case["events"]):
            event["recorded_at"] = show_time(late + place)
        case["request"] = {**request, "known_at": show_time(late + 1000)}
    one, other = decide_case(_policy(), first), decide_case(_policy(), second)
    assert (one.allowed, one.reason, one.valid_until) == (other.allowed, other.reason, other.valid_until)


@settings(max_examples=200, deadline=None)
@given(histories)
def test_folding_one_by_one_is_folding_afresh(events: list[dict[str, Any]]) -> None:
    """A fold kept up entry by entry, through its stored form, is the fold made from all entries at once."""
    ledger = CaseLedger(little_steps())
    for event in _case(events, {})["events"]:
        ledger.add(event)
    entries = ledger.known(2**60)
    book = Book()
    for entry in entries:
        book.apply(entry)
        book.folds = {address: type(fold).load(fold.dump()) for address, fold in book.folds.items()}
    afresh = refold(entries)
    assert book.folds == afresh.folds
    assert book.orders == afresh.orders


_TIMED = [
    case
    for case, (*_, request) in ((case, judged(little_steps(), case)) for case in all_cases())
    if request.at is not None and case["expect"]["decision"] == "allow" and (request.known_at or 0) <= request.at
]


@pytest.mark.parametrize("case", _TIMED, ids=lambda case: f"{case['id']} {case['title']}")
def test_an_allow_lasts_until_it_says(case: dict[str, Any]) -> None:
    """An allow holds up to the last millisecond before `valid_until`, and something else is the answer at it."""
    first = decide_case(little_steps(), case)
    if first.valid_until is None:
        return
    known = case["request"].get("known_at", case["request"]["at"])

    def asked_at(moment: int) -> Any:
        return decide_case(little_steps(), {**case, "request": {**case["request"], "at": show_time(moment), "known_at": known}})

    last, over = asked_at(first.valid_until - 1), asked_at(first.valid_until)
    assert (last.allowed, last.reason) == (True, first.reason)
    assert not over.allowed or over.determined_by != first.determined_by or over.valid_until != first.valid_until


def test_judging_leaves_what_it_reads_alone() -> None:
    """The same holdings give the same answer twice: nothing is changed in place."""
    for case in all_cases():
        policy, texts, held, request = judged(little_steps(), case)
        before = repr(held)
        assert judge(policy, texts, held, request) == judge(policy, texts, held, request)
        assert repr(held) == before
    assert Texts().uses == {}
