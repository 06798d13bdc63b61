"""Logs for tests, with salts and parts that follow from the index, so that every run sees the same bytes."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from hashlib import sha256

from consentlib import codec
from consentlib.log import Entry, Part, commitment, encode_leaf, genesis, leaf_hash

ORIGIN = "littlesteps.dk/consent"
START = 1_780_000_000_000


def opened(index: int, name: str, data: bytes | None = None) -> tuple[bytes, bytes]:
    """A salt and part bytes."""
    salt = sha256(b"salt %d %b" % (index, name.encode())).digest()
    return salt, codec.encode({"n": index, "of": name}) if data is None else data


def entry(
    index: int, prev: bytes, parts: Mapping[str, Part], *, t: int, kind: str = "consent.given", origin: str = ORIGIN
) -> Entry:
    """An entry whose leaf commits to `parts`."""
    commitments = {name: commitment(index, name, *part) for name, part in parts.items() if isinstance(part, tuple)}
    return Entry(index, encode_leaf(origin, index, prev, t, kind, commitments), dict(parts))


def log(shapes: Sequence[tuple[str, Mapping[str, bytes | None]]], origin: str = ORIGIN) -> list[Entry]:
    """A log of (kind, parts) entries; part bytes None stand for bytes made up here."""
    entries: list[Entry] = []
    prev = genesis(origin)
    for index, (kind, parts) in enumerate(shapes):
        filled = {name: opened(index, name, data) for name, data in parts.items()}
        entries.append(entry(index, prev, filled, t=START + 1000 * index, kind=kind, origin=origin))
        prev = leaf_hash(entries[-1].leaf)
    return entries


def erasure(*parts: tuple[int, str]) -> tuple[str, dict[str, bytes | None]]:
    """The shape of an erasure entry."""
    facts = {"parts": [list(part) for part in parts], "reason": "art17", "by": "dpo"}
    return "part.erased", {"facts": codec.encode(facts)}


def plain(size: int) -> list[Entry]:
    """A log of consents with two parts each."""
    return log([("consent.given", {"facts": None, "person": None})] * size)


def without(found: Entry, name: str) -> Entry:
    """The entry with one part gone."""
    return found._replace(parts={**found.parts, name: None})


def with_erasure() -> list[Entry]:
    """Five entries; the person part of the second is erased on record in the fourth."""
    both: dict[str, bytes | None] = {"facts": None, "person": None}
    shapes = [("policy.published", {"facts": None}), ("consent.given", both), ("consent.given", both)]
    entries = log([*shapes, erasure((1, "person")), ("consent.withdrawn", {"facts": None})])
    entries[1] = without(entries[1], "person")
    return entries
