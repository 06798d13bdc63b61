"""How fast the hot paths are, beside the raw operation in the same run: `python tests/benchmarks/run.py [--quick]`.

Each figure is the median of several rounds, and ours and the raw one take turns, so that a busy machine slows both. Durable
rates depend on the disk's fsync and are upper bounds; the ratios are what lasts. Sizes are options, because a ledger of a
million entries takes minutes to build: `--entries 1000000`.
"""

from __future__ import annotations

import argparse
import json
import os
import sqlite3
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterable, Iterator
from contextlib import closing
from itertools import count
from pathlib import Path
from statistics import median
from typing import NamedTuple

import consentlib
from consentlib import Ledger, Message, load_policy
from consentlib.addresses import address_key, normalise
from consentlib.events import ConsentConfirmed, ConsentGiven, Event, Evidence, OrderPlaced
from consentlib.fold import Fold
from consentlib.keys import Keys
from consentlib.rules import Holdings, Request, Texts, judge

POLICY = load_policy(Path(consentlib.__file__).with_name("policy") / "littlesteps.toml")
SEND = Message(marketing=True, unsubscribe=True, sender_identified=True)
USE = "marketing_newsletter"
BATCH = 1_000


class Row(NamedTuple):
    """A line of the table: what was measured, the raw operation beside it, the target and whether it was reached."""

    name: str
    value: str
    raw: str
    target: str
    reached: bool | None


def timed(work: Callable[[], object]) -> float:
    """Seconds that `work` takes."""
    start = time.perf_counter()
    work()
    return time.perf_counter() - start


def in_turn(rounds: int, *works: Callable[[], object]) -> list[float]:
    """The median seconds of each, measured in turns."""
    taken = [[timed(work) for work in works] for _ in range(rounds)]
    return [median(column) for column in zip(*taken, strict=True)]


def address(number: int) -> str:
    return f"customer-{number}@example.dk"


def signed_up(number: int) -> ConsentGiven:
    evidence = Evidence(ip="192.0.2.7", user_agent="Mozilla/5.0 (X11; Linux x86_64)")
    return ConsentGiven(address(number), form="footer", evidence=evidence)


def customers(numbers: Iterable[int]) -> Iterator[Event]:
    """What a shop records of each customer: a sign-up, its confirmation, an order."""
    for number in numbers:
        yield signed_up(number)
        yield ConsentConfirmed(address(number))
        yield OrderPlaced(address(number), order=f"o-{number}", product_category="baby", optout_offered=True)


