"""The notary of a ledger: signs what the log committed to, sees whether it was taken back, and proves single entries."""

from __future__ import annotations

import logging
from functools import cached_property
from typing import Final

from consentlib.checkpoints import CheckpointStore, check_extends, frontier_at, make_checkpoint, newest, rehash
from consentlib.errors import CheckpointConflictError, FormatError, InputError, LedgerError, VerificationError
from consentlib.log import format_line
from consentlib.log.checkpoint import open_checkpoint
from consentlib.log.merkle import inclusion_proof
from consentlib.log.note import Signer, Verifier
from consentlib.log.receipt import Proof
from consentlib.signing import signer, verify
from consentlib.store.protocol import Store, View

SIGN_AFTER_ENTRIES: Final = 10_000
SIGN_AFTER_TIME: Final = 3_600_000
"""A checkpoint is due after so many new entries, or so many milliseconds, whichever comes first."""

_ATTEMPTS: Final = 8
_log = logging.getLogger("consentlib")


class Notary:
    """Signs for one log with its private key, and keeps the newest checkpoint in a store of its own. Threads may share it."""

    def __init__(self, store: Store, origin: str, seed: bytes, checkpoints: CheckpointStore) -> None:
        self._store = store
        self._origin = origin
        self._seed = seed
        self.checkpoints = checkpoints
        self._last_size = 0
        self._last_time: int | None = None

    @cached_property
    def _signer(self) -> Signer:
        return signer(self._origin, self._seed)

    @property
    def verifier(self) -> Verifier:
        """The public key, in the form verifiers exchange. Tell it to auditors by another way than the export."""
        return self._signer.verifier

    def examine(self, view: View) -> None:
        """Raise `VerificationError` if the log is behind or beside its newest checkpoint, or what came since does not hash."""
        _, last = newest(self.checkpoints, self._signer)
        if last is not None:
            check_extends(view, last, self._origin)
            rehash(view, last.size, frontier_at(view, last.size))
            self._last_size = last.size

    def sign(self) -> bytes:
        """A signed checkpoint of the log as it stands; the newest one if nothing came since.

        Raises `VerificationError` if the log does not extend what was signed before, and signs nothing then.
        """
        for attempt in range(_ATTEMPTS):
            with self._store.read() as view:
                try:
                    note = make_checkpoint(view, self.checkpoints, self._signer)
                except CheckpointConflictError:
                    if attempt == _ATTEMPTS - 1:
                        raise
                    continue
                self._last_size = view.head().size
                return note
        raise AssertionError

    def sign_view(self, view: View) -> bytes | None:
        """A signed checkpoint of exactly what the view shows; None if a newer state has been signed by now."""
        _, last = newest(self.checkpoints, self._signer)
        if last is not None and last.size > view.head().size:
            return None
        try:
            return make_checkpoint(view, self.checkpoints, self._signer)
        except CheckpointConflictError:
            return None

    def after(self, size: int, now: int) -> None:
        """Sign if it is due. What goes wrong is logged: the entries are recorded, and the next checkpoint will tell."""
        if self._last_time is None:
            self._last_time = now
        if size - self._last_size < SIGN_AFTER_ENTRIES and now - self._last_time < SIGN_AFTER_TIME:
            return
        self._last_time = now
        try:
            self.sign()
        except (LedgerError, VerificationError, FormatError) as error:
            _log.error("no checkpoint could be signed: %s", error)

    def close(self) -> None:
        """Sign what is not signed yet; what goes wrong is logged."""
        try:
            with self._store.read() as view:
                head = view.head()
            if head.size > self._last_size and head.unverified is None:
                self.sign()
        except (LedgerError, VerificationError, FormatError) as error:
            _log.error("no checkpoint could be signed: %s", error)

    def receipt(self, index: int) -> bytes:
        """A `.tlog-proof` that the entry at `index` is in the log, with the entry as its extra data, under a checkpoint."""
        with self._store.read() as view:
            head = view.head()
            if type(index) is not int or not 0 <= index < head.size:
                raise InputError(f"expected the index of one of {head.size} entries, found another")
            note, last = newest(self.checkpoints, self._signer)
        if note is None or last is None or last.size <= index:
            note = self.sign()
            last = open_checkpoint(note, [self.verifier], verify)
        with self._store.read() as view:
            entry = view.entry(index)
            if entry is None:
                raise InputError("expected an entry that is there, found none")
            hashes = inclusion_proof(index, last.size, view.node)
        return Proof(index, tuple(hashes), note, format_line(entry)).format()
