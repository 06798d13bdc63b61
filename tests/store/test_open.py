"""Finding a store by its URL."""

from __future__ import annotations

import subprocess
import sys

import pytest

from consentlib.errors import InputError, LedgerMissingError
from consentlib.store import create_store, open_store


@pytest.mark.parametrize("url", ["mysql://anna:s3cret@host/db", "anna:s3cret@host", "shop.db", "", "://anna:s3cret@x"])
def test_an_unknown_scheme_names_the_known_and_no_secret(url: str) -> None:
    """The message names the schemes that work, and repeats neither user nor password."""
    for call in (open_store, lambda url: create_store(url, {"origin": "x"})):
        with pytest.raises(InputError, match="`memory`, `postgres`, `postgresql`, `sqlite`") as caught:
            call(url)
        assert "s3cret" not in str(caught.value)
        assert "anna" not in str(caught.value)
        assert "\n" not in str(caught.value)


def test_a_store_plugs_in_by_an_entry_point(monkeypatch: pytest.MonkeyPatch) -> None:
    """A scheme of the entry-point group is found without this library knowing it."""
    from importlib.metadata import EntryPoint

    plugged = EntryPoint("other", "consentlib.store.memory:MemoryStore", "consentlib.stores")
    monkeypatch.setattr("importlib.metadata.entry_points", lambda group: [plugged] if group == "consentlib.stores" else [])
    with pytest.raises(InputError, match="memory://name"):
        open_store("other://x")
    with pytest.raises(InputError, match="`other`"):
        open_store("another://x")


def test_own_schemes_need_no_entry_points(monkeypatch: pytest.MonkeyPatch) -> None:
    """`memory` and `sqlite` are found where no metadata is installed."""

    monkeypatch.setattr("importlib.metadata.entry_points", lambda group: [])
    for url in ("memory://nobody", "sqlite:////nowhere/at/all.db"):
        with pytest.raises(LedgerMissingError):
            open_store(url)


def test_importing_the_package_loads_no_backend() -> None:
    """`import consentlib.store` brings neither SQLite nor a backend, and `open` of SQLite no sqlite_utils."""
    code = (
        "import sys, consentlib.store\n"
        "bad = {'sqlite3', 'sqlite_utils', 'consentlib.store.memory', 'consentlib.store.sqlite', 'pytest'}\n"
        "sys.exit(str(bad & set(sys.modules)) if bad & set(sys.modules) else 0)"
    )
    assert subprocess.run([sys.executable, "-c", code], check=False).returncode == 0


def test_testing_loads_pytest_only_for_the_contract() -> None:
    """`FaultyStore` can be used where pytest is not installed."""
    code = "import sys, consentlib.testing; consentlib.testing.FaultyStore; sys.exit('pytest' in sys.modules)"
    assert subprocess.run([sys.executable, "-c", code], check=False).returncode == 0
