"""Appending: events become entries, and the read models follow, in one transaction of a store.

Everything here happens inside a write transaction that the caller opened: what it reads is the head it appends to.
"""

from __future__ import annotations

import hmac
import json
import os
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from hashlib import sha256
from typing import Any, Final, NamedTuple, TypeVar

from attrs import field, frozen

from consentlib.addresses import address_key
from consentlib.codec import encode_typed
from consentlib.errors import ClockError, ConsentlibError, ErasedError, EventConflictError, EventError, LedgerError
from consentlib.events import (
    KINDS,
    NOBODY,
    ConsentConfirmed,
    ConsentGiven,
    ContactImported,
    EntryCorrected,
    Event,
    Evidence,
    FormState,
    IdentityReleased,
    Stop,
    stated,
)
from consentlib.facts import addresses_of, parts_of, placed
from consentlib.fold import SCOPE_KINDS, Book, Fold, Known, about, refold
from consentlib.keys import Keys
from consentlib.log import NEVER_ERASED, commitment, encode_leaf, genesis, leaf_hash
from consentlib.log.merkle import extend, extend_many
from consentlib.policy.model import Policy
from consentlib.reader import Limit, known, read_known
from consentlib.store.protocol import Changes, EventRow, Head, Life, NewEntry, Transaction, View, Wanted

_MOST_PART: Final = 65_536
_SHORT: Final = 16
_FEW: Final = 10

_In = TypeVar("_In")
_Out = TypeVar("_Out")


@frozen
class Recorded:
    """What `record` answers. `index` from 0, `recorded_at` in milliseconds; `ref` names a grant in `ConsentConfirmed.of`.

    `index` is None for a stop that is in the stop journal while the log can't take it: it counts from now on, and becomes
    an entry with the next write.
    """

    index: int | None
    event_id: str = field(repr=False)
    recorded_at: int
    ref: str | None = field(default=None, repr=False)
    subject: str = field(default=NOBODY, repr=False)


class Keyed(NamedTuple):
    """What stands for an address in the ledger: its key, and the key of its suppression row."""

    key: bytes
    stamp: bytes


class Draft(NamedTuple):
    """The parts of an entry as far as they follow from the event and a policy: see `facts.parts_of`."""

    policy: Policy | None
    facts: dict[str, Any]
    person: dict[str, Any]


class Prepared(NamedTuple):
    """An event made ready outside the transaction: its addresses' key forms, by role, and their keys, its id and content
    digest, and a draft of its entry, for while others write nobody should wait for that.

    `line` is the id that a stop's line in the journal has. `nameless`: only the keys of the address are known.
    """

    event: Event
    event_id: str
    id: bytes
    digest: bytes
    roles: dict[str, list[str]]
    keys: dict[str, Keyed]
    line: bytes | None = None
    draft: Draft | None = None
    nameless: bool = False


def new_event_id() -> str:
    """A random event id."""
    return os.urandom(16).hex()


def prepare(event: Event, keys: Keys, policy: Policy | None = None, keyed: dict[str, Keyed] | None = None) -> Prepared:
    """Check and key what can be checked before the store is asked; `policy` is the one that is likely to be in force.

    `keyed` takes the keys of each address, so that those of a list are made once for all of its events. Raises `EventError`
    or `AddressError`, never for a stop.
    """
    if not isinstance(event, Event) or not hasattr(type(event), "kind"):
        raise EventError(f"expected an event, found `{type(event).__name__}`")
    if event.kind == "erasure.completed":
        raise EventError("expected a recordable event, found `erasure.completed`; a ledger erases with `erase`", field="type")
    event_id = event.event_id or new_event_id()
    roles = addresses_of(event)
    named = [normal for normals in roles.values() for normal in normals]
    id = event_key(keys, event_id)
    keyed = {} if keyed is None else keyed
    for one in named:
        if one not in keyed:
            keyed[one] = Keyed(address_key(keys.address, one), address_key(keys.suppression, one))
    # An id that a caller chose may be taken by something else; then the entry gets another, and the line must be found.
    line = None if not isinstance(event, Stop) else id if event.event_id is None else os.urandom(_SHORT)
    own = {one: keyed[one] for one in named}
    return Prepared(event, event_id, id, _digest(event, keys), roles, own, line, _draft(event, policy))


