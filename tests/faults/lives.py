"""A writer's whole life on a ledger in SQLite, and what must hold of the ledger whatever became of the writer."""

from __future__ import annotations

import shutil
import time
from collections import Counter
from collections.abc import Callable
from pathlib import Path
from typing import Any

from attrs import frozen

from consentlib import Ledger
from consentlib.checkpoints import covered_size
from consentlib.errors import ConsentlibError
from consentlib.events import ConsentConfirmed, ConsentGiven, OrderPlaced
from shop import LETTER, POLICY, SEEN

ANN, BO, CY = "ann@example.dk", "bo@example.dk", "cy@example.dk"
LATER = 120_000  # milliseconds after which what a dead process left in the stop journal is recorded by the next


@frozen
class Place:
    """Where a ledger, its keys and its checkpoints lie."""

    folder: Path

    @property
    def database(self) -> Path:
        return self.folder / "shop" / "shop.db"

    @property
    def checkpoints(self) -> Path:
        return self.folder / "aside"

    def open(self, *, later: int = 0) -> Ledger:
        """Open the ledger, by the clock or some milliseconds later."""
        url = f"sqlite:///{self.database}"
        return Ledger.open(url, checkpoints=self.checkpoints, clock=lambda: time.time_ns() // 1_000_000 + later)

    def copy_to(self, folder: Path) -> Place:
        """The same ledger in another folder, in the place of what was there."""
        shutil.rmtree(folder, ignore_errors=True)
        shutil.copytree(self.folder, folder)
        return Place(folder)


def begin(folder: Path) -> Place:
    """A ledger with three people who may be written to."""
    place = Place(folder)
    place.database.parent.mkdir(parents=True)
    url = f"sqlite:///{place.database}"
    with Ledger.create(url, policy=POLICY, checkpoints=place.checkpoints) as ledger:
        for one in (ANN, BO, CY):
            ledger.record(ConsentConfirmed.of(ledger.record(ConsentGiven(one, form="footer", evidence=SEEN))))
    return place


def may_write_to(ledger: Ledger, address: str) -> bool:
    """Whether the newsletter may go there."""
    return ledger.check(address, use="marketing_newsletter", message=LETTER).allowed


ACTS: dict[str, Callable[[Ledger], Any]] = {
    "first": lambda ledger: ledger.record(OrderPlaced(BO, order="o1", event_id="first")).index,
    "stop": lambda ledger: ledger.withdraw(ANN).index,
    "signed": lambda ledger: covered_size(ledger.checkpoint()),
    "erased": lambda ledger: ledger.erase(CY, reason="art17", by="dpo").index,
    "second": lambda ledger: ledger.record(OrderPlaced(BO, order="o2", event_id="second")).index,
}


def live(place: Place) -> Callable[[Callable[[str, Any], None], Callable[[], None]], None]:
    """Open, do every act and say its answer, or that it was refused by an error of ours; wait, close."""

    def work(say: Callable[[str, Any], None], wait: Callable[[], None]) -> None:
        try:
            ledger = place.open()
        except ConsentlibError as error:
            say("not opened", str(error))
            wait()
            return
        for name, act in ACTS.items():
            try:
                say(name, act(ledger))
            except ConsentlibError as error:
                say(f"no {name}", str(error))
        wait()
        try:
            ledger.close()
        except ConsentlibError as error:
            say("not closed", str(error))
        say("closed", None)

    return work


def check(place: Place, answers: dict[str, Any]) -> None:
    """What was answered is there, once; the rest can be done now; nobody is locked out; the whole verifies."""
    start = time.monotonic()
    with place.open() as ledger:
        ledger.verify(read_models=True)
        recorded = {entry.index: entry.kind for one in (ANN, BO) for entry in ledger.history(one)}
        for name, kind in (("first", "order.placed"), ("stop", "consent.withdrawn"), ("second", "order.placed")):
            if answers.get(name) is not None:
                assert recorded.get(answers[name]) == kind, name
        if "stop" in answers:
            assert not may_write_to(ledger, ANN)
        if "erased" in answers:
            assert not may_write_to(ledger, CY)
        assert may_write_to(ledger, BO)
        if "signed" in answers:
            newest = ledger._notary.checkpoints.read()
            assert newest is not None
            assert covered_size(newest) >= answers["signed"]
    with place.open(later=LATER) as ledger:
        for name, order in (("first", "o1"), ("second", "o2")):
            again = ledger.record(OrderPlaced(BO, order=order, event_id=name))
            assert again.index == answers.get(name, again.index)
        kinds = {one: Counter(entry.kind for entry in ledger.history(one)) for one in (ANN, BO)}
        assert kinds[BO] == {"consent.given": 1, "consent.confirmed": 1, "order.placed": 2}
        assert kinds[ANN]["consent.withdrawn"] in ((1,) if "stop" in answers else (0, 1)), kinds
        ledger.withdraw("dee@example.dk")
        assert ledger.checkpoint()
        ledger.verify(read_models=True)
    assert time.monotonic() - start < 10  # who is locked out waits for thirty seconds
