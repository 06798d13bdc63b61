"""Plain tables to a `Policy`, strictly: unknown keys, wrong types and dangling names are refused, with file and key.

Hard errors, because a policy with them can't be judged by: a use without ground, data or retention, a ground without
its condition, a name that leads nowhere. What can be judged but should not be published is for `lint.py`.
"""

from __future__ import annotations

import re
import string
from collections.abc import Callable, Collection, Mapping
from datetime import date
from difflib import get_close_matches
from itertools import pairwise
from typing import Any, Final, NamedTuple
from unicodedata import is_normalized
from zoneinfo import ZoneInfo

from attrs import asdict

from consentlib import codec
from consentlib.errors import PolicyError, TimeError
from consentlib.policy.model import (
    FORMAT,
    GROUND_PARAMETERS,
    UNCONDITIONAL,
    Controller,
    Form,
    FrozenMap,
    Parameters,
    Policy,
    Processor,
    Profile,
    Text,
    Use,
)
from consentlib.terms import CHANNELS, CONDITIONS, GROUNDS, OBJECTIONS, OBLIGATIONS

_NAME: Final = re.compile(r"[A-Za-z0-9][A-Za-z0-9_.-]{0,99}")
_SURROGATE: Final = re.compile("[\ud800-\udfff]")
_LANGUAGE: Final = re.compile(r"[a-z]{2,3}(-[A-Za-z0-9]{2,8})*")
_LIMITS: Final = {"days": 36_525, "years": 100, "seconds": 86_400}
_PROMISES: Final = ("explicit_consent",)


class _At(NamedTuple):
    """A place in a file."""

    file: str
    key: str = ""

    def of(self, name: object) -> _At:
        return _At(self.file, f"{self.key}.{name}" if self.key else str(name))

    def error(self, expected: str, found: object) -> PolicyError:
        where = f"{self.file}: `{self.key}`" if self.key else self.file
        message = f"{where}: expected {expected}, found {found}"
        line = "".join(sign if sign.isprintable() else "?" for sign in message)  # keys and values may hold line breaks
        return PolicyError(line, file=self.file, key=self.key)

    def unknown(self, what: str, name: object, known: Collection[str]) -> PolicyError:
        near = get_close_matches(str(name), known, 1, 0.5)
        hint = f"; did you mean `{near[0]}`?" if near else ""
        return self.error(what, f"`{name}`{hint}")


_Reader = Callable[[Any, _At], Any]
_Spec = Mapping[str, tuple[_Reader, bool]]  # reader of each key, and whether it must be there


def _kind(value: object) -> str:
    return f"`{type(value).__name__}`"


def _text(value: Any, at: _At) -> str:
    if type(value) is not str:
        raise at.error("text", _kind(value))
    if not value.strip():
        raise at.error("text", "blank text")
    if not is_normalized("NFC", value) or _SURROGATE.search(value):
        raise at.error("text in Unicode NFC without lone surrogates", "other text")
    return value


def _name(value: Any, at: _At) -> str:
    if not _NAME.fullmatch(_text(value, at)):
        raise at.error("a name of ASCII letters, digits, `_`, `-` and `.`", f"`{value}`")
    return str(value)


def _flag(value: Any, at: _At) -> bool:
    if type(value) is not bool:
        raise at.error("true or false", _kind(value))
    return value


def _count(limit: int) -> _Reader:
    def read(value: Any, at: _At) -> int:
        if type(value) is not int:
            raise at.error("a whole number", _kind(value))
        if not 0 <= value <= limit:
            raise at.error(f"a whole number from 0 to {limit}", f"`{value}`")
        return value

    return read


def _maybe(read: _Reader) -> _Reader:
    return lambda value, at: None if value is None else read(value, at)


def _list(read: _Reader) -> _Reader:
    def read_all(value: Any, at: _At) -> tuple[Any, ...]:
        if type(value) not in (list, tuple):
            raise at.error("a list", _kind(value))
        found = tuple(read(item, at.of(index)) for index, item in enumerate(value))
        if len(set(found)) != len(found):
            raise at.error("each element once", "one twice")
        return found

    return read_all


def _some(read: _Reader) -> _Reader:
    def read_some(value: Any, at: _At) -> Any:
        found = read(value, at)
        if not found:
            raise at.error("at least one element", "none")
        return found

    return read_some


def _set(read: _Reader) -> _Reader:
    return lambda value, at: frozenset(_list(read)(value, at))


def _one_of(known: Collection[str], what: str) -> _Reader:
    def read(value: Any, at: _At) -> str:
        if _text(value, at) not in known:
            raise at.unknown(what, value, known)
        return str(value)

    return read


