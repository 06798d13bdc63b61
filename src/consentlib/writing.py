"""Writing: transactions that append to the log, the journal before them, and the checkpoints and marks after them."""

from __future__ import annotations

import logging
from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import contextmanager
from functools import partial
from hashlib import sha256
from typing import Any, TypeVar

from attrs import evolve

from consentlib.addresses import stop_key
from consentlib.asking import Asking, Clock
from consentlib.checkpoints import covered_size
from consentlib.damage import ReadingRows
from consentlib.errors import CommitUndoneError, ConsentlibError, StoreUnavailableError, VerificationError
from consentlib.events import ConsentWithdrawn, Event, ObjectionRaised, Stop
from consentlib.fields import ALL, Scope, read_word
from consentlib.journal import Line
from consentlib.keys import Keys
from consentlib.notary import Notary
from consentlib.outstanding import Outstanding
from consentlib.policy import Policy
from consentlib.privacy import Erasure, Finished, erase, erased_people, erasure_line, finish, what_is_over
from consentlib.recorder import Prepared, Recorded, Recorder, each, prepare, wanted_by
from consentlib.replay import replay, runs
from consentlib.settling import settle
from consentlib.store import Store
from consentlib.store.protocol import NOTHING_WANTED, Changes, Wanted

_log = logging.getLogger("consentlib")


def withdrawal(
    address: str, *, uses: Scope, controller: str | None, limited: bool | None, event_id: str | None, **common: Any
) -> list[ConsentWithdrawn | ObjectionRaised]:
    """What a withdrawal is recorded as: an objection to direct marketing too, unless the person limited it.

    The objection's id follows from that of the withdrawal, so that a repeat finds both.
    """
    withdrawn = ConsentWithdrawn(address, uses=uses, controller=controller, event_id=event_id, **common)
    narrow = withdrawn.uses != ALL or withdrawn.controller is not None
    if narrow if limited is None else limited is True:
        return [evolve(withdrawn, limited=True)]
    named = None if withdrawn.event_id is None else f"objection:{sha256(withdrawn.event_id.encode()).hexdigest()}"
    return [withdrawn, ObjectionRaised(address, event_id=named, **common)]


