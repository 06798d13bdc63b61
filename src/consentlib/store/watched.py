"""A transaction that somebody watches."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from consentlib.store.protocol import Changes, Transaction


class Watched:
    """A `Transaction` that hands all changes to `watch` before they are applied. What `watch` raises keeps them out."""

    def __init__(self, transaction: Transaction, watch: Callable[[Changes], None]) -> None:
        self._transaction = transaction
        self._watch = watch

    def __getattr__(self, name: str) -> Any:
        return getattr(self._transaction, name)

    def apply(self, changes: Changes) -> None:
        """See `Transaction.apply`."""
        self._watch(changes)
        self._transaction.apply(changes)
