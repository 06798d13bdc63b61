"""Trouble: processes killed, disks full, files read-only, threads and forks."""

import os
import signal
import sqlite3
import subprocess
import sys
import threading
import time
from contextlib import closing
from pathlib import Path

import pytest

from consentlib.errors import StoreUnavailableError
from consentlib.events import OrderPlaced
from shop import Shop

ANN = "ann@example.dk"

WRITER = """
import sys
from consentlib import Ledger
ledger = Ledger.open(sys.argv[1])
number = 0
while True:
    ledger.withdraw(f"p{number}@example.dk", limited=True)
    print(number, flush=True)
    number += 1
"""


def test_kill_in_the_middle(shop: Shop) -> None:
    """A process killed while it appends leaves a whole log that holds everything it was answered for."""
    with subprocess.Popen([sys.executable, "-c", WRITER, shop.url], stdout=subprocess.PIPE, text=True) as process:
        assert process.stdout is not None
        while (line := process.stdout.readline()) and int(line) < 30:
            pass
        process.send_signal(signal.SIGKILL)
        answered = max(int(line) for line in (process.stdout.read().split() or ["30"]))
    shop.clock.now = time.time_ns() // 1_000_000
    size = shop.ledger.verify(read_models=True).size
    assert answered + 2 <= size <= answered + 3
    assert shop.ledger.history(f"p{answered}@example.dk")
    assert shop.ledger.withdraw(ANN).index == size


def test_full_disk(shop: Shop) -> None:
    """A transaction that does not fit is one clear error, and leaves nothing; what was there still answers."""
    shop.sign_up(ANN)
    with shop.ledger._store.read() as view:
        conn = view._conn  # type: ignore[attr-defined]
    [(pages,)] = conn.execute("PRAGMA page_count").fetchall()
    conn.execute(f"PRAGMA max_page_count = {pages}").fetchall()
    size = shop.newsletter(ANN).size
    with pytest.raises(StoreUnavailableError, match="FULL"):
        shop.ledger.record_many([OrderPlaced(f"p{n}@example.dk", order="o1") for n in range(500)])
    assert shop.newsletter(ANN).size == size
    conn.execute("PRAGMA max_page_count = 1000000").fetchall()
    assert shop.ledger.record(OrderPlaced(ANN, order="o1")).index == size
    shop.ledger.verify(read_models=True)


def test_read_only(shop: Shop) -> None:
    """A database that can't be written answers checks and refuses records, with one clear error."""
    shop.sign_up(ANN)
    with shop.ledger._store.read() as view:
        conn = view._conn  # type: ignore[attr-defined]
    conn.execute("PRAGMA query_only = ON").fetchall()
    with pytest.raises(StoreUnavailableError) as caught:
        shop.ledger.record(OrderPlaced(ANN, order="o1"))
    assert "\n" not in str(caught.value)
    assert shop.newsletter(ANN)
    conn.execute("PRAGMA query_only = OFF").fetchall()
    shop.ledger.record(OrderPlaced(ANN, order="o1"))


def test_lost_table(shop: Shop) -> None:
    """A table that is gone denies as unavailable."""
    shop.sign_up(ANN)
    with closing(sqlite3.connect(shop.path)) as thief:
        thief.execute("DROP TABLE consentlib_lives")
    assert shop.newsletter(ANN).reason == "ledger_unavailable"


def test_threads(shop: Shop) -> None:
    """Threads share a ledger: every record is there once, checks go on meanwhile, and who withdrew is never allowed after."""
    people = [f"p{number}@example.dk" for number in range(12)]
    for one in people:
        shop.sign_up(one)
    wrong: list[str] = []

    def leave(mine: list[str]) -> None:
        for one in mine:
            shop.ledger.withdraw(one)
            if shop.newsletter(one):
                wrong.append(one)

    threads = [threading.Thread(target=leave, args=(people[start::3],)) for start in range(3)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert wrong == []
    assert shop.ledger.verify(read_models=True).size == 1 + 12 * 4


def test_fork(shop: Shop) -> None:
    """A child goes on with the parent's ledger, and both see what the other recorded."""
    shop.sign_up(ANN)
    child = os.fork()
    if child == 0:
        try:
            shop.ledger.withdraw(ANN)
            os._exit(0 if not shop.newsletter(ANN) else 3)
        finally:
            os._exit(4)
    _, status = os.waitpid(child, 0)
    assert os.waitstatus_to_exitcode(status) == 0
    assert not shop.newsletter(ANN)
    shop.ledger.record(OrderPlaced(ANN, order="o1"))
    shop.ledger.verify(read_models=True)


def test_no_half_written_export(shop: Shop, tmp_path: Path) -> None:
    """An export that can't be written is one clear error, and leaves no file."""
    with pytest.raises(StoreUnavailableError):
        shop.ledger.export(tmp_path / "none" / "audit.zip")
    (tmp_path / "taken").mkdir()
    with pytest.raises(StoreUnavailableError):
        shop.ledger.export(tmp_path / "taken")
    assert not [path for path in tmp_path.iterdir() if path.suffix == ".part"]
