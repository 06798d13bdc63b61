"""How fast the PostgreSQL store is, beside bare psycopg in the same run: `python tests/benchmarks/postgres.py [--quick]`.

Writers are processes, as the workers of a shop are. The bare transaction is the least that keeps a chain whole: lock a head's
row, insert one row, update the head, commit. Ours and the bare one take turns, so that a busy machine slows both. The server
flushes each commit to disk, as a shop's does.
"""

from __future__ import annotations

import argparse
import multiprocessing
import os
import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from concurrent.futures import ProcessPoolExecutor
from contextlib import closing
from itertools import count
from pathlib import Path
from statistics import median

import psycopg

sys.path.insert(0, str(Path(__file__).parents[1]))

from benchmarks.customers import POLICY, address, customers, signed_up
from benchmarks.run import SEND, USE, Row, in_turn, show
from consentlib import Ledger
from consentlib.addresses import address_key, normalise
from consentlib.events import ConsentWithdrawn, Event
from consentlib.keys import Keys
from consentlib.store.postgres import PostgresStore
from consentlib.store.protocol import Changes, NewEntry
from postgres_server import Server

WRITERS = 8
BATCH = 100
DATA = os.urandom(300)


def repeated(work: Callable[[], object], start: float, seconds: float) -> int:
    """How often `work` was done in these seconds, after it was done once before."""
    work()
    time.sleep(max(0.0, start - time.time()))
    done = 0
    while time.time() < start + seconds:
        work()
        done += 1
    return done


def bare(url: str, start: float, seconds: float) -> int:
    """Append one row a transaction; gives how many."""
    with psycopg.connect(url, autocommit=True) as conn:

        def append() -> None:
            with conn.transaction():
                [(size,)] = conn.execute("SELECT size FROM bare_head FOR UPDATE").fetchall()
                conn.execute("INSERT INTO bare VALUES (%s, %s)", (size, DATA))
                conn.execute("UPDATE bare_head SET size = %s", (size + 1,))

        return repeated(append, start, seconds)


def stored(url: str, start: float, seconds: float) -> int:
    """Append an entry that is ready, one a transaction, by the store alone; gives how many."""
    with closing(PostgresStore.open(url)) as store:
        return repeated(lambda: store_one(store, 1), start, seconds)


def granted(url: str, start: float, seconds: float) -> int:
    """Record a sign-up a transaction, with all that follows from it; gives how many."""
    return recorded(signed_up, url, start, seconds)


def stopped(url: str, start: float, seconds: float) -> int:
    """Record a withdrawal a transaction, which is flushed to the stop journal before; gives how many."""
    return recorded(lambda number: ConsentWithdrawn(address(number), limited=True), url, start, seconds)


def recorded(make: Callable[[int], Event], url: str, start: float, seconds: float) -> int:
    """Record an event of a person not known before, one a transaction; gives how many."""
    numbers = count(os.getpid() * 1_000_000)
    with Ledger.open(url) as ledger:
        return repeated(lambda: ledger.record(make(next(numbers))), start, seconds)


def store_one(store: PostgresStore, many: int) -> None:
    """A transaction that appends this many entries that are ready, each with two parts and an address it is about."""
    with store.write() as transaction:
        head = transaction.head()
        parts = {"facts": (DATA[:32], DATA), "person": (DATA[:32], DATA[:100])}
        entries = [
            NewEntry(index, 0, "consent.given", DATA, DATA[:32], parts, [f"{index % 1000:032}"])
            for index in range(head.size, head.size + many)
        ]
        transaction.apply(Changes(head._replace(size=head.size + many), entries))


def together(work: Callable[[str, float, float], int], url: str, seconds: float) -> float:
    """How many transactions a second the writers do together."""
    with ProcessPoolExecutor(WRITERS, multiprocessing.get_context("spawn")) as pool:
        list(pool.map(time.sleep, [0.5] * WRITERS))  # all have started
        start = time.time() + 3 * seconds / 4
        return sum(pool.map(work, [url] * WRITERS, [start] * WRITERS, [seconds] * WRITERS)) / seconds


