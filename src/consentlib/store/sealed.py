"""A store whose personal parts are sealed: what it and its copies hold of a person opens only with a key from the vault.

Parts named `person` go through AES-256-GCM on their way into any store, and are opened on their way out. Facts name
addresses by random ids and stay as they are, since read models hold the same. A sealed part lies in the store as

    salt   the id of its key, 16 bytes
    data   "consentlib.dev/sealed/v1\\n" || nonce (12 bytes) || AES-256-GCM(length of the salt, 2 bytes, big-endian
           || salt || part bytes), with as associated data
           "consentlib.dev/sealed/v1\\n" || origin || "\\n" || decimal(index) || "\\n" || name

The leaf commits to the plaintext: AES-GCM does not commit to its key, so that a ciphertext proves nothing.
"""

from __future__ import annotations

import os
from collections.abc import Iterable, Iterator, Mapping, Sequence
from contextlib import AbstractContextManager
from itertools import islice
from types import TracebackType
from typing import Any, Final, Self

from attrs import evolve
from cryptography.exceptions import InvalidTag
from cryptography.hazmat.primitives.ciphers.aead import AESGCM

from consentlib.errors import KeyFileError, StoreUnavailableError
from consentlib.events import NOBODY
from consentlib.log import LOST, WITHHELD, Entry, Part
from consentlib.store.protocol import NOTHING_WANTED, Changes, Head, Life, NewEntry, Store, Transaction, View, Wanted, bind
from consentlib.store.vault import Condemned, Key, Vault

FORMAT: Final = "consentlib.dev/sealed/v1"

_PREFIX: Final = f"{FORMAT}\n".encode()
_NONCE: Final = 12
_LENGTH: Final = 2
_PAGE: Final = 256


class SealedStore:
    """Seals what goes into a store, under keys of its vault. Without the vault it can be read, with sealed parts `WITHHELD`.

    It fulfils `Store`; its constructors are those of the store inside, see `store.create_store` and `store.open_store`.
    A vault that fails is `StoreUnavailableError`, as a store that does.
    """

    def __init__(self, inner: Store, vault: Vault | None) -> None:
        self.inner = inner
        self.vault = vault
        self.meta: Mapping[str, str] = inner.meta
        if vault is not None:
            self._settle_what_was_missed(vault)

    def __reduce__(self) -> tuple[Any, ...]:
        """See `Store`: opened anew where it is unpickled, and so is its vault."""
        return type(self), (self.inner, self.vault)

    def clock(self) -> int:
        """See `Store.clock`."""
        return self.inner.clock()

    def lookup(self, key: bytes) -> tuple[Head, tuple[Life, ...]]:
        """See `Store.lookup`."""
        return self.inner.lookup(key)

    def read(self) -> SealedView:
        """See `Store.read`. A part that is erased for good while the view is open becomes `WITHHELD` in it."""
        return SealedView(self, self.inner.read())

    def write(self, wanted: Wanted = NOTHING_WANTED) -> SealedTransaction:
        """See `Store.write`. Raises `KeyFileError` without the vault."""
        if self.vault is None:
            raise KeyFileError("expected the vault of this ledger to write with, found none")
        return SealedTransaction(self, self.vault, self.inner.write(wanted))

    def purge(self) -> bool:
        """See `Store.purge`. First erases the keys of what was erased: then no copy of it opens, wherever it is."""
        if self.vault is None:
            raise KeyFileError("expected the vault of this ledger to erase from, found none")
        if self.vault.condemned():
            with self.inner.write() as transaction:  # so that nobody is between condemning keys and committing
                rows = self.vault.condemned()
                unused = [row.id for row in rows if not _used(transaction, row)]
                self.vault.settle(erase=unused, size=transaction.head().size)
        cleaned = self.vault.purge()
        return self.inner.purge() and cleaned

    def close(self) -> None:
        """See `Store.close`."""
        self.inner.close()
        if self.vault is not None:
            self.vault.close()

    def bind(self, connection: Any) -> SealedStore:
        """See `Binds.bind`. Keys are durable before the shop commits: where it rolls back, they have sealed nothing."""
        return _BoundSealedStore(bind(self.inner, connection), self.vault)

    def _settle_what_was_missed(self, vault: Vault) -> None:
        """Erase keys that should be gone: after a crash in the middle of an erasure, or in a vault that was restored.

        Where the log records erasures that this vault has not seen, the keys that no part is sealed under are erased.
        """
        settled = vault.settled()
        with self.inner.read() as view:
            size = view.head().size
            erasures = any(kind == "part.erased" for _, _, kind in view.kinds(settled))
        if erasures:
            with self.inner.write() as transaction:
                used = (part[0] for entry in transaction.entries() for _, part in _sealed(entry))
                vault.keep_only(used, size=transaction.head().size)
        elif settled != size:
            vault.set_settled(size)


class _BoundSealedStore(SealedStore):
    """The sealed store in a transaction of the shop's. Whose vault it is settles and closes it."""

    def __init__(self, inner: Store, vault: Vault | None) -> None:
        self.inner = inner
        self.vault = vault
        self.meta = inner.meta

    def close(self) -> None:
        """See `Store.close`."""
        self.inner.close()


