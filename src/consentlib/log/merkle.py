"""The Merkle tree of RFC 6962 and RFC 9162, as functions of values.

A node is named by (level, position): level 0 are the leaf hashes, and node (l, p) covers the leaves from p * 2^l to
(p + 1) * 2^l - 1. A tree of any size is kept as its *frontier*: the hashes of its maximal perfect subtrees, largest
first, one for each bit set in the size. Sources: RFC 9162 sections 2.1.1 to 2.1.5.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from hashlib import sha256
from typing import Final

from consentlib.errors import FormatError, InputError, VerificationError

EMPTY_ROOT: Final = sha256(b"").digest()

Place = tuple[int, int]
Node = tuple[int, int, bytes]


def node_hash(left: bytes, right: bytes) -> bytes:
    """The hash of an interior node."""
    return sha256(b"\1" + left + right).digest()


def root(leaf_hashes: Sequence[bytes]) -> bytes:
    """The root over all leaf hashes; of none: SHA-256 of nothing."""
    return frontier_root(extend_many(b"", 0, leaf_hashes)[0])


def extend(frontier: bytes, size: int, leaf_hash: bytes) -> tuple[bytes, list[Node]]:
    """The frontier of `size` + 1 leaves, and the interior nodes that the new leaf completes, lowest first.

    Raises `FormatError` if the frontier is not one of `size` leaves, so that a damaged head is never built upon.
    """
    _check_frontier(frontier, size)
    completed = []
    level = 0
    while size & 1:
        frontier, left = frontier[:-32], frontier[-32:]
        leaf_hash = node_hash(left, leaf_hash)
        level += 1
        size >>= 1
        completed.append((level, size, leaf_hash))
    return frontier + leaf_hash, completed


def extend_many(frontier: bytes, size: int, leaf_hashes: Iterable[bytes]) -> tuple[bytes, list[Node]]:
    """`extend` for many leaves at once: the new frontier and all completed interior nodes, level by level."""
    _check_frontier(frontier, size)
    completed = []
    edge = []
    row = list(leaf_hashes)
    level = 0
    while row or size:
        if size & 1:
            row.insert(0, frontier[-32:])
            frontier = frontier[:-32]
        if len(row) & 1:
            edge.append(row.pop())
        pairs = iter(row)
        row = [sha256(b"\1" + left + right).digest() for left, right in zip(pairs, pairs, strict=True)]
        level += 1
        size >>= 1
        completed += [(level, position, value) for position, value in enumerate(row, size)]
    return b"".join(reversed(edge)), completed


def subtrees(start: int, leaf_hashes: Iterable[bytes]) -> list[Node]:
    """The largest perfect subtrees over the leaves from `start` on, from left to right: at most two of a level.

    `extend(frontier, position, hash)` with each of them in turn leads from the frontier of `start` leaves to that after them.
    """
    row, level, position = list(leaf_hashes), 0, start
    left, right = [], []
    while row:
        if position & 1:
            left.append((level, position, row.pop(0)))
            position += 1
        if len(row) & 1:
            right.append((level, position + len(row) - 1, row.pop()))
        pairs = iter(row)
        row = [sha256(b"\1" + one + other).digest() for one, other in zip(pairs, pairs, strict=True)]
        level += 1
        position >>= 1
    return left + right[::-1]


def frontier_root(frontier: bytes) -> bytes:
    """The root of the tree with this frontier."""
    if not frontier:
        return EMPTY_ROOT
    value = frontier[-32:]
    for end in range(len(frontier) - 32, 0, -32):
        value = node_hash(frontier[end - 32 : end], value)
    return value


def _check_frontier(frontier: bytes, size: int) -> None:
    if len(frontier) != 32 * size.bit_count():
        raise FormatError(f"expected a frontier of {size.bit_count()} hashes for size `{size}`, found another length")


def inclusion_proof(index: int, size: int, node: Callable[[int, int], bytes]) -> list[bytes]:
    """The proof that leaf `index` is in the tree of `size` leaves, lowest first (RFC 9162 section 2.1.3.1).

    `node(level, position)` reads the hash of a perfect subtree; about log2(size) are read.
    """
    return [subtree_root(level, position, size, node) for level, position in inclusion_places(index, size)]


def inclusion_places(index: int, size: int) -> list[Place]:
    """The subtrees whose roots are the inclusion proof, lowest first; one at most reaches beyond the tree's right edge."""
    if not 0 <= index < size:
        raise InputError(f"expected an index below the size `{size}`, found `{index}`")
    meet = (index ^ (size - 1)).bit_length()  # from this level on, the subtree of the leaf is the last one
    below = [(level, (index >> level) ^ 1) for level in range(meet)]
    return below + [(level, (index >> level) - 1) for level in range(meet, size.bit_length()) if index >> level & 1]