def writers(server: Server, rounds: int, seconds: float) -> Iterator[Row]:
    """Single appends of several writers at once."""
    url, raw = server.database("writers"), server.database("bare")
    server.execute("CREATE TABLE bare_head AS SELECT 0::int8 AS size", dbname="bare")
    server.execute("CREATE TABLE bare (index int8 PRIMARY KEY, data bytea)", dbname="bare")
    Ledger.create(url, policy=POLICY).close()
    PostgresStore.create(f"{url}?ledger=stored", {"origin": "shop.example"}).close()
    works = {
        "an entry that is ready": (stored, f"{url}?ledger=stored"),
        "a sign-up, all read models": (granted, url),
        "a withdrawal, all read models and the journal": (stopped, url),
    }
    taken = [[together(bare, raw, seconds), *(together(*one, seconds) for one in works.values())] for _ in range(rounds)]
    raw_rate, *rates = map(median, zip(*taken, strict=True))
    for name, one in zip(works, rates, strict=True):
        shown = f"{raw_rate:,.0f}/s, ratio {one / raw_rate:.2f}"
        yield Row(f"{WRITERS} writers, {name}", f"{one:,.0f}/s", shown, ">= 0.60", one / raw_rate >= 0.6)


def batches(server: Server, rounds: int) -> Iterator[Row]:
    """Batches of one writer, beside a bare `INSERT` of as many rows."""
    url = server.database("batches")
    numbers = count()
    store = PostgresStore.create(f"{url}?ledger=stored", {"origin": "shop.example"})
    with Ledger.create(url, policy=POLICY) as ledger, psycopg.connect(url) as conn, closing(store):
        conn.execute("CREATE TABLE bare (data bytea)")

        def raw() -> None:
            conn.execute("INSERT INTO bare SELECT * FROM unnest(%s)", ([DATA] * BATCH,))
            conn.commit()

        def record() -> None:
            ledger.record_many(customers([next(numbers) for _ in range(BATCH // 3)]))

        raw_took, store_took, took = in_turn(rounds * 10, raw, lambda: store_one(store, BATCH), record)
    for name, one in (("entries", store_took), ("events, all read models", took)):
        rate = BATCH / one
        yield Row(f"batches of {BATCH}: {name}", f"{rate:,.0f}/s", f"{BATCH / raw_took:,.0f}/s", ">= 20,000/s", rate >= 20_000)


def checks(server: Server, rounds: int, each: int, size: int) -> Iterator[Row]:
    """A check from a raw address, beside a bare read of the row by its index."""
    url = server.database("checks")
    with Ledger.create(url, policy=POLICY) as ledger, psycopg.connect(url, autocommit=True) as conn:
        for start in range(0, size, BATCH):
            ledger.record_many(customers(range(start, start + BATCH)))
        server.execute("VACUUM ANALYZE", dbname="checks")
        asked = [address(number % size) for number in range(0, each * 7, 7)]
        secret = Keys.load(Path(os.environ["CONSENTLIB_KEYS"])).address
        keys = [address_key(secret, normalise(one)) for one in asked]

        def check() -> None:
            for one in asked:
                ledger.check(one, use=USE, message=SEND)

        def read() -> None:
            for key in keys:
                conn.execute(
                    "SELECT fold FROM consentlib.lives WHERE ledger = 1 AND key = %s", (key,), prepare=False
                ).fetchall()

        raw_took, took = in_turn(rounds, read, check)
    shown = f"{raw_took / each * 1e6:.0f} us to read the row, ratio {took / raw_took:.2f}"
    yield Row(f"check, {size * 3:,} entries", f"{took / each * 1e6:.0f} us", shown, "<= 2.00", took <= 2 * raw_took)


def run(version: int, rounds: int, seconds: float, each: int) -> Iterator[Row]:
    with tempfile.TemporaryDirectory() as name, Server(version, fsync="on").init() as server:
        server.start()
        os.environ["CONSENTLIB_CHECKPOINTS"] = name
        for part in (
            lambda: checks(server, rounds, each, each * 3),
            lambda: batches(server, rounds),
            lambda: writers(server, rounds, seconds),
        ):
            os.environ["CONSENTLIB_KEYS"] = f"{name}/keys"
            yield from part()
            Path(name, "keys").unlink()


def main() -> None:
    parser = argparse.ArgumentParser(description=(__doc__ or "").partition("\n")[0])
    parser.add_argument("--quick", action="store_true", help="tiny sizes: whether it runs, not how fast")
    parser.add_argument("--server", type=int, default=18, help="version of the server (16 or 18)")
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--json", action="store_true", help="one object a line")
    chosen = parser.parse_args()
    rows = run(chosen.server, 1, 0.2, 20) if chosen.quick else run(chosen.server, chosen.rounds, 2.0, 1_000)
    show(rows, as_json=chosen.json)


if __name__ == "__main__":
    main()
