"""Receipts: the format's rules, and what a proof proves."""

from base64 import b64encode

import pytest
from hypothesis import given
from hypothesis import strategies as st
from small_log import ORIGIN, log, plain
from small_note import NEXT, SHOP, signed

from consentlib.errors import FormatError, VerificationError
from consentlib.log import Entry, leaf_hash, merkle
from consentlib.log.receipt import Proof
from consentlib.signing import verify

ENTRIES = plain(7)
HEAD = "c2sp.org/tlog-proof@v1\n"
HASH = b64encode(bytes(range(32))).decode() + "\n"
NOTE = signed(ENTRIES)
GOLDEN_PATH = [
    "vQkh93aK6YOuQhfuFGd6QiF+jcyzx07ssEYFckzY9pc=",
    "qvjCbG7nsGa/qjw51tyP0fS2Fv96DCU5WZkQakoKvFQ=",
    "ExrkovkuqwhCZayPflzc/eR+odKkopTz/4++n/ec99k=",
]


def proof_of(index: int, entries: list[Entry] = ENTRIES, extra: bytes = b"") -> Proof:
    """The proof of an entry, with a checkpoint over all."""
    hashes = [leaf_hash(found.leaf) for found in entries]
    path = merkle.inclusion_proof(index, len(hashes), lambda level, at: merkle.root(hashes[at << level : (at + 1) << level]))
    return Proof(index, tuple(path), signed(entries), extra)


def refused(proof: Proof, leaf: bytes, level: str, match: str) -> None:
    """The proof must not verify for the leaf."""
    with pytest.raises(VerificationError, match=match) as caught:
        proof.verify(leaf, [SHOP.verifier], verify)
    assert caught.value.level == level


def test_golden_bytes() -> None:
    """The bytes of a proof stay what they were: header, extra, index, hashes from the leaf up, a blank line, the checkpoint."""
    path = "".join(f"{line}\n" for line in GOLDEN_PATH)
    assert proof_of(5).format() == f"{HEAD}index 5\n{path}\n".encode() + NOTE
    assert proof_of(5, extra=b"parts").format() == f"{HEAD}extra cGFydHM=\nindex 5\n{path}\n".encode() + NOTE


@pytest.mark.parametrize("size", range(1, 12))
def test_every_entry(size: int) -> None:
    """The proof of every entry of a log verifies for its leaf and for no other, also after a way through its bytes."""
    entries = plain(size)
    for index in range(size):
        proof = Proof.parse(proof_of(index, entries, b"x" * index).format())
        assert proof == proof_of(index, entries, b"x" * index)
        assert proof.verify(entries[index].leaf, [SHOP.verifier], verify).size == size
        other = entries[index - 1].leaf if size > 1 else plain(2)[1].leaf
        refused(proof, other, "proof", "leads to another root")


def test_another_key() -> None:
    """A proof under a checkpoint that no known key signed proves nothing."""
    proof = proof_of(5)
    refused(Proof(5, proof.hashes, signed(ENTRIES, NEXT)), ENTRIES[5].leaf, "signature", "found none")


def test_another_log_under_the_key() -> None:
    """A leaf of another log, or of another place, that a signed tree holds all the same is not the entry."""
    foreign = log([("consent.given", {"facts": None})], origin="other.dk")
    refused(proof_of(0, foreign), foreign[0].leaf, "proof", "another entry's")
    moved = [ENTRIES[1], ENTRIES[0]]
    refused(proof_of(0, moved), ENTRIES[1].leaf, "proof", f"entry `0` of `{ORIGIN}`")


def test_changed_proof() -> None:
    """A proof with a hash left out, added, exchanged or flipped, with another index or another size, is refused."""
    proof = proof_of(5)
    first, *rest = proof.hashes
    wrong = [rest, [first, *rest, first], [*rest, first], [bytes(32), *rest], []]
    for hashes in wrong:
        refused(Proof(5, tuple(hashes), NOTE), ENTRIES[5].leaf, "proof", "found")
    for index in (0, 4, 6, 7, 2**52):
        refused(Proof(index, proof.hashes, NOTE), ENTRIES[5].leaf, "proof", "found")
    refused(Proof(5, proof.hashes, signed(plain(6))), ENTRIES[5].leaf, "proof", "found")


def test_any_byte_changed() -> None:
    """After a change of any byte of the file, but for the extra that nothing vouches for, it no longer verifies."""
    data = proof_of(5).format()
    for at in range(len(data)):
        changed = data[:at] + bytes([data[at] ^ 1 << at % 8]) + data[at + 1 :]
        with pytest.raises((FormatError, VerificationError)):
            Proof.parse(changed).verify(ENTRIES[5].leaf, [SHOP.verifier], verify)


