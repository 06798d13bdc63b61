"""Breaks 7 to 9, 13 and 18, read in the code of existing consent ledgers: how it answers. Each names the line that protects."""

import pytest

from consentlib import Message
from consentlib.events import (
    BasketAbandoned,
    ConsentConfirmed,
    ConsentGiven,
    ConsentRequested,
    ContactImported,
    InquiryReceived,
    MessageSent,
    ObjectionRaised,
    OrderPlaced,
    SiteVisited,
)
from consentlib.fold import Fold
from consentlib.rules import Holdings, Request, Texts, judge
from shop import DAY, LETTER, NOW, POLICY, SEEN, Shop


@pytest.fixture
def shop() -> Shop:
    """In memory: these are questions of rules."""
    return Shop()


@pytest.mark.parametrize("spelling", ["Ann@Example.DK", " ann@example.dk ", "email:ANN@example.dk", "Ann <ann@EXAMPLE.dk>"])
def test_7_one_identity_for_check_stop_and_erasure(shop: Shop, spelling: str) -> None:
    """A withdrawal under any spelling stops every spelling, and an erasure reaches it. Protects: one key form for all three,
    `addresses.normalise`, and `stop_key` around it."""
    shop.sign_up("ann@example.dk")
    assert shop.newsletter("ann@example.dk")
    shop.ledger.withdraw(spelling)
    assert shop.newsletter("ann@example.dk").reason == "objection_direct_marketing"
    assert shop.newsletter("ANN@example.dk").reason == "objection_direct_marketing"
    assert shop.ledger.erase(spelling, reason="art17", by="dpo").parts > 0
    assert shop.newsletter("ann@example.dk").reason == "erased"


def test_8_objections_are_read(shop: Shop) -> None:
    """An objection ends direct marketing, whatever was consented to. Protects: `objection.raised` in the fold's handlers."""
    shop.sign_up("ann@example.dk")
    shop.clock.tick(60)
    shop.ledger.record(ObjectionRaised("ann@example.dk"))
    assert shop.newsletter("ann@example.dk").reason == "objection_direct_marketing"


@pytest.mark.parametrize(
    "event",
    [
        ContactImported("ann@example.dk", source="mailchimp"),
        ConsentRequested("ann@example.dk", uses=["marketing_newsletter"], channels=["email"], text_version="nl-1"),
        ConsentGiven("ann@example.dk", form="footer", address_verified=True),
        ConsentGiven("ann@example.dk", form="footer", evidence=SEEN),
        ConsentGiven("ann@example.dk", form="survey", evidence=SEEN, address_verified=True),
        BasketAbandoned("ann@example.dk"),
        SiteVisited("ann@example.dk"),
        InquiryReceived("ann@example.dk"),
        OrderPlaced("ann@example.dk", order="o1"),
        MessageSent("ann@example.dk", use="marketing_newsletter", channel="email"),
    ],
    ids=lambda event: type(event).__name__,
)
def test_9_only_a_consent_is_a_consent(shop: Shop, event) -> None:
    """No other row, and no grant without evidence, confirmation or the right purpose, allows marketing. Protects: `_unfit` and
    `_flawed` in `rules.consent`, and that only `consent.given` makes a `Grant`."""
    shop.ledger.record(event)
    assert not shop.newsletter("ann@example.dk")
    assert not shop.ledger.check("ann@example.dk", use="marketing_newsletter")


def test_18_a_missing_fact_denies(shop: Shop) -> None:
    """A rule whose facts can't be established denies. Protects: `_missing` in `rules.judge`."""
    asked = shop.ledger.record(ConsentGiven("ann@example.dk", form="footer", evidence=SEEN))
    shop.ledger.record(ConsentConfirmed.of(asked))
    with shop.ledger._store.read() as view:
        life = next(view.all_lives())
    texts = Texts()
    texts.add_policy(POLICY, NOW)
    request = Request("marketing_newsletter", "email", "email:ann@example.dk", "littlesteps", NOW + DAY, message=LETTER)
    held = Holdings(Fold.load(life.fold))
    assert judge(POLICY, texts, held, request)
    for fact in ("stops", "birthdate", "grants"):
        decision = judge(POLICY, texts, held._replace(unknown=frozenset({fact})), request)
        assert (decision.allowed, decision.reason) == (False, "missing_fact")


def test_13_similar_goods_are_compared(shop: Shop) -> None:
    """A soft opt-in carries goods of the class that was bought, as named on sale and send; a note is none.
    Protects: the comparison of `product_category` in the condition of the soft opt-in."""
    shop.ledger.publish(POLICY.overlay(parameters={"soft_opt_in_channels": ["email"]}), allow_errors=True)
    shop.ledger.record(OrderPlaced("ann@example.dk", order="o1", product_category="toys", optout_offered=True))

    def ask(category: str | None) -> bool:
        letter = Message(marketing=True, unsubscribe=True, sender_identified=True, own_products=True, product_category=category)
        return bool(shop.ledger.check("ann@example.dk", use="marketing_newsletter", message=letter))

    assert ask("toys")
    assert not ask(None)
    assert not ask("similar goods")
    assert not ask("books")
