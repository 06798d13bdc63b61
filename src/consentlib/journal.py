"""The stop journal: each stop and each erasure, kept before the log has it, where what restores the database can't reach.

A restored backup has forgotten the stops that came after it; a database that can't be written takes none. So each is first
a line here, durably, and only then an entry. A line that the log does not hold yet counts in every check.

A line names no address, only keyed forms of it, and holds nothing else that is personal:

    <SHA-256 of the JSON, 16 hex digits> <canonical JSON> LF
"""

from __future__ import annotations

import os
import re
import threading
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from hashlib import sha256
from pathlib import Path
from typing import Any, Final, NamedTuple, Protocol

from attrs import field, frozen

from consentlib import codec
from consentlib.errors import FormatError, StoreUnavailableError
from consentlib.files import append_lines, locked, write_durably

_HEADER: Final = b"consentlib.dev/stops/v1 "
_NUMBERS: Final = re.compile(_HEADER + rb"(\d{1,16}) (\d{1,16})\n").fullmatch
_LONGEST_HEADER: Final = 64
_SUM: Final = 16
_LATE: Final = 86_400_000
"""Milliseconds within which a line is an entry, if the log takes entries at all; amply."""


@frozen
class Line:
    """One line. `id` is what the log knows it by, `event` the keyed id and `digest` the keyed content of its event.

    `time` is when it came (ms). `keys` are the keyed addresses it is about, `stamp` is the first of them under the suppression
    key. `said` is the event as `type` and fields, without subject and what is personal, or an erasure (`part.erased`).
    """

    id: bytes
    event: bytes
    digest: bytes
    time: int
    keys: tuple[bytes, ...] = field(repr=False)
    stamp: bytes = field(repr=False)
    said: Mapping[str, Any]

    def format(self) -> bytes:
        """The bytes of the line, with its end."""
        row = {
            "id": self.id.hex(),
            "event": self.event.hex(),
            "digest": self.digest.hex(),
            "time": self.time,
            "keys": [key.hex() for key in self.keys],
            "stamp": self.stamp.hex(),
            "said": dict(self.said),
        }
        text = codec.encode(row)
        return b"%b %b\n" % (_check(text), text)

    @classmethod
    def parse(cls, data: bytes) -> Line:
        """Raises `FormatError` unless `format` gives `data` back exactly."""
        check, _, text = data.removesuffix(b"\n").partition(b" ")
        if check != _check(text):
            raise FormatError("expected a line of the stop journal as it was written, found a damaged one")
        row = codec.decode(text)
        try:
            id, event, digest, stamp = (bytes.fromhex(row[name]) for name in ("id", "event", "digest", "stamp"))
            line = cls(id, event, digest, row["time"], tuple(map(bytes.fromhex, row["keys"])), stamp, row["said"])
            typed = type(line.time) is int and isinstance(line.said["type"], str) and bool(line.keys)
            same = typed and line.format() == check + b" " + text + b"\n"
        except (KeyError, TypeError, ValueError, AttributeError):
            same = False
        if not same:
            raise FormatError("expected a line of version 1 of the stop journal, found another form")
        return line


def _check(text: bytes) -> bytes:
    return sha256(text).hexdigest()[:_SUM].encode()


class Position(NamedTuple):
    """How far a journal goes: `generation` changes as lines are taken out or it begins anew, `offset` grows."""

    generation: int
    offset: int


class StopJournal(Protocol):
    """Keeps lines, in order, apart from the database. Raises `StoreUnavailableError` where it can't, and for damaged lines.

    Threads and processes may share one. `FormatError` is never raised: a line that can't be read is a no that can't be read.
    """

    def begin(self, since: int = 0) -> None:
        """Make the journal, empty, unless it is there; `since` where one before it was lost."""
        ...

    def exists(self) -> bool: ...

    def since(self) -> int:
        """The time (ms) from which on it has every stop; 0 if no line was ever taken out or lost.

        A log restored to an earlier time has forgotten stops that this journal does not know either.
        """
        ...

    def token(self) -> object:
        """Equal as long as nothing changed. Every check asks for it, so it must be cheap."""
        ...

    def append(self, lines: Sequence[Line]) -> None:
        """Keep them durably before it returns. Where it raises some may be kept all the same: they count like any other."""
        ...

    def read(self, after: Position | None = None) -> tuple[list[Line], Position]:
        """The lines after a position, and where they end; all of them where it is no position in this journal any more."""
        ...

    def settled(self) -> Position | None:
        """Up to where all lines are in the log, as was last said."""
        ...

    def settle(self, position: Position) -> None:
        """Say so."""
        ...

    def prune(self, before: int) -> int:
        """Take out settled lines that came before a time (ms). Gives how many went."""
        ...


