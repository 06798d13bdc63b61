"""Asking: defaults, times, modes, and that nothing anyone asks makes a check raise."""

import logging
import pickle
from datetime import UTC, datetime, timedelta, timezone
from typing import Any

import pytest
from attrs import evolve
from hypothesis import given, settings
from hypothesis import strategies as st

from consentlib import Ledger, Message, NotAllowedError
from consentlib.events import (
    BirthdateLearned,
    ConsentGiven,
    ConsentRefused,
    MessageSent,
    ObjectionRaised,
    OrderPlaced,
    RestrictionSet,
)
from consentlib.reasons import REASONS
from consentlib.store.protocol import Changes
from shop import DAY, LETTER, NOW, POLICY, SEEN, Shop

ANN = "ann@example.dk"


@pytest.fixture
def shop() -> Shop:
    return Shop()


def test_channel_and_controller_by_default(shop: Shop) -> None:
    """The channel is the address's, or the use's only one; the controller is the policy's."""
    shop.ledger.record(OrderPlaced(ANN, order="o1"))
    decision = shop.ledger.check(ANN, use="delivery", order="o1")
    assert (decision.allowed, decision.channel, decision.controller) == (True, "email", "littlesteps")
    assert shop.ledger.check("+4512345678", use="marketing_newsletter").channel == "sms"
    assert shop.ledger.check("+4512345678", use="marketing_phone").channel == "phone"
    assert shop.ledger.check(ANN, use="marketing_post").channel == "post"
    assert shop.ledger.check(ANN, use="legal_bookkeeping").channel == "none"
    assert shop.ledger.check(ANN, use="delivery", channel="sms").channel == "sms"


def test_addresses_that_no_standard_allows(shop: Shop) -> None:
    """Who has such an address may order, and is answered; a grant needs a real one."""
    odd = "anna..b@docomo.ne.jp"
    shop.ledger.record(OrderPlaced(odd, order="o1"))
    assert shop.ledger.check(odd, use="delivery").channel == "email"
    assert shop.ledger.check(odd, use="delivery", order="o1")
    assert shop.ledger.check("bo..b@docomo.ne.jp", use="delivery", order="o1").reason == "invalid_address"


@pytest.mark.parametrize("text", ["Ann <ann@example.dk>", "mailto:ann@example.dk", "email:email:ann@example.dk"])
def test_only_a_stop_reads_an_address_out_of_a_text(shop: Shop, text: str) -> None:
    """A question must name the address itself, also where a stop would find it."""
    shop.sign_up(ANN)
    assert shop.newsletter(text).reason == "invalid_address"
    assert shop.ledger.history(text) == shop.ledger.history(ANN)


class Nasty:
    """An object that raises at every touch."""

    def __getattribute__(self, name: str) -> Any:
        raise RuntimeError("untouchable")

    __eq__ = __hash__ = __str__ = __repr__ = __bool__ = __iter__ = __len__ = lambda *_: 1 / 0  # type: ignore[assignment]


GARBAGE = [
    None, 0, 1, -1, True, 1.5, float("nan"), 10**30, "", " ", "x" * 5000, "\udc80", "ann@example.dk", b"ann@example.dk",
    bytearray(b"x"), [], ["x"], [[]], {}, {"a": []}, set(), {1, "a"}, (), object(), Nasty(), Nasty, lambda: None,
    datetime(2026, 1, 1), datetime.max, datetime.min.replace(tzinfo=UTC),  # noqa: DTZ001, DTZ901
    datetime.max.replace(tzinfo=timezone(timedelta(hours=-14))), timedelta(1), Message(), "all", "any", "-",
]  # fmt: skip


@settings(max_examples=300, deadline=None)
@given(
    st.sampled_from(range(len(GARBAGE))),
    st.dictionaries(
        st.sampled_from(["channel", "message", "at", "known_at", "controller", "order", "campaign", "data"]),
        st.sampled_from(range(len(GARBAGE))),
    ),
    st.sampled_from([*range(len(GARBAGE)), "delivery", "marketing_newsletter"]),
)
def test_check_never_raises(shop_of_module: Shop, place: int, places: dict[str, int], use_place: int | str) -> None:
    """Whatever is asked, the answer is a decision that can be shown, and it is no."""
    address, asked = GARBAGE[place], {name: GARBAGE[one] for name, one in places.items()}
    use: Any = use_place if isinstance(use_place, str) else GARBAGE[use_place]
    decision = shop_of_module.ledger.check(address, use=use, **asked)
    assert not decision
    assert decision.reason in REASONS
    assert "example" not in repr(decision)
    assert decision.as_dict()["decision"] == "deny"
    assert list(shop_of_module.ledger.filter([address], use=use, **asked)) == []


