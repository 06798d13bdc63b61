"""Files that are there as a whole or not at all, and locks among processes."""

from __future__ import annotations

import errno
import os
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Final

_BLOCK: Final = 65536


def write_durably(path: Path, data: bytes) -> None:
    """Durably and all at once, for its owner alone: a new file, flushed, in the place of the old; then the folder."""
    aside = path.with_name(f"{path.name}.{os.getpid()}-{threading.get_ident()}.new")
    descriptor = os.open(aside, os.O_WRONLY | os.O_CREAT | os.O_TRUNC, 0o600)
    try:
        try:
            write_all(descriptor, data)
            os.fsync(descriptor)
        finally:
            os.close(descriptor)
        os.replace(aside, path)
    except BaseException:
        aside.unlink()  # it may hold half of a key
        raise
    folder = os.open(path.parent, os.O_RDONLY)
    try:
        os.fsync(folder)
    finally:
        os.close(folder)


def append_lines(path: Path, lines: bytes) -> None:
    """Append durably, over what a crash left of a line that was never answered for. One process at a time may do this.

    Where it fails, whole lines stay: somebody may have read them, and knows his place by them. The file must have one.
    """
    descriptor = os.open(path, os.O_RDWR)
    try:
        end = _whole_end(descriptor)
        os.ftruncate(descriptor, end)
        os.lseek(descriptor, end, os.SEEK_SET)
        write_all(descriptor, lines)
        os.fsync(descriptor)
    finally:
        os.close(descriptor)


def _whole_end(descriptor: int) -> int:
    """Where the last whole line ends."""
    end = os.lseek(descriptor, 0, os.SEEK_END)
    while end:
        start = max(0, end - _BLOCK)
        found = os.pread(descriptor, end - start, start).rfind(b"\n")
        if found >= 0:
            return start + found + 1
        end = start
    raise OSError(errno.ENODATA, "no whole line")


def write_all(descriptor: int, data: bytes) -> None:
    """Write every byte; a nearly full disk takes some and says so only when asked again."""
    while data:
        data = data[os.write(descriptor, data) :]


@contextmanager
def locked(path: Path, flags: int = os.O_RDWR | os.O_CREAT, *, seconds: float = 30) -> Iterator[None]:
    """Hold a lock among threads and processes, on a file made for it or, opened for reading, a folder.

    Who dies lets go of it, a child forked meanwhile does not. Raises `TimeoutError` after so many seconds of waiting, and
    `OSError` where there is no such file.
    """
    import fcntl

    descriptor, process = os.open(path, flags, 0o600), os.getpid()
    try:
        if not _lock(descriptor, seconds):
            raise TimeoutError(errno.ETIMEDOUT, "a lock that another holds")
        try:
            yield
        finally:
            if os.getpid() == process:
                fcntl.flock(descriptor, fcntl.LOCK_UN)  # a child forked meanwhile has the descriptor too, and would hold on
    finally:
        os.close(descriptor)


def stand_in_line(path: Path, seconds: float) -> int | None:
    """Wait for one's turn at a file among processes, first come, first served; gives what `leave_line` takes.

    None after so many seconds, or where the file is not there or can't be locked: then who comes takes a chance.
    """
    try:
        descriptor = os.open(path, os.O_RDONLY)
    except OSError:
        return None
    try:
        if _lock(descriptor, seconds):
            return descriptor
    except (ImportError, OSError):
        pass
    os.close(descriptor)  # which lets go of the lock, should it still come
    return None


def _lock(descriptor: int, seconds: float) -> bool:
    """Lock an open file; False after so many seconds."""
    import fcntl

    held = threading.Event()

    def wait() -> None:
        fcntl.flock(descriptor, fcntl.LOCK_EX)
        held.set()

    try:
        fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        threading.Thread(target=wait, daemon=True).start()  # the system's wait knows no end of its own
        return held.wait(seconds)
    return True


def leave_line(descriptor: int | None) -> None:
    """Let the next one in."""
    if descriptor is not None:
        import fcntl

        fcntl.flock(descriptor, fcntl.LOCK_UN)  # as in `locked`
        os.close(descriptor)
