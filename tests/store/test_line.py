"""The line in which writers of several processes wait."""

from __future__ import annotations

import threading
import time
from pathlib import Path

import pytest

from consentlib.files import leave_line, stand_in_line
from consentlib.store import create_store
from consentlib.testing.store_contract import META, append


@pytest.fixture
def path(tmp_path: Path) -> Path:
    """A file to wait at."""
    path = tmp_path / "file"
    path.touch()
    return path


def test_first_come_first_served(path: Path) -> None:
    """Who came first gets the turn first, however many wait."""
    served: list[int] = []
    first = stand_in_line(path, 20)

    def wait(number: int) -> None:
        turn = stand_in_line(path, 20)
        served.append(number)
        leave_line(turn)

    waiters = [threading.Thread(target=wait, args=(number,)) for number in range(6)]
    for one in waiters:
        one.start()
        time.sleep(0.05)
    assert served == []
    leave_line(first)
    for one in waiters:
        one.join(20)
    assert served == [*range(6)]


def test_who_gave_up_holds_nobody_up(path: Path) -> None:
    """After the time one takes a chance without a turn; the turn that comes too late goes to the next at once."""
    first = stand_in_line(path, 20)
    assert stand_in_line(path, 0.05) is None
    leave_line(None)
    leave_line(first)
    start = time.monotonic()
    turn = stand_in_line(path, 20)
    assert turn is not None
    assert time.monotonic() - start < 5
    leave_line(turn)


def test_without_a_file(tmp_path: Path) -> None:
    """Where there is no file there is no line, and none is made."""
    assert stand_in_line(tmp_path / "none", 20) is None
    assert list(tmp_path.iterdir()) == []


def test_a_writer_stands_in_it(tmp_path: Path) -> None:
    """A write transaction waits for who holds the line, and lets go of it, also when it fails."""
    store = create_store(f"sqlite:///{tmp_path}/ledger.db", META)
    log = tmp_path / "ledger.db-wal"
    turn = stand_in_line(log, 20)
    threading.Timer(0.3, leave_line, (turn,)).start()
    start = time.monotonic()
    with store.write() as transaction:
        assert time.monotonic() - start > 0.2
        append(transaction)
        assert stand_in_line(log, 0.05) is None
    with pytest.raises(ValueError, match="on purpose"), store.write():
        raise ValueError("on purpose")
    turn = stand_in_line(log, 5)
    assert turn is not None
    leave_line(turn)
    store.close()
