"""The notary of a ledger: signs what the log committed to, sees whether it was taken back, and proves single entries."""

from __future__ import annotations

import logging
from collections.abc import Iterable, Iterator
from functools import cached_property
from itertools import islice
from typing import Final

from consentlib.checkpoints import CheckpointStore, check_extends, frontier_at, make_checkpoint, newest, rehash
from consentlib.errors import CheckpointConflictError, FormatError, InputError, VerificationError
from consentlib.log import format_line, leaf_hash
from consentlib.log.checkpoint import Checkpoint, open_checkpoint
from consentlib.log.note import Signer, Verifier
from consentlib.log.prover import Prover
from consentlib.log.receipt import Proof
from consentlib.signing import signer, verify
from consentlib.store.protocol import Store, View

SIGN_AFTER_ENTRIES: Final = 10_000
SIGN_AFTER_TIME: Final = 3_600_000
"""A checkpoint is due after so many new entries, or so many milliseconds, whichever comes first."""

_ATTEMPTS: Final = 8
_RECEIPTS: Final = 4_000
_log = logging.getLogger("consentlib")


class Notary:
    """Signs for one log with its private key, and keeps the newest checkpoint in a store of its own. Threads may share it."""

    def __init__(self, store: Store, origin: str, seed: bytes, checkpoints: CheckpointStore) -> None:
        self._store = store
        self._origin = origin
        self._seed = seed
        self.checkpoints = checkpoints
        self._last_size = 0
        self._tried_size = 0
        self._tried_time: int | None = None

    @cached_property
    def _signer(self) -> Signer:
        return signer(self._origin, self._seed)

    @property
    def verifier(self) -> Verifier:
        """The public key, in the form verifiers exchange. Tell it to auditors by another way than the export."""
        return self._signer.verifier

    def newest(self) -> Checkpoint | None:
        """The newest checkpoint. Raises `StoreUnavailableError`, or `VerificationError` for one that is not this log's."""
        return newest(self.checkpoints, self._signer)[1]

    def earlier(self, size: int) -> list[Checkpoint]:
        """What was ever signed below a size, smallest first; a file among them that is none is logged and left out."""
        found = {}
        for note in self.checkpoints.history():
            try:
                one = open_checkpoint(note, [self.verifier], verify)
            except (VerificationError, FormatError) as error:
                _log.error("an earlier checkpoint can't be used: %s", error)
            else:
                found[one.size] = one
        return [found[one] for one in sorted(found) if one < size]

    def examine(self, view: View, last: Checkpoint | None) -> None:
        """Raise `VerificationError` if the log is behind or beside its newest checkpoint, or what came since does not hash.

        `last` is the newest, read before the view was opened.
        """
        if last is not None:
            check_extends(view, last, self._origin)
            rehash(view, last.size, frontier_at(view, last.size))
            self._last_size = self._tried_size = last.size

    def sign(self) -> bytes:
        """A signed checkpoint of the log as it stands; the newest one if nothing came since.

        Raises `VerificationError` if the log does not extend what was signed before, and signs nothing then.
        """
        for attempt in range(_ATTEMPTS):
            known = newest(self.checkpoints, self._signer)
            with self._store.read() as view:
                try:
                    note = make_checkpoint(view, self.checkpoints, self._signer, known)
                except CheckpointConflictError:
                    if attempt == _ATTEMPTS - 1:
                        raise
                    continue
                self._last_size = self._tried_size = view.head().size
                return note
        raise AssertionError

    def sign_view(self, view: View) -> bytes | None:
        """A signed checkpoint of exactly what the view shows; None if a newer state has been signed by now."""
        known = newest(self.checkpoints, self._signer)
        if known[1] is not None and known[1].size > view.head().size:
            return None
        try:
            return make_checkpoint(view, self.checkpoints, self._signer, known)
        except CheckpointConflictError:
            return None

    def due(self, size: int, now: int) -> bool:
        """Whether to sign now: once each so many entries or milliseconds, also where the last try failed."""
        if self._tried_time is None:
            self._tried_time = now
        if size - self._tried_size < SIGN_AFTER_ENTRIES and now - self._tried_time < SIGN_AFTER_TIME:
            return False
        self._tried_size, self._tried_time = size, now
        return True

    def unsigned(self) -> bool:
        """Whether entries came since the newest checkpoint, in a log that is not marked."""
        with self._store.read() as view:
            head = view.head()
        return head.size > self._last_size and head.unverified is None

    def receipts(self, indices: Iterable[int]) -> Iterator[bytes]:
        """For each index, in order, a `.tlog-proof` that its entry is in the log, with the entry as its extra data.

        All under the newest checkpoint, or one signed now if that does not cover an entry. Some thousand are made at once,
        when their indices are drawn. Raises `InputError` for what is no entry's index, `VerificationError` where the log no
        longer leads to what was signed.
        """
        note, last = newest(self.checkpoints, self._signer)
        drawn = iter(indices)
        while some := list(islice(drawn, _RECEIPTS)):
            with self._store.read() as view:
                size = view.head().size
            if any(type(index) is not int or not 0 <= index < size for index in some):
                raise InputError(f"expected the index of one of `{size}` entries, found another")
            if note is None or last is None or last.size <= max(some):
                note = self.sign()
                last = open_checkpoint(note, [self.verifier], verify)
            with self._store.read() as view:
                check_extends(view, last, self._origin)
                entries = {entry.index: entry for run in _runs(some) for entry in view.entries(run.start, run.stop)}
                for index in some:
                    if index not in entries:
                        problem = f"expected entry `{index}`, as signed, found none"
                        raise VerificationError(problem, level="history", index=index, checkpoint=note)
                hashes = {index: leaf_hash(entry.leaf) for index, entry in entries.items()}
                proofs = Prover(last.size, last.root).prove(hashes, view.nodes)
            for index in some:
                yield Proof(index, tuple(proofs[index]), note, format_line(entries[index])).format()


def _runs(indices: Iterable[int]) -> Iterator[range]:
    """The indices as few ranges."""
    start = stop = 0
    for index in sorted(set(indices)):
        if index != stop:
            yield range(start, stop)
            start = index
        stop = index + 1
    yield range(start, stop)
