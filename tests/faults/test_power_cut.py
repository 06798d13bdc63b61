"""Power cuts: what was answered is on the disk, whatever is lost of what was not synced; and the model finds what is not."""

from __future__ import annotations

import os
import shutil
from collections.abc import Callable
from pathlib import Path
from random import Random
from typing import Any

import pytest
from lives import Place, begin, check, live
from power_cut import OPTIONS, Disk, read_log, restore
from traced import Say, needs_strace, traced

from consentlib.checkpoints import FileCheckpoints, covered_size
from consentlib.errors import ConsentlibError
from consentlib.journal import FileJournal, Line
from consentlib.store import sqlite_file

pytestmark = needs_strace()

Work = Callable[[Say, Callable[[], None]], None]
FEW, ALL = 8, 100_000
MOST = pytest.mark.parametrize("most", [FEW, pytest.param(ALL, marks=pytest.mark.slow)], ids=["few", "all"])


def cuts(folder: Path, work: Work, holds: Callable[[Path, dict[str, Any]], None], most: int) -> list[str]:
    """What went wrong after power cuts at moments of some work in a folder: after each answer, and `most` others."""
    disk, aside, random = Disk(folder), folder.with_name("after"), Random(1)
    with traced(work, folder.with_name("log"), *OPTIONS) as one:
        pass
    assert one.status == 0
    calls = list(read_log(folder.with_name("log")))
    often = max(1, len(calls) // most)
    wrong = []
    for number, call in enumerate(calls):
        if not disk.replay(call) or (call.name != "sendto" and number % often):
            continue
        for keep in ("none", "some", "all"):
            shutil.rmtree(aside, ignore_errors=True)
            restore(disk.cut(keep, random), aside)
            try:
                holds(aside, disk.answers)
            except (AssertionError, ConsentlibError) as error:
                wrong.append(f"after `{call.name}`, call {number}, kept {keep}, answered {list(disk.answers)}: {error!r}")
    assert disk.answers == one.answers
    return wrong


@MOST
def test_ledger(tmp_path: Path, most: int) -> None:
    """Events, stops, an erasure and a checkpoint that were answered survive with their ledger, which verifies."""
    place = begin(tmp_path / "ledger")
    assert cuts(place.folder, live(place), lambda folder, answers: check(Place(folder), answers), most) == []


def test_ledger_that_does_not_wait_for_the_disk(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """With `synchronous=NORMAL` the same cuts lose what was answered: so they would be found."""
    place = begin(tmp_path / "ledger")
    monkeypatch.setitem(sqlite_file.PRAGMAS, "synchronous", ("NORMAL", 1))
    assert cuts(place.folder, live(place), lambda folder, answers: check(Place(folder), answers), 1)


def line(number: int) -> Line:
    """A line of the stop journal."""
    mark = number.to_bytes(16, "big")
    return Line(mark, mark, mark, number, (bytes(32),), bytes(32), {"type": "consent.withdrawn"})


def keep_journal(folder: Path) -> Work:
    """Begin a journal, append, settle half of it, prune that, append again."""

    def work(say: Say, wait: Callable[[], None]) -> None:
        journal = FileJournal(folder / "stops")
        journal.begin()
        say("begun", 0)
        for number in range(8):
            journal.append([line(number), line(number + 100)])
            say(f"kept {number}", number)
            if number == 3:
                journal.settle(journal.read()[1])
            if number == 5:
                journal.prune(10**6)
                say("pruned", 3)

    return work


def check_journal(folder: Path, answers: dict[str, Any]) -> None:
    """Every line that was answered for is there, but for those that were settled and pruned; and the journal goes on."""
    if not answers:
        return
    journal = FileJournal(folder / "stops")
    found = [one.id for one in journal.read()[0]]
    assert len(found) == len(set(found))
    pruned = 3 if "pruned" in answers or line(0).id not in found else -1
    for name, number in answers.items():
        if name.startswith("kept") and number > pruned:
            assert line(number).id in found
            assert line(number + 100).id in found
    journal.append([line(50)])
    assert [one.id for one in journal.read()[0]][-1] == line(50).id


def keep_checkpoints(folder: Path) -> Work:
    """Replace the newest checkpoint several times, once by one of the same size."""

    def work(say: Say, wait: Callable[[], None]) -> None:
        kept, old = FileCheckpoints(folder / "aside"), None
        for number in (1, 2, 3, 3, 4):
            new = b"log\n%d\n%b\n" % (number, os.urandom(8).hex().encode())
            kept.replace(old, new)
            say(f"signed {number}", number)
            old = new

    return work


def check_checkpoints(folder: Path, answers: dict[str, Any]) -> None:
    """The newest that was answered for, or a newer one, is there, and all before it."""
    kept = FileCheckpoints(folder / "aside")
    newest = kept.read()
    assert (covered_size(newest) if newest else 0) >= max(answers.values(), default=0)
    assert {covered_size(one) for one in kept.history()} >= set(answers.values())


ASIDE = pytest.mark.parametrize(
    ("work", "holds"), [(keep_journal, check_journal), (keep_checkpoints, check_checkpoints)], ids=["journal", "checkpoints"]
)


@ASIDE
def test_beside_the_ledger(tmp_path: Path, work: Any, holds: Any) -> None:
    """Stop journal and checkpoint folder hold what they were answered for, at every moment."""
    folder = tmp_path / "kept"
    (folder / "aside").mkdir(parents=True)
    assert cuts(folder, work(folder), holds, ALL) == []


@ASIDE
def test_beside_the_ledger_without_syncs(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, work: Any, holds: Any) -> None:
    """Where nothing is synced, the same cuts lose what was answered."""
    folder = tmp_path / "kept"
    (folder / "aside").mkdir(parents=True)
    monkeypatch.setattr(os, "fsync", lambda descriptor: None)
    assert cuts(folder, work(folder), holds, 1)
