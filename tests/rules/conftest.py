"""What the tests of the rules share: the policy of the package, the cases, and how a case is folded and asked."""

from __future__ import annotations

import os
from collections.abc import Iterator
from functools import cache
from pathlib import Path
from typing import Any

import pytest

import consentlib.policy
from consentlib.policy import Policy, load_policy
from consentlib.rules.judge import _plans
from consentlib.testing.cases import read_cases

MORE = Path(__file__).with_name("more_cases.json")
SHARED = Path(os.environ.get("CONSENTLIB_CASES", Path(__file__).parents[3] / "shared" / "cases" / "decision_cases.json"))


@cache
def little_steps() -> Policy:
    return load_policy(Path(consentlib.policy.__file__).with_name("littlesteps.toml"))


@cache
def all_cases() -> tuple[dict[str, Any], ...]:
    """The further cases, and the shared ones where they are at hand."""
    files = [MORE, SHARED] if SHARED.exists() else [MORE]
    return tuple(case for file in files for case in read_cases(file.read_bytes()))


@pytest.fixture
def policy() -> Policy:
    return little_steps()


@pytest.fixture
def fresh_plans() -> Iterator[None]:
    """Plans are made once a policy; a test that changes the table has them made again, and again afterwards."""
    _plans.cache_clear()
    yield
    _plans.cache_clear()
