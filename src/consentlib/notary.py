"""The notary of a ledger: signs what the log committed to, sees whether it was taken back, and proves single entries."""

from __future__ import annotations

import logging
from collections.abc import Iterable, Iterator, Sequence
from contextlib import suppress
from functools import cached_property
from itertools import islice, takewhile
from pathlib import Path
from typing import Final

from consentlib.checkpoints.making import Newest, agrees, check_extends, frontier_at, make_checkpoint, rehash
from consentlib.checkpoints.stores import CheckpointStore
from consentlib.damage import ReadingRows
from consentlib.errors import (
    CheckpointConflictError,
    FormatError,
    InputError,
    KeyFileError,
    StoreUnavailableError,
    VerificationError,
)
from consentlib.events import NOBODY
from consentlib.keys import Keys
from consentlib.log import format_line, leaf_hash, parse_leaf
from consentlib.log.checkpoint import Checkpoint, open_checkpoint
from consentlib.log.inclusion import inclusion_proofs
from consentlib.log.note import Verifier, cosign_note, parse_note
from consentlib.log.receipt import Proof
from consentlib.log.trust import KEY_ADDED, KeyAdded, Trust, read_key_added
from consentlib.signing import SigningKeys, sign, verify
from consentlib.store.protocol import Store, View

SIGN_AFTER_ENTRIES: Final = 10_000
SIGN_AFTER_TIME: Final = 3_600_000
"""A checkpoint is due after so many new entries, or so many milliseconds, whichever comes first."""

_ATTEMPTS: Final = 8
_RECEIPTS: Final = 4_000
_ROOM: Final = 16_000_000
_READ: Final = 50
"""Receipts are made for so many entries at once, or for as many as have lines of so many bytes, read so many at a time."""

_log = logging.getLogger("consentlib")


