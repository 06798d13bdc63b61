"""The first two levels of verification: *chain* and *content*.

Chain: every leaf parses, names its index, its log and its predecessor's hash, and recorded times never fall. Content:
every part opens its commitment, nothing is there that no leaf commits to, and what is gone was erased on record.
Signature, history and meaning need what a log alone can't give; a report names them as not checked.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Iterable, Mapping
from enum import Enum
from typing import Final, NamedTuple

import attrs

from consentlib import codec
from consentlib.errors import FormatError, VerificationError
from consentlib.log import merkle
from consentlib.log.leaf import base64, commitment, genesis, leaf_hash, split_leaf

#: Kinds whose parts can never be erased: without them nobody could tell what was agreed to, or what was erased.
NEVER_ERASED: Final = frozenset({"policy.published", "text.published", "part.erased", "key.added"})
_NEVER_ERASED: Final = frozenset(kind.encode() for kind in NEVER_ERASED)

_BATCH: Final = 1024  # leaf hashes held back to build the tree level by level


class Withheld(Enum):
    """The type of `WITHHELD`: a part that exists and is not shown."""

    WITHHELD = "withheld"


WITHHELD: Final = Withheld.WITHHELD

Part = tuple[bytes, bytes] | Withheld | None


class Entry(NamedTuple):
    """An entry as a store or an export claims it. A part is (salt, data), `WITHHELD`, or None where it is gone."""

    index: int  # type: ignore[assignment]  # hides tuple.index, which no entry needs
    leaf: bytes
    parts: Mapping[str, Part]

    def __repr__(self) -> str:
        return f"Entry(index={self.index}, parts={sorted(self.parts)})"


class Head(NamedTuple):
    """The newest state of a log: `tip` is the newest leaf's hash (the genesis if empty), `time` its recorded time."""

    size: int
    tip: bytes
    time: int
    frontier: bytes


@attrs.frozen
class Report:
    """What was verified, and in words what was not.

    Times are milliseconds since the epoch, None for an empty log; `origin` and `tip` are None for an empty log whose
    origin nobody named. `erased` and `withheld` count parts.
    """

    level: str
    origin: str | None
    size: int
    root: bytes
    tip: bytes | None
    first_time: int | None
    last_time: int | None
    entries_by_kind: tuple[tuple[str, int], ...]
    erased: int
    withheld: int
    not_checked: tuple[str, ...]

    @property
    def partial(self) -> bool:
        """Whether parts were withheld, so that their content could not be checked."""
        return self.withheld > 0


def verify_entries(
    entries: Iterable[Entry],
    *,
    origin: str | None = None,
    head: Head | None = None,
    progress: Callable[[int], None] | None = None,
) -> Report:
    """Verify chain and content of a whole log, read once, from its first entry.

    `origin` is the log it must be (default: whichever the first leaf names), `head` what the log must end with.
    `progress` is called with the number of entries read, after each 1,024 and at the end. Memory does not grow with
    the log, only with the number of its erased parts. Raises `VerificationError` (level `chain` or `content`) at the
    first problem, with the bytes that show it as evidence.
    """
    place = None if origin is None else origin.encode()
    tip = None if origin is None else genesis(origin)
    link = tip and base64(tip)
    previous_leaf = b""
    first_time = last_time = None
    size = withheld = 0
    frontier = b""
    hashes: list[bytes] = []
    kinds: Counter[bytes] = Counter()
    gone = _Gone()

    for claimed, leaf, parts in entries:
        try:
            found_origin, index, prev, t, kind, committed = split_leaf(leaf)
        except FormatError as error:
            raise VerificationError(str(error), level="chain", index=size, leaf=leaf) from None
        if place is None or last_time is None:
            first_time = last_time = t
            if place is None:
                place = found_origin
                link = base64(genesis(place.decode()))
        if claimed != size or index != size or found_origin != place or prev != link or t < last_time:
            problem = _broken_link(claimed, index, size, found_origin == place, prev == link)
            raise VerificationError(problem, level="chain", index=size, leaf=leaf, previous_leaf=previous_leaf)
        kinds[kind] += 1

        opened = 0
        for label, expected in committed:
            name = label.decode()
            part = parts.get(name)
            if part is None:
                gone.found(size, name, kind, leaf)
                continue
            opened += 1
            if part is WITHHELD:
                withheld += 1
                continue
            salt, data = part
            if len(salt) != 32 or base64(commitment(size, name, salt, data)) != expected:
                problem = f"expected part `{name}` to open its commitment, found other bytes"
                raise _content(problem, size, leaf, part)
        if len(parts) != opened:
            names = {label.decode() for label, _ in committed}
            for name in parts.keys() - names:
                raise _content("expected only parts that the leaf commits to, found another", size, leaf, parts[name])
        if kind == b"part.erased":
            gone.recorded(size, leaf, parts.get("facts"))

        last_time = t
        previous_leaf = leaf
        tip = leaf_hash(leaf)
        link = base64(tip)
        hashes.append(tip)
        if len(hashes) == _BATCH:
            frontier, _ = merkle.extend_many(frontier, size + 1 - _BATCH, hashes)
            hashes.clear()
            if progress is not None:
                progress(size + 1)
        size += 1

    frontier, _ = merkle.extend_many(frontier, size - len(hashes), hashes)
    if progress is not None:
        progress(size)
    if head is not None:
        _check_head(head, Head(size, tip or head.tip, last_time or 0, frontier))
    gone.check()
    return Report(
        level="content",
        origin=None if place is None else place.decode(),
        size=size,
        root=merkle.frontier_root(frontier),
        tip=tip,
        first_time=first_time,
        last_time=last_time,
        entries_by_kind=tuple(sorted((kind.decode(), count) for kind, count in kinds.items())),
        erased=gone.count(),
        withheld=withheld,
        not_checked=_not_checked(head, withheld),
    )


