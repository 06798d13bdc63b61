"""From an event to the two parts of its entry: facts, which rules and audit need, and the personal rest.

Facts name addresses by random ids and nothing else of a person. Names are resolved here, once: aliases to uses, a declared
form to its text, uses and state, so that an entry says what held when it was made, whatever the policy says later.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from datetime import date
from functools import cache
from typing import Any, Final

from consentlib.addresses import normalise, stop_key
from consentlib.errors import AddressError, EventError
from consentlib.events import (
    NOBODY,
    AddressChanged,
    CampaignJoined,
    ConsentConfirmed,
    ConsentGiven,
    Event,
    Evidence,
    Stop,
    faults_of,
    slots,
    stated,
)
from consentlib.fields import ALL
from consentlib.policy.model import Policy

VERSION: Final = 1
"""The version of the facts this library writes. Facts of a later version are refused, of an earlier one brought up to date."""

UPCASTS: Final[dict[int, Callable[[str, dict[str, Any]], dict[str, Any]]]] = {}
"""By version: how facts of that version, given their kind, become facts of the next."""

_ROLES: Final = ("addresses", "other", "to")
_APART: Final = frozenset({"subject", "occurred_at", "event_id", *_ROLES})
_STRICT: Final = (ConsentGiven, ConsentConfirmed, CampaignJoined)


def upcast(kind: str, facts: dict[str, Any]) -> dict[str, Any]:
    """Facts as this version reads them. Raises `EventError` for facts of a later version."""
    version = facts.get("v", 1)
    if type(version) is not int or not 1 <= version <= VERSION:
        raise EventError(f"expected facts of version 1 to {VERSION}, found a later one")
    for step in range(version, VERSION):
        facts = UPCASTS[step](kind, facts)
    return facts


def addresses_of(event: Event) -> dict[str, list[str]]:
    """The key forms of the addresses an event names, by role, the subject's under `address`. Nobody's event names none.

    Grants must name an address that can be read; other events may name one that is only plausible; stops anything.
    """
    if event.subject == NOBODY and not isinstance(event, Stop):
        return {}
    found = {"address": [_address(event, event.subject)]}
    for role in _roles(type(event)):
        value = getattr(event, role)
        named = [value] if isinstance(value, str) else list(value)
        strictly = isinstance(event, AddressChanged) and role == "to"
        found[role] = [normalise(one) if strictly else _address(event, one) for one in named]
    return found


def _address(event: Event, text: str) -> str:
    if isinstance(event, Stop):
        return stop_key(text)
    try:
        return normalise(text)
    except AddressError:
        # Addresses that no standard allows are in use; whoever has one may order, ask and complain (but see `_STRICT`).
        if isinstance(event, _STRICT) or "@" not in text.strip() or any(c.isspace() for c in text.strip()):
            raise
        return stop_key(text)


def parts_of(event: Event, policy: Policy | None) -> tuple[dict[str, Any], dict[str, Any]]:
    """What an event says, JSON-ready: its facts, which `placed` completes, and what is personal beside its addresses.

    Raises `EventError` for names the policy does not know; a stop with such a name counts for everything.
    """
    facts: dict[str, Any] = {}
    person: dict[str, Any] = {}
    for (name, alias, _, personal), value in stated(event):
        if name in _APART:
            continue
        if isinstance(value, Evidence):
            person[alias] = {one.name: _plain(part) for one, part in stated(value)}
            facts[alias] = list(person[alias])
        elif personal:
            person[alias] = value
        else:
            facts[alias] = _plain(value)
    for key in ("uses", "channels", "use", "channel"):
        if key in facts:
            _resolve(event, facts, key, policy)
    if isinstance(event, (ConsentGiven, CampaignJoined)):
        _add_form(event, facts, policy)
    if isinstance(event, ConsentGiven):
        _add_grant(event, facts, policy)
    return facts, person


def placed(facts: Mapping[str, Any], ids: Mapping[str, list[str]], said: int) -> dict[str, Any]:
    """These facts with their time in milliseconds, and with the ids of the addresses they are about, by role."""
    found = {**facts, "occurred_at": said}
    for role, named in ids.items():
        if named:
            found[role] = named if role == "addresses" else named[0]
    return found


def _with_roles(cls: Any) -> tuple[str, ...]:
    return tuple(one.name for one in slots(cls) if one.name in _ROLES)


_roles: Final[Callable[[Any], tuple[str, ...]]] = cache(_with_roles)


def _plain(value: Any) -> Any:
    if isinstance(value, tuple):
        return list(value)
    return value.isoformat() if isinstance(value, date) else value


def _resolve(event: Event, facts: dict[str, Any], key: str, policy: Policy | None) -> None:
    """Aliases become uses; unknown names are refused, in a stop they widen it to everything."""
    value = facts[key]
    if value == ALL or policy is None:
        if policy is None and isinstance(event, Stop):
            facts[key] = ALL
        return
    names = value if isinstance(value, list) else [value]
    resolved = []
    for name in names:
        if key.startswith("use"):
            use = policy.use(name)
            known = use.name if use is not None else None
        else:
            known = name if name in policy.channels else None
        if known is None:
            if isinstance(event, Stop):
                facts[key] = ALL
                if key == "uses":
                    facts.pop("limited", None)  # nobody can tell any more what it was limited to
                return
            raise _unknown(key, name, (*policy.uses, *_aliases(policy)) if key.startswith("use") else tuple(policy.channels))
        resolved.append(known)
    facts[key] = resolved if isinstance(value, list) else resolved[0]


def _aliases(policy: Policy) -> list[str]:
    return [alias for use in policy.uses.values() for alias in use.aliases]


def _unknown(where: str, name: str, known: tuple[str, ...]) -> EventError:
    from difflib import get_close_matches  # here, because only a mistake needs it

    near = get_close_matches(name, known, n=1)
    hint = f"; did you mean `{near[0]}`?" if near else ""
    return EventError(f"expected a name the policy knows in `{where}`, found another{hint}", field=where)


def _add_form(event: ConsentGiven | CampaignJoined, facts: dict[str, Any], policy: Policy | None) -> None:
    """The state of the form, whether declared in the policy or stated in the event, and what is wrong with it."""
    form = event.form
    if form is None:
        facts["faults"] = ["form"]
        return
    if isinstance(form, str):
        if policy is None or form not in policy.forms:
            raise _unknown("form", form, tuple(policy.forms) if policy else ())
        faults = faults_of(policy.forms[form])
    else:
        facts["form"] = {one.name: value for one, value in stated(form)}
        faults = form.faults
    if faults:
        facts["faults"] = list(faults)


def _add_grant(event: ConsentGiven, facts: dict[str, Any], policy: Policy | None) -> None:
    if isinstance(event.form, str) and policy is not None:
        form = policy.forms[event.form]
        for key, offered in (("uses", form.uses), ("channels", form.channels)):
            if not facts.setdefault(key, sorted(offered)):
                facts[key] = sorted(offered)
            elif not offered.issuperset(facts[key]):
                raise EventError(f"expected {key} that the form `{form.name}` asks for, found others", field=key)
        if facts.setdefault("text_version", form.text) != form.text:
            raise EventError(f"expected the text of the form `{form.name}`, found another", field="text_version")
    for key in ("uses", "channels"):
        if not facts.get(key):
            raise EventError(f"expected `{key}`, or a form that says them, found none", field=key)
    if policy is not None:
        facts.setdefault("controllers", [policy.controller])
        text = policy.texts.get(facts.get("text_version", ""))
        if text is not None:
            facts["text_hash"] = text.hash
