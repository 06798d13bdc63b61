"""Lines of the stop journal that the log does not hold yet: they count in checks, and become entries with the next write."""

from __future__ import annotations

import logging
import threading
from collections.abc import Iterable, Sequence
from typing import Any, Final

from consentlib.addresses import address_key
from consentlib.errors import StoreUnavailableError
from consentlib.events import KINDS, NOBODY, Stop, stated
from consentlib.facts import facts_of
from consentlib.fold import NO_ENTRY, Fold, Known, refold
from consentlib.journal import Line, Position, StopJournal
from consentlib.keys import Keys
from consentlib.policy.model import Policy
from consentlib.recorder import Prepared
from consentlib.store.protocol import View

ERASURE: Final = "part.erased"
_ABANDONED: Final = 60_000
"""Milliseconds after which who kept a line has given up recording it: a writer waits for its turn half as long."""
_log = logging.getLogger("consentlib")


class Outstanding:
    """The lines of one journal that were not found in the log so far. Threads may share it."""

    def __init__(self, journal: StopJournal, keys: Keys) -> None:
        self.journal = journal
        self._keys = keys
        self._token: object = None
        self._seen: Position | None = None
        self._lines: dict[bytes, Line] = {}
        self._failed: dict[bytes, Prepared] = {}
        self._reading = threading.Lock()

    def keep(self, stops: Sequence[Prepared], now: int) -> bool:
        """Keep stops in the journal before they are recorded; False where it can't be written, which is logged."""
        return self.keep_lines([self._line(one, now) for one in stops])

    def keep_lines(self, lines: Sequence[Line]) -> bool:
        """Keep lines as they are; False where the journal can't be written, which is logged."""
        try:
            self.journal.append(lines)
        except StoreUnavailableError as error:
            _log.error("a stop is on its way into the log alone: %s", error)
            return False
        return True

    def failed(self, stops: Iterable[Prepared]) -> None:
        """Note that stops that were kept did not become entries: this process makes up for it with its next write."""
        self._failed.update((one.line, one) for one in stops if one.line is not None)

    def any(self) -> bool:
        """Whether there may be some: false as long as nothing came and nothing waits. Raises `StoreUnavailableError`."""
        return bool(self._lines) or self.journal.token() != self._token

    def lines(self, view: View) -> list[Line]:
        """Those that the log does not hold in this view. Raises `StoreUnavailableError`."""
        with self._reading:
            token = self.journal.token()
            if token != self._token:
                if self._seen is None:
                    self._seen = self.journal.settled()
                new, self._seen = self.journal.read(self._seen)
                self._lines.update((line.id, line) for line in new)
                self._token = token
            if self._lines:
                found = view.events(list(self._lines))
                self._lines = {id: line for id, line in self._lines.items() if found[id] is None}
            for id in self._failed.keys() - self._lines.keys():
                del self._failed[id]
            return list(self._lines.values())

    def due(self, view: View, now: int) -> list[Prepared | Line]:
        """What the next write has to record: events that failed here, what others gave up, and erasures (as their lines)."""
        ready: list[Prepared | Line] = []
        for line in self.lines(view):
            if line.said["type"] == ERASURE:
                ready.append(line)
            elif line.id in self._failed:
                ready.append(self._failed[line.id])
            elif line.time + _ABANDONED <= now:
                ready.append(prepared_of(line))
        return ready

    def settle(self, view: View) -> None:
        """Note how far the journal is in the log, so that opening need not look at it all."""
        if not self.lines(view) and self._seen is not None and self._seen != self.journal.settled():
            self.journal.settle(self._seen)

    def _line(self, prepared: Prepared, now: int) -> Line:
        [normal] = prepared.roles["address"]
        fields = [(slot.alias, value) for slot, value in stated(prepared.event) if not slot.person]
        said: dict[str, Any] = {alias: list(value) if isinstance(value, tuple) else value for alias, value in fields}
        said = {"occurred_at": now, **said, "type": prepared.event.kind}
        stamp = address_key(self._keys.suppression, normal)
        return Line(prepared.line or b"", prepared.id, prepared.digest, now, (prepared.keys[normal],), stamp, said)


def prepared_of(line: Line) -> Prepared:
    """A stop as its line has it, ready to be recorded: without its address, evidence and text."""
    event = _event(line)
    return Prepared(
        event, line.event.hex(), line.event, line.digest, {"address": [""]}, {"": line.keys[0]}, line.id, line.stamp
    )


def fold_of(lines: Sequence[Line], policy: Policy | None, at: int) -> Fold:
    """What lines say of a person by a time, in the form of one more of their addresses."""
    known = []
    for line in lines:
        if line.said["type"] == ERASURE:
            facts = {"occurred_at": line.time, "address": NOBODY}
        else:
            event = _event(line)
            facts = facts_of(event, policy, {"address": [NOBODY]}, event.occurred_at or line.time)
            facts.pop("ref", None)  # whichever grant is meant, doubt is about each
        known.append(Known(NO_ENTRY, line.time, line.said["type"], facts))
    fold = refold(known, until=at, only=(NOBODY,)).folds.get(NOBODY, Fold())
    # What was said before an address changed hands is another person's, and as dead as what was erased.
    ended = max((moment for moment in (fold.erased, fold.released) if moment is not None), default=None)
    return fold._replace(erased=ended, released=None)


def _event(line: Line) -> Stop:
    fields = {key: value for key, value in line.said.items() if key != "type"}
    event = KINDS[line.said["type"]](NOBODY, **fields)
    assert isinstance(event, Stop)  # noqa: S101  # nothing else is ever kept
    return event
