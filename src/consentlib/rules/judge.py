"""`judge`: one request, one policy, what the ledger holds; one decision. Pure, and the only implementation of the rules."""

from __future__ import annotations

from functools import lru_cache
from typing import Final

from consentlib.addresses import default_channel, kind_of
from consentlib.fold import NO_ENTRY
from consentlib.policy.model import Policy, Use
from consentlib.rules.decision import Decision, Determinant, Holdings, Message, Request
from consentlib.rules.question import Found, Question, Texts
from consentlib.rules.table import MIXED, Plan, Rule, carries_marketing, lacking, plan, tracking_until
from consentlib.terms import MESSAGE_FIELDS

ABSOLUTE: Final = frozenset(
    {
        "consent_withdrawn",
        "consent_refused",
        "objection_direct_marketing",
        "objection_legitimate_interest",
        "soft_opt_in_declined",
        "erased",
        "restricted",
        "minor_without_parent",
        # Without these the above can't be known.
        "invalid_address",
        "invalid_time",
        "ledger_unavailable",
        "ledger_unverified",
        "policy_invalid",
        "unknown_use",
    }
)
"""Denials that hold in every mode."""

_SYSTEM: Final = "system."
"""Before the reason, in the place of a rule's id, where a denial came before any rule."""

_NO_GROUND: Final = frozenset({"consent_missing", "no_ground"})


def judge(policy: Policy | None, texts: Texts, held: Holdings | None, request: Request) -> Decision:
    """Whether the request is allowed, and why.

    `policy` None is one that can't be used, `held` None a ledger that can't be reached, `request.at` None a time without a
    zone, `request.address` None something that is no address: each denies with its own reason. Never raises for what is asked.
    """
    if held is None:
        return _refusal(policy, request, "ledger_unavailable", held)
    if not held.verified:
        return _refusal(policy, request, "ledger_unverified", held)
    if policy is None:
        return _refusal(None, request, "policy_invalid", held)
    if request.at is None:
        return _refusal(policy, request, "invalid_time", held)
    chosen = plan_for(policy, request.use)
    if chosen is None:
        return _refusal(policy, request, "unknown_use", held)
    if request.channel not in policy.channels:
        return _refusal(policy, request, "unknown_channel", held)
    if request.address is None:
        return _refusal(policy, request, "invalid_address", held)
    if request.controller not in policy.controllers:
        return _refusal(policy, request, "consent_controller_mismatch", held)
    question = Question(policy, texts, held, request, request.at)
    return _judge(question, chosen, chosen.use)


def denied_for_anybody(policy: Policy, request: Request) -> Decision | None:
    """The denial of a request whoever it is about, such as of a use the policy does not know or a message that lacks what the
    use needs; None where it depends on the person. `request.address` is any address."""
    blank = Holdings(None)
    decision = judge(policy, Texts(), blank, request)
    if decision.determined_by[0].rule.startswith(_SYSTEM):
        return decision
    chosen = _plans(policy)[request.use]
    return _denied_by_message(Question(policy, Texts(), blank, request, request.at or 0), chosen, chosen.use)


def _denied_by_message(question: Question, chosen: Plan, asked: Use) -> Decision | None:
    for rule in (*chosen.bars, *chosen.limits):
        denial = rule.test(question, chosen.use) if rule.reads <= MESSAGE_FIELDS.keys() else None
        if denial is not None:
            if denial.reason == MIXED:  # type: ignore[union-attr]
                return _denied_by_message(question, _plans(question.policy)[question.policy.marketing_use], asked)
            return _deny(question, chosen, asked, rule, denial)  # type: ignore[arg-type]
    return None


def reads_orders(policy: Policy, use: str, message: Message) -> bool:
    """Whether judging this use needs the person's orders, so that they need not be read when it does not."""
    chosen = plan_for(policy, use)
    if chosen is None:
        return False
    if chosen.orders or not (message.marketing or message.branded):
        return chosen.orders
    return _plans(policy)[policy.marketing_use].orders


def judged_use(policy: Policy, use: str, message: Message) -> str:
    """The use a message is judged as: marketing inside another use's message is judged as marketing."""
    chosen = plan_for(policy, use)
    mixed = chosen is not None and carries_marketing(message, chosen.use)
    return policy.marketing_use if mixed else chosen.use.name if chosen is not None else use


def meant_channel(policy: Policy, use: str, address: str | None) -> str:
    """The channel that is meant where none is named: the address's (a key form), unless the use has only one."""
    declared = policy.use(use)
    by_address = default_channel(address) if address is not None else "none"
    if declared is not None and not declared.permits(by_address):
        only = sorted(declared.channels) or ["none"]
        if len(only) == 1 or (address is not None and kind_of(address) == "phone" and "phone" in only):
            return "phone" if "phone" in only else only[0]
    return by_address


def absolute_reason(policy: Policy, texts: Texts, held: Holdings, request: Request) -> str | None:
    """The reason that denies in every mode, if there is one: for a denial of another kind, found first."""
    question = Question(policy, texts, held, request, request.at or 0)
    names = [request.use]
    if request.message.marketing is not False:
        names.append(policy.marketing_use)
    for name in names:
        chosen = plan_for(policy, name)
        if chosen is None:
            return "unknown_use"
        tests = [*chosen.bars, *(rule for _, rule in chosen.grounds)]
        found = (rule.test(question, chosen.use) for rule in tests)
        reasons = (one.reason if isinstance(one, Found) else one for one in found)
        absolute = next((reason for reason in reasons if reason in ABSOLUTE), None)
        if absolute is not None:
            return absolute
    return None


