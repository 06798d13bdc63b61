from __future__ import annotations

from typing import Any

import pytest

from consentlib.policy import Policy, parse_policy, starter
from consentlib.policy.read import read_policy

SMALL = """
[policy]
id = "small"
version = "1"
controller = "shop"
profile = "DK"
marketing_use = "news"
[controllers.shop]
name = "Shop ApS"
contact = "shop@example.dk"
[profiles.DK]
zone = "Europe/Copenhagen"
child_age = [["0001-01-01", 13], ["2024-01-01", 15]]
[data]
email = {en = "e-mail address"}
[texts.t1]
uses = ["news"]
channels = ["email"]
controllers = ["shop"]
wording = {en = "Shop ApS may e-mail me offers on toys; I withdraw with the link."}
[forms.footer]
text = "t1"
uses = ["news"]
channels = ["email"]
active = true
prechecked = false
bundled_in_terms = false
conditional_on_purchase = false
informed_of_withdrawal = true
[uses.news]
aliases = ["marketing"]
grounds = ["consent"]
channels = ["email"]
data = ["email"]
marketing = true
objections = ["direct_marketing"]
obligations = ["include_unsubscribe"]
retention = "proof_days"
[uses.follow_up]
grounds = ["follow_up_ground"]
condition = "order_delivered_recently"
window = "follow_up_days"
channels = ["any"]
data = ["email"]
retention = "follow_up_days"
"""


@pytest.fixture
def small() -> str:
    """The text of a policy with one of each part that must be there."""
    return SMALL


@pytest.fixture(scope="session")
def policy() -> Policy:
    """The shop's policy that ships with the library."""
    return parse_policy(starter(), "littlesteps.toml")


@pytest.fixture
def change(policy: Policy) -> Any:
    """`change((path, value), …)`: the shop's policy with the values at these paths replaced, or removed where None."""

    def changed(*changes: tuple[tuple[str, ...], Any]) -> Policy:
        table = policy.plain()
        for (*path, last), value in changes:
            place = table
            for key in path:
                place = place.setdefault(key, {})
            if value is None:
                del place[last]
            else:
                place[last] = value
        return read_policy(table, "changed")

    return changed
