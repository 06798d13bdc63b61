"""Permits: a send is recorded before it is handed over, so that no stop can come between the check and the record.

Nothing can hold the log while a mail server talks. So each short transaction checks up to a thousand recipients and records
one `message.sent` for those allowed, naming the log size it read; a permit not used within a minute lapses and its send is
taken back with `message.failed`.
"""

from __future__ import annotations

import logging
from collections import Counter
from collections.abc import Callable, Generator, Iterable, Iterator
from contextlib import AbstractContextManager, contextmanager, nullcontext
from itertools import islice
from types import TracebackType
from typing import Any, Final, Generic, NamedTuple, TypeVar

from attrs import asdict

from consentlib.asking import Asked, Asking, Clock, read_as_name
from consentlib.errors import InputError, LedgerError, NotAllowedError, PermitLapsedError, VerificationError
from consentlib.policy import Policy
from consentlib.reader import has_returned
from consentlib.recorder import Recorder
from consentlib.rules import Decision
from consentlib.rules.judge import judged_use

LAPSES_AFTER: Final = 60_000
"""Milliseconds after which an unused permit is void."""
_MOST: Final = 1_000
_FIRST: Final = 16
_BATCH_TIME: Final = 10_000

Row = TypeVar("Row")
Address = str | Callable[[Any], str] | None
Appending = Callable[[], AbstractContextManager[Recorder]]

_log = logging.getLogger("consentlib")


class Addresses:
    """Reads the address of each row: whatever it may be, so that the check can say what is wrong with it."""

    def __init__(self, address: Address) -> None:
        self._address = address
        self._rows = 0
        self._without = 0

    def of(self, row: Any) -> Any:
        """The address a row names; None where it has none."""
        address = self._address
        if address is None:
            return row
        if callable(address):
            return address(row)
        found = row.get(address, _ABSENT) if hasattr(row, "get") else getattr(row, address, _ABSENT)
        self._rows += 1
        self._without += found is _ABSENT
        return None if found is _ABSENT else found

    def problem(self) -> str | None:
        """What is wrong with the key, where all rows together show that something is."""
        named = self._rows == 0 or self._without < self._rows
        return None if named else f"expected rows with `{self._address}`, found none among {self._rows}"


_ABSENT: Final = object()


class Filtered(Generic[Row]):
    """Rows that are allowed, checked as they are drawn. `counts`: `allowed`, and denials by reason."""

    def __init__(self, rows: Iterable[Row], address: Address, check: Callable[[Any], Decision]) -> None:
        self._rows = rows
        self._addresses = Addresses(address)
        self._check = check
        self.counts: Counter[str] = Counter()

    def __iter__(self) -> Iterator[Row]:
        for row in self._rows:
            decision = self._check(self._addresses.of(row))
            self.counts["allowed" if decision.allowed else decision.reason] += 1
            if decision.allowed:
                yield row
        if (problem := self._addresses.problem()) is not None:
            _log.warning("%s", problem)


class Send(NamedTuple):
    """A recorded send: to which address id, by which use and channel, in which entry, when."""

    id: str
    use: str
    channel: str
    index: int  # type: ignore[assignment]  # hides tuple.index
    said: int


class Permit:
    """Leave for one send, already on record. Enter it around the hand-over; an exception inside takes the send back."""

    def __init__(self, appending: Appending, clock: Clock, decision: Decision, send: Send, issued: int) -> None:
        self._appending = appending
        self._clock = clock
        self._send = send
        self._used = False
        self.decision = decision
        self.expires_at = issued + LAPSES_AFTER

    def __enter__(self) -> Permit:
        if self._used:
            raise LedgerError("expected a permit that was not used, found one that was")
        self._used = True
        if self._clock() >= self.expires_at:
            take_back(self._appending, [self._send])
            raise PermitLapsedError("expected the permit to be used within 60 seconds, found it lapsed")
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None) -> None:
        if error is not None:
            with _behind(error):
                take_back(self._appending, [self._send])

    def __repr__(self) -> str:
        return f"<Permit use={self.decision.use} channel={self.decision.channel}>"


