"""Attack 12: two writers fork the head. The store lets one in at a time; a fork made by force breaks the chain."""

import multiprocessing
import sqlite3
from concurrent.futures import ThreadPoolExecutor

import pytest

from consentlib import Ledger
from consentlib.errors import VerificationError
from shop import Shop


def write(url: str, name: str) -> None:
    """Ten stops, one transaction each."""
    with Ledger.open(url) as ledger:
        for number in range(10):
            ledger.withdraw(f"{name}-{number}@example.dk", limited=True)


def test_writers_at_once(shop: Shop) -> None:
    """Processes and threads that append at once make one chain, with every entry of each."""
    spawn = multiprocessing.get_context("spawn")
    processes = [spawn.Process(target=write, args=(shop.url, f"p{number}")) for number in range(2)]
    for process in processes:
        process.start()
    with ThreadPoolExecutor(4) as pool:
        list(pool.map(lambda number: shop.ledger.withdraw(f"t{number}@example.dk", limited=True), range(20)))
    for process in processes:
        process.join()
        assert process.exitcode == 0
    assert shop.ledger.verify().size == 1 + 40


def test_second_successor(shop: Shop) -> None:
    """An index is taken once, also with the guards dropped; the other branch in its place is not what the log goes on from."""
    shop.sign_up("anna@example.dk")
    [(time, kind, leaf, tip)] = shop.look("SELECT time, kind, leaf, hash FROM consentlib_entries WHERE idx = 1")
    with pytest.raises(sqlite3.IntegrityError):
        shop.steal("INSERT INTO consentlib_entries VALUES (1, ?, ?, ?, ?)", values=(time, kind, leaf, tip))
    other = leaf.replace("\nfacts ", "\nfakts ")
    shop.steal("UPDATE consentlib_entries SET leaf = ? WHERE idx = 1", values=(other,))
    with pytest.raises(VerificationError) as caught:
        shop.ledger.verify()
    assert caught.value.evidence["leaf"]
