"""Verifying a store or an exported file: reading entries piecemeal and handing them to the pure verifier."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import IO, TYPE_CHECKING, Final

from consentlib.errors import FormatError, VerificationError
from consentlib.log import Entry, Head, Report, parse_line, verify_entries
from consentlib.log.checkpoint import Checkpoint
from consentlib.log.note import Verifier
from consentlib.log.trust import Trust
from consentlib.signing import verify
from consentlib.store.protocol import View

if TYPE_CHECKING:
    from zipfile import ZipFile

_LONGEST_LINE: Final = 8_000_000
_MOST_RATIO: Final = 1_000
LONGEST_NOTE: Final = 100_000


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
) -> Report:
    """Chain and content of everything a view shows, that its head agrees, and that the columns beside each leaf do.

    With a `shipped` checkpoint of the whole, opened under a pinned key, also the signature; with `checkpoints` that an auditor
    holds besides, also that each is a prefix (level *history*): opened likewise, or signed notes for `verifiers` to judge. With
    `meaning` the rules are replayed over what the log holds (not over what the view keeps beside it). `each` as in
    `verify_file`.
    """
    if meaning:
        return _with_meaning(
            lambda see: verify_view(
                view, origin, shipped=shipped, verifiers=verifiers, checkpoints=checkpoints, each=see, progress=progress
            ),
            each,
        )
    head = view.head()
    found = Head(head.size, head.tip, head.time, head.frontier)
    trust, held = _claimed(verifiers, checkpoints, opened=shipped)
    try:
        entries = _beside(view) if each is None else _handed(_beside(view), each)
        return verify_entries(
            entries, origin=origin, head=found, shipped=shipped, checkpoints=held, trust=trust, progress=progress
        )
    except (TypeError, ValueError, AttributeError) as error:
        # A value of another type than any writer stores: the rows were edited, and badly.
        raise VerificationError(
            f"expected rows that can be read, found one that can't: `{type(error).__name__}`", level="content"
        ) from error


def _beside(view: View) -> Iterator[Entry]:
    """The entries, each compared with the time and kind that are stored in clear beside it."""
    for entry, (_, time, kind) in zip(view.entries(), view.kinds(), strict=True):
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
) -> Report:
    """An exported zip, up to the level that what is handed in allows; memory does not grow with the log.

    `verifiers` are the pinned keys that its checkpoints must be signed under, or that the log must lead on from (none:
    signatures are not looked at, and the level is *content*). `checkpoints` are those the auditor holds: signed notes, which
    are judged by the same keys, or opened ones. `each` is handed every entry that is in order by itself; what it gathered
    counts only once all of the log has verified. With `meaning` the rules are replayed over every recorded send; without a
    ground it is a finding in the report, no error. Raises `VerificationError` or `FormatError`.
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
        shipped = [] if trust is None else _shipped(archive, names, trust)
        with opened_lines(archive, "log.ndjson") as lines:
            entries = lines if each is None else _handed(lines, each)
            return verify_entries(entries, origin=origin, shipped=shipped, checkpoints=held, trust=trust, progress=progress)


@contextmanager
def opened_zip(path: Path) -> Iterator[ZipFile]:
    """A zip to read from. Raises `FormatError` where it is none, is damaged, or can't be read, also later in the block."""
    import zipfile
    import zlib

    try:
        with zipfile.ZipFile(path) as archive:
            yield archive
    except (zipfile.BadZipFile, zlib.error, EOFError, NotImplementedError, RuntimeError):
        raise FormatError("expected a whole zip file, found a damaged or foreign one") from None
    except OSError as error:
        raise FormatError(f"expected a readable export, found: {error.strerror or 'an unreadable file'}") from None


def read_member(archive: ZipFile, name: str, longest: int) -> bytes:
    """A file of a zip. Raises `FormatError` where there is none or it is longer."""
    try:
        info = archive.getinfo(name)
    except KeyError:
        raise FormatError(f"expected `{name}` in the zip, found none") from None
    if info.file_size > longest:
        raise FormatError(f"expected at most {longest} bytes in `{name}`, found more")
    return archive.read(info)


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


def _handed(entries: Iterator[Entry], each: Callable[[Entry], None]) -> Iterator[Entry]:
    """The entries, each handed over once the verifier asks for the next: it has verified this one by then."""
    for entry in entries:
        yield entry
        each(entry)


def _claimed(
    verifiers: Sequence[Verifier], checkpoints: Sequence[Checkpoint | bytes], opened: Sequence[Checkpoint] = ()
) -> tuple[Trust | None, list[Checkpoint]]:
    """What the pinned keys say of the checkpoints that an auditor holds; no trust without a key."""
    done = [one for one in checkpoints if isinstance(one, Checkpoint)]
    notes = [one for one in checkpoints if isinstance(one, bytes)]
    if not verifiers:
        if notes:
            raise VerificationError("expected a verifier key for the checkpoints, found none", level="signature")
        return None, done
    trust = Trust(verifiers, verify, opened=[*opened, *done])
    for one in done:
        if one.note:
            trust.claim(one.note)
    return trust, [*done, *map(trust.claim, notes)]


def _shipped(archive: ZipFile, names: Sequence[str], trust: Trust) -> list[Checkpoint]:
    """The checkpoints that came with the log, the one of the whole first; an export without that one is unsigned."""
    if "checkpoint" not in names:
        raise VerificationError("expected a signed export, found one without a checkpoint", level="signature")
    found = []
    for name in ("checkpoint", *(one for one in names if one.startswith("checkpoints/"))):
        found.append(trust.claim(read_member(archive, name, LONGEST_NOTE)))
    return found


@contextmanager
def opened_lines(archive: ZipFile, name: str) -> Iterator[Iterator[Entry]]:
    """The entries in a file of a zip, one a line. Raises `FormatError` with the line's number."""
    info = archive.getinfo(name)
    if info.file_size > _MOST_RATIO * max(info.compress_size, 1):
        raise FormatError("expected a log packed by less than a thousand times, found more")
    with archive.open(info) as file:
        yield _lines(file)


def _lines(file: IO[bytes]) -> Iterator[Entry]:
    number = 0
    while line := file.readline(_LONGEST_LINE + 1):
        number += 1
        if len(line) > _LONGEST_LINE:
            raise FormatError(f"line {number}: expected at most {_LONGEST_LINE} bytes, found more")
        try:
            yield parse_line(line)
        except FormatError as error:
            raise FormatError(f"line {number}: {error}") from None
