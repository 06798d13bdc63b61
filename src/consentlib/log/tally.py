"""Counting by names that a log chooses itself: in form, they could be others in every entry."""

from __future__ import annotations

from collections import Counter
from typing import Final

OTHER: Final = "…"
"""The name under which is counted what exceeds the names told apart."""

NAMES: Final = 200


class Tally(Counter[str]):
    """Counts by name, of a bounded number of names."""

    def add(self, name: str, number: int = 1) -> None:
        """Count under a name, or under `OTHER` if there are too many already."""
        self[name if name in self or len(self) < NAMES else OTHER] += number
