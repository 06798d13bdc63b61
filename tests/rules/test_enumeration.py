"""Every state of a finite picture of direct marketing, against what the rules say in one line each.

The proof of rules 10.3: each fact is a yes or no, or one of a few orders in time, and all combinations are judged.
"""

from __future__ import annotations

from itertools import product

from consentlib.fold import Fold, Grant, Order, Stop
from consentlib.policy import Policy
from consentlib.rules import Holdings, Message, Request, Texts, judge
from consentlib.rules.question import DAY

BEFORE, GIVEN, AFTER = 1_000 * DAY + 1, 1_000 * DAY + 2, 1_000 * DAY + 3
NOW = GIVEN + 30 * DAY
NEWSLETTER, OFFERS = "marketing_newsletter", "marketing_offers_profiled"
YES = (True, False)
MESSAGE = Message(True, True, True, "toys", True)


def test_every_state_of_direct_marketing(policy: Policy) -> None:
    """An allow is there exactly where consent or soft opt-in carries and no stop, erasure, restriction or minority bars."""
    policy = policy.overlay(None, {"soft_opt_in_channels": ["email"]})
    texts = Texts()
    texts.add_policy(policy, 0)
    requests = [
        Request(use, channel, "email:anna@example.dk", controller, NOW, message=MESSAGE)
        for use, channel, controller in product((NEWSLETTER, OFFERS), ("email", "sms"), ("littlesteps", "othershop"))
    ]
    seen, allowed = 0, 0
    for minor, confirmed, form, proven, expired, channels in product(
        YES, YES, YES, YES, YES, (["email"], ["sms"], ["email", "sms"])
    ):
        grant = Grant(
            "c1",
            GIVEN,
            GIVEN,
            0,
            [NEWSLETTER, OFFERS],
            channels,
            ["littlesteps"],
            "nlp-1",
            [] if form else ["active"],
            proven,
            False,
            False,
            NOW if expired else None,
            None,
            [],
            [],
            GIVEN if confirmed else None,
            GIVEN if confirmed else None,
        )
        sound = confirmed and form and proven and not minor
        for objected, withdrawn, erased, restricted, sale in product(
            (None, BEFORE, GIVEN, AFTER), (None, GIVEN, AFTER), (None, BEFORE, AFTER), (None, BEFORE, AFTER), YES
        ):
            stops = [Stop("direct_marketing", objected, 1, None, None, None, False)] if objected else []
            stops += [Stop("withdrawn", withdrawn, 2, None, None, None, False)] if withdrawn else []
            birthdate = "1964-01-01" if minor else "1950-01-01"  # the picture's now is in 1972
            own = Fold(4, GIVEN, GIVEN, [grant], stops, restricted=restricted, erased=erased, birthdate=birthdate)
            orders = (Order("o1", "toys", GIVEN, GIVEN, 3, offered=True),) if sale else ()
            held = Holdings(own, (), orders)
            for request in requests:
                decision = judge(policy, texts, held, request)
                seen += 1
                allowed += decision.allowed
                barred = AFTER in (erased, restricted) or minor
                fits = request.channel in channels and request.controller == "littlesteps"
                after = {objected, withdrawn} & {GIVEN, AFTER}
                consent = sound and fits and not expired and not after
                stopped = after or (objected == BEFORE and not (sound and fits))
                soft = sale and request.use == NEWSLETTER and request.channel == "email" and request.controller == "littlesteps"
                carried = consent or (soft and not stopped and restricted is None)
                assert decision.allowed is (carried and not barred), (request, held)
                if decision.allowed:
                    assert decision.ground == ("consent" if consent else "soft_opt_in")
                    assert (decision.reason == "consent_during_restriction") is (restricted == BEFORE)
    assert seen > 100_000
    assert 0 < allowed < seen / 4
