#!/usr/bin/env python3
"""Verifies an exported consent log, or a part of it, with nothing but Python 3.9 or newer.

    python verify.py export.zip [--key VKEY]... [--checkpoint FILE]... [--origin NAME] [--newest-after TIME] [--json]

VKEY is the log's public key, `name+hex id+base64`, which you must have got from somewhere else than the export.
FILE is a checkpoint of this log that you kept from earlier. A level is reached only if all levels before it are:

    content    every entry follows on the one before it and all that is shown is what was written then
    signature  the export's `checkpoint` says so too, signed with a key you gave
    history    every checkpoint you kept is a beginning of this log: since then nothing was changed, dropped or put in

It leaves with 0 verified to `history`; 10 verified, but with no checkpoint of your own, no key, or in part;
30 diverges from a checkpoint you kept; 40 invalid; 2 it could not be run as asked.

The format. The export is a zip. Its `log.ndjson` has one line an entry, in one spelling only:

    {"i":0,"leaf":"<base64>","parts":{"facts":{"salt":"<base64>","data":"<base64>"},"person":null}}

`null` is a part that was erased, `"withheld"` one that is not shown. A leaf is under 1 KiB of ASCII lines:

    consentlib.dev/leaf/v1
    <origin>                  the name of the log
    <index>                   from 0
    <prev>                    base64 hash of the leaf before it; first: SHA-256("consentlib.dev/genesis/v1\\n" origin "\\n")
    <t>                       when it was recorded, in milliseconds since 1970, never falling
    <kind>                    such as consent.given
    <part name> <commitment>  1 to 16 such lines, sorted by name

A leaf's hash is SHA-256(0x00 leaf). These hashes are the leaves of an RFC 9162 Merkle tree. A commitment is base64 of
SHA-256("consentlib.dev/part/v1\\n" index "\\n" name "\\n" salt data), the salt being 32 bytes. A part may be gone only if a
later entry of kind `part.erased` names it: its `facts` are RFC 8785 JSON with "parts": [[index, name], ...].

`checkpoint` and `checkpoints/<size>` are C2SP signed notes (c2sp.org/signed-note, c2sp.org/tlog-checkpoint) over the
lines origin, size and base64 root. A `key.added` entry names a new `key` of the log and the one that it `replaces`, both as
VKEY: it counts from the first checkpoint on that covers the entry and is signed with the one replaced, which counts for none
that is larger than the first the new one signs. `policy/<index>.json` is byte for byte the part `policy` of that entry, of kind
`policy.published`: there is one for each that the log shows, and no other. Memory does not grow with the log, only with the
number of its erased parts.

A disclosure is the part of a log that is about one person: a zip with `disclosure.ndjson` instead of `log.ndjson`, in the
same spelling, and for each line `proofs/<index>.tlog-proof`, a C2SP tlog-proof (c2sp.org/tlog-proof) under the zip's
`checkpoint` with the line as `extra`; so for each `policy/<index>.json`. An entry of kind `export.made` and scope `person` says
that it was made. `consistency/<size>`, of the form that a C2SP tlog-witness is sent (c2sp.org/tlog-witness, add-checkpoint),
proves that an earlier tree of that size is the beginning of this one. It never verifies as more than a part.
"""
# ruff: noqa: B905, UP017  (both ask for what Python 3.9 does not have)

from __future__ import annotations

import argparse
import json
import re
import struct
import sys
import zipfile
import zlib
from binascii import a2b_base64, b2a_base64
from collections import deque
from datetime import datetime, timedelta, timezone
from functools import lru_cache, partial
from hashlib import sha256, sha512
from typing import Any, BinaryIO, Iterator, NoReturn  # noqa: UP035
from unicodedata import is_normalized

VERIFIED, NO_HISTORY, USAGE, DIVERGES, INVALID = 0, 10, 2, 30, 40


class Refused(Exception):
    """Why the export does not verify: one line, without anything that stands in the log but numbers."""

    code = INVALID


class Diverges(Refused):
    """The export and a checkpoint that the auditor kept can't both be true."""

    code = DIVERGES


class Unusable(Refused):
    """What the auditor gave can't be used."""

    code = USAGE


# ---- Bytes ----------------------------------------------------------------------------------------------------------


base64 = partial(b2a_base64, newline=False)  # the one spelling of base64 that counts; spelled out where each entry passes


def unbase64(text: str) -> bytes:
    """The bytes of base64 in its one spelling; none for anything else."""
    try:
        data = a2b_base64(text)
    except ValueError:
        return b""
    return data if base64(data) == text.encode() else b""


def canonical_json(data: bytes) -> Any:
    """The value of RFC 8785 JSON (without fractions) in its one spelling; None for anything else."""

    def no_number(_: str) -> NoReturn:
        raise ValueError

    try:
        text = data.decode()
        value = json.loads(text, parse_float=no_number, parse_constant=no_number)
        spelled = json.dumps(value, ensure_ascii=False, sort_keys=True, separators=(",", ":"))
        return value if spelled == text and is_normalized("NFC", text) and is_plain(value, 32) else None
    except (ValueError, RecursionError):
        return None


def is_plain(value: Any, depth: int) -> bool:
    """Whether numbers are below 2^53, keys ASCII, and lists and objects nested at most `depth` deep."""
    if isinstance(value, int):
        return abs(value) < 2**53
    if isinstance(value, dict):
        return depth > 0 and all(key.isascii() and is_plain(item, depth - 1) for key, item in value.items())
    return not isinstance(value, list) or (depth > 0 and all(is_plain(item, depth - 1) for item in value))


# ---- Ed25519: RFC 8032, section 5.1.7, without cofactor ---------------------------------------------------------------

