"""Tests of `audit.read_models`: rows beside the log that hide something from checks are found, whatever else agrees."""

from __future__ import annotations

import pytest

from consentlib.errors import VerificationError
from consentlib.events import ConsentConfirmed, ConsentGiven, IdentityReleased, InquiryReceived
from consentlib.fold import Fold
from shop import NOW, SEEN, Shop


def found(shop: Shop) -> str:
    """What the comparison finds."""
    with pytest.raises(VerificationError) as caught:
        shop.ledger.verify(read_models=True)
    assert caught.value.level == "read_models"
    return str(caught.value)


def gave_late(shop: Shop) -> None:
    """A consent that was given before all else, and comes to be recorded now."""
    asked = shop.ledger.record(ConsentGiven("anna@example.dk", form="footer", evidence=SEEN, occurred_at=NOW + 1000))
    shop.ledger.record(ConsentConfirmed.of(asked, occurred_at=NOW + 2000))


@pytest.fixture
def withdrawn(shop: Shop) -> Shop:
    """Somebody signed up (entries 1 and 2), and withdrew a minute later (3 and 4)."""
    shop.sign_up("anna@example.dk")
    shop.clock.tick(60)
    shop.ledger.withdraw("anna@example.dk")
    shop.clock.tick(60)
    return shop


@pytest.fixture
def returned(withdrawn: Shop) -> Shop:
    """Then she was erased (5), and a consent from before came to be recorded (6 and 7), which begins her second life."""
    withdrawn.ledger.erase("anna@example.dk", reason="art17", by="dpo")
    withdrawn.clock.tick(60)
    gave_late(withdrawn)
    assert withdrawn.newsletter("anna@example.dk").reason != "consent_valid"
    withdrawn.ledger.verify(read_models=True)
    return withdrawn


def test_withdrawal_made_nobodys(shop: Shop) -> None:
    """Entries moved from a person to nobody are found, though the fold is as the rest makes it and the number of rows stays."""
    shop.sign_up("anna@example.dk")
    [(before,)] = shop.look("SELECT fold FROM consentlib_lives")
    shop.ledger.withdraw("anna@example.dk")
    shop.steal(
        "UPDATE consentlib_about SET address = '-' WHERE idx > 2", "UPDATE consentlib_lives SET fold = ?", values=(before,)
    )
    assert shop.newsletter("anna@example.dk")
    assert "entries about nobody" in found(shop)
    assert shop.newsletter("anna@example.dk").reason == "ledger_unverified"


def test_row_of_nobody_beyond_the_log(shop: Shop) -> None:
    """So is a row that waits for an entry to come."""
    shop.steal("INSERT INTO consentlib_about VALUES ('-', 1)")
    assert "entries about nobody" in found(shop)


def test_entry_taken_from_its_person(withdrawn: Shop) -> None:
    """A row gone, or given to another life, is found by the entry."""
    withdrawn.steal("DELETE FROM consentlib_about WHERE idx = 4")
    assert "entries by address" in found(withdrawn)


def test_person_taken_from_the_ledger(withdrawn: Shop) -> None:
    """A person whose rows are gone is found by the entries that name her: a late consent would count as her first."""
    withdrawn.steal("DELETE FROM consentlib_lives", "DELETE FROM consentlib_about WHERE address <> '-'")
    assert "stored address" in found(withdrawn)


def test_person_taken_from_the_ledger_and_come_back(withdrawn: Shop) -> None:
    """So is one whose address has begun another life since."""
    withdrawn.steal("DELETE FROM consentlib_lives", "DELETE FROM consentlib_about WHERE address <> '-'")
    gave_late(withdrawn)
    assert withdrawn.newsletter("anna@example.dk")
    assert "stored address" in found(withdrawn)


def test_erased_person_taken_from_the_ledger(returned: Shop) -> None:
    """So is one whose address was erased, by the facts that stay."""
    gone = "(SELECT id FROM consentlib_lives WHERE idx = 1)"
    returned.steal(f"DELETE FROM consentlib_about WHERE address = {gone}", f"DELETE FROM consentlib_lives WHERE id = {gone}")
    assert "stored address" in found(returned)


