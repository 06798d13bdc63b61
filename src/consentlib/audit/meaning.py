"""The level *meaning*: each recorded send is asked about again, as of the log size its permit read.

The log's read models are rebuilt entry by entry (`Replica`) and the one implementation of the rules is asked. A permit reads
the newest state and appends directly behind it: between the size a send names and its own entry there may be nothing but
entries of the same transaction: sends, and addresses it introduced, all of the same millisecond. A size that is older hides
what came since, one that is larger never was; both are findings.

Gone facts are unknown, and what is unknown never makes a send lawful.
"""

from __future__ import annotations

import sqlite3
from collections import deque
from collections.abc import Callable, Sequence
from types import TracebackType
from typing import Any, Final, NamedTuple, Self

from attrs import evolve

from consentlib.audit.replica import Replica
from consentlib.errors import ConsentlibError, StoreUnavailableError
from consentlib.fold import Known, about
from consentlib.log import WITHHELD, Entry, Report
from consentlib.log.meaning import MOST_FINDINGS, Finding, Meaning
from consentlib.policy.model import Policy
from consentlib.reader import holdings, known
from consentlib.rules import Decision, Message, Request, judge, reads_orders
from consentlib.rules.judge import meant_channel
from consentlib.store.protocol import Head, Life

WRONG_SIZE: Final = "wrong_log_size"

_LAWFUL: Final = 0
_UNLAWFUL: Final = 1
_UNJUDGED: Final = 2

_SCHEMA: Final = """
CREATE TABLE sent (id TEXT, entry INTEGER, use TEXT, channel TEXT, sized INTEGER, outcome INTEGER, reason TEXT, let INTEGER,
 PRIMARY KEY (id, entry)) WITHOUT ROWID;
"""
_UNREADABLE: Final = (
    ConsentlibError,
    ArithmeticError,
    AttributeError,
    LookupError,
    RecursionError,
    TypeError,
    ValueError,
    sqlite3.InterfaceError,  # a value that is no text and no number, by the Python that runs
    sqlite3.ProgrammingError,
)
_MOST_WAITING: Final = 2_000
"""Entries of one transaction, at most: a batch has a thousand recipients, some of whom it may have to introduce."""

_KINDS: Final = {"email": "email", "sms": "phone", "phone": "phone", "post": "post", "device": "device"}
"""By channel, the kind of address it needs, for addresses whose kind the log no longer says."""


def verify_meaning(verify: Callable[[Callable[[Entry], None]], Report]) -> Report:
    """The report of a verification, with what its sends were worth. `verify` hands over each entry once it is in order.

    The level is *meaning* where *history* was reached, nothing is withheld and no send was without a ground. Raises what
    `verify` does, and `StoreUnavailableError` without room for a temporary file.
    """
    try:
        with Sends() as sends:
            report = verify(sends.see)
            meaning = sends.end()
    except sqlite3.Error as error:
        raise StoreUnavailableError("expected room for a temporary file, found none") from error
    reached = report.level == "history" and meaning.holds and not report.withheld
    gaps = [gap for gap in report.not_checked if not gap.startswith("meaning:")]
    level = "meaning" if reached else report.level
    return evolve(report, level=level, not_checked=(*gaps, *meaning.gaps()), meaning=meaning)


class _Waiting(NamedTuple):
    """An entry that may belong to the transaction of a send to come; `one` is None where its facts are gone."""

    entry: Entry
    time: int
    one: Known | None


