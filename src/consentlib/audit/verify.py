"""Verifying a store or an exported file: reading entries piecemeal and handing them to the pure verifier."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from functools import partial
from hashlib import sha256
from itertools import islice
from pathlib import Path
from typing import TYPE_CHECKING, Final

from consentlib.audit.reading import LONGEST_LINE, LONGEST_NOTE, opened_lines, opened_zip, parsed, read_member
from consentlib.audit.sharing import share
from consentlib.errors import FormatError, InputError, VerificationError
from consentlib.log import Entry, Head, Report
from consentlib.log.checkpoint import Checkpoint, parse_checkpoint
from consentlib.log.note import Verifier, restore_lines
from consentlib.log.span import Span, check_span
from consentlib.log.trust import Trust
from consentlib.log.verify import not_empty, span_ranges, verify_spans
from consentlib.signing import verify
from consentlib.store.protocol import Head as StoredHead
from consentlib.store.protocol import Store, View

if TYPE_CHECKING:
    from zipfile import ZipFile

_MOST_CHECKPOINTS: Final = 100_000

_Range = tuple[int, int]  # start, stop
_Each = Callable[[Entry], None]


def verify_view(
    view: View,
    origin: str,
    *,
    shipped: Sequence[Checkpoint] = (),
    verifiers: Sequence[Verifier] = (),
    checkpoints: Sequence[Checkpoint | bytes] = (),
    meaning: bool = False,
    each: Callable[[Entry], None] | None = None,
    progress: Callable[[int], None] | None = None,
    store: Store | None = None,
    processes: int = 1,
) -> Report:
    """Chain and content of everything a view shows, that its head agrees, and that the columns beside each leaf do.

    With a `shipped` checkpoint of the whole, opened under a pinned key, also the signature; with `checkpoints` that an auditor
    holds besides, also that each is a prefix (level *history*): opened likewise, or signed notes for `verifiers` to judge. With
    `meaning` the rules are replayed over what the log holds (not over what the view keeps beside it). `each` and `processes` as
    in `verify_file`; more than one process needs the `store`, opened anew in each. Raises `InputError` for a store that can't
    be.
    """
    if meaning:
        return _with_meaning(
            lambda see: verify_view(
                view, origin, shipped=shipped, verifiers=verifiers, checkpoints=checkpoints, each=see, progress=progress
            ),
            each,
        )
    if processes > 1 and store is None:
        raise InputError("expected the store that the other processes should open, found none")
    shared = processes > 1 and each is None
    head = view.head()
    trust, held = _claimed(verifiers, checkpoints, opened=shipped)
    ranges = [*shipped, *held]
    here = partial(_check_range, view, each=each)
    work, begin = (_check_elsewhere, _open_elsewhere) if shared else (here, None)
    with share(work, span_ranges(ranges), processes if shared else 1, begin=begin, arguments=(store, head)) as spans:
        return verify_spans(
            _until_end(head.size, span_ranges(ranges), spans, here),
            origin=origin,
            head=Head(head.size, head.tip, head.time, head.frontier),
            shipped=shipped,
            checkpoints=held,
            trust=trust,
            progress=progress,
        )


def _until_end(
    size: int, ranges: Iterable[_Range], spans: Iterable[Span | None], here: Callable[[_Range], Span]
) -> Iterator[Span]:
    """The spans, checked here where another process could not, up to the first that is beyond `size` and empty."""
    for reach, found in zip(ranges, spans, strict=False):
        span = here(reach) if found is None else found
        if reach[0] >= size and not not_empty(span):
            return
        yield span


def _check_range(view: View, reach: _Range, each: _Each | None = None) -> Span:
    start, stop = reach
    return _checked(_beside(view, start, stop), start, each)


_elsewhere: View | None = None
"""In a process that shares the work: its own view; None if that shows another moment than the verifier's, and is of no use."""


def _open_elsewhere(store: Store, head: StoredHead) -> None:
    global _elsewhere
    view = store.read().__enter__()  # open for as long as the process lives
    _elsewhere = view if view.head() == head else None


