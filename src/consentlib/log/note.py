"""Signed notes (C2SP signed-note) with Ed25519: text, a blank line, and one line a signature.

Only the bytes and the rules of the format are here; a signature is made and checked by functions that are handed in, so that
this module stays pure.
"""

from __future__ import annotations

import re
from binascii import a2b_base64
from collections.abc import Callable, Iterable
from contextlib import suppress
from hashlib import sha256
from typing import Final, NamedTuple

from attrs import field, frozen

from consentlib.errors import FormatError, VerificationError
from consentlib.log.leaf import base64

ED25519: Final = 1
"""The signature type byte of Ed25519."""

_MOST_BYTES: Final = 1_000_000
_MOST_SIGNATURES: Final = 100
_DASH: Final = "\u2014 "
_CONTROL: Final = re.compile("[\x00-\x09\x0b-\x1f]")
_NOT_IN_NAMES: Final = re.compile("[\\s+\x00-\x1f\ud800-\udfff]")

Verify = Callable[[bytes, bytes, bytes], bool]
"""public key, signature, message -> whether it holds."""
Sign = Callable[[bytes, bytes], bytes]
"""seed, message -> signature."""


@frozen
class Verifier:
    """A public key of 32 bytes under a name. `str` gives `name+hex key id+base64(type, key)`, as verifiers exchange it."""

    name: str
    key: bytes

    def __attrs_post_init__(self) -> None:
        _check_name(self.name)
        _check_key(self.key)

    @property
    def id(self) -> bytes:
        """The four bytes that tell keys of one name apart: the start of a hash of name, type and key."""
        return sha256(b"%b\n%c%b" % (self.name.encode(), ED25519, self.key)).digest()[:4]

    def __str__(self) -> str:
        return f"{self.name}+{self.id.hex()}+{_base64(bytes([ED25519]) + self.key)}"

    @classmethod
    def parse(cls, text: str) -> Verifier:
        """Raises `FormatError` unless `str` of the result is `text` exactly."""
        name, _, rest = text.partition("+")
        with suppress(FormatError):
            found = cls(name, _unbase64(rest.partition("+")[2])[1:])
            if str(found) == text:
                return found
        raise FormatError("expected an Ed25519 verifier key such as `name+0a1b2c3d+AQ…`, found something else")


@frozen
class Signer:
    """A private key under a name: `seed` is the secret, `key` its public half, 32 bytes each."""

    name: str
    seed: bytes = field(repr=False)
    key: bytes

    def __attrs_post_init__(self) -> None:
        _check_name(self.name)
        _check_key(self.seed)
        _check_key(self.key)

    @property
    def verifier(self) -> Verifier:
        """The public half."""
        return Verifier(self.name, self.key)


class Signature(NamedTuple):
    """One signature line: who says it signed, under which key id, and the signature's bytes."""

    name: str
    id: bytes
    data: bytes


@frozen
class Note:
    """A note whose text may be believed: `verified` are the signatures of known keys, each of which was checked."""

    text: str
    verified: tuple[Signature, ...]
    unverified: tuple[Signature, ...]


def sign_note(text: str, signers: Iterable[Signer], sign: Sign) -> bytes:
    """The note of `text`, which must end in a newline, with one signature line a signer.

    Raises `FormatError`, before anything is signed, for a text that no note may hold.
    """
    _check_text(text)
    signed = [Signature(one.name, one.verifier.id, sign(one.seed, text.encode())) for one in signers]
    note = format_note(text, signed)
    parse_note(note)
    return note


def cosign_note(data: bytes, signer: Signer, sign: Sign) -> bytes:
    """The note with one more signature line, the last. Raises `FormatError` for what is no note."""
    text, signatures = parse_note(data)
    return format_note(text, [*signatures, Signature(signer.name, signer.verifier.id, sign(signer.seed, text.encode()))])


def format_note(text: str, signatures: Iterable[Signature]) -> bytes:
    """The bytes of a note; the inverse of `parse_note`, and as unchecked as what it is given."""
    lines = [f"{_DASH}{name} {_base64(id + data)}\n" for name, id, data in signatures]
    return f"{text}\n{''.join(lines)}".encode()


