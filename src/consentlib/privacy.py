"""Erasure (GDPR 17): what goes at once, what stays for how long, and what remains of a no."""

from __future__ import annotations

import json
import logging
import os
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import suppress
from datetime import UTC, datetime
from typing import Any, Final

from attrs import evolve, frozen

from consentlib.addresses import address_key
from consentlib.audit.receipt import check_parts
from consentlib.damage import ReadingRows
from consentlib.errors import FormatError, InputError, LedgerError, VerificationError
from consentlib.fields import read_word
from consentlib.fold import Fold, Known, Stop, about, refold
from consentlib.journal import Line
from consentlib.keys import Keys
from consentlib.log import NEVER_ERASED, Entry, parse_leaf
from consentlib.policy.model import Parameters, Policy
from consentlib.reader import known, linked
from consentlib.recorder import Recorder
from consentlib.store.protocol import EventRow, Life, Suppression, View

_log = logging.getLogger("consentlib")
_DAY: Final = 86_400_000
_MOST_PARTS: Final = 1_000

_BOOKS: Final = frozenset(
    {
        "order.placed",
        "order.delivered",
        "order.cancelled",
        "order.closed",
        "complaint.opened",
        "complaint.closed",
        "return.opened",
        "return.closed",
    }
)
"""Kinds whose facts a legal obligation or a claim needs (GDPR 17(3)(b), (e)): for the years of the bookkeeping act."""

_PROOF: Final = frozenset(
    {
        "consent.given",
        "consent.confirmed",
        "consent.refused",
        "consent.withdrawn",
        "consent.invalidated",
        "objection.raised",
        "message.sent",
        "message.failed",
        "request.received",
    }
)
"""Kinds whose facts show that a consent was given, used and honoured: for the proof period after the newest of them."""

_LINKS: Final = frozenset({"identity.linked", "identity.address_changed"})
"""Kinds that say which addresses are one person's: they stay while something of more than one of those stays."""

_MUTE: Final = frozenset({"export.made", "message.failed"})
"""Kinds that are recorded about who was erased and mean nothing for what comes: a disclosure, and a send that was under way."""


@frozen
class Erasure:
    """What `erase` did: the entry that records it (None if nothing was held), how many parts went, of how many entries the
    facts stay for now, and whether something is `pending`: bytes in a file until a reader lets go of it, or, where the log
    can't take it, the erasure itself, which is in the stop journal, counts in every check and is done with the next write.
    """

    index: int | None
    parts: int
    kept: int
    pending: bool = False


def erasure_line(keys: Keys, normal: str, now: int, *, reason: str, by: str) -> Line:
    """The line of the journal that asks for an erasure. Never refused: what is no name, and so may be personal, becomes `?`."""
    id = os.urandom(16)
    said = {"type": "part.erased", "reason": _word(reason, "reason"), "by": _word(by, "by")}
    stamp = address_key(keys.suppression, normal)
    return Line(id, id, os.urandom(16), now, (address_key(keys.address, normal),), stamp, said)


def _word(value: str, where: str) -> str:
    try:
        return read_word(value, where)
    except InputError:
        _log.warning("an erasure is kept with `?` as its `%s`: expected a name, found something else", where)
        return "?"


def erase(recorder: Recorder, keys: Keys, normal: str, line: Line, *, keep: Callable[[Sequence[Line]], object]) -> Erasure:
    """Erase the person behind an address, with all addresses linked to it, in the caller's transaction.

    Personal parts go. Facts stay while a legal obligation, a claim or the proof period needs them, or other people stand in
    them; a later `erase` takes what has run out since. Facts that can't be read go. One row an address remains under the
    suppression key: that it was erased, when, and the stops in force. If there is something to erase, `keep` is first handed
    the line that says so, with all addresses of the person.
    """
    person = _found_behind(recorder, line.keys)
    row = recorder.view.event(line.id)
    if row is not None and (entry := recorder.view.entry(row.index)) is not None and (done := known(entry)) is not None:
        return Erasure(row.index, len(done.facts["parts"]), len(person.kept))  # a first try was made up for from the journal
    if not person.parts:
        return Erasure(None, 0, len(person.kept))
    line = evolve(line, keys=tuple(dict.fromkeys([*line.keys, *(life.key for life in person.lives)])))
    keep([line])
    return _erase(recorder, keys, person, line, {address_key(keys.suppression, normal)})