@pytest.fixture(scope="module")
def shop_of_module() -> Shop:
    """A ledger that holds a customer, with no consent."""
    shop = Shop()
    shop.sign_up("bo@example.dk")
    return shop


@pytest.mark.parametrize("name", ["channel", "message", "at", "known_at", "controller", "order", "data"])
def test_garbage_is_never_left_out(shop: Shop, name: str) -> None:
    """Where the question without it would be allowed, something unreadable in any place denies."""
    shop.ledger.record(OrderPlaced(ANN, order="o1"))
    asked: dict[str, Any] = {"use": "delivery", "order": "o1"}
    assert shop.ledger.check(ANN, **asked)
    for garbage in ([["x"]], object(), Nasty(), 1.5, "a b"):
        assert not shop.ledger.check(ANN, **{**asked, name: garbage}), garbage


def test_naive_and_absurd_times(shop: Shop) -> None:
    """A time without a zone, finer than a millisecond or outside the years denies as `invalid_time`."""
    shop.sign_up(ANN)
    for bad in (datetime(2026, 4, 1), datetime(2026, 4, 1, 0, 0, 0, 1, UTC), -(2**60), "2026-04-01", True):  # noqa: DTZ001
        assert shop.newsletter(ANN, at=bad).reason == "invalid_time"
        assert shop.newsletter(ANN, known_at=bad).reason == "invalid_time"
    assert shop.newsletter(ANN, known_at=-1).reason == "invalid_time"


def test_at(shop: Shop) -> None:
    """`at` in the future asks about then, in the past about what was known and said by then."""
    shop.sign_up(ANN)
    shop.clock.tick(days=10)
    shop.ledger.withdraw(ANN)
    assert not shop.newsletter(ANN)
    assert shop.newsletter(ANN, at=NOW + DAY)
    assert shop.newsletter(ANN, at=datetime.fromtimestamp(NOW / 1000, UTC) + timedelta(days=1))
    assert not shop.newsletter(ANN, at=NOW - 1)
    shop.sign_up("bo@example.dk")
    assert shop.newsletter("bo@example.dk", at=shop.clock() + 300 * DAY)
    assert shop.newsletter("bo@example.dk", at=shop.clock() + 400 * DAY).reason == "consent_expired"


def test_known_at(shop: Shop) -> None:
    """`known_at` takes a time or a size of the log, never later than now."""
    shop.sign_up(ANN)
    size = shop.newsletter(ANN).size
    shop.clock.tick(days=1)
    shop.ledger.withdraw(ANN, occurred_at=NOW)
    assert shop.newsletter(ANN, known_at=size)
    assert shop.newsletter(ANN, known_at=datetime.fromtimestamp(NOW / 1000, UTC))
    assert not shop.newsletter(ANN, known_at=size + 1)
    assert not shop.newsletter(ANN, known_at=10**9)
    assert not shop.newsletter(ANN, known_at=datetime(2030, 1, 1, tzinfo=UTC))
    assert not shop.newsletter(ANN, known_at=0)
    assert shop.newsletter(ANN, at=NOW, known_at=size)
    assert not shop.newsletter(ANN, at=NOW, known_at=size + 5)


def test_clock_behind(shop: Shop) -> None:
    """A clock behind the log by more than the skew allows nothing; within it, it does."""
    shop.sign_up(ANN)
    shop.clock.tick(-POLICY.parameters.clock_skew_seconds)
    assert shop.newsletter(ANN)
    shop.clock.tick(-1)
    assert shop.newsletter(ANN).reason == "invalid_time"
    assert shop.newsletter(ANN, at=NOW + DAY).reason == "invalid_time"
    with pytest.raises(NotAllowedError):
        shop.ledger.permit(ANN, use="marketing_newsletter", message=LETTER)


