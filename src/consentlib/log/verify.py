"""Four levels of verification: *chain*, *content*, *signature* and *history*.

Chain: every leaf parses, names its index, its log and its predecessor's hash, and recorded times never fall. Content:
every part opens its commitment, nothing is there that no leaf commits to, and what is gone was erased on record.
Signature: a checkpoint under a pinned key, or one that the log leads to from there, covers exactly the whole log. History: so
does the log begin with what every checkpoint committed to that somebody else kept. The fifth level, *meaning*, is
`audit.meaning`'s. What a report did not reach it names.
"""

from __future__ import annotations

from collections import Counter, deque
from collections.abc import Callable, Iterable, Mapping, Sequence
from enum import Enum
from typing import TYPE_CHECKING, Final, NamedTuple

import attrs

from consentlib import codec
from consentlib.errors import FormatError, VerificationError
from consentlib.log import merkle
from consentlib.log.leaf import INDEX_LIMIT, base64, commitment, genesis, leaf_hash, split_leaf
from consentlib.log.meaning import Meaning
from consentlib.log.trust import Trust, read_key_added

if TYPE_CHECKING:
    from consentlib.log.checkpoint import Checkpoint

#: Kinds whose parts can never be erased: without them nobody could tell what was agreed to, or what was erased.
NEVER_ERASED: Final = frozenset({"policy.published", "text.published", "part.erased", "key.added", "log.recovered"})
_NEVER_ERASED: Final = frozenset(kind.encode() for kind in NEVER_ERASED)

_BATCH: Final = 1024  # leaf hashes held back, at most, to build the tree level by level


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


class Head(NamedTuple):
    """The newest state of a log: `tip` is the newest leaf's hash (the genesis if empty), `time` its recorded time."""

    size: int
    tip: bytes
    time: int
    frontier: bytes


