"""Recording: idempotent by event id, all or nothing, stops always."""

import threading
from datetime import datetime
from pathlib import Path
from typing import Any

import pytest

from consentlib import Ledger
from consentlib.addresses import address_key, normalise, stop_key
from consentlib.checkpoints import MemoryCheckpoints
from consentlib.errors import (
    ClockError,
    ErasedError,
    EventConflictError,
    EventError,
    InputError,
    LedgerError,
    PolicyError,
    StoreUnavailableError,
)
from consentlib.events import (
    AddressChanged,
    ConsentConfirmed,
    ConsentGiven,
    ConsentRefused,
    ConsentWithdrawn,
    EntryCorrected,
    IdentityLinked,
    IdentityReleased,
    ObjectionRaised,
    OrderPlaced,
)
from consentlib.fold import Fold
from consentlib.keys import Keys
from consentlib.opening import FORMAT
from consentlib.policy import parse_policy, starter
from consentlib.store import create_store
from consentlib.store.protocol import Changes
from consentlib.testing import FaultyStore
from shop import LETTER, NOW, POLICY, SEEN, Clock, Shop

ANN = "ann@example.dk"


@pytest.fixture
def shop() -> Shop:
    return Shop()


def size(ledger: Ledger) -> int:
    return ledger.check(ANN, use="delivery").size


def test_same_id_and_content(shop: Shop) -> None:
    """The second time gives the first answer and records nothing."""
    event = OrderPlaced(ANN, order="o1", event_id="e1", occurred_at=NOW)
    first = shop.ledger.record(event)
    shop.clock.tick(60)
    assert shop.ledger.record(event) == first
    assert shop.ledger.record_many([event, event]) == [first, first]
    assert size(shop.ledger) == 2


def test_same_id_other_content(shop: Shop) -> None:
    """Another content under a taken id is refused, also within one batch, and nothing of the batch stays."""
    shop.ledger.record(OrderPlaced(ANN, order="o1", event_id="e1"))
    with pytest.raises(EventConflictError):
        shop.ledger.record(OrderPlaced(ANN, order="o2", event_id="e1"))
    with pytest.raises(EventConflictError):
        shop.ledger.record_many([OrderPlaced(ANN, order="o3", event_id="e3"), OrderPlaced(ANN, order="o4", event_id="e3")])
    assert size(shop.ledger) == 2
    assert shop.ledger.record(OrderPlaced(ANN, order="o3", event_id="e3")).index == 2


def test_erased_id(shop: Shop) -> None:
    """An id whose entry was erased answers `ErasedError`; a stop under it is recorded under a fresh one."""
    event = ConsentGiven(ANN, form="footer", evidence=SEEN, event_id="e1")
    shop.ledger.record(event)
    shop.clock.tick(days=800)
    shop.ledger.erase(ANN, reason="art17", by="dpo")
    with pytest.raises(ErasedError):
        shop.ledger.record(event)
    assert shop.ledger.record(ConsentWithdrawn(ANN, event_id="e1")).event_id != "e1"


def test_stop_with_a_taken_id(shop: Shop) -> None:
    """A stop is recorded whoever has its id."""
    shop.sign_up(ANN)
    shop.ledger.record(OrderPlaced("bo@example.dk", order="o1", event_id="e1"))
    stop = shop.ledger.record(ConsentWithdrawn(ANN, event_id="e1"))
    assert stop.event_id != "e1"
    assert not shop.newsletter(ANN)