def erase_again(recorder: Recorder, keys: Keys, line: Line) -> Erasure:
    """Carry out an erasure that only the journal knows, also where there is nothing left to erase: then the log says so."""
    return _erase(recorder, keys, _found_behind(recorder, line.keys), line, {line.stamp})


@frozen
class Finished:
    """What `finish_erasures` did: of how many people something went, how many parts, of how many entries about erased people
    the facts stay for now, and whether bytes in a file are `pending` as in `Erasure`.
    """

    people: int
    parts: int
    kept: int
    pending: bool = False


def erased_people(view: View) -> Iterator[list[str]]:
    """The address ids of each person of whom an erasure left facts: lives that ended so, together where they are linked."""
    found = ((life.id, Fold.load(life.fold)) for life in view.all_lives() if life.fold)
    others = {id: [link.other for link in fold.links] for id, fold in found if fold.erased is not None}
    while others:
        id, reached = others.popitem()
        ids = [id]
        while reached:
            one = reached.pop()
            if one in others:
                ids.append(one)
                reached += others.pop(one)
        yield ids


def what_is_over(view: View, ids: Sequence[str], policy: Policy | None, now: int) -> tuple[int, int]:
    """Of an erased person: how many parts would go now, and of how many entries the facts stay."""
    person = _Person(view, ids, policy, now)
    if _still_speaks(view, person):
        return 0, len(person.kept) + len(person.going)
    return len(person.parts), len(person.kept)


def finish(recorder: Recorder, ids: Sequence[str], *, by: str) -> int:
    """Let go of what is over of an erased person, in the caller's transaction. Gives how many parts went.

    The entry says that it happened when the person was erased: who came back since speaks for themselves. Here nobody waits for
    an answer to a request, and what does not verify might be needed as evidence: raises `LedgerError` for a log that did not,
    `VerificationError` for a part of the person's that is not as committed.
    """
    if recorder.head.unverified is not None:
        raise LedgerError("expected a verified log, found one that did not verify; `erase` still erases")
    person = _Person(recorder.view, ids, recorder.policy, recorder.time)
    if not person.parts or _still_speaks(recorder.view, person):
        return 0
    for entry in person.entries:
        check_parts(entry, parse_leaf(entry.leaf))
    moments = [fold.erased for fold in (Fold.load(life.fold) for life in person.lives) if fold.erased is not None]
    _let_go(recorder, person, {"occurred_at": max(moments), "reason": "retention", "by": by})
    return len(person.parts)


def _still_speaks(view: View, person: _Person) -> bool:
    """Whether an answer may rest on what an erased person left: something was recorded about it since, such as a stop said
    before they came back, or it is all that tells who came back from before the erasure, as the row is gone."""
    found = [*person.going, *person.staying]
    erased = max((one.index for one in found if one.kind == "part.erased"), default=-1)
    if any(one.index > erased and one.kind not in _MUTE for one in found):
        return True
    later = [one for life in person.lives for one in view.lives(life.key) if one.index > life.index]
    return any(one.suppressed is None and Fold.load(one.fold).erased is None for one in later)


def _found_behind(recorder: Recorder, keys: Sequence[bytes]) -> _Person:
    """The person behind some keys of addresses."""
    view = recorder.view
    ids = dict.fromkeys(id for key in keys for id in linked(view, view.lives(key)))
    return _Person(view, list(ids), recorder.policy, recorder.time)


