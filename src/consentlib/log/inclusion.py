"""Many inclusion proofs in one tree at once: every node is read or hashed once, however many proofs it stands in."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from hashlib import sha256

from consentlib.errors import VerificationError
from consentlib.log.merkle import Place, subtree_root, verify_inclusion

Nodes = Callable[[Sequence[Place]], Mapping[Place, bytes]]
"""(level, position) of perfect subtrees -> the hashes of those that there are."""


def inclusion_proofs(leaf_hashes: Mapping[int, bytes], size: int, root: bytes, nodes: Nodes) -> dict[int, list[bytes]]:
    """The proof that each of these leaves is in the tree of `size` leaves, lowest hash first (as `merkle.inclusion_proof`).

    Indices must be below `size`. All are hashed up to the root together: what is beside them is read, what is above is not.
    Raises `VerificationError` (level `proof`) if they do not lead to `root`, or a node is not there.
    """
    found = _read(_beside(leaf_hashes, size), size, nodes)
    row, rows = dict(leaf_hashes), []
    for beside in found:
        row.update(beside)
        rows.append(row)
        row = {
            at >> 1: sha256(b"\1" + left + row[at + 1]).digest() if at + 1 in row else left  # the odd one at the end moves up
            for at, left in row.items()
            if not at & 1
        }
    proofs = {}
    for index in leaf_hashes:
        others = [one.get((index >> level) ^ 1) for level, one in enumerate(rows)]
        proofs[index] = [other for other in others if other is not None]
    if row.get(0) != root:
        for index, leaf_hash in leaf_hashes.items():
            verify_inclusion(index, size, leaf_hash, proofs[index], root)  # says what is wrong
    return proofs


def _beside(indices: Iterable[int], size: int) -> list[set[int]]:
    """For each level, the positions beside the way from these leaves to the root that lie on none of their ways."""
    passed, found = set(indices), []
    for level in range((size - 1).bit_length()):
        last = (size - 1) >> level
        found.append({at ^ 1 for at in passed if at ^ 1 <= last} - passed)
        passed = {at >> 1 for at in passed}
    return found


def _read(wanted: Sequence[set[int]], size: int, nodes: Nodes) -> list[dict[int, bytes]]:
    """The hashes at these positions of each level; one at the right edge is made of the perfect subtrees in it."""
    places = [(level, at) for level, positions in enumerate(wanted) for at in positions]
    held = nodes([(level, at) for level, at in places if (at + 1) << level <= size])
    found: list[dict[int, bytes]] = [{} for _ in wanted]
    try:
        for level, at in places:
            edge = (at + 1) << level > size
            found[level][at] = subtree_root(level, at, size, lambda *one: nodes([one])[one]) if edge else held[level, at]
    except KeyError as error:
        raise VerificationError(f"expected a node of the tree at `{error.args[0]}`, found none", level="proof") from None
    return found
