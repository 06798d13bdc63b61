from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest

from shop import Shop


@pytest.fixture
def shop(tmp_path: Path) -> Iterator[Shop]:
    """A shop with a new ledger in an SQLite file."""
    opened = Shop(f"sqlite:///{tmp_path}/shop.db")
    yield opened
    opened.ledger.close()