def _check_elsewhere(reach: _Range) -> Span | None:
    return None if _elsewhere is None else _check_range(_elsewhere, reach)


def _beside(view: View, start: int, stop: int) -> Iterator[Entry]:
    """The entries, each compared with the time and kind that are stored in clear beside it."""
    for entry, (_, time, kind) in zip(view.entries(start, stop), view.kinds(start, stop), strict=True):
        yield entry
        # The verifier has parsed the leaf by now, or it would not ask for the next: its lines need no second look.
        _, _, _, _, stated_time, stated_kind, _ = entry.leaf.split(b"\n", 6)
        if b"%d" % time != stated_time or kind.encode() != stated_kind:
            raise VerificationError(
                f"entry {entry.index}: expected the time and kind of the leaf beside it, found others",
                level="content",
                index=entry.index,
                leaf=entry.leaf,
            )


def verify_file(
    path: Path,
    *,
    origin: str | None = None,
    verifiers: Sequence[Verifier] = (),
    checkpoints: Sequence[Checkpoint | bytes] = (),
    meaning: bool = False,
    each: Callable[[Entry], None] | None = None,
    progress: Callable[[int], None] | None = None,
    processes: int = 1,
) -> Report:
    """An exported zip, up to the level that what is handed in allows; memory does not grow with the log.

    `verifiers` are the pinned keys that its checkpoints must be signed under, or that the log must lead on from (none: roots
    are compared, signatures are not looked at, and the level is *content*). `checkpoints` are those the auditor holds: signed
    notes, which are judged by the same keys, or opened ones; for line ends see `restore_lines`. `each` is handed every entry
    that is in order by itself; what it gathered counts only once all of the log has verified. With `meaning` the rules are
    replayed over every recorded send; without a ground it is a finding in the report, no error. `processes` share the work (see
    `share`), unless there is an `each` or `meaning`, which need the entries in their order. Raises `VerificationError` or
    `FormatError`.
    """
    if meaning:
        return _with_meaning(
            lambda see: verify_file(
                path, origin=origin, verifiers=verifiers, checkpoints=checkpoints, each=see, progress=progress
            ),
            each,
        )
    with opened_zip(path) as archive:
        names = archive.namelist()
        if "disclosure.ndjson" in names:
            raise FormatError("expected a whole log, found a disclosure, which is a part of one")
        if names.count("log.ndjson") != 1 or len(set(names)) != len(names):
            raise FormatError("expected one `log.ndjson` in the export and each name once, found otherwise")
        trust, held = _claimed(verifiers, checkpoints)
        own, earlier = _shipped(archive, names, parse_checkpoint if trust is None else trust.claim)
        if trust is not None and own is None:
            raise VerificationError("expected a signed export, found one without a checkpoint", level="signature")
        both = [*([] if own is None else [own]), *earlier]
        shipped, beside = (both, []) if trust is not None else ([], both)
        work = partial(_check_lines, each=each)
        with opened_lines(archive, "log.ndjson") as lines:
            pieces = _pieces(lines, span_ranges([*both, *held]))
            with share(work, pieces, processes if each is None else 1) as spans:
                policies: dict[int, bytes] = {}
                report = verify_spans(
                    _gathering(spans, policies),
                    origin=origin,
                    shipped=shipped,
                    checkpoints=held,
                    beside=beside,
                    trust=trust,
                    progress=progress,
                )
        if own is not None and own.size != report.size:
            problem = f"expected a checkpoint that covers all `{report.size}` entries, found one of `{own.size}`"
            raise VerificationError(problem, level="signature", checkpoint=own.text(), note=own.note)
        _check_policies(archive, names, policies)
        return report


def _gathering(spans: Iterable[Span], policies: dict[int, bytes]) -> Iterator[Span]:
    for span in spans:
        policies.update(span.policies)
        yield span


