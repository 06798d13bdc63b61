"""The leaf: the few lines that stand for an entry in the chain and in the Merkle tree.

One hash an entry: the link to the previous leaf is its RFC 6962 leaf hash. A leaf holds commitments only, nothing
personal, and is stored as written. What `encode_leaf` writes and what `parse_leaf` takes are the same bytes.
"""

from __future__ import annotations

import re
from binascii import a2b_base64, b2a_base64
from collections.abc import Mapping
from functools import lru_cache, partial
from hashlib import sha256
from typing import Final

import attrs

from consentlib.errors import FormatError

HEADER: Final = b"consentlib.dev/leaf/v1\n"
LEAF_LIMIT: Final = 1024
PARTS_LIMIT: Final = 16
INDEX_LIMIT: Final = 2**53  # an erasure names indices in canonical JSON
TIME_LIMIT: Final = 253402300800000  # 10000-01-01T00:00:00Z

base64 = partial(b2a_base64, newline=False)
"""The canonical base64 of bytes, as leaves and exports write it."""

COMMITTED: Final = b"consentlib.dev/part/v1\n%d\n%b\n%b%b"
"""What a commitment is the hash of: index, name, salt and bytes of a part."""

_DECIMAL: Final = rb"(0|[1-9][0-9]{0,15})"
_HASH: Final = rb"[A-Za-z0-9+/]{42}[AEIMQUYcgkosw048]="
_NAME: Final = rb"[a-z]+(?:\.[1-9][0-9]*)?"
_ORIGIN: Final = rb"([a-z0-9./-]{1,128})"
_KIND: Final = rb"([a-z_.]+)"

_is_origin = re.compile(_ORIGIN).fullmatch
_is_kind = re.compile(_KIND).fullmatch
is_name = lru_cache(maxsize=256)(re.compile(_NAME).fullmatch)
_start = re.compile(rb"%b%b\n%b\n(%b)\n" % (re.escape(HEADER), _ORIGIN, _DECIMAL, _HASH)).match
_is_rest = re.compile(rb"%b\n%b\n((?:%b %b\n)+)" % (_DECIMAL, _KIND, _NAME, _HASH)).fullmatch


@attrs.frozen
class Leaf:
    """A leaf's fields: `t` is the recorded time in milliseconds since the epoch, `parts` are (name, commitment)."""

    origin: str
    index: int
    prev: bytes
    t: int
    kind: str
    parts: tuple[tuple[str, bytes], ...]


def check_origin(text: str) -> None:
    """Raise `FormatError` unless `text` can name a log: 1 to 128 of `a` to `z`, `0` to `9`, `.`, `/`, `-`."""
    if not isinstance(text, str) or not text.isascii() or not _is_origin(text.encode()):
        raise FormatError("expected an origin of 1 to 128 characters of `a-z0-9./-`, found something else")


def genesis(origin: str) -> bytes:
    """What the first leaf of a log names as its previous leaf's hash."""
    return sha256(b"consentlib.dev/genesis/v1\n%b\n" % origin.encode()).digest()


def leaf_hash(leaf: bytes) -> bytes:
    """The RFC 6962 leaf hash: chain link and Merkle leaf in one."""
    return sha256(b"\0" + leaf).digest()


def commitment(index: int, name: str, salt: bytes, data: bytes) -> bytes:
    """The hash that binds a part's bytes to its entry and its name, under a salt of 32 random bytes."""
    return sha256(COMMITTED % (index, name.encode(), salt, data)).digest()


def encode_leaf(origin: str, index: int, prev: bytes, t: int, kind: str, parts: Mapping[str, bytes]) -> bytes:
    """The bytes of a leaf. `parts` maps names to commitments. Raises `FormatError` for what no leaf may hold."""
    if not 0 <= index < INDEX_LIMIT or not 0 <= t < TIME_LIMIT:
        raise FormatError("expected an index from 0 below 2^53 and a time within the years 1970 to 9999, found another")
    if not 1 <= len(parts) <= PARTS_LIMIT:
        raise FormatError(f"expected 1 to {PARTS_LIMIT} parts, found `{len(parts)}`")
    names = tuple(sorted(parts))
    place, label, labels = _names(origin, kind, names)
    hashes = [parts[name] for name in names]
    if len(prev) != 32 or any(len(value) != 32 for value in hashes):
        raise FormatError("expected hashes of 32 bytes, found another length")
    lines = b"".join([b"%b %b\n" % (name, base64(value)) for name, value in zip(labels, hashes, strict=True)])
    leaf = b"%b%d\n%b\n%b" % (leaf_start(place, index, base64(prev)), t, label, lines)
    if len(leaf) >= LEAF_LIMIT:
        raise FormatError(f"expected a leaf below {LEAF_LIMIT} bytes, found `{len(leaf)}`")
    return leaf


@lru_cache(maxsize=256)
def _names(origin: str, kind: str, names: tuple[str, ...]) -> tuple[bytes, bytes, list[bytes]]:
    """The bytes of what stands in leaf after leaf, once it was found to be in form."""
    check_origin(origin)
    if not kind.isascii() or not _is_kind(kind.encode()):
        raise FormatError("expected a kind of `a-z`, `_` and `.`, found something else")
    for name in names:
        if not name.isascii() or not is_name(name.encode()):
            raise FormatError("expected a part's name such as `facts` or `facts.1`, found something else")
    return origin.encode(), kind.encode(), [name.encode() for name in names]


def parse_leaf(data: bytes) -> Leaf:
    """The fields of a leaf. Raises `FormatError` unless `encode_leaf` gives `data` back exactly."""
    found = _start(data)
    if found is None:
        raise _not_a_leaf()
    t, kind, lines = split_leaf(data, found[0])
    parts = tuple((name.decode(), a2b_base64(value)) for name, value in lines)
    if int(found[2]) >= INDEX_LIMIT:
        raise FormatError("expected an index below 2^53, found another")
    return Leaf(found[1].decode(), int(found[2]), a2b_base64(found[3]), t, kind.decode(), parts)


def leaf_start(origin: bytes, index: int, prev: bytes) -> bytes:
    """The lines that a leaf begins with; `prev` in base64."""
    return b"%b%b\n%d\n%b\n" % (HEADER, origin, index, prev)


def split_leaf(data: bytes, start: bytes) -> tuple[int, bytes, list[tuple[bytes, bytes]]]:
    """`parse_leaf` for the verifier, who knows how the leaf must start: recorded time, kind, (name, commitment) of each part.

    As strict, but text stays bytes and hashes stay base64.
    """
    found = _is_rest(data, len(start)) if len(data) < LEAF_LIMIT and data.startswith(start) else None
    if found is None:
        raise _not_a_leaf()
    t, kind, text = found.groups()
    lines = []
    previous = b""
    for line in text[:-1].split(b"\n"):
        name = line[:-45]
        if name <= previous:
            raise FormatError("expected each part once, sorted by name, found another order")
        previous = name
        lines.append((name, line[-44:]))
    if len(lines) > PARTS_LIMIT:
        raise FormatError(f"expected at most {PARTS_LIMIT} parts, found `{len(lines)}`")
    moment = int(t)
    if moment >= TIME_LIMIT:
        raise FormatError("expected a time within the years 1970 to 9999, found another")
    return moment, kind, lines


def _not_a_leaf() -> FormatError:
    return FormatError("expected a leaf of `consentlib.dev/leaf/v1`, found other bytes")
