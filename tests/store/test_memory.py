"""The memory store."""

from __future__ import annotations

import secrets

import pytest

from consentlib.errors import InputError, LedgerMissingError
from consentlib.store import create_store, open_store
from consentlib.testing import StoreContract
from consentlib.testing.store_contract import META, append


class TestMemoryStore(StoreContract):
    """The contract."""

    persistent = False
    multiprocess = False

    @pytest.fixture
    def store_url(self) -> str:
        """A name nobody used."""
        return f"memory://{secrets.token_hex(8)}"


def test_an_anonymous_ledger_is_not_found_again() -> None:
    """`memory:` begins a ledger each time, and none can be opened."""
    first, second = create_store("memory:", META), create_store("memory:", META)
    with first.write() as transaction:
        append(transaction)
    assert second.lookup(b"")[0].size == 0
    with pytest.raises(LedgerMissingError):
        open_store("memory:")


def test_a_named_ledger_outlives_its_handles() -> None:
    """A ledger with a name is found again after it was closed."""
    url = f"memory://{secrets.token_hex(8)}"
    create_store(url, META).close()
    assert dict(open_store(url).meta) == META


@pytest.mark.parametrize("url", ["memory", "memory:name", "memory://"])
def test_other_forms_are_refused(url: str) -> None:
    """Only the two documented forms of URL are taken."""
    with pytest.raises(InputError):
        create_store(url, META)
