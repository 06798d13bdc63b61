"""Tests of the marks of a log that did not verify: which of them stay, and what lifts them."""

from __future__ import annotations

import pytest

from consentlib import Ledger
from consentlib.errors import VerificationError
from shop import Shop

BREAK_PART = "UPDATE consentlib_parts SET data = data || ' ' WHERE idx = 3 AND name = 'facts'"
MEND_PART = "UPDATE consentlib_parts SET data = rtrim(data) WHERE idx = 3 AND name = 'facts'"
SWAP_FOLD = "UPDATE consentlib_lives SET fold = (SELECT fold FROM consentlib_lives WHERE idx = 3) WHERE idx = 1"


@pytest.fixture
def shop(shop: Shop) -> Shop:
    """Two signed up, and one withdrew."""
    shop.sign_up("anna@example.dk")
    shop.sign_up("bo@example.dk")
    shop.ledger.withdraw("anna@example.dk")
    return shop


def levels(shop: Shop) -> list[str]:
    """The levels of the marks, oldest first."""
    [(marks,)] = shop.look("SELECT unverified FROM consentlib_head")
    return [one.partition(":")[0] for one in marks.splitlines()] if marks else []


def test_marks_of_several_levels(shop: Shop) -> None:
    """A mark is not lost to a later one that more verifications lift: none goes before all can."""
    shop.steal(SWAP_FOLD)
    assert shop.newsletter("anna@example.dk")
    with pytest.raises(VerificationError, match="fold"):
        shop.ledger.verify(read_models=True)
    shop.steal(BREAK_PART)
    for _ in range(3):
        with pytest.raises(VerificationError, match="commitment"):
            shop.ledger.verify()
    assert levels(shop) == ["read_models", "content"]
    shop.steal(MEND_PART)
    shop.ledger.verify()
    assert levels(shop) == ["read_models", "content"]
    assert shop.newsletter("anna@example.dk").reason == "ledger_unverified"
    shop.steal("UPDATE consentlib_lives SET fold = json_set(fold, '$[4]', json('[]')) WHERE idx = 1")
    with pytest.raises(VerificationError, match="fold"):
        shop.ledger.verify(read_models=True)
    assert levels(shop) == ["content", "read_models"]


def test_marks_lifted_together(shop: Shop) -> None:
    """A verification that settles all marks lifts all."""
    shop.ledger._writing.mark("read_models: a test")
    shop.ledger._writing.mark("content: a test")
    shop.ledger.verify()
    shop.ledger.verify(read_models=True)
    assert levels(shop) == []


def test_newest_of_a_level(shop: Shop) -> None:
    """Of one level the newest mark stays, in one line however it was worded."""
    for number in range(3):
        shop.ledger._writing.mark(f"history: a test\nof two lines, {number}")
    assert shop.look("SELECT unverified FROM consentlib_head") == [("history: a test of two lines, 2",)]


def test_mark_set_while_verifying(shop: Shop) -> None:
    """A verification does not lift what somebody else found after it had begun."""
    shop.ledger._writing.mark("content: a test")
    other = Ledger.open(shop.url, clock=shop.clock)
    thefts = [SWAP_FOLD]

    def meanwhile(_: int) -> None:
        while thefts:
            shop.steal(thefts.pop())
            with pytest.raises(VerificationError, match="fold"):
                other.verify(read_models=True)

    shop.ledger.verify(progress=meanwhile)
    other.close()
    assert not thefts
    assert levels(shop) == ["content", "read_models"]
    assert shop.newsletter("anna@example.dk").reason == "ledger_unverified"


def test_worse_of_the_same_level_while_verifying(shop: Shop) -> None:
    """Also not where that is of a level it settles."""
    shop.ledger._writing.mark("content: a test")
    other = Ledger.open(shop.url, clock=shop.clock)
    thefts = [BREAK_PART]

    def meanwhile(_: int) -> None:
        while thefts:
            shop.steal(thefts.pop())
            with pytest.raises(VerificationError, match="commitment"):
                other.verify()

    shop.ledger.verify(progress=meanwhile)
    assert levels(shop) == ["content"]  # before the other closes, which would sign, and so look again
    other.close()