class Sends:
    """Takes in a log and judges its sends. What grows with their number lies in files without names. A context manager."""

    def __init__(self) -> None:
        self._replica = Replica()
        self._db = sqlite3.connect("", isolation_level=None)
        self._db.executescript(f"PRAGMA journal_mode=OFF; PRAGMA synchronous=OFF; PRAGMA cache_size=-16000; {_SCHEMA} BEGIN;")
        self._waiting: deque[_Waiting] = deque()
        self._hidden = 0
        self._taken_back = 0
        self._unread: int | None = None

    def __enter__(self) -> Self:
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None) -> None:
        self._replica.__exit__(kind, error, trace)
        self._db.close()

    def see(self, entry: Entry) -> None:
        """Take in the next entry, whose leaf and parts have been verified."""
        _, _, _, _, t, label, _ = entry.leaf.split(b"\n", 6)
        kind = label.decode()
        if entry.parts.get("facts") is WITHHELD:
            self._cannot_read(entry.index, kind)
            return
        try:
            one = known(entry)
            if one is not None and not all(type(id) is str for id in about(one.facts)):
                raise TypeError("expected ids as text")
            self._take(entry, int(t), kind, one)
        except _UNREADABLE:
            self._cannot_read(entry.index, kind)  # committed to, but not by this library

    def end(self) -> Meaning:
        """All entries were seen."""
        count = self._db.execute
        rows = count("SELECT outcome, sized, let, COUNT(*) FROM sent GROUP BY 1, 2, 3").fetchall()

        def number(*outcomes: int, **like: int) -> int:
            kept = [row for row in rows if row[0] in outcomes]
            return sum(row[3] for row in kept if row[1] == like.get("sized", row[1]) and row[2] == like.get("let", row[2]))

        reasons = count(f"SELECT reason, COUNT(*) FROM sent WHERE outcome = {_UNLAWFUL} GROUP BY 1 ORDER BY 2 DESC, 1")
        found = count(
            f"SELECT entry, reason, COUNT(*), let FROM sent WHERE outcome = {_UNLAWFUL} "
            f"GROUP BY entry, reason, let ORDER BY entry, reason LIMIT {MOST_FINDINGS}"
        )
        return Meaning(
            judged=number(_LAWFUL, _UNLAWFUL),
            ground_only=number(_LAWFUL, _UNLAWFUL, sized=0),
            unjudged=number(_UNJUDGED) + self._hidden,
            unlawful=number(_UNLAWFUL),
            let_through=number(_UNLAWFUL, let=1),
            taken_back=self._taken_back,
            reasons=tuple(reasons),
            findings=tuple(Finding(index, reason, number, bool(let)) for index, reason, number, let in found),
            unread=self._unread,
        )

    def _cannot_read(self, index: int, kind: str) -> None:
        """From here on nobody can tell what was said, or of whom."""
        self._hidden += kind == "message.sent"
        self._unread = index if self._unread is None else self._unread

    def _take(self, entry: Entry, time: int, kind: str, one: Known | None) -> None:
        if self._waiting and self._waiting[0].time != time:
            self._settle()
        if one is None:
            self._hidden += kind == "message.sent"
        if _may_precede(kind, one):
            if len(self._waiting) == _MOST_WAITING:
                self._settle(self._waiting[1].entry.index)
            if kind == "message.sent" and one is not None:
                self._recorded(one, time)
            self._waiting.append(_Waiting(entry, time, one))
            return
        self._settle()
        if one is not None:
            if kind == "message.sent":
                self._event(one)
            self._replica.apply(entry, one)
            if kind == "message.failed":
                self._failed(one)
            elif kind == "part.erased" and any(name == "facts" for _, name in one.facts["parts"]):
                self._lost(about(one.facts))

    def _settle(self, size: int | None = None) -> None:
        """Let entries that waited have their effect: those below a size, or all."""
        while self._waiting and (size is None or self._waiting[0].entry.index < size):
            first = self._waiting.popleft()
            if first.one is not None:
                self._replica.apply(first.entry, first.one)

    def _recorded(self, one: Known, time: int) -> None:
        """A send that a permit recorded: judged at the size that it names."""
        size = one.facts["size"]
        first = self._waiting[0].entry.index if self._waiting else one.index
        honest = type(size) is int and first <= size <= one.index
        if honest:
            self._settle(size)
        asked = one.facts.get("message", {})
        self._judge(one, time, Message(**asked), None if honest else WRONG_SIZE)

    def _event(self, one: Known) -> None:
        """A send that shop code recorded itself: judged at its own entry, its message taken as what it should be."""
        policy = self._replica.scope.policy
        use = policy.use(one.facts["use"]) if policy is not None else None
        message = Message(
            marketing=use is not None and use.marketing,
            unsubscribe=True,
            sender_identified=True,
            own_products=True,
            branded=False,
        )
        self._judge(one, min(one.facts["occurred_at"], one.time), message, None)

    def _judge(self, one: Known, at: int, message: Message, wrong: str | None) -> None:
        facts, rows = one.facts, []
        let, sized = facts.get("would_deny"), "size" in facts
        for id in about(facts):
            outcome, reason = (_UNLAWFUL, wrong) if wrong is not None else self._outcome(one, id, at, message)
            rows.append((id, one.index, facts["use"], facts.get("channel") or "", sized, outcome, reason, let is not None))
        self._db.executemany("INSERT INTO sent VALUES (?, ?, ?, ?, ?, ?, ?, ?)", rows)

    def _outcome(self, one: Known, id: str, at: int, message: Message) -> tuple[int, str]:
        """What a send to one address was, and why it had no ground."""
        if self._unread is not None:
            return _UNJUDGED, ""
        lives = self._replica.lives_by_id([id])
        decision, linked_too = self._ask(one, id, lives, at, message)
        # A mode that let a denial through has said so; the log may by now say more than was known then.
        reason = decision.reason if not decision.allowed else one.facts.get("would_deny")
        doubtful = one.facts.get("returned", False) or self._replica.lost(lives, linked_too=linked_too)
        if doubtful and reason != "erased":
            return _UNJUDGED, ""
        if "size" not in one.facts and "missing_fact" in (reason, *decision.also_failed):
            return _UNJUDGED, ""
        return (_LAWFUL, "") if reason is None else (_UNLAWFUL, reason)

    def _ask(self, one: Known, id: str, lives: Sequence[Life], at: int, message: Message) -> tuple[Decision, bool]:
        """The decision, and whether other addresses of the person had a say."""
        facts, scope = one.facts, self._replica.scope
        policy = scope.policy
        request = self._request(facts, policy, id, at, message)
        orders = policy is not None and reads_orders(policy, request.use, message) and (request.order or True)
        head = Head(one.index, b"", one.time, b"", scope.size, None)
        person = holdings(self._replica, head, lives, suppression=None, orders=orders, at=at, limit=None)
        return judge(policy, scope.texts, person._replace(lost=scope.lost), request), bool(person.others)

    def _request(self, facts: Any, policy: Policy | None, id: str, at: int, message: Message) -> Request:
        """What was asked. Of the address rules read no more than the kind."""
        use, channel = facts["use"], facts.get("channel")
        address = f"{self._replica.kind(id) or _KINDS.get(channel or '', 'customer')}:"
        controller = facts.get("controller")
        if policy is not None:
            controller = controller or policy.controller
            channel = channel or meant_channel(policy, use, address)
        return Request(
            use,
            channel or "",
            address,
            controller or "",
            at,
            None,
            facts.get("order"),
            facts.get("campaign"),
            tuple(facts.get("data", ())),
            message,
        )

    def _failed(self, one: Known) -> None:
        """What was not handed over was no send: those named, or the newest of its use and channel."""
        facts = one.facts
        for id in about(facts):
            entry = facts.get("entry")
            if entry is None:
                like = (id, facts["use"], facts.get("channel") or "")
                query = "SELECT MAX(entry) FROM sent WHERE id = ? AND use = ? AND channel = ?"
                (entry,) = self._db.execute(query, like).fetchone()
            gone = self._db.execute("DELETE FROM sent WHERE id = ? AND entry = ?", (id, entry))
            self._taken_back += gone.rowcount

    def _lost(self, ids: list[str]) -> None:
        """Facts about these people are gone: nobody can judge what they were sent before."""
        query = f"UPDATE sent SET outcome = {_UNJUDGED}, reason = '' WHERE id = ? AND reason <> '{WRONG_SIZE}'"
        self._db.executemany(query, [(id,) for id in self._replica.lose(ids)])


def _may_precede(kind: str, one: Known | None) -> bool:
    """Whether an entry may stand between the size that a permit read and a send it recorded."""
    if kind == "message.sent":
        return one is None or "size" in one.facts
    return kind == "contact.imported" and (one is None or one.facts.get("source") == "permit")
