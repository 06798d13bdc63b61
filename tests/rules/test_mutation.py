"""Each rule and each number of the policy matters: change one, and some case comes out differently."""

from __future__ import annotations

from typing import Any

import pytest
from attrs import evolve, fields

from consentlib.policy.model import Parameters
from consentlib.rules import RULES, judge
from consentlib.rules.question import Found
from consentlib.testing.cases import decide_case, judged

from .conftest import all_cases, little_steps

ALWAYS = Found("consent_valid")


def _verdicts() -> list[tuple[bool, str]]:
    found = (judge(*inputs) for inputs in INPUTS)
    return [(one.allowed, one.reason) for one in found]


INPUTS = [judged(little_steps(), case) for case in all_cases()]
SOUND = _verdicts()


@pytest.mark.usefixtures("fresh_plans")
@pytest.mark.parametrize("id", sorted(RULES))
def test_no_rule_is_untested(id: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """Some case needs the rule: without it a denial or an allow is lost; a ground that always holds allows too much."""
    rule = RULES[id]
    monkeypatch.setitem(RULES, id, evolve(rule, test=lambda question, use: None))
    without = _verdicts()
    assert without != SOUND
    if rule.effect == "allow":
        assert any(before[0] and now != before for now, before in zip(without, SOUND, strict=True))
    elif id != "no.unknown_subject":  # without it the reason is another: of whom nothing is known nothing is allowed anyway
        assert any(now[0] and not before[0] for now, before in zip(without, SOUND, strict=True))


@pytest.mark.usefixtures("fresh_plans")
@pytest.mark.parametrize("id", sorted(id for id, rule in RULES.items() if rule.effect == "allow" and rule.reads))
def test_no_ground_may_hold_always(id: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """A ground that always holds allows what some case denies."""
    monkeypatch.setitem(RULES, id, evolve(RULES[id], test=lambda question, use: ALWAYS))
    assert any(now[0] and not before[0] for now, before in zip(_verdicts(), SOUND, strict=True))


NUMBERS = sorted(one.name for one in fields(Parameters) if type(one.default) is int and one.name != "suppression_review_days")


@pytest.mark.parametrize("step", [-1, 1])
@pytest.mark.parametrize("name", NUMBERS)
def test_no_number_is_untested(name: str, step: int) -> None:
    """A number one lower or one higher changes the answer of some case."""
    changed: dict[Any, Any] = {}
    for case, (policy, *_), before in zip(all_cases(), INPUTS, SOUND, strict=True):
        if policy is None or name in case.get("policy_override", {}):
            continue
        if policy.hash not in changed:
            changed[policy.hash] = policy.overlay(None, {name: getattr(policy.parameters, name) + step})
        again = {key: value for key, value in case.items() if key not in ("profile", "policy_override")}
        now = decide_case(changed[policy.hash], again)
        if (now.allowed, now.reason) != before:
            return
    pytest.fail(f"no case depends on `{name}`")
