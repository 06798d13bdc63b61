"""Files that are there as a whole or not at all, locks among processes, and lines that are appended."""

from __future__ import annotations

import os
import threading
import time
from pathlib import Path

import pytest

from consentlib.files import append_lines, locked


def test_a_lock_is_not_waited_for_without_end(tmp_path: Path) -> None:
    """Who waits longer than he wants to is told, as by the operating system, and is not in the way of the next one."""
    path = tmp_path / "lock"
    with locked(path):
        start = time.monotonic()
        with pytest.raises(TimeoutError, match="another holds"), locked(path, seconds=0.05):
            pass
        assert time.monotonic() - start < 10
    with locked(path, seconds=5):
        pass


def test_a_lock_keeps_out_threads(tmp_path: Path) -> None:
    """Threads of one process exclude each other as processes do."""
    inside, most = 0, 0

    def work() -> None:
        nonlocal inside, most
        with locked(tmp_path / "lock"):
            inside += 1
            most = max(most, inside)
            time.sleep(0.01)
            inside -= 1

    threads = [threading.Thread(target=work) for _ in range(4)]
    for one in threads:
        one.start()
    for one in threads:
        one.join()
    assert most == 1


def test_a_child_does_not_let_go_of_the_lock(tmp_path: Path) -> None:
    """A child that was forked inside the block and leaves it does not open it for others."""
    path = tmp_path / "lock"
    manager = locked(path)
    with manager:
        child = os.fork()
        if child == 0:
            try:
                manager.__exit__(None, None, None)
            finally:
                os._exit(0)
        os.waitpid(child, 0)
        with pytest.raises(TimeoutError), locked(path, seconds=0.05):
            pass


def test_lines_are_appended_after_the_last_whole_one(tmp_path: Path) -> None:
    """What a crash left of a line gives way, however long it is; whole lines stay."""
    path = tmp_path / "lines"
    for torn in (b"", b"torn", b"x" * 200_000):
        path.write_bytes(b"first\nsecond\n" + torn)
        append_lines(path, b"third\nfourth\n")
        assert path.read_bytes() == b"first\nsecond\nthird\nfourth\n"


def test_no_lines_to_append_to(tmp_path: Path) -> None:
    """A file without its first line, or none at all, is not begun by appending."""
    path = tmp_path / "lines"
    with pytest.raises(OSError, match="No such file"):
        append_lines(path, b"line\n")
    path.write_bytes(b"torn")
    with pytest.raises(OSError, match="no whole line"):
        append_lines(path, b"line\n")
    assert path.read_bytes() == b"torn"