def _draft(event: Event, policy: Policy | None) -> Draft | None:
    """None where this policy does not know what the event names: the one in force by then may."""
    try:
        return None if policy is None else Draft(policy, *parts_of(event, policy))
    except EventError:
        return None


def _digest(event: Event, keys: Keys) -> bytes:
    """The keyed hash of what an event says, by which the same event is known again. In `ascii`, which takes a quarter of
    the time of JSON and the lone surrogates a stop may hold."""
    said = [(slot.name, _plain(value)) for slot, value in stated(event) if slot.name != "event_id"]
    return hmac.digest(keys.event, f"content\n{event.kind}\n{said!a}".encode(), sha256)[:_SHORT]


def _plain(value: Any) -> Any:
    return [(slot.name, one) for slot, one in stated(value)] if isinstance(value, (Evidence, FormState)) else value


def each(act: Callable[[_In], _Out], items: Iterable[_In]) -> Iterator[_Out]:
    """What `act` makes of each; an error says at which."""
    for position, item in enumerate(items):
        try:
            yield act(item)
        except ConsentlibError as error:
            error.position = position
            raise


def wanted_by(coming: Sequence[Prepared]) -> Wanted:
    """What events to come will ask of a store."""
    addresses = dict(keyed for one in coming for keyed in one.keys.values())
    named = [one.id for one in coming if one.event.event_id is not None or one.nameless]
    lines = [one.line for one in coming if one.line is not None]
    return Wanted(list(addresses), list(addresses.values()), list(dict.fromkeys([*named, *lines])))


def event_key(keys: Keys, event_id: str) -> bytes:
    """The keyed form of an event id, as the ledger keeps it."""
    return hmac.digest(keys.event, b"id\n" + event_id.encode("utf-8", "surrogatepass"), sha256)[:_SHORT]


