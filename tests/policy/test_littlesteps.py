"""The shop's policy against the rules it must serve."""

from __future__ import annotations

import pytest

from consentlib.policy import Policy

# Data categories, in the order of the rules page: name, phone, e-mail, delivery address, payment, history.
DATA = {
    "delivery": "name phone email delivery_address",
    "order_admin": "name phone email delivery_address payment_info purchase_history",
    "service_message": "name phone email purchase_history",
    "follow_up": "name email purchase_history",
    "answer_question": "name phone email delivery_address purchase_history",
    "legal_bookkeeping": "name delivery_address payment_info purchase_history email",
    "legal_safety_recall": "name phone email delivery_address purchase_history",
    "complaint": "name phone email delivery_address payment_info purchase_history",
    "return_exchange": "name phone email delivery_address payment_info purchase_history",
    "marketing_newsletter": "name email phone",
    "marketing_offers_profiled": "name email phone purchase_history",
    "marketing_segmentation": "purchase_history",
    "marketing_post": "name delivery_address",
    "marketing_phone": "name phone",
    "campaign_prize": "name phone delivery_address email",
    "survey": "name email",
    "consent_confirmation": "email phone",
    "consent_renewal_request": "name email",
    "share_with_partner": "email",
    "suppression_check": "email_hash phone_hash",
    "consent_proof": "email email_hash consent_record",
}
OTHER_USES = {
    "rights_handling",
    "legal_claims",
    "storage",
    "email_tracking",
    "cookies_necessary",
    "cookies_preferences",
    "cookies_statistics",
    "cookies_marketing",
}
TEXTS = {
    "nl-1": {"marketing_newsletter"},
    "nl-2": {"marketing_newsletter"},
    "nlp-1": {"marketing_newsletter", "marketing_offers_profiled"},
    "nlp-2": {"marketing_newsletter", "marketing_offers_profiled"},
    "partner-1": {"share_with_partner"},
    "survey-1": {"survey"},
    "delivery-1": {"delivery"},
    "cookies-1": {"cookies_marketing"},
    "nlt-1": {"marketing_newsletter", "email_tracking"},
}
ONLY_CONSENT = [
    "marketing_offers_profiled",
    "marketing_segmentation",
    "marketing_phone",
    "share_with_partner",
    "email_tracking",
    "campaign_prize",
    "cookies_preferences",
    "cookies_statistics",
    "cookies_marketing",
    "consent_renewal_request",
]
AGES = {
    13: "SE NO GB CA US EE FI LV MT PT",
    14: "AT BG CY ES IT LT",
    15: "DK FR CZ GR",
    16: "DE HR LU NL PL RO SK",
    18: "IN",
}


def test_every_use_of_the_rules_is_there(policy: Policy) -> None:
    """No more and no fewer: an unknown use is denied, so a missing row would stop a lawful one."""
    assert set(policy.uses) == set(DATA) | OTHER_USES


@pytest.mark.parametrize("name", DATA)
def test_each_use_takes_the_data_it_needs(policy: Policy, name: str) -> None:
    """Asking for more is denied, so the lists are exact."""
    assert policy.uses[name].data == set(DATA[name].split())


@pytest.mark.parametrize("version", TEXTS)
def test_each_text_names_its_uses(policy: Policy, version: str) -> None:
    """In both languages; nothing in the file says that one replaces another, for that is an event."""
    text = policy.texts[version]
    assert text.uses == TEXTS[version]
    assert set(text.wording) == {"en", "da"}
    assert (text.supersedes, text.material, text.published) == (None, False, None)


def test_what_only_consent_can_carry(policy: Policy) -> None:
    """Soft opt-in is not stretched to profiling, calls, sharing, tracking or cookies (C-654/23)."""
    for name in ONLY_CONSENT:
        assert policy.uses[name].grounds == ("consent",), name
    assert policy.uses["marketing_newsletter"].grounds == ("consent", "soft_opt_in", "implied_consent")
    assert policy.parameters.soft_opt_in_channels == ()


def test_direct_marketing_is_what_an_objection_stops(policy: Policy) -> None:
    """`marketing_*`, renewal, sharing, tracking and marketing cookies; not survey, prize or service."""
    marketing = {name for name in policy.uses if name.startswith("marketing_")}
    marketing |= {"consent_renewal_request", "share_with_partner", "email_tracking", "cookies_marketing"}
    assert {name for name, use in policy.uses.items() if use.marketing} == marketing
    assert {name for name, use in policy.uses.items() if "direct_marketing" in use.objections} == marketing


def test_which_messages_must_declare_marketing(policy: Policy) -> None:
    """All but those the rules exempt, and those that are no message."""
    declared = {name for name, use in policy.uses.items() if use.declare_marketing and use.channels != {"none"}}
    assert declared == {
        "service_message",
        "follow_up",
        "answer_question",
        "legal_safety_recall",
        "marketing_newsletter",
        "marketing_offers_profiled",
        "marketing_post",
        "marketing_phone",
        "consent_confirmation",
        "consent_renewal_request",
        "survey",
    }


def test_the_short_words_of_shop_code_lead_somewhere(policy: Policy) -> None:
    """The words a developer would type first."""
    words = {
        "delivery": "delivery",
        "service": "service_message",
        "marketing": "marketing_newsletter",
        "campaigns": "campaign_prize",
        "surveys": "survey",
        "complaints": "complaint",
        "returns": "return_exchange",
        "customer_service": "answer_question",
        "order_administration": "order_admin",
    }
    assert {word: use.name for word in words if (use := policy.use(word))} == words


def test_each_form_collects_what_its_name_says(policy: Policy) -> None:
    """The footer asks for the newsletter only, the checkout for offers too; no form is pre-ticked."""
    assert (policy.forms["footer"].text, policy.forms["checkout"].text) == ("nl-1", "nlp-1")
    assert {"campaign", "survey", "cookies_marketing"} <= set(policy.forms)
    assert {use for form in policy.forms.values() for use in form.uses} >= set(ONLY_CONSENT) - {
        "marketing_segmentation",  # carried by the consent to profiled offers
        "consent_renewal_request",  # rests on a live consent
    }


def test_the_profiles_have_the_ages_of_their_countries(policy: Policy) -> None:
    """As of 2026; Denmark's is the only one with a history."""
    found = {name: profile.child_age[-1][1] for name, profile in policy.profiles.items()}
    assert found == {name: age for age, names in AGES.items() for name in names.split()}
    assert {name for name, profile in policy.profiles.items() if len(profile.child_age) > 1} == {"DK"}


def test_the_profiles_differ_where_their_law_does(policy: Policy) -> None:
    """Negotiations in the United Kingdom, implied consent in Canada, passivity in neither."""
    assert {name for name, row in policy.profiles.items() if row.soft_opt_in_negotiation} == {"GB"}
    assert {name for name, row in policy.profiles.items() if row.no_passivity} == {"GB", "CA"}
    implied = {n: (r.implied_purchase_days, r.implied_inquiry_days) for n, r in policy.profiles.items() if r.implied}
    assert implied == {"CA": (730, 183)}


def test_a_grant_for_profiled_offers_carries_segmentation(policy: Policy) -> None:
    """Never the reverse."""
    assert policy.uses["marketing_segmentation"].carried_by == ("marketing_offers_profiled",)
    assert [name for name, use in policy.uses.items() if use.carried_by] == ["marketing_segmentation"]