class _Person:
    """What the log holds about a person, and what of it goes."""

    def __init__(self, view: View, ids: Sequence[str], policy: Policy | None, now: int) -> None:
        self.lives = view.lives_by_id(ids)
        self.ids = {life.id for life in self.lives}
        parameters = policy.parameters if policy is not None else Parameters()
        self.review_at = now + parameters.suppression_review_days * _DAY
        entries = view.entries_at({index for id in self.ids for index in view.about(id)})
        self.entries = [entries[index] for index in sorted(entries)]
        self.damaged = [entry.index for entry in self.entries if _is_damaged(entry)]
        shown = [one for entry in self.entries if (one := _readable(entry)) is not None]
        held = [one for one in shown if one.kind not in NEVER_ERASED]
        self.kept = _kept(held, self.ids, now, parameters)
        self.going = [one for one in held if one.index not in self.kept]
        self.retained = sorted({id for one in held if one.index in self.kept for id in about(one.facts)} & self.ids)
        self.staying = [one for one in shown if one.index in self.kept or one.kind in NEVER_ERASED]
        # Also what is lost, as its key went before the restored log: it must be on record all the same.
        named = [(entry.index, "person") for entry in self.entries if entry.parts.get("person") is not None]
        going = [one.index for one in self.going] + self.damaged
        self.parts = sorted(named + [(index, "facts") for index in going])


def _erase(recorder: Recorder, keys: Keys, person: _Person, line: Line, stamps: set[bytes]) -> Erasure:
    _suppress(recorder, keys, person, stamps)
    said = {"occurred_at": recorder.time, "reason": line.said["reason"], "by": line.said["by"]}
    index = _let_go(recorder, person, said, line=line.id.hex())
    recorder.changes.events.append(EventRow(line.id, index, line.digest))
    return Erasure(index, len(person.parts), len(person.kept))


def _let_go(recorder: Recorder, person: _Person, said: Mapping[str, Any], **mark: str) -> int:
    """Record that a person's parts go, `mark` in the first entry that says so, and let them go. Gives its index."""
    changes, ids, parts = recorder.changes, person.ids, person.parts
    _shrink(recorder, person.lives, person.staying, person.retained)
    named = {"addresses": person.retained} if person.retained else {}
    batches = [parts[start : start + _MOST_PARTS] for start in range(0, max(1, len(parts)), _MOST_PARTS)]
    indices: list[int] = []
    for batch in batches:
        first = {} if indices else mark
        indices.append(recorder.append("part.erased", {**said, **named, **first, "parts": [list(part) for part in batch]}))
    changes.erase_parts += parts
    for one in person.going:
        changes.forget_about += [(id, one.index) for id in about(one.facts) if id in ids]
        for name in ("event_id", "line"):
            if name in one.facts:
                changes.events.append(EventRow(bytes.fromhex(one.facts[name]), one.index, b""))
    changes.forget_about += [(id, index) for id in ids for index in person.damaged]
    gone = ids.difference(person.retained)
    changes.forget_about += [(id, entry.index) for entry in person.entries for id in _erasures_about(entry) if id in gone]
    return indices[0]


@frozen
class Review:
    """What `review` did: the entry that records it (None if nothing went), how many rows went, how many that are due stay."""

    index: int | None
    dropped: int
    kept: int


def review(recorder: Recorder, *, by: str) -> Review:
    """Drop the rows of erased addresses whose review date has come, in the caller's transaction.

    A row stays while it holds a stop, or while somebody who came back stands on it: without it, a consent from before the
    erasure would count again.
    """
    read_word(by, "by")
    due = [row for row in recorder.view.all_suppressions() if row.review_at <= recorder.time]
    needed = {life.suppressed for life in recorder.view.all_lives()} if due else set()
    going = [row.key for row in due if not json.loads(row.stops) and row.key not in needed]
    if not going:
        return Review(None, 0, len(due))
    said = {"occurred_at": recorder.time, "reason": "review", "by": by, "parts": [], "suppressions": len(going)}
    recorder.changes.forget_suppressions += going
    return Review(recorder.append("part.erased", said), len(going), len(due) - len(going))


def _readable(entry: Entry) -> Known | None:
    """An entry as `known` reads it; None also where its facts are damaged."""
    try:
        return known(entry)
    except VerificationError:
        return None


