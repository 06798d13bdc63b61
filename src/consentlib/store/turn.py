"""The writer's turn among the threads of a process."""

from __future__ import annotations

import os
import threading
from typing import Final, Self
from weakref import WeakSet

from consentlib.errors import StoreUnavailableError

WAIT: Final = 30.0
"""Seconds for which a writer waits for others."""


class Turn:
    """A context manager that one thread at a time is in. In a child after a fork nobody is: it has none of the threads."""

    def __init__(self) -> None:
        self._begin_process()
        _turns.add(self)

    def _begin_process(self) -> None:
        self._lock = threading.Lock()
        self._holder: int | None = None

    def mine(self) -> bool:
        """Whether this thread has it."""
        return self._holder == threading.get_ident()

    def take(self, seconds: float = WAIT) -> None:
        """Wait for it. Raises `StoreUnavailableError` after so many seconds, and at once for who has it already."""
        if self.mine():
            raise StoreUnavailableError("expected one write transaction at a time in a thread, found one open")
        if not self.try_to_take(seconds):
            raise StoreUnavailableError(f"expected the writer's turn within {WAIT:.0f} s, found another transaction")

    def try_to_take(self, seconds: float = WAIT) -> bool:
        """Wait for it. False after so many seconds, and for who has it already."""
        if self.mine() or not self._lock.acquire(timeout=seconds):
            return False
        self._holder = threading.get_ident()
        return True

    def leave(self) -> None:
        """Let the next one in. Nothing to do in a child of the process that had it."""
        if self._holder is not None:
            self._holder = None
            self._lock.release()

    def __enter__(self) -> Self:
        self.take()
        return self

    def __exit__(self, *_: object) -> None:
        self.leave()


_turns: WeakSet[Turn] = WeakSet()


def _after_fork_in_child() -> None:
    for turn in _turns:
        turn._begin_process()


if hasattr(os, "register_at_fork"):
    os.register_at_fork(after_in_child=_after_fork_in_child)
