"""Consistency proofs as files: one spelling, and what they prove of two trees, here and in the one-file verifier."""

import importlib.util
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st
from small_log import plain
from small_note import checkpoint, signed

import consentlib
from consentlib.errors import FormatError, VerificationError
from consentlib.log import leaf_hash, merkle
from consentlib.log.consistency import Consistency

SCRIPT = Path(consentlib.__file__).parent / "audit" / "standalone" / "verify.py"
spec = importlib.util.spec_from_file_location("standalone_verify", SCRIPT)
assert spec is not None
assert spec.loader is not None
script = importlib.util.module_from_spec(spec)
spec.loader.exec_module(script)

ENTRIES = plain(40)
HASHES = [leaf_hash(one.leaf) for one in ENTRIES]


def grown(old: int, size: int) -> Consistency:
    """That the first `old` entries are the beginning of the first `size`."""
    hashes = HASHES[:size]
    proof = merkle.consistency_proof(old, size, lambda level, at: merkle.root(hashes[at << level : (at + 1) << level]))
    return Consistency(old, tuple(proof), signed(ENTRIES[:size]))


def test_bytes() -> None:
    """Old size, hashes and checkpoint, in the form of a C2SP tlog-witness request."""
    data = grown(3, 5).format()
    head, blank, note = data.partition(b"\n\n")
    assert (head.split(b"\n")[0], len(head.split(b"\n")), note) == (b"old 3", 5, signed(ENTRIES[:5]))
    assert blank
    assert Consistency.parse(data) == grown(3, 5)
    for bad in (
        b"old 03" + data[5:],
        b"old -3" + data[5:],
        data.replace(b"=\n", b"\n", 1),
        data[:-3],
        b"",
        data.replace(b"\n\n", b"\n", 1),
    ):
        with pytest.raises(FormatError):
            Consistency.parse(bad)


@given(sizes=st.tuples(st.integers(0, 40), st.integers(1, 40)).map(sorted))
def test_what_it_proves(sizes: list[int]) -> None:
    """Of any two sizes it proves that one tree begins with the other, and of no other tree; the script says the same."""
    old, size = sizes
    one, whole, root = grown(old, size), checkpoint(ENTRIES[:size]), merkle.root(HASHES[:old])
    one.verify(root, whole)
    other = bytes([root[0] ^ 1]) + root[1:]
    with pytest.raises(VerificationError):
        one.verify(other, whole)
    if old == size:
        return  # the script compares roots of one size itself
    assert script.grew(root, old, whole.root, size, list(one.hashes))
    assert not script.grew(other, old, whole.root, size, list(one.hashes))
    hashes = list(one.hashes)
    for bad in (hashes[1:], [*hashes, root], [*hashes[:-1], other]):
        if bad != hashes:
            with pytest.raises(VerificationError):
                Consistency(old, tuple(bad), one.checkpoint).verify(root, whole)
            assert not script.grew(root, old, whole.root, size, bad)


@given(size=st.integers(1, 40), data=st.data())
def test_inclusion_in_the_script(size: int, data: st.DataObject) -> None:
    """The script's climb to the root holds where the library's does, and nowhere else."""
    index = data.draw(st.integers(0, size - 1))
    hashes = HASHES[:size]
    proof = merkle.inclusion_proof(index, size, lambda level, at: merkle.root(hashes[at << level : (at + 1) << level]))
    root = merkle.root(hashes)
    assert script.leads_to(root, index, size, hashes[index], proof)
    for at, leaf, path in (
        (index, HASHES[index - 1] if size > 1 else bytes(32), proof),
        (index, hashes[index], [*proof, root]),
    ):
        assert not script.leads_to(root, at, size, leaf, path)
    if proof:
        assert not script.leads_to(root, index, size, hashes[index], proof[1:])
