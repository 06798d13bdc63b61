"""The Merkle tree against RFC 9162's recursive definitions and against vectors made by others."""

import json
import os
from base64 import b64decode
from collections.abc import Callable
from hashlib import sha256
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from consentlib.errors import FormatError, InputError, VerificationError
from consentlib.log import leaf_hash, merkle

VECTORS = Path(os.environ.get("CONSENTLIB_VECTORS", Path(__file__).parents[2] / "../shared/vectors"))
needs_vectors = pytest.mark.skipif(not VECTORS.is_dir(), reason=f"no vectors in {VECTORS}; set CONSENTLIB_VECTORS")

LEAVES = [sha256(b"%d" % number).digest() for number in range(70)]
sizes = st.integers(0, len(LEAVES))


def split(count: int) -> int:
    """The largest power of two below count."""
    power = 1
    while power * 2 < count:
        power *= 2
    return power


def naive_root(leaves: list[bytes]) -> bytes:
    """MTH of RFC 9162 section 2.1.1, over leaf hashes."""
    if not leaves:
        return sha256(b"").digest()
    if len(leaves) == 1:
        return leaves[0]
    k = split(len(leaves))
    return sha256(b"\1" + naive_root(leaves[:k]) + naive_root(leaves[k:])).digest()


def naive_path(index: int, leaves: list[bytes]) -> list[bytes]:
    """PATH of RFC 9162 section 2.1.3.1."""
    if len(leaves) == 1:
        return []
    k = split(len(leaves))
    if index < k:
        return [*naive_path(index, leaves[:k]), naive_root(leaves[k:])]
    return [*naive_path(index - k, leaves[k:]), naive_root(leaves[:k])]


def naive_subproof(old: int, leaves: list[bytes], whole: bool = True) -> list[bytes]:
    """SUBPROOF of RFC 9162 section 2.1.4.1."""
    if old == len(leaves):
        return [] if whole else [naive_root(leaves)]
    k = split(len(leaves))
    if old <= k:
        return [*naive_subproof(old, leaves[:k], whole), naive_root(leaves[k:])]
    return [*naive_subproof(old - k, leaves[k:], False), naive_root(leaves[:k])]


def reader(leaves: list[bytes], read: list[tuple[int, int]] | None = None) -> Callable[[int, int], bytes]:
    """Reads perfect subtrees of a list, and refuses any that is not complete."""

    def node(level: int, position: int) -> bytes:
        if read is not None:
            read.append((level, position))
        covered = leaves[position << level : (position + 1) << level]
        assert len(covered) == 1 << level
        return naive_root(covered)

    return node


@given(sizes)
def test_root(size: int) -> None:
    """The root is RFC 9162's, that of nothing being the hash of nothing."""
    assert merkle.root(LEAVES[:size]) == naive_root(LEAVES[:size])


@given(sizes, sizes)
def test_extending(before: int, after: int) -> None:
    """One by one or many at once: the same frontier, and exactly the interior nodes that became complete."""
    before, after = sorted((before, after))
    start, _ = merkle.extend_many(b"", 0, LEAVES[:before])
    frontier, completed = start, []
    for size in range(before, after):
        frontier, nodes = merkle.extend(frontier, size, LEAVES[size])
        completed += nodes
    assert merkle.extend_many(start, before, LEAVES[before:after]) == (frontier, sorted(completed))
    assert merkle.frontier_root(frontier) == naive_root(LEAVES[:after])
    node = reader(LEAVES[:after])
    levels = range(1, 8)
    expected = [(level, at) for level in levels for at in range(before >> level, after >> level)]
    assert sorted(completed) == [(level, at, node(level, at)) for level, at in expected]


def test_a_frontier_of_another_size_is_refused() -> None:
    """A damaged head is not built upon."""
    with pytest.raises(FormatError):
        merkle.extend(b"", 1, LEAVES[0])
    with pytest.raises(FormatError):
        merkle.extend_many(bytes(32), 3, LEAVES[:2])


