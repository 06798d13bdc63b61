"""Terms: the words are the design's words, whole, sourced, and fit to be shown."""

from __future__ import annotations

import pickle
import re

import attrs
import pytest

from consentlib import reasons
from consentlib.reasons import REASONS, Reason
from consentlib.terms import (
    CHANNELS,
    CONDITIONS,
    GROUNDS,
    MESSAGE_FIELDS,
    OBJECTIONS,
    OBLIGATIONS,
    PURPOSES,
    STATUSES,
    Term,
)

ALLOW = [
    "campaign_winner",
    "claim_open",
    "complaint_open",
    "consent_during_restriction",
    "consent_valid",
    "contract_open",
    "follow_up_window",
    "implied_consent_valid",
    "inquiry_open",
    "not_objected",
    "pending_confirmation",
    "restricted_storage",
    "return_open",
    "soft_opt_in_valid",
    "statutory_duty",
    "strictly_necessary",
    "suppression_kept",
    "survey_window",
    "within_complaint_period",
    "within_proof_period",
    "within_statutory_period",
    "within_withdrawal_period",
]
DENY = [
    "already_asked",
    "campaign_closed",
    "consent_channel_mismatch",
    "consent_controller_mismatch",
    "consent_expired",
    "consent_future",
    "consent_identifier_mismatch",
    "consent_invalid_form",
    "consent_missing",
    "consent_purpose_mismatch",
    "consent_refused",
    "consent_unconfirmed",
    "consent_unproven",
    "consent_version_superseded",
    "consent_withdrawn",
    "data_category_not_permitted",
    "erased",
    "implied_consent_expired",
    "invalid_address",
    "invalid_time",
    "ledger_unavailable",
    "ledger_unverified",
    "message_obligation_unmet",
    "minor_without_parent",
    "missing_fact",
    "mixed_content",
    "no_ground",
    "no_open_contract",
    "objection_direct_marketing",
    "objection_legitimate_interest",
    "policy_invalid",
    "register_listed",
    "register_stale",
    "restricted",
    "retention_ended",
    "soft_opt_in_declined",
    "soft_opt_in_not_own",
    "soft_opt_in_not_similar",
    "soft_opt_in_stale",
    "tracking_not_consented",
    "unknown_channel",
    "unknown_subject",
    "unknown_use",
]

SOURCES = (
    "GDPR ",
    "ePD ",
    "MFL ",
    "CASL ",
    "GPSR ",
    "EDPB ",
    "FO ",
    "DBL ",
    "WP260 ",
    "C-",
    "Bogføringsloven ",
    "Købeloven ",
    "Forbrugeraftaleloven ",
)
TABLES = {"GROUNDS": GROUNDS, "STATUSES": STATUSES, "PURPOSES": PURPOSES, "CONDITIONS": CONDITIONS}
ALL_TERMS = [pytest.param(term, id=f"{table}.{name}") for table, rows in TABLES.items() for name, term in rows.items()]
ALL_REASONS = [pytest.param(reason, id=code) for code, reason in REASONS.items()]


def test_reason_codes_are_stable() -> None:
    """The codes, and which of them allow, are exactly the published ones: callers and old decisions name them."""
    assert sorted(code for code, reason in REASONS.items() if reason.allows) == ALLOW
    assert sorted(code for code, reason in REASONS.items() if not reason.allows) == DENY
    assert len(reasons._ALLOW) + len(reasons._DENY) == len(REASONS)