def subtree_root(level: int, position: int, size: int, node: Callable[[int, int], bytes]) -> bytes:
    """The root of a subtree of the tree of `size` leaves: over as many of its leaves as there are."""
    if (position + 1) << level <= size:
        return node(level, position)
    return _range_root(position << level, size, node)


def consistency_proof(old_size: int, size: int, node: Callable[[int, int], bytes]) -> list[bytes]:
    """The proof that the tree of `old_size` leaves is a prefix of that of `size` (RFC 9162 section 2.1.4.1).

    Empty for an empty old tree and for equal sizes. About 2 * log2(size) nodes are read.
    """
    if not 0 <= old_size <= size:
        raise InputError(f"expected an old size from 0 to `{size}`, found `{old_size}`")
    if old_size == 0:
        return []
    proof = []
    start, end = 0, size
    while old_size != end:
        middle = start + _split(end - start)
        if old_size <= middle:
            proof.append(_range_root(middle, end, node))
            end = middle
        else:
            proof.append(_range_root(start, middle, node))
            start = middle
    if start:
        proof.append(_range_root(start, end, node))
    return proof[::-1]


def _split(count: int) -> int:
    """The largest power of two below `count`."""
    return 1 << ((count - 1).bit_length() - 1)


def _range_root(start: int, end: int, node: Callable[[int, int], bytes]) -> bytes:
    """The root over leaves `start` to `end`, where `start` is a multiple of a power of two not below the width."""
    frontier = b""
    while start < end:
        level = (end - start).bit_length() - 1
        frontier += node(level, start >> level)
        start += 1 << level
    return frontier_root(frontier)


def verify_inclusion(index: int, size: int, leaf_hash: bytes, proof: Sequence[bytes], root: bytes) -> None:
    """Raise `VerificationError` unless the proof leads from the leaf to the root (RFC 9162 section 2.1.3.2)."""

    def refuse(found: str) -> VerificationError:
        return VerificationError(
            f"expected a proof that entry `{index}` is in the tree of size `{size}`, found {found}",
            level="proof",
            index=index,
            size=size,
            leaf_hash=leaf_hash,
            proof=tuple(proof),
            root=root,
        )

    if not 0 <= index < size:
        raise refuse("an index outside the tree")
    if any(len(value) != 32 for value in (leaf_hash, root, *proof)):
        raise refuse("a hash that is not 32 bytes long")
    position, last, value = index, size - 1, leaf_hash
    for sibling in proof:
        if last == 0:
            raise refuse("too many hashes")
        if position & 1 or position == last:
            value = node_hash(sibling, value)
            while not position & 1 and position:
                position >>= 1
                last >>= 1
        else:
            value = node_hash(value, sibling)
        position >>= 1
        last >>= 1
    if last != 0:
        raise refuse("too few hashes")
    if value != root:
        raise refuse("one that leads to another root")


def verify_consistency(old_size: int, size: int, old_root: bytes, root: bytes, proof: Sequence[bytes]) -> None:
    """Raise `VerificationError` unless the old tree is a prefix of the new one (RFC 9162 section 2.1.4.2).

    An empty old tree is a prefix of every tree; its root and its empty proof are still checked.
    """

    def refuse(found: str) -> VerificationError:
        return VerificationError(
            f"expected a proof that size `{old_size}` is a prefix of size `{size}`, found {found}",
            level="proof",
            old_size=old_size,
            size=size,
            old_root=old_root,
            root=root,
            proof=tuple(proof),
        )

    if not 0 <= old_size <= size:
        raise refuse("an old size outside the new tree")
    if old_size in (0, size) and proof:
        raise refuse("too many hashes")
    if old_size == 0 and old_root != EMPTY_ROOT:
        raise refuse("an empty tree with another root than that of nothing")
    if old_size == size:
        if old_root != root:
            raise refuse("two roots for one size")
        return
    if any(len(value) != 32 for value in (old_root, root, *proof)):
        raise refuse("a hash that is not 32 bytes long")
    if old_size == 0:
        return
    if not proof:
        raise refuse("too few hashes")
    position, last = old_size - 1, size - 1
    while position & 1:
        position >>= 1
        last >>= 1
    hashes = iter(proof)
    old_value = value = next(hashes) if position else old_root
    for sibling in hashes:
        if last == 0:
            raise refuse("too many hashes")
        if position & 1 or position == last:
            old_value, value = node_hash(sibling, old_value), node_hash(sibling, value)
            while not position & 1 and position:
                position >>= 1
                last >>= 1
        else:
            value = node_hash(value, sibling)
        position >>= 1
        last >>= 1
    if last != 0:
        raise refuse("too few hashes")
    if old_value != old_root:
        raise refuse("one that leads to another old root")
    if value != root:
        raise refuse("one that leads to another root")