class Recorder:
    """Appends to one transaction. Collects what changes; `finish` hands it to the store."""

    def __init__(self, tx: Transaction, *, keys: Keys, origin: str, policy: Policy | None, now: int) -> None:
        self._tx = tx
        self.view: View = tx
        self._keys = keys
        self._origin = origin
        self.policy = policy
        self.head = tx.head()
        self.now = now
        self.time = max(now, self.head.time)
        self._lives = {key: list(lives) for key, lives in tx.found.lives.items()}
        self._rows = {life.id: life for lives in tx.found.lives.values() for life in lives}
        self._book = Book()
        self._tip = self.head.tip if self.head.size else genesis(origin)
        self.changes = Changes(self.head)
        self._seen: dict[bytes, tuple[bytes, Recorded]] = {}
        self._scope = self.head.scope
        self._new: set[str] = set()
        self._events = dict(tx.found.events)
        self._suppressions = dict(tx.found.suppressions)

    def expect(self, wanted: Wanted) -> None:
        """Read at once what events to come will ask and did not come with the seat; a few are quicker asked for singly."""
        keys = [key for key in wanted.lives if key not in self._lives]
        ids = [one for one in wanted.events if one not in self._events]
        if len(keys) + len(ids) < _FEW:
            return
        for key, lives in self._tx.lives_many(keys).items():
            self._lives[key] = list(lives)
            self._rows.update((life.id, life) for life in lives)
        self._events.update(self._tx.events(ids))

    def record(self, prepared: Prepared) -> Recorded:
        """Append an event, or find the entry its id already has."""
        event = prepared.event
        before = self._before(prepared)
        if isinstance(before, Recorded):
            self._settle(prepared, before.index)
            return before
        prepared = before
        if event.effect == "+" and not isinstance(event, Stop):
            self._refuse_if_unsafe()
        said = self.time if event.occurred_at is None else event.occurred_at
        ids, introduced = self._resolve(prepared, said)
        draft = prepared.draft
        if draft is None or draft.policy is not self.policy:
            draft = Draft(self.policy, *parts_of(event, self.policy))
        facts = placed(draft.facts, ids, said)
        facts["event_id"] = prepared.id.hex()
        if prepared.line not in (None, prepared.id):
            facts["line"] = prepared.line.hex()
        self._complete(event, facts, prepared, said, introduced)
        person = draft.person
        if introduced:
            if not prepared.nameless:
                person = {**person, "addresses": introduced}
            self._book.folds.update(dict.fromkeys(introduced, Fold()))
            self._new.update(introduced)
        index = self.append(event.kind, facts, person)
        if introduced:
            self._introduce(introduced, prepared, index, said)
        self.changes.events.append(EventRow(prepared.id, index, prepared.digest))
        self._settle(prepared, index)
        recorded = Recorded(index, prepared.event_id, self.time, facts.get("ref"), event.subject)
        self._seen[prepared.id] = (prepared.digest, recorded)
        return recorded

    def introduce(self, normal: str) -> str:
        """The id of an address that is known from now on, if it was not; of nothing but that it was seen."""
        key = address_key(self._keys.address, normal)
        if not self.lives(key):
            self.record(prepare(ContactImported(normal, source="permit"), self._keys))
        return self.lives(key)[-1].id

    def append(self, kind: str, facts: Mapping[str, Any], person: Mapping[str, Any] | None = None, **parts: bytes) -> int:
        """Append an entry with these facts; the folds of the addresses it names follow. Gives its index."""
        index = self.head.size + len(self.changes.entries)
        data = {"facts": encode_typed(facts), **parts}
        if person:
            data["person"] = encode_typed(person)
        opened: dict[str, tuple[bytes, bytes]] = {}
        commitments: dict[str, bytes] = {}
        for name, content in data.items():
            if len(content) > _MOST_PART and name != "policy":
                raise EventError(f"expected at most {_MOST_PART} bytes in the part `{name}`, found {len(content)}")
            salt = os.urandom(32)
            opened[name] = (salt, content)
            commitments[name] = commitment(index, name, salt, content)
        leaf = encode_leaf(self._origin, index, self._tip, self.time, kind, commitments)
        self._tip = leaf_hash(leaf)
        named = about(facts)
        self.changes.entries.append(NewEntry(index, self.time, kind, leaf, self._tip, opened, named or [NOBODY]))
        if kind in SCOPE_KINDS:
            self._scope = index + 1
        self._fold(Known(index, self.time, kind, facts), named)
        return index

    def finish(self) -> None:
        """Hand everything to the store."""
        changes, head = self.changes, self.head
        if len(changes.entries) == 1:
            frontier, nodes = extend(head.frontier, head.size, changes.entries[0].hash)
        else:
            frontier, nodes = extend_many(head.frontier, head.size, [entry.hash for entry in changes.entries])
        size = head.size + len(changes.entries)
        changes.nodes = nodes
        time = self.time if changes.entries else head.time
        changes.head = Head(size, self._tip, time, frontier, self._scope, head.unverified)
        changed = self._book.changed_folds
        changes.lives += [self._rows[one]._replace(fold=self._book.folds[one].dump()) for one in changed if one in self._rows]
        changes.orders += [(owner, self._book.orders[owner, order]) for owner, order in self._book.changed_orders]
        self._tx.apply(changes)

    def lives(self, key: bytes) -> list[Life]:
        """The lives of an address as they stand in this transaction, oldest first."""
        if key not in self._lives:
            self._lives[key] = list(self._tx.lives(key))
            self._rows.update((life.id, life) for life in self._lives[key])
        return self._lives[key]

    def fold(self, id: str) -> Fold:
        """The fold of an address id as it stands in this transaction."""
        self._load([id])
        return self._book.folds[id]

    def replace_fold(self, life: Life, fold: Fold) -> None:
        """Put another fold in the place of an address's."""
        self._rows[life.id] = life
        self._book.folds[life.id] = fold
        self._book.changed_folds.add(life.id)

    def order_keys(self, id: str) -> list[tuple[str, str]]:
        """(address id, order id) of the orders an address has in the store."""
        return [(owner, row.order) for owner, row in self._tx.orders([id])]

    def _settle(self, prepared: Prepared, index: int | None) -> None:
        """Let a stop's line in the journal be found in the log."""
        if prepared.line not in (None, prepared.id) and index is not None:
            self.changes.events.append(EventRow(prepared.line, index, prepared.digest))

    def _before(self, prepared: Prepared) -> Recorded | Prepared:
        """What was recorded under this id before; a stop whose id is taken by something else gets a fresh one."""
        event = prepared.event
        row = self._event(prepared.line) if prepared.line is not None else None
        if row is not None and row.digest:
            return self._found(row, prepared)  # somebody else has recorded the line in the journal meanwhile
        if event.event_id is None and not prepared.nameless:
            return prepared
        seen = self._seen.get(prepared.id)
        if seen is None:
            row = self._event(prepared.id)
            if row is None:
                return prepared
            if not row.digest:
                if isinstance(event, Stop):
                    return self._afresh(prepared)
                raise ErasedError("expected a fresh event id, found one that belongs to something erased")
            seen = (row.digest, self._found(row, prepared))
        if hmac.compare_digest(seen[0], prepared.digest):
            return seen[1]
        if isinstance(event, Stop):
            return self._afresh(prepared)
        raise EventConflictError(
            f"expected the content recorded under this event id at index {seen[1].index}, found other content"
        )

    def _event(self, id: bytes) -> EventRow | None:
        return self._events[id] if id in self._events else self._tx.event(id)

    def _afresh(self, prepared: Prepared) -> Prepared:
        event_id = new_event_id()
        return prepared._replace(event_id=event_id, id=event_key(self._keys, event_id))

    def _found(self, row: EventRow, prepared: Prepared) -> Recorded:
        entry = self._tx.entry(row.index)
        found = known(entry) if entry is not None else None
        if found is None:
            raise ErasedError("expected a fresh event id, found one that belongs to something erased")
        return Recorded(row.index, prepared.event_id, found.time, found.facts.get("ref"), prepared.event.subject)

    def _refuse_if_unsafe(self) -> None:
        skew = (self.policy.parameters.clock_skew_seconds if self.policy is not None else 0) * 1000
        if self.head.time > self.now + skew:
            raise ClockError("expected a clock that has caught up with the log, found one behind it; stops are still recorded")
        if self.head.unverified is not None:
            raise LedgerError("expected a verified log, found one that did not verify; stops are still recorded")

    def _resolve(self, prepared: Prepared, said: int) -> tuple[dict[str, list[str]], dict[str, str]]:
        """The address ids by role, and the addresses that get an id now (id to key form)."""
        introduced: dict[str, str] = {}
        fresh: dict[str, str] = {}
        ids: dict[str, list[str]] = {}
        for role, normals in prepared.roles.items():
            for normal in normals:
                lives = self.lives(prepared.keys[normal].key)
                if lives:
                    last = lives[-1]
                    one = last.id
                    if last.since > said:
                        one = next((life.id for life in reversed(lives) if life.since <= said), lives[0].id)
                    fold = self.fold(last.id)
                    if one == last.id and (fold.erased is not None or fold.released is not None):
                        one = fresh.setdefault(normal, os.urandom(16).hex())
                        introduced[one] = normal
                else:
                    one = fresh.setdefault(normal, os.urandom(16).hex())
                    introduced[one] = normal
                ids.setdefault(role, []).append(one)
        return ids, introduced

    def _complete(self, event: Event, facts: dict[str, Any], prepared: Prepared, said: int, introduced: dict[str, str]) -> None:
        """The facts that only the ledger knows: references, a new life."""
        if isinstance(event, ConsentGiven):
            facts.setdefault("ref", prepared.id.hex())
        elif isinstance(event, ConsentConfirmed):
            grants = self.fold(facts["address"]).grants if facts["address"] not in introduced else []
            grant = next((one for one in reversed(grants) if event.ref in (None, one.ref)), None)
            if grant is None:
                raise EventError("expected the grant that `ref` names at this address, found none", field="ref")
            facts["ref"] = grant.ref
        elif isinstance(event, IdentityReleased):
            facts["life"] = os.urandom(16).hex()
            introduced[facts["life"]] = prepared.roles["address"][0]
        elif isinstance(event, EntryCorrected):
            self._complete_correction(event, facts)

    def _complete_correction(self, event: EntryCorrected, facts: dict[str, Any]) -> None:
        row = self._tx.event(event_key(self._keys, event.corrects))
        entry = self._tx.entry(row.index) if row is not None else None
        wrong = known(entry) if entry is not None else None
        if wrong is None:
            raise EventError("expected the event id of an entry in the ledger, found another", field="corrects")
        cls = KINDS.get(wrong.kind)
        stopped = cls is None or cls.effect == "-" or wrong.facts.get("optout_declined", False)
        if wrong.kind in NEVER_ERASED or (stopped and wrong.facts.get("via") != "staff"):
            raise EventError(
                "expected an entry that may be undone, found a stop or an entry about the ledger", field="corrects"
            )
        facts["corrects"] = wrong.index
        named = about(wrong.facts)
        facts.pop("address", None)
        if named:
            facts["addresses"] = named

    def _introduce(self, introduced: Mapping[str, str], prepared: Prepared, index: int, said: int) -> None:
        """New rows for addresses that got an id; one that was erased before is marked with its suppression row."""
        for one, normal in introduced.items():
            key, stamp = prepared.keys[normal]
            lives = self.lives(key)
            row = self._suppressions[stamp] if stamp in self._suppressions else self._tx.suppression(stamp)
            kept = stamp if row is not None else None
            since = 0 if not lives else min(said, self.time)
            life = Life(key, one, since, index, kept, "")
            lives.append(life)
            self._rows[one] = life

    def _fold(self, entry: Known, named: Sequence[str]) -> None:
        if not named:
            return
        if entry.kind == "entry.corrected":
            self._refold_without(entry, named)
            return
        self._load(named)
        order = entry.facts.get("order")
        if order is not None:
            for one in named:
                if one not in self._new and (one, order) not in self._book.orders:
                    self._book.orders.update(((owner, row.order), row) for owner, row in self._tx.orders([one], order))
        self._book.apply(entry)

    def _refold_without(self, entry: Known, named: Sequence[str]) -> None:
        """A correction: fold what is stored and what this transaction adds afresh, without the wrong entry."""
        pending = [Known(*one[:3], json.loads(part[1])) for one in self.changes.entries if (part := one.parts["facts"])]
        ids = list(named)
        for one in ids:  # grants move along links, so that all of them are folded afresh
            ids += [link.other for link in self.fold(one).links if link.other not in ids]
        indices = {index for one in ids for index in self._tx.about(one)}
        stored = read_known(self._tx, indices, Limit(self.head.size))
        book = refold([*stored, *pending], only=ids)
        gone = [key for one in ids for key in self.order_keys(one) if key not in book.orders]
        self.changes.forget_orders += gone
        for key in gone:
            self._book.orders.pop(key, None)
            self._book.changed_orders.discard(key)
        self._book.folds.update({one: book.folds.get(one, Fold()) for one in ids})
        self._book.changed_folds |= set(ids)
        self._book.orders.update(book.orders)
        self._book.changed_orders |= book.orders.keys()

    def _load(self, ids: Sequence[str]) -> None:
        missing = [one for one in ids if one not in self._book.folds]
        unread = [one for one in missing if one not in self._rows]
        if unread:
            self._rows.update((life.id, life) for life in self._tx.lives_by_id(unread))
        for one in missing:
            row = self._rows.get(one)
            self._book.folds[one] = Fold.load(row.fold) if row is not None and row.fold else Fold()
