"""Stores: where a ledger is kept. `open_store` and `create_store` find the class by the scheme of a URL.

`memory:`, `sqlite:///file.db` and `postgresql://host/database` come with the library, the last with its extra `postgres`;
others plug in through the entry-point group `consentlib.stores`, whose entries map a scheme to a class that fulfils `Store`.
A backend is imported when its scheme is first asked for.
"""

from __future__ import annotations

from collections.abc import Mapping
from importlib import import_module
from typing import Any, Final, cast

from consentlib.errors import InputError, StoreUnavailableError
from consentlib.store.protocol import (
    Changes,
    EventRow,
    Head,
    Life,
    NewEntry,
    Store,
    Suppression,
    Transaction,
    View,
)

__all__ = [
    "Changes",
    "EventRow",
    "Head",
    "Life",
    "NewEntry",
    "Store",
    "Suppression",
    "Transaction",
    "View",
    "create_store",
    "open_store",
]

_GROUP: Final = "consentlib.stores"
_OWN: Final = {
    "memory": ("consentlib.store.memory", "MemoryStore"),
    "sqlite": ("consentlib.store.sqlite", "SqliteStore"),
    "postgresql": ("consentlib.store.postgres", "PostgresStore"),
    "postgres": ("consentlib.store.postgres", "PostgresStore"),
}


def open_store(url: str) -> Store:
    """The store of the ledger at `url`. Raises `LedgerMissingError` if there is none, `InputError` for a bad URL."""
    return _store_class(url).open(url)


def create_store(url: str, meta: Mapping[str, str]) -> Store:
    """Begin a ledger at `url`. Raises `LedgerExistsError` if there is one, `InputError` for a bad URL."""
    return _store_class(url).create(url, meta)


def _store_class(url: str) -> type[Store]:
    scheme, colon, rest = url.partition(":")
    if colon and scheme in _OWN:
        module, name = _OWN[scheme]
        try:
            return cast("type[Store]", getattr(import_module(module), name))
        except ImportError as error:
            if "postgres" not in scheme:
                raise
            raise StoreUnavailableError(
                f"expected the driver of `{scheme}` to be installed, found none: pip install 'consentlib[postgres]'"
            ) from error
    from importlib.metadata import entry_points  # here, because it costs as much as half of this library

    plugged: dict[str, Any] = {entry.name: entry for entry in entry_points(group=_GROUP)}
    if colon and scheme in plugged:
        return cast("type[Store]", plugged[scheme].load())
    known = ", ".join(f"`{one}`" for one in sorted({*_OWN, *plugged}))
    # Without `//` the text before the colon may be a user name, after it a password: nothing of it is repeated.
    found = f"`{scheme}`" if rest.startswith("//") and scheme.isidentifier() else "none"
    raise InputError(
        f"expected the URL of a store with one of the schemes {known}, found {found}",
        note="a ledger in the file `shop.db` of the current folder is `sqlite:///shop.db`",
    )