@attrs.frozen
class Report:
    """What was verified, and in words what was not. `level` is the highest reached: `content`, `signature`, `history`
    or `meaning`.

    Times are milliseconds since the epoch, None for an empty log; `origin` and `tip` are None for an empty log whose
    origin nobody named. `erased` and `withheld` count parts. `signed_size` is how many entries the newest checkpoint
    covers, `held_size` the newest of those that somebody else kept; None without one. `led_to` are the keys that the log led to
    from pinned ones. `meaning` is what the recorded sends were worth, None where nobody asked.
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
    signed_size: int | None
    held_size: int | None
    led_to: tuple[str, ...] = ()
    meaning: Meaning | None = None
    shown: int | None = None
    """How many entries were there to verify, where that is a part of the log; None for a whole one."""

    @property
    def partial(self) -> bool:
        """Whether entries were left out or parts withheld, so that their content could not be checked."""
        return self.shown is not None or self.withheld > 0


def verify_entries(
    entries: Iterable[Entry],
    *,
    origin: str | None = None,
    head: Head | None = None,
    shipped: Sequence[Checkpoint] = (),
    checkpoints: Sequence[Checkpoint] = (),
    trust: Trust | None = None,
    progress: Callable[[int], None] | None = None,
) -> Report:
    """Verify a whole log, read once, from its first entry, up to the level that what is handed in allows.

    `origin` is the log it must be (default: whichever the first leaf names), `head` what the log must end with.
    `shipped` are the checkpoints that came with the log, of which the newest must cover all of it, and `checkpoints` those
    that the auditor holds from elsewhere. Without `trust` each must have been opened under a pinned key (`open_checkpoint`);
    with it they were claimed, and must count under its keys and those that the log leads to from there. Earlier shipped ones
    that don't are only compared with the log.
    `progress` is called with the number of entries read, after each 1,024 and at the end. Memory does not grow with
    the log, only with the number of its erased parts.

    Raises `VerificationError` at the first problem, with the bytes that show it as evidence: level `chain`, `content`,
    `signature` (a log or origin other than a shipped checkpoint's), or `history` (other than a held one's); the last two
    carry the checkpoint's text and signed note, its root, and the log's root at that size.
    """
    signed = _Checkpoints(shipped, checkpoints, trust)
    place = None if origin is None else origin.encode()
    link = None if origin is None else base64(genesis(origin))
    tip = None
    previous_leaf = b""
    first_time = last_time = None
    size = withheld = 0
    frontier = b""
    hashes: list[bytes] = []
    kinds: Counter[bytes] = Counter()
    gone = _Gone()
    stop = min(signed.compare(0, b""), _BATCH)

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
            signed.check_origin(place.decode())
        if claimed != size or index != size or found_origin != place or prev != link or t < last_time:
            problem = _broken_link(claimed, index, size, found_origin == place, prev == link)
            raise VerificationError(problem, level="chain", index=size, leaf=leaf, previous_leaf=previous_leaf)
        kinds[kind] += 1

        opened = 0
        for label, expected in committed:
            name = label.decode()
            part = parts.get(name)
            if part is None or part is LOST:  # lost is as good as gone: an erasure must be on record
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
        elif kind == b"key.added":
            signed.key_added(size, parts.get("facts"), place)

        last_time = t
        previous_leaf = leaf
        tip = leaf_hash(leaf)
        link = base64(tip)
        hashes.append(tip)
        size += 1
        if size == stop:
            frontier, _ = merkle.extend_many(frontier, size - len(hashes), hashes)
            hashes.clear()
            stop = min(signed.compare(size, frontier), size - size % _BATCH + _BATCH)
            if progress is not None and size % _BATCH == 0:
                progress(size)

    frontier, _ = merkle.extend_many(frontier, size - len(hashes), hashes)
    if progress is not None:
        progress(size)
    if tip is None:
        origin = signed.check_origin(origin)
        tip = None if origin is None else genesis(origin)
    if head is not None:
        _check_head(head, Head(size, tip or head.tip, last_time or 0, frontier))
    gone.check()
    root = merkle.frontier_root(frontier)
    signed.check_end(size, root)
    return Report(
        level=signed.level(size),
        origin=origin if place is None else place.decode(),
        size=size,
        root=root,
        tip=tip,
        first_time=first_time,
        last_time=last_time,
        entries_by_kind=tuple(sorted((kind.decode(), count) for kind, count in kinds.items())),
        erased=gone.count(),
        withheld=withheld,
        not_checked=_not_checked(head, withheld, size, signed),
        signed_size=signed.newest,
        held_size=signed.newest_held,
        led_to=() if trust is None else tuple(map(str, trust.led_to)),
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


def _not_checked(head: Head | None, withheld: int, size: int, signed: _Checkpoints) -> tuple[str, ...]:
    gaps = []
    if withheld:
        gaps.append(f"content: {withheld} parts are withheld, so their bytes were not compared with their commitments")
    if head is None and signed.newest != size:
        gaps.append("head: no stored head was compared, so entries may be missing from the end")
    if signed.newest is None:
        gaps.append("signature: no signed checkpoint was compared with the root")
    elif signed.newest < size:
        gaps.append(f"signature: the entries from {signed.newest} on are under no signed checkpoint")
    if signed.foreign:
        gaps.append(f"signature: {signed.foreign} earlier checkpoints that came with the log are signed by no key that counts")
    if signed.newest_held is None:
        gaps.append("history: no earlier checkpoint was compared, so the log may have been rewritten or cut")
    elif signed.newest_held < size:
        gaps.append(f"history: the entries from {signed.newest_held} on are newer than the checkpoints that were held")
    gaps.append("meaning: no rule was replayed, so a recorded send may have been unlawful")
    return tuple(gaps)


class _Checkpoints:
    """The checkpoints that the log must agree with, compared as the log grows to their sizes."""

    def __init__(self, shipped: Sequence[Checkpoint], held: Sequence[Checkpoint], trust: Trust | None) -> None:
        self._trust = trust
        both = [(one, "history") for one in held] + [(one, "signature") for one in shipped]
        self._left = deque(sorted(both, key=lambda one: one[0].size))
        self._all = tuple(self._left)
        self._held = held
        self._claimed = {one for one in held if trust is not None and not trust.opened(one)}
        self._agreed: list[Checkpoint] = []
        self._contradicted: list[tuple[str, Checkpoint, bytes]] = []
        self._shipped = max(shipped, key=lambda one: one.size, default=None)
        self.newest = max((one.size for one, _ in both), default=None)
        self.newest_held = max((one.size for one in held), default=None)
        self.foreign = 0

    def key_added(self, index: int, facts: Part, place: bytes) -> None:
        """Take note of what an entry says of the log's keys."""
        if self._trust is not None and isinstance(facts, tuple):
            added = read_key_added(index, facts[1], place.decode())
            if added is not None:
                self._trust.add(added)

    def check_origin(self, origin: str | None) -> str | None:
        """Raise unless all are of `origin`, or, where nobody named one, of one origin; gives it, where there is one."""
        for checkpoint, level in self._all:
            origin = checkpoint.origin if origin is None else origin
            if checkpoint.origin != origin:
                self._refuse_unknown(checkpoint)
                problem = f"expected a checkpoint of `{origin}`, found one of `{checkpoint.origin}`"
                raise _disagreement(problem, level, checkpoint, None)
        return origin

    def compare(self, size: int, frontier: bytes) -> int:
        """Compare the log, now of `size` entries, with the checkpoints of that size; gives the next size to compare at."""
        while self._left and self._left[0][0].size == size:
            checkpoint, level = self._left.popleft()
            root = merkle.frontier_root(frontier)
            if checkpoint.root == root:
                self._agreed.append(checkpoint)
                continue
            problem = f"expected the first `{size}` entries to have the root that was signed, found another"
            if checkpoint not in self._claimed:
                raise _disagreement(problem, level, checkpoint, root)
            self._contradicted.append((problem, checkpoint, root))
        return self._left[0][0].size if self._left else INDEX_LIMIT

    def check_end(self, size: int, root: bytes) -> None:
        """Raise if the log ended before a checkpoint's size, goes on after the newest shipped one, or one does not count."""
        for checkpoint, level in sorted(self._left, key=lambda one: one[1] != "history"):
            problem = f"expected at least `{checkpoint.size}` entries, as signed, found `{size}`"
            if checkpoint not in self._claimed:
                raise _disagreement(problem, level, checkpoint, root)
            self._contradicted.append((problem, checkpoint, root))
        if self._trust is not None:
            self._trust.follow(self._agreed)
        for problem, checkpoint, found in self._contradicted:
            self._refuse_unknown(checkpoint)
            raise _disagreement(problem, "history", checkpoint, found)
        if self._shipped is not None and self._shipped.size != size:
            problem = f"expected a checkpoint that covers all `{size}` entries, found one of `{self._shipped.size}`"
            raise _disagreement(problem, "signature", self._shipped, root)
        if self._trust is not None:
            self._count(self._trust)

    def _count(self, trust: Trust) -> None:
        """Leave out the earlier shipped ones that no key signed that counts; of the others each must be."""
        for checkpoint in (*self._held, *([] if self._shipped is None else [self._shipped])):
            if not trust.counts(checkpoint):
                trust.refuse(checkpoint)
        counted = [one.size for one, _ in self._all if trust.counts(one)]
        self.newest = max(counted, default=None)
        self.foreign = len(self._all) - len(counted)

    def _refuse_unknown(self, checkpoint: Checkpoint) -> None:
        """A checkpoint that is no known key's says nothing against the log."""
        if self._trust is not None and not self._trust.speaks(checkpoint):
            self._trust.refuse(checkpoint)

    def level(self, size: int) -> str:
        """The level that the comparisons reached; a checkpoint over nothing says nothing of a log that holds something."""
        if self.newest != size:
            return "content"
        return "history" if self.newest_held or self.newest_held == size else "signature"


def _disagreement(problem: str, level: str, checkpoint: Checkpoint, root: bytes | None) -> VerificationError:
    return VerificationError(
        problem,
        level=level,
        checkpoint=checkpoint.text(),
        note=checkpoint.note,
        signed_root=checkpoint.root,
        root=root,
    )


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
            named = named_parts(facts[1], index)
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


def named_parts(data: bytes, index: int) -> list[tuple[int, str]]:
    """The parts that an erasure at `index` names, from its facts: index and name. Raises `FormatError`."""
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
