"""A store that fails when it is told to: for tests of what stands on a store.

A write takes steps: entering the block, each `apply`, the commit. Every step can be lost in one of two ways:

- *not persisted*: nothing of the transaction stays, a `StoreUnavailableError`;
- *persisted, but the answer lost*: the commit took place, the caller does not know, a `CommitUnknownError`.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from contextlib import AbstractContextManager, contextmanager
from typing import cast

from consentlib.errors import CommitUnknownError, StoreUnavailableError
from consentlib.store.protocol import NOTHING_WANTED, Head, Life, Store, Transaction, View, Wanted
from consentlib.store.watched import Watched


class FaultyStore:
    """Wraps a store; without an order to fail it is that store. `steps` counts the steps of writes begun so far.

    To fail everywhere once: run a scenario without faults, read `steps`, then run it afresh for each number below that
    with `fail_step(number)`.
    """

    def __init__(self, store: Store) -> None:
        self._store = store
        self._fail_at: int | None = None
        self._lose_answer = False
        self.meta: Mapping[str, str] = store.meta
        self.steps = 0

    def fail_next(self, *, persisted: bool) -> None:
        """Fail the next write at its commit: before it, or with `persisted` after it."""
        self._lose_answer = persisted
        self._fail_at = None if persisted else -1

    def fail_step(self, number: int) -> None:
        """Fail the step with this number, counted from 0 from now, before it takes place."""
        self._fail_at = self.steps + number

    @property
    def armed(self) -> bool:
        """Whether a failure that was ordered is still to come."""
        return self._lose_answer or self._fail_at is not None

    def lookup(self, key: bytes) -> tuple[Head, tuple[Life, ...]]:
        """See `Store.lookup`."""
        return self._store.lookup(key)

    def read(self) -> AbstractContextManager[View]:
        """See `Store.read`."""
        return self._store.read()

    @contextmanager
    def write(self, wanted: Wanted = NOTHING_WANTED) -> Iterator[Transaction]:
        """See `Store.write`; fails where ordered."""
        self._step()
        with self._store.write(wanted) as transaction:
            yield cast("Transaction", Watched(transaction, lambda _: self._step()))
            self._step(commit=True)
        if self._lose_answer:
            self._lose_answer = False
            raise CommitUnknownError("expected an answer to the commit, found it lost on purpose")

    def clock(self) -> int:
        """See `Store.clock`."""
        return self._store.clock()

    def purge(self) -> bool:
        """See `Store.purge`."""
        return self._store.purge()

    def close(self) -> None:
        """See `Store.close`."""
        self._store.close()

    def _step(self, *, commit: bool = False) -> None:
        number, self.steps = self.steps, self.steps + 1
        if self._fail_at == number or (commit and self._fail_at == -1):
            self._fail_at = None
            raise StoreUnavailableError(f"expected step `{number}` to succeed, found it failed on purpose")
