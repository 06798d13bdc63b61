"""`python -m consentlib.testing.hammer URL`: many processes write and read one ledger at once, and everything read is verified.

Writers record orders and stops. Full readers verify the whole log as they see it, against its newest checkpoint. Random
readers ask for the receipts of entries drawn at random, and verify each under the checkpoint it names, which must never be
behind one they saw before. The first thing that does not hold, an error of the store included, ends it with exit code 1.
"""

from __future__ import annotations

import os
import sys
import time
from collections.abc import Callable, Iterator
from concurrent.futures import ProcessPoolExecutor
from multiprocessing import get_context
from random import Random
from typing import TYPE_CHECKING, Any, Final

import click
from attrs import frozen

from consentlib import Ledger
from consentlib.audit.receipt import verify_receipt
from consentlib.errors import ConsentlibError, LedgerMissingError, VerificationError
from consentlib.events import OrderPlaced
from consentlib.log.checkpoint import Checkpoint
from consentlib.log.note import Verifier, parse_note
from consentlib.log.receipt import Proof
from consentlib.policy import parse_policy, starter

if TYPE_CHECKING:
    from multiprocessing.synchronize import Barrier

_RECEIPTS: Final = 50
"""Receipts that a random reader asks for under one checkpoint."""
_barrier: Barrier


@frozen
class Place:
    """Where the ledger is, as `Ledger.open` wants it."""

    url: str
    keys: str | None = None
    checkpoints: str | None = None

    def open(self) -> Ledger:
        """Open it."""
        return Ledger.open(self.url, keys=self.keys, checkpoints=self.checkpoints)

    def begin(self) -> int:
        """Make it, under the starter policy, unless it is there. Gives its size."""
        try:
            ledger = self.open()
        except LedgerMissingError:
            policy = parse_policy(starter())
            ledger = Ledger.create(self.url, policy=policy, keys=self.keys, checkpoints=self.checkpoints)
        with ledger:
            return ledger.verify().size


@frozen
class Tally:
    """What one process did: how long each of its operations took, in seconds, and the entries that it was answered for."""

    role: str
    times: tuple[float, ...]
    written: int = 0


def write(ledger: Ledger, number: int) -> Iterator[int]:
    """Record orders of ten thousand people, and every tenth time a stop; each is answered with an index past the last."""
    last, random = -1, Random(number)
    while True:
        person = f"p{random.randrange(10_000)}@example.dk"
        if random.random() < 0.1:
            index, entries = ledger.withdraw(person).index, 2
        else:
            index, entries = ledger.record(OrderPlaced(person, order=os.urandom(8).hex())).index, 1
        if index is None or index <= last:
            raise VerificationError(f"expected an index past `{last}`, found `{index}`", level="chain", index=index)
        last = index
        yield entries


def read_all(ledger: Ledger, number: int) -> Iterator[int]:
    """Verify the whole log, which never shrinks."""
    size = 0
    while True:
        found = ledger.verify().size
        if found < size:
            raise VerificationError(f"expected at least `{size}` entries, found `{found}`", level="chain")
        size = found
        yield 0


def read_at_random(ledger: Ledger, number: int) -> Iterator[int]:
    """Verify receipts of random entries."""
    random, verifiers = Random(number), [Verifier.parse(ledger.verifier)]
    newest = Checkpoint(ledger.origin, 0, bytes(32))
    while True:
        ledger.checkpoint()
        for _ in range(_RECEIPTS):
            index = random.randrange(newest.size or 1)
            receipt = ledger.receipt(index)
            if verify_receipt(receipt, verifiers).index != index:
                raise VerificationError(f"expected the receipt of entry `{index}`, found another", level="proof", index=index)
            under = Checkpoint.parse(parse_note(Proof.parse(receipt).checkpoint)[0])
            if under.size < newest.size or (under.size == newest.size and under != newest):
                problem = f"expected a checkpoint that extends that of `{newest.size}` entries, found one of `{under.size}`"
                raise VerificationError(problem, level="history", index=index)
            newest = under
            yield 0


ROLES: Final[dict[str, Callable[[Ledger, int], Iterator[int]]]] = {
    "writer": write,
    "full reader": read_all,
    "random reader": read_at_random,
}


def _prepare(barrier: Barrier) -> None:
    global _barrier
    _barrier = barrier


def _work(role: str, number: int, place: Place, seconds: float) -> Tally:
    """One process: all begin at once."""
    with place.open() as ledger:
        operations, times, written = ROLES[role](ledger, number), [], 0
        _barrier.wait(60)
        before = time.perf_counter()
        end = before + seconds
        while before < end:
            written += next(operations)
            now = time.perf_counter()
            times.append(now - before)
            before = now
    return Tally(role, tuple(times), written)


def hammer(place: Place, counts: dict[str, int], seconds: float) -> list[Tally]:
    """Let so many processes of each role work for some seconds. Raises the first error of any, its role as a note."""
    before = place.begin()
    context = get_context("spawn")
    many = sum(counts.values())
    with ProcessPoolExecutor(many, context, _prepare, (context.Barrier(many),)) as pool:
        named = [(role, number) for role, count in counts.items() for number in range(count)]
        futures = [pool.submit(_work, role, number, place, seconds) for role, number in named]
    tallies = []
    for (role, number), future in zip(named, futures, strict=True):
        try:
            tallies.append(future.result())
        except ConsentlibError as error:
            error.add_note(f"{role} {number}")
            raise
    with place.open() as ledger:
        size, answered = ledger.verify(read_models=True).size, sum(one.written for one in tallies)
    if size - before != answered:
        raise VerificationError(f"expected `{answered}` new entries, as answered, found `{size - before}`", level="chain")
    return tallies


def table(tallies: list[Tally], seconds: float) -> str:
    """What was done, a line for each role: operations, rate, and how long one took (median, 99 of 100, the longest)."""
    lines = [f"{'':14}{'processes':>10}{'operations':>11}{'a second':>10}{'median ms':>11}{'99 % ms':>10}{'longest ms':>12}"]
    for role in ROLES:
        mine = [one for one in tallies if one.role == role]
        times = sorted(1000 * took for one in mine for took in one.times)
        if times:
            middle, most = times[len(times) // 2], times[len(times) * 99 // 100]
            figures = f"{len(times) / seconds:10.0f}{middle:11.1f}{most:10.1f}{times[-1]:12.1f}"
            lines.append(f"{role:14}{len(mine):10}{len(times):11}{figures}")
    return "\n".join(lines)


@click.command()
@click.argument("url")
@click.option("--writers", default=8, show_default=True, help="Processes that record.")
@click.option("--readers", default=1, show_default=True, help="Processes that verify the whole log.")
@click.option("--random-readers", default=1, show_default=True, help="Processes that verify receipts of random entries.")
@click.option("--seconds", default=10.0, show_default=True, help="How long.")
@click.option("--keys", help="The key file, as for `consentlib`.")
@click.option("--checkpoints", help="The place of the checkpoints, as for `consentlib`.")
def main(writers: int, readers: int, random_readers: int, seconds: float, **place: Any) -> None:
    """Write and read the ledger at URL from many processes at once, and verify all that is read.

    A ledger that is not there is made. Ends with 1, and one line, at the first thing that does not hold.
    """
    counts = {"writer": writers, "full reader": readers, "random reader": random_readers}
    try:
        tallies = hammer(Place(**place), counts, seconds)
    except ConsentlibError as error:
        click.echo("hammer: " + ": ".join([*getattr(error, "__notes__", [])[-1:], str(error)]), err=True)
        sys.exit(1)
    click.echo(table(tallies, seconds))


if __name__ == "__main__":
    main()