@pytest.mark.parametrize("persisted", [False, True], ids=["not persisted", "answer lost"])
@pytest.mark.parametrize("action", ["record", "taken id", "permit", "erase", "publish"])
def test_failing_commit(persisted: bool, action: str) -> None:
    """A commit that fails leaves nothing and raises; one whose answer was lost is found, and answers as if nothing had been.

    A stop or an erasure does not raise: it is in the journal, counts, and is recorded with the next write.
    """
    keys = Keys.generate()
    store = FaultyStore(create_store("memory:", {"format": FORMAT, "origin": "shop.example", **keys.checks()}))
    ledger = Ledger(store, keys, MemoryCheckpoints(), clock=Clock())
    ledger.publish(POLICY)
    asked = ledger.record(ConsentGiven(ANN, form="footer", evidence=SEEN, event_id="e1"))
    ledger.record(ConsentConfirmed.of(asked))
    before = size(ledger)

    def act() -> Any:
        if action == "record":
            return ledger.record(OrderPlaced(ANN, order="o1")).index
        if action == "taken id":
            return ledger.record(ConsentWithdrawn(ANN, event_id="e1")).index
        if action == "permit":
            with ledger.permit(ANN, use="marketing_newsletter", message=LETTER):
                return before
        if action == "erase":
            return ledger.erase(ANN, reason="art17", by="dpo").index
        return ledger.publish(POLICY).index

    store.fail_next(persisted=persisted)
    if persisted:
        assert act() == before
        assert size(ledger) == before + 1
    elif action in ("taken id", "erase"):
        assert act() is None
        assert size(ledger) == before
        assert not ledger.check(ANN, use="marketing_newsletter", message=LETTER)
        assert ledger.record(OrderPlaced("bo@example.dk", order="o1")).index == before + 1
    else:
        with pytest.raises(StoreUnavailableError):
            act()
        assert size(ledger) == before
        assert act() == before
    ledger.verify(read_models=True)


def test_all_or_nothing(shop: Shop) -> None:
    """One event that can't be recorded, and none is; the error says which."""
    good = OrderPlaced(ANN, order="o1")
    for bad in (ConsentConfirmed(ANN, ref="nosuch"), ConsentGiven("nobody", form="footer"), "no event", OrderPlaced):
        with pytest.raises(InputError) as caught:
            shop.ledger.record_many([good, bad])  # type: ignore[list-item]
        assert caught.value.position == 1
    assert size(shop.ledger) == 1
    assert shop.ledger.record_many([]) == []
    assert [one.index for one in shop.ledger.record_many([good, good])] == [1, 2]


class Nasty:
    """Raises at every touch."""

    def __getattribute__(self, name: str) -> Any:
        raise RuntimeError("untouchable")

    __eq__ = __hash__ = __str__ = __repr__ = __bool__ = __iter__ = __len__ = lambda *_: 1 / 0  # type: ignore[assignment]


ADDRESSES = [
    "", " ", "-", "not an address", "anna..b@docomo.ne.jp", "x" * 100_000, "\udc80\udfff", "\x00", "<>", "mailto:", "a@b@c",
    "email:", "Å" * 999, None, b"\xff", 5, 10**30, [], {}, object(), Nasty(),
]  # fmt: skip
GARBAGE = [None, 5, "", "\udc80", [], [5], {1, "a"}, {}, object(), Nasty(), datetime(2026, 1, 1), b"x"]  # noqa: DTZ001


@pytest.mark.parametrize("place", range(len(ADDRESSES)))
def test_withdraw_takes_any_address(shop: Shop, place: int) -> None:
    """Whatever is handed in as an address, the withdrawal is recorded and stays found under the same text."""
    address: Any = ADDRESSES[place]
    recorded = shop.ledger.withdraw(address)
    assert recorded.index == 1
    assert [entry.kind for entry in shop.ledger.history(address)] == ["consent.withdrawn", "objection.raised"]
    shop.ledger.verify(read_models=True)


@pytest.mark.parametrize("place", range(len(GARBAGE)))
@pytest.mark.parametrize(
    "field", ["via", "uses", "channels", "controller", "limited", "evidence", "text", "occurred_at", "event_id"]
)
def test_withdraw_takes_any_field(shop: Shop, field: str, place: int) -> None:
    """What can't be read in a withdrawal never narrows it: marketing stops, also where it does not rest on consent."""
    shop.sign_up(ANN)
    assert shop.newsletter(ANN)
    shop.ledger.withdraw(ANN, **{field: GARBAGE[place]})
    assert shop.newsletter(ANN).reason == "objection_direct_marketing"


