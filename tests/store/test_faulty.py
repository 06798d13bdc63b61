"""The store that fails when it is told to."""

# ruff: noqa: PT012
from __future__ import annotations

import pytest

from consentlib.errors import StoreUnavailableError
from consentlib.store import Store, create_store
from consentlib.testing import FaultyStore
from consentlib.testing.store_contract import KEY, META, append, check_chain


def write(store: Store) -> None:
    """A transaction of two changes: four steps."""
    with store.write() as transaction:
        append(transaction, "first")
        append(transaction, "second")


@pytest.fixture
def faulty() -> FaultyStore:
    """A store without faults yet."""
    return FaultyStore(create_store("memory:", META))


def test_without_orders_it_is_the_store(faulty: FaultyStore) -> None:
    """Reads and writes pass through, and steps are counted."""
    write(faulty)
    assert faulty.steps == 4
    assert not faulty.armed
    assert check_chain(faulty, 2) == ["first", "second"]
    assert dict(faulty.meta) == META
    assert faulty.lookup(KEY)[0].size == 2
    assert faulty.purge() is True
    faulty.close()
    with pytest.raises(StoreUnavailableError):
        faulty.lookup(KEY)


@pytest.mark.parametrize(("persisted", "size"), [(False, 0), (True, 2)])
def test_the_next_write_fails_once(faulty: FaultyStore, persisted: bool, size: int) -> None:
    """Not persisted leaves nothing, a lost answer everything; the write after it succeeds."""
    faulty.fail_next(persisted=persisted)
    assert faulty.armed
    with pytest.raises(StoreUnavailableError, match="on purpose"):
        write(faulty)
    assert not faulty.armed
    check_chain(faulty, size)
    write(faulty)
    check_chain(faulty, size + 2)


@pytest.mark.parametrize("step", range(6))
def test_any_step_can_fail(faulty: FaultyStore, step: int) -> None:
    """A failed step undoes its own transaction and none before it."""
    faulty.fail_step(step)
    with pytest.raises(StoreUnavailableError, match=f"`{step}`"):
        for _ in range(2):
            write(faulty)
    assert not faulty.armed
    check_chain(faulty, step // 4 * 2)


def test_an_error_of_the_caller_keeps_the_order_armed(faulty: FaultyStore) -> None:
    """A transaction that the caller breaks off is not the failure that was ordered."""
    faulty.fail_next(persisted=True)
    with pytest.raises(ZeroDivisionError), faulty.write():
        raise ZeroDivisionError
    assert faulty.armed
    with pytest.raises(StoreUnavailableError, match="lost on purpose"):
        write(faulty)
    check_chain(faulty, 2)