@given(st.data(), st.integers(1, len(LEAVES)))
def test_inclusion(data: st.DataObject, size: int) -> None:
    """The inclusion proof is RFC 9162's, verifies, reads O(log n) nodes, and no other proof, leaf or place does."""
    index = data.draw(st.integers(0, size - 1))
    read: list[tuple[int, int]] = []
    proof = merkle.inclusion_proof(index, size, reader(LEAVES[:size], read))
    assert proof == naive_path(index, LEAVES[:size])
    assert len(read) <= 2 * size.bit_length()
    root = naive_root(LEAVES[:size])
    merkle.verify_inclusion(index, size, LEAVES[index], proof, root)
    wrong: list[tuple[Any, ...]] = [
        (index, size, LEAVES[index - 1] if size > 1 else bytes(32), proof, root),
        (index, size, LEAVES[index], proof, bytes(32)),
        (index, size, LEAVES[index], [*proof, bytes(32)], root),
        (index + size, size, LEAVES[index], proof, root),
    ]
    wrong += [(index, size, LEAVES[index], [*proof[:at], bytes(32), *proof[at + 1 :]], root) for at in range(len(proof))]
    wrong += [(index, size, LEAVES[index], proof[:at] + proof[at + 1 :], root) for at in range(len(proof))]
    for case in wrong:
        with pytest.raises(VerificationError) as caught:
            merkle.verify_inclusion(*case)
        assert caught.value.level == "proof"


@given(sizes, sizes)
def test_consistency(old: int, size: int) -> None:
    """The consistency proof is RFC 9162's, verifies, reads O(log n) nodes, and no other proof or root does."""
    old, size = sorted((old, size))
    read: list[tuple[int, int]] = []
    proof = merkle.consistency_proof(old, size, reader(LEAVES[:size], read))
    assert proof == (naive_subproof(old, LEAVES[:size]) if old else [])
    assert len(read) <= 2 * size.bit_length()
    old_root, root = naive_root(LEAVES[:old]), naive_root(LEAVES[:size])
    merkle.verify_consistency(old, size, old_root, root, proof)
    wrong: list[tuple[Any, ...]] = [
        (old, size, bytes(32), root, proof),
        (old, size, old_root, root, [*proof, bytes(32)]),
        (size + 1, size, old_root, root, proof),
    ]
    if old:
        wrong.append((old, size, old_root, bytes(32), proof))
    wrong += [(old, size, old_root, root, [*proof[:at], bytes(32), *proof[at + 1 :]]) for at in range(len(proof))]
    wrong += [(old, size, old_root, root, proof[:at] + proof[at + 1 :]) for at in range(len(proof))]
    for case in wrong:
        with pytest.raises(VerificationError) as caught:
            merkle.verify_consistency(*case)
        assert caught.value.level == "proof"


@pytest.mark.parametrize(("index", "size"), [(-1, 1), (0, 0), (1, 1), (5, 3)])
def test_no_proof_outside_the_tree(index: int, size: int) -> None:
    """Nobody can ask for a proof of what is not in the tree."""
    with pytest.raises(InputError):
        merkle.inclusion_proof(index, size, reader(LEAVES))
    with pytest.raises(InputError):
        merkle.consistency_proof(size + 1, size, reader(LEAVES))
    with pytest.raises(VerificationError):
        merkle.verify_inclusion(index, size, LEAVES[0], [], LEAVES[0])


def chained(start: bytes, siblings: list[bytes], left: bool) -> bytes:
    """The hash that a run of siblings on one side leads to."""
    for sibling in siblings:
        start = merkle.node_hash(sibling, start) if left else merkle.node_hash(start, sibling)
    return start


@pytest.mark.parametrize(("index", "size", "length"), [(0, 1, 1), (0, 2, 3), (3, 4, 3), (1, 2, 2), (2, 3, 2), (0, 4, 5)])
def test_too_long_inclusion_proof(index: int, size: int, length: int) -> None:
    """A proof with more hashes than the tree has levels is refused, whatever root it was made to lead to."""
    proof = LEAVES[1 : 1 + length]
    roots = {chained(LEAVES[0], proof, left=True), chained(LEAVES[0], proof, left=False)}
    for turn in range(1, length):
        roots.add(chained(chained(LEAVES[0], proof[:turn], left=False), proof[turn:], left=True))
        roots.add(chained(chained(LEAVES[0], proof[:turn], left=True), proof[turn:], left=False))
    for root in roots:
        with pytest.raises(VerificationError, match="too many hashes"):
            merkle.verify_inclusion(index, size, LEAVES[0], proof, root)


@pytest.mark.parametrize(("old", "size"), [(1, 2), (2, 3), (2, 4), (3, 4), (4, 7), (6, 8), (5, 9)])
def test_too_long_consistency_proof(old: int, size: int) -> None:
    """A valid proof that goes on, with roots made to fit, is refused."""
    proof = naive_subproof(old, LEAVES[:size])
    old_root, root = naive_root(LEAVES[:old]), naive_root(LEAVES[:size])
    more = LEAVES[60]
    for longer_old in (old_root, merkle.node_hash(more, old_root)):
        for longer in (merkle.node_hash(more, root), merkle.node_hash(root, more)):
            with pytest.raises(VerificationError, match="too many hashes"):
                merkle.verify_consistency(old, size, longer_old, longer, [*proof, more])


