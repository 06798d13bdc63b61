"""Does a consent hold? The tests of a grant, the stops that end it, and which repair is nearest.

Sources: GDPR 4(11), 7, 8; EDPB Guidelines 05/2020; MFL 10(1). A grant is tested for fit (purpose, controller, channel, address)
before its state; a stop counts against the time it was given, not confirmed, and wins a tie.
"""

from __future__ import annotations

from collections.abc import Iterable
from typing import Final, NamedTuple

from consentlib.fold import Grant, Stop
from consentlib.policy.model import Use
from consentlib.rules.question import DAY, Question, uses_named

REPAIRS: Final = (
    "consent_expired",
    "consent_version_superseded",
    "minor_without_parent",
    "consent_unconfirmed",
    "consent_invalid_form",
    "consent_unproven",
    "consent_future",
    "consent_identifier_mismatch",
    "consent_channel_mismatch",
    "consent_controller_mismatch",
    "consent_purpose_mismatch",
    "consent_missing",
)
"""Reasons why no grant holds, the nearest repair first."""

LOST: Final = "lost"
"""The kind of a no that may have been said and was lost with the log: it covers all that a no can end."""

STOP_REASONS: Final = {
    "direct_marketing": "objection_direct_marketing",
    "legitimate_interest": "objection_legitimate_interest",
    "survey": "objection_legitimate_interest",
    "withdrawn": "consent_withdrawn",
    "refused": "consent_refused",
    "declined": "soft_opt_in_declined",
    LOST: "ledger_unverified",
}
"""The reason each kind of stop gives; of stops at the same time the earlier in this list names it."""

_RANK: Final = {kind: place for place, kind in enumerate(STOP_REASONS)}


class Consent(NamedTuple):
    """What became of the question whether consent carries a use: a grant that holds, or why none does."""

    grant: Grant | None
    reason: str = "consent_valid"
    stop: Stop | None = None
    until: int | None = None


def weigh(question: Question, use: Use) -> Consent:
    """The grant that carries `use`, or the stop in force, or the nearest repair."""
    if not (use.carried_by or use.renews):
        return _weigh(question, use, use.name)
    found = [_weigh(question, use, purpose) for purpose in uses_named(question.policy, use)]
    for one in found:
        if one.grant is not None:
            return one
    near = [one for one in found if one.stop is None and one.reason not in REPAIRS[-2:]]
    return min(near or [one for one in found if one.stop] or found, key=_distance)


def covering(question: Question, use: Use, purposes: tuple[str, ...]) -> list[Stop]:
    """The stops that reach this use, channel and controller by the time asked about."""
    return [stop for stop in question.stops if _covers(stop, question, use, purposes)]


def newest(stops: Iterable[Stop]) -> Stop | None:
    """The stop that names the reason."""
    return max(stops, key=lambda stop: (stop.since, -_RANK[stop.kind]), default=None)


def _covers(stop: Stop, question: Question, use: Use, purposes: tuple[str, ...]) -> bool:
    if stop.since > question.at or (stop.controller is not None and stop.controller != question.controller):
        return False
    if stop.channels is not None and question.channel not in stop.channels and question.channel != "any":
        return False
    if stop.kind == LOST:
        return True
    if stop.kind in ("withdrawn", "refused"):
        if stop.uses is not None:
            return not set(stop.uses).isdisjoint(purposes)
        # While processing is restricted every use rests on consent, whatever carries it else (GDPR 18(2)).
        return "consent" in use.grounds or (use.marketing and not stop.limited) or question.restricted() is not None
    if stop.kind == "legitimate_interest":
        return stop.kind in use.grounds
    if stop.kind == "survey":
        return stop.kind in use.objections
    return use.marketing and stop.kind in ("direct_marketing", "declined")


def _weigh(question: Question, use: Use, purpose: str) -> Consent:
    purposes = (use.name, purpose)
    stops = covering(question, use, purposes) if question.stops else ()
    last_stop = max(stop.since for stop in stops) if stops else -1
    best: Grant | None = None
    best_spoke, best_until, lifted, nearest = -1, None, -1, _MISSING
    for grant in question.own.grants:
        spoke = question.spoke(grant.said, grant.recorded)
        if question.erased is not None and spoke <= question.erased:
            continue
        reason, until = _unfit(question, use, purpose, grant), None
        if reason is None:
            lapsed, until = _lapsed(question, use, purpose, grant, spoke)
            flaw = _flawed(question, grant, spoke)
            if flaw is None and spoke > lifted:
                lifted = spoke
            reason = lapsed or flaw
        if reason is None and spoke > last_stop and spoke > best_spoke:
            best, best_spoke, best_until = grant, spoke, until
        elif reason is not None:
            nearest = min(nearest, _DISTANCE[reason])
    if best is not None:
        return Consent(best, "consent_valid", None, best_until)
    stop = newest(stop for stop in stops if stop.since >= lifted)
    if stop is not None:
        return Consent(None, STOP_REASONS[stop.kind], stop)
    if question.held.others:
        nearest = min(nearest, _elsewhere(question, use, purpose))
    return Consent(None, REPAIRS[nearest])