@pytest.mark.parametrize("address", [b"ann@example.dk", bytearray(b"Ann@Example.dk"), "MAILTO:ann@example.dk"])
def test_withdraw_finds_the_address_inside(shop: Shop, address: Any) -> None:
    """Bytes and a link reach the address they hold."""
    shop.sign_up(ANN)
    shop.ledger.withdraw(address)
    assert not shop.newsletter(ANN)


@pytest.mark.parametrize(
    ("text", "form"),
    [
        ("Ann <ann@example.dk>", "email:ann@example.dk"),
        ('"Ann, B." < Ann@Example.dk >', "email:ann@example.dk"),
        ("<mailto:ann@example.dk?subject=stop>", "email:ann@example.dk"),
        ("mailto:ann%40example.dk", "email:ann@example.dk"),
        ("Ann <ann@example.dk> <ANN@example.dk>", "email:ann@example.dk"),
        ("Ann <ann@example.dk>, Bo <bo@example.dk>", "verbatim:ann <ann@example.dk>, bo <bo@example.dk>"),
        ("Ann <ann>", "verbatim:ann <ann>"),
        ("mailto:", "verbatim:mailto:"),
    ],
)
def test_stop_key_of_texts_around_an_address(text: str, form: str) -> None:
    """Exactly one address in angle brackets or after `mailto:` is taken, several or none leave the text verbatim."""
    assert stop_key(text) == form
    assert stop_key(form) == form


def test_withdraw_scopes(shop: Shop) -> None:
    """Single uses are a limited withdrawal; a use nobody knows widens it to everything, objection included."""
    shop.sign_up(ANN)
    shop.ledger.withdraw(ANN, uses=["survey"])
    assert shop.newsletter(ANN)
    shop.ledger.withdraw(ANN, uses=["marketing_newsletter"], channels=["sms"])
    assert shop.newsletter(ANN)
    shop.ledger.withdraw(ANN, uses=["nosuch"])
    assert not shop.newsletter(ANN)
    last = shop.ledger.history(ANN)[-1].facts or {}
    assert (last["uses"], last.get("limited", False)) == ("all", False)


@pytest.mark.parametrize("limited", [None, True])
@pytest.mark.parametrize("event_id", ["hook-7", "x" * 128])
def test_a_withdrawal_handed_in_again_is_found(shop: Shop, event_id: str, limited: bool | None) -> None:
    """By its `event_id` both of its entries are known; other content under that id is a stop of its own."""
    first = shop.ledger.withdraw(ANN, event_id=event_id, limited=limited, occurred_at=NOW)
    before = size(shop.ledger)
    assert before == (3 if limited is None else 2)
    assert shop.ledger.withdraw(ANN, event_id=event_id, limited=limited, occurred_at=NOW) == first
    assert size(shop.ledger) == before
    assert shop.ledger.withdraw("bo@example.dk", event_id=event_id, limited=limited).index == before
    assert shop.newsletter("bo@example.dk").reason != "unknown_subject"


