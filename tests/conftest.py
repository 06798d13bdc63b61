from __future__ import annotations

import os
from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING

import pytest
from hypothesis import settings

from shop import Shop

# How long an example takes says more about what else the machine does than about the code.
settings.register_profile("unhurried", deadline=None)
settings.load_profile("unhurried")

if TYPE_CHECKING:
    from postgres_server import Database

_GIVEN = os.environ.get("CONSENTLIB_TEST_POSTGRES")


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


@pytest.fixture(scope="session", params=[None] if _GIVEN else [16, 18], ids="PostgreSQL {}".format)
def postgres(request: pytest.FixtureRequest) -> Iterator[Database]:
    """A running PostgreSQL server: one of each version a session and worker, or the one that is named."""
    from postgres_server import Database, Server

    if _GIVEN is not None:
        yield Database(_GIVEN)
    else:
        with Server(request.param).init() as server:
            yield server.start()


@pytest.fixture
def postgres_url(postgres: Database) -> Iterator[str]:
    """The URL of a fresh database."""
    name = f"consentlib_{os.urandom(8).hex()}"
    yield postgres.database(name)
    postgres.execute(f"DROP DATABASE {name} WITH (FORCE)")