@contextmanager
def _behind(error: BaseException) -> Iterator[None]:
    """Take back after an error at the hand-over, which is what the caller must see, whatever becomes of this."""
    try:
        yield
    except (LedgerError, VerificationError) as second:
        error.add_note(f"the send stays on record, it could not be taken back: {type(second).__name__}")
        _log.error("a send that failed could not be taken back: `%s`", type(second).__name__)


class PermitRun(Generic[Row]):
    """Rows that may be sent to now, each on record before it is drawn. `counts`: `allowed`, and denials by reason.

    ::

        with ledger.permits(rows, ...) as run:
            for row in run:
                send(row)

    Draw a row, send it, draw the next. An exception in the block takes back the row drawn last and those that were not drawn;
    a loop without `with` can't do that, as it does not learn of exceptions. Rows that are not drawn within a minute of their
    check are checked again; rows left when the run is closed early are taken back. `failed()` takes back the row drawn last.
    """

    def __init__(
        self, appending: Appending, asking: Asking, clock: Clock, rows: Iterable[Row], address: Address, asked: Asked
    ) -> None:
        self._appending = appending
        self._asking = asking
        self._clock = clock
        self._rows = iter(rows)
        self._addresses = Addresses(address)
        self._asked = asked
        self._last: Send | None = None
        self._shared = False  # whether an earlier row of the same address was sent to under the last send
        self._failed: set[Send] = set()
        self._handing = False
        self._entered = False
        self._drawing: Generator[Row] | None = None
        self.counts: Counter[str] = Counter()

    def __enter__(self) -> PermitRun[Row]:
        self._entered = True
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None) -> None:
        self._entered = False
        drawing, self._drawing = self._drawing, None
        if error is not None and self._handing:
            with _behind(error):
                self.failed()
        if drawing is not None:
            with nullcontext() if error is None else _behind(error):
                drawing.close()

    def __iter__(self) -> Iterator[Row]:
        drawing = self._draw()
        if self._entered:  # else a loop that is left drops the last reference, and closes it with that
            self._drawing = drawing
        return drawing

    def _draw(self) -> Generator[Row]:
        waiting: list[Row] = []
        size = _FIRST
        while batch := waiting[:size] or list(islice(self._rows, size)):
            del waiting[:size]
            started = self._clock()
            allowed = self._issue(batch)
            drawn, handed = 0, set[Send]()
            self._failed.clear()
            try:
                for row, send in allowed:
                    if self._clock() >= started + LAPSES_AFTER:
                        break
                    drawn += 1
                    if send in self._failed:  # taken back for an earlier row of the same address: this one needs its own
                        self.counts["allowed"] -= 1
                        waiting.append(row)
                        continue
                    self._last, self._shared, self._handing = send, send in handed, True
                    handed.add(send)
                    yield row
                    self._handing = False
            finally:
                if left := allowed[drawn:]:
                    take_back(self._appending, [send for _, send in left if send not in handed])
                    self.counts["allowed"] -= len(left)
                    waiting[:0] = [row for row, _ in left]
            spent = max(1, self._clock() - started)
            size = max(1, min(_MOST, size * 4, len(batch) * _BATCH_TIME // spent))
        if (problem := self._addresses.problem()) is not None:
            raise InputError(problem)

    def failed(self) -> None:
        """Take back the row drawn last: it was not handed over. What an earlier row of the same address used stays used."""
        if self._last is None:
            raise LedgerError("expected a row that was drawn, found none")
        if not self._shared:
            take_back(self._appending, [self._last])
            self._failed.add(self._last)
        self._last, self._handing = None, False
        self.counts["allowed"] -= 1
        self.counts["failed"] += 1

    def one(self) -> Permit:
        """The permit for the only row. Raises `NotAllowedError`."""
        decisions: list[Decision] = []
        issued = self._clock()
        allowed = self._issue(list(self._rows), decisions)
        if not allowed:
            raise NotAllowedError(decisions[0])
        return Permit(self._appending, self._clock, decisions[0], allowed[0][1], issued)

    def _issue(self, rows: list[Row], decisions: list[Decision] | None = None) -> list[tuple[Row, Send]]:
        """Check a batch and record its sends in one transaction."""
        asking, asked = self._asking, self._asked
        reasons: list[str] = []
        allowed: list[tuple[Row, Decision, str]] = []
        returned: set[str] = set()
        sends: dict[tuple[str, str], Send] = {}
        people = [(row, asking.named(self._addresses.of(row))) for row in rows]
        with self._appending() as recorder:
            for row, named in people:
                lives = recorder.view.lives(named.key)
                decision = asking.decide(recorder.view, recorder.head, lives, named, asked, recorder.now)
                reasons.append("allowed" if decision.allowed else decision.reason)
                if decisions is not None:
                    decisions.append(decision)
                if decision.allowed:
                    # Somebody unknown passes in the modes `warn` and `observe` only, and is known from now on.
                    id = lives[-1].id if lives else recorder.introduce(named.form)
                    allowed.append((row, decision, id))
                    if lives and has_returned(lives):
                        returned.add(id)
            groups: dict[_Group, dict[str, None]] = {}
            for _, decision, id in allowed:
                group = _Group(decision.use, decision.channel, decision.controller, decision.would_deny, id in returned)
                groups.setdefault(group, {})[id] = None
            for group, ids in groups.items():
                asked_facts = _asked_facts(recorder.policy, asked, group)
                facts = {"occurred_at": recorder.time, "size": recorder.head.size, **asked_facts, **_addresses(list(ids))}
                index = recorder.append("message.sent", facts)
                send = Send("", asked_facts["use"], group.channel, index, recorder.time)
                sends.update({(id, group.channel): send._replace(id=id) for id in ids})
        self.counts.update(reasons)
        return [(row, sends[id, decision.channel]) for row, decision, id in allowed]


class _Group(NamedTuple):
    """What the sends of one entry have in common: what they are, and what the decision rests on beside the question."""

    use: str
    channel: str
    controller: str
    would_deny: str | None
    returned: bool


def _asked_facts(policy: Policy | None, asked: Asked, group: _Group) -> dict[str, Any]:
    """What was asked for a send, and how it was let through, as far as it was said: with it the decision can be replayed."""
    said = {name: value for name, value in asdict(asked.message).items() if value is not None and name != "kind"}
    facts = {
        "use": group.use if policy is None else judged_use(policy, group.use, asked.message),
        "channel": group.channel,
        "controller": None if policy is None or group.controller == policy.controller else group.controller,
        "order": asked.order,
        "campaign": asked.campaign,
        "data": sorted(set(asked.data)) or None,
        "message": {name: value if type(value) is bool else read_as_name(value) for name, value in said.items()} or None,
        "would_deny": group.would_deny,
        "returned": group.returned or None,
    }
    return {name: value for name, value in facts.items() if value is not None}


def _addresses(ids: list[str]) -> dict[str, Any]:
    return {"address": ids[0]} if len(ids) == 1 else {"addresses": ids}


def take_back(appending: Appending, sends: Iterable[Send]) -> None:
    """Record that these sends were not handed over."""
    groups: dict[tuple[str, str, int], dict[str, int]] = {}
    for send in sends:
        groups.setdefault((send.use, send.channel, send.index), {})[send.id] = send.said
    if not groups:
        return
    with appending() as recorder:
        for (use, channel, index), said in groups.items():
            facts = {"occurred_at": recorder.time, "use": use, "channel": channel, "entry": index}
            facts |= {"sent": next(iter(said.values())), **_addresses(list(said))}
            recorder.append("message.failed", facts)
