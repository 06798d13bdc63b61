"""Permits: a send is recorded before it is handed over, so that no stop can come between the check and the record.

Nothing can hold the log while a mail server talks. So each short transaction checks up to a thousand recipients and records
one `message.sent` for those allowed, naming the log size it read; a permit not used within a minute lapses and its send is
taken back with `message.failed`.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Iterable, Iterator
from itertools import islice
from types import TracebackType
from typing import TYPE_CHECKING, Any, Final, Generic, TypeVar

from consentlib.errors import LedgerError, NotAllowedError, PermitLapsedError
from consentlib.events import ContactImported
from consentlib.recorder import prepare
from consentlib.rules import Decision
from consentlib.rules.judge import judged_use

if TYPE_CHECKING:
    from consentlib.ledger import Ledger

LAPSES_AFTER: Final = 60_000
"""Milliseconds after which an unused permit is void."""
_MOST: Final = 1_000
_FIRST: Final = 16
_BATCH_TIME: Final = 10_000

Row = TypeVar("Row")
Address = str | Callable[[Any], str] | None


def address_of(row: Any, address: Address) -> Any:
    """The address a row names; whatever else it may be, so that the check can say what is wrong with it."""
    if address is None:
        return row
    if callable(address):
        return address(row)
    return row.get(address) if hasattr(row, "get") else getattr(row, address, None)


class Filtered(Generic[Row]):
    """Rows that are allowed, checked as they are drawn. `counts`: `allowed`, and denials by reason."""

    def __init__(self, rows: Iterable[Row], address: Address, check: Callable[[Any], Decision]) -> None:
        self._rows = rows
        self._address = address
        self._check = check
        self.counts: Counter[str] = Counter()

    def __iter__(self) -> Iterator[Row]:
        for row in self._rows:
            decision = self._check(address_of(row, self._address))
            self.counts["allowed" if decision.allowed else decision.reason] += 1
            if decision.allowed:
                yield row


class Permit:
    """Leave for one send, already on record. Enter it around the hand-over; an exception inside takes the send back."""

    def __init__(self, ledger: Ledger, decision: Decision, send: Send, issued: int) -> None:
        self._ledger = ledger
        self._send = send
        self._used = False
        self.decision = decision
        self.expires_at = issued + LAPSES_AFTER

    def __enter__(self) -> Permit:
        if self._used:
            raise LedgerError("expected a permit that was not used, found one that was")
        self._used = True
        if self._ledger._clock() >= self.expires_at:
            take_back(self._ledger, [self._send])
            raise PermitLapsedError("expected the permit to be used within 60 seconds, found it lapsed")
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None) -> None:
        if kind is not None:
            take_back(self._ledger, [self._send])

    def __repr__(self) -> str:
        return f"<Permit use={self.decision.use} channel={self.decision.channel}>"


class Send:
    """A recorded send: which address id, by which use and channel, in which entry, when."""

    __slots__ = ("channel", "id", "index", "said", "use")

    def __init__(self, id: str, use: str, channel: str, index: int, said: int) -> None:
        self.id, self.use, self.channel, self.index, self.said = id, use, channel, index, said


class PermitRun(Generic[Row]):
    """Rows that may be sent to now, each on record before it is drawn. `counts`: `allowed`, and denials by reason.

    Draw a row, send it, draw the next. Rows that are not drawn within a minute of their check are checked again; rows left
    when the run is closed early are taken back. `failed(row)` takes back the row drawn last.
    """

    def __init__(self, ledger: Ledger, rows: Iterable[Row], address: Address, asked: Any) -> None:
        self._ledger = ledger
        self._rows = iter(rows)
        self._address = address
        self._asked = asked
        self._last: Send | None = None
        self.counts: Counter[str] = Counter()

    def __iter__(self) -> Iterator[Row]:
        waiting: list[Row] = []
        size = _FIRST
        while batch := waiting[:size] or list(islice(self._rows, size)):
            del waiting[:size]
            started = self._ledger._clock()
            allowed = self._issue(batch)
            drawn = 0
            try:
                for row, send in allowed:
                    if self._ledger._clock() >= started + LAPSES_AFTER:
                        break
                    drawn += 1
                    self._last = send
                    yield row
            finally:
                left = allowed[drawn:]
                if left:
                    take_back(self._ledger, [send for _, send in left])
                    self.counts["allowed"] -= len(left)
                    waiting[:0] = [row for row, _ in left]
            spent = max(1, self._ledger._clock() - started)
            size = max(1, min(_MOST, size * 4, len(batch) * _BATCH_TIME // spent))

    def failed(self) -> None:
        """Take back the row drawn last: it was not handed over."""
        if self._last is None:
            raise LedgerError("expected a row that was drawn, found none")
        take_back(self._ledger, [self._last])
        self._last = None
        self.counts["allowed"] -= 1
        self.counts["failed"] += 1

    def one(self) -> Permit:
        """The permit for the only row. Raises `NotAllowedError`."""
        decisions: list[Decision] = []
        issued = self._ledger._clock()
        allowed = self._issue(list(self._rows), decisions)
        if not allowed:
            raise NotAllowedError(decisions[0])
        return Permit(self._ledger, decisions[0], allowed[0][1], issued)

    def _issue(self, rows: list[Row], decisions: list[Decision] | None = None) -> list[tuple[Row, Send]]:
        """Check a batch and record its sends in one transaction."""
        ledger = self._ledger
        allowed: list[tuple[Row, str, Decision]] = []
        sends: dict[tuple[str, str], Send] = {}
        with ledger._store.write() as tx:
            recorder = ledger._recorder(tx)
            head, now = recorder.head, recorder.now
            held = ledger._scope(head, tx)
            for row in rows:
                normal, key = ledger._key(address_of(row, self._address))
                lives = tx.lives(key)
                decision = ledger._decide(tx, head, held, lives, normal, self._asked, now)
                self.counts["allowed" if decision.allowed else decision.reason] += 1
                if decisions is not None:
                    decisions.append(decision)
                if decision.allowed:
                    if not lives:  # let through by `observe` or `warn`
                        recorder.record(prepare(ContactImported(normal or "", source="permit"), ledger._keys))
                        lives = tuple(recorder.lives(key))
                    allowed.append((row, lives[-1].id, decision))
            groups: dict[tuple[str, str], list[str]] = {}
            for _, id, decision in allowed:
                use = judged_use(held.policy, decision.use, self._asked.message)
                ids = groups.setdefault((use, decision.channel), [])
                if id not in ids:
                    ids.append(id)
            for (use, channel), ids in groups.items():
                facts: dict[str, Any] = {"occurred_at": recorder.time, "use": use, "channel": channel, "size": head.size}
                facts |= {"address": ids[0]} if len(ids) == 1 else {"addresses": ids}
                index = recorder.append("message.sent", facts)
                sends.update({(id, channel): Send(id, use, channel, index, recorder.time) for id in ids})
            if allowed:
                recorder.finish()
        return [(row, sends[id, decision.channel]) for row, id, decision in allowed]


def take_back(ledger: Ledger, sends: list[Send]) -> None:
    """Record that these sends were not handed over."""
    groups: dict[tuple[str, str, int], list[Send]] = {}
    for send in sends:
        groups.setdefault((send.use, send.channel, send.index), []).append(send)
    with ledger._store.write() as tx:
        recorder = ledger._recorder(tx)
        for (use, channel, index), group in groups.items():
            facts: dict[str, Any] = {
                "occurred_at": recorder.time,
                "use": use,
                "channel": channel,
                "sent": group[0].said,
                "entry": index,
            }
            ids = [send.id for send in group]
            facts |= {"address": ids[0]} if len(ids) == 1 else {"addresses": ids}
            recorder.append("message.failed", facts)
        recorder.finish()