def build(folder: Path, entries: int) -> Ledger:
    """A ledger of about this many entries, three a customer."""
    ledger = Ledger.create(f"sqlite:///{folder}/{entries}.db", policy=POLICY)
    for start in range(0, entries // 3, BATCH):
        ledger.record_many(customers(range(start, min(start + BATCH, entries // 3))))
    return ledger


def raw_database(path: Path) -> sqlite3.Connection:
    raw = sqlite3.connect(path, isolation_level=None)
    raw.execute("PRAGMA journal_mode = WAL").fetchall()
    raw.execute("PRAGMA synchronous = FULL")
    raw.execute("CREATE TABLE log (idx INTEGER PRIMARY KEY, data BLOB)")
    return raw


def appends(folder: Path, rounds: int, each: int) -> Iterator[Row]:
    """Single durable appends, and batches of a thousand, of events with addresses that are new and ones that are not."""
    data = os.urandom(300)
    numbers = count()
    with (
        Ledger.create(f"sqlite:///{folder}/append.db", policy=POLICY) as ledger,
        Ledger.create(f"sqlite:///{folder}/sealed.db", policy=POLICY, sealed=True) as sealed,
        closing(raw_database(folder / "raw.db")) as raw,
    ):

        def raw_single() -> None:
            for _ in range(each):
                raw.execute("BEGIN IMMEDIATE")
                raw.execute("INSERT INTO log (data) VALUES (?)", (data,))
                raw.execute("COMMIT")

        def raw_batch() -> None:
            raw.execute("BEGIN IMMEDIATE")
            raw.executemany("INSERT INTO log (data) VALUES (?)", [(data,)] * BATCH)
            raw.execute("COMMIT")

        def single() -> None:
            done = 0
            while done < each:
                for event in customers([next(numbers)]):
                    ledger.record(event)
                    done += 1

        def batch() -> None:
            ledger.record_many(customers([next(numbers) for _ in range(BATCH // 3)]))

        def batch_of_new() -> None:
            ledger.record_many(signed_up(next(numbers)) for _ in range(BATCH))

        def batch_sealed() -> None:
            sealed.record_many(signed_up(next(numbers)) for _ in range(BATCH))

        raw_took, took = in_turn(rounds, raw_single, single)
        ratio = raw_took / took
        yield Row(
            "single durable append",
            f"{took / each * 1e6:,.0f} us, {each / took:,.0f}/s",
            f"{raw_took / each * 1e6:,.0f} us, ratio {ratio:.2f}",
            ">= 0.45",
            ratio >= 0.45,
        )
        raw_took, took, new, hidden = in_turn(rounds, raw_batch, batch, batch_of_new, batch_sealed)
        for name, seconds in (("sign-up, confirmation, order", took), ("sign-ups only", new)):
            rate = BATCH / seconds
            yield Row(
                f"batches of 1,000: {name}", f"{rate:,.0f}/s", f"{BATCH / raw_took:,.0f}/s", ">= 25,000/s", rate >= 25_000
            )
        shown = f"{BATCH / new:,.0f}/s in clear, ratio {new / hidden:.2f}"
        yield Row("batches of 1,000: sign-ups only, sealed", f"{BATCH / hidden:,.0f}/s", shown, "", None)


def checks(folder: Path, rounds: int, each: int, sizes: list[int]) -> Iterator[Row]:
    """A check from a raw address; and what SQLite alone takes to read the row."""
    for size in sizes:
        with build(folder, size) as ledger, closing(sqlite3.connect(folder / f"{size}.db")) as raw:
            step = max(1, size // 3 // each)
            asked = [address(number) for number in range(0, size // 3, step)][:each]
            secret = Keys.load(folder / f"{size}.db.keys").address
            keys = [address_key(secret, normalise(one)) for one in asked]

            def check(ledger: Ledger = ledger, asked: list[str] = asked) -> None:
                for one in asked:
                    ledger.check(one, use=USE, message=SEND)

            def read(raw: sqlite3.Connection = raw, keys: list[bytes] = keys) -> None:
                for key in keys:
                    raw.execute("SELECT fold FROM consentlib_lives WHERE key = ?", (key,)).fetchall()

            raw_took, took = in_turn(rounds, read, check)
            each_took = took / len(asked) * 1e6
            yield Row(
                f"check, {size:,} entries",
                f"{each_took:.1f} us",
                f"{raw_took / len(asked) * 1e6:.1f} us to read the row",
                "<= 15 us",
                each_took <= 15,
            )


def judging(rounds: int, each: int) -> Iterator[Row]:
    """The rules alone, from a fold that was read."""
    with Ledger.create("memory:", policy=POLICY, keys=(keys := Keys.generate())) as ledger:
        ledger.record_many(customers([1]))
        head, (life,) = ledger._store.lookup(address_key(keys.address, normalise(address(1))))
    texts = Texts()
    texts.add_policy(POLICY, 0)
    held = Holdings(Fold.load(life.fold), size=head.size, tip=head.tip)
    request = Request(USE, "email", normalise(address(1)), POLICY.controller, head.time + 1, message=SEND)
    assert judge(POLICY, texts, held, request).allowed

    def work() -> None:
        for _ in range(each):
            judge(POLICY, texts, held, request)

    [took] = in_turn(rounds, work)
    yield Row("judge from a fold", f"{took / each * 1e6:.1f} us", "", "<= 5 us", took / each <= 5e-6)


def whole_log(folder: Path, rounds: int, sizes: list[int]) -> Iterator[Row]:
    """Verifying and exporting, and the memory of both at two sizes."""
    size = sizes[-1]
    with Ledger.open(f"sqlite:///{folder}/{size}.db") as ledger, closing(sqlite3.connect(folder / f"{size}.db")) as raw:
        entries = raw.execute("SELECT count(*) FROM consentlib_entries").fetchone()[0]

        def read() -> None:
            for table in ("entries", "parts"):
                for _ in raw.execute(f"SELECT * FROM consentlib_{table}"):
                    pass

        raw_took, verified, exported = in_turn(rounds, read, ledger.verify, lambda: ledger.export(folder / "export.zip"))
        rate = entries / verified
        raw_rate = f"{entries / raw_took:,.0f}/s to read the rows"
        yield Row(f"verify chain and content, {entries:,} entries", f"{rate:,.0f}/s", raw_rate, ">= 120,000/s", rate >= 120_000)
        yield Row(f"export, {entries:,} entries", f"{entries / exported:,.0f}/s", raw_rate, "", None)
    for name in ("verify", "export"):
        peaks = [peak(name, folder, one) for one in sizes]
        more = (peaks[-1] - peaks[0]) / 1024
        shown = " and ".join(f"{one / 1024:.0f} MB" for one in peaks)
        yield Row(f"memory of {name}, {sizes[0]:,} and {size:,} entries", shown, "", "constant", more < 24)


def replaying(folder: Path, rounds: int, people: int) -> Iterator[Row]:
    """Judging recorded sends anew: what *meaning* adds to verifying, where everybody got ten letters."""
    with Ledger.create(f"sqlite:///{folder}/sent.db", policy=POLICY) as ledger:
        ledger.record_many(signed_up(number) for number in range(people))
        ledger.record_many(ConsentConfirmed(address(number)) for number in range(people))
        sends = sum(len(list(ledger.permits(map(address, range(people)), use=USE, message=SEND))) for _ in range(10))
        verified, judged = in_turn(rounds, ledger.verify, lambda: ledger.verify(meaning=True))
    rate = f"{sends / max(judged - verified, 1e-9):,.0f}/s"
    yield Row(f"meaning, {sends:,} sends", rate, f"{judged / verified:.0f} times verify alone", "", None)


PEAK = """
import resource, sys
from consentlib import Ledger
with Ledger.open("sqlite:///" + sys.argv[2]) as ledger:
    ledger.verify() if sys.argv[1] == "verify" else ledger.export(sys.argv[2] + ".zip")
print(resource.getrusage(resource.RUSAGE_SELF).ru_maxrss)
"""


def peak(name: str, folder: Path, size: int) -> int:
    """The largest resident size, in KiB, of a process that does this to a ledger."""
    return int(python(PEAK, name, f"{folder}/{size}.db"))


def python(code: str, *arguments: str, **environment: str) -> str:
    done = subprocess.run(
        [sys.executable, "-c", code, *arguments],
        check=True,
        text=True,
        stdout=subprocess.PIPE,
        env={**os.environ, **environment},
    )
    return done.stdout


IMPORT = """
import time, sys
start = time.perf_counter()
__import__(sys.argv[1])
print(time.perf_counter() - start)
"""


def importing(folder: Path, rounds: int) -> Iterator[Row]:
    """`import consentlib` with its bytecode cached, beside `import attrs`, which it can't do without. The best of all."""
    cached = {"PYTHONPYCACHEPREFIX": str(folder / "pycache"), "PYTHONDONTWRITEBYTECODE": ""}
    for name in ("attrs", "consentlib"):
        python(IMPORT, name, **cached)
    taken = [[float(python(IMPORT, name, **cached)) * 1e3 for name in ("attrs", "consentlib")] for _ in range(3 * rounds)]
    attrs, ours = map(min, zip(*taken, strict=True))
    yield Row("import consentlib", f"{ours:.0f} ms", f"{attrs:.0f} ms for attrs", "<= 40 ms", ours <= 40)


def show(rows: Iterable[Row], *, as_json: bool) -> None:
    """Each row as soon as it is known."""
    if not as_json:
        print(f"{'':52}{'ours':>22}  {'raw, in the same run':34}{'target':>14}")
    for row in rows:
        mark = "" if row.reached is None else "  ok" if row.reached else "  short"
        line = f"{row.name:52}{row.value:>22}  {row.raw:34}{row.target:>14}{mark}"
        print(json.dumps(row._asdict()) if as_json else line, flush=True)


def run(rounds: int, each: int, sizes: list[int]) -> Iterator[Row]:
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        yield from appends(folder, rounds, each)
        yield from judging(rounds, each * 10)
        yield from checks(folder, rounds, each, sizes)
        yield from whole_log(folder, min(rounds, 3), sizes)
        yield from replaying(folder, min(rounds, 3), each)
        yield from importing(folder, rounds)


def main() -> None:
    parser = argparse.ArgumentParser(description=(__doc__ or "").partition("\n")[0])
    parser.add_argument("--quick", action="store_true", help="tiny sizes: whether it runs, not how fast")
    parser.add_argument("--entries", type=int, default=100_000, help="entries of the larger ledger (default 100,000)")
    parser.add_argument("--rounds", type=int, default=7)
    parser.add_argument("--json", action="store_true", help="one object a line")
    chosen = parser.parse_args()
    rows = run(1, 3, [30, 60]) if chosen.quick else run(chosen.rounds, 1_000, [10_000, chosen.entries])
    show(rows, as_json=chosen.json)


if __name__ == "__main__":
    main()
