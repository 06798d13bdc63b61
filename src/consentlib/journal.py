"""The stop journal: each stop and each erasure, kept before the log has it, where what restores the database can't reach.

A restored backup has forgotten the stops that came after it; a database that can't be written takes none. So each is first
a line here, durably, and only then an entry. A line that the log does not hold yet counts in every check.

A line names no address, only keyed forms of it, and holds nothing else that is personal:

    <SHA-256 of the JSON, 16 hex digits> <canonical JSON> LF
"""

from __future__ import annotations

import os
import threading
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from hashlib import sha256
from pathlib import Path
from typing import Any, Final, NamedTuple, Protocol

from attrs import field, frozen

from consentlib import codec
from consentlib.errors import FormatError, StoreUnavailableError
from consentlib.files import locked, write_all, write_durably

_HEADER: Final = b"consentlib.dev/stops/v1 "
_SUM: Final = 16
_BLOCK: Final = 65_536


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
            same = isinstance(line.said["type"], str) and bool(line.keys) and line.format() == check + b" " + text + b"\n"
        except (KeyError, TypeError, ValueError, AttributeError):
            same = False
        if not same:
            raise FormatError("expected a line of version 1 of the stop journal, found another form")
        return line


def _check(text: bytes) -> bytes:
    return sha256(text).hexdigest()[:_SUM].encode()


class Position(NamedTuple):
    """How far a journal goes: `generation` changes when lines were taken out of it, `offset` grows with each line."""

    generation: int
    offset: int


class StopJournal(Protocol):
    """Keeps lines, in order, apart from the database. Raises `StoreUnavailableError` where it can't, and for damaged lines.

    Threads and processes may share one. `FormatError` is never raised: a line that can't be read is a no that can't be read.
    """

    def begin(self) -> None:
        """Make the journal, empty, unless it is there."""
        ...

    def exists(self) -> bool: ...

    def token(self) -> object:
        """Equal as long as nothing changed. Every check asks for it, so it must be cheap."""
        ...

    def append(self, lines: Sequence[Line]) -> None:
        """Keep them durably, all or none, before it returns."""
        ...

    def read(self, after: Position | None = None) -> tuple[list[Line], Position]:
        """The lines after a position, and where they end; all of them where lines were taken out since."""
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
        self._settled: Position | None = None
        self._changing = threading.Lock()

    def begin(self) -> None:
        """There is always one."""

    def exists(self) -> bool:
        return True

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
            kept = [line for place, line in enumerate(self._lines) if place >= end or line.time >= before]
            gone = len(self._lines) - len(kept)
            if gone:
                self._lines, self._generation = kept, self._generation + 1
                self._settled = Position(self._generation, end - gone)
            return gone


class FileJournal:
    """A journal in a file of its own, which `cat` can show: a header that counts its generations, then the lines."""

    def __init__(self, path: Path) -> None:
        self.path = path
        self._lock = path.with_name(f"{path.name}.lock")
        self._mark = path.with_name(f"{path.name}.settled")

    def begin(self) -> None:
        with _translated("make"), locked(self._lock):
            if not self.exists():
                write_durably(self.path, _HEADER + b"0\n")

    def exists(self) -> bool:
        return self.path.exists()

    def token(self) -> object:
        try:
            found = os.stat(self.path)
        except OSError as error:
            raise _unavailable("read", error) from error
        return found.st_ino, found.st_size, found.st_mtime_ns

    def append(self, lines: Sequence[Line]) -> None:
        data = b"".join([line.format() for line in lines])
        with _translated("write"), locked(self._lock):
            descriptor = os.open(self.path, os.O_RDWR)
            try:
                end = _whole_end(descriptor)
                os.ftruncate(descriptor, end)  # what a crash left of a line was never answered for
                os.lseek(descriptor, end, os.SEEK_SET)
                try:
                    write_all(descriptor, data)
                    os.fsync(descriptor)
                except OSError:
                    os.ftruncate(descriptor, end)
                    raise
            finally:
                os.close(descriptor)

    def read(self, after: Position | None = None) -> tuple[list[Line], Position]:
        with _translated("read"), open(self.path, "rb") as file:
            header = file.readline(64)
            generation = _generation(header)
            start = len(header)
            if after is not None and after.generation == generation:
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
            kept = [line for line in done if line.time >= before]
            if len(kept) < len(done):
                header = _HEADER + b"%d\n" % (end.generation + 1)
                first, rest = (b"".join(line.format() for line in some) for some in (kept, waiting))
                write_durably(self.path, header + first + rest)
                write_durably(self._mark, b"%d %d\n" % (end.generation + 1, len(header + first)))
            return len(done) - len(kept)


def _whole_end(descriptor: int) -> int:
    """Where the last whole line ends."""
    end = os.lseek(descriptor, 0, os.SEEK_END)
    while end:
        start = max(0, end - _BLOCK)
        found = os.pread(descriptor, end - start, start).rfind(b"\n")
        if found >= 0:
            return start + found + 1
        end = start
    raise StoreUnavailableError("expected a stop journal with its header, found an empty file")


def _generation(header: bytes) -> int:
    number = header.removeprefix(_HEADER).removesuffix(b"\n")
    if header != _HEADER + number + b"\n" or not number.isdigit():
        raise StoreUnavailableError("expected a stop journal of version 1, found another file")
    return int(number)


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
