"""The PostgreSQL store on real servers of both versions: the contract, and what is PostgreSQL's own."""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from consentlib.testing import StoreContract
from postgres_server import Server


@pytest.fixture(scope="session", params=[16, 18])
def server(request: pytest.FixtureRequest) -> Iterator[Server]:
    with Server(request.param).init() as one:
        yield one.start()


class TestPostgresStore(StoreContract):
    """The contract."""

    @pytest.fixture
    def store_url(self, server: Server, request: pytest.FixtureRequest) -> str:
        import secrets

        return server.database("test_" + secrets.token_hex(8))
