"""Checkpoints (C2SP tlog-checkpoint): origin, size and root of a log, as the text of a signed note."""

from __future__ import annotations

import re
from binascii import a2b_base64
from collections.abc import Iterable
from typing import Final

from attrs import evolve, field, frozen

from consentlib.errors import FormatError, VerificationError
from consentlib.log.leaf import INDEX_LIMIT, base64, check_origin
from consentlib.log.note import Verifier, Verify, open_note, parse_note

_TEXT: Final = re.compile(r"([^\n]+)\n(0|[1-9][0-9]{0,15})\n([A-Za-z0-9+/]{42}[AEIMQUYcgkosw048]=)\n")


@frozen
class Checkpoint:
    """What a log committed to: `size` leaves with the RFC 6962 `root`, under the name `origin`.

    `note` is the signed note it was opened from, empty if there is none; two notes of one commitment are equal.
    """

    origin: str
    size: int
    root: bytes = field(repr=lambda root: base64(root).decode())
    note: bytes = field(default=b"", eq=False, repr=False, kw_only=True)

    def __attrs_post_init__(self) -> None:
        check_origin(self.origin)
        if type(self.size) is not int or not 0 <= self.size < INDEX_LIMIT:
            raise FormatError("expected a size from 0 below 2^53, found another")
        if len(self.root) != 32:
            raise FormatError("expected a root of 32 bytes, found another length")

    def text(self) -> str:
        """The note text: three lines, no extension lines."""
        return f"{self.origin}\n{self.size}\n{base64(self.root).decode()}\n"

    @classmethod
    def parse(cls, text: str) -> Checkpoint:
        """Raises `FormatError` unless `text()` of the result is `text` exactly. No signature is looked at."""
        found = _TEXT.fullmatch(text)
        if found is None:
            raise FormatError("expected a checkpoint of origin, size and root, found something else")
        return cls(found[1], int(found[2]), a2b_base64(found[3]))


def parse_checkpoint(note: bytes) -> Checkpoint:
    """The checkpoint that a signed note claims to be. Raises `FormatError`; no signature is looked at."""
    return evolve(Checkpoint.parse(parse_note(note)[0]), note=note)


def open_checkpoint(note: bytes, verifiers: Iterable[Verifier], verify: Verify) -> Checkpoint:
    """The checkpoint of a signed note, if a known key signed it whose name is the checkpoint's origin.

    Raises `VerificationError` (level `signature`) where `open_note` does or if only keys of other names signed, `FormatError`
    for a note or a text out of form.
    """
    opened = open_note(note, verifiers, verify)
    checkpoint = Checkpoint.parse(opened.text)
    if all(one.name != checkpoint.origin for one in opened.verified):
        problem = f"expected a signature by the key of `{checkpoint.origin}`, found only those of others"
        raise VerificationError(problem, level="signature", note=note)
    return evolve(checkpoint, note=note)