def _table(read: _Reader, name: _Reader = _name) -> _Reader:
    def read_all(value: Any, at: _At) -> dict[str, Any]:
        if type(value) is not dict:
            raise at.error("a table", _kind(value))
        return {name(key, at): read(item, at.of(key)) for key, item in value.items()}

    return read_all


def _language(value: Any, at: _At) -> str:
    if not _LANGUAGE.fullmatch(_text(value, at)):
        raise at.error("a language tag such as `en`", f"`{value}`")
    return str(value)


def _keys(spec: _Spec) -> _Reader:
    def read(value: Any, at: _At) -> dict[str, Any]:
        if type(value) is not dict:
            raise at.error("a table", _kind(value))
        for key in value:
            if key not in spec:
                raise at.of(key).unknown("a known key", key, spec)
        for key, (_, needed) in spec.items():
            if needed and key not in value:
                raise at.error(f"the key `{key}`", "none")
        return {key: spec[key][0](item, at.of(key)) for key, item in value.items()}

    return read


_words = _table(_text, _language)
_channel = _one_of(CHANNELS, "a channel")
_channels = _some(_set(_channel))


def _hex(value: Any, at: _At) -> str:
    if not re.fullmatch(r"[0-9a-f]{64}", _text(value, at)):
        raise at.error("a SHA-256 in 64 lower-case hex digits", "other text")
    return str(value)


def _country(value: Any, at: _At) -> str:
    if not re.fullmatch(r"[A-Z]{2}", _text(value, at)):
        raise at.error("a country of ISO 3166-1 such as `DK`", f"`{value}`")
    return str(value)


def _time(value: Any, at: _At) -> int:
    try:
        return codec.read_time(value) if type(value) is str else codec.millis(value)
    except TimeError as error:
        raise at.error("an RFC 3339 time with zone, in whole milliseconds", "another value") from error


def _zone(value: Any, at: _At) -> str:
    zone = _text(value, at)
    try:
        ZoneInfo(zone)
    except (KeyError, ValueError, OSError):  # an absolute path, a folder and an unknown name raise different errors
        raise at.error("a time zone of the IANA database such as `Europe/Copenhagen`", f"`{zone}`") from None
    return zone


def _child_age(value: Any, at: _At) -> tuple[tuple[date, int], ...]:
    found: tuple[tuple[date, int], ...] = _some(_list(_age))(value, at)
    if found[0][0] != date.min:
        raise at.error("ages that start at `0001-01-01`", f"`{found[0][0].isoformat()}`")
    if any(one[0] >= other[0] for one, other in pairwise(found)):
        raise at.error("dates in rising order", "another order")
    return found


def _age(value: Any, at: _At) -> tuple[date, int]:
    if type(value) not in (list, tuple) or len(value) != 2:
        raise at.error("a pair of date and age", _kind(value))
    since, age = _text(value[0], at), value[1]
    try:
        day = date.fromisoformat(since)
    except ValueError:
        raise at.error("a date such as `2024-01-01`", f"`{since}`") from None
    return day, _count(21)(age, at)


def _condition(value: Any, at: _At) -> str | dict[str, str]:
    one = _one_of(CONDITIONS, "a condition")
    found: str | dict[str, str] = one(value, at) if type(value) is str else _table(one, _one_of(GROUNDS, "a ground"))(value, at)
    return found


def _parameter(name: str) -> _Reader:
    special: dict[str, _Reader] = {
        "double_opt_in": _flag,
        "consent_max_age_days": _maybe(_count(_LIMITS["days"])),
        "soft_opt_in_channels": _list(_one_of(("email", "sms"), "an electronic channel")),
    }
    if name in GROUND_PARAMETERS:
        return _one_of(GROUND_PARAMETERS[name], "one of " + ", ".join(f"`{g}`" for g in GROUND_PARAMETERS[name]))
    return special.get(name) or _count(_LIMITS[name.rsplit("_", 1)[1]])


_PARAMETERS: Final = {name: (_parameter(name), False) for name in asdict(Parameters())}