class SealedView:
    """A view of the store inside that opens sealed parts; what else it is asked, the view inside answers."""

    def __init__(self, store: SealedStore, manager: AbstractContextManager[Any]) -> None:
        self._store = store
        self._manager = manager
        self._view: View

    def __enter__(self) -> Self:
        self._view = self._manager.__enter__()
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None) -> None:
        self._manager.__exit__(kind, error, trace)

    def __getattr__(self, name: str) -> Any:
        return getattr(self._view, name)

    def entries(self, start: int = 0, stop: int | None = None) -> Iterator[Entry]:
        """See `View.entries`."""
        inside = self._view.entries(start, stop)
        while page := list(islice(inside, _PAGE)):
            yield from self._opened(page)

    def entry(self, index: int) -> Entry | None:
        """See `View.entry`."""
        return self.entries_at([index]).get(index)

    def entries_at(self, indices: Iterable[int]) -> dict[int, Entry]:
        """See `View.entries_at`."""
        return {one.index: one for one in self._opened(list(self._view.entries_at(indices).values()))}

    def _opened(self, page: Sequence[Entry]) -> Iterator[Entry]:
        vault = self._store.vault
        ids = {part[0] for entry in page for _, part in _sealed(entry)}
        keys = vault.find(ids) if vault is not None and ids else {}
        for entry in page:
            opened = {name: self._open(entry.index, name, part, keys.get(part[0])) for name, part in _sealed(entry)}
            yield entry._replace(parts={**entry.parts, **opened}) if opened else entry

    def _open(self, index: int, name: str, part: tuple[bytes, bytes], key: bytes | None) -> Part:
        """A part opened. One that does not open is handed out as it is: it can't be what its leaf commits to."""
        if key is None:
            return self._without_key(index, name)
        sealed = part[1].removeprefix(_PREFIX)
        try:
            plain = AESGCM(key).decrypt(sealed[:_NONCE], sealed[_NONCE:], _associated(self._store.meta["origin"], index, name))
        except (InvalidTag, ValueError):
            return part
        start = _LENGTH + int.from_bytes(plain[:_LENGTH])
        return plain[_LENGTH:start], plain[start:]

    def _without_key(self, index: int, name: str) -> Part:
        """Lost, unless there is no vault at all or the part was erased, on record, since this view was opened."""
        if self._store.vault is None:
            return WITHHELD
        with self._store.inner.read() as now:
            entry = now.entry(index)
        return WITHHELD if entry is not None and entry.parts.get(name) is None else LOST


class SealedTransaction(SealedView):
    """A transaction of the store inside that seals what it applies."""

    def __init__(self, store: SealedStore, vault: Vault, manager: AbstractContextManager[Any]) -> None:
        super().__init__(store, manager)
        self._vault = vault
        self._view: Transaction
        self._failed = False

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None) -> None:
        if error is None and self._failed:  # perhaps in the vault: then the store inside does not know
            error = StoreUnavailableError("expected a transaction that can commit, found one with a failed change")
            super().__exit__(type(error), error, None)
            raise error
        super().__exit__(kind, error, trace)

    def apply(self, changes: Changes) -> None:
        """See `Transaction.apply`. Keys are durable before what is sealed under them, and condemned before it is erased."""
        try:
            entries = self._seal(changes.entries)
            self._condemn(changes.erase_parts, {entry.index: entry.parts for entry in entries})
            self._view.apply(evolve(changes, entries=entries))
        except BaseException:
            self._failed = True
            raise

    def _seal(self, entries: Sequence[NewEntry]) -> list[NewEntry]:
        personal = [entry for entry in entries if any(map(_is_personal, entry.parts))]
        keys = iter(self._vault.keys_for([_owner(one) for one in personal]))
        sealed = {one.index: one._replace(parts=self._sealed(one, next(keys))) for one in personal}
        return [sealed.get(one.index, one) for one in entries]

    def _sealed(self, entry: NewEntry, key: Key) -> dict[str, tuple[bytes, bytes] | None]:
        origin, cipher = self._store.meta["origin"], AESGCM(key.key)
        parts = dict(entry.parts)
        for name, part in entry.parts.items():
            if _is_personal(name) and part is not None:
                salt, data = part
                nonce = os.urandom(_NONCE)
                plain = len(salt).to_bytes(_LENGTH) + salt + data
                hidden = cipher.encrypt(nonce, plain, _associated(origin, entry.index, name))
                parts[name] = key.id, _PREFIX + nonce + hidden
        return parts

    def _condemn(self, erase: Iterable[tuple[int, str]], new: Mapping[int, Mapping[str, tuple[bytes, bytes] | None]]) -> None:
        used: dict[bytes, int] = {}
        for index, name in erase:
            if _is_personal(name):
                entry = Entry(index, b"", new[index]) if index in new else self._view.entry(index)
                used.update({part[0]: index for one, part in _sealed(entry) if one == name} if entry is not None else {})
        if used:
            self._vault.condemn(used)


def _owner(entry: NewEntry) -> str | None:
    """Whose key seals an entry: that of the address it is about. One about several, or nobody, gets a key of its own, since
    it goes when the first of them is erased, and nothing else may go with it."""
    about = set(entry.about) - {NOBODY}
    return about.pop() if len(about) == 1 else None


def _used(view: View, row: Condemned) -> bool:
    """Whether something that is still there is sealed under a key."""
    indices = {row.index, *(() if row.owner is None else view.about(row.owner))}
    return any(part[0] == row.id for entry in view.entries_at(indices).values() for _, part in _sealed(entry))


def _sealed(entry: Entry) -> Iterator[tuple[str, tuple[bytes, bytes]]]:
    """The sealed parts of an entry of the store inside."""
    for name, part in entry.parts.items():
        if _is_personal(name) and isinstance(part, tuple) and part[1] is not None and part[1].startswith(_PREFIX):
            yield name, part


def _is_personal(name: str) -> bool:
    return name.partition(".")[0] == "person"


def _associated(origin: str, index: int, name: str) -> bytes:
    return b"%b%b\n%d\n%b" % (_PREFIX, origin.encode(), index, name.encode())
