"""Spans: runs of neighbouring entries, each entry checked as far as it can be without those outside the run.

This is where a verifier's time goes, and as no span needs another one, several processes can share them out.
"""

from __future__ import annotations

from binascii import b2a_base64
from collections import Counter
from collections.abc import Iterable, Mapping
from enum import Enum
from hashlib import sha256
from typing import Final, NamedTuple

from consentlib import codec
from consentlib.damage import damaged
from consentlib.errors import FormatError, VerificationError
from consentlib.log.leaf import COMMITTED, Leaf, base64, leaf_start, parse_leaf, split_leaf
from consentlib.log.merkle import Node, subtrees
from consentlib.log.trust import KEY_ADDED, KeyAdded, read_key_added

#: Kinds whose parts can never be erased: without them nobody could tell what was agreed to, or what was erased.
NEVER_ERASED: Final = frozenset({"policy.published", "text.published", "part.erased", "key.added", "log.recovered"})
_NEVER_ERASED: Final = frozenset(kind.encode() for kind in NEVER_ERASED)
_KEY_ADDED: Final = KEY_ADDED.encode()
_POLICY_PUBLISHED: Final = b"policy.published"


class Unseen(Enum):
    """The type of `WITHHELD`, a part that exists and is not shown, and `LOST`, one that is there but sealed under a key
    that is gone."""

    WITHHELD = "withheld"
    LOST = "lost"


WITHHELD: Final = Unseen.WITHHELD
LOST: Final = Unseen.LOST

Part = tuple[bytes, bytes] | Unseen | None


class Entry(NamedTuple):
    """An entry as a store or an export claims it. A part is (salt, data), `WITHHELD`, `LOST`, or None where it is gone."""

    index: int  # type: ignore[assignment]  # hides tuple.index, which no entry needs
    leaf: bytes
    parts: Mapping[str, Part]

    def __repr__(self) -> str:
        return f"Entry(index={self.index}, parts={sorted(self.parts)})"


class Span(NamedTuple):
    """What a run of `size` entries says. `problem` is the first thing wrong inside; what else is here is of before it.

    `first` is the first entry's claimed index and its leaf, None where there is none in form; whether it follows on the entry
    before it is for `check_link`. `nodes` are the perfect subtrees over the leaf hashes, `gone` the absent parts with their
    entry's leaf, `erasures` what each erasure says: its index, its leaf, its facts, the parts it names; `keys` what it says
    of the log's signing keys, `policies` the SHA-256 of each policy it shows, by index.
    """

    size: int
    first: tuple[int, bytes] | None
    origin: str
    first_time: int
    last_leaf: bytes
    tip: bytes
    time: int
    kinds: Counter[bytes]
    withheld: int
    gone: Mapping[tuple[int, str], bytes]
    erasures: list[tuple[int, bytes, Part, list[tuple[int, str]]]]
    keys: list[KeyAdded]
    policies: Mapping[int, bytes]
    nodes: list[Node]
    problem: VerificationError | FormatError | None


