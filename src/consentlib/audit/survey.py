"""The figures of the audit report, gathered entry by entry from a log that is being verified.

Nothing of a `person` part is read, only whether one is there. What grows with the number of people lies in `Traces`; all
else is counted under a bounded number of names, and listed up to a bounded length.
"""

from __future__ import annotations

import json
from bisect import insort
from collections import defaultdict
from collections.abc import Callable, Mapping
from datetime import UTC, datetime
from functools import lru_cache
from typing import Any, Final, NamedTuple

from attrs import define, field

from consentlib.audit.traces import STOPS, Traces, Word
from consentlib.errors import ConsentlibError
from consentlib.facts import upcast
from consentlib.fields import ALL
from consentlib.fold import about
from consentlib.log import WITHHELD, Entry
from consentlib.log.tally import NAMES, OTHER, Tally
from consentlib.policy.model import Policy

BURST: Final = 20
"""Grants recorded within one minute of the clock from which on the minute is listed."""
LATE: Final = 3_600_000
"""Milliseconds between said and recorded from which on an entry is late."""
LISTED: Final = 100
"""How many of a kind the report lists; all are counted."""
LARGEST: Final = 25
"""How many minutes with bursts it lists."""
MINUTE: Final = 60_000
DAY: Final = 86_400_000
DELAYS: Final = (MINUTE, 3_600_000, DAY, 7 * DAY, 30 * DAY)
"""Upper bounds, in milliseconds, of the classes of delay from said to recorded; one more class has none."""
EVIDENCE: Final = ("ip", "user_agent", "url", "session", "reference", "attachments")

_GROUPS: Final = {
    "consent.given": "grants",
    "consent.confirmed": "grants",
    "campaign.joined": "grants",
    "consent.withdrawn": "stops",
    "consent.refused": "stops",
    "consent.invalidated": "stops",
    "objection.raised": "stops",
    "restriction.set": "stops",
    "message.sent": "sends",
    "message.failed": "sends",
    "part.erased": "ledger",
    "export.made": "ledger",
    "policy.published": "ledger",
    "text.published": "ledger",
    "key.added": "ledger",
}
_CONTRACTS: Final = ("order", "negotiation", "inquiry", "complaint", "return", "basket")


@define
class Listing:
    """Rows of a list: all are counted, the first are kept."""

    total: int = 0
    rows: list[Any] = field(factory=list)

    def add(self, row: Any) -> None:
        self.total += 1
        if len(self.rows) < LISTED:
            self.rows.append(row)


@define
class Largest(Listing):
    """Rows of (time, number): all are counted, those with the largest numbers are kept, largest first."""

    def add(self, row: tuple[int, int]) -> None:
        self.total += 1
        insort(self.rows, row, key=lambda one: (-one[1], one[0]))
        del self.rows[LARGEST:]


Months = defaultdict[int, Tally]
"""Tallies by month, counted from year 0."""


def _months() -> Months:
    return defaultdict(Tally)


class AfterStop(NamedTuple):
    """A send to an address whose stop was on record."""

    entry: int
    time: int
    id: str
    use: str
    stop: Word


class Late(NamedTuple):
    """An entry recorded long after it was said, and after a send in between."""

    entry: int
    kind: str
    said: int
    time: int


class InForce(NamedTuple):
    """A policy from its entry on. `hash` was computed from its bytes."""

    entry: int
    time: int
    id: str
    version: str
    hash: str


class Wording(NamedTuple):
    """A text in its exact words by language, and the entry of the first policy that holds it."""

    entry: int
    version: str
    hash: str
    words: Mapping[str, str]


class Erased(NamedTuple):
    """An erasure on record."""

    entry: int
    time: int
    parts: int
    reason: str


class Exported(NamedTuple):
    """An export on record: `scope` is `whole` or `person`, `by` a role, empty where nobody said."""

    entry: int
    time: int
    scope: str
    by: str


class _Read(NamedTuple):
    entry: Entry
    time: int
    kind: str
    facts: Mapping[str, Any]
    ids: list[str]

    @property
    def said(self) -> int:
        return min(int(self.facts["occurred_at"]), self.time)