_HEAD: Final[_Spec] = {
    "id": (_name, True),
    "version": (_name, True),
    "controller": (_name, True),
    "profile": (_name, True),
    "marketing_use": (_name, False),
    "tracking_use": (_name, False),
    "promise": (_one_of(_PROMISES, "a promise"), False),
    "channels": (_channels, False),
    "products": (_table(_list(_text), _language), False),
    "security": (_words, False),
}
_CONTROLLER: Final[_Spec] = {"name": (_text, True), "contact": (_text, True), "brands": (_list(_text), False)}
_PROCESSOR: Final[_Spec] = {
    "name": (_text, True),
    "country": (_country, True),
    "safeguard": (_words, False),
    "purpose": (_words, True),
    "uses": (_set(_name), False),
}
_PROFILE: Final[_Spec] = {
    "zone": (_zone, True),
    "child_age": (_child_age, True),
    "soft_opt_in_negotiation": (_flag, False),
    "implied": (_flag, False),
    "implied_purchase_days": (_count(_LIMITS["days"]), False),
    "implied_inquiry_days": (_count(_LIMITS["days"]), False),
    "no_passivity": (_flag, False),
}
_TEXT: Final[_Spec] = {
    "uses": (_some(_set(_name)), True),
    "channels": (_channels, True),
    "controllers": (_some(_set(_name)), True),
    "wording": (_some(_words), True),
    "published": (_time, False),
    "supersedes": (_name, False),
    "material": (_flag, False),
}
_FORM: Final[_Spec] = {
    "text": (_name, True),
    "uses": (_some(_set(_name)), True),
    "channels": (_channels, True),
    "active": (_flag, True),
    "prechecked": (_flag, True),
    "bundled_in_terms": (_flag, True),
    "conditional_on_purchase": (_flag, True),
    "informed_of_withdrawal": (_flag, True),
    "picture": (_hex, False),
}
_USE: Final[_Spec] = {
    "label": (_words, False),
    "purpose": (_words, False),
    "aliases": (_list(_name), False),
    "grounds": (_some(_list(_one_of((*GROUNDS, *GROUND_PARAMETERS), "a ground"))), True),
    "condition": (_condition, False),
    "window": (_name, False),
    "channels": (_channels, True),
    "data": (_some(_set(_name)), True),
    "marketing": (_flag, False),
    "objections": (_set(_one_of(OBJECTIONS, "a kind of objection")), False),
    "carried_by": (_list(_name), False),
    "renews": (_flag, False),
    "partner": (_flag, False),
    "declare_marketing": (_flag, False),
    "obligations": (_list(_one_of(OBLIGATIONS, "an obligation")), False),
    "retention": (_name, True),
    "cite": (_list(_text), False),
    "subjects": (_list(_name), False),
    "recipients": (_list(_name), False),
}
_POLICY: Final[_Spec] = {
    "format": (_one_of((FORMAT,), f"`{FORMAT}`"), False),
    "policy": (_keys(_HEAD), True),
    "parameters": (_keys(_PARAMETERS), False),
    "controllers": (_table(_keys(_CONTROLLER)), True),
    "processors": (_table(_keys(_PROCESSOR)), False),
    "profiles": (_table(_keys(_PROFILE)), True),
    "data": (_table(_words), True),
    "retentions": (_table(_words), False),
    "subjects": (_table(_words), False),
    "recipients": (_table(_words), False),
    "texts": (_table(_keys(_TEXT)), False),
    "forms": (_table(_keys(_FORM)), False),
    "uses": (_table(_keys(_USE)), True),
}


def read_policy(table: Any, file: str) -> Policy:
    """The policy of a plain table in the shape of a policy file. `file` names the source in errors (`PolicyError`)."""
    at = _At(file)
    found = _keys(_POLICY)(table, at)
    head = found["policy"]
    parameters = Parameters(**found.get("parameters", {}))
    profiles = {name: Profile(name=name, **row) for name, row in found["profiles"].items()}
    _known(head["profile"], profiles, "a profile", at.of("policy.profile"))
    policy = Policy(
        id=head["id"],
        version=head["version"],
        controller=head["controller"],
        profile=profiles[head["profile"]],
        marketing_use=head.get("marketing_use", "marketing_newsletter"),
        tracking_use=head.get("tracking_use"),
        promise=head.get("promise"),
        channels=head.get("channels", frozenset(CHANNELS)),
        products=head.get("products", {}),
        security=FrozenMap(head.get("security", {})),
        parameters=parameters,
        controllers={
            name: Controller(name=name, legal_name=row.pop("name"), **row) for name, row in found["controllers"].items()
        },
        processors={key: Processor(key=key, **row) for key, row in found.get("processors", {}).items()},
        profiles=profiles,
        texts={version: Text(version=version, **row) for version, row in found.get("texts", {}).items()},
        forms={name: Form(name=name, **row) for name, row in found.get("forms", {}).items()},
        uses={name: _use(name, row, parameters, at.of(f"uses.{name}")) for name, row in found["uses"].items()},
        **{
            name: {key: FrozenMap(words) for key, words in found.get(name, {}).items()}
            for name in ("data", "retentions", "subjects", "recipients")
        },
    )
    _refer(policy, at)
    return policy


