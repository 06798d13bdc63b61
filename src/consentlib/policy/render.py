"""A policy in words, as Markdown: the table of a privacy notice (GDPR 13-14) and the record of processing (GDPR 30)."""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping
from typing import Final

from attrs import asdict

from consentlib.errors import PolicyError
from consentlib.policy.model import Policy, Use

_GROUNDS: Final[Mapping[str, Mapping[str, str]]] = {
    "contract": {"en": "contract with you, GDPR 6(1)(b)", "da": "aftale med dig, GDPR art. 6, stk. 1, litra b"},
    "request_of_subject": {"en": "your request, GDPR 6(1)(b)", "da": "din anmodning, GDPR art. 6, stk. 1, litra b"},
    "legal_obligation": {
        "en": "legal obligation, GDPR 6(1)(c)",
        "da": "retlig forpligtelse, GDPR art. 6, stk. 1, litra c",
    },
    "legitimate_interest": {
        "en": "legitimate interest, GDPR 6(1)(f)",
        "da": "legitim interesse, GDPR art. 6, stk. 1, litra f",
    },
    "consent": {"en": "consent, GDPR 6(1)(a)", "da": "samtykke, GDPR art. 6, stk. 1, litra a"},
    "soft_opt_in": {
        "en": "own similar products to customers, ePrivacy 13(2)",
        "da": "egne tilsvarende produkter til kunder, markedsføringsloven § 10, stk. 2",
    },
    "implied_consent": {
        "en": "implied consent, CASL 10(9)-(10)",
        "da": "stiltiende samtykke, CASL 10(9)-(10)",
    },
    "storage": {
        "en": "storage under restriction, GDPR 18(2)",
        "da": "opbevaring under begrænsning, GDPR art. 18, stk. 2",
    },
    "legal_claims": {"en": "legal claims, GDPR 17(3)(e)", "da": "retskrav, GDPR art. 17, stk. 3, litra e"},
    "strictly_necessary": {
        "en": "strictly necessary, ePrivacy 5(3)",
        "da": "strengt nødvendigt, e-databeskyttelsesdirektivet art. 5, stk. 3",
    },
}
_CHANNELS: Final[Mapping[str, Mapping[str, str]]] = {
    "email": {"en": "e-mail", "da": "e-mail"},
    "sms": {"en": "SMS", "da": "sms"},
    "phone": {"en": "telephone", "da": "telefon"},
    "post": {"en": "post", "da": "post"},
    "device": {"en": "your device", "da": "din enhed"},
    "none": {"en": "no contact", "da": "ingen kontakt"},
    "any": {"en": "any", "da": "alle"},
}
_STOPS: Final[Mapping[str, Mapping[str, str]]] = {
    "withdraw": {"en": "withdraw at any time", "da": "træk tilbage når som helst"},
    "object_marketing": {
        "en": "object at any time, always followed (GDPR 21(2))",
        "da": "gør indsigelse når som helst, følges altid (GDPR art. 21, stk. 2)",
    },
    "object": {"en": "object (GDPR 21(1))", "da": "gør indsigelse (GDPR art. 21, stk. 1)"},
    "decline": {"en": "decline further surveys", "da": "sig nej til flere undersøgelser"},
    "none": {"en": "none while the ground lasts", "da": "ingen, så længe grundlaget består"},
}
_HEADS: Final[Mapping[str, tuple[str, ...]]] = {
    "en": ("Use", "Purpose", "Ground", "Data", "How we reach you", "How long", "Your right to stop it", "Recipients"),
    "da": (
        "Brug",
        "Formål",
        "Grundlag",
        "Oplysninger",
        "Kontaktform",
        "Hvor længe",
        "Din ret til at stoppe det",
        "Modtagere",
    ),
}
_RECORD: Final[Mapping[str, Mapping[str, str]]] = {
    "title": {
        "en": "Record of processing activities (GDPR 30(1))",
        "da": "Fortegnelse over behandlingsaktiviteter (GDPR art. 30, stk. 1)",
    },
    "policy": {"en": "Policy", "da": "Politik"},
    "controller": {"en": "Controller", "da": "Dataansvarlig"},
    "purpose": {"en": "Purpose", "da": "Formål"},
    "ground": {"en": "Ground", "da": "Grundlag"},
    "subjects": {"en": "Categories of persons", "da": "Kategorier af registrerede"},
    "data": {"en": "Categories of data", "da": "Kategorier af oplysninger"},
    "recipients": {"en": "Recipients", "da": "Modtagere"},
    "limit": {"en": "Time limit", "da": "Slettefrist"},
    "processors": {"en": "Processors and third countries", "da": "Databehandlere og tredjelande"},
    "safeguard": {"en": "safeguard", "da": "garanti"},
    "security": {"en": "Security measures", "da": "Sikkerhedsforanstaltninger"},
}
_PERIODS: Final[Mapping[str, Mapping[str, str]]] = {
    "days": {"en": "days", "da": "dage"},
    "years": {"en": "years", "da": "år"},
}