class MemoryJournal:
    """A journal that is gone with the process."""

    def __init__(self) -> None:
        self._lines: list[Line] = []
        self._generation = 0
        self._since = 0
        self._settled: Position | None = None
        self._changing = threading.Lock()

    def begin(self, since: int = 0) -> None:
        """There is always one."""

    def exists(self) -> bool:
        return True

    def since(self) -> int:
        return self._since

    def token(self) -> object:
        return self._generation, len(self._lines)

    def append(self, lines: Sequence[Line]) -> None:
        with self._changing:
            self._lines = [*self._lines, *lines]

    def read(self, after: Position | None = None) -> tuple[list[Line], Position]:
        lines, generation = self._lines, self._generation
        start = after.offset if after is not None and after.generation == generation else 0
        return lines[start:], Position(generation, len(lines))

    def settled(self) -> Position | None:
        return self._settled

    def settle(self, position: Position) -> None:
        self._settled = position

    def prune(self, before: int) -> int:
        with self._changing:
            end = self._settled.offset if self._settled and self._settled.generation == self._generation else 0
            gone = [line for line in self._lines[:end] if line.time < before]
            if gone:
                self._lines = [line for place, line in enumerate(self._lines) if place >= end or line.time >= before]
                self._generation += 1
                self._since = _since(self._since, gone)
                self._settled = Position(self._generation, end - len(gone))
            return len(gone)


class FileJournal:
    """A journal in a file of its own, which `cat` can show: a header with its generation and `since`, then the lines."""

    def __init__(self, path: Path) -> None:
        self.path = path
        self._lock = path.with_name(f"{path.name}.lock")
        self._mark = path.with_name(f"{path.name}.settled")

    def begin(self, since: int = 0) -> None:
        with _translated("make"), locked(self._lock):
            if not self.exists():
                # At random, so that no position in a journal that was here before means anything in this one.
                write_durably(self.path, _header(int.from_bytes(os.urandom(6), "big"), since))

    def exists(self) -> bool:
        with _translated("find"):
            return self.path.exists()

    def since(self) -> int:
        with _translated("read"), open(self.path, "rb") as file:
            return _numbers(file.readline(_LONGEST_HEADER))[1]

    def token(self) -> object:
        try:
            found = os.stat(self.path)
        except OSError as error:
            raise _unavailable("read", error) from error
        return found.st_ino, found.st_size, found.st_mtime_ns

    def append(self, lines: Sequence[Line]) -> None:
        data = b"".join([line.format() for line in lines])
        with _translated("write"), locked(self._lock):
            append_lines(self.path, data)

    def read(self, after: Position | None = None) -> tuple[list[Line], Position]:
        with _translated("read"), open(self.path, "rb") as file:
            header = file.readline(_LONGEST_HEADER)
            generation, _ = _numbers(header)
            start = len(header)
            # A file that ends before it was cut, or an older copy was put in its place.
            if after is not None and after.generation == generation and after.offset <= os.fstat(file.fileno()).st_size:
                start = max(start, after.offset)
            file.seek(start)
            data = file.read()
        data = data[: data.rfind(b"\n") + 1]  # the rest is being written, or was when the writer died
        return _parse(data, start), Position(generation, start + len(data))

    def settled(self) -> Position | None:
        try:
            generation, offset = map(int, self._mark.read_bytes().split())
        except (OSError, ValueError):
            return None  # then every line is looked up, which takes longer and finds the same
        return Position(generation, offset)

    def settle(self, position: Position) -> None:
        with _translated("write"):
            write_durably(self._mark, b"%d %d\n" % position)

    def prune(self, before: int) -> int:
        with _translated("write"), locked(self._lock):
            lines, end = self.read()
            settled = self.settled()
            known = self.read(settled)[0] if settled is not None and settled.generation == end.generation else lines
            done, waiting = lines[: len(lines) - len(known)], known
            gone = [line for line in done if line.time < before]
            if gone:
                header = _header(end.generation + 1, _since(self.since(), gone))
                kept = [line for line in done if line.time >= before]
                first, rest = (b"".join(line.format() for line in some) for some in (kept, waiting))
                write_durably(self.path, header + first + rest)
                write_durably(self._mark, b"%d %d\n" % (end.generation + 1, len(header + first)))
            return len(gone)


def _header(generation: int, since: int) -> bytes:
    return _HEADER + b"%d %d\n" % (generation, since)


def _numbers(header: bytes) -> tuple[int, int]:
    """The generation of a journal and its `since`."""
    found = _NUMBERS(header)
    if found is None:
        raise StoreUnavailableError("expected a stop journal of version 1, found another file")
    return int(found[1]), int(found[2])


def _since(before: int, gone: Sequence[Line]) -> int:
    return max(before, max(line.time for line in gone) + _LATE)


def _parse(data: bytes, start: int) -> list[Line]:
    lines, offset = [], start
    for text in data.splitlines(keepends=True):
        try:
            lines.append(Line.parse(text))
        except FormatError as error:
            raise StoreUnavailableError(f"{error}, at byte `{offset}`") from None
        offset += len(text)
    return lines


@contextmanager
def _translated(act: str) -> Iterator[None]:
    try:
        yield
    except OSError as error:
        raise _unavailable(act, error) from error


def _unavailable(act: str, error: OSError) -> StoreUnavailableError:
    return StoreUnavailableError(f"expected to {act} the stop journal, found: {error.strerror}")
