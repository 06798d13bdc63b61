"""Many proofs in one tree: each is the one that is made alone, and none leaves that does not lead to the root."""

from collections.abc import Sequence

import pytest
from hypothesis import given
from hypothesis import strategies as st

from consentlib.errors import VerificationError
from consentlib.log import merkle
from consentlib.log.inclusion import inclusion_proofs

HASHES = [bytes([number]) * 32 for number in range(70)]


def tree(size: int) -> dict[merkle.Place, bytes]:
    """Every perfect subtree."""
    _, nodes = merkle.extend_many(b"", 0, HASHES[:size])
    return {**{(0, at): value for at, value in enumerate(HASHES[:size])}, **{(level, at): value for level, at, value in nodes}}


def prove(size: int, indices: list[int], found: dict[merkle.Place, bytes]) -> dict[int, list[bytes]]:
    """The proofs of these leaves, from these nodes."""

    def nodes(places: object) -> dict[merkle.Place, bytes]:
        return {place: found[place] for place in places if place in found}  # type: ignore[attr-defined]

    return inclusion_proofs({index: HASHES[index] for index in indices}, size, merkle.root(HASHES[:size]), nodes)


@given(st.integers(1, 70), st.data())
def test_each_is_the_proof(size: int, data: st.DataObject) -> None:
    """For any indices of a tree of any size, each proof is the one that RFC 9162 says."""
    indices = data.draw(st.lists(st.integers(0, size - 1), unique=True))
    found = tree(size)
    proofs = prove(size, indices, found)
    assert proofs.keys() == set(indices)
    for index, proof in proofs.items():
        assert proof == merkle.inclusion_proof(index, size, lambda *place: found[place])
        merkle.verify_inclusion(index, size, HASHES[index], proof, merkle.root(HASHES[:size]))


@given(st.integers(2, 70), st.data())
def test_no_damaged_node_goes_out(size: int, data: st.DataObject) -> None:
    """With a node changed or missing, the proofs are refused if one of them has it, and right if none does."""
    indices = data.draw(st.lists(st.integers(0, size - 1), unique=True, min_size=1))
    good = tree(size)
    place = data.draw(st.sampled_from(sorted(good)))
    found = {**good, place: bytes(32)}
    if data.draw(st.booleans()):
        del found[place]
    try:
        proofs = prove(size, indices, found)
    except VerificationError:
        return
    assert proofs == prove(size, indices, good)


@pytest.mark.parametrize("place", [(0, 4), (1, 3), (2, 0), (2, 2), (0, 12)])
@pytest.mark.parametrize("value", [None, bytes(32)])
def test_damage_is_found(place: merkle.Place, value: bytes | None) -> None:
    """A node beside the way of an entry that is not what it was, or is gone, lets no proof out."""
    found = tree(13)
    del found[place]
    if value is not None:
        found[place] = value
    with pytest.raises(VerificationError) as caught:
        prove(13, [5], found)
    assert caught.value.level == "proof"


def test_each_node_is_read_once() -> None:
    """What stands in several proofs, or is computed on the way, is not asked for again."""
    found, asked = tree(64), []

    def nodes(places: Sequence[merkle.Place]) -> dict[merkle.Place, bytes]:
        asked.extend(places)
        return {place: found[place] for place in places}

    inclusion_proofs({index: HASHES[index] for index in (0, 1, 2, 40)}, 64, merkle.root(HASHES[:64]), nodes)
    assert sorted(asked) == [(0, 3), (0, 41), (1, 21), (2, 1), (2, 11), (3, 1), (3, 4), (4, 1), (4, 3)]
