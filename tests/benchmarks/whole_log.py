"""How fast whole logs are verified, exported, signed and proved, and in how much memory: rows for `run.py`."""

from __future__ import annotations

import sqlite3
import subprocess
import sys
import time
import zipfile
from binascii import a2b_base64, b2a_base64
from collections.abc import Callable, Iterator
from contextlib import closing
from hashlib import sha256
from itertools import count
from pathlib import Path
from random import Random
from statistics import median

import standalone
from customers import customers
from measuring import Row, in_turn, python

from consentlib import Ledger
from consentlib.audit.verify import verify_file
from consentlib.log.checkpoint import open_checkpoint
from consentlib.log.note import Verifier
from consentlib.signing import verify

_new = count(10**9)


def whole_log(folder: Path, rounds: int, sizes: list[int]) -> Iterator[Row]:
    """All of it, on the largest of the ledgers of these sizes in the folder."""
    size = sizes[-1]
    with Ledger.open(f"sqlite:///{folder}/{size}.db") as ledger, closing(sqlite3.connect(folder / f"{size}.db")) as raw:
        entries = raw.execute("SELECT count(*) FROM consentlib_entries").fetchone()[0]
        yield from verifying(folder, rounds, ledger, raw, entries)
        yield from proving(rounds, ledger, entries)
        yield from signing(rounds, ledger, entries)
    yield from alone(folder, rounds)
    for name in ("verify", "export", "verify the export"):
        peaks = [peak(name, folder, one) for one in sizes]
        more = (peaks[-1] - peaks[0]) / 1024
        shown = ", ".join(f"{one / 1024:.0f}" for one in peaks)
        each = ", ".join(f"{one:,}" for one in sizes)
        yield Row(f"memory of {name}: {each} entries", f"{shown} MB", "", "constant", more < 24)


def verifying(folder: Path, rounds: int, ledger: Ledger, raw: sqlite3.Connection, entries: int) -> Iterator[Row]:
    """Level history on one core and on two, of the ledger and of its export."""

    def read() -> None:
        for table in ("entries", "parts"):
            for _ in raw.execute(f"SELECT * FROM consentlib_{table}"):
                pass

    note = ledger.checkpoint()
    verifier = Verifier.parse(ledger.verifier)
    held = [open_checkpoint(note, [verifier], verify)]
    path = folder / "export.zip"

    def of_ledger(processes: int) -> Callable[[], object]:
        return lambda: ledger.verify(checkpoints=[note], processes=processes)

    def of_file(processes: int) -> Callable[[], object]:
        return lambda: verify_file(path, verifiers=[verifier], checkpoints=held, processes=processes)

    raw_took, exported, *taken, bare_took = in_turn(
        rounds, read, lambda: ledger.export(path), of_ledger(1), of_ledger(2), of_file(1), of_file(2), lambda: bare(path)
    )
    raw_rate = f"{entries / raw_took:,.0f}/s to read the rows"
    bare_rate = f"{entries / bare_took:,.0f}/s in C alone"
    yield Row(f"export, {entries:,} entries", f"{entries / exported:,.0f}/s", raw_rate, "", None)
    for (name, cores), seconds in zip([("ledger", 1), ("ledger", 2), ("export", 1), ("export", 2)], taken, strict=True):
        rate, target = entries / seconds, 100_000 if cores == 1 else 180_000
        on, beside = "one core" if cores == 1 else "two cores", raw_rate if name == "ledger" else bare_rate
        yield Row(f"history of the {name} on {on}", f"{rate:,.0f}/s", beside, f">= {target:,}/s", rate >= target)


def bare(path: Path) -> None:
    """What a verifier of an export can't do without, done in C: to unpack it, decode and encode its base64, and hash."""
    with zipfile.ZipFile(path) as archive, archive.open("log.ndjson") as file:
        rest = b""
        while chunk := file.read(1 << 18):
            *lines, rest = (rest + chunk).split(b"\n")
            for line in lines:
                for value in line.split(b'"'):
                    if len(value) >= 44:
                        data = a2b_base64(value)
                        b2a_base64(data, newline=False)
                        if len(data) > 32:
                            sha256(data).digest()
                sha256(line[:64]).digest()  # a node of the tree


def proving(rounds: int, ledger: Ledger, entries: int) -> Iterator[Row]:
    """Receipts of neighbours, and of entries here and there."""
    some = min(entries, 20_000)
    spread = Random(1).sample(range(entries), some)

    def make(indices: range | list[int]) -> Callable[[], object]:
        return lambda: sum(map(len, ledger.receipts(indices)))

    for name, seconds in zip(("in a row", "here and there"), in_turn(rounds, make(range(some)), make(spread)), strict=True):
        rate = some / seconds
        yield Row(f"receipts, {name}", f"{rate:,.0f}/s", "", ">= 30,000/s", rate >= 30_000)


def signing(rounds: int, ledger: Ledger, entries: int) -> Iterator[Row]:
    """A checkpoint over one new entry: what it costs beyond hashing what is new again."""
    wall, busy = [], []
    for _ in range(max(rounds, 3)):
        ledger.record_many(list(customers([next(_new)]))[:1])
        start, worked = time.perf_counter(), time.process_time()
        ledger.checkpoint()
        wall.append(time.perf_counter() - start)
        busy.append(time.process_time() - worked)
    took, worked = median(wall) * 1e3, median(busy) * 1e3
    yield Row(
        f"checkpoint of {entries:,} entries", f"{took:.1f} ms", f"{worked:.1f} ms of processor time", "<= 5 ms", took <= 5
    )


def alone(folder: Path, rounds: int) -> Iterator[Row]:
    """The one-file verifier, start of Python included."""
    (place := folder / "alone").mkdir()
    entries = 50_000 if rounds > 1 else 50
    path, options = standalone.write(place, entries)
    command = [sys.executable, "-I", standalone.SCRIPT, path, *options]
    took, bare_took = in_turn(
        rounds, lambda: subprocess.run(command, check=True, stdout=subprocess.DEVNULL), lambda: bare(path)
    )
    rate, shown = entries / took, f"{entries / bare_took:,.0f}/s in C alone"
    yield Row("history by the one-file verifier, on one core", f"{rate:,.0f}/s", shown, ">= 100,000/s", rate >= 100_000)


PEAK = """
import sys
from pathlib import Path
from consentlib import Ledger
from consentlib.audit.verify import verify_file
name, path = sys.argv[1:]
if name == "verify the export":
    verify_file(Path(path + ".zip"))
else:
    with Ledger.open("sqlite:///" + path) as ledger:
        ledger.verify() if name == "verify" else ledger.export(path + ".zip")
print(next(line.split()[1] for line in Path("/proc/self/status").read_text().splitlines() if line.startswith("VmHWM:")))
"""


def peak(name: str, folder: Path, size: int) -> int:
    """The largest resident size, in KiB, of a process that does this to a ledger.

    Linux's own count, because `getrusage` gives a child at least what its parent held.
    """
    return int(python(PEAK, name, f"{folder}/{size}.db"))
