"""The contract that every store has to pass."""

from pathlib import Path

import pytest

from consentlib.testing import StoreContract


class TestJsonlStore(StoreContract):
    """Each test of the contract, in files of the test's own."""

    @pytest.fixture
    def store_url(self, tmp_path: Path) -> str:
        """A file that is not there yet."""
        return f"jsonl://{tmp_path}/ledger.jsonl"