def _use(name: str, row: dict[str, Any], parameters: Parameters, at: _At) -> Use:
    declared: tuple[str, ...] = row.pop("grounds")
    condition = row.pop("condition", {})
    possible = [ground for element in declared for ground in GROUND_PARAMETERS.get(element, (element,))]
    grounds = tuple(getattr(parameters, element) if element in GROUND_PARAMETERS else element for element in declared)
    if type(condition) is str:
        condition = {ground: condition for ground in possible if ground not in UNCONDITIONAL}
    for ground in condition:
        _known(ground, possible, "a ground of this use", at.of("condition"))
    for ground in possible:
        if ground not in UNCONDITIONAL and ground not in condition:
            raise at.error(f"a `condition` for the ground `{ground}`", "none")
    if len(set(grounds)) != len(grounds):
        raise at.of("grounds").error("each ground once", "one twice, by way of a parameter")
    windowed = "order_delivered_recently" in condition.values()
    if windowed != ("window" in row):
        raise at.of("window").error("a `window` exactly where the condition is `order_delivered_recently`", "otherwise")
    return Use(name=name, grounds=grounds, declared_grounds=declared, conditions=condition, **row)


def _known(name: str, known: Collection[str], what: str, at: _At) -> None:
    if name not in known:
        raise at.unknown(what, name, known)


def _refer(policy: Policy, at: _At) -> None:
    """Every name leads somewhere. Raises `PolicyError` for the first that does not."""

    def each(names: Collection[str], known: Collection[str], what: str, key: str) -> None:
        for name in sorted(names):
            _known(name, known, what, at.of(key))

    windows = [name for name in _PARAMETERS if name.endswith("_days") and name != "consent_max_age_days"]
    periods = [name for name in _PARAMETERS if name.endswith(("_days", "_years"))]
    each([policy.controller], policy.controllers, "a controller", "policy.controller")
    each([policy.marketing_use], policy.uses, "a use", "policy.marketing_use")
    each([policy.tracking_use] if policy.tracking_use else [], policy.uses, "a use", "policy.tracking_use")
    for key, processor in policy.processors.items():
        each(processor.uses, policy.uses, "a use", f"processors.{key}.uses")
    for version, text in policy.texts.items():
        each(text.uses, policy.uses, "a use", f"texts.{version}.uses")
        each(text.channels, policy.channels, "a channel of this policy", f"texts.{version}.channels")
        each(text.controllers, policy.controllers, "a controller", f"texts.{version}.controllers")
        if text.supersedes is not None:
            older = set(policy.texts) - {version}
            each([text.supersedes], older, "another text", f"texts.{version}.supersedes")
    for name, form in policy.forms.items():
        each([form.text], policy.texts, "a text", f"forms.{name}.text")
        text = policy.texts[form.text]
        each(form.uses, text.uses, "a use that the form's text names", f"forms.{name}.uses")
        if "any" not in text.channels:
            each(form.channels, text.channels, "a channel that the form's text names", f"forms.{name}.channels")
    for key, words in policy.retentions.items():
        for sentence in words.values():
            each(_placeholders(sentence, at.of(f"retentions.{key}")), periods, "a period", f"retentions.{key}")
    taken: dict[str, str] = {name: name for name in policy.uses}
    for name, use in policy.uses.items():
        each(use.channels, policy.channels, "a channel of this policy", f"uses.{name}.channels")
        each(use.data, policy.data, "a category of `data`", f"uses.{name}.data")
        each(use.carried_by, set(policy.uses) - {name}, "another use", f"uses.{name}.carried_by")
        each(use.subjects, policy.subjects, "a key of `subjects`", f"uses.{name}.subjects")
        each(use.recipients, policy.recipients, "a key of `recipients`", f"uses.{name}.recipients")
        each([use.retention], [*policy.retentions, *periods], "a period or sentence", f"uses.{name}.retention")
        each([use.window] if use.window else [], windows, "a `*_days` parameter", f"uses.{name}.window")
        for alias in use.aliases:
            if alias in taken:
                raise at.of(f"uses.{name}.aliases").error("a name no other use has", f"`{alias}` of `{taken[alias]}`")
            taken[alias] = name


def _placeholders(sentence: str, at: _At) -> list[str]:
    try:
        return [field for _, field, _, _ in string.Formatter().parse(sentence) if field is not None]
    except ValueError:
        raise at.error("names of periods in braces", "unpaired braces") from None
