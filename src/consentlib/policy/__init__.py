"""The policy: what data is used for, on which ground, told to the person in which words."""

from __future__ import annotations

from consentlib.policy.load import load_policy, parse_policy
from consentlib.policy.model import Controller, Form, Parameters, Policy, Processor, Profile, Text, Use

__all__ = [
    "Controller",
    "Form",
    "Parameters",
    "Policy",
    "Processor",
    "Profile",
    "Text",
    "Use",
    "load_policy",
    "parse_policy",
    "starter",
]


def starter() -> str:
    """The text of `littlesteps.toml`: a whole policy of a small shop, to start one's own from."""
    from importlib.resources import files  # here, because a shop has a policy of its own

    return files(__name__).joinpath("littlesteps.toml").read_text(encoding="utf-8")
