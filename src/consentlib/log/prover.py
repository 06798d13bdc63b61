"""Many inclusion proofs in one tree: what was found to lead to the root for one entry is not hashed again for the next."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence

from consentlib.errors import VerificationError
from consentlib.log.merkle import Place, inclusion_places, node_hash, subtree_root, verify_inclusion

Nodes = Callable[[Sequence[Place]], Mapping[Place, bytes]]
"""(level, position) of perfect subtrees -> the hashes of those that there are."""


class Prover:
    """Proofs for the tree of `size` leaves with this `root`, none of which is given unless it leads there."""

    def __init__(self, size: int, root: bytes) -> None:
        self._size = size
        self._root = root
        self._proved: dict[Place, bytes] = {}

    def prove(self, leaf_hashes: Mapping[int, bytes], nodes: Nodes) -> dict[int, list[bytes]]:
        """The inclusion proof of each index, lowest hash first, from nodes that are read at once.

        Raises `VerificationError` (level `proof`) if one does not lead from its leaf to the root, or a node is not there.
        """
        paths = {index: inclusion_places(index, self._size) for index in leaf_hashes}
        wanted = {place for path in paths.values() for place in path}.difference(self._proved)
        try:
            hashes = {**self._read(wanted, nodes), **self._proved}
            proofs = {index: [hashes[place] for place in path] for index, path in paths.items()}
        except KeyError as error:
            raise VerificationError(f"expected a node of the tree at `{error.args[0]}`, found none", level="proof") from None
        for index, leaf_hash in leaf_hashes.items():
            self._check(index, leaf_hash, paths[index], proofs[index])
        return proofs

    def _read(self, wanted: set[Place], nodes: Nodes) -> dict[Place, bytes]:
        """The hashes of subtrees; one at the right edge is made of the perfect ones in it."""
        size = self._size
        perfect = {(level, at) for level, at in wanted if (at + 1) << level <= size}
        found = dict(nodes(list(perfect)))
        for level, at in wanted - perfect:
            found[level, at] = subtree_root(level, at, size, lambda *place: nodes([place])[place])
        return found

    def _check(self, index: int, leaf_hash: bytes, path: Sequence[Place], proof: list[bytes]) -> None:
        """Hash from the leaf up to something that is known to lead to the root; then all on the way does so too."""
        passed: dict[Place, bytes] = {}
        value, goal = leaf_hash, self._root
        for (level, sibling), other in zip(path, proof, strict=True):
            at = index >> level
            known = self._proved.get((level, at))
            if known is not None:
                goal = known
                break
            passed[level, at], passed[level, sibling] = value, other
            value = node_hash(other, value) if sibling < at else node_hash(value, other)
        if value == goal:
            self._proved.update(passed)
            # Further up all has been proved before, for another entry: there the proof must be what was proved.
            if [self._proved[place] for place in path] == proof:
                return
        verify_inclusion(index, self._size, leaf_hash, proof, self._root)  # says what is wrong
        raise VerificationError(f"expected one hash of entry `{index}`, found two", level="proof", index=index)
