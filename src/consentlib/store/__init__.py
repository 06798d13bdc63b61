"""Stores: where a ledger is kept. `open_store` and `create_store` find the class by the scheme of a URL.

`memory:`, `sqlite:///file.db` and `postgresql://host/database` come with the library, the last with its extra `postgres`;
others plug in through the entry-point group `consentlib.stores`, whose entries map a scheme to a class that fulfils `Store`.
A backend is imported when its scheme is first asked for.
A ledger whose parts are sealed comes inside a store that opens them with its vault.
"""

from __future__ import annotations

import os
from collections.abc import Mapping
from importlib import import_module
from pathlib import Path
from typing import Any, Final, cast

from consentlib.errors import InputError, KeyFileError, LedgerVersionError, StoreUnavailableError
from consentlib.keys import vault_path
from consentlib.store.protocol import (
    Binds,
    Changes,
    EventRow,
    Found,
    Head,
    Life,
    NewEntry,
    Store,
    Suppression,
    Transaction,
    View,
    Wanted,
    bind,
)

__all__ = [
    "Binds",
    "Changes",
    "EventRow",
    "Found",
    "Head",
    "Life",
    "NewEntry",
    "Store",
    "Suppression",
    "Transaction",
    "View",
    "Wanted",
    "bind",
    "create_sealed_store",
    "create_store",
    "open_locked_store",
    "open_store",
]

_GROUP: Final = "consentlib.stores"
_OWN: Final = {
    "memory": ("consentlib.store.memory", "MemoryStore"),
    "sqlite": ("consentlib.store.sqlite", "SqliteStore"),
    "postgresql": ("consentlib.store.postgres", "PostgresStore"),
    "postgres": ("consentlib.store.postgres", "PostgresStore"),
}


def open_store(url: str, *, vault: str | os.PathLike[str] | None = None) -> Store:
    """The store of the ledger at `url`, with its vault if its parts are sealed (see `keys.vault_path`).

    Raises `LedgerMissingError` if there is none, `InputError` for a bad URL, `KeyFileError` without the right vault.
    """
    store = _store_class(url).open(url)
    if "sealed" not in store.meta:
        return store
    try:
        return _with_vault(store, _known_vault_path(url, vault))
    except BaseException:
        store.close()
        raise


def open_locked_store(url: str) -> Store:
    """The store as who has no vault finds it: nothing can be written where parts are sealed, and those are withheld."""
    store = _store_class(url).open(url)
    return store if "sealed" not in store.meta else _with_vault(store, None)


def create_store(url: str, meta: Mapping[str, str]) -> Store:
    """Begin a ledger at `url`. Raises `LedgerExistsError` if there is one, `InputError` for a bad URL."""
    return _store_class(url).create(url, meta)


def create_sealed_store(url: str, meta: Mapping[str, str], *, vault: str | os.PathLike[str] | None = None) -> Store:
    """Begin a ledger with sealed parts, and its vault. As `create_store`; raises `KeyFileError` if there is a vault."""
    from consentlib.store.sealed import FORMAT
    from consentlib.store.vault import Vault

    path = _known_vault_path(url, vault)
    keys = Vault.create(path)  # first: parts sealed under keys that were never written would be lost
    id = keys.id
    keys.close()
    try:
        return _with_vault(create_store(url, {**meta, "sealed": FORMAT, "vault": id}), path)
    except BaseException:
        path.unlink()
        raise


def _known_vault_path(url: str, vault: str | os.PathLike[str] | None) -> Path:
    path = vault_path(url, vault)
    if path is None:
        raise KeyFileError("expected a vault for this ledger, found none; pass `vault` or set CONSENTLIB_VAULT")
    return path


def _with_vault(store: Store, path: Path | None) -> Store:
    from consentlib.store.sealed import FORMAT, SealedStore  # here, because only sealed ledgers need the cipher
    from consentlib.store.vault import Vault

    if store.meta["sealed"] != FORMAT:
        raise LedgerVersionError(f"expected parts sealed in the form `{FORMAT}`, found another")
    vault = None if path is None else Vault.open(path, store.meta.get("vault", ""))
    try:
        return cast("Store", SealedStore(store, vault))  # whose constructors are these functions
    except BaseException:
        if vault is not None:
            vault.close()
        raise


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