@define
class Survey:
    """What a report says of a log. Times are milliseconds since the epoch, recorded ones unless they are called said."""

    traces: Traces
    months: Months = field(factory=_months)
    facts_erased: int = 0
    facts_withheld: int = 0
    unreadable: Listing = field(factory=Listing)
    forms: dict[str, Tally] = field(factory=dict)
    grants: int = 0
    unproven: Listing = field(factory=Listing)
    bursts: Largest = field(factory=Largest)
    stops: Months = field(factory=_months)
    delays: list[int] = field(factory=lambda: [0] * (len(DELAYS) + 1))
    slowest: tuple[int, int] | None = None
    sends: Months = field(factory=_months)
    send_entries: int = 0
    sends_with_size: int = 0
    sends_beyond: Listing = field(factory=Listing)
    taken_back: int = 0
    after_stop: Listing = field(factory=Listing)
    late: Tally = field(factory=Tally)
    late_after_send: Listing = field(factory=Listing)
    policies: Listing = field(factory=Listing)
    policy: Policy | None = None
    texts: dict[tuple[str, str], Wording] = field(factory=dict)
    texts_used: Tally = field(factory=Tally)
    erasures: Listing = field(factory=Listing)
    exports: Listing = field(factory=Listing)
    _minute: int = -1
    _in_minute: int = 0

    def see(self, entry: Entry) -> None:
        """Take in the next entry, whose leaf and parts have been verified."""
        _, _, _, _, t, label, _ = entry.leaf.split(b"\n", 6)
        time, kind = int(t), label.decode()
        self.months[_month(time)].add(group(kind))
        part = entry.parts.get("facts")
        if part is WITHHELD:
            self.facts_withheld += 1
        elif not isinstance(part, tuple):
            self.facts_erased += 1
        else:
            try:
                read = _Read(entry, time, kind, facts := upcast(kind, json.loads(part[1])), about(facts))
                if not all(type(one) is str for one in read.ids):
                    raise TypeError("expected ids as text")
                self._late(read)
                if handler := _HANDLERS.get(kind):
                    handler(self, read)
            except (ConsentlibError, ArithmeticError, AttributeError, LookupError, RecursionError, TypeError, ValueError):
                self.unreadable.add(entry.index)  # committed to, but not by this library

    def end(self) -> None:
        """All entries were seen."""
        if self._in_minute >= BURST:
            self.bursts.add((self._minute * MINUTE, self._in_minute))
        self._in_minute = 0

    def _late(self, read: _Read) -> None:
        if read.time - read.said < LATE:
            return
        self.late.add(read.kind)
        if self.traces.sent_since(read.ids, read.said):
            self.late_after_send.add(Late(read.entry.index, read.kind, read.said, read.time))

    def _grant(self, read: _Read) -> None:
        facts, index = read.facts, read.entry.index
        form = facts.get("form")
        name = form if isinstance(form, str) else "" if form is None else "*"
        if name not in self.forms and len(self.forms) >= NAMES:
            name = OTHER
        row = self.forms.setdefault(name, Tally())
        evidence = [str(one) for one in facts.get("evidence", ())]
        self.grants += 1
        row["all"] += 1
        row["faults"] += bool(facts.get("faults"))
        row["none"] += not evidence
        committed = b"\nperson " in read.entry.leaf
        row["gone"] += bool(evidence) and committed and read.entry.parts.get("person") is None
        row.update(kind for kind in evidence if kind in EVIDENCE)
        if not evidence:
            self.unproven.add((index, read.time, name))
        if read.time // MINUTE != self._minute:
            self.end()
            self._minute = read.time // MINUTE
        self._in_minute += 1
        self.texts_used.add(f"{facts.get('text_version', '')} {facts.get('text_hash', '')}")
        self.traces.grant(read.ids, _list(facts.get("uses", ())), _list(facts.get("channels", ())), index, read.time)

    def _stop(self, read: _Read) -> None:
        self.stops[_month(read.time)].add(read.kind)
        delay = read.time - read.said
        self.delays[next((place for place, bound in enumerate(DELAYS) if delay <= bound), len(DELAYS))] += 1
        if self.slowest is None or delay > self.slowest[0]:
            self.slowest = (delay, read.entry.index)
        self.traces.stop(read.kind, read.ids, read.facts, read.entry.index, read.time)

    def _send(self, read: _Read) -> None:
        facts, index = read.facts, read.entry.index
        use, channel = str(facts["use"]), str(facts.get("channel", "any"))
        self.sends[_month(read.time)].add(use, len(read.ids))
        self.send_entries += 1
        size = facts.get("size")
        self.sends_with_size += size is not None
        if size is not None and not 0 <= int(size) <= index:
            self.sends_beyond.add(index)
        for id in read.ids:
            stop = self.traces.send(id, use, channel, self.policy, read.time)
            if stop is not None:
                self.after_stop.add(AfterStop(index, read.time, id[:8], use, stop))

    def _failed(self, read: _Read) -> None:
        self.taken_back += len(read.ids)

    def _policy(self, read: _Read) -> None:
        self.policy = None  # if the one in force can't be read, nobody can say what a stop covers
        part = read.entry.parts.get("policy")
        if not isinstance(part, tuple):
            raise TypeError("expected the policy as a part")
        self.policy = policy = Policy.from_canonical(part[1])
        self.policies.add(InForce(read.entry.index, read.time, policy.id, policy.version, policy.hash))
        for text in policy.texts.values():
            if len(self.texts) < NAMES:
                wording = Wording(read.entry.index, text.version, text.hash, dict(text.wording))
                self.texts.setdefault((text.version, text.hash), wording)

    def _erasure(self, read: _Read) -> None:
        parts, reason = len(read.facts["parts"]), str(read.facts.get("reason", ""))
        self.erasures.add(Erased(read.entry.index, read.time, parts, discreet(reason)))

    def _export(self, read: _Read) -> None:
        scope, by = str(read.facts["scope"]), str(read.facts.get("by", ""))
        self.exports.add(Exported(read.entry.index, read.time, discreet(scope), discreet(by)))


_HANDLERS: Final[Mapping[str, Callable[[Survey, _Read], None]]] = {
    "consent.given": Survey._grant,
    "message.sent": Survey._send,
    "message.failed": Survey._failed,
    "policy.published": Survey._policy,
    "part.erased": Survey._erasure,
    "export.made": Survey._export,
    **dict.fromkeys(STOPS, Survey._stop),
}


def discreet(text: str) -> str:
    """Free text of the operator's without words that may be an address or a number of somebody's."""
    return " ".join(OTHER if "@" in word or sum(c.isdigit() for c in word) > 5 else word for word in text.split())


@lru_cache(maxsize=1000)
def group(kind: str) -> str:
    """The group under which a kind is drawn."""
    return _GROUPS.get(kind) or ("contracts" if kind.partition(".")[0] in _CONTRACTS else "other")


def _list(names: Any) -> list[str]:
    return ["any"] if names == ALL else [str(name) for name in names]


def _month(time: int) -> int:
    return _month_of_day(time // DAY)


@lru_cache(maxsize=1000)
def _month_of_day(day: int) -> int:
    moment = datetime.fromtimestamp(day * DAY / 1000, UTC)
    return moment.year * 12 + moment.month - 1