class Notary:
    """Signs for one log with its private key, and keeps the newest checkpoint in a store of its own. Threads may share it.

    A key that was added to the log is one that its `key_file` holds by now, or forged.
    """

    def __init__(
        self, store: Store, origin: str, keys: Keys, checkpoints: CheckpointStore, *, key_file: Path | None = None
    ) -> None:
        self._store = store
        self._origin = origin
        self._secrets = keys
        self.key_file = key_file
        self.checkpoints = checkpoints
        self._last_size = 0
        self._tried_size = 0
        self._tried_time: int | None = None

    @cached_property
    def keys(self) -> SigningKeys:
        """The signing keys, as they were when the ledger was opened or rotated them itself."""
        return SigningKeys.of(self._origin, self._secrets)

    def adopt(self, keys: Keys) -> None:
        """Sign with these keys from now on."""
        self._secrets = keys
        self.keys = SigningKeys.of(self._origin, keys)

    @property
    def verifier(self) -> Verifier:
        """The public key, in the form verifiers exchange. Tell it to auditors by another way than the export."""
        return self.keys.current.verifier

    def open(self, note: bytes) -> Checkpoint:
        """A checkpoint that this log signed at any time, whoever kept it."""
        return open_checkpoint(note, self.keys.verifiers, verify)

    def newest(self) -> Newest:
        """The newest checkpoint, and the key that signs what comes after it.

        Raises `StoreUnavailableError`, `VerificationError` for one that is not this log's, and `KeyFileError` where it shows
        that the signing key was rotated since the keys were read.
        """
        keys = self.keys
        data = self.checkpoints.read()
        if data is None:
            return Newest(None, None, keys.current)
        try:
            checkpoint = self.open(data)
        except FormatError as error:
            problem = f"expected the newest checkpoint to be a signed one, found other bytes: {error}"
            raise VerificationError(problem, level="signature", note=data) from None
        except VerificationError:
            self._refuse_rotated(data)
            raise
        self._refuse_rotated(data)
        signed = {one.id for one in parse_note(data)[1] if one.name == self._origin}
        for one in (keys.next, keys.current):
            if one is not None and one.verifier.id in signed:
                return Newest(data, checkpoint, one)
        problem = "expected the newest checkpoint under the newest signing key, found one under a key from before"
        raise VerificationError(problem, level="history", note=data)

    def trusted(self, pinned: Iterable[Verifier]) -> Trust:
        """What trust in some keys leads to, through the log and all that was ever signed."""
        trust, claimed = Trust(pinned, verify), []
        for note in {*self.checkpoints.history(), self.checkpoints.read() or b""}:
            with suppress(FormatError, VerificationError):
                claimed.append(trust.claim(note))
        with self._store.read() as view:
            for added in self.added(view):
                trust.add(added)
            trust.follow([one for one in claimed if agrees(view, one)])
        return trust

    def added(self, view: View) -> Iterator[KeyAdded]:
        """What the log says of its keys, in order."""
        for index, entry in sorted(view.entries_at(view.about(NOBODY)).items()):
            facts = entry.parts.get("facts")
            if isinstance(facts, tuple) and parse_leaf(entry.leaf).kind == KEY_ADDED:
                added = read_key_added(index, facts[1], self._origin)
                if added is not None:
                    yield added

    def introduced(self) -> list[tuple[str, int | None]]:
        """The verifier key of each of the log's signing keys, oldest first, with the index of the entry that added it."""
        with self._store.read() as view:
            entries = {one.key: one.index for one in reversed([*self.added(view)])}
        return [(str(one), entries.get(one)) for one in self.keys.verifiers]

    def signs_under(self, pinned: Iterable[Verifier]) -> bool:
        """Whether the newest checkpoint counts for who trusts these keys."""
        newest = self.newest().checkpoint
        return newest is not None and self.trusted(pinned).counts(newest)

    def _refuse_rotated(self, data: bytes) -> None:
        """Raise `KeyFileError` if a key signed that is not known here, and to which the log leads from those that are."""
        known = {(one.name, one.id) for one in self.keys.verifiers}
        strangers = {(one.name, one.id) for one in parse_note(data)[1] if one.name == self._origin} - known
        if strangers and strangers & {(one.name, one.id) for one in self.trusted(self.keys.verifiers).verifiers}:
            raise _rotated()

    def earlier(self, size: int) -> list[Checkpoint]:
        """What was ever signed below a size, smallest first; a file among them that is none is logged and left out."""
        found = {}
        for note in self.checkpoints.history():
            try:
                one = self.open(note)
            except (VerificationError, FormatError) as error:
                _log.error("an earlier checkpoint can't be used: %s", error)
            else:
                found[one.size] = one
        return [found[one] for one in sorted(found) if one < size]

    def look(self) -> VerificationError | KeyFileError | StoreUnavailableError | None:
        """Why the log must not be trusted as it is found on opening; None if it extends its newest checkpoint, readable.

        Raises `KeyFileError` for keys from before a rotation, after reading them again.
        """
        try:
            return self._look()
        except KeyFileError:
            if self.key_file is None:
                raise
            self.adopt(Keys.load(self.key_file))
            return self._look()

    def _look(self) -> VerificationError | KeyFileError | StoreUnavailableError | None:
        try:
            last = self.newest().checkpoint
        except (VerificationError, StoreUnavailableError) as error:
            return error
        try:
            with self._store.read() as view:
                if view.head().unverified is None:
                    self.examine(view, last)
        except VerificationError as error:
            return error
        except KeyFileError as error:
            if self.key_file is not None:
                raise
            return error  # whether it was rotated or forged, nobody can tell by keys without a file
        return None

    def examine(self, view: View, last: Checkpoint | None) -> None:
        """Raise `VerificationError` if the log is behind or beside its newest checkpoint, or what came since does not hash.

        `last` is the newest, read before the view was opened.
        """
        if last is not None:
            with ReadingRows():
                check_extends(view, last, self._origin)
                rehash(view, last.size, frontier_at(view, last.size), self._admit)
            self._last_size = self._tried_size = last.size

    def _admit(self, added: KeyAdded) -> None:
        """Refuse to sign for a key that somebody else added: whoever can write to the database could make himself heir."""
        if self.keys.hold(added):
            return
        if self.key_file is None or SigningKeys.of(self._origin, Keys.load(self.key_file)).hold(added):
            raise _rotated()
        problem = "expected only signing keys to be added that the key file holds, found another"
        raise VerificationError(problem, level="signature", index=added.index)

    def check_place(self) -> None:
        """Raise `StoreUnavailableError` where neither a checkpoint nor the stop journal is: every ledger begins with both.

        Whoever looks for them elsewhere than the others do would miss their stops, and sign what they would not.
        """
        if not self.checkpoints.journal.exists() and self.checkpoints.read() is None:
            raise StoreUnavailableError(
                "expected the checkpoints and the stop journal of this ledger where this process looks, found neither",
                note="name their place (`checkpoints`, CONSENTLIB_CHECKPOINTS); if they are lost, `checkpoint(begin=True)`",
            )

    def begin_place(self, now: int) -> None:
        """Begin the stop journal where there is neither one nor a checkpoint."""
        try:
            self.check_place()
        except StoreUnavailableError:
            self.checkpoints.prepare(since=now)

    def sign(self) -> bytes:
        """A signed checkpoint of the log as it stands; the newest one if nothing came since.

        Raises `VerificationError` if the log does not extend what was signed before, and signs nothing then.
        """
        self.check_place()
        for attempt in range(_ATTEMPTS):
            known = self.newest()
            with ReadingRows(), self._store.read() as view:
                try:
                    note = make_checkpoint(view, self.checkpoints, known, self._admit)
                except CheckpointConflictError:
                    if attempt == _ATTEMPTS - 1:
                        raise
                    continue
                self._last_size = self._tried_size = view.head().size
                return note
        raise AssertionError

    def sign_view(self, view: View) -> bytes | None:
        """A signed checkpoint of exactly what the view shows; None if a newer state has been signed by now."""
        self.check_place()
        known = self.newest()
        if known.checkpoint is not None and known.checkpoint.size > view.head().size:
            return None
        try:
            with ReadingRows():
                return make_checkpoint(view, self.checkpoints, known, self._admit)
        except CheckpointConflictError:
            return None

    def hand_over(self) -> None:
        """Have the newest checkpoint, under the current key, signed by the next one too: from then on only that one signs."""
        for _ in range(_ATTEMPTS):
            note, _, by = self.newest()
            if note is None or by == self.keys.next or self.keys.next is None:
                return
            with suppress(CheckpointConflictError):
                self.checkpoints.replace(note, cosign_note(note, self.keys.next, sign))
        raise CheckpointConflictError("expected a quiet moment to sign with both keys in, found new checkpoints all the time")

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
        fewer where entries are large, when the first of them is asked for. Raises then `InputError` for what is no entry's
        index, `VerificationError` where the log no longer leads to what was signed.
        """
        note, last, _ = self.newest()
        drawn, some = iter(indices), list[int]()
        while some := some or list(islice(drawn, _RECEIPTS)):
            with self._store.read() as view:
                size = view.head().size
            if any(type(index) is not int or not 0 <= index < size for index in some):
                raise InputError(f"expected the index of one of `{size}` entries, found another")
            if note is None or last is None or last.size <= max(some):
                note = self.sign()
                last = self.open(note)
            with ReadingRows(), self._store.read() as view:
                check_extends(view, last, self._origin)
                hashes, lines = _read_lines(view, some, note)
                proofs = inclusion_proofs(hashes, last.size, last.root, view.nodes)
            made = list(takewhile(lines.__contains__, some))
            some = some[len(made) :]
            for index in made:
                yield Proof(index, tuple(proofs[index]), note, lines[index]).format()


def _read_lines(view: View, indices: Sequence[int], note: bytes) -> tuple[dict[int, bytes], dict[int, bytes]]:
    """Leaf hashes and lines of the first of these entries: of as many as there is room for, and at least of one."""
    hashes, lines, room = {}, {}, _ROOM
    for start in range(0, len(indices), _READ):
        some = indices[start : start + _READ]
        entries = view.entries_at(some)
        for index in some:
            if index not in entries:
                problem = f"expected entry `{index}`, as signed, found none"
                raise VerificationError(problem, level="history", index=index, checkpoint=note)
            hashes[index], lines[index] = leaf_hash(entries[index].leaf), format_line(entries[index])
            room -= len(lines[index])
        if room < 0:
            break
    return hashes, lines


def _rotated() -> KeyFileError:
    problem = "expected the newest signing key of this ledger, found those from before a rotation"
    return KeyFileError(problem, note="open the ledger again, with the key file as it is now")