def check_span(entries: Iterable[Entry], start: int) -> Span:
    """Check entries that should be those from index `start` on. Raises nothing that they are to blame for."""
    first: tuple[int, bytes] | None = None
    origin, first_time, place, link = "", 0, b"", b""
    last_leaf = tip = b""
    time = withheld = 0
    size = start
    hashes: list[bytes] = []
    kinds: Counter[bytes] = Counter()
    gone: dict[tuple[int, str], bytes] = {}
    erasures = []
    keys = []
    policies: dict[int, bytes] = {}
    problem: VerificationError | FormatError | None = None
    try:
        for claimed, leaf, parts in entries:
            if first is None:
                parsed = _parsed(leaf, size)
                first, origin, first_time, tip = (claimed, leaf), parsed.origin, parsed.t, parsed.prev
                place, link = origin.encode(), base64(tip)
            begin = leaf_start(place, size, link)
            try:
                t, kind, committed = split_leaf(leaf, begin)
            except FormatError:
                check_link(claimed, leaf, size, origin, tip, time, last_leaf)  # says what is not as it must be
                raise
            if claimed != size or t < time:
                check_link(claimed, leaf, size, origin, tip, time, last_leaf)
            opened = 0
            for label, expected in committed:
                name = label.decode()
                part = parts.get(name)
                if part is None or part is LOST:  # lost is as good as gone: an erasure must be on record
                    if kind in _NEVER_ERASED:
                        raise content_problem(
                            f"expected part `{name}`, which can never be erased, found nothing", size, leaf, None
                        )
                    gone[size, name] = leaf
                    continue
                opened += 1
                if part is WITHHELD:
                    withheld += 1
                    continue
                salt, data = part
                opens = sha256(COMMITTED % (size, label, salt, data)).digest()
                if len(salt) != 32 or b2a_base64(opens, newline=False) != expected:
                    raise content_problem(f"expected part `{name}` to open its commitment, found other bytes", size, leaf, part)
            if len(parts) != opened:
                for name in parts.keys() - {label.decode() for label, _ in committed}:
                    raise content_problem(
                        "expected only parts that the leaf commits to, found another", size, leaf, parts[name]
                    )
            if kind == b"part.erased":
                facts = parts.get("facts")
                erasures.append((size, leaf, facts, _named(size, leaf, facts)))
            elif kind == _KEY_ADDED:
                facts = parts.get("facts")
                added = read_key_added(size, facts[1], origin) if isinstance(facts, tuple) else None
                keys += [] if added is None else [added]
            elif kind == _POLICY_PUBLISHED:
                policy = parts.get("policy")
                if isinstance(policy, tuple):
                    policies[size] = sha256(policy[1]).digest()
            kinds[kind] += 1
            last_leaf, time = leaf, t
            tip = sha256(b"\0" + leaf).digest()
            link = b2a_base64(tip, newline=False)
            hashes.append(tip)
            size += 1
    except (FormatError, VerificationError) as error:
        problem = error
    except (TypeError, ValueError, AttributeError, LookupError, ArithmeticError) as error:
        problem = damaged(error)  # a value of another type than any writer stores: the rows were edited, and badly
    return Span(
        size=size - start,
        first=first,
        origin=origin,
        first_time=first_time,
        last_leaf=last_leaf,
        tip=tip,
        time=time,
        kinds=kinds,
        withheld=withheld,
        gone=gone,
        erasures=erasures,
        keys=keys,
        policies=policies,
        nodes=subtrees(start, hashes),
        problem=problem,
    )


def check_link(claimed: int, leaf: bytes, index: int, origin: str, tip: bytes, time: int, last_leaf: bytes) -> None:
    """Raise `VerificationError` unless an entry is the one at `index` and follows on `last_leaf`, of hash `tip` and `time`."""
    found = _parsed(leaf, index)
    if claimed != index or found.index != index:
        problem = f"expected entry `{index}`, found one claimed as `{claimed}` whose leaf says `{found.index}`"
    elif found.origin != origin:
        problem = f"expected entry `{index}` to name the log's origin, found another"
    elif found.prev != tip:
        problem = f"expected entry `{index}` to name its predecessor's hash, found another"
    elif found.t < time:
        problem = f"expected recorded times that never fall, found that of entry `{index}` before its predecessor's"
    else:
        return
    raise VerificationError(problem, level="chain", index=index, leaf=leaf, previous_leaf=last_leaf)


def content_problem(problem: str, index: int, leaf: bytes, part: Part) -> VerificationError:
    """The error of level `content` for an entry, with its leaf and the part as evidence."""
    return VerificationError(f"{problem}, in entry `{index}`", level="content", index=index, leaf=leaf, part=part)


def _parsed(leaf: bytes, index: int) -> Leaf:
    try:
        return parse_leaf(leaf)
    except FormatError as error:
        raise _out_of_form(error, index, leaf) from None


def _out_of_form(error: FormatError, index: int, leaf: bytes) -> VerificationError:
    return VerificationError(str(error), level="chain", index=index, leaf=leaf)


def named_parts(data: bytes, index: int) -> list[tuple[int, str]]:
    """The parts that an erasure at `index` names, from its facts: index and name. Raises `FormatError`."""
    facts = codec.decode(data)
    pairs = facts.get("parts") if isinstance(facts, dict) else None
    if not isinstance(pairs, list) or not all(_is_earlier(pair, index) for pair in pairs):
        raise FormatError("expected an erasure to list `parts` as pairs of an earlier index and a name, found another form")
    return [(at, name) for at, name in pairs]


def _named(index: int, leaf: bytes, facts: Part) -> list[tuple[int, str]]:
    if not isinstance(facts, tuple):
        raise content_problem("expected the facts of an erasure to be shown, found none", index, leaf, facts)
    try:
        return named_parts(facts[1], index)
    except FormatError as error:
        raise content_problem(str(error), index, leaf, facts) from None


def _is_earlier(pair: object, index: int) -> bool:
    match pair:
        case [int(at), str()]:
            return not isinstance(at, bool) and 0 <= at < index
    return False
