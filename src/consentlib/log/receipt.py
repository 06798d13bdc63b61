"""Receipts (C2SP tlog-proof): proof, for whoever holds it, that an entry is in a log that somebody signed."""

from __future__ import annotations

import re
from binascii import a2b_base64, b2a_base64
from collections.abc import Iterable
from typing import Final

from attrs import frozen

from consentlib.errors import FormatError, VerificationError
from consentlib.log.checkpoint import Checkpoint, open_checkpoint
from consentlib.log.leaf import INDEX_LIMIT, base64, leaf_hash, parse_leaf
from consentlib.log.merkle import verify_inclusion
from consentlib.log.note import Verifier, Verify, parse_note

_HEADER: Final = b"c2sp.org/tlog-proof@v1\n"
_MOST_BYTES: Final = 2_000_000
_MOST_HASHES: Final = 53  # in a tree of fewer than 2^53 leaves
_PROOF: Final = re.compile(
    rb"%b(?:extra ([A-Za-z0-9+/]++={0,2})\n)?index (0|[1-9][0-9]{0,15})\n((?:[A-Za-z0-9+/]{42}[AEIMQUYcgkosw048]=\n){0,%d})\n"
    % (re.escape(_HEADER), _MOST_HASHES)
)


@frozen
class Proof:
    """A `.tlog-proof` file: the index, the inclusion proof (lowest hash first), and the signed checkpoint as its bytes.

    `extra` is what its maker put beside them, empty for nothing; nothing in the format vouches for it.
    """

    index: int
    hashes: tuple[bytes, ...]
    checkpoint: bytes
    extra: bytes = b""

    def format(self) -> bytes:
        """The bytes of the file."""
        extra = b"extra %b\n" % base64(self.extra) if self.extra else b""
        hashes = b"".join(map(b2a_base64, self.hashes))  # each with its line end
        return b"%b%bindex %d\n%b\n%b" % (_HEADER, extra, self.index, hashes, self.checkpoint)

    @classmethod
    def parse(cls, data: bytes) -> Proof:
        """Raises `FormatError` unless `format()` of the result is `data` exactly, and the checkpoint is one in form.

        Nothing is verified. At most 2,000,000 bytes are taken.
        """
        if len(data) > _MOST_BYTES:
            raise FormatError(f"expected a proof of at most {_MOST_BYTES} bytes, found a longer one")
        found = _PROOF.match(data)
        if found is None or int(found[2]) >= INDEX_LIMIT:
            raise FormatError("expected a `c2sp.org/tlog-proof@v1` file, found something else")
        checkpoint = data[found.end() :]
        text, _ = parse_note(checkpoint)
        Checkpoint.parse(text)
        try:
            extra = a2b_base64(found[1] or b"")
        except ValueError:
            raise FormatError("expected `extra` in base64, found something else") from None
        proof = cls(int(found[2]), tuple(a2b_base64(line) for line in found[3].split()), checkpoint, extra)
        if proof.format() != data:
            raise FormatError("expected `extra` in its one spelling of base64, found another")
        return proof

    def verify(self, leaf: bytes, verifiers: Iterable[Verifier], verify: Verify) -> Checkpoint:
        """The checkpoint that proves `leaf` to be the entry at `index`, opened under a known key of its origin.

        Raises `FormatError`, or `VerificationError` of level `signature` or `proof`. What stands in `extra` is not looked at.
        """
        checkpoint = open_checkpoint(self.checkpoint, verifiers, verify)
        self.verify_under(checkpoint, leaf)
        return checkpoint

    def verify_under(self, checkpoint: Checkpoint, leaf: bytes) -> None:
        """The same for who has opened the checkpoint already, once for many proofs."""
        verify_inclusion(self.index, checkpoint.size, leaf_hash(leaf), self.hashes, checkpoint.root)
        parsed = parse_leaf(leaf)
        if parsed.index != self.index or parsed.origin != checkpoint.origin:
            problem = f"expected the leaf of entry `{self.index}` of `{checkpoint.origin}`, found another entry's"
            raise VerificationError(problem, level="proof", index=self.index, leaf=leaf, note=self.checkpoint)
