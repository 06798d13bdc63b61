"""Four levels of verification: *chain*, *content*, *signature* and *history*.

Chain: every leaf parses, names its index, its log and its predecessor's hash, and recorded times never fall. Content:
every part opens its commitment, nothing is there that no leaf commits to, and what is gone was erased on record.
Signature: a checkpoint under a pinned key, or one that the log leads to from there, covers exactly the whole log. History: so
does the log begin with what every checkpoint committed to that somebody else kept. The fifth level, *meaning*, is
`audit.meaning`'s. What a report did not reach it names.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Callable, Iterable, Iterator, Sequence
from itertools import islice, takewhile
from typing import TYPE_CHECKING, Final, NamedTuple

import attrs

from consentlib.errors import VerificationError
from consentlib.log import merkle
from consentlib.log.leaf import INDEX_LIMIT, genesis
from consentlib.log.meaning import Meaning
from consentlib.log.span import Entry, Part, Span, check_link, check_span, content_problem
from consentlib.log.tally import Tally
from consentlib.log.trust import KeyAdded, Trust

if TYPE_CHECKING:
    from consentlib.log.checkpoint import Checkpoint

_BATCH: Final = 1024  # entries of a span, at most, and between calls of `progress`


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
    origin nobody named. `entries_by_kind` tells the first 200 kinds apart and counts others under `…`. `erased` and `withheld`
    count parts. `signed_size` is how many entries the newest checkpoint covers, `held_size` the newest of those that somebody
    else kept; None without one. `led_to` are the keys that the log led to from pinned ones. `meaning` is what the recorded
    sends were worth, None where nobody asked.
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
    reading = iter(entries)
    ranges = span_ranges([*shipped, *checkpoints])
    spans = (check_span(islice(reading, stop - start), start) for start, stop in ranges)
    return verify_spans(
        takewhile(not_empty, spans),
        origin=origin,
        head=head,
        shipped=shipped,
        checkpoints=checkpoints,
        trust=trust,
        progress=progress,
    )


def span_ranges(checkpoints: Iterable[Checkpoint], start: int = 0) -> Iterator[tuple[int, int]]:
    """Where to cut a log into spans, without end: no span goes across the size of a checkpoint, or is longer than 1,024."""
    for size in sorted({one.size for one in checkpoints if one.size > start} | {INDEX_LIMIT}):
        while start < size:
            stop = min(size, start - start % _BATCH + _BATCH)
            yield start, stop
            start = stop


def not_empty(span: Span) -> bool:
    """Whether there was anything to say of a span: with the first of which there is not, the log ends."""
    return span.size > 0 or span.problem is not None


def verify_spans(
    spans: Iterable[Span],
    *,
    origin: str | None = None,
    head: Head | None = None,
    shipped: Sequence[Checkpoint] = (),
    checkpoints: Sequence[Checkpoint] = (),
    beside: Sequence[Checkpoint] = (),
    trust: Trust | None = None,
    progress: Callable[[int], None] | None = None,
) -> Report:
    """`verify_entries` of a log that was cut into spans by `span_ranges`, each of which `check_span` has looked at by itself.

    The log must agree with what is `beside` it too, signed by whomever; no level is reached by that.

    Whoever did that, here all is looked at that one span does not show: that each follows on the one before it, that what is
    gone in one was erased by another, the roots, the end.
    """
    signed = _Checkpoints(shipped, checkpoints, beside, trust)
    whole = _Whole(origin)
    signed.compare(0, b"")
    for span in spans:
        if span.first is not None and whole.size == 0:
            signed.check_origin(origin or span.origin)
        whole.join(span)
        signed.add_keys(span.keys)
        signed.compare(whole.size, whole.frontier)
        if progress is not None and span.size and whole.size % _BATCH == 0:
            progress(whole.size)
    if progress is not None:
        progress(whole.size)
    origin, size, tip = whole.origin, whole.size, whole.tip
    if not size:
        origin = signed.check_origin(origin)
        tip = None if origin is None else genesis(origin)
    if head is not None:
        _check_head(head, Head(size, tip or head.tip, whole.time, whole.frontier))
    whole.gone.check()
    root = merkle.frontier_root(whole.frontier)
    signed.check_end(size, root)
    return Report(
        level=signed.level(size),
        origin=origin,
        size=size,
        root=root,
        tip=tip,
        first_time=whole.first_time if size else None,
        last_time=whole.time if size else None,
        entries_by_kind=tuple(sorted(whole.kinds.items())),
        erased=whole.gone.count(),
        withheld=whole.withheld,
        not_checked=_not_checked(head, whole.withheld, size, signed),
        signed_size=signed.newest,
        held_size=signed.newest_held,
        led_to=() if trust is None else tuple(map(str, trust.led_to)),
    )


class _Whole:
    """What the spans joined so far amount to, from the first entry on."""

    def __init__(self, origin: str | None) -> None:
        self.origin = origin
        self.size = self.first_time = self.time = self.withheld = 0
        self.tip = None if origin is None else genesis(origin)
        self.last_leaf = b""
        self.frontier = b""
        self.kinds = Tally()
        self.gone = _Gone()

    def join(self, span: Span) -> None:
        """Raise what is wrong between the span and what was before it, or else within it, whichever comes first."""
        if span.first is not None:
            claimed, leaf = span.first
            if self.origin is None or self.tip is None:
                self.origin = span.origin
                self.tip = genesis(span.origin)
            check_link(claimed, leaf, self.size, self.origin, self.tip, self.time, self.last_leaf)
        for (index, name), leaf in span.gone.items():
            self.gone.found(index, name, leaf)
        for erasure in span.erasures:
            self.gone.recorded(*erasure)
        if span.problem is not None:
            raise span.problem
        if not span.size:
            return
        if not self.size:
            self.first_time = span.first_time
        for _, position, value in span.nodes:
            self.frontier, _ = merkle.extend(self.frontier, position, value)
        self.size += span.size
        self.withheld += span.withheld
        for kind, count in span.kinds.items():
            self.kinds.add(kind.decode(), count)
        self.tip, self.time, self.last_leaf = span.tip, span.time, span.last_leaf


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

    def __init__(
        self, shipped: Sequence[Checkpoint], held: Sequence[Checkpoint], beside: Sequence[Checkpoint], trust: Trust | None
    ) -> None:
        self._trust = trust
        both = [(one, "history") for one in held] + [(one, "signature") for one in shipped]
        every = [*both, *[(one, "signature") for one in beside]]
        self._left = deque(sorted(every, key=lambda one: one[0].size))
        self._all = tuple(self._left)
        self._held = held
        self._claimed = {one for one in held if trust is not None and not trust.opened(one)}
        self._agreed: list[Checkpoint] = []
        self._contradicted: list[tuple[str, Checkpoint, bytes]] = []
        self._shipped = max(shipped, key=lambda one: one.size, default=None)
        self.newest = max((one.size for one, _ in both), default=None)
        self.newest_held = max((one.size for one in held), default=None)
        self.foreign = 0

    def add_keys(self, added: Iterable[KeyAdded]) -> None:
        """Take note of what the log says of its keys."""
        if self._trust is not None:
            for one in added:
                self._trust.add(one)

    def check_origin(self, origin: str | None) -> str | None:
        """Raise unless all are of `origin`, or, where nobody named one, of one origin; gives it, where there is one."""
        for checkpoint, level in self._all:
            origin = checkpoint.origin if origin is None else origin
            if checkpoint.origin != origin:
                self._refuse_unknown(checkpoint)
                problem = f"expected a checkpoint of `{origin}`, found one of `{checkpoint.origin}`"
                raise _disagreement(problem, level, checkpoint, None)
        return origin

    def compare(self, size: int, frontier: bytes) -> None:
        """Compare the log, now of `size` entries, with the checkpoints of that size."""
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

    def found(self, index: int, name: str, leaf: bytes) -> None:
        """Note that a committed part is absent."""
        self._leaves[index, name] = leaf

    def recorded(self, index: int, leaf: bytes, facts: Part, named: Iterable[tuple[int, str]]) -> None:
        """Note what an erasure entry names: each must be a part of an earlier entry, and not be there."""
        for at, name in named:
            if (at, name) not in self._leaves:
                problem = f"expected part `{name}` of entry `{at}` to be gone as recorded, found it there or never committed"
                raise content_problem(problem, index, leaf, facts)
            self._leaves[at, name] = None

    def check(self) -> None:
        """Raise unless an erasure is on record for every part that is gone."""
        for (index, name), leaf in self._leaves.items():
            if leaf is not None:
                raise content_problem(f"expected part `{name}` or a record of its erasure, found neither", index, leaf, None)

    def count(self) -> int:
        return len(self._leaves)
