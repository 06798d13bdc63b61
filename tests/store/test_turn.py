"""The writer's turn among threads."""

from __future__ import annotations

import threading
import time

import pytest

from consentlib.errors import StoreUnavailableError
from consentlib.store.turn import Turn
from consentlib.testing.store_contract import in_child


def test_one_at_a_time() -> None:
    """Another thread waits until the first has left, or gives up after its time."""
    turn, refused, entered = Turn(), [], []

    def give_up() -> None:
        refused.append(turn.try_to_take(0.02))

    def wait() -> None:
        with turn:
            entered.append(turn.mine())

    with turn:
        impatient, patient = threading.Thread(target=give_up), threading.Thread(target=wait)
        impatient.start()
        patient.start()
        impatient.join()
        assert (refused, entered) == ([False], [])
    patient.join(20)
    assert entered == [True]
    assert not turn.mine()


def test_a_second_one_in_a_thread_is_refused_at_once() -> None:
    """Who has it does not wait for himself, and keeps it."""
    turn, start = Turn(), time.monotonic()
    with turn:
        with pytest.raises(StoreUnavailableError, match="one write transaction at a time"):
            turn.take()
        assert not turn.try_to_take()
        assert turn.mine()
    assert time.monotonic() - start < 10


def test_nobody_has_it_in_a_child() -> None:
    """A child can take it, although the parent forked in the middle; leaving the parent's block there does nothing."""
    turn = Turn()

    def child() -> None:
        assert not turn.mine()
        turn.leave()
        with turn:
            assert turn.mine()

    with turn:
        assert in_child(child) == 0
        assert turn.mine()
