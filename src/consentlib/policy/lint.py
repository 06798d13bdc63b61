"""What a policy may say but should not: findings to read before publishing. What can't be judged by is refused at load.

An `error` makes consent given under the policy worthless, or breaks a promise or the law; a `warning` is a choice to
justify, or something the linter can't see. Words are looked for in English and Danish.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from typing import Any, Final

from attrs import frozen

from consentlib.errors import PolicyError
from consentlib.policy.model import UNCONDITIONAL, Policy, Text, Use


@frozen
class Finding:
    """`key` is the dotted key in the file, `severity` `error` or `warning`, `code` a name that stays the same."""

    key: str
    severity: str
    code: str
    sentence: str


_EEA: Final = "AT BE BG CY CZ DE DK EE ES FI FR GR HR HU IE IS IT LI LT LU LV MT NL NO PL PT RO SE SI SK"
_MEDIA: Final[Mapping[str, Mapping[str, tuple[str, ...]]]] = {
    "email": {"en": ("e-mail", "email"), "da": ("e-mail", "email", "mail")},
    "sms": {"en": ("sms", "text message"), "da": ("sms",)},
    "phone": {"en": ("telephone", "phone"), "da": ("telefon", "ringe")},
    "post": {"en": ("post", "letter"), "da": ("post", "brev")},
    "device": {"en": ("cookie",), "da": ("cookie",)},
}
_WITHDRAW: Final = {"en": ("withdraw", "unsubscribe"), "da": ("tilbage", "afmeld", "framelde")}
_HOW: Final = {"en": ("link", "writing to", "write to", "reply"), "da": ("link", "skrive til", "skriv til", "svar")}
_PURCHASES: Final = {"en": ("purchase", "bought"), "da": ("køb",)}
_ELECTRONIC: Final = frozenset({"email", "sms", "any"})
_NEVER_MARKETING: Final = ("payment_info", "purchase_history_sensitive")


def lint(policy: Policy) -> tuple[Finding, ...]:
    """All findings, errors first, then by key: the same for equal policies."""
    found = {finding for check in _CHECKS for finding in check(policy)}
    return tuple(sorted(found, key=lambda finding: (finding.severity, finding.key, finding.code)))


def refuse_errors(policy: Policy) -> None:
    """Raise `PolicyError` with the errors as `findings` and, a line each, as notes; warnings are no reason to refuse."""
    errors = tuple(finding for finding in lint(policy) if finding.severity == "error")
    if not errors:
        return
    refusal = PolicyError(f"expected a policy without errors, found {len(errors)}", findings=errors)
    for one in errors:
        refusal.add_note(f"`{one.key}`: {one.sentence} [{one.code}]")
    raise refusal


def _parameters(policy: Policy) -> Iterator[Finding]:
    chosen = policy.parameters
    if chosen.soft_opt_in_channels and policy.promise == "explicit_consent":
        yield Finding(
            "parameters.soft_opt_in_channels",
            "error",
            "promise_broken",
            "soft opt-in is on, but the policy promises explicit consent: change what people were told first",
        )
    if chosen.proof_days > 730:
        yield Finding(
            "parameters.proof_days",
            "warning",
            "proof_too_long",
            "proof is kept for more than two years after the last use; Datatilsynet criticised five (2020-431-0075)",
        )
    if policy.profile.name == "DK" and chosen.passivity_days > 365:
        yield Finding(
            "parameters.passivity_days",
            "warning",
            "passivity_too_long",
            "in Denmark a consent that was not used for a year lapses",
        )
    if policy.profile.name == "DE" and not chosen.double_opt_in:
        yield Finding(
            "parameters.double_opt_in",
            "warning",
            "unconfirmed_addresses",
            "in Germany the courts expect double opt-in as proof that the address is the person's",
        )


def _uses(policy: Policy) -> Iterator[Finding]:
    if not policy.uses[policy.marketing_use].marketing:
        yield Finding(
            "policy.marketing_use",
            "error",
            "marketing_use_mild",
            "marketing content is judged as a use that is not marked as marketing, so objections would not stop it",
        )
    told = {use for text in policy.texts.values() for use in text.uses}
    for name, use in policy.uses.items():
        key = f"uses.{name}"
        if use.marketing and "direct_marketing" not in use.objections:
            yield Finding(
                f"{key}.objections",
                "error",
                "no_objection_path",
                "marketing that an objection to direct marketing does not stop (GDPR 21(2)-(3))",
            )
        if _sends(use) and "include_unsubscribe" not in use.obligations:
            yield Finding(
                f"{key}.obligations",
                "error",
                "no_unsubscribe",
                "marketing messages without the duty to offer the stop in each of them",
            )
        if _sends(use) and use.channels & _ELECTRONIC and not set(use.grounds) <= set(UNCONDITIONAL):
            yield Finding(
                f"{key}.grounds",
                "error",
                "electronic_without_consent",
                "marketing by e-mail or SMS on another ground than consent or soft opt-in (ePrivacy 13, MFL 10(1)-(2))",
            )
        for category in _NEVER_MARKETING:
            if use.marketing and category in use.data:
                yield Finding(
                    f"{key}.data",
                    "error",
                    "data_unfit_for_marketing",
                    f"marketing with `{category}` (GDPR 5(1)(c), 9(1))",
                )
        if "consent" in use.grounds and not (name in told or use.renews or told.intersection(use.carried_by)):
            yield Finding(f"{key}.grounds", "error", "no_consent_text", "rests on consent, but no text asks for it")
        if not use.cite:
            yield Finding(f"{key}.cite", "warning", "no_citation", "says nowhere which rule its ground comes from")
        for part, words in (("label", use.label), ("purpose", use.purpose)):
            if missing := [language for language in ("en", "da") if language not in words]:
                yield Finding(
                    f"{key}.{part}",
                    "warning",
                    "untranslated",
                    f"has no {part} in {' and '.join(f'`{language}`' for language in missing)}",
                )


def _sends(use: Use) -> bool:
    """Whether the use is direct marketing in messages, not a mere operation such as tracking or sharing."""
    return use.marketing and use.declare_marketing and bool(use.channels - {"none", "device"})


def _texts(policy: Policy) -> Iterator[Finding]:
    for version, text in policy.texts.items():
        for language, wording in text.wording.items():
            key = f"texts.{version}.wording.{language}"
            if language not in _WITHDRAW:
                yield Finding(key, "warning", "language_unknown", "is in a language that the linter can't read")
            else:
                yield from _wording(policy, text, language, wording.casefold(), key)


def _wording(policy: Policy, text: Text, language: str, wording: str, key: str) -> Iterator[Finding]:
    uses = [policy.uses[name] for name in text.uses]

    def says(words: tuple[str, ...]) -> bool:
        return any(word.casefold() in wording for word in words)

    for name in sorted(text.controllers):
        controller = policy.controllers[name]
        if not says((controller.legal_name, *controller.brands)):
            yield Finding(
                key,
                "error",
                "company_unnamed",
                f"does not name the company `{name}`, by legal name or brand (recital 42)",
            )
    for channel in sorted(text.channels - {"any", "none"}):
        if not says(_MEDIA[channel][language]):
            yield Finding(key, "error", "medium_unnamed", f"does not name the medium `{channel}`")
    if not (says(_WITHDRAW[language]) and says(_HOW[language])):
        yield Finding(
            key, "error", "withdrawal_untold", "does not say that and how consent is withdrawn (GDPR 7(3), MFL 10(1))"
        )
    sells = any(_sends(use) for use in uses)
    if sells and not policy.products.get(language):
        yield Finding(
            f"policy.products.{language}",
            "warning",
            "products_undeclared",
            "lists no product types to look for in texts",
        )
    elif sells and not says(policy.products[language]):
        yield Finding(key, "error", "products_unnamed", "does not say what kinds of products the marketing is about")
    if any(use.marketing and "purchase_history" in use.data for use in uses) and not says(_PURCHASES[language]):
        yield Finding(key, "error", "purchases_untold", "does not say that purchases are used to choose offers")


def _forms(policy: Policy) -> Iterator[Finding]:
    for name, form in policy.forms.items():
        for flag, wanted, why in (
            ("active", True, "asks for no affirmative act (recital 32)"),
            ("prechecked", False, "is ticked beforehand (recital 32)"),
            ("bundled_in_terms", False, "hides the consent in the terms (GDPR 7(2))"),
            ("conditional_on_purchase", False, "makes the purchase depend on consent (GDPR 7(4))"),
            ("informed_of_withdrawal", True, "does not tell of withdrawal (GDPR 7(3))"),
        ):
            if getattr(form, flag) is not wanted:
                yield Finding(f"forms.{name}.{flag}", "error", "form_void", f"collects no valid consent: {why}")


def _processors(policy: Policy) -> Iterator[Finding]:
    for key, processor in policy.processors.items():
        if processor.country not in _EEA and not processor.safeguard:
            yield Finding(
                f"processors.{key}.safeguard",
                "error",
                "no_safeguard",
                f"works in `{processor.country}`, outside the EEA, under no named safeguard (GDPR 44-46)",
            )


def _placeholders(policy: Policy) -> Iterator[Finding]:
    """What the starter policy says of its own shop, in a policy of another."""
    if policy.controllers[policy.controller].legal_name == _STARTER:
        return
    for key, text in _words(policy.plain()):
        if any(word in text.casefold() for word in _STARTER_WORDS):
            yield Finding(key, "warning", "placeholder", "is still what the starter policy says of its own shop")


def _words(value: Any, key: str = "") -> Iterator[tuple[str, str]]:
    """Every text in a policy and every name of a table in it, by its dotted key."""
    if isinstance(value, str):
        yield key, value
    elif isinstance(value, Mapping):
        for name, inner in value.items():
            below = f"{key}.{name}" if key else name
            yield below, name
            yield from _words(inner, below)
    elif isinstance(value, (list, tuple)):
        for inner in value:
            yield from _words(inner, key)


_STARTER: Final = "Littlesteps ApS"
_STARTER_WORDS: Final = (
    "littlesteps",
    "othershop",
    "pseudonymous consent log with tamper evidence",
    "pseudonym samtykkelog der afslører ændringer",
)
_CHECKS: Final[tuple[Callable[[Policy], Iterator[Finding]], ...]] = (
    _parameters,
    _uses,
    _texts,
    _forms,
    _processors,
    _placeholders,
)