MALFORMED = {
    "nothing": "",
    "header alone": HEAD,
    "other version": "c2sp.org/tlog-proof@v2\nindex 1\n\n",
    "any character in the header": "c2spxorg/tlog-proof@v1\nindex 1\n\n",
    "no index": f"{HEAD}\n",
    "no blank line": f"{HEAD}index 1\n{HASH}",
    "extra after the index": f"{HEAD}index 1\nextra AAAA\n\n",
    "extra twice": f"{HEAD}extra AAAA\nextra AAAA\nindex 1\n\n",
    "empty extra": f"{HEAD}extra \nindex 1\n\n",
    "extra without padding": f"{HEAD}extra AA\nindex 1\n\n",
    "extra with loose bits": f"{HEAD}extra AB==\nindex 1\n\n",
    "extra with too much padding": f"{HEAD}extra AAAA==\nindex 1\n\n",
    "extra of five digits": f"{HEAD}extra AAAAA\nindex 1\n\n",
    "extra with a space": f"{HEAD}extra AA AA\nindex 1\n\n",
    "two spaces": f"{HEAD}index  1\n\n",
    "leading zero": f"{HEAD}index 01\n\n",
    "minus": f"{HEAD}index -1\n\n",
    "other digits": f"{HEAD}index \u0661\n\n",
    "2^53": f"{HEAD}index {2**53}\n\n",
    "endless digits": f"{HEAD}index {'9' * 10_000}\n\n",
    "hash with loose bits": f"{HEAD}index 1\n{HASH[:-3]}9=\n\n",
    "hash of 31 bytes": f"{HEAD}index 1\n{b64encode(bytes(31)).decode()}\n\n",
    "hash of 33 bytes": f"{HEAD}index 1\n{b64encode(bytes(33)).decode()}\n\n",
    "54 hashes": f"{HEAD}index 1\n{HASH * 54}\n",
    "carriage returns": f"{HEAD}index 1\r\n\n",
    "line before": f"\n{HEAD}index 1\n\n",
}


@pytest.mark.parametrize("head", MALFORMED.values(), ids=MALFORMED)
def test_malformed(head: str) -> None:
    """What is not a proof in its one spelling is refused."""
    with pytest.raises(FormatError, match=r"\Aexpected [^\n]*\Z"):
        Proof.parse(head.encode() + NOTE)


def test_limits() -> None:
    """53 hashes and the largest index are taken; the longest file is one that a person can be sent."""
    data = f"{HEAD}index {2**53 - 1}\n{HASH * 53}\n".encode() + NOTE
    assert Proof.parse(data).format() == data
    with pytest.raises(FormatError, match="at most 2000000 bytes"):
        Proof.parse(Proof(1, (), NOTE, bytes(1_600_000)).format())


@pytest.mark.parametrize("note", [b"", NOTE[:-1], NOTE[:60], b"text\n\n" + NOTE.split(b"\n\n")[1], NOTE + b"x"])
def test_checkpoint_out_of_form(note: bytes) -> None:
    """A proof whose checkpoint is cut, lengthened or none is refused when it is read."""
    with pytest.raises(FormatError):
        Proof.parse(Proof(1, (), note).format())


hashes = st.lists(st.binary(min_size=32, max_size=32), max_size=53).map(tuple)


@given(st.integers(0, 2**53 - 1), hashes, st.binary(max_size=100))
def test_round_trip(index: int, path: tuple[bytes, ...], extra: bytes) -> None:
    """Any proof comes back from its bytes."""
    proof = Proof(index, path, NOTE, extra)
    assert Proof.parse(proof.format()) == proof


PIECES = [HEAD, "extra ", "AAAA", "AB==", "\n", "index ", "1", "0", HASH, NOTE.decode(), "\n\n"]


@given(st.binary(max_size=80) | st.lists(st.sampled_from(PIECES), max_size=12).map(lambda found: "".join(found).encode()))
def test_fuzz(data: bytes) -> None:
    """Whatever the bytes, parsing gives a proof that formats back to them, or a `FormatError`."""
    try:
        found = Proof.parse(data)
    except FormatError:
        return
    assert found.format() == data


@given(st.data())
def test_fuzz_edits(data: st.DataObject) -> None:
    """A file with a piece exchanged is another proof in its one spelling, or none."""
    whole = proof_of(5, extra=b"parts").format()
    start = data.draw(st.integers(0, len(whole)))
    end = data.draw(st.integers(start, min(len(whole), start + 3)))
    changed = whole[:start] + data.draw(st.binary(max_size=3)) + whole[end:]
    try:
        found = Proof.parse(changed)
    except FormatError:
        return
    assert found.format() == changed