def parse_note(data: bytes) -> tuple[str, tuple[Signature, ...]]:
    """Text and signature lines of a note, none of them verified.

    Raises `FormatError` unless `format_note` gives `data` back exactly, with 1 to 100 signatures and at most 1,000,000 bytes.
    """
    if len(data) > _MOST_BYTES:
        raise FormatError(f"expected a note of at most {_MOST_BYTES} bytes, found a longer one")
    try:
        whole = data.decode("utf-8")
    except UnicodeDecodeError:
        raise FormatError("expected a note in UTF-8, found other bytes") from None
    text, blank, tail = whole.rpartition("\n\n")
    if not blank or not tail.endswith("\n"):
        raise FormatError("expected text, a blank line and signature lines, found another form")
    if _CONTROL.search(whole):
        raise FormatError("expected no control characters but newlines, found one")
    lines = tail[:-1].split("\n", _MOST_SIGNATURES)
    if len(lines) > _MOST_SIGNATURES:
        raise FormatError(f"expected at most {_MOST_SIGNATURES} signatures, found more")
    return text + "\n", tuple(_signature(line) for line in lines)


def restore_lines(data: bytes) -> bytes:
    """A note as it was signed, where mail or an editor put CRLF or a byte-order mark in, or changed how many newlines end it.

    For one that somebody kept, who can't get it anew from whom it is held against. The signature decides, as ever; and
    `parse_note` stays exact for all that comes with a log.
    """
    return data.removeprefix(b"\xef\xbb\xbf").replace(b"\r\n", b"\n").rstrip(b"\n") + b"\n"


def open_note(data: bytes, verifiers: Iterable[Verifier], verify: Verify) -> Note:
    """The note, if at least one known key signed it and no known key's signature fails.

    Signatures by unknown keys are ignored. Raises `FormatError`, or `VerificationError` (level `signature`).
    """
    known: dict[tuple[str, bytes], Verifier] = {}
    for verifier in verifiers:
        if known.setdefault((verifier.name, verifier.id), verifier) != verifier:
            raise FormatError("expected verifier keys that differ in name or key id, found two that do not")
    text, signatures = parse_note(data)
    message = text.encode()
    verified, unverified = [], []
    for one in signatures:
        signed_by = known.get((one.name, one.id))
        if signed_by is None:
            unverified.append(one)
        elif len(one.data) == 64 and verify(signed_by.key, one.data, message):
            verified.append(one)
        else:
            problem = "expected a valid signature by a known key, found one that fails"
            raise VerificationError(problem, level="signature", note=data)
    if not verified:
        raise VerificationError("expected a signature by a known key, found none", level="signature", note=data)
    return Note(text, tuple(verified), tuple(unverified))


def _signature(line: str) -> Signature:
    name, _, encoded = line.removeprefix(_DASH).partition(" ")
    data = _unbase64(encoded)
    if not line.startswith(_DASH) or not _is_name(name) or len(data) < 5:
        raise FormatError("expected signature lines of a dash, a key name and base64, found another line")
    return Signature(name, data[:4], data[4:])


def _is_name(name: str) -> bool:
    return bool(name) and _NOT_IN_NAMES.search(name) is None


def _check_name(name: str) -> None:
    if not isinstance(name, str) or not _is_name(name):
        raise FormatError("expected a key name without spaces and `+`, found another")


def _check_key(key: bytes) -> None:
    if not isinstance(key, bytes) or len(key) != 32:
        raise FormatError("expected an Ed25519 key of 32 bytes, found something else")


def _check_text(text: str) -> None:
    """What `parse_note` will ask of the text, asked before anything is signed."""
    if not text.endswith("\n"):
        raise FormatError("expected a text that ends in a newline, found another")
    try:
        size = len(text.encode())
    except UnicodeEncodeError:
        raise FormatError("expected text without lone surrogates, found one") from None
    if size > _MOST_BYTES // 2:
        raise FormatError("expected a text that leaves room for signatures, found a longer one")
    if _CONTROL.search(text):
        raise FormatError("expected no control characters but newlines, found one")


def _base64(data: bytes) -> str:
    return base64(data).decode()


def _unbase64(text: str) -> bytes:
    """The bytes of canonical base64; empty for anything else."""
    try:
        data = a2b_base64(text)
    except ValueError:
        return b""
    return data if _base64(data) == text else b""