@pytest.mark.parametrize("mode", ["warn", "observe"])
def test_modes(mode: Any, caplog: pytest.LogCaptureFixture) -> None:
    """A denial that is not absolute is let through and marked; `warn` says so in the log, without the person."""
    shop = Shop(mode=mode)
    with caplog.at_level(logging.DEBUG, logger="consentlib"):
        decision = shop.newsletter(ANN)
    assert (decision.allowed, decision.would_deny) == (True, "unknown_subject")
    assert [record.name for record in caplog.records] == (["consentlib"] if mode == "warn" else [])
    assert "ann" not in caplog.text
    assert shop.newsletter("not an address").reason == "invalid_address"
    assert not shop.ledger.check(ANN, use="nosuch")
    assert not shop.newsletter(ANN, at=datetime(2026, 4, 1))  # noqa: DTZ001


@pytest.mark.parametrize(
    "stop",
    [
        lambda shop: shop.ledger.withdraw(ANN),
        lambda shop: shop.ledger.withdraw(ANN, limited=True),
        lambda shop: shop.ledger.record(ObjectionRaised(ANN)),
        lambda shop: shop.ledger.record(ConsentRefused(ANN)),
        lambda shop: shop.ledger.record(RestrictionSet(ANN)),
        lambda shop: shop.ledger.record(OrderPlaced(ANN, order="o1", optout_offered=True, optout_declined=True)),
        lambda shop: (shop.ledger.record(OrderPlaced(ANN, order="o2")), shop.ledger.erase(ANN, reason="art17", by="dpo")),
        lambda shop: (shop.sign_up(ANN), shop.ledger.record(BirthdateLearned(ANN, date="2019-01-01"))),
    ],
)
def test_absolute_denials_hold_in_every_mode(stop: Any) -> None:
    """Withdrawn, objected, refused, restricted, declined, erased and minor hold while a shop only observes."""
    shop = Shop(mode="observe")
    stop(shop)
    assert not shop.newsletter(ANN)
    assert not list(shop.ledger.permits([ANN], use="marketing_newsletter", message=LETTER))


def test_unverified_holds_in_every_mode() -> None:
    """A log that did not verify allows nothing in any mode."""
    shop = Shop(mode="observe")
    with shop.ledger._store.write() as tx:
        tx.apply(Changes(tx.head()._replace(unverified="chain: broken")))
    assert shop.newsletter(ANN).reason == "ledger_unverified"


def test_mode_must_be_known() -> None:
    """Another mode is refused before anything is made."""
    with pytest.raises(ValueError, match="mode"):
        Shop(mode="off")


def test_store_gone(shop: Shop) -> None:
    """Without its store a ledger denies, whether or not it had read a policy before."""
    other = Shop()
    shop.sign_up(ANN)
    assert shop.newsletter(ANN)
    for one in (shop, other):
        one.ledger.close()
        assert one.newsletter(ANN).reason == "ledger_unavailable"


def test_rows_that_cannot_be_read(tmp_path: Any, caplog: pytest.LogCaptureFixture) -> None:
    """A damaged fold denies as unverified, in checks and permits, and says which kind of error it met."""
    shop = Shop(f"sqlite:///{tmp_path}/shop.db")
    shop.sign_up(ANN)
    for damage in ("[", "[1]", "{}", "null"):
        shop.steal("UPDATE consentlib_lives SET fold = ?", values=(damage,))
        assert shop.newsletter(ANN).reason == "ledger_unverified"
        assert not list(shop.ledger.permits([ANN], use="marketing_newsletter", message=LETTER))
    assert "can't be read" in caplog.text
    shop.ledger.close()


SOFT = POLICY.overlay(parameters={"soft_opt_in_channels": ["email"]})
SOFT = evolve(
    SOFT, uses={**SOFT.uses, "marketing_newsletter": evolve(SOFT.uses["marketing_newsletter"], grounds=("soft_opt_in",))}
)


