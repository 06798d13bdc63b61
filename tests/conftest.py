from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest
from hypothesis import settings

from shop import Shop

# How long an example takes says more about what else the machine does than about the code.
settings.register_profile("unhurried", deadline=None)
settings.load_profile("unhurried")


@pytest.fixture(scope="session", autouse=True)
def _checkpoints_aside(tmp_path_factory: pytest.TempPathFactory) -> Iterator[None]:
    """Checkpoints of ledgers that say nothing else lie in a folder of the tests, not in the home of who runs them."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("CONSENTLIB_CHECKPOINTS", str(tmp_path_factory.mktemp("checkpoints")))
        yield


@pytest.fixture
def shop(tmp_path: Path) -> Iterator[Shop]:
    """A shop with a new ledger in an SQLite file."""
    opened = Shop(f"sqlite:///{tmp_path}/shop.db")
    yield opened
    opened.ledger.close()