def notice_table(policy: Policy, language: str) -> str:
    """The uses as a Markdown table for a privacy notice, in `en` or `da`. Raises `PolicyError` for another language.

    Words that the policy lacks in that language appear in English, else as their key; `lint` finds them.
    """
    _known(language)
    rows = [_HEADS[language], ("---",) * len(_HEADS[language])]
    for use in _ordered(policy):
        rows.append(
            (
                _say(use.label, language, use.name),
                _say(use.purpose, language),
                _grounds(policy, use, language),
                _named(sorted(use.data), policy.data, language),
                _list(_CHANNELS[channel][language] for channel in _CHANNELS if channel in use.channels),
                _retention(policy, use, language),
                _stop(use, language),
                _recipients(policy, use, language),
            )
        )
    return "".join("| " + " | ".join(_cell(cell) for cell in row) + " |\n" for row in rows)


def processing_record(policy: Policy, language: str) -> str:
    """The record of processing of GDPR 30(1), in `en` or `da`. Raises `PolicyError` for another language."""
    _known(language)
    word = {key: words[language] for key, words in _RECORD.items()}
    controller = policy.controllers[policy.controller]
    lines = [
        f"# {word['title']}",
        "",
        f"- {word['policy']}: {policy.id} {policy.version} (`{policy.hash}`)",
        f"- {word['controller']}: {_line(controller.legal_name)}, {_line(controller.contact)}",
    ]
    for use in _ordered(policy):
        lines += [
            "",
            f"## {_line(_say(use.label, language, use.name))}",
            "",
            f"- {word['purpose']}: {_line(_say(use.purpose, language))}",
            f"- {word['ground']}: {_grounds(policy, use, language)} ({_line('; '.join(use.cite))})",
            f"- {word['subjects']}: {_line(_named(use.subjects, policy.subjects, language))}",
            f"- {word['data']}: {_line(_named(sorted(use.data), policy.data, language))}",
            f"- {word['recipients']}: {_line(_recipients(policy, use, language))}",
            f"- {word['limit']}: {_line(_retention(policy, use, language))}",
        ]
    lines += ["", f"## {word['processors']}", ""]
    for _, processor in sorted(policy.processors.items()):
        safeguard = f"; {word['safeguard']}: {_say(processor.safeguard, language)}" if processor.safeguard else ""
        lines.append(_line(f"- {processor.name}, {processor.country}: {_say(processor.purpose, language)}{safeguard}"))
    if policy.security:
        lines += ["", f"## {word['security']}", "", _line(_say(policy.security, language))]
    return "\n".join(lines) + "\n"


def _known(language: str) -> None:
    if language not in _HEADS:
        raise PolicyError(f"expected the language `en` or `da`, found `{language}`")


def _ordered(policy: Policy) -> list[Use]:
    """Contract first, as the notice of the shop does; the same order for equal policies, however they were read."""
    rank = list(_GROUNDS)
    return sorted(policy.uses.values(), key=lambda use: (rank.index(use.grounds[0]), use.name))


def _say(words: Mapping[str, str], language: str, key: str = "–") -> str:
    return words.get(language) or words.get("en") or key


def _named(keys: Iterable[str], words: Mapping[str, Mapping[str, str]], language: str) -> str:
    return _list(_say(words[key], language, key) for key in keys)


def _list(words: Iterable[str]) -> str:
    return ", ".join(words) or "–"


def _grounds(policy: Policy, use: Use, language: str) -> str:
    off = {
        "soft_opt_in": not policy.parameters.soft_opt_in_channels,
        "implied_consent": not policy.profile.implied,
    }
    return "; ".join(_GROUNDS[ground][language] for ground in use.grounds if not off.get(ground))


def _retention(policy: Policy, use: Use, language: str) -> str:
    periods = asdict(policy.parameters)
    if words := policy.retentions.get(use.retention):
        return _say(words, language, use.retention).format_map(periods)
    return f"{periods[use.retention]} {_PERIODS[use.retention.rsplit('_', 1)[1]][language]}"


def _stop(use: Use, language: str) -> str:
    rights = {
        "withdraw": "consent" in use.grounds,
        "object_marketing": "direct_marketing" in use.objections,
        "object": "legitimate_interest" in use.grounds and "direct_marketing" not in use.objections,
        "decline": "survey" in use.objections,
    }
    return "; ".join(_STOPS[key][language] for key, has in rights.items() if has) or _STOPS["none"][language]


def _recipients(policy: Policy, use: Use, language: str) -> str:
    named = [_say(policy.recipients[key], language, key) for key in use.recipients]
    return _list([*named, *sorted(p.name for p in policy.processors.values() if use.name in p.uses)])


def _line(text: str) -> str:
    return re.sub(r"\s+", " ", text)


def _cell(text: str) -> str:
    return _line(text).replace("|", "\\|")
