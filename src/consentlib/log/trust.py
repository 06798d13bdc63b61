"""Which keys count: those an auditor pinned, and those that the log leads to from them.

A `key.added` entry says which key comes after which. That alone passes no trust: whoever can write to the database can write
such an entry. The new key counts once a checkpoint that is signed by its predecessor, and that the log agrees with, covers the
entry. When the new key has signed as well, its predecessor counts for no larger checkpoint, and never again.
"""

from __future__ import annotations

from collections import defaultdict, deque
from collections.abc import Iterable
from itertools import groupby
from typing import Final, NoReturn

from attrs import frozen

from consentlib import codec
from consentlib.errors import FormatError, VerificationError
from consentlib.log.checkpoint import Checkpoint, open_checkpoint, parse_checkpoint
from consentlib.log.leaf import INDEX_LIMIT
from consentlib.log.note import Signature, Verifier, Verify, parse_note

KEY_ADDED: Final = "key.added"


@frozen
class KeyAdded:
    """What the `key.added` entry at `index` says: `key` signs in the place of `replaces`."""

    index: int
    key: Verifier
    replaces: Verifier


def read_key_added(index: int, facts: bytes, origin: str) -> KeyAdded | None:
    """What the facts of a `key.added` entry say; None where they are out of form or name another log's keys."""
    try:
        said = codec.decode(facts)
        found = KeyAdded(index, Verifier.parse(said["key"]), Verifier.parse(said["replaces"]))
    except (FormatError, KeyError, TypeError, AttributeError):
        return None
    return found if found.key.name == found.replaces.name == origin and found.key != found.replaces else None


class Trust:
    """What one auditor trusts, and comes to trust, in one log.

    Each checkpoint is claimed, each `key.added` entry added as the log is read; then those checkpoints are followed that the
    log agrees with. `opened` are checkpoints that the caller has opened under a pinned key.
    """

    def __init__(self, pinned: Iterable[Verifier], verify: Verify, *, opened: Iterable[Checkpoint] = ()) -> None:
        self._known: dict[tuple[str, bytes], Verifier] = {}
        for one in pinned:
            if self._known.setdefault((one.name, one.id), one) != one:
                raise FormatError("expected verifier keys that differ in name or key id, found two that do not")
        self._pinned = len(self._known)
        self._verify = verify
        self._opened = frozenset(opened)
        self._signers: dict[bytes, set[Verifier]] = {}
        self._unknown: dict[bytes, tuple[str, list[Signature]]] = {}
        self._last_size: dict[Verifier, int] = {}
        self._successors: defaultdict[Verifier, deque[KeyAdded]] = defaultdict(deque)
        self._predecessors: defaultdict[Verifier, deque[KeyAdded]] = defaultdict(deque)
        self._counted: set[bytes] = set()

    @property
    def verifiers(self) -> tuple[Verifier, ...]:
        """The keys known by now, the pinned ones first."""
        return tuple(self._known.values())

    @property
    def led_to(self) -> tuple[Verifier, ...]:
        """The keys that the log led to."""
        return self.verifiers[self._pinned :]

    def claim(self, note: bytes) -> Checkpoint:
        """The checkpoint that a note claims to be, signed by whomever.

        Raises `FormatError` for one out of form, `VerificationError` (level `signature`) where a pinned key's signature fails.
        """
        checkpoint = parse_checkpoint(note)
        text, signatures = parse_note(note)
        self._signers[note] = set()
        self._unknown[note] = (text, list(signatures))
        self._recognise(note)
        return checkpoint

    def add(self, added: KeyAdded) -> None:
        """Take note of what the log says of its keys, entry by entry."""
        self._successors[added.replaces].append(added)
        self._predecessors[added.key].append(added)

    def follow(self, agreed: Iterable[Checkpoint]) -> None:
        """Pass trust from key to key through claimed checkpoints whose root is the log's, and see which of them count."""
        claimed = [one for one in agreed if one.note in self._signers]
        for size, same in groupby(sorted(claimed, key=lambda one: one.size), key=lambda one: one.size):
            notes = [one.note for one in same]
            signers = deque(self._counting(notes, size))
            while signers:
                if self._learn(signers.popleft(), size):
                    signers.extend(self._counting(notes, size))
            counting = self._counting(notes, size)
            self._counted.update(note for note in notes if self._signers[note] & counting)
            for key in sorted(counting, key=lambda one: one.id):  # keys in a ring retire each other: for all in one order
                self._retire_before(key, size)

    def counts(self, checkpoint: Checkpoint) -> bool:
        """Whether a checkpoint was opened by the caller, or followed and found signed by a key that counts at its size."""
        return checkpoint in self._opened or checkpoint.note in self._counted

    def speaks(self, checkpoint: Checkpoint) -> bool:
        """The same of a claimed checkpoint that the log does not agree with, judged by the keys known in the end."""
        if checkpoint in self._opened:
            return True
        return bool(self._counting([checkpoint.note], checkpoint.size))

    def opened(self, checkpoint: Checkpoint) -> bool:
        """Whether the caller opened the checkpoint."""
        return checkpoint in self._opened

    def refuse(self, checkpoint: Checkpoint) -> NoReturn:
        """Raise the `VerificationError` (level `signature`) that says why a checkpoint does not count."""
        open_checkpoint(checkpoint.note, self.verifiers, self._verify)
        problem = "expected a signature by a key that counts at this size, found one by a key that was replaced or came later"
        raise VerificationError(problem, level="signature", note=checkpoint.note)

    def _recognise(self, note: bytes) -> None:
        """Check the signatures that known keys made and that were not checked yet."""
        text, signatures = self._unknown[note]
        left = []
        for one in signatures:
            key = self._known.get((one.name, one.id))
            if key is None:
                left.append(one)
            elif len(one.data) == 64 and self._verify(key.key, one.data, text.encode()):
                self._signers[note].add(key)
            else:
                problem = "expected a valid signature by a known key, found one that fails"
                raise VerificationError(problem, level="signature", note=note)
        self._unknown[note] = (text, left)

    def _counting(self, notes: Iterable[bytes], size: int) -> set[Verifier]:
        """The keys that signed any of these notes in the log's name, and count at this size."""
        found = set()
        for note in notes:
            self._recognise(note)
            origin = note.split(b"\n", 1)[0].decode()
            found |= {
                one for one in self._signers[note] if one.name == origin and size <= self._last_size.get(one, INDEX_LIMIT)
            }
        return found

    def _learn(self, key: Verifier, size: int) -> bool:
        """Trust the successors of a key that signed so much of the log; whether there was one that was unknown."""
        before, waiting = len(self._known), self._successors[key]
        while waiting and waiting[0].index < size:
            successor = waiting.popleft().key
            self._known.setdefault((successor.name, successor.id), successor)
        return len(self._known) > before

    def _retire_before(self, key: Verifier, size: int) -> None:
        """Let the predecessors of a key that signed count for nothing larger; and theirs, and so on."""
        keys = [key]
        while keys:
            waiting = self._predecessors[keys.pop()]
            while waiting and waiting[0].index < size:
                predecessor = waiting.popleft().replaces
                if predecessor != key and predecessor not in self._last_size:
                    self._last_size[predecessor] = size
                keys.append(predecessor)