@pytest.mark.parametrize(("old", "size"), [(2, 1), (3, 2), (8, 5), (1, 0), (-1, 4), (0, -1)])
def test_old_tree_larger_than_the_new(old: int, size: int) -> None:
    """A shrunk tree is refused, whatever the proof, also where the same root is claimed for both sizes."""
    for proof in ([], [LEAVES[0]], LEAVES[:3]):
        for root in (LEAVES[0], merkle.EMPTY_ROOT, merkle.node_hash(LEAVES[0], LEAVES[0])):
            with pytest.raises(VerificationError, match="outside the new tree"):
                merkle.verify_consistency(old, size, root, root, proof)


def test_the_empty_tree() -> None:
    """The empty tree is a prefix of every tree, with its own root and an empty proof only; and the check ends."""
    root = naive_root(LEAVES[:5])
    merkle.verify_consistency(0, 5, merkle.EMPTY_ROOT, root, [])
    merkle.verify_consistency(0, 0, merkle.EMPTY_ROOT, merkle.EMPTY_ROOT, [])
    for case in [(0, 5, root, root, []), (0, 5, merkle.EMPTY_ROOT, root, [root]), (0, 0, root, root, [])]:
        with pytest.raises(VerificationError):
            merkle.verify_consistency(*case)


def test_hashes_of_another_length() -> None:
    """Bytes can't be moved from one hash of a proof to its neighbour."""
    left, right = LEAVES[:2]
    root = merkle.node_hash(left, right)
    merkle.verify_inclusion(1, 2, right, [left], root)
    with pytest.raises(VerificationError, match="32 bytes"):
        merkle.verify_inclusion(1, 2, right[1:], [left + right[:1]], root)
    with pytest.raises(VerificationError, match="32 bytes"):
        merkle.verify_consistency(1, 2, left[:-1], root, [left[-1:] + right])


def probes() -> list[Path]:
    """The published probes, or none."""
    return sorted((VECTORS / "merkle").rglob("*.json"))


def b64(text: str | None) -> bytes:
    """Bytes of base64, of null none."""
    return b64decode(text or "")


@needs_vectors
def test_published_probes() -> None:
    """All 196 probes of transparency-dev/merkle get the published verdict."""
    assert len(probes()) == 196
    for path in probes():
        probe = json.loads(path.read_text())
        proof = [b64(value) for value in probe["proof"] or []]
        try:
            if "leafIdx" in probe:
                root = b64(probe["root"])
                merkle.verify_inclusion(probe["leafIdx"], probe["treeSize"], b64(probe["leafHash"]), proof, root)
            else:
                roots = b64(probe["root1"]), b64(probe["root2"])
                merkle.verify_consistency(probe["size1"], probe["size2"], *roots, proof)
            refused = False
        except VerificationError:
            refused = True
        assert refused == probe["wantErr"], path


@needs_vectors
@pytest.mark.parametrize("size", range(16))
def test_published_log(size: int) -> None:
    """Entries, hash tiles and signed roots of a log written by Tessera agree with ours at every size."""
    log = VECTORS / "tessera-log"
    _, written, root = (log / f"checkpoint.{size}").read_text().split("\n")[:3]
    assert int(written) == size
    hashes = []
    if size:
        bundle = (log / f"tile/entries/000.p/{size}").read_bytes()
        while bundle:
            end = 2 + int.from_bytes(bundle[:2], "big")
            hashes.append(leaf_hash(bundle[2:end]))
            bundle = bundle[end:]
        assert b"".join(hashes) == (log / f"tile/0/000.p/{size}").read_bytes()
    assert len(hashes) == size
    assert merkle.root(hashes) == b64decode(root)


@given(st.integers(0, 40), st.integers(0, 40))
def test_subtrees_extend(start: int, count: int) -> None:
    """The subtrees over some leaves, put on the frontier before them, lead to the frontier after them."""
    frontier, _ = merkle.extend_many(b"", 0, LEAVES[:start])
    after = (LEAVES * 3)[start : start + count]
    nodes = merkle.subtrees(start, after)
    for _, position, value in nodes:
        frontier, _ = merkle.extend(frontier, position, value)
    assert frontier == merkle.extend_many(b"", 0, [*LEAVES[:start], *after])[0]
    assert len({level for level, _, _ in nodes}) * 2 >= len(nodes)
