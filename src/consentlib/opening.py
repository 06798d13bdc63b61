"""What a ledger is made of, found or begun: its store, its keys, its checkpoints. Three things, in three places."""

from __future__ import annotations

import os
import time
from pathlib import Path
from typing import Final, NamedTuple

from consentlib.checkpoints import CheckpointStore, checkpoint_store
from consentlib.errors import KeyFileError, LedgerError, LedgerExistsError, LedgerMissingError
from consentlib.keys import Keys, key_path, load_keys, vault_path
from consentlib.log import check_origin
from consentlib.store import Store, create_sealed_store, create_store, open_locked_store, open_store

FORMAT: Final = "consentlib.dev/ledger/v1"
_PATIENCE: Final = 2.0
"""Seconds; amply what a process takes from its keys to its ledger."""


class Opened(NamedTuple):
    """The parts of one ledger, and the file its keys are in, if they are in one."""

    store: Store
    keys: Keys
    checkpoints: CheckpointStore
    key_file: Path | None


def begin(
    url: str,
    *,
    origin: str,
    keys: Keys | str | os.PathLike[str] | None = None,
    checkpoints: CheckpointStore | str | os.PathLike[str] | None = None,
    sealed: bool = False,
    vault: str | os.PathLike[str] | None = None,
    fresh: Keys | None = None,
) -> Opened:
    """An empty ledger, with a new key file (of `fresh` keys, by default random ones) unless `keys` are handed in themselves.

    Raises `LedgerExistsError` and touches nothing if there is a ledger or a checkpoint of one, `KeyFileError` if there are keys
    or a vault without one. Of several at once one begins the ledger; the others get `LedgerExistsError`.
    """
    check_origin(origin)
    made, path = (keys, None) if isinstance(keys, Keys) else (fresh or Keys.generate(), key_path(url, keys))
    if path is None and not isinstance(keys, Keys) and not url.startswith("memory:"):
        raise KeyFileError("expected a place for the keys of this ledger, found none; pass `keys` or set CONSENTLIB_KEYS")
    try:
        return _begin(url, made, path, origin=origin, checkpoints=checkpoints, sealed=sealed, vault=vault)
    except KeyFileError:
        places = (path, vault_path(url, vault) if sealed else None)
        if not any(place is not None and place.exists() for place in places) or not _appears(url):
            raise
        raise LedgerExistsError("expected no ledger at this URL, found one that was begun just now") from None


def _begin(
    url: str,
    made: Keys,
    path: Path | None,
    *,
    origin: str,
    checkpoints: CheckpointStore | str | os.PathLike[str] | None,
    sealed: bool,
    vault: str | os.PathLike[str] | None,
) -> Opened:
    try:
        open_locked_store(url).close()
    except LedgerMissingError:
        if path is not None and path.exists():
            raise KeyFileError(f"expected no file at `{path}`, found one; keys are never replaced") from None
    else:
        raise LedgerExistsError("expected no ledger at this URL, found one")
    kept = checkpoint_store(url, origin, made, checkpoints)
    kept.prepare()
    if kept.read() is not None:  # a second log of this name and key would be a fork of the first
        raise LedgerExistsError(f"expected no checkpoint of a log `{origin}` in its checkpoint store, found one")
    if path is not None:
        made.save(path)  # first: a ledger whose keys were never written would be lost
    try:
        meta = {"format": FORMAT, "origin": origin, **made.checks()}
        store = create_sealed_store(url, meta, vault=vault) if sealed else create_store(url, meta)
        return Opened(store, made, kept, path)
    except BaseException:
        if path is not None:
            path.unlink()
        raise


def _appears(url: str) -> bool:
    """Whether the ledger is there that keys were found for, or comes now: another process writes the keys just before it."""
    patience = time.monotonic() + _PATIENCE
    while True:
        try:
            open_locked_store(url).close()
            return True
        except LedgerError:
            if time.monotonic() > patience:
                return False
            time.sleep(0.02)


def find(
    url: str,
    *,
    keys: Keys | str | os.PathLike[str] | None = None,
    checkpoints: CheckpointStore | str | os.PathLike[str] | None = None,
    vault: str | os.PathLike[str] | None = None,
) -> Opened:
    """A ledger that is there; who uses it checks its format and keys. Raises `LedgerMissingError`, `KeyFileError`."""
    store = open_store(url, vault=vault)
    try:
        loaded, path = (keys, None) if isinstance(keys, Keys) else (load_keys(url, keys), key_path(url, keys))
        return Opened(store, loaded, checkpoint_store(url, store.meta.get("origin", ""), loaded, checkpoints), path)
    except BaseException:
        store.close()
        raise


def find_copy(
    of: Opened,
    url: str,
    *,
    keys: str | os.PathLike[str] | None = None,
    checkpoints: CheckpointStore | str | os.PathLike[str] | None = None,
    vault: str | os.PathLike[str] | None = None,
) -> Opened:
    """The place that a ledger is copied to, begun where there is nothing: the same log under the same keys.

    Unlike `begin` it takes checkpoints of the log for granted, and goes on where an earlier try was cut short. Raises
    `LedgerExistsError` for another ledger, `KeyFileError` for other keys or another vault in its place.
    """
    path = key_path(url, keys)
    if path is None and of.key_file is not None and not url.startswith("memory:"):
        raise KeyFileError("expected a place for the keys of the copy, found none; name one")
    kept = checkpoint_store(url, of.store.meta["origin"], of.keys, checkpoints)
    try:
        store = open_store(url, vault=vault)
    except LedgerMissingError:
        if path is not None:
            _copy_keys(of.keys, path)  # first: a ledger whose keys were never written would be lost
        kept.prepare(of.checkpoints.journal.since())
        return Opened(_begin_copy(of.store, url, vault), of.keys, kept, path)
    try:
        if _described(store) != _described(of.store):
            raise LedgerExistsError("expected no ledger or a copy of the same at this URL, found another")
        if path is not None:
            _copy_keys(of.keys, path)
        kept.prepare(of.checkpoints.journal.since())
    except BaseException:
        store.close()
        raise
    return Opened(store, of.keys, kept, path)


def _begin_copy(of: Store, url: str, vault: str | os.PathLike[str] | None) -> Store:
    if "sealed" not in of.meta:
        return create_store(url, of.meta)
    place = vault_path(url, vault)
    if place is not None and place.exists():
        from consentlib.store.vault import discard_unused  # here, because only sealed ledgers need it

        discard_unused(place)
    return create_sealed_store(url, _described(of), vault=vault)


def _described(store: Store) -> dict[str, str]:
    """What a ledger and its copies have in common: all but the vault, which each has for itself."""
    return {name: value for name, value in store.meta.items() if name != "vault"}


def _copy_keys(keys: Keys, path: Path) -> None:
    """Write a key file all at once, or bring the copy that is there up to date with a rotation."""
    if path.exists():
        found = Keys.load(path)
        if found.checks() != keys.checks():
            raise KeyFileError(f"expected no file at `{path}` or a copy of the same keys, found another")
        if found == keys:
            return
    keys.replace(path)
