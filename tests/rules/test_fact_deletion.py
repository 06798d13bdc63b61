"""A fact that can't be established: it denies where a deny rule reads it, and carries no ground (rules R2, 10.4)."""

from __future__ import annotations

from typing import Any

import pytest

from consentlib.rules import RULES, judge
from consentlib.rules.judge import plan_for
from consentlib.testing.cases import judged

from .conftest import all_cases, little_steps

FACTS = sorted({fact for rule in RULES.values() for fact in rule.reads})
ALLOWED = [case for case in all_cases() if case["expect"]["decision"] == "allow"]


@pytest.mark.parametrize("fact", FACTS)
def test_a_fact_that_is_missing_never_allows(fact: str) -> None:
    """Without the fact, an allow falls where a deny rule reads it, and rests on no rule that reads it."""
    fell = 0
    for case in ALLOWED:
        policy, texts, held, request = judged(little_steps(), case)
        assert policy is not None
        assert held is not None
        before = judge(policy, texts, held, request)
        decision = judge(policy, texts, held._replace(unknown=frozenset({fact})), request)
        plan = plan_for(policy, request.use)
        assert plan is not None
        reading = [rule for rule in (*plan.bars, *plan.limits) if fact in rule.reads]
        if reading:
            assert not decision.allowed
            assert decision.reason in ("missing_fact", "mixed_content")
        if decision.allowed:
            assert not any(fact in RULES[one.rule].reads for one in decision.determined_by)
        if fact in RULES[before.determined_by[0].rule].reads:
            fell += 1
            assert decision.determined_by[0].rule != before.determined_by[0].rule or not decision.allowed
    assert fell or any(fact in rule.reads for rule in RULES.values() if rule.effect == "deny")


@pytest.mark.parametrize("rule", [rule for rule in RULES.values() if rule.effect == "deny" and rule.reads], ids=lambda r: r.id)
def test_a_deny_rule_without_its_facts_denies(rule: Any) -> None:
    """A use to which a deny rule applies is denied with `missing_fact` when a fact of that rule is gone."""
    met = 0
    for case in ALLOWED:
        policy, texts, held, request = judged(little_steps(), case)
        assert policy is not None
        assert held is not None
        plan = plan_for(policy, request.use)
        assert plan is not None
        if rule in (*plan.bars, *plan.limits):
            for fact in rule.reads:
                decision = judge(policy, texts, held._replace(unknown=frozenset({fact})), request)
                assert not decision.allowed
                met += decision.reason == "missing_fact"
    assert met