_DISTANCE: Final = {reason: place for place, reason in enumerate(REPAIRS)}
_MISSING: Final = len(REPAIRS) - 1


def _distance(consent: Consent) -> int:
    return _DISTANCE.get(consent.reason, -1)


def _elsewhere(question: Question, use: Use, purpose: str) -> int:
    """Grants of linked addresses: bound to the address they were given for, but they name the nearest repair."""
    reasons = [
        _unfit(question, use, purpose, grant) or "consent_identifier_mismatch"
        for fold in question.held.others
        for grant in fold.grants
        if question.erased is None or grant.said > question.erased
    ]
    return min((_DISTANCE[reason] for reason in reasons), default=_MISSING)


def _unfit(question: Question, use: Use, purpose: str, grant: Grant) -> str | None:
    """Purpose, controller, channel, address: whether the grant is for this at all."""
    if use.partner and (purpose not in grant.uses or grant.partner is None or grant.partner != question.message.partner):
        return "consent_missing"
    if purpose not in grant.uses:
        return "consent_purpose_mismatch"
    named = question.texts.uses.get(grant.text or "")
    if named is not None and purpose not in named:
        return "consent_purpose_mismatch"
    if question.controller not in grant.controllers:
        return "consent_controller_mismatch"
    channel = question.channel
    if channel not in grant.channels and channel != "none" and "any" not in grant.channels:
        return "consent_channel_mismatch"
    if grant.left is not None and grant.left <= question.at:
        return "consent_identifier_mismatch"
    return None


def _lapsed(question: Question, use: Use, purpose: str, grant: Grant, spoke: int) -> tuple[str | None, int | None]:
    """Whether it ran out: its own limit, passivity, age, a material change. Consent clocks are exact hours, half-open."""
    at, parameters = question.at, question.policy.parameters
    start = spoke if grant.confirmed is None or grant.confirmed > at else max(grant.confirmed, spoke)
    until = grant.until
    if parameters.consent_max_age_days is not None:
        until = _sooner(until, start + parameters.consent_max_age_days * DAY)
    if not question.policy.profile.no_passivity:
        passivity = parameters.passivity_days * DAY
        last = start
        for clock in grant.clocks:
            if clock.use == purpose and (clock.channel == question.channel or question.channel == "none"):
                if max(clock.first - start, clock.widest_gap()) >= passivity:
                    return "consent_expired", None
                last = max(last, clock.recent[-1])
        until = _sooner(until, last + passivity)
    if until is not None and until <= at:
        return "consent_expired", None
    ended = None if use.renews else question.texts.superseded(grant.text or "", purpose)
    if ended is not None:
        if ended <= at:
            return "consent_version_superseded", None
        until = _sooner(until, ended)
    return None, until


def _sooner(until: int | None, limit: int) -> int:
    return limit if until is None or limit < until else until


def _flawed(question: Question, grant: Grant, spoke: int) -> str | None:
    """Whether it was ever valid: parent, confirmation, form, proof, time."""
    if not grant.parent and question.birthdate is not None and question.minor_on(spoke):
        return "minor_without_parent"
    if awaits_confirmation(question, grant, spoke):
        return "consent_unconfirmed"
    if grant.faults:
        return "consent_invalid_form"
    if grant.invalidated is not None or question.stops or question.held.others:
        found = _found_invalid(question, grant, spoke)
        if found is not None:
            return found
    if not grant.proven or grant.text not in question.texts.uses:
        return "consent_unproven"
    if spoke > question.at:
        return "consent_future"
    return None


def _found_invalid(question: Question, grant: Grant, spoke: int) -> str | None:
    """What a later finding says of a grant: on any address it was given for; a finding that names no grant is of all so far."""
    for fold in question.folds:
        for one in fold.grants:
            if one.index == grant.index and question.had(one.invalidated):
                return "consent_unproven" if one.why == "proof" else "consent_invalid_form"
    every = [stop for stop in question.stops if stop.kind == "invalidated" and spoke <= stop.since <= question.at]
    return "consent_invalid_form" if every else None


def awaits_confirmation(question: Question, grant: Grant, spoke: int) -> bool:
    """Whether a double opt-in is needed and was not answered in time. A device can't be asked: it is the address itself."""
    parameters = question.policy.parameters
    if grant.verified or not parameters.double_opt_in:
        return False
    if grant.confirmed is not None and grant.confirmed_recorded is not None:
        confirmed = question.spoke(grant.confirmed, grant.confirmed_recorded)
        if confirmed <= question.at and confirmed < spoke + parameters.confirm_within_days * DAY:
            return False
    return not (question.request.address or "").startswith("device:")
