"""Attack 11: recording under a false clock, to make a consent older than it is. Recorded time never falls."""

import pytest

from consentlib.errors import ClockError, VerificationError
from consentlib.events import ConsentGiven
from shop import DAY, NOW, SEEN, Shop


def test_clock_set_back(shop: Shop) -> None:
    """Under a clock set back by a year no grant is recorded and nothing allowed; a stop is, at no earlier time than before."""
    shop.sign_up("anna@example.dk")
    size = shop.ledger.check("x@example.dk", use="delivery").size
    shop.clock.tick(days=-365)
    with pytest.raises(ClockError):
        shop.sign_up("bo@example.dk")
    assert shop.newsletter("anna@example.dk").reason == "invalid_time"
    assert shop.ledger.withdraw("bo@example.dk").recorded_at == NOW
    assert shop.ledger.verify().size == size + 2


def test_slightly_behind(shop: Shop) -> None:
    """Within the policy's skew entries take the time of the one before, so that recorded time never falls."""
    first = shop.sign_up("anna@example.dk")
    shop.clock.tick(-200)
    second = shop.sign_up("bo@example.dk")
    assert second.recorded_at == first.recorded_at == NOW
    shop.ledger.verify()


def test_claimed_time_stays_apart(shop: Shop) -> None:
    """What is claimed about the past stays a claim: the entry says when it was recorded, and was not known before."""
    recorded = shop.ledger.record(
        ConsentGiven("anna@example.dk", form="footer", evidence=SEEN, address_verified=True, occurred_at=NOW - 300 * DAY)
    )
    assert recorded.recorded_at == NOW
    [entry] = shop.ledger.history("anna@example.dk")
    assert (entry.recorded_at, entry.facts["occurred_at"]) == (NOW, NOW - 300 * DAY)
    assert shop.newsletter("anna@example.dk")
    shop.clock.tick(days=1)
    assert not shop.newsletter("anna@example.dk", at=NOW - 1)
    assert not shop.newsletter("anna@example.dk", known_at=recorded.index)


def test_leaf_time_moved_back(shop: Shop) -> None:
    """The time is inside the leaf: moved back in all places of the database, it breaks the chain."""
    asked = shop.sign_up("anna@example.dk")
    year_before = NOW - 365 * DAY
    back = f"leaf = replace(leaf, '{NOW}', '{year_before}'), time = {year_before}"
    shop.steal(f"UPDATE consentlib_entries SET {back} WHERE idx <= {asked.index}")
    with pytest.raises(VerificationError) as caught:
        shop.ledger.verify()
    assert caught.value.level == "chain"
    assert str(year_before).encode() in caught.value.evidence["previous_leaf"]
