from __future__ import annotations

from typing import Any

import pytest

from consentlib.policy import Policy, parse_policy, starter
from consentlib.policy.lint import Finding, lint

WORDING = ("texts", "nlp-1", "wording", "en")
GOOD = "Littlesteps may send offers on toys by e-mail, SMS, telephone, post, after my purchases. Withdraw with the link."


def test_the_shop_s_policy_has_no_findings(policy: Policy) -> None:
    """The policy that ships with the library passes its own linter, warnings included."""
    assert lint(policy) == ()


def test_good_words_have_no_findings(change: Any) -> None:
    """The sentence that the cases below spoil is good in itself."""
    assert lint(change((WORDING, GOOD))) == ()


@pytest.mark.parametrize(
    ("key", "value", "severity", "code"),
    [
        (("parameters", "soft_opt_in_channels"), ["email"], "error", "promise_broken"),
        (("parameters", "proof_days"), 731, "warning", "proof_too_long"),
        (("parameters", "passivity_days"), 366, "warning", "passivity_too_long"),
        (("uses", "marketing_segmentation", "objections"), [], "error", "no_objection_path"),
        (("uses", "marketing_newsletter", "obligations"), ["identify_sender"], "error", "no_unsubscribe"),
        (("uses", "marketing_offers_profiled", "data"), ["payment_info"], "error", "data_unfit_for_marketing"),
        (("uses", "cookies_marketing", "data"), ["purchase_history_sensitive"], "error", "data_unfit_for_marketing"),
        (("uses", "marketing_post", "channels"), ["post", "email"], "error", "electronic_without_consent"),
        (("uses", "delivery", "cite"), [], "warning", "no_citation"),
        (("uses", "delivery", "label"), {"en": "Delivery"}, "warning", "untranslated"),
        (("uses", "delivery", "purpose"), {}, "warning", "untranslated"),
        (("uses", "marketing_segmentation", "carried_by"), [], "error", "no_consent_text"),
        (("uses", "consent_renewal_request", "renews"), False, "error", "no_consent_text"),
        (("policy", "marketing_use"), "survey", "error", "marketing_use_mild"),
        (("policy", "products", "da"), [], "warning", "products_undeclared"),
        (WORDING, GOOD.replace("Littlesteps", "We"), "error", "company_unnamed"),
        (WORDING, GOOD.replace("SMS", "message"), "error", "medium_unnamed"),
        (WORDING, GOOD.replace("e-mail", "message"), "error", "medium_unnamed"),
        (WORDING, GOOD.replace("toys", "goods"), "error", "products_unnamed"),
        (WORDING, GOOD.replace("purchases", "taste"), "error", "purchases_untold"),
        (WORDING, GOOD.replace("Withdraw", "Change"), "error", "withdrawal_untold"),
        (WORDING, GOOD.replace("the link", "ease"), "error", "withdrawal_untold"),
        ((*WORDING[:-1], "de"), "Ja bitte.", "warning", "language_unknown"),
        (("texts", "cookies-1", "wording", "da"), "Littlesteps. Træk tilbage med linket.", "error", "medium_unnamed"),
        (("forms", "footer", "active"), False, "error", "form_void"),
        (("forms", "footer", "prechecked"), True, "error", "form_void"),
        (("forms", "footer", "bundled_in_terms"), True, "error", "form_void"),
        (("forms", "footer", "conditional_on_purchase"), True, "error", "form_void"),
        (("forms", "footer", "informed_of_withdrawal"), False, "error", "form_void"),
        (("processors", "mailchimp", "safeguard"), {}, "error", "no_safeguard"),
    ],
)
def test_each_lint_fires(change: Any, key: tuple[str, ...], value: Any, severity: str, code: str) -> None:
    """One spoilt value, one kind of finding, at that place of the file."""
    found: tuple[Finding, ...] = lint(change((key, value)))
    assert {(finding.severity, finding.code) for finding in found} == {(severity, code)}
    assert all(finding.key.startswith(".".join(key[:2])) for finding in found)


def test_what_a_copy_leaves_of_the_starter_is_found() -> None:
    """In a policy of another company each name, id, address and wording of the starter's shop is a placeholder left."""
    renamed = starter().replace("Littlesteps", "Bjornebo").replace("privacy@littlesteps.dk", "privacy@bjornebo.dk")
    found = lint(parse_policy(renamed))
    assert {(finding.severity, finding.code) for finding in found} == {("warning", "placeholder")}
    keys = {finding.key for finding in found}
    assert {"policy.id", "policy.controller", "policy.security.en", "policy.security.da", "controllers.littlesteps"} <= keys
    assert {"controllers.othershop.contact", "texts.nl-1.wording.da", "texts.nl-1.controllers"} <= keys
    assert not {"controllers.littlesteps.name", "controllers.littlesteps.contact", "texts.offers-1.wording.en"} & keys
    for old, new in (("littlesteps", "bjornebo"), ("Othershop", "Sister"), ("othershop", "sister")):
        renamed = renamed.replace(old, new)
    assert {finding.key for finding in lint(parse_policy(renamed))} == {"policy.security.en", "policy.security.da"}
    for old, new in (("pseudonymous consent log with", "log with"), ("pseudonym samtykkelog", "log")):
        renamed = renamed.replace(old, new)
    assert lint(parse_policy(renamed)) == ()


def test_both_companies_of_a_text_must_be_named(change: Any) -> None:
    """Consent reaches no company that its text does not name."""
    found = lint(change((("texts", "nl-1", "wording", "en"), GOOD)))
    assert [(finding.code, "`othershop`" in finding.sentence) for finding in found] == [("company_unnamed", True)]


def test_a_text_may_be_silent_on_goods_where_it_sells_none(change: Any) -> None:
    """Surveys and cookies need no product types; the medium and the way out they do need."""
    assert lint(change((("texts", "survey-1", "wording", "en"), "Littlesteps asks by e-mail or SMS. Withdraw: link."))) == ()


def test_without_the_promise_soft_opt_in_is_the_shop_s_choice(change: Any) -> None:
    """The promise is what makes it an error, not the law."""
    switched_on = (("parameters", "soft_opt_in_channels"), ["email"])
    assert lint(change(switched_on, (("policy", "promise"), None))) == ()


def test_a_safeguard_is_not_needed_inside_the_eea(change: Any) -> None:
    """Third countries are those outside the EEA; Norway is inside."""
    mailchimp = ("processors", "mailchimp")
    assert lint(change(((*mailchimp, "safeguard"), {}), ((*mailchimp, "country"), "NO"))) == ()


def test_single_opt_in_is_noted_for_germany(change: Any) -> None:
    """Elsewhere it is a choice without comment."""
    single = (("parameters", "double_opt_in"), False)
    assert [finding.code for finding in lint(change(single, (("policy", "profile"), "DE")))] == ["unconfirmed_addresses"]
    assert lint(change(single)) == ()


def test_errors_come_first_and_equal_policies_read_alike(small: str) -> None:
    """The order depends on the findings, not on the order of the file."""
    one = parse_policy(small + "[parameters]\nproof_days = 999\n[processors.a]\nname='A'\ncountry='US'\npurpose={en='x'}\n")
    found = lint(one)
    assert [finding.severity for finding in found] == sorted(finding.severity for finding in found)
    assert {"error", "warning"} == {finding.severity for finding in found}
    assert lint(Policy.from_canonical(one.canonical())) == found