P = 2**255 - 19
L = 2**252 + 27742317777372353535851937790883648493
D = -121665 * pow(121666, -1, P) % P
ROOT_OF_MINUS_1 = pow(2, (P - 1) // 4, P)

Point = tuple[int, int, int, int]  # extended coordinates: x = X/Z, y = Y/Z, x * y = T/Z
ZERO: Point = (0, 1, 1, 0)


def add(a: Point, b: Point) -> Point:
    """The sum of two points (RFC 8032, section 5.1.4)."""
    e, f = (a[1] - a[0]) * (b[1] - b[0]) % P, (a[1] + a[0]) * (b[1] + b[0]) % P
    g, h = 2 * a[3] * b[3] * D % P, 2 * a[2] * b[2] % P
    x, y, z, t = f - e, f + e, h + g, h - g
    return x * t % P, z * y % P, t * z % P, x * y % P


def double(a: Point) -> Point:
    """Twice a point (RFC 8032, section 5.1.4)."""
    xx, yy = a[0] * a[0] % P, a[1] * a[1] % P
    h, g = xx + yy, xx - yy
    e, f = h - (a[0] + a[1]) ** 2 % P, 2 * a[2] * a[2] % P + g
    return e * f % P, g * h % P, f * g % P, e * h % P


def decode_point(data: bytes) -> Point | None:
    """The point of 32 bytes, None unless they are the one encoding of a point on the curve (RFC 8032, section 5.1.3)."""
    number = int.from_bytes(data, "little")
    sign, y = number >> 255, number & (2**255 - 1)
    if len(data) != 32 or y >= P:
        return None
    xx = (y * y - 1) * pow(D * y * y + 1, -1, P) % P
    x = pow(xx, (P + 3) // 8, P)
    if x * x % P != xx:
        x = x * ROOT_OF_MINUS_1 % P
    if x * x % P != xx or (x == 0 and sign):
        return None
    x = P - x if x & 1 != sign else x
    return x, y, 1, x * y % P


def encode_point(point: Point) -> bytes:
    """The one encoding of a point."""
    inverse = pow(point[2], -1, P)
    x, y = point[0] * inverse % P, point[1] * inverse % P
    return (y | (x & 1) << 255).to_bytes(32, "little")


BASE_Y = 4 * pow(5, -1, P) % P
BASE = decode_point(BASE_Y.to_bytes(32, "little")) or ZERO


def ed25519_holds(key: bytes, signature: bytes, message: bytes) -> bool:
    """Whether `signature` is the signature of `message` by `key`: R = [S]B - [k]A, S below L, A not of small order."""
    point, s = decode_point(key), int.from_bytes(signature[32:], "little")
    if point is None or len(signature) != 64 or s >= L:
        return False
    if encode_point(double(double(double(point)))) == encode_point(ZERO):
        return False
    k = int.from_bytes(sha512(signature[:32] + key + message).digest(), "little") % L
    minus = (P - point[0], point[1], 1, P - point[3])
    steps = (ZERO, BASE, minus, add(BASE, minus))
    total = ZERO
    for bit in range(252, -1, -1):
        total = double(total)
        step = (s >> bit & 1) | (k >> bit & 1) << 1
        if step:
            total = add(total, steps[step])
    return encode_point(total) == signature[:32]


# ---- Signed notes and checkpoints -------------------------------------------------------------------------------------

NOTE_LIMIT = 1_000_000
SIGNATURES_LIMIT = 100
CHECKPOINTS_LIMIT = 100_000
CHECKPOINT = re.compile(r"([a-z0-9./-]{1,128})\n(0|[1-9][0-9]{0,15})\n([A-Za-z0-9+/]{42}[AEIMQUYcgkosw048]=)\n")

KeyName = tuple[str, bytes]  # name and id
Key = tuple[KeyName, bytes]  # and the public key
Keys = dict[KeyName, bytes]


class Checkpoint:
    """What a log committed to, and who signed it."""

    def __init__(self, origin: str, size: int, root: bytes, text: str, lines: list[str]) -> None:
        self.origin, self.size, self.root = origin, size, root
        self.text = text
        self.unchecked = lines  # signature lines by no key known yet
        self.signers: set[KeyName] = set()
        self.counts = False

    def check(self, keys: Keys) -> None:
        """Check what these keys signed. Signatures by unknown keys wait; a known key's signature that fails is refused."""
        named = [(line, check_signature(line, self.text, keys)) for line in self.unchecked]
        self.unchecked = [line for line, name in named if name is None]
        self.signers.update(name for _, name in named if name is not None)


def read_key(text: str) -> Key:
    """Name, id and public key of a verifier key `name+hex id+base64(1, key)`."""
    name, _, rest = text.partition("+")
    _, _, encoded = rest.partition("+")
    data = unbase64(encoded)
    identity = sha256(name.encode("utf-8", "replace") + b"\n" + data).digest()[:4]
    named = is_key_name(name) and name.isprintable()  # it is printed
    if not named or len(data) != 33 or data[0] != 1 or rest != f"{identity.hex()}+{encoded}":
        raise Unusable("expected a key such as `name+0a1b2c3d+AQ...`, found something else or a wrong key id")
    return (name, identity), data[1:]


def is_key_name(name: str) -> bool:
    return name != "" and re.search("[\\s+\x00-\x1f\ud800-\udfff]", name) is None


def read_checkpoint(note: bytes, keys: Keys) -> Checkpoint:
    """A note's checkpoint, with the signatures by these keys checked."""
    try:
        whole = note.decode()
    except UnicodeDecodeError:
        raise Refused("expected a note in UTF-8, found other bytes") from None
    text, blank, tail = whole.rpartition("\n\n")
    if len(note) > NOTE_LIMIT or not blank or not tail.endswith("\n") or re.search("[\x00-\x09\x0b-\x1f]", whole):
        raise Refused("expected a note of text, a blank line and signature lines, found another form")
    text += "\n"
    lines = tail[:-1].split("\n")
    if len(lines) > SIGNATURES_LIMIT:
        raise Refused(f"expected at most {SIGNATURES_LIMIT} signatures in a note, found {len(lines)}")
    found = CHECKPOINT.fullmatch(text)
    if found is None or int(found[2]) >= 2**53:
        raise Refused("expected a note over origin, size and root, found another text")
    checkpoint = Checkpoint(found[1], int(found[2]), unbase64(found[3]), text, lines)
    checkpoint.check(keys)
    return checkpoint


def check_signature(line: str, text: str, keys: Keys) -> KeyName | None:
    """Name and id of the key that made a signature line; None if it is none of these keys."""
    name, _, encoded = line[2:].partition(" ")
    data = unbase64(encoded)
    if line[:2] != "\u2014 " or not is_key_name(name) or len(data) < 5:
        raise Refused("expected signature lines of a dash, a key name and base64, found another line")
    key = keys.get((name, data[:4]))
    if key is None:
        return None
    if not ed25519_holds(key, data[4:], text.encode()):
        raise Refused("expected a valid signature by a known key, found one that fails")
    return name, data[:4]


class Trust:
    """Which keys count: those the auditor gave, and those that the log leads to from them."""

    def __init__(self, keys: Keys) -> None:
        self.keys = dict(keys)
        self.successors: dict[Key, deque[tuple[int, Key, str]]] = {}
        self.predecessors: dict[Key, deque[tuple[int, Key]]] = {}
        self.last_size: dict[Key, int] = {}  # of keys that were replaced: the largest size they count for
        self.led_to: list[str] = []

    def add(self, index: int, facts: bytes, origin: str) -> None:
        """Take note of a `key.added` entry. One that names other than two keys of this log passes no trust."""
        said = canonical_json(facts)
        try:
            new, old = read_key(said["key"]), read_key(said["replaces"])
        except (Unusable, TypeError, KeyError, AttributeError):
            return
        if new[0][0] == old[0][0] == origin and new != old:
            self.successors.setdefault(old, deque()).append((index, new, said["key"]))
            self.predecessors.setdefault(new, deque()).append((index, old))

    def follow(self, agreed: list[Checkpoint]) -> None:
        """Pass trust from key to key through checkpoints that the log agrees with, and see which of them count."""
        by_size: dict[int, list[Checkpoint]] = {}
        for one in agreed:
            by_size.setdefault(one.size, []).append(one)
        for size, notes in sorted(by_size.items()):
            waiting = [*self.counting(notes)]
            while waiting:
                if self.learn(waiting.pop(), size):
                    waiting += self.counting(notes)
            signers = self.counting(notes)
            for one in notes:
                one.counts = bool(self.counting([one]))
            for key in sorted(signers):  # keys in a ring retire each other: for all verifiers in one order
                self.retire_before(key, size)

    def counting(self, notes: list[Checkpoint]) -> set[Key]:
        """The keys that count for any of these notes, and signed it in the name of its log."""
        found = set()
        for one in notes:
            one.check(self.keys)
            signers = {(name, self.keys[name]) for name in one.signers if name[0] == one.origin}
            found |= {key for key in signers if one.size <= self.last_size.get(key, one.size)}
        return found

    def learn(self, key: Key, size: int) -> bool:
        """Trust what comes after a key that signed so much; whether it was unknown."""
        before, waiting = len(self.keys), self.successors.get(key, deque())
        while waiting and waiting[0][0] < size:
            _, (name, public), text = waiting.popleft()
            if name not in self.keys:
                self.keys[name] = public
                self.led_to.append(text)
        return len(self.keys) > before

    def retire_before(self, key: Key, size: int) -> None:
        """Let what came before a key that signed count for nothing larger; and what came before that."""
        found = [key]
        while found:
            waiting = self.predecessors.get(found.pop(), deque())
            while waiting and waiting[0][0] < size:
                _, old = waiting.popleft()
                if old != key:
                    self.last_size.setdefault(old, size)
                found.append(old)


# ---- Merkle tree: RFC 9162, section 2.1.1 -----------------------------------------------------------------------------

BATCH = 1024  # a power of two


def reduce_row(row: list[bytes]) -> bytes:
    """The root over a row of hashes, level by level; the odd one at the end moves up as it is."""
    while len(row) > 1:
        odd = row[-1:] if len(row) & 1 else []
        row = [sha256(b"\1" + left + right).digest() for left, right in zip(row[::2], row[1::2])] + odd
    return row[0] if row else sha256(b"").digest()


class Tree:
    """A tree that grows: the roots of full subtrees, largest first, and the newest leaf hashes."""

    def __init__(self) -> None:
        self.batches = 0
        self.peaks: list[bytes] = []
        self.newest: list[bytes] = []

    def add(self, leaf_hash: bytes) -> None:
        """Add a leaf. A full row of newest leaf hashes becomes a peak, and two peaks of the same height become one."""
        self.newest.append(leaf_hash)
        if len(self.newest) < BATCH:
            return
        self.peaks.append(reduce_row(self.newest))
        self.newest.clear()
        self.batches += 1
        height = self.batches
        while height & 1 == 0:
            self.peaks[-2:] = [reduce_row(self.peaks[-2:])]
            height >>= 1

    def root(self) -> bytes:
        """The root over all leaves so far."""
        right = [reduce_row(self.newest)] if self.newest else []
        for peak in reversed(self.peaks):
            right = [reduce_row([peak, *right])]
        return reduce_row(right)


def leads_to(root: bytes, index: int, size: int, value: bytes, hashes: list[bytes]) -> bool:
    """Whether a proof leads from the leaf hash at an index to the root over so many leaves (RFC 9162, section 2.1.3.2)."""
    last = size - 1
    for sibling in hashes:
        if not last:
            return False
        if index & 1 or index == last:
            value = sha256(b"\1" + sibling + value).digest()
            while index and not index & 1:
                index, last = index >> 1, last >> 1
        else:
            value = sha256(b"\1" + value + sibling).digest()
        index, last = index >> 1, last >> 1
    return not last and value == root


def grew(old_root: bytes, old_size: int, root: bytes, size: int, hashes: list[bytes]) -> bool:
    """Whether a proof shows that the old tree is the beginning of the new one (RFC 9162, section 2.1.4.2), which is larger."""
    if not old_size:
        return not hashes and old_root == sha256(b"").digest()
    index, last = old_size - 1, size - 1
    while index & 1:
        index, last = index >> 1, last >> 1
    if index and not hashes:
        return False
    old = value = hashes[0] if index else old_root
    for sibling in hashes[1:] if index else hashes:
        if not last:
            return False
        if index & 1 or index == last:
            old, value = sha256(b"\1" + sibling + old).digest(), sha256(b"\1" + sibling + value).digest()
            while index and not index & 1:
                index, last = index >> 1, last >> 1
        else:
            value = sha256(b"\1" + value + sibling).digest()
        index, last = index >> 1, last >> 1
    return not last and (old, value) == (old_root, root)


# ---- Entries ----------------------------------------------------------------------------------------------------------

HEADER = b"consentlib.dev/leaf/v1\n"
NEVER_ERASED = (b"policy.published", b"text.published", b"part.erased", b"key.added", b"log.recovered")
LEAF_LIMIT, PARTS_LIMIT, TIME_LIMIT = 1024, 16, 253402300800000  # bytes, parts, the end of the year 9999
NULL, WITHHELD = (b"", b"", b"null"), (b"", b"", b'"withheld"')

find_origin = re.compile(rb"%b([a-z0-9./-]{1,128})\n" % re.escape(HEADER)).match
is_kind = lru_cache(256)(re.compile(rb"[a-z_.]+").fullmatch)  # the same few, again and again
is_name = lru_cache(256)(re.compile(rb"[a-z]+(\.[1-9][0-9]*)?").fullmatch)
is_commitment = re.compile(rb" [A-Za-z0-9+/]{42}[AEIMQUYcgkosw048]=").fullmatch

Part = tuple[bytes, bytes, bytes, bytes]  # name, salt, data, and what stands there instead of both


class Log:
    """What is known after some entries, each of which was checked in full before it was counted."""

    def __init__(self, origin: str | None, trust: Trust) -> None:
        self.origin = (origin or "").encode()
        self.link = self.genesis()
        self.size = self.withheld = self.first_time = self.time = 0
        self.gone: dict[tuple[int, str], bool] = {}  # parts that are not there -> whether that is on record
        self.trust = trust  # hears what the log says of its keys
        self.policies: dict[str, bytes] = {}  # the name each must have beside the log -> its hash
        self.tree = Tree()

    def genesis(self) -> bytes:
        return base64(sha256(b"consentlib.dev/genesis/v1\n%b\n" % self.origin).digest())

    def check(self, line: bytes) -> None:
        """Check the next entry, given as its line without the line end: form, leaf, parts; then count it."""
        leaf, parts = self.read_line(line)
        if not self.origin:
            found = find_origin(leaf)
            self.origin = found[1] if found else b"?"
            self.link = self.genesis()
        start = b"%b%b\n%d\n%b\n" % (HEADER, self.origin, self.size, self.link)
        if not leaf.startswith(start) or len(leaf) >= LEAF_LIMIT or leaf[-1:] != b"\n":
            raise self.explain(leaf)
        time, kind, *committed = leaf[len(start) : -1].split(b"\n")
        if not is_kind(kind) or not 1 <= len(committed) <= PARTS_LIMIT:
            raise self.refuse(f"expected a kind and 1 to {PARTS_LIMIT} parts, found other lines")
        self.check_time(time)
        self.check_parts(kind, committed, parts)
        if kind == b"part.erased":
            self.record_erasure(parts)
        elif kind == b"key.added":
            for data in [data for name, _, data, instead in parts if name == b"facts" and not instead]:
                self.trust.add(self.size, data, self.origin.decode())
        elif kind == b"policy.published":
            shown = [data for name, _, data, instead in parts if name == b"policy" and not instead]
            self.policies.update((f"policy/{self.size}.json", sha256(data).digest()) for data in shown)
        tip = sha256(b"\0" + leaf).digest()
        self.link = b2a_base64(tip, newline=False)
        self.size += 1
        self.tree.add(tip)

    def read_line(self, line: bytes) -> tuple[bytes, list[Part]]:
        """A line's leaf and parts: read loosely, written anew, and compared, so that only the one spelling passes."""
        between = line.split(b'"')  # what stands between quotes: 5 is the leaf, 9 the name of the first part
        parts = []
        try:
            leaf = a2b_base64(between[5])
            anew = [b"{", b"i", b":%d," % self.size, b"leaf", b":", b2a_base64(leaf, newline=False), b",", b"parts", b":{"]
            at = len(anew)
            while at + 1 < len(between):
                name, form = between[at], between[at + 1]
                if form == b":{":
                    salt, data = a2b_base64(between[at + 4]), a2b_base64(between[at + 8])
                    shown = b2a_base64(salt, newline=False), b2a_base64(data, newline=False)
                    anew += (name, form, b"salt", b":", shown[0], b",", b"data", b":", shown[1], b"},")
                    parts.append((name, salt, data, b""))
                elif form.startswith(b":n"):
                    anew += (name, b":null,")
                    parts.append((name, *NULL))
                else:
                    anew += (name, b":", b"withheld", b",")
                    parts.append((name, *WITHHELD))
                at = len(anew)
        except (ValueError, IndexError):
            raise self.misspelt() from None
        anew[-1] = anew[-1].rstrip(b",") + b"}}"
        if anew != between:
            raise self.misspelt()
        return leaf, parts

    def check_time(self, text: bytes) -> None:
        """The recorded time is a number in its one spelling, within the calendar, and does not fall."""
        time = int(text) if text.isdigit() else TIME_LIMIT
        if time >= TIME_LIMIT or b"%d" % time != text:
            raise self.refuse("expected a time in milliseconds within the years 1970 to 9999, found something else")
        if time < self.time:
            raise self.refuse("expected recorded times that never fall, found one before its predecessor's")
        self.time = time
        if not self.size:
            self.first_time = time

    def check_parts(self, kind: bytes, committed: list[bytes], parts: list[Part]) -> None:
        """Each committed part opens its commitment, is withheld, or is gone; and no other part is there."""
        size, last, at = self.size, b"", 0
        for row in committed:
            label = row[:-45]
            name, salt, data, instead = parts[at] if at < len(parts) else (b"", *NULL)
            if name == label:
                at += 1
            else:  # left out: the same as null
                instead = b"null"
            if label <= last or not is_name(label):
                raise self.refuse("expected parts once each, well named and sorted by name, found another order or name")
            last = label
            if instead:
                if not is_commitment(row[-45:]):
                    raise self.refuse("expected lines of a part's name and its commitment, found another")
                if instead == b"null":
                    self.lose(kind, label)
                else:
                    self.withheld += 1
                continue
            opened = sha256(b"consentlib.dev/part/v1\n%d\n%b\n%b%b" % (size, name, salt, data)).digest()
            if len(salt) != 32 or row != b"%b %b" % (name, b2a_base64(opened, newline=False)):
                raise self.refuse(f"expected part `{name.decode()}` to open its commitment, found other bytes")
        if at != len(parts):
            raise self.refuse("expected only parts that the leaf commits to, each once and sorted, found another")

    def lose(self, kind: bytes, name: bytes) -> None:
        """Keep in mind that a part is gone, until a later entry records its erasure."""
        if kind in NEVER_ERASED:
            raise self.refuse(f"expected part `{name.decode()}`, which can never be erased, found nothing")
        self.gone[self.size, name.decode()] = False

    def record_erasure(self, parts: list[Part]) -> None:
        """Every part that an erasure names must be a part of an earlier entry, and be gone (its own can't be: see `lose`)."""
        shown = [data for name, _, data, instead in parts if name == b"facts" and not instead]
        facts = canonical_json(shown[0]) if shown else None
        named = facts.get("parts") if isinstance(facts, dict) else None
        if not isinstance(named, list):
            raise self.refuse("expected an erasure to show which `parts` it erased, found another form")
        for pair in named:
            if not isinstance(pair, list) or [type(item) for item in pair] != [int, str] or tuple(pair) not in self.gone:
                raise self.refuse("expected an erasure to name parts that are gone, found one that is there or never was")
            self.gone[pair[0], pair[1]] = True

    def check_erasures(self) -> None:
        """At the end: every part that is gone was erased on record."""
        for (index, name), recorded in self.gone.items():
            if not recorded:
                raise Refused(f"entry {index}: expected part `{name}` or a record of its erasure, found neither")

    def explain(self, leaf: bytes) -> Refused:
        """Why the first lines of a leaf are not what they must be."""
        if not leaf.startswith(HEADER):
            return self.refuse("expected a leaf of format `consentlib.dev/leaf/v1`, found another")
        origin, index, link = [*leaf[len(HEADER) :].split(b"\n"), b"", b"", b""][:3]
        if origin != self.origin:
            return self.refuse("expected a leaf of the same origin, or of the one asked for, found another")
        if index != b"%d" % self.size:
            return self.refuse(f"expected the leaf of entry {self.size}, found that of another")
        if link != self.link:
            return self.refuse("expected the hash of the entry before it, found another")
        return self.refuse(f"expected a leaf of whole lines below {LEAF_LIMIT} bytes, found another")

    def misspelt(self) -> Refused:
        return self.refuse(f"expected `i` {self.size}, `leaf` and `parts` in their one spelling, found another line")

    def refuse(self, problem: str) -> Refused:
        return Refused(f"line {self.size + 1} (entry {self.size}): {problem}")


# ---- The file ---------------------------------------------------------------------------------------------------------

CHUNK, LINE_LIMIT, RATIO_LIMIT = 1 << 18, 8_000_000, 1_000
BROKEN_ZIP = (
    zipfile.BadZipFile, zlib.error, struct.error, EOFError, OSError, ValueError, LookupError, RuntimeError, OverflowError,
)  # fmt: skip


def read_lines(file: BinaryIO) -> Iterator[list[bytes]]:
    """The lines, without their ends, some thousand at a time."""
    rest, number = b"", 0
    while True:
        chunk = file.read(CHUNK)
        *lines, rest = (rest + chunk).split(b"\n")
        if max(map(len, [*lines[:1], rest])) > LINE_LIMIT:  # those between lie within the chunk
            raise Refused(f"after line {number}: expected lines of at most {LINE_LIMIT} bytes, found a longer one")
        if not chunk and rest:
            raise Refused(f"line {number + 1}: expected a line end, found the end of the file")
        number += len(lines)
        yield lines
        if not chunk:
            return


class Export:
    """The files of the zip that this script reads."""

    def __init__(self, path: str) -> None:
        try:
            with open(path, "rb") as file:
                is_zip = file.read(2) == b"PK" or zipfile.is_zipfile(file)
        except OSError as error:
            raise Unusable(f"expected an export, which is a zip file, found: {error.strerror}") from None
        if not is_zip:
            raise Unusable("expected an export, which is a zip file, found a file of another kind")
        self.zip = zipfile.ZipFile(path)
        self.files = {info.filename: info for info in self.zip.infolist()}
        if len(self.files) != len(self.zip.infolist()):
            raise Refused("expected each file once in the zip, found one twice")
        self.partial = "disclosure.ndjson" in self.files
        if self.partial == ("log.ndjson" in self.files):
            found = "that of a disclosure too, which is a part of a log" if self.partial else "none"
            raise Refused(f"expected `log.ndjson` in the zip, found {found}")

    def open(self, name: str) -> BinaryIO:
        """A file of the zip, neither encrypted nor packed beyond reason."""
        info = self.files[name]
        if info.flag_bits & 1 or info.compress_type not in (zipfile.ZIP_STORED, zipfile.ZIP_DEFLATED):
            raise Refused("expected files stored or deflated in the zip, found another method")
        if info.file_size > RATIO_LIMIT * max(info.compress_size, 1):
            raise Refused("expected files packed by less than a thousand times, found more")
        return self.zip.open(info)  # type: ignore[return-value]

    def read(self, name: str, limit: int) -> bytes:
        """The bytes of a file of the zip."""
        if name not in self.files:
            raise Refused(f"expected `{name}` in the zip, found none")
        with self.open(name) as file:
            data = file.read(limit + 1)
        if max(len(data), self.files[name].file_size) > limit:
            raise Refused(f"`{name}`: expected at most {limit} bytes, found more")
        return data

    def checkpoint(self, name: str, keys: Keys) -> Checkpoint:
        """A signed note of the zip."""
        note = self.read(name, NOTE_LIMIT)
        try:
            return read_checkpoint(note, keys)
        except Refused as problem:
            raise Refused(f"`{name}`: {problem}") from None

    def earlier(self, keys: Keys) -> list[Checkpoint]:
        """The notes in `checkpoints/`, each named by its size."""
        names = [name for name in self.files if name.startswith("checkpoints/") and name != "checkpoints/"]
        if len(names) > CHECKPOINTS_LIMIT or not all(re.fullmatch(r"checkpoints/(0|[1-9][0-9]{0,15})", name) for name in names):
            raise Refused(f"expected at most {CHECKPOINTS_LIMIT} files named by size in `checkpoints/`, found others")
        found = [self.checkpoint(name, keys) for name in names]
        for name, one in zip(names, found):
            if name != f"checkpoints/{one.size}":
                raise Refused(f"`{name}`: expected a checkpoint of that size, found one of size {one.size}")
        return found

    def check_policies(self, held: dict[str, bytes]) -> None:
        """The policies beside the log, where a person reads them, are those that it holds; nothing else calls itself one."""
        beside = {name for name in self.files if "policy" in name.lower() and name != "policy/"}
        for name in sorted(beside | held.keys()):
            if name not in held:
                raise Refused(f"expected only policies that entries of the log hold, found the file {ascii(name)[:80]}")
            if sha256(self.read(name, LINE_LIMIT)).digest() != held[name]:
                raise Refused(f"`{name}`: expected the policy that this entry of the log holds, found other bytes")


# ---- A disclosure: one person's entries --------------------------------------------------------------------------------

PROOF_LIMIT = 2_000_000
HASH_LINES = rb"((?:[A-Za-z0-9+/]{42}[AEIMQUYcgkosw048]=\n){0,63})\n"
is_proof = re.compile(
    rb"c2sp\.org/tlog-proof@v1\nextra ([A-Za-z0-9+/]+={0,2})\nindex (0|[1-9][0-9]{0,15})\n" + HASH_LINES
).match
is_growth = re.compile(rb"old (0|[1-9][0-9]{0,15})\n" + HASH_LINES).match
is_member = re.compile(
    r"checkpoint|disclosure\.ndjson|README\.txt|verify\.(py|html)"
    r"|(proofs/N\.tlog-proof|policy/N\.json|consistency/N)".replace("N", "(0|[1-9][0-9]*)")
).fullmatch
is_leaf_start = re.compile(
    rb"%b([a-z0-9./-]{1,128})\n(0|[1-9][0-9]{0,15})\n[A-Za-z0-9+/]{42}[AEIMQUYcgkosw048]=\n(?=[0-9]+\n)" % re.escape(HEADER)
).match


class Shown(Log):
    """What is known after some entries of a log, each of which was checked by itself and proven to be in the log."""

    def __init__(self, export: Export, own: Checkpoint) -> None:
        super().__init__(own.origin, Trust({}))
        self.export, self.own = export, own
        self.note = export.read("checkpoint", NOTE_LIMIT)
        self.count = 0
        self.proven: set[str] = set()
        self.on_record = False

    def show(self, line: bytes) -> None:
        """Check the entry of the next line; then count it."""
        found = re.match(rb'\{"i":(0|[1-9][0-9]{0,15}),', line)
        index = int(found[1]) if found else -1
        if index < self.size:  # where the entry before it ended
            raise Refused(f"line {self.count + 1}: expected entries in the order of the log, found another line")
        self.size = index
        kind, parts = self.prove(line)
        if kind == b"part.erased":
            self.record_erasure(parts)
        shown = [data for name, _, data, instead in parts if name == b"facts" and not instead]
        if kind == b"export.made" and shown:
            facts = canonical_json(shown[0])
            if facts is None:
                raise self.refuse("expected facts in their one spelling, found other bytes")
            self.on_record |= isinstance(facts, dict) and facts.get("scope") == "person"
        self.first_time = self.first_time if self.count else self.time
        self.count += 1
        self.size += 1

    def show_policy(self, index: int) -> None:
        """Check a policy of the zip: that it is in the log, as a policy that was published."""
        self.size, self.time = index, 0
        kind, parts = self.prove(None)
        data = [data for name, _, data, instead in parts if name == b"policy" and not instead]
        if (
            kind != b"policy.published"
            or any(one[3] for one in parts)
            or data != [self.export.read(f"policy/{index}.json", PROOF_LIMIT)]
        ):
            raise self.refuse("expected the policy that its proof holds, found another")

    def prove(self, line: bytes | None) -> tuple[bytes, list[Part]]:
        """Kind and parts of the entry at `size`, proven to be in the log and to be what `line` says."""
        name = f"proofs/{self.size}.tlog-proof"
        data = self.export.read(name, PROOF_LIMIT)
        found = is_proof(data)
        if found is None or data[found.end() :] != self.note or found[2] != b"%d" % self.size:
            raise self.refuse("expected a proof of this entry under `checkpoint`, found something else")
        extra = unbase64(found[1].decode())
        line = extra[:-1] if line is None else line
        if extra != line + b"\n":
            raise self.refuse("expected the line that its proof holds, found another")
        leaf, parts = self.read_line(line)
        found_start = is_leaf_start(leaf)
        if found_start is None or found_start.groups() != (self.origin, b"%d" % self.size) or len(leaf) >= LEAF_LIMIT:
            raise self.refuse("expected the leaf of this entry of this log, found another")
        time, kind, *committed = leaf[found_start.end() : -1].split(b"\n")
        if not is_kind(kind) or not 1 <= len(committed) <= PARTS_LIMIT or len(committed) != len(parts) or leaf[-1:] != b"\n":
            raise self.refuse(f"expected a kind and 1 to {PARTS_LIMIT} parts, each of them on the line, found others")
        self.check_time(time)
        self.check_parts(kind, committed, parts)
        hashes = [unbase64(text.decode()) for text in found[3].split()]
        if not self.size < self.own.size or not leads_to(
            self.own.root, self.size, self.own.size, sha256(b"\0" + leaf).digest(), hashes
        ):
            raise self.refuse("expected a proof that leads to the root of `checkpoint`, found another")
        self.proven.add(name)
        return kind, parts

    def record_erasure(self, parts: list[Part]) -> None:
        """What an erasure names must not be there, as far as it is shown; its own facts may be withheld."""
        shown = [data for name, _, data, instead in parts if name == b"facts" and not instead]
        facts = canonical_json(shown[0]) if shown else {"parts": []}
        named = facts.get("parts") if isinstance(facts, dict) else None
        if not isinstance(named, list):
            raise self.refuse("expected an erasure to show which `parts` it erased, found another form")
        for pair in named:
            if not isinstance(pair, list) or [type(item) for item in pair] != [int, str] or not 0 <= pair[0] < self.size:
                raise self.refuse("expected an erasure to name earlier parts, found something else")
            if tuple(pair) in self.gone:
                self.gone[pair[0], pair[1]] = True
            elif f"proofs/{pair[0]}.tlog-proof" in self.proven:
                raise self.refuse("expected an erasure to name parts that are gone, found one that is there or never was")

    def refuse(self, problem: str) -> Refused:
        return Refused(f"entry {self.size}: {problem}")


def read_disclosure(export: Export, own: Checkpoint) -> Shown:
    """All that a disclosure shows, all of it checked."""
    shown = Shown(export, own)
    if not all(is_member(name) for name in export.files):
        raise Refused("expected only what a disclosure holds, found other files")
    for name in export.files:
        if name.startswith("policy/"):
            shown.show_policy(int(name[7:-5]))
    shown.size = shown.time = 0
    with export.open("disclosure.ndjson") as file:
        for lines in read_lines(file):
            for line in lines:
                shown.show(line)
    if shown.proven != {name for name in export.files if name.startswith("proofs/")}:
        raise Refused("expected a line or a policy for each proof, found a proof without")
    if not shown.on_record:
        raise Refused("expected an entry that says that this disclosure was made, found none")
    return shown


def reaches(export: Export, one: Checkpoint, own: Checkpoint, note: bytes) -> bool | None:
    """Whether a checkpoint that the auditor kept is a beginning of the log; None where nothing in the zip leads there."""
    if one.origin != own.origin or one.size == own.size:
        return (one.origin, one.root) == (own.origin, own.root)
    name = f"consistency/{one.size}"
    if name not in export.files:
        return None
    data = export.read(name, NOTE_LIMIT)
    found = is_growth(data)
    if found is None or data[found.end() :] != note or found[1] != b"%d" % one.size or one.size > own.size:
        raise Refused(f"`{name}`: expected what leads from that size to `checkpoint`, found something else")
    return grew(one.root, one.size, own.root, own.size, [unbase64(text.decode()) for text in found[2].split()])


def verify_disclosure(asked: argparse.Namespace, export: Export, keys: Keys, kept: list[Checkpoint]) -> dict[str, Any]:
    """A part of a log: content, signature and history of what is shown. Raises `Refused` with the reason."""
    own = export.checkpoint("checkpoint", keys)
    if asked.origin not in (None, own.origin):
        raise Refused("expected the origin asked for, found another")
    shown = read_disclosure(export, own)
    trust = Trust(keys)
    for number, one in enumerate(kept, 1):
        if not trust.counting([one]):
            raise Unusable(f"--checkpoint {number}: expected a signature by a --key, found none that counts")
    compared = [reaches(export, one, own, shown.note) for one in kept]
    if False in compared:
        raise Diverges(f"--checkpoint {compared.index(False) + 1} contradicts the log")
    if keys and not trust.counting([own]):
        raise Refused("expected a checkpoint signed by its origin under a --key, found only other keys")
    if asked.newest_after is not None and (not shown.count or shown.time <= asked.newest_after):
        raise Refused(f"expected an entry newer than {show_time(asked.newest_after)}, found none")
    pinned = max([one.size for one, holds in zip(kept, compared) if holds], default=0)
    level = "history" if pinned else "signature" if keys else "content"
    checked = [f"content: {shown.count} entries: their parts, and that each is one of the {own.size} of the log"]
    if level != "content":
        checked.append("signature: `checkpoint` is signed by the log's origin under a key you gave")
    if level == "history":
        checked.append(f"history: {compared.count(True)} checkpoints that you kept are beginnings of the log")
    return {
        "verdict": "verified",
        "exit": NO_HISTORY,
        "level": level,
        "partial": True,
        "origin": own.origin,
        "entries": own.size,
        "shown": shown.count,
        "root": base64(own.root).decode(),
        "first_time": show_time(shown.first_time) if shown.count else None,
        "last_time": show_time(shown.time) if shown.count else None,
        "erased": len(shown.gone),
        "withheld": shown.withheld,
        "checked": checked,
        "not_checked": not_shown(shown, level, compared.count(None), pinned),
    }


def not_shown(shown: Shown, level: str, beside: int, pinned: int) -> list[str]:
    """What this run does not show of a disclosure, in words."""
    found = ["completeness: this is a part of the log, and entries about the person may have been left out of it"]
    silent = sum(not recorded for recorded in shown.gone.values())
    if shown.withheld:
        found.append(f"content: {shown.withheld} parts are withheld")
    if silent:
        found.append(f"content: {silent} parts are said to be erased, and the record of that is not shown here")
    found.append("chain: what lies between the entries is not shown, so no link was compared")
    if level == "content":
        found.append("signature: you gave no --key, so anyone may have written it")
    if beside:
        found.append(f"history: {beside} checkpoints that you kept have a size that nothing here leads from")
    if not pinned:
        found.append("history: no --checkpoint was compared, so the log may have been rewritten or cut by whoever can sign it")
    elif pinned < shown.own.size:
        found.append(f"history: entries from {pinned} on are newer than every checkpoint you kept")
    found.append("meaning: no rule was replayed, so what is recorded may have been unlawful")
    return found


# ---- The verdict ------------------------------------------------------------------------------------------------------

EPOCH = datetime(1970, 1, 1, tzinfo=timezone.utc)


def show_time(millis: int) -> str:
    return (EPOCH + timedelta(milliseconds=millis)).isoformat(timespec="milliseconds").replace("+00:00", "Z")


def read_kept(path: str, number: int, keys: Keys) -> Checkpoint:
    """A checkpoint the auditor kept. What mail and editors do to the ends of its lines is undone: the signature decides."""
    try:
        with open(path, "rb") as file:
            note = file.read(NOTE_LIMIT + 1).removeprefix(b"\xef\xbb\xbf").replace(b"\r\n", b"\n").rstrip(b"\n")
        return read_checkpoint(note + b"\n", keys)
    except OSError as error:
        raise Unusable(f"--checkpoint {number}: expected a readable file, found: {error.strerror}") from None
    except (Refused, ValueError) as problem:
        raise Unusable(f"--checkpoint {number}: {problem}") from None


def read_log(export: Export, origin: str | None, trust: Trust, sizes: list[int]) -> tuple[Log, dict[int, bytes]]:
    """The log, all of it checked, and its roots at the sizes asked for, as far as it reaches."""
    log, roots = Log(origin, trust), {}
    wanted = iter(sorted(set(sizes)))
    following = next(wanted, None)
    with export.open("log.ndjson") as file:
        for lines in read_lines(file):
            for line in lines:
                if log.size == following:
                    roots[log.size] = log.tree.root()
                    following = next(wanted, None)
                log.check(line)
    log.check_erasures()
    roots[log.size] = log.tree.root()
    return log, roots


def compare(one: Checkpoint, origin: str, size: int, roots: dict[int, bytes]) -> str | None:
    """How a checkpoint contradicts the log, None if the log begins as it says."""
    if one.origin != origin:
        return "it is of another origin"
    if one.size > size:
        return f"it covers {one.size} entries, and the log has only {size}"
    return None if roots[one.size] == one.root else f"at size {one.size} it has another root"


def verify(asked: argparse.Namespace) -> dict[str, Any]:
    """Everything, in order: content, signature, history. Raises `Refused` with the reason at the first thing wrong."""
    keys = dict(map(read_key, asked.key))
    kept = [read_kept(path, number, keys) for number, path in enumerate(asked.checkpoint, 1)]
    export = Export(asked.export)
    if export.partial:
        return verify_disclosure(asked, export, keys, kept)
    own = export.checkpoint("checkpoint", keys) if "checkpoint" in export.files else None
    earlier = export.earlier(keys)
    trust = Trust(keys)
    log, roots = read_log(export, asked.origin, trust, [one.size for one in kept + earlier])
    origin = log.origin.decode() or (own.origin if own else "")

    if own is not None and (own.size != log.size or compare(own, origin, log.size, roots)):
        raise Refused("`checkpoint`: expected origin, size and root of this very log, found others")
    for one in earlier:
        problem = compare(one, origin, log.size, roots)
        if problem:
            raise Refused(f"`checkpoints/{one.size}` contradicts the log: {problem}")
    shipped = [*earlier, *([] if own is None else [own])]
    trust.follow(shipped + [one for one in kept if compare(one, origin, log.size, roots) is None])
    for number, one in enumerate(kept, 1):
        problem = compare(one, origin, log.size, roots)
        if not (trust.counting([one]) if problem else one.counts):
            raise Unusable(
                f"--checkpoint {number}: expected a signature by a --key, or one the log leads to, found none that counts"
            )
        if problem:
            raise Diverges(f"--checkpoint {number} contradicts the log: {problem}")
    if asked.key and own is None:
        raise Refused("expected an export signed under a --key, found an unsigned one (its content is consistent)")
    if asked.key and own is not None and not own.counts:
        raise Refused(
            "expected an export signed under a --key or one the log leads to, found only other keys (its content is consistent)"
        )
    if asked.newest_after is not None and (not log.size or log.time <= asked.newest_after):
        raise Refused(f"expected an entry newer than {show_time(asked.newest_after)}, found none")
    export.check_policies(log.policies)

    pinned = max([one.size for one in kept], default=0)
    level = "history" if pinned else "signature" if asked.key else "content"
    return {
        "verdict": "verified",
        "exit": VERIFIED if level == "history" and not log.withheld else NO_HISTORY,
        "level": level,
        "partial": log.withheld > 0,
        "origin": origin or None,
        "entries": log.size,
        "shown": log.size,
        "root": base64(roots[log.size]).decode(),
        "first_time": show_time(log.first_time) if log.size else None,
        "last_time": show_time(log.time) if log.size else None,
        "erased": len(log.gone),
        "withheld": log.withheld,
        "checked": checked(log.size, earlier, kept, level, trust.led_to),
        "not_checked": not_checked(log, own, earlier, level, pinned),
    }


def checked(size: int, earlier: list[Checkpoint], kept: list[Checkpoint], level: str, led_to: list[str]) -> list[str]:
    """What was compared, in words."""
    found = [f"content: all {size} entries, their order, links, times, parts and erasures; the files in policy/ are theirs"]
    if level != "content":
        found.append("signature: `checkpoint` names this size and root, signed under a key you gave or that the log leads to")
    found += [f"keys: signed with a key that counted, the log says that the next one is {key}" for key in led_to]
    if earlier:
        found.append(f"checkpoints/: {len(earlier)} earlier checkpoints of the export are beginnings of the log")
    if level == "history":
        found.append(f"history: {len(kept)} checkpoints that you kept are beginnings of the log")
    return found


def not_checked(log: Log, own: Checkpoint | None, earlier: list[Checkpoint], level: str, pinned: int) -> list[str]:
    """What this run does not show, in words."""
    found = []
    unsigned = sum(not one.counts for one in earlier)
    if log.withheld:
        found.append(f"content: {log.withheld} parts are withheld, so this is a part of the log and not the whole")
    if level == "content":
        reason = "the export is UNSIGNED" if own is None else "you gave no --key"
        found.append(f"signature: {reason}, so anyone may have written it")
    elif unsigned:
        found.append(f"signature: {unsigned} earlier checkpoints of the export carry none by a key that counts")
    if level != "history":
        found.append("history: you gave no --checkpoint, so the log may have been rewritten or cut by whoever can sign it")
    elif pinned < log.size:
        found.append(f"history: entries from {pinned} on are newer than every checkpoint you kept")
    found.append("meaning: no rule was replayed, so what is recorded may have been unlawful")
    found.append("README.txt and whatever else was put into the zip, and signatures of witnesses, were not compared")
    return found


def moment(text: str) -> int:
    """Milliseconds since 1970 of a time with zone."""
    found = datetime.fromisoformat(re.sub("[Zz]$", "+00:00", text))
    if found.tzinfo is None:
        raise ValueError
    return (found - EPOCH) // timedelta(milliseconds=1)


def name_of_log(text: str) -> str:
    if not re.fullmatch("[a-z0-9./-]{1,128}", text):
        raise ValueError
    return text


def show(found: dict[str, Any]) -> str:
    """The report, its first line being the verdict."""
    if "problem" in found:
        return f"{found['verdict'].upper()}: {found['problem']}"
    part = " IN PART" if found["partial"] else ""
    shown = f"{found['shown']} of {found['entries']}" if found["shown"] < found["entries"] else found["entries"]
    verdict, doubt = f"VERIFIED{part} to level `{found['level']}`", ""
    if found["level"] == "content":
        verdict, doubt = f"INTACT{part}, BUT NOT SHOWN TO BE SIGNED", "; it may have been cut at its end or written anew"
    lines = [f"{verdict}: log `{found['origin'] or ''}`, {shown} entries{doubt}"]
    if found["shown"]:
        lines.append(f"recorded {found['first_time']} to {found['last_time']}")
    on_record = " on record" if found["shown"] == found["entries"] else ""
    lines += [f"{found['erased']} parts erased{on_record}, {found['withheld']} withheld", f"root {found['root']}", "checked"]
    lines += [f"  {line}" for line in found["checked"]]
    lines += ["not checked", *[f"  {line}" for line in found["not_checked"]]]
    return "\n".join(lines)


def main(arguments: list[str] | None = None) -> int:
    """Verify as asked, print the report, and give the exit code."""
    parser = argparse.ArgumentParser(prog="verify.py", description="Verifies an exported consent log.")
    parser.add_argument("export", help="the export's zip file")
    parser.add_argument("--key", action="append", default=[], metavar="VKEY", help="the log's public key (may be repeated)")
    parser.add_argument(
        "--checkpoint", action="append", default=[], metavar="FILE", help="a checkpoint you kept (may be repeated)"
    )
    parser.add_argument("--origin", type=name_of_log, help="the log's name, if it must be this one")
    parser.add_argument(
        "--newest-after", type=moment, metavar="TIME", help="demand an entry recorded after 2026-09-01T10:00:00Z"
    )
    parser.add_argument("--json", action="store_true", help="print the report as JSON")
    asked = parser.parse_args(arguments)
    if asked.checkpoint and not asked.key:
        parser.error("--checkpoint needs the --key that it was signed with")
    try:
        found = verify(asked)
    except Refused as problem:
        verdict = {DIVERGES: "diverges", INVALID: "invalid", USAGE: "unusable"}[problem.code]
        found = {"verdict": verdict, "exit": problem.code, "problem": str(problem)}
    except BROKEN_ZIP:
        found = {"verdict": "invalid", "exit": INVALID, "problem": "expected a whole zip file, found a damaged or foreign one"}
    print(json.dumps(found, indent=1) if asked.json else show(found))
    return int(found["exit"])


if __name__ == "__main__":
    sys.exit(main())