def _broken_link(claimed: int, index: int, size: int, same_origin: bool, linked: bool) -> str:
    if claimed != size or index != size:
        return f"expected entry `{size}`, found one claimed as `{claimed}` whose leaf says `{index}`"
    if not same_origin:
        return f"expected entry `{size}` to name the log's origin, found another"
    if not linked:
        return f"expected entry `{size}` to name its predecessor's hash, found another"
    return f"expected recorded times that never fall, found that of entry `{size}` before its predecessor's"


def _check_head(head: Head, found: Head) -> None:
    for name, wanted, actual in zip(Head._fields, head, found, strict=True):
        if wanted != actual:
            raise VerificationError(
                f"expected the log to end as its head says, found another {name} at size `{found.size}`",
                level="chain",
                index=None,
                head=head,
                found=found,
            )


def _content(problem: str, index: int, leaf: bytes, part: Part) -> VerificationError:
    return VerificationError(f"{problem}, in entry `{index}`", level="content", index=index, leaf=leaf, part=part)


def _not_checked(head: Head | None, withheld: int) -> tuple[str, ...]:
    gaps = []
    if withheld:
        gaps.append(f"content: {withheld} parts are withheld, so their bytes were not compared with their commitments")
    if head is None:
        gaps.append("head: no stored head was compared, so entries may be missing from the end")
    gaps.append("signature: no signed checkpoint was compared with the root")
    gaps.append("history: no earlier checkpoint was compared, so the log may have been rewritten or cut")
    gaps.append("meaning: no rule was replayed, so a recorded send may have been unlawful")
    return tuple(gaps)


class _Gone:
    """The parts that are not there, each of which some later erasure entry must name."""

    def __init__(self) -> None:
        self._leaves: dict[tuple[int, str], bytes | None] = {}  # None once the erasure is on record

    def found(self, index: int, name: str, kind: bytes, leaf: bytes) -> None:
        """Note that a committed part is absent."""
        if kind in _NEVER_ERASED:
            problem = f"expected part `{name}`, which can never be erased, found nothing"
            raise _content(problem, index, leaf, None)
        self._leaves[index, name] = leaf

    def recorded(self, index: int, leaf: bytes, facts: Part) -> None:
        """Read what an erasure entry names: each must be a part of an earlier entry, and not be there."""
        if not isinstance(facts, tuple):
            raise _content("expected the facts of an erasure to be shown, found none", index, leaf, facts)
        try:
            named = _named(facts[1], index)
        except FormatError as error:
            raise _content(str(error), index, leaf, facts) from None
        for at, name in named:
            if (at, name) not in self._leaves:
                problem = f"expected part `{name}` of entry `{at}` to be gone as recorded, found it there or never committed"
                raise _content(problem, index, leaf, facts)
            self._leaves[at, name] = None

    def check(self) -> None:
        """Raise unless an erasure is on record for every part that is gone."""
        for (index, name), leaf in self._leaves.items():
            if leaf is not None:
                raise _content(f"expected part `{name}` or a record of its erasure, found neither", index, leaf, None)

    def count(self) -> int:
        return len(self._leaves)


def _named(data: bytes, index: int) -> list[tuple[int, str]]:
    facts = codec.decode(data)
    pairs = facts.get("parts") if isinstance(facts, dict) else None
    if not isinstance(pairs, list) or not all(_is_earlier(pair, index) for pair in pairs):
        raise FormatError("expected an erasure to list `parts` as pairs of an earlier index and a name, found another form")
    return [(at, name) for at, name in pairs]


def _is_earlier(pair: object, index: int) -> bool:
    match pair:
        case [int(at), str()]:
            return not isinstance(at, bool) and 0 <= at < index
    return False
