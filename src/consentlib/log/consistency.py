"""Consistency proofs as a file: the body of a C2SP tlog-witness `add-checkpoint` request, which says that a log only grew."""

from __future__ import annotations

import re
from binascii import a2b_base64
from typing import Final

from attrs import frozen

from consentlib.errors import FormatError
from consentlib.log.checkpoint import Checkpoint
from consentlib.log.leaf import INDEX_LIMIT, base64
from consentlib.log.merkle import verify_consistency
from consentlib.log.note import parse_note

_MOST_HASHES: Final = 63
_BODY: Final = re.compile(rb"old (0|[1-9][0-9]{0,15})\n((?:[A-Za-z0-9+/]{42}[AEIMQUYcgkosw048]=\n){0,%d})\n" % _MOST_HASHES)


@frozen
class Consistency:
    """That the tree of the signed `checkpoint` (its note) begins with one of `old_size` leaves (RFC 9162 section 2.1.4)."""

    old_size: int
    hashes: tuple[bytes, ...]
    checkpoint: bytes

    def format(self) -> bytes:
        """The bytes of the file."""
        hashes = b"".join([base64(one) + b"\n" for one in self.hashes])
        return b"old %d\n%b\n%b" % (self.old_size, hashes, self.checkpoint)

    @classmethod
    def parse(cls, data: bytes) -> Consistency:
        """Raises `FormatError` unless `format()` of the result is `data`, and the checkpoint is one in form."""
        found = _BODY.match(data)
        if found is None or int(found[1]) >= INDEX_LIMIT:
            raise FormatError("expected an old size, hashes and a checkpoint, found something else")
        checkpoint = data[found.end() :]
        Checkpoint.parse(parse_note(checkpoint)[0])
        return cls(int(found[1]), tuple(a2b_base64(line) for line in found[2].split()), checkpoint)

    def verify(self, old_root: bytes, checkpoint: Checkpoint) -> None:
        """Raise `VerificationError` (level `proof`) unless `checkpoint`, which somebody opened, begins with `old_root`."""
        verify_consistency(self.old_size, checkpoint.size, old_root, checkpoint.root, self.hashes)
