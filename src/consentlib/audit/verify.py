"""Verifying a store or an exported file: reading entries piecemeal and handing them to the pure verifier."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Sequence
from functools import partial
from itertools import islice
from pathlib import Path
from typing import IO, TYPE_CHECKING, Final

from consentlib.audit.sharing import share
from consentlib.errors import FormatError, InputError, VerificationError
from consentlib.log import Entry, Head, Report, parse_line
from consentlib.log.checkpoint import Checkpoint, open_checkpoint
from consentlib.log.note import Verifier
from consentlib.log.span import Span, check_span
from consentlib.log.verify import not_empty, span_ranges, verify_spans
from consentlib.signing import verify
from consentlib.store.protocol import Head as StoredHead
from consentlib.store.protocol import Store, View

if TYPE_CHECKING:
    from zipfile import ZipFile

_Range = tuple[int, int]  # start, stop

_LONGEST_LINE: Final = 8_000_000
_CHUNK: Final = 1 << 18
_MOST_RATIO: Final = 1_000
_LONGEST_NOTE: Final = 100_000


def verify_view(
    view: View,
    origin: str,
    *,
    shipped: Sequence[Checkpoint] = (),
    checkpoints: Sequence[Checkpoint] = (),
    progress: Callable[[int], None] | None = None,
    store: Store | None = None,
    processes: int = 1,
) -> Report:
    """Chain and content of everything a view shows, that its head agrees, and that the columns beside each leaf do.

    With a `shipped` checkpoint of the whole, also the signature; with `checkpoints` that an auditor holds besides, also that
    each is a prefix (level *history*). All were opened under a pinned key. More than one of `processes` needs the `store`,
    opened anew in each; see `share`. Raises `InputError` for a store that can't be.
    """
    if processes > 1 and store is None:
        raise InputError("expected the store that the other processes should open, found none")
    head = view.head()
    both = [*shipped, *checkpoints]
    here = partial(_check_range, view)
    work, begin = (_check_elsewhere, _open_elsewhere) if processes > 1 else (here, None)
    with share(work, span_ranges(both), processes, begin=begin, arguments=(store, head)) as spans:
        return verify_spans(
            _until_end(head.size, span_ranges(both), spans, here),
            origin=origin,
            head=Head(head.size, head.tip, head.time, head.frontier),
            shipped=shipped,
            checkpoints=checkpoints,
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


def _check_range(view: View, reach: _Range) -> Span:
    start, stop = reach
    return check_span(_beside(view, start, stop), start)


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
    checkpoints: Sequence[Checkpoint] = (),
    each: Callable[[Entry], None] | None = None,
    progress: Callable[[int], None] | None = None,
    processes: int = 1,
) -> Report:
    """An exported zip, up to the level that what is handed in allows; memory does not grow with the log.

    `verifiers` are the pinned keys that its checkpoints must be signed under (none: signatures are not looked at, and the level
    is *content*), `checkpoints` those the auditor holds. `each` is handed every entry that is in order by
    itself; what it gathered counts only once all of the log has verified. `processes` share the work (see `share`), unless
    there is an `each`. Raises `VerificationError` or `FormatError`.
    """
    import zipfile
    import zlib

    try:
        with zipfile.ZipFile(path) as archive:
            names = archive.namelist()
            if names.count("log.ndjson") != 1 or len(set(names)) != len(names):
                raise FormatError("expected one `log.ndjson` in the export and each name once, found otherwise")
            info = archive.getinfo("log.ndjson")
            if info.file_size > _MOST_RATIO * max(info.compress_size, 1):
                raise FormatError("expected a log packed by less than a thousand times, found more")
            shipped = _shipped(archive, names, verifiers)
            work = _check_lines if each is None else partial(_check_lines, each=each)
            with archive.open(info) as file:
                pieces = _pieces(_lines(file), span_ranges([*shipped, *checkpoints]))
                with share(work, pieces, processes if each is None else 1) as spans:
                    return verify_spans(spans, origin=origin, shipped=shipped, checkpoints=checkpoints, progress=progress)
    except (zipfile.BadZipFile, zlib.error, EOFError, NotImplementedError, RuntimeError):
        raise FormatError("expected a whole zip file, found a damaged or foreign one") from None
    except OSError as error:
        raise FormatError(f"expected a readable export, found: {error.strerror or 'an unreadable file'}") from None


def _check_lines(piece: tuple[int, list[bytes]], each: Callable[[Entry], None] | None = None) -> Span:
    start, lines = piece
    entries = _parsed(start, lines)
    return check_span(entries if each is None else _handed(entries, each), start)


def _parsed(start: int, lines: list[bytes]) -> Iterator[Entry]:
    for number, line in enumerate(lines, start + 1):
        try:
            yield parse_line(line)
        except FormatError as error:
            raise FormatError(f"line {number}: {error}") from None


def _handed(entries: Iterator[Entry], each: Callable[[Entry], None]) -> Iterator[Entry]:
    """The entries, each handed over once the verifier asks for the next: it has verified this one by then."""
    for entry in entries:
        yield entry
        each(entry)


def _shipped(archive: ZipFile, names: Sequence[str], verifiers: Sequence[Verifier]) -> list[Checkpoint]:
    """The checkpoints that came with the log, opened under the pinned keys; an export without one is unsigned."""
    if not verifiers:
        return []
    if "checkpoint" not in names:
        raise VerificationError("expected a signed export, found one without a checkpoint", level="signature")
    found = []
    for name in ("checkpoint", *(one for one in names if one.startswith("checkpoints/"))):
        if archive.getinfo(name).file_size > _LONGEST_NOTE:
            raise FormatError(f"expected at most {_LONGEST_NOTE} bytes in `{name}`, found more")
        found.append(open_checkpoint(archive.read(name), verifiers, verify))
    return found


def _pieces(lines: Iterator[bytes], ranges: Iterable[tuple[int, int]]) -> Iterator[tuple[int, list[bytes]]]:
    """The lines of each range with their first index; in several pieces where they are long, as all of a piece is in memory."""
    for start, stop in ranges:
        while start < stop:
            piece: list[bytes] = []
            room = _LONGEST_LINE
            for line in islice(lines, stop - start):
                piece.append(line)
                room -= len(line)
                if room < 0:
                    break
            if not piece:
                return
            yield start, piece
            start += len(piece)


def _lines(file: IO[bytes]) -> Iterator[bytes]:
    """The lines without their ends, read a chunk at a time: a zip's own `readline` takes as long as verifying what it reads."""
    number, rest, chunk = 0, b"", b"-"
    while chunk:
        chunk = file.read(_CHUNK)
        *lines, rest = (rest + chunk).split(b"\n")
        if rest and not chunk:
            lines.append(rest)
        for line in lines:
            number += 1
            if len(line) > _LONGEST_LINE:
                raise _too_long(number)
            yield line
        if len(rest) > _LONGEST_LINE:
            raise _too_long(number + 1)


def _too_long(number: int) -> FormatError:
    return FormatError(f"line {number}: expected at most {_LONGEST_LINE} bytes, found more")
