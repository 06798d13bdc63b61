"""When a ground other than consent holds: one function a condition, under the name a policy gives it.

Each gives `Found` where the condition holds, else the reason code why not. Statutory periods are calendar days and years in
the profile's zone; the shop's own windows are exact hours; limits are half-open.
"""

from __future__ import annotations

from collections.abc import Callable
from datetime import date
from typing import Final

from consentlib.fold import Grant, Order
from consentlib.policy.model import Use
from consentlib.rules.consent import STOP_REASONS, awaits_confirmation, covering, newest, weigh
from consentlib.rules.question import DAY, Found, Question

Condition = Callable[[Question, Use], Found | str]

CONDITIONS: dict[str, Condition] = {}
"""Conditions by the name that `condition` has in a policy's use."""

ORDER_CONDITIONS: Final = frozenset(
    {
        "order_open",
        "order_current",
        "order_delivered_recently",
        "complaint_period",
        "withdrawal_period",
        "bookkeeping_period",
        "product_in_use",
        "claim_open",
    }
)
"""Conditions that read the person's orders."""

_WINDOW_REASONS: Final = {"survey_days": "survey_window"}


def _condition(name: str) -> Callable[[Condition], Condition]:
    def register(condition: Condition) -> Condition:
        CONDITIONS[name] = condition
        return condition

    return register


def _named(question: Question, *, after_erasure: bool = True) -> Order | str:
    """The order the question names, if it is this person's; else the reason."""
    orders = question.orders(after_erasure=after_erasure)
    if question.request.order is None:
        return "missing_fact" if any(not question.had(order.cancelled) for order in orders) else "no_open_contract"
    return next((order for order in orders if order.order == question.request.order), "no_open_contract")


def _placed(order: Order, reason: str, until: int | None = None) -> Found:
    return Found(reason, order.index, order.placed, until)


@_condition("order_open")
def order_open(question: Question, _: Use) -> Found | str:
    order = _named(question)
    if isinstance(order, str):
        return order
    if question.had(order.cancelled) or question.had(order.delivered) or question.had(order.closed):
        return "no_open_contract"
    return _placed(order, "contract_open")


@_condition("order_current")
def order_current(question: Question, _: Use) -> Found | str:
    order = _named(question)
    if isinstance(order, str):
        return order
    if question.had(order.cancelled) or question.had(order.closed):
        return "no_open_contract"
    until = None
    if order.delivered is not None and question.had(order.delivered):
        until = question.day_limit(order.delivered, question.policy.parameters.complaint_days)
        if until <= question.at:
            return "retention_ended"
    return _placed(order, "contract_open", until)


@_condition("order_delivered_recently")
def order_delivered_recently(question: Question, use: Use) -> Found | str:
    order = _named(question)
    if isinstance(order, str):
        return order
    if question.had(order.cancelled) or order.delivered is None or not question.had(order.delivered):
        return "no_open_contract"
    until = order.delivered + getattr(question.policy.parameters, use.window or "") * DAY
    if until <= question.at:
        return "retention_ended"
    return _placed(order, _WINDOW_REASONS.get(use.window or "", "follow_up_window"), until)


@_condition("complaint_period")
def complaint_period(question: Question, _: Use) -> Found | str:
    order = _named(question)
    if isinstance(order, str):
        return order
    delivered = order.delivered if question.had(order.delivered) else None
    until = question.day_limit(delivered or order.placed or 0, question.policy.parameters.complaint_days)
    if _open(question, order.complaint_opened, order.complaint_closed) and (order.complaint_opened or 0) < until:
        return _placed(order, "complaint_open")
    if question.had(order.cancelled):
        return "no_open_contract"
    if until <= question.at:
        return "retention_ended"
    return _placed(order, "within_complaint_period", until)


@_condition("withdrawal_period")
def withdrawal_period(question: Question, _: Use) -> Found | str:
    order = _named(question)
    if isinstance(order, str):
        return order
    delivered = order.delivered if question.had(order.delivered) else None
    until = None if delivered is None else question.day_limit(delivered, question.policy.parameters.withdrawal_days)
    registered = _open(question, order.return_opened, order.return_closed)
    if registered and (until is None or (order.return_opened or 0) < until):
        return _placed(order, "return_open")
    if question.had(order.cancelled) or question.had(order.closed) or (until is not None and until <= question.at):
        return "no_open_contract"
    return _placed(order, "within_withdrawal_period", until)


def _open(question: Question, opened: int | None, closed: int | None) -> bool:
    return question.had(opened) and not (question.had(closed) and (closed or 0) >= (opened or 0))


@_condition("bookkeeping_period")
def bookkeeping_period(question: Question, _: Use) -> Found | str:
    order = _named(question, after_erasure=False)
    if isinstance(order, str):
        return order
    year = question.local_date(order.placed or 0).year
    until = question.midnight(date(year + 1 + question.policy.parameters.bookkeeping_years, 1, 1))
    return _placed(order, "within_statutory_period", until) if question.at < until else "retention_ended"


@_condition("product_in_use")
def product_in_use(question: Question, _: Use) -> Found | str:
    order = _named(question, after_erasure=False)
    if isinstance(order, str):
        return order
    return "no_open_contract" if question.had(order.cancelled) else _placed(order, "statutory_duty")


