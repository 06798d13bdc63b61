"""Making checkpoints, and comparing the log with those that were made.

Before a new checkpoint is signed, what came since the last one is read back from committed storage and hashed again, and the
tree must extend the last one; a log that is behind or beside its checkpoint was rolled back, cut or forked, and is not signed.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Final, NamedTuple

from consentlib.checkpoints.stores import CheckpointStore
from consentlib.errors import FormatError, VerificationError
from consentlib.log import commitment, leaf_hash, parse_leaf
from consentlib.log.checkpoint import Checkpoint
from consentlib.log.merkle import extend_many, frontier_root
from consentlib.log.note import Signer, sign_note
from consentlib.log.trust import KEY_ADDED, KeyAdded, read_key_added
from consentlib.signing import sign
from consentlib.store.protocol import View

_BATCH: Final = 1_000

Admit = Callable[[KeyAdded], None]
"""Raises where a key was added to the log that must not be signed for."""


class Newest(NamedTuple):
    """The newest checkpoint, as bytes and opened, and the key that signs what comes after it."""

    note: bytes | None
    checkpoint: Checkpoint | None
    signer: Signer


def frontier_at(view: View, size: int) -> bytes:
    """The frontier that the tree had at an earlier size, from the stored subtrees. Raises KeyError where one is missing."""
    places = [(level, (size >> level) - 1) for level in range(size.bit_length() - 1, -1, -1) if size >> level & 1]
    found = view.nodes(places)
    return b"".join([found[place] for place in places])


def check_extends(view: View, checkpoint: Checkpoint, origin: str) -> None:
    """Raise `VerificationError` (level `history`) unless the log contains what the checkpoint committed to."""
    head = view.head()
    note = checkpoint.note
    if checkpoint.origin != origin:
        raise VerificationError("expected the checkpoint of this log, found another log's", level="history", checkpoint=note)
    if checkpoint.size > head.size:
        problem = f"expected at least {checkpoint.size} entries, as signed, found {head.size}: the log was rolled back or cut"
        raise VerificationError(problem, level="history", checkpoint=note, tip=head.tip)
    try:
        root = frontier_root(frontier_at(view, checkpoint.size))
    except KeyError:
        root = b""
    if root != checkpoint.root:
        problem = f"expected the root signed for the first {checkpoint.size} entries, found another: the log was rewritten"
        raise VerificationError(problem, level="history", checkpoint=note, root=root)


def agrees(view: View, checkpoint: Checkpoint) -> bool:
    """Whether the log begins as a checkpoint says, by its stored subtrees."""
    try:
        return checkpoint.size <= view.head().size and frontier_root(frontier_at(view, checkpoint.size)) == checkpoint.root
    except KeyError:
        return False


def rehash(view: View, start: int, frontier: bytes, admit: Admit) -> None:
    """Read every entry from `start` back, hash it again, and compare with the head. Raises `VerificationError`.

    `admit` is asked about each key that was added.
    """
    head = view.head()
    last = start - 1
    tip = view.nodes([(0, last)]).get((0, last)) if start else None
    if start and tip is None:
        raise VerificationError(f"expected entry `{last}`, as signed, found none", level="history", index=last)
    previous = b""
    hashes: list[bytes] = []
    size = start
    for entry in view.entries(start, head.size):
        try:
            leaf = parse_leaf(entry.leaf)
        except FormatError as error:
            raise VerificationError(str(error), level="chain", index=entry.index, leaf=entry.leaf) from None
        if leaf.index != size + len(hashes) or (tip is not None and leaf.prev != tip):
            problem = f"entry {entry.index}: expected to follow the entry before it, found another"
            raise VerificationError(problem, level="chain", index=entry.index, leaf=entry.leaf, previous_leaf=previous)
        for name, committed in leaf.parts:
            part = entry.parts.get(name)
            if isinstance(part, tuple) and not _opens(leaf.index, name, part, committed):
                problem = f"entry {entry.index}: expected the part `{name}` as committed, found other bytes"
                raise VerificationError(problem, level="content", index=entry.index, leaf=entry.leaf, part=part)
        facts = entry.parts.get("facts")
        if leaf.kind == KEY_ADDED and isinstance(facts, tuple):
            added = read_key_added(leaf.index, facts[1], leaf.origin)
            if added is not None:
                admit(added)
        previous, tip = entry.leaf, leaf_hash(entry.leaf)
        hashes.append(tip)
        if len(hashes) == _BATCH:
            frontier, _ = extend_many(frontier, size, hashes)
            size, hashes = size + len(hashes), []
    frontier, _ = extend_many(frontier, size, hashes)
    size += len(hashes)
    if (size, frontier) != (head.size, head.frontier) or (tip is not None and tip != head.tip):
        problem = "expected the stored head to be the tree over the stored entries, found another"
        found = (size, tip, frontier)
        raise VerificationError(problem, level="chain", leaf=previous, head=(head.size, head.tip, head.frontier), found=found)


def _opens(index: int, name: str, part: tuple[bytes, bytes], committed: bytes) -> bool:
    salt, data = part
    both = isinstance(salt, bytes) and isinstance(data, bytes)
    return both and len(salt) == 32 and commitment(index, name, salt, data) == committed


def make_checkpoint(view: View, store: CheckpointStore, newest: Newest, admit: Admit) -> bytes:
    """Sign the log as the view shows it, after hashing what is new again, and keep the note; gives its bytes.

    `newest` was read before the view was opened: another process may record and sign between the two, and a checkpoint read
    later than an older view would pass for one that the log fell behind.

    Raises `VerificationError` where the log does not extend the last checkpoint or does not hash as it should, and what `admit`
    raises: nothing is signed then. `CheckpointConflictError` where another process was first.
    """
    old, last, signer = newest
    head = view.head()
    if last is not None:
        check_extends(view, last, signer.name)
        if last.size == head.size and old is not None:
            return old
    start = last.size if last is not None else 0
    rehash(view, start, frontier_at(view, start), admit)
    text = Checkpoint(signer.name, head.size, frontier_root(head.frontier)).text()
    note = sign_note(text, [signer], sign)
    store.replace(old, note)
    return note
