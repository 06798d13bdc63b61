"""Erasure (GDPR 17): what goes at once, what stays for how long, and what remains of a no."""

from __future__ import annotations

import json
from collections.abc import Iterable
from datetime import UTC, datetime
from typing import Final

from attrs import frozen

from consentlib.addresses import address_key
from consentlib.errors import InputError
from consentlib.fold import Fold, Known, about, refold
from consentlib.keys import Keys
from consentlib.policy.model import Parameters, Policy
from consentlib.reader import known
from consentlib.recorder import Recorder
from consentlib.store.protocol import EventRow, Life, Suppression, Transaction

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


@frozen
class Erasure:
    """What `erase` did: the entry that records it (None if nothing was held), how many parts went, how many facts stay for
    now, and whether bytes still wait in a file until a reader lets go of it."""

    index: int | None
    parts: int
    kept: int
    pending: bool = False


def erase(
    tx: Transaction, recorder: Recorder, keys: Keys, policy: Policy | None, normal: str, *, reason: str, by: str
) -> Erasure:
    """Erase the person behind an address, with all addresses linked to it, in the caller's transaction.

    Personal parts go. Facts stay while a legal obligation, a claim or the proof period needs them. One row an address remains
    under the suppression key: that it was erased, when, and the stops in force. Raises `InputError` for a missing reason.
    """
    for name, value in (("reason", reason), ("by", by)):
        if type(value) is not str or not 0 < len(value) <= 128 or not value.isascii():
            raise InputError(f"expected 1 to 128 ASCII characters in `{name}`, found something else")
    lives = _lives(recorder, tx, address_key(keys.address, normal))
    if not lives:
        return Erasure(None, 0, 0)
    ids = {life.id for life in lives}
    parameters = policy.parameters if policy is not None else Parameters()
    entries = [entry for index in _indices(tx, ids) if (entry := tx.entry(index)) is not None]
    facts = [one for entry in entries if (one := known(entry)) is not None]
    kept = _kept(facts, ids, recorder.time, parameters)
    stops = [list(stop) for life in lives for stop in recorder.fold(life.id).stops]
    parts = _parts_to_erase(entries, facts, kept, ids)

    _suppress(recorder, tx, keys, lives, {normal}, parameters, json.dumps(stops))
    retained = {one for entry in facts if entry.index in kept for one in about(entry.facts) if one in ids}
    _shrink(recorder, tx, lives, [one for one in facts if one.index in kept], retained)
    index = None
    for start in range(0, len(parts), _MOST_PARTS):
        named = [list(part) for part in parts[start : start + _MOST_PARTS]]
        said = {"occurred_at": recorder.time, "reason": reason, "by": by, "parts": named}
        found = recorder.append("part.erased", {**said, "addresses": sorted(retained)} if retained else said)
        index = found if index is None else index
    changes = recorder.changes
    changes.erase_parts += parts
    for one in facts:
        if one.index not in kept:
            changes.forget_about += [(id, one.index) for id in about(one.facts) if id in ids]
            if one.index in {part[0] for part in parts} and "event_id" in one.facts:
                changes.events.append(EventRow(bytes.fromhex(one.facts["event_id"]), one.index, b""))
    return Erasure(index, len(parts), len(kept))


def _lives(recorder: Recorder, tx: Transaction, key: bytes) -> list[Life]:
    """The lives of the person: those of the address that were not released to somebody else, and all linked ones."""
    own = recorder.lives(key)
    found = {life.id: life for life in own[-1:]} | {
        life.id: life for life in own[:-1] if recorder.fold(life.id).erased is not None
    }
    waiting = list(found)
    for one in waiting:
        new = [link.other for link in recorder.fold(one).links if link.other not in found]
        for life in tx.lives_by_id(new) if new else ():
            found[life.id] = life
            waiting.append(life.id)
    return list(found.values())


def _indices(tx: Transaction, ids: Iterable[str]) -> list[int]:
    return sorted({index for one in ids for index in tx.about(one)})


def _kept(facts: list[Known], ids: set[str], now: int, parameters: Parameters) -> set[int]:
    """The indices whose facts stay: needed by law or a claim, or as proof, or shared with other people (ids only)."""
    kept = {one.index for one in facts if not ids.issuperset(about(one.facts))}
    books = parameters.bookkeeping_years
    kept |= {one.index for one in facts if one.kind in _BOOKS and now < _books_end(one.time, books)}
    proof = [one for one in facts if one.kind in _PROOF]
    last = max((one.facts["occurred_at"] for one in proof), default=0)
    if now < last + parameters.proof_days * _DAY:
        kept |= {one.index for one in proof}
    # A correction stays as long as what it corrects, or the error would come back.
    kept |= {one.index for one in facts if one.kind == "entry.corrected" and one.facts["corrects"] in kept}
    return kept


def _books_end(time: int, years: int) -> int:
    year = datetime.fromtimestamp(time / 1000, UTC).year
    return int(datetime(year + 1 + years, 1, 2, tzinfo=UTC).timestamp() * 1000)


def _parts_to_erase(entries: list, facts: list[Known], kept: set[int], ids: set[str]) -> list[tuple[int, str]]:  # type: ignore[type-arg]
    parts = [(entry.index, "person") for entry in entries if isinstance(entry.parts.get("person"), tuple)]
    return sorted(parts + [(one.index, "facts") for one in facts if one.index not in kept])


def _suppress(
    recorder: Recorder, tx: Transaction, keys: Keys, lives: list[Life], normals: set[str], parameters: Parameters, stops: str
) -> None:
    """The rows that remain, for the address asked about and for every other that the personal parts still name."""
    for life in lives:
        entry = tx.entry(life.index)
        part = entry.parts.get("person") if entry is not None else None
        if isinstance(part, tuple):
            normals |= set(json.loads(part[1]).get("addresses", {}).values())
    review = recorder.time + parameters.suppression_review_days * _DAY
    for one in normals:
        recorder.changes.suppressions.append(Suppression(address_key(keys.suppression, one), recorder.time, review, stops))


def _shrink(recorder: Recorder, tx: Transaction, lives: list[Life], remaining: list[Known], retained: set[str]) -> None:
    """Fold what remains; lives of which nothing remains go altogether."""
    ids = {life.id for life in lives}
    book = refold(remaining, only=ids)
    for life in lives:
        gone = [key for key in recorder.order_keys(life.id) if key not in book.orders]
        if life.id in retained:
            recorder.replace_fold(life, book.folds.get(life.id, Fold()))
            recorder.changes.forget_orders += gone
        else:
            recorder.changes.forget_lives.append(life.id)