@pytest.mark.parametrize(
    ("asked", "fact"),
    [
        ({"use": "newsletter"}, "marketing"),
        ({"use": "newsletter", "message": LETTER}, "own_products"),
        ({"use": "newsletter", "message": evolve(LETTER, own_products=True)}, "product_category"),
        ({"use": "delivery"}, "order"),
        ({"use": "campaign_prize"}, "campaign"),
    ],
)
def test_a_missing_fact_is_named(shop: Shop, asked: dict[str, Any], fact: str) -> None:
    """The answer and its sentence for the shop say which one; the person is not bothered with it."""
    shop.ledger.publish(SOFT, allow_errors=True)
    shop.ledger.record(OrderPlaced(ANN, order="o1", product_category="toys", optout_offered=True))
    decision = shop.ledger.check(ANN, **asked)
    assert (decision.reason, decision.determined_by[0].lacks) == ("missing_fact", fact)
    assert decision.text().endswith(f" Missing: `{fact}`.")
    assert decision.text("da").endswith(f" Mangler: `{fact}`.")
    assert fact not in decision.text(reader="person")
    assert decision.as_dict()["determined_by"][0]["lacks"] == fact


def test_an_unknown_processor_is_named_as_the_obstacle(shop: Shop) -> None:
    """Whose consent is missing is not the customer's to this use: neither sentence nor repair ask for that."""
    shop.sign_up(ANN)
    asked: dict[str, Any] = {"use": "newsletter", "message": evolve(LETTER, processor="mailchimpp")}
    decision = shop.ledger.check(ANN, **asked)
    assert (decision.reason, decision.determined_by[0].rule) == ("consent_missing", "only.processor")
    assert decision.text().startswith("The policy names no such processor")
    assert decision.would_allow_if[0].startswith("a processor that the policy names")
    with pytest.raises(NotAllowedError) as caught:
        shop.ledger.permit(ANN, **asked)
    assert caught.value.__notes__ == [decision.text()]
    assert pickle.loads(pickle.dumps(caught.value)).__notes__ == [decision.text()]


def test_filter(shop: Shop) -> None:
    """Rows come as they are, by key, attribute, function or themselves; nothing is recorded, and the counts say why not."""
    shop.sign_up(ANN)
    shop.ledger.withdraw("bo@example.dk")
    size = shop.newsletter(ANN).size
    asked: dict[str, Any] = {"use": "marketing_newsletter", "message": LETTER}
    rows = [{"mail": ANN}, {"mail": "bo@example.dk"}, {}, {"mail": 5}]
    run = shop.ledger.filter(rows, address="mail", **asked)
    assert list(run) == [{"mail": ANN}]
    assert run.counts == {"allowed": 1, "objection_direct_marketing": 1, "invalid_address": 2}
    assert list(shop.ledger.filter([ANN, "bo@example.dk"], **asked)) == [ANN]
    assert list(shop.ledger.filter([("x", ANN)], address=lambda row: row[1], **asked)) == [("x", ANN)]
    assert shop.newsletter(ANN).size == size


def test_require(shop: Shop) -> None:
    """`require` gives the decision or raises it."""
    shop.sign_up(ANN)
    assert shop.ledger.require(ANN, use="marketing_newsletter", message=LETTER)
    with pytest.raises(NotAllowedError, match="unknown_subject") as caught:
        shop.ledger.require("bo@example.dk", use="marketing_newsletter", message=LETTER)
    assert caught.value.decision.reason == "unknown_subject"


def test_imported_sends_keep_a_consent_alive(shop: Shop) -> None:
    """Sends that a shop records itself feed the passivity clock of their use and channel, and no later than they happened."""
    shop.ledger.record(ConsentGiven(ANN, form="footer", evidence=SEEN, address_verified=True, occurred_at=NOW - 400 * DAY))
    assert shop.newsletter(ANN).reason == "consent_expired"
    shop.ledger.record(MessageSent(ANN, use="marketing_newsletter", channel="sms", occurred_at=NOW - 200 * DAY))
    assert shop.newsletter(ANN).reason == "consent_expired"
    shop.ledger.record(MessageSent(ANN, use="marketing_newsletter", channel="email", occurred_at=NOW - 200 * DAY))
    assert shop.newsletter(ANN)
    shop.ledger.record(MessageSent(ANN, use="marketing_newsletter", channel="email", occurred_at=NOW + 3000 * DAY))
    assert shop.newsletter(ANN, at=NOW + 364 * DAY)
    assert shop.newsletter(ANN, at=NOW + 366 * DAY).reason == "consent_expired"


def test_closing_twice(shop: Shop) -> None:
    """Closing again does nothing; the block of a `with` closes."""
    with shop.ledger as ledger:
        assert isinstance(ledger, Ledger)
    shop.ledger.close()
