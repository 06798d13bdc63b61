"""The rules: whether a use of a person's data is allowed, and why. Pure functions of values."""

from consentlib.rules.decision import Decision, Determinant, Holdings, Message, Request
from consentlib.rules.judge import absolute_reason, denied_for_anybody, judge, reads_orders
from consentlib.rules.question import Texts
from consentlib.rules.table import RULES, Rule

__all__ = [
    "RULES",
    "Decision",
    "Determinant",
    "Holdings",
    "Message",
    "Request",
    "Rule",
    "Texts",
    "absolute_reason",
    "denied_for_anybody",
    "judge",
    "reads_orders",
]