def test_entry_given_to_a_person(withdrawn: Shop) -> None:
    """An entry under a person whom it does not name is found."""
    withdrawn.steal("INSERT INTO consentlib_about SELECT id, 0 FROM consentlib_lives")
    assert "entries by address" in found(withdrawn)


def test_address_begun_by_an_entry_that_lost_its_facts(shop: Shop) -> None:
    """An address can't be given another beginning, of which the log no longer says whose it is: its own says so."""
    shop.ledger.record(InquiryReceived("bo@example.dk"))
    shop.clock.tick(60)
    shop.ledger.erase("bo@example.dk", reason="art17", by="dpo")
    shop.sign_up("anna@example.dk")
    shop.ledger.verify(read_models=True)
    shop.steal("UPDATE consentlib_lives SET idx = 1")
    assert "entry that introduced" in found(shop)


@pytest.mark.parametrize(
    ("theft", "what"),
    [
        ("UPDATE consentlib_lives SET suppressed = NULL WHERE idx = 6", "earlier erasure"),
        ("UPDATE consentlib_lives SET suppressed = zeroblob(32) WHERE idx = 6", "earlier erasure"),
        ("UPDATE consentlib_lives SET suppressed = zeroblob(32) WHERE idx = 1", "earlier erasure"),
        ("DELETE FROM consentlib_suppressions", "earlier erasure"),
        ("UPDATE consentlib_suppressions SET erased_at = erased_at - 1", "time of an erasure"),
        ("UPDATE consentlib_suppressions SET erased_at = erased_at + 60000", "time of an erasure"),
        ("UPDATE consentlib_lives SET since = 0 WHERE idx = 6", "time that a life begins"),
        ("UPDATE consentlib_lives SET since = since + 1 WHERE idx = 6", "time that a life begins"),
        ("UPDATE consentlib_lives SET since = 1 WHERE idx = 1", "time that a life begins"),
        ("UPDATE consentlib_lives SET idx = 8 WHERE idx = 1", "entry that introduced"),
        ("UPDATE consentlib_lives SET idx = 3 WHERE idx = 1", "entry that introduced"),
        ("UPDATE consentlib_lives SET idx = 0 WHERE idx = 1", "entry that introduced"),
        ("UPDATE consentlib_lives SET idx = 7 WHERE idx = 6", "entry that introduced"),
        (f"INSERT INTO consentlib_lives VALUES (zeroblob(32), 7, 'x', 0, NULL, '{Fold().dump()}')", "entry that introduced"),
    ],
)
def test_what_a_life_says(returned: Shop, theft: str, what: str) -> None:
    """When a life begins, by which entry and after which erasure is compared with the log, and a life without entries found."""
    returned.steal(theft)
    assert what in found(returned)


def test_erasure_of_a_later_life(shop: Shop) -> None:
    """An address that went to somebody else, who was erased: what stays of that is no earlier erasure of the first person."""
    shop.sign_up("anna@example.dk")
    shop.clock.tick(60)
    shop.ledger.record(IdentityReleased("anna@example.dk"))
    shop.clock.tick(60)
    shop.sign_up("anna@example.dk")
    shop.clock.tick(60)
    shop.ledger.erase("anna@example.dk", reason="art17", by="dpo")
    assert shop.look("SELECT count(*) FROM consentlib_suppressions") == [(1,)]
    shop.ledger.verify(read_models=True)


def test_several_erasures(withdrawn: Shop) -> None:
    """An erasure may name whom a later one left nothing of; in the same moment there may be other entries."""
    shop = withdrawn
    shop.ledger.erase("anna@example.dk", reason="art17", by="dpo")
    shop.sign_up("bo@example.dk")
    shop.clock.tick(days=2000)
    shop.ledger.erase("anna@example.dk", reason="art17", by="dpo")
    shop.sign_up("bo@example.dk")
    assert shop.look("SELECT count(*) FROM consentlib_lives") == [(1,)]
    shop.ledger.verify(read_models=True)
