"""What bound stores share: a store inside a transaction of the shop's own, for one thread, that ends nothing of the shop's."""

from __future__ import annotations

import threading
from abc import ABC, abstractmethod
from collections.abc import Mapping
from contextlib import AbstractContextManager
from typing import Any, Generic, NoReturn, TypeVar

from consentlib.errors import LedgerError
from consentlib.store.protocol import NOTHING_WANTED, Head, Life, Transaction, View, Wanted

_Store = TypeVar("_Store", bound=Any)


class BoundStore(ABC, Generic[_Store]):
    """A store as the shop's transaction sees it. The transaction must be fit at each use, else `LedgerError`."""

    def __init__(self, store: _Store) -> None:
        self.meta: Mapping[str, str] = store.meta
        self._store = store
        self._thread = threading.get_ident()
        self._closed = False

    @abstractmethod
    def read(self) -> AbstractContextManager[View]:
        """See `Store.read`: what is committed, and what this transaction did."""

    @abstractmethod
    def write(self, wanted: Wanted = NOTHING_WANTED) -> AbstractContextManager[Transaction]:
        """See `Store.write`: a savepoint, which becomes durable when the shop commits."""

    @abstractmethod
    def _check_transaction(self) -> None:
        """Raise `LedgerError` unless the shop's transaction is open and unharmed."""

    def clock(self) -> int:
        """See `Store.clock`."""
        return int(self._store.clock())

    def lookup(self, key: bytes) -> tuple[Head, tuple[Life, ...]]:
        """See `Store.lookup`."""
        with self.read() as view:
            return view.head(), view.lives(key)

    def purge(self) -> NoReturn:
        """Nothing can be purged before it is committed: raises `LedgerError`."""
        raise LedgerError("expected a purge outside of the shop's transaction, found one inside")

    def close(self) -> None:
        """End the binding; transaction and connection are left as they are."""
        if not self._closed:
            self._closed = True
            self._store._bound.remove(self._thread)

    def _check_open(self) -> None:
        if self._closed:
            raise LedgerError("expected a ledger that is bound, found its block left")
        self._check_transaction()
