"""Checking a receipt: what a person got after a withdrawal, against nothing but the key of the log."""

from __future__ import annotations

from collections.abc import Iterable

from consentlib.errors import FormatError, VerificationError
from consentlib.log import Entry, Leaf, commitment, parse_leaf, parse_line
from consentlib.log.note import Verifier
from consentlib.log.receipt import Proof
from consentlib.signing import verify


def verify_receipt(data: bytes, verifiers: Iterable[Verifier]) -> Entry:
    """The entry that a receipt proves to be in the log of one of the known keys; a part is None where it was erased before.

    No log is there that could lead from one key to the next: where it was rotated, the key of the receipt's time must be known.
    Signature, inclusion and every part are checked. Raises `FormatError` for bytes that are no receipt of ours,
    `VerificationError` of level `signature`, `proof` or `content` for one that does not hold.
    """
    proof = Proof.parse(data)
    entry, leaf = read_entry(proof)
    proof.verify(entry.leaf, verifiers, verify)
    check_parts(entry, leaf)
    return entry


def read_entry(proof: Proof) -> tuple[Entry, Leaf]:
    """The entry that a receipt shows, and its leaf. Nothing is verified yet."""
    try:
        entry = parse_line(proof.extra)
        leaf = parse_leaf(entry.leaf)
    except FormatError as error:
        raise FormatError(f"expected a receipt with its entry as `extra`, found another: {error}") from None
    return entry, leaf


def check_parts(entry: Entry, leaf: Leaf) -> None:
    """Raise `VerificationError` (level `content`) unless an entry has the parts of its leaf, each opening its commitment."""
    committed = dict(leaf.parts)
    if entry.index != leaf.index or entry.parts.keys() != committed.keys():
        problem = f"entry `{leaf.index}`: expected the receipt to show it with the parts it commits to, found others"
        raise VerificationError(problem, level="content", index=leaf.index, leaf=entry.leaf)
    for name, part in entry.parts.items():
        if not isinstance(part, tuple):
            continue
        salt, content = part
        if len(salt) != 32 or commitment(leaf.index, name, salt, content) != committed[name]:
            problem = f"entry `{leaf.index}`: expected the part `{name}` to open its commitment, found other bytes"
            raise VerificationError(problem, level="content", index=leaf.index, leaf=entry.leaf, part=part)