@_condition("inquiry_open")
def inquiry_open(question: Question, _: Use) -> Found | str:
    for fold in question.folds:
        if fold.asked is not None:
            said, recorded, index = fold.asked
            spoke = question.spoke(said, recorded)
            closed = fold.answered is not None and question.had(fold.answered) and fold.answered >= said
            ended = question.erased is not None and said <= question.erased
            if spoke <= question.at and not closed and not ended:
                return Found("inquiry_open", index, said)
    return "no_open_contract"


@_condition("confirmation_pending")
def confirmation_pending(question: Question, use: Use) -> Found | str:
    """One mail that asks whether the sign-up was meant, while it can still be answered; no reminders."""
    nearest = "no_ground"
    for grant in reversed(question.own.grants):
        spoke = question.spoke(grant.said, grant.recorded)
        until = spoke + question.policy.parameters.confirm_within_days * DAY
        ended = question.erased is not None and spoke <= question.erased
        if ended or spoke > question.at or not awaits_confirmation(question, grant, spoke):
            continue
        if question.controller not in grant.controllers:
            nearest = "consent_controller_mismatch"
            continue
        stop = newest(
            stop
            for name in grant.uses
            if (asked := question.policy.use(name)) is not None
            for stop in covering(question, asked, (name,))
            if stop.since >= spoke
        )
        if stop is not None:
            nearest = STOP_REASONS[stop.kind]
        elif grant.faults or grant.invalidated is not None:
            nearest = "consent_invalid_form"
        elif any(clock.use == use.name for clock in grant.clocks):
            nearest = "already_asked"
        elif until <= question.at:
            nearest = "consent_unconfirmed"
        else:
            return Found("pending_confirmation", grant.index, grant.said, until)
    return nearest


@_condition("campaign_won")
def campaign_won(question: Question, use: Use) -> Found | str:
    """Consent to take part in one campaign carries contact with its winner, and nothing else."""
    name = question.request.campaign
    if name is None:
        return "missing_fact"
    part = next((one for one in question.own.campaigns if one.name == name), None)
    if part is None or (question.erased is not None and part.said <= question.erased):
        return "consent_missing"
    spoke = question.spoke(part.said, part.recorded)
    stop = newest(stop for stop in covering(question, use, (use.name,)) if stop.since >= spoke)
    if stop is not None:
        return STOP_REASONS[stop.kind]
    if spoke > question.at:
        return "consent_future"
    if part.faults:
        return "consent_invalid_form"
    if question.minor_on(spoke):
        return "minor_without_parent"
    if part.drawn is None or not question.had(part.drawn):
        return "campaign_closed"
    until = part.drawn + question.policy.parameters.prize_claim_days * DAY
    return Found("campaign_winner", part.index, part.said, until) if question.at < until else "campaign_closed"


@_condition("register_clear")
def register_clear(question: Question, _: Use) -> Found | str:
    """A letter may go to who is in no register of people who decline them, looked up within the last quarter (MFL 10(4))."""
    if question.minor_on(question.at):
        return "minor_without_parent"
    looked = [one for fold in question.folds for one in fold.registers if question.had(one.said)]
    if any(one.listed for one in looked):
        return "register_listed"
    if not looked:
        return "register_stale"
    last = max(looked, key=lambda one: one.said)
    until = last.said + question.policy.parameters.register_max_age_days * DAY
    return Found("not_objected", last.index, last.said, until) if question.at < until else "register_stale"


@_condition("claim_open")
def claim_open(question: Question, _: Use) -> Found | str:
    """A complaint that is not settled may be defended, whatever else ended (GDPR 17(3)(e), 18(2))."""
    for order in question.all_orders():
        named = question.request.order in (None, order.order)
        if named and _open(question, order.complaint_opened, order.complaint_closed):
            return Found("claim_open", order.index, order.complaint_opened)
    return "no_ground"


@_condition("proof_period")
def proof_period(question: Question, _: Use) -> Found | str:
    """Proof of a consent while it is used, and for a period after its last use (GDPR 7(1), 17(3)(e))."""
    grants = [
        grant for fold in question.folds for grant in fold.grants if question.spoke(grant.said, grant.recorded) <= question.at
    ]
    if not grants:
        return "no_ground"
    kept = question.policy.parameters.proof_days * DAY
    grant = max(grants, key=_last_use)
    last = _last_use(grant)
    if question.at < last + kept:
        return Found("within_proof_period", grant.index, grant.said, last + kept)
    live = (question.policy.use(name) for grant in question.own.grants for name in grant.uses)
    if any(use is not None and weigh(question, use).grant is not None for use in live):
        return Found("within_proof_period", grant.index, grant.said)
    return "retention_ended"


def _last_use(grant: Grant) -> int:
    return max(grant.said, grant.confirmed or 0, *(clock.recent[-1] for clock in grant.clocks), 0)


@_condition("restricted_storage")
def restricted_storage(question: Question, _: Use) -> Found | str:
    since = question.restricted()
    return "no_ground" if since is None else Found("restricted_storage", None, since)


@_condition("suppression")
def suppression(_: Question, __: Use) -> Found | str:
    return Found("suppression_kept")


@_condition("always")
def always(_: Question, __: Use) -> Found | str:
    return Found("statutory_duty")


@_condition("device_necessary")
def device_necessary(_: Question, __: Use) -> Found | str:
    return Found("strictly_necessary")