def test_withdraw_of_a_time_before_anything(shop: Shop) -> None:
    """A time that can't be meant, such as seconds for milliseconds, does not put a stop before the consent it ends."""
    shop.sign_up(ANN)
    shop.clock.tick(1)
    shop.ledger.withdraw(ANN, occurred_at=NOW // 1000)
    assert not shop.newsletter(ANN)


def test_stops_pass_when_all_else_fails(shop: Shop) -> None:
    """A clock that is behind and a log that did not verify refuse grants, orders and complaints, and take every stop."""
    shop.sign_up(ANN)
    with shop.ledger._store.write() as tx:
        tx.apply(Changes(tx.head()._replace(unverified="chain: broken")))
    stops = [ConsentWithdrawn(ANN), ObjectionRaised(ANN), ConsentRefused(ANN), IdentityReleased(ANN)]
    with pytest.raises(LedgerError, match="verified"):
        shop.sign_up("bo@example.dk")
    shop.ledger.record_many(stops)
    shop.clock.tick(days=-1)
    with pytest.raises(LedgerError):
        shop.ledger.record(OrderPlaced(ANN, order="o1"))
    assert {one.recorded_at for one in shop.ledger.record_many(stops)} == {NOW}
    shop.ledger.verify()
    with pytest.raises(ClockError):
        shop.ledger.record(OrderPlaced(ANN, order="o1"))


def test_correction(shop: Shop) -> None:
    """An entry in error is undone, however many addresses its effect has moved to; a stop by the person never is."""
    shop.ledger.record(ConsentGiven(ANN, form="footer", evidence=SEEN, address_verified=True, event_id="yes"))
    for old, new in ((ANN, "ann@new.dk"), ("ann@new.dk", "ann@newer.dk")):
        shop.ledger.record(AddressChanged(old, to=new, by="subject", address_verified=True))
    shop.ledger.record(OrderPlaced("ann@newer.dk", order="o1", event_id="o"))
    assert shop.newsletter("ann@newer.dk")
    shop.ledger.record(EntryCorrected(corrects="o", why="test order"))
    assert shop.newsletter("ann@newer.dk")
    assert not shop.ledger.check("ann@newer.dk", use="delivery", order="o1")
    shop.ledger.verify(read_models=True)
    shop.ledger.record(EntryCorrected(corrects="yes", why="wrong person"))
    assert not shop.newsletter("ann@newer.dk")
    shop.ledger.verify(read_models=True)
    shop.ledger.record(ConsentWithdrawn("ann@newer.dk", event_id="no"))
    for id in ("no", "nosuch"):
        with pytest.raises(EventError):
            shop.ledger.record(EntryCorrected(corrects=id, why="changed mind"))


def test_links(shop: Shop) -> None:
    """Stops travel between linked addresses in both directions, grants do not."""
    shop.sign_up(ANN)
    shop.ledger.record(IdentityLinked(ANN, other="a@work.dk"))
    assert shop.newsletter("a@work.dk").reason == "consent_identifier_mismatch"
    shop.ledger.withdraw("a@work.dk")
    assert not shop.newsletter(ANN)
    assert len(shop.ledger.history(ANN)) == len(shop.ledger.history("a@work.dk")) == 5
    shop.ledger.verify(read_models=True)


def test_links_do_not_add_up(shop: Shop) -> None:
    """Saying again that two addresses are one person's adds nothing: the oldest link stays, and the next if that is undone."""

    def links(address: str) -> list[tuple[int, ...]]:
        with shop.ledger._store.read() as view:
            [life] = view.lives(address_key(shop.ledger._keys.address, normalise(address)))
            return [tuple(link)[1:] for link in Fold.load(life.fold).links]

    shop.ledger.record(IdentityLinked(ANN, other="a@work.dk", event_id="first"))
    for _ in range(3):
        shop.ledger.record(ConsentGiven(ANN, form="footer", evidence=SEEN, addresses=("a@work.dk",)))
        shop.ledger.record(IdentityLinked("a@work.dk", other=ANN))
        shop.ledger.record(AddressChanged(ANN, to="a@work.dk", by="staff"))
    assert (links(ANN), links("a@work.dk")) == ([(1,)], [(1,)])
    shop.ledger.verify(read_models=True)
    shop.ledger.record(EntryCorrected(corrects="first", why="a test"))
    assert (links(ANN), links("a@work.dk")) == ([(2,)], [(2,)])
    shop.ledger.verify(read_models=True)


CHANGES = [("subject", True, True), ("subject", False, False), ("staff", True, False)]


@pytest.mark.parametrize(("by", "verified", "follows"), CHANGES)
def test_address_change(shop: Shop, by: str, verified: bool, follows: bool) -> None:
    """Consent follows only where the person said so and verified the new address; the old one keeps none."""
    shop.sign_up(ANN)
    shop.clock.tick(1)
    shop.ledger.record(AddressChanged(ANN, to="ann@new.dk", by=by, address_verified=verified))
    assert bool(shop.newsletter("ann@new.dk")) == follows
    assert not shop.newsletter(ANN)
    shop.ledger.verify(read_models=True)


def test_release(shop: Shop) -> None:
    """Who gets an address after somebody else starts anew: nothing of the other is theirs or shown to them."""
    shop.sign_up(ANN)
    shop.clock.tick(1)
    shop.ledger.record(IdentityReleased(ANN))
    assert not shop.newsletter(ANN)
    shop.clock.tick(1)
    before = [entry.index for entry in shop.ledger.history(ANN)]
    assert 1 not in before
    shop.sign_up(ANN)
    assert shop.newsletter(ANN)
    shop.clock.tick(days=3000)
    shop.ledger.erase(ANN, reason="art17", by="dpo")
    assert not shop.newsletter(ANN)
    assert shop.newsletter(ANN).reason == "erased"
    shop.ledger.verify(read_models=True)


def test_publish(shop: Shop) -> None:
    """A new policy is in force at once, for every ledger on the store; another wording under an old version is refused."""
    other = parse_policy(starter().replace('version = "3"', 'version = "4"', 1))
    shop.ledger.publish(other)
    assert shop.ledger.policy == other
    assert shop.newsletter(ANN).policy[1] == "4"
    changed = parse_policy(starter().replace("Yes, Littlesteps ApS may send me", "Yes, Littlesteps may send me"))
    before = size(shop.ledger)
    with pytest.raises(InputError, match="wording"):
        shop.ledger.publish(changed)
    assert size(shop.ledger) == before


@pytest.mark.parametrize("gone", [False, True])
def test_recording_under_a_policy_published_elsewhere(tmp_path: Path, gone: bool) -> None:
    """What is recorded follows the policy in force then, not the one that this program read last."""
    shop = Shop(f"sqlite:///{tmp_path / 'ledger.db'}")
    shop.sign_up(ANN)
    with Ledger.open(shop.url, clock=shop.clock) as other:
        other.publish(parse_policy(starter().replace("[forms.footer]", "[forms.bottom]", 1)))
    if gone:
        with pytest.raises(EventError, match="form"):
            shop.ledger.record(ConsentGiven("bo@example.dk", form="footer", evidence=SEEN))
    else:
        asked = shop.ledger.record(ConsentGiven("bo@example.dk", form="bottom", evidence=SEEN))
        shop.ledger.record(ConsentConfirmed.of(asked))
        assert shop.newsletter("bo@example.dk")


VOID = parse_policy(starter().replace("prechecked = false", "prechecked = true", 1))


def test_a_policy_with_errors_is_not_put_in_force(shop: Shop, tmp_path: Path) -> None:
    """What the linter finds is listed in the refusal, and nothing is begun or recorded; a shop may know better."""
    before = size(shop.ledger)
    with pytest.raises(PolicyError, match=r"found 1\n") as refused:
        shop.ledger.publish(VOID)
    assert [(one.key, one.code) for one in refused.value.findings] == [("forms.footer.prechecked", "form_void")]
    assert len(refused.value.__notes__) == 1
    assert size(shop.ledger) == before
    with pytest.raises(PolicyError):
        Ledger.create(f"sqlite:///{tmp_path / 'new.db'}", policy=VOID)
    assert list(tmp_path.iterdir()) == []
    shop.ledger.publish(VOID, allow_errors=True)
    assert shop.ledger.policy == VOID
    with Ledger.create("memory:", policy=VOID, allow_errors=True) as ledger:
        assert ledger.policy == VOID


def test_publishing_at_once(shop: Shop) -> None:
    """Policies published from several threads come one after the other; the last holds for everybody."""
    policies = [parse_policy(starter().replace('version = "3"', f'version = "{number}"', 1)) for number in range(4, 8)]
    threads = [threading.Thread(target=shop.ledger.publish, args=(policy,)) for policy in policies]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    newest = max(policies, key=lambda policy: [index for index, p in enumerate(published(shop)) if p == policy.hash])
    assert shop.ledger.policy == newest
    assert shop.newsletter(ANN).policy[2] == newest.hash


def published(shop: Shop) -> list[str]:
    """The hashes of policies, oldest first."""
    with shop.ledger._store.read() as view:
        return [entry.parts["facts"][1].decode().partition('"hash":"')[2][:64] for entry in view.entries()]  # type: ignore[index]