class Writing:
    """Appends to one log. Threads may share it."""

    def __init__(
        self, store: Store, keys: Keys, origin: str, asking: Asking, notary: Notary, outstanding: Outstanding, clock: Clock
    ) -> None:
        self._store = store
        self._keys = keys
        self._origin = origin
        self._asking = asking
        self._notary = notary
        self._outstanding = outstanding
        self._clock = clock

    def record(self, events: Iterable[Event]) -> list[Recorded]:
        """Record events in one transaction, all or none; the stops among them are kept in the journal first, and stay.

        Where the log can't take them, stops alone are answered from the journal. Where the list can't be recorded, its stops
        are recorded without the others.
        """
        events = list(events)
        ready = partial(prepare, keys=self._keys, policy=self._asking.policy, keyed={})
        stops = {at: ready(one) for at, one in enumerate(events) if isinstance(one, Stop)}
        kept = bool(stops) and self._outstanding.keep(list(stops.values()), self._clock())
        if len(stops) == len(events):
            return self._record_stops(list(stops.values()), kept=kept)
        try:
            return self._append(list(each(lambda at: stops.get(at) or ready(events[at]), range(len(events)))))
        except StoreUnavailableError:
            if kept:
                self._outstanding.failed(stops.values())
            raise
        except ConsentlibError:
            try:
                self._record_stops(list(stops.values()), kept=kept)
            except ConsentlibError as error:  # the caller learns of the refusal
                _log.error("the stops of a refused list could not be recorded: %s", error)
            raise

    def _append(self, prepared: Sequence[Prepared]) -> list[Recorded]:
        wanted = wanted_by(prepared)

        def append() -> list[Recorded]:
            with self.appending(wanted=wanted) as recorder:
                recorder.expect(wanted)
                return list(each(recorder.record, prepared))

        return _once_more(append) if prepared else []

    def _record_stops(self, stops: Sequence[Prepared], *, kept: bool) -> list[Recorded]:
        """Record stops: together or, where the rows of one stand in the way, one at a time. What the log can't take is
        answered from the journal; where that does not have it either, the error is raised when all were tried."""
        try:
            return self._append(stops)
        except ConsentlibError as error:
            if len(stops) > 1 and not isinstance(error, StoreUnavailableError):
                return _each_to_the_end(lambda one: self._record_stops([one], kept=kept), stops)
            if not kept:
                raise
            self._outstanding.failed(stops)
            _log.error("a stop is in the journal alone, the log could not take it: %s", error)
            return [Recorded(None, one.event_id, self._clock(), None, one.event.subject) for one in stops]

    def erase(self, address: str, *, reason: str, by: str) -> Erasure:
        """Erase the person behind an address. See `privacy.erase`."""
        line = erasure_line(self._keys, stop_key(address), self._clock(), reason=reason, by=by)
        kept = False

        def keep(lines: Sequence[Line]) -> None:
            nonlocal kept
            kept = self._outstanding.keep_lines(lines)

        try:
            erased = _once_more(lambda: self._erase(address, line, keep))
        except (StoreUnavailableError, VerificationError) as error:
            if not kept and not self._outstanding.keep_lines([line]):
                raise
            _log.error("an erasure is in the journal alone, the log could not take it: %s", error)
            return Erasure(None, 0, 0, pending=True)
        return evolve(erased, pending=not self._purged())

    def _erase(self, address: str, line: Line, keep: Callable[[Sequence[Line]], None]) -> Erasure:
        with self.appending() as recorder:
            return erase(recorder, self._keys, stop_key(address), line, keep=keep)

    def finish_erasures(self, *, by: str) -> Finished:
        """Let go of what is over of people who were erased, one transaction a person. See `Ledger.finish_erasures`."""
        read_word(by, "by")
        with ReadingRows(), self._store.read() as view:
            head = view.head()
            policy, now = self._asking.scope(head, view).policy, max(self._clock(), head.time)
            found = [(ids, *what_is_over(view, ids, policy, now)) for ids in erased_people(view)]
        due = [ids for ids, over, _ in found if over]
        try:
            went = _each_to_the_end(lambda ids: [self._finish(ids, by)], due)
        finally:
            pending = bool(due) and not self._purged()
        return Finished(sum(map(bool, went)), sum(went), sum(kept for _, _, kept in found), pending)

    def _purged(self) -> bool:
        """Whether the store let go of erased bytes. If not, what was erased is no less erased: a later purge takes them."""
        try:
            return self._store.purge()
        except StoreUnavailableError:
            return False

    def _finish(self, ids: Sequence[str], by: str) -> int:
        with self.doubting(), self.appending() as recorder:
            return finish(recorder, ids, by=by)

    def catch_up(self) -> None:
        """Record what waits in the journal. What goes wrong is logged: it counts in every check all the same."""
        try:
            now = self._clock()
            if not self._outstanding.may_be_due(now):
                return
            with self._store.read() as view:
                due = self._outstanding.due(view, now)
            for run in runs(due):
                self._replay(run)
            if any(isinstance(one, Line) for one in due):
                self._store.purge()
        except ConsentlibError as error:
            _log.error("what waits in the stop journal could not be recorded: %s", error)

    def _replay(self, run: Sequence[Prepared | Line]) -> None:
        """Record a run of `runs`, without what the rows of a person stand in the way of. Raises where nothing can be now."""
        begun = False
        try:
            with self._transaction() as recorder:
                begun = True
                replay(recorder, self._keys, run)
        except ConsentlibError as error:
            if not begun:
                raise
            if len(run) == 1:
                _log.error("a line of the stop journal could not be recorded: %s", error)
            else:
                for one in run:
                    self._replay([one])

    @contextmanager
    def appending(self, policy: Policy | None = None, wanted: Wanted = NOTHING_WANTED) -> Iterator[Recorder]:
        """A recorder in a write transaction of its own, which commits what it appended; nothing if the block raises.

        What waits in the journal is recorded before, in a transaction apart: a permit names the log size that it read, and
        nothing may stand between that and its send.
        """
        self.catch_up()
        with self._transaction(policy, wanted) as recorder:
            yield recorder

    @contextmanager
    def _transaction(self, policy: Policy | None = None, wanted: Wanted = NOTHING_WANTED) -> Iterator[Recorder]:
        """Where the answer to the commit was lost, `settle` finds out whether it stands. Raises `VerificationError` where
        the rows that are read meanwhile can't be."""
        ready = False
        try:
            with ReadingRows(), self._store.write(wanted) as tx:
                chosen = policy or self._asking.scope(tx.head(), tx).policy
                recorder = Recorder(tx, keys=self._keys, origin=self._origin, policy=chosen, now=self._clock())
                yield recorder
                if recorder.changes.entries or recorder.changes.events:
                    recorder.finish()
                ready = True
        except StoreUnavailableError as error:
            if not ready:
                raise
            settle(self._store, recorder.changes, recorder.head, error)
            return
        head, now = recorder.changes.head, recorder.now
        self.sign_if(lambda: self._notary.due(head.size, now) and head.unverified is None)

    def checkpoint(self) -> bytes:
        """Sign the log as it stands, and note how far the journal is in it."""
        with self.doubting():
            note = self._notary.sign()
        with self._store.read() as view:
            if view.head().size == covered_size(note):
                try:
                    self._outstanding.settle(view)
                except StoreUnavailableError as error:
                    _log.error("the stop journal can't be settled: %s", error)
        return note

    def sign_if(self, due: Callable[[], bool]) -> None:
        """Sign if it is due. What goes wrong is logged: the entries are recorded, and the next checkpoint will tell."""
        try:
            if due():
                self.checkpoint()
        except ConsentlibError as error:
            _log.error("no checkpoint could be signed: %s", error)

    @contextmanager
    def doubting(self) -> Iterator[None]:
        """Mark the ledger where what the block does finds that the log does not hold."""
        try:
            yield
        except VerificationError as error:
            try:
                self.mark(f"{error.level}: {error}")
            except (StoreUnavailableError, VerificationError) as second:
                error.add_note(f"the ledger could not be marked as unverified: {second}")
            raise

    def mark(self, problem: str) -> None:
        """Mark the log as not to be trusted. `problem` is its level, a colon, and what was found.

        A mark of another level stays, in a line of its own: what lifts the one need not lift the other.
        """
        found = " ".join(problem.splitlines())
        with self._store.write() as tx:
            head = tx.head()
            kept = [one for one in (head.unverified or "").splitlines() if _level(one) != _level(found)]
            marks = "\n".join([*kept, found])
            if head.unverified != marks:
                tx.apply(Changes(head._replace(unverified=marks)))

    def lift(self, marks: str) -> None:
        """Lift the marks that were seen when a verification began, unless one was set since: it has not looked into that."""
        with self._store.write() as tx:
            head = tx.head()
            if head.unverified == marks:
                tx.apply(Changes(head._replace(unverified=None)))


def levels(marks: str) -> set[str]:
    """The levels named in the marks of a log."""
    return set(map(_level, marks.splitlines()))


def _level(mark: str) -> str:
    return mark.partition(":")[0]


_In = TypeVar("_In")
_Out = TypeVar("_Out")


def _each_to_the_end(act: Callable[[_In], Iterable[_Out]], items: Iterable[_In]) -> list[_Out]:
    """What `act` gives for each; where some fail, the others are done all the same, and the first error is raised then."""
    found: list[_Out] = []
    problem = None
    for item in items:
        try:
            found += act(item)
        except ConsentlibError as error:
            problem = problem or error
    if problem is not None:
        raise problem
    return found


def _once_more(act: Callable[[], _Out]) -> _Out:
    """What `act` gives; done a second time where its commit was found undone, as nothing is doubled then."""
    try:
        return act()
    except CommitUndoneError:
        return act()
