"""Reading a zip that nobody vouches for: piecemeal, within limits, and with one error for whatever is wrong with it."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import IO, TYPE_CHECKING, Final

from consentlib.errors import ConsentlibError, FormatError
from consentlib.log import Entry, parse_line

if TYPE_CHECKING:
    from zipfile import ZipFile, ZipInfo

LONGEST_LINE: Final = 8_000_000
LONGEST_NOTE: Final = 1_000_000
"""Bytes, at most, of a line of entries and of a checkpoint."""

_CHUNK: Final = 1 << 18
_MOST_RATIO: Final = 1_000


@contextmanager
def opened_zip(path: Path) -> Iterator[ZipFile]:
    """A zip to read from. Raises `FormatError` where it is none, is damaged, or can't be read."""
    import zipfile

    with _reading():
        archive = zipfile.ZipFile(path)
    with archive:
        yield archive


@contextmanager
def _reading() -> Iterator[None]:
    """A block that does nothing but read a zip: what a caller's code raises must not pass for a damaged one."""
    import struct
    import zipfile
    import zlib

    try:
        yield
    except ConsentlibError:
        raise
    except (zipfile.BadZipFile, zlib.error, struct.error, EOFError, NotImplementedError, RuntimeError, ValueError, LookupError):
        raise FormatError("expected a whole zip file, found a damaged or foreign one") from None
    except OSError as error:
        raise FormatError(f"expected a readable export, found: {error.strerror or 'an unreadable file'}") from None


def is_zip(file: IO[bytes]) -> bool:
    """Whether a file is a zip, be it a damaged one: a file of another kind was never an export."""
    import zipfile

    return file.read(2) == b"PK" or zipfile.is_zipfile(file)


def read_member(archive: ZipFile, name: str, longest: int) -> bytes:
    """A file of a zip. Raises `FormatError` where there is none or it is longer."""
    try:
        info = archive.getinfo(name)
    except KeyError:
        raise FormatError(f"expected `{name}` in the zip, found none") from None
    if info.file_size > longest:
        raise FormatError(f"expected at most {longest} bytes in `{name}`, found more")
    with _reading(), _opened(archive, info) as file:
        return file.read()


@contextmanager
def opened_lines(archive: ZipFile, name: str) -> Iterator[Iterator[bytes]]:
    """The lines of a file of a zip, each with its end, which the last one may lack. Raises `FormatError`."""
    with _reading():
        file = _opened(archive, archive.getinfo(name))
    with file:
        yield _lines(file)


def _opened(archive: ZipFile, info: ZipInfo) -> IO[bytes]:
    """A file of a zip, neither encrypted nor packed beyond reason."""
    from zipfile import ZIP_DEFLATED, ZIP_STORED

    if info.flag_bits & 1 or info.compress_type not in (ZIP_STORED, ZIP_DEFLATED):
        raise FormatError("expected files stored or deflated in the zip, found another method")
    if info.file_size > _MOST_RATIO * max(info.compress_size, 1):
        raise FormatError("expected files packed by less than a thousand times, found more")
    return archive.open(info)


def parsed(lines: Iterable[bytes], start: int = 0) -> Iterator[Entry]:
    """The entries of lines, of which the first has the number `start` + 1. Raises `FormatError` with the line's number."""
    for number, line in enumerate(lines, start + 1):
        try:
            yield parse_line(line)
        except FormatError as error:
            raise FormatError(f"line {number}: {error}") from None


def _lines(file: IO[bytes]) -> Iterator[bytes]:
    """Read a chunk at a time: a zip's own `readline` takes as long as verifying what it reads."""
    number, rest, chunk = 0, b"", b"-"
    while chunk:
        with _reading():
            chunk = file.read(_CHUNK)
        *lines, rest = (rest + chunk).splitlines(keepends=True) or [b""]
        if rest and not chunk:
            lines.append(rest)
        for line in lines:
            number += 1
            if len(line) > LONGEST_LINE:
                raise _too_long(number)
            yield line
        if len(rest) > LONGEST_LINE:
            raise _too_long(number + 1)


def _too_long(number: int) -> FormatError:
    return FormatError(f"line {number}: expected at most {LONGEST_LINE} bytes, found more")