def plan_for(policy: Policy, use: str) -> Plan | None:
    """The plan of a use, by name or alias; None where the policy knows none."""
    return _plans(policy).get(use)


@lru_cache(maxsize=32)
def _plans(policy: Policy) -> dict[str, Plan]:
    plans = {use.name: plan(policy, use) for use in policy.uses.values()}
    return {alias: plans[use.name] for use in policy.uses.values() for alias in (use.name, *use.aliases)}


def _judge(question: Question, chosen: Plan, asked: Use) -> Decision:
    use, unknown = chosen.use, question.held.unknown
    for rule in chosen.bars:
        denial = (unknown and _missing(rule, unknown)) or rule.test(question, use)
        if denial is not None:
            if denial.reason == MIXED:  # type: ignore[union-attr]
                return _judge_mixed(question, asked, rule)
            return _deny(question, chosen, asked, rule, denial)  # type: ignore[arg-type]
    failures: list[tuple[Rule, str]] = []
    for ground, rule in chosen.grounds:  # noqa: B007  # read below, by the ground that broke the loop
        found = "missing_fact" if unknown and _missing(rule, unknown) else rule.test(question, use)
        if found.__class__ is Found:
            break
        if found is not None:
            failures.append((rule, found))  # type: ignore[arg-type]
    else:
        return _deny_ground(question, chosen, asked, failures)
    for limit in chosen.limits:
        denial = (unknown and _missing(limit, unknown)) or limit.test(question, use)
        if denial is not None:
            return _deny(question, chosen, asked, limit, denial)  # type: ignore[arg-type]
    return _allow(question, use, asked, ground, rule, found)


def _missing(rule: Rule, unknown: frozenset[str]) -> Found | None:
    return None if unknown.isdisjoint(rule.reads) else _MISSING_FACT


_MISSING_FACT: Final = Found("missing_fact")


def _judge_mixed(question: Question, asked: Use, rule: Rule) -> Decision:
    """Marketing in another use's message is marketing, and needs marketing's ground and footer (FO spam guidance ch. 6.2)."""
    decision = _judge(question, _plans(question.policy)[question.policy.marketing_use], asked)
    if decision.allowed or decision.reason == "message_obligation_unmet":
        return decision
    return _decision(
        question,
        asked,
        allowed=False,
        reason=MIXED,
        determined=(Determinant(rule.id, "deny", None, None, rule.cite), *decision.determined_by),
        also=(decision.reason, *decision.also_failed),
    )


def _deny_ground(question: Question, chosen: Plan, asked: Use, failures: list[tuple[Rule, str]]) -> Decision:
    """No ground holds: the first failure that says something names the reason; nothing at all is `no_ground`."""
    telling = [failure for failure in failures if failure[1] not in _NO_GROUND]
    if telling:
        rule, reason = telling[0]
    else:
        rule = chosen.grounds[-1][1]
        only_consent = chosen.use.grounds == ("consent",)
        # An address that changed hands and has not spoken since: what it consented to was another person's.
        silent = question.own.inherited and question.own.entries <= 1
        reason = "consent_missing" if only_consent or silent else "no_ground"
    further = [code for _, code in telling[1:]]
    return _deny(question, chosen, asked, rule, Found(reason), tuple(further))


def _deny(question: Question, chosen: Plan, asked: Use, rule: Rule, found: Found, further: tuple[str, ...] = ()) -> Decision:
    limits = chosen.limits if rule.effect == "allow" else ()
    more = (limit.test(question, asked) for limit in limits)
    also = dict.fromkeys((*further, *(one.reason for one in more if isinstance(one, Found))))
    index = None if found.index == NO_ENTRY else found.index
    lacks = lacking(question, chosen.use, rule) if found.reason == "missing_fact" else None
    determined = (Determinant(rule.id, "deny", index, found.said, rule.cite, lacks),)
    return _decision(question, asked, allowed=False, reason=found.reason, determined=determined, also=tuple(also))


def _allow(question: Question, use: Use, asked: Use, ground: str, rule: Rule, found: Found) -> Decision:
    held, request, policy = question.held, question.request, question.policy
    ends = found.until
    if question.message.tracking:
        tracked = tracking_until(question)
        ends = tracked if ends is None else ends if tracked is None else min(ends, tracked)
    return Decision(
        True,
        found.reason,
        asked.name,
        question.channel,
        question.controller,
        ground,
        question.at,
        request.known_at,
        (Determinant(rule.id, "allow", found.index, found.said, rule.cite),),
        (),
        use.obligations,
        ends,
        (policy.id, policy.version, policy.hash),
        held.size,
        held.tip,
    )


def _decision(
    question: Question, asked: Use, *, allowed: bool, reason: str, determined: tuple[Determinant, ...], also: tuple[str, ...]
) -> Decision:
    policy, held, request = question.policy, question.held, question.request
    return Decision(
        allowed,
        reason,
        asked.name,
        question.channel,
        question.controller,
        None,
        question.at,
        request.known_at,
        determined,
        also,
        (),
        None,
        (policy.id, policy.version, policy.hash),
        held.size,
        held.tip,
    )


def _refusal(policy: Policy | None, request: Request, reason: str, held: Holdings | None) -> Decision:
    """A denial before any rule about the person was read."""
    return Decision(
        False,
        reason,
        request.use,
        request.channel,
        request.controller,
        None,
        request.at,
        request.known_at,
        (Determinant(f"{_SYSTEM}{reason}", "deny", None, None, ("GDPR 5(2)", "GDPR 25(2)")),),
        (),
        (),
        None,
        (policy.id, policy.version, policy.hash) if policy is not None else ("", "", ""),
        held.size if held is not None else 0,
        held.tip if held is not None else b"",
    )