def _check_policies(archive: ZipFile, names: Iterable[str], policies: Mapping[int, bytes]) -> None:
    """The policies beside the log, where a person reads them, are those that it holds; nothing else calls itself one."""
    held = {f"policy/{index}.json": digest for index, digest in policies.items()}
    beside = {name for name in names if "policy" in name.lower() and name != "policy/"}
    for name in sorted(beside | held.keys()):
        if name not in held:
            problem = f"expected only policies that entries of the log hold, found the file {ascii(name)[:80]}"
            raise VerificationError(problem, level="content")
        if sha256(read_member(archive, name, LONGEST_LINE)).digest() != held[name]:
            problem = f"expected in `{name}` the policy that this entry of the log holds, found other bytes"
            raise VerificationError(problem, level="content")


def _pieces(lines: Iterator[bytes], ranges: Iterable[tuple[int, int]]) -> Iterator[tuple[int, list[bytes]]]:
    """The lines of each range with their first index; in several pieces where they are long, as all of a piece is in memory."""
    for start, stop in ranges:
        while start < stop:
            piece: list[bytes] = []
            room = LONGEST_LINE
            for line in islice(lines, stop - start):
                piece.append(line)
                room -= len(line)
                if room < 0:
                    break
            if not piece:
                return
            yield start, piece
            start += len(piece)


def _check_lines(piece: tuple[int, list[bytes]], each: _Each | None = None) -> Span:
    start, lines = piece
    return _checked(parsed(lines, start), start, each)


def _checked(entries: Iterator[Entry], start: int, each: _Each | None) -> Span:
    """The span of entries, those of them that are in order handed over."""
    if each is None:
        return check_span(entries, start)
    drawn: list[Entry] = []
    span = check_span(_noted(entries, drawn), start)
    for entry in drawn[: span.size]:
        each(entry)
    return span


def _noted(entries: Iterator[Entry], drawn: list[Entry]) -> Iterator[Entry]:
    for entry in entries:
        drawn.append(entry)
        yield entry


def _with_meaning(verify: Callable[[Callable[[Entry], None]], Report], each: Callable[[Entry], None] | None) -> Report:
    """A verification that judges the sends on its way, and hands each entry to `each` too."""
    from consentlib.audit.meaning import verify_meaning

    def handing(see: Callable[[Entry], None]) -> Report:
        def both(entry: Entry) -> None:
            see(entry)
            if each is not None:
                each(entry)

        return verify(both)

    return verify_meaning(handing)


def _claimed(
    verifiers: Sequence[Verifier], checkpoints: Sequence[Checkpoint | bytes], opened: Sequence[Checkpoint] = ()
) -> tuple[Trust | None, list[Checkpoint]]:
    """What the pinned keys say of the checkpoints that an auditor holds; no trust without a key."""
    done = [one for one in checkpoints if isinstance(one, Checkpoint)]
    notes = [restore_lines(one) for one in checkpoints if isinstance(one, bytes)]
    if not verifiers:
        if notes:
            raise VerificationError("expected a verifier key for the checkpoints, found none", level="signature")
        return None, done
    trust = Trust(verifiers, verify, opened=[*opened, *done])
    for one in done:
        if one.note:
            trust.claim(one.note)
    return trust, [*done, *map(trust.claim, notes)]


def _shipped(
    archive: ZipFile, names: Sequence[str], read: Callable[[bytes], Checkpoint]
) -> tuple[Checkpoint | None, list[Checkpoint]]:
    """The checkpoints that came with the log: that of the whole, without which an export is unsigned, and those before it,
    each named by its size."""
    own = read(read_member(archive, "checkpoint", LONGEST_NOTE)) if "checkpoint" in names else None
    earlier = [name for name in names if name.startswith("checkpoints/") and name != "checkpoints/"]
    if len(earlier) > _MOST_CHECKPOINTS:
        raise FormatError(f"expected at most {_MOST_CHECKPOINTS} checkpoints, found more")
    found = [read(read_member(archive, name, LONGEST_NOTE)) for name in earlier]
    if earlier != [f"checkpoints/{one.size}" for one in found]:
        raise FormatError("expected the files in `checkpoints/` to be named by the sizes they cover, found another name")
    return own, found
