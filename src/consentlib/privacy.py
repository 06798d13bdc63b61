"""Erasure (GDPR 17): what goes at once, what stays for how long, and what remains of a no."""

from __future__ import annotations

import json
from collections.abc import Iterable, Sequence
from datetime import UTC, datetime
from typing import Final

from attrs import frozen

from consentlib.addresses import address_key
from consentlib.errors import InputError
from consentlib.fold import Fold, Known, Stop, about, refold
from consentlib.keys import Keys
from consentlib.log import NEVER_ERASED, Entry
from consentlib.policy.model import Parameters
from consentlib.reader import known, linked
from consentlib.recorder import Recorder
from consentlib.store.protocol import EventRow, Life, Suppression

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


@frozen
class Erasure:
    """What `erase` did: the entry that records it (None if nothing was held), how many parts went, of how many entries the
    facts stay for now, and whether bytes still wait in a file until a reader lets go of it."""

    index: int | None
    parts: int
    kept: int
    pending: bool = False


def erase(recorder: Recorder, keys: Keys, normal: str, *, reason: str, by: str) -> Erasure:
    """Erase the person behind an address, with all addresses linked to it, in the caller's transaction.

    Personal parts go. Facts stay while a legal obligation, a claim or the proof period needs them, or other people stand in
    them; a later `erase` takes what has run out since. One row an address remains under the suppression key: that it was
    erased, when, and the stops in force. Raises `InputError` for a missing reason.
    """
    _check_said(reason=reason, by=by)
    view, changes = recorder.view, recorder.changes
    lives = view.lives_by_id(linked(view, view.lives(address_key(keys.address, normal))))
    ids = {life.id for life in lives}
    parameters = recorder.policy.parameters if recorder.policy is not None else Parameters()
    entries = [entry for index in _indices(recorder, ids) if (entry := view.entry(index)) is not None]
    read = [one for entry in entries if (one := known(entry)) is not None]
    held = [one for one in read if one.kind not in NEVER_ERASED]
    kept = _kept(held, ids, recorder.time, parameters)
    going = [one for one in held if one.index not in kept]
    # Also what is lost, as its key went before the restored log: it must be on record all the same.
    parts = [(entry.index, "person") for entry in entries if entry.parts.get("person") is not None]
    parts = sorted(parts + [(one.index, "facts") for one in going])
    if not parts:
        return Erasure(None, 0, len(kept))

    _suppress(recorder, keys, lives, normal, recorder.time + parameters.suppression_review_days * _DAY)
    staying = [one for one in held if one.index in kept]
    retained = sorted({id for one in staying for id in about(one.facts)} & ids)
    _shrink(recorder, lives, [one for one in read if one.index in kept or one.kind in NEVER_ERASED], retained)
    named = {"addresses": retained} if retained else {}
    said = {"occurred_at": recorder.time, "reason": reason, "by": by, **named}
    indices = [
        recorder.append("part.erased", {**said, "parts": [list(part) for part in parts[start : start + _MOST_PARTS]]})
        for start in range(0, len(parts), _MOST_PARTS)
    ]
    changes.erase_parts += parts
    for one in going:
        changes.forget_about += [(id, one.index) for id in about(one.facts) if id in ids]
        if "event_id" in one.facts:
            changes.events.append(EventRow(bytes.fromhex(one.facts["event_id"]), one.index, b""))
    gone = ids.difference(retained)
    changes.forget_about += [(id, entry.index) for entry in entries for id in _erasures_about(entry) if id in gone]
    return Erasure(indices[0], len(parts), len(kept))


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
    _check_said(by=by)
    due = recorder.view.suppressions(recorder.time)
    needed = {life.suppressed for life in recorder.view.all_lives()} if due else set()
    going = [row.key for row in due if not json.loads(row.stops) and row.key not in needed]
    if not going:
        return Review(None, 0, len(due))
    said = {"occurred_at": recorder.time, "reason": "review", "by": by, "parts": [], "suppressions": len(going)}
    recorder.changes.forget_suppressions += going
    return Review(recorder.append("part.erased", said), len(going), len(due) - len(going))


def _check_said(**said: str) -> None:
    for name, value in said.items():
        if type(value) is not str or not 0 < len(value) <= 128 or not value.isascii():
            raise InputError(f"expected 1 to 128 ASCII characters in `{name}`, found something else")


def _indices(recorder: Recorder, ids: Iterable[str]) -> list[int]:
    return sorted({index for one in ids for index in recorder.view.about(one)})


def _erasures_about(entry: Entry) -> list[str]:
    """The ids that an earlier erasure names; none for entries of other kinds."""
    one = known(entry)
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
    # A correction stays as long as what it corrects, or the error would come back.
    kept |= {one.index for one in facts if one.kind == "entry.corrected" and one.facts["corrects"] in kept}
    return kept


def _books_end(time: int, years: int) -> int:
    year = datetime.fromtimestamp(time / 1000, UTC).year
    return int(datetime(year + 1 + years, 1, 2, tzinfo=UTC).timestamp() * 1000)


def _suppress(recorder: Recorder, keys: Keys, lives: Sequence[Life], normal: str, review_at: int) -> None:
    """The rows that remain, for the address asked about and for every other that the personal parts still name."""
    view = recorder.view
    normals = {normal}
    for life in lives:
        entry = view.entry(life.index)
        part = entry.parts.get("person") if entry is not None else None
        if isinstance(part, tuple):
            normals |= {form for id, form in json.loads(part[1]).get("addresses", {}).items() if id == life.id}
    stamps = {address_key(keys.suppression, one) for one in normals} | {life.suppressed for life in lives if life.suppressed}
    rows = [row for stamp in sorted(stamps) if (row := view.suppression(stamp)) is not None]
    # Of stops with the same scope the newest: also those that an earlier erasure left.
    stops: dict[str, Stop] = {}
    for stop in (*(Stop(*one) for row in rows for one in json.loads(row.stops)), *_stops(lives)):
        before = stops.setdefault(json.dumps(stop.scope), stop)
        if before.since < stop.since:
            stops[json.dumps(stop.scope)] = stop
    said = json.dumps(list(stops.values()))
    recorder.changes.suppressions += [Suppression(stamp, recorder.time, review_at, said) for stamp in sorted(stamps)]


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