def _is_damaged(entry: Entry) -> bool:
    """Whether an entry has facts that can't be read, of which nobody can say that something needs them."""
    if not isinstance(entry.parts.get("facts"), tuple) or _readable(entry) is not None:
        return False
    try:
        return parse_leaf(entry.leaf).kind not in NEVER_ERASED
    except FormatError:
        return False


def _erasures_about(entry: Entry) -> list[str]:
    """The ids that an earlier erasure names; none for entries of other kinds."""
    one = _readable(entry)
    return about(one.facts) if one is not None and one.kind in NEVER_ERASED else []


def _kept(facts: list[Known], ids: set[str], now: int, parameters: Parameters) -> set[int]:
    """The indices whose facts stay: needed by law or a claim, or as proof, or shared with other people (ids only)."""
    kept = {one.index for one in facts if not ids.issuperset(about(one.facts))}
    books = parameters.bookkeeping_years
    kept |= {one.index for one in facts if one.kind in _BOOKS and now < _books_end(one.time, books)}
    proof = [one for one in facts if one.kind in _PROOF]
    last = max((min(one.facts["occurred_at"], one.time) for one in proof), default=0)
    if now < last + parameters.proof_days * _DAY:
        kept |= {one.index for one in proof}
    staying = {id for one in facts if one.index in kept for id in about(one.facts)}
    kept |= {one.index for one in facts if one.kind in _LINKS and staying.issuperset(about(one.facts))}
    kept |= {one.index for one in facts if one.kind == "export.made" and now < one.time + parameters.proof_days * _DAY}
    # A correction stays as long as what it corrects, or the error would come back.
    kept |= {one.index for one in facts if one.kind == "entry.corrected" and one.facts["corrects"] in kept}
    return kept


def _books_end(time: int, years: int) -> int:
    year = datetime.fromtimestamp(time / 1000, UTC).year
    return int(datetime(year + 1 + years, 1, 2, tzinfo=UTC).timestamp() * 1000)


def _suppress(recorder: Recorder, keys: Keys, person: _Person, stamps: set[bytes]) -> None:
    """The rows that remain, for the address asked about and for every other that the personal parts still name."""
    view, lives = recorder.view, person.lives
    stamps = stamps | {life.suppressed for life in lives if life.suppressed}
    for life in lives:
        entry = view.entry(life.index)
        part = entry.parts.get("person") if entry is not None else None
        if isinstance(part, tuple):
            with suppress(VerificationError), ReadingRows():
                named = json.loads(part[1]).get("addresses", {})
                stamps |= {address_key(keys.suppression, form) for id, form in named.items() if id == life.id}
    rows = [row for stamp in sorted(stamps) if (row := view.suppression(stamp)) is not None]
    # Of stops with the same scope the newest: also those that an earlier erasure left.
    stops: dict[str, Stop] = {}
    for stop in (*(Stop(*one) for row in rows for one in json.loads(row.stops)), *_stops(lives)):
        before = stops.setdefault(json.dumps(stop.scope), stop)
        if before.since < stop.since:
            stops[json.dumps(stop.scope)] = stop
    said = json.dumps(list(stops.values()))
    recorder.changes.suppressions += [Suppression(stamp, recorder.time, person.review_at, said) for stamp in sorted(stamps)]


def _stops(lives: Sequence[Life]) -> list[Stop]:
    return [stop for life in lives for stop in Fold.load(life.fold).stops]


def _shrink(recorder: Recorder, lives: Sequence[Life], staying: list[Known], retained: Sequence[str]) -> None:
    """Fold what stays; lives of which nothing stays go altogether."""
    book = refold(staying, only={life.id for life in lives})
    for life in lives:
        if life.id in retained:
            recorder.replace_fold(life, book.folds.get(life.id, Fold()))
            recorder.changes.forget_orders += [key for key in recorder.order_keys(life.id) if key not in book.orders]
        else:
            recorder.changes.forget_lives.append(life.id)
    recorder.changes.orders += [(id, order) for (id, _), order in book.orders.items() if id in retained]