def test_names_of_the_other_tables() -> None:
    """Grounds, statuses, conditions, obligations and message fields are the published ones."""
    assert set(GROUNDS) == {
        "consent",
        "soft_opt_in",
        "implied_consent",
        "contract",
        "request_of_subject",
        "legal_obligation",
        "legitimate_interest",
        "legal_claims",
        "storage",
        "strictly_necessary",
    }
    assert set(STATUSES) == {
        "asked",
        "refused",
        "unconfirmed",
        "given",
        "renewed",
        "expired",
        "superseded",
        "withdrawn",
        "revoked",
        "invalidated",
        "unknown",
    }
    assert set(CONDITIONS) == {
        "order_open",
        "order_current",
        "order_delivered_recently",
        "complaint_period",
        "withdrawal_period",
        "bookkeeping_period",
        "product_in_use",
        "inquiry_open",
        "confirmation_pending",
        "campaign_won",
        "register_clear",
        "claim_open",
        "proof_period",
        "restricted_storage",
        "suppression",
        "always",
        "device_necessary",
    }
    assert set(OBLIGATIONS) == {"include_unsubscribe", "identify_sender", "recheck_at_send", "record_use"}
    assert set(MESSAGE_FIELDS) == {
        "marketing",
        "unsubscribe",
        "sender_identified",
        "product_category",
        "own_products",
        "branded",
        "partner",
        "processor",
        "kind",
        "tracking",
    }
    assert CHANNELS == ("email", "sms", "phone", "post", "device", "none", "any")
    assert OBJECTIONS == ("direct_marketing", "legitimate_interest", "survey")


@pytest.mark.parametrize("term", ALL_TERMS)
def test_term(term: Term) -> None:
    """Each term has a source, a note of whole sentences, and where DPV has no word for it, a note that says so."""
    assert term.cite
    assert all(source.startswith(SOURCES) for source in term.cite)
    assert re.fullmatch(r"[A-Z].*\.", term.note)
    if term.dpv is not None:
        assert re.fullmatch(r"dpv:[A-Z]\w+|eu-gdpr:A[0-9]+-[0-9a-z-]+", term.dpv)
    elif CONDITIONS.get(term.name) is not term:
        assert "DPV" in term.note


def test_terms_stand_under_their_names() -> None:
    """The key of each row is the name in it, and each table fills one field of ISO/IEC TS 27560."""
    fields = {"GROUNDS": "lawful_basis", "STATUSES": "event_state", "PURPOSES": "purpose", "CONDITIONS": None}
    for table, rows in TABLES.items():
        assert all(name == term.name for name, term in rows.items())
        assert {term.iso27560 for term in rows.values()} == {fields[table]}
    assert all(code == reason.code for code, reason in REASONS.items())


def test_permissions_are_no_grounds_of_article_6() -> None:
    """Storage, claims and strict necessity say that they are permissions, and no other ground does."""
    said = {name for name, term in GROUNDS.items() if "not an Art. 6 ground" in term.note}
    assert said == {"storage", "legal_claims", "strictly_necessary"}
    cited = {name for name, term in GROUNDS.items() if any(cite.startswith("GDPR 6(1)") for cite in term.cite)}
    assert cited == set(GROUNDS) - said - {"soft_opt_in", "implied_consent"}


@pytest.mark.parametrize("reason", ALL_REASONS)
def test_reason(reason: Reason) -> None:
    """Each reason has sources and one plain sentence in English and Danish, for the shop and for the person."""
    assert reason.cite
    assert all(source.startswith(SOURCES) for source in reason.cite)
    for texts in (reason.shop, reason.person):
        assert list(texts) == ["en", "da"]
        for text in texts.values():
            assert re.fullmatch(r"[A-Z][^.!?{}%<>]*\.", text), text
            assert "  " not in text
        assert texts["en"] != texts["da"]
    if reason.allows:
        assert reason.repair is None


def test_only_time_can_leave_no_repair() -> None:
    """A denial names what would lift it, except where a period or campaign is over."""
    assert {code for code in DENY if REASONS[code].repair is None} == {"campaign_closed", "retention_ended"}
    for code in DENY:
        repair = REASONS[code].repair
        assert repair is None or (repair[0].islower() and not repair.endswith("."))


@pytest.mark.parametrize("value", [GROUNDS["consent"], REASONS["consent_valid"]])
def test_words_are_frozen_values(value: Term | Reason) -> None:
    """A word can't be changed, and survives pickling."""
    with pytest.raises(attrs.exceptions.FrozenInstanceError):
        value.cite = ()  # type: ignore[misc]
    assert pickle.loads(pickle.dumps(value)) == value
