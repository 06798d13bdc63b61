"""Lines of the stop journal that the log does not hold yet: they count in checks, and become entries with the next write."""

from __future__ import annotations

import logging
from collections.abc import Iterable, Mapping, Sequence
from typing import Any, Final, NamedTuple

from consentlib.errors import InputError, StoreUnavailableError
from consentlib.events import KINDS, NOBODY, Stop, stated
from consentlib.facts import parts_of, placed
from consentlib.fold import NO_ENTRY, Fold, Known, refold
from consentlib.journal import Line, Position, StopJournal
from consentlib.policy.model import Policy
from consentlib.recorder import Keyed, Prepared
from consentlib.store.protocol import View

ERASURE: Final = "part.erased"
_ABANDONED: Final = 60_000
"""Milliseconds after which who kept a line has given up recording it: a writer waits for its turn half as long."""
_log = logging.getLogger("consentlib")


class Outstanding:
    """The lines of one journal that were not found in the log so far. Threads may share it."""

    def __init__(self, journal: StopJournal) -> None:
        self.journal = journal
        self._read = _Read(None, None, {})
        self._failed: dict[bytes, Prepared] = {}
        self._quiet = range(0)

    def keep(self, stops: Sequence[Prepared], now: int) -> bool:
        """Keep stops in the journal before they are recorded; False where it can't be written, which is logged."""
        return self._append([self._line(one, now) for one in stops])

    def keep_lines(self, lines: Sequence[Line]) -> bool:
        """Keep erasures before they are done; False where the journal can't be written, which is logged."""
        self._quiet = range(0)
        return self._append(lines)

    def _append(self, lines: Sequence[Line]) -> bool:
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
        read = self._read
        return bool(read.lines) or self.journal.token() != read.token

    def lines(self, view: View) -> list[Line]:
        """Those that the log does not hold in this view. Raises `StoreUnavailableError`, also for one that can't be counted.

        Without a lock, which a child would inherit closed: whoever is last leaves what he read, as a whole, and what he
        had not read is read again.
        """
        read, token = self._read, self.journal.token()
        lines, seen = dict(read.lines), read.seen
        if token != read.token:
            new, seen = self.journal.read(max(filter(None, (seen, self.journal.settled())), default=None))
            for line in new:
                check_countable(line)
                lines[line.id] = line
        found = view.events(list(lines)) if lines else {}
        for id, row in found.items():
            if row is not None:
                del lines[id]
                self._failed.pop(id, None)
        self._read = _Read(token, seen, lines)
        return list(lines.values())

    def may_be_due(self, now: int) -> bool:
        """Whether `due` may give something: what failed here, or, from a minute after the last look on, what others left."""
        return bool(self._failed) or now not in self._quiet

    def due(self, view: View, now: int) -> list[Prepared | Line]:
        """What the next write has to record: events that failed here, what others gave up, and erasures (as their lines)."""
        ready: list[Prepared | Line] = []
        lines = self.lines(view)
        for line in lines:
            if line.said["type"] == ERASURE:
                ready.append(line)
            elif line.id in self._failed:
                ready.append(self._failed[line.id])
            elif line.time + _ABANDONED <= now:
                ready.append(prepared_of(line))
        self._quiet = range(0) if ready else range(now, min([now, *(line.time for line in lines)]) + _ABANDONED)
        return ready

    def settle(self, view: View) -> None:
        """Note how far the journal is in the log as the view shows it, so that opening need not look at it all."""
        before = self.journal.settled()
        lines, end = self.journal.read(before)
        if end != before and None not in view.events([line.id for line in lines]).values():
            self.journal.settle(end)

    def _line(self, prepared: Prepared, now: int) -> Line:
        [(key, stamp)] = prepared.keys.values()
        fields = [(slot.alias, value) for slot, value in stated(prepared.event) if not slot.person]
        said: dict[str, Any] = {alias: list(value) if isinstance(value, tuple) else value for alias, value in fields}
        said = {"occurred_at": now, **said, "type": prepared.event.kind}
        return Line(prepared.line or b"", prepared.id, prepared.digest, now, (key,), stamp, said)


class _Read(NamedTuple):
    """What was read of the journal when its token was this: up to where, and the lines that the log did not hold."""

    token: object
    seen: Position | None
    lines: Mapping[bytes, Line]


def check_countable(line: Line) -> None:
    """Raise `StoreUnavailableError` for a line that is no stop or erasure known to this version: it may be anybody's no."""
    try:
        if line.said["type"] != ERASURE:
            _event(line)
        elif not all(type(line.said[name]) is str for name in ("reason", "by")):
            raise TypeError
    except (KeyError, TypeError, InputError):
        raise StoreUnavailableError("expected a stop or an erasure in the stop journal, found another line") from None


def prepared_of(line: Line) -> Prepared:
    """A stop as its line has it, ready to be recorded: without its address, evidence and text."""
    keyed = {"": Keyed(line.keys[0], line.stamp)}
    return Prepared(_event(line), line.event.hex(), line.event, line.digest, {"address": [""]}, keyed, line.id, nameless=True)


def fold_of(lines: Sequence[Line], policy: Policy | None, at: int) -> Fold:
    """What lines say of a person by a time, in the form of one more of their addresses."""
    known = []
    for line in lines:
        if line.said["type"] == ERASURE:
            facts = {"occurred_at": line.time, "address": NOBODY}
        else:
            event = _event(line)
            facts, _ = parts_of(event, policy)
            facts = placed(facts, {"address": [NOBODY]}, event.occurred_at or line.time)
            facts.pop("ref", None)  # whichever grant is meant, doubt is about each
        known.append(Known(NO_ENTRY, line.time, line.said["type"], facts))
    fold = refold(known, until=at, only=(NOBODY,)).folds.get(NOBODY, Fold())
    # What was said before an address changed hands is another person's, and as dead as what was erased.
    ended = max((moment for moment in (fold.erased, fold.released) if moment is not None), default=None)
    return fold._replace(erased=ended, released=None)


def _event(line: Line) -> Stop:
    fields = {key: value for key, value in line.said.items() if key != "type"}
    event = KINDS[line.said["type"]](NOBODY, **fields)
    if not isinstance(event, Stop):
        raise TypeError
    return event
