"""`Ledger`: the one door shop code uses. It ties store, policy, rules and clock together and decides nothing itself."""

from __future__ import annotations

import logging
import os
import time
from collections.abc import Callable, Iterable, Sequence
from contextlib import nullcontext
from datetime import datetime
from pathlib import Path
from types import TracebackType
from typing import Any, Final, Literal, Self, TypeVar

from attrs import evolve, field, frozen

from consentlib.addresses import address_key, default_channel, kind_of, normalise, stop_key
from consentlib.audit.export import write_export
from consentlib.audit.verify import verify_view
from consentlib.codec import millis
from consentlib.errors import (
    AddressError,
    InputError,
    KeyFileError,
    LedgerError,
    LedgerVersionError,
    NotAllowedError,
    StoreUnavailableError,
    TimeError,
    VerificationError,
)
from consentlib.events import ALL, ConsentWithdrawn, Event, Evidence, ObjectionRaised, Scope
from consentlib.fold import Fold
from consentlib.keys import Keys, new_key_file
from consentlib.log import Report, check_origin
from consentlib.permits import Filtered, Permit, PermitRun
from consentlib.policy import Policy, load_policy
from consentlib.privacy import Erasure, erase
from consentlib.reader import Limit, holdings, known, read_scope
from consentlib.reader import Scope as Held
from consentlib.recorder import Prepared, Recorded, Recorder, prepare
from consentlib.rules import Decision, Holdings, Message, Request, absolute_reason, judge, reads_orders
from consentlib.rules.decision import UNDECLARED
from consentlib.rules.judge import ABSOLUTE
from consentlib.store import Store, create_store, open_store
from consentlib.store.protocol import Changes, Head, Life, Transaction, View

FORMAT: Final = "consentlib.dev/ledger/v1"
Mode = Literal["enforce", "warn", "observe"]
Clock = Callable[[], int]

_log = logging.getLogger("consentlib")
_T = TypeVar("_T")


def system_clock() -> int:
    """Now, in milliseconds since the epoch."""
    return time.time_ns() // 1_000_000


@frozen
class HistoryEntry:
    """An entry about a person. `facts` is pseudonymous, `person` personal; both None once erased. Time in milliseconds."""

    index: int
    recorded_at: int
    kind: str
    facts: dict[str, Any] | None = field(repr=False)
    person: dict[str, Any] | None = field(repr=False)


class Ledger:
    """A log of consent events with its policy. Made by `create` or `open`; a context manager that closes it.

    Safe to share between threads and to use in a child after a fork. `mode` `warn` and `observe` let denials through that
    are not absolute, marked `would_deny`; `warn` also logs them under the name `consentlib`.
    """

    def __init__(self, store: Store, keys: Keys, *, clock: Clock = system_clock, mode: Mode = "enforce") -> None:
        if store.meta.get("format") != FORMAT:
            raise LedgerVersionError(f"expected a ledger of format `{FORMAT}`, found another")
        if mode not in ("enforce", "warn", "observe"):
            raise InputError("expected mode `enforce`, `warn` or `observe`, found another")
        keys.verify(store.meta)
        self._store = store
        self._keys = keys
        self._clock = clock
        self.mode = mode
        self.origin = store.meta["origin"]
        self._held: Held | None = None

    @classmethod
    def create(
        cls,
        url: str,
        *,
        policy: Policy | str | os.PathLike[str],
        origin: str | None = None,
        keys: Keys | str | os.PathLike[str] | None = None,
        clock: Clock = system_clock,
        mode: Mode = "enforce",
    ) -> Self:
        """Begin a ledger: its store, its key file (mode 0600) and the policy as its first entry.

        `origin` names the log for ever (default: the policy's controller and `/consent`). Keys go to a file beside an SQLite
        ledger, to `keys`, or to the path in CONSENTLIB_KEYS. Raises `LedgerExistsError` and touches nothing if there is one.
        """
        chosen = policy if isinstance(policy, Policy) else load_policy(policy)
        origin = f"{chosen.controller}/consent" if origin is None else origin
        check_origin(origin)
        made = keys if isinstance(keys, Keys) else Keys.generate()
        path = None if isinstance(keys, Keys) else _key_path(url, keys)
        if path is None and keys is None and not url.startswith("memory:"):
            raise KeyFileError("expected a place for the keys, found none; pass `keys` or set CONSENTLIB_KEYS")
        with new_key_file(made, path) if path is not None else nullcontext():
            store = create_store(url, {"format": FORMAT, "origin": origin, **made.checks()})
        ledger = cls(store, made, clock=clock, mode=mode)
        ledger.publish(chosen)
        return ledger

    @classmethod
    def open(
        cls,
        url: str,
        *,
        keys: Keys | str | os.PathLike[str] | None = None,
        clock: Clock = system_clock,
        mode: Mode = "enforce",
    ) -> Self:
        """Open a ledger that exists. Raises `LedgerMissingError`, `LedgerVersionError` or `KeyFileError`."""
        store = open_store(url)
        try:
            path = None if isinstance(keys, Keys) else _key_path(url, keys)
            if path is None and not isinstance(keys, Keys):
                raise KeyFileError("expected keys for this ledger, found none; pass `keys` or set CONSENTLIB_KEYS")
            return cls(store, keys if isinstance(keys, Keys) else Keys.load(path), clock=clock, mode=mode)  # type: ignore[arg-type]
        except BaseException:
            store.close()
            raise

    # Recording.

    def record(self, event: Event) -> Recorded:
        """Record one event durably, or find it by its `event_id`.

        Raises `InputError` for what is not a recordable event, `EventConflictError` and `ErasedError` for a taken id,
        `ClockError` while the clock is behind the log, `StoreUnavailableError`; nothing was stored then. A stop raises only
        the last.
        """
        return self.record_many([event])[0]

    def record_many(self, events: Iterable[Event]) -> list[Recorded]:
        """Record events in one transaction: all, in order, or none. As `record` otherwise."""
        prepared = [prepare(event, self._keys) for event in events]
        if not prepared:
            return []
        try:
            with self._store.write() as tx:
                recorder = self._recorder(tx)
                recorded = [recorder.record(one) for one in prepared]
                recorder.finish()
            return recorded
        except StoreUnavailableError:
            found = self._settle(prepared)
            if found is None:
                raise
            return found

    def withdraw(
        self,
        address: str,
        *,
        via: str | None = None,
        uses: Scope = ALL,
        channels: Scope = ALL,
        controller: str | None = None,
        limited: bool | None = None,
        evidence: Evidence | None = None,
        text: str | None = None,
        occurred_at: datetime | int | None = None,
    ) -> Recorded:
        """Take a consent back. Never refused, whatever the address looks like; needs no grant.

        Recorded as an objection to direct marketing too, in the same transaction, unless the person limited it: `limited`
        None takes a withdrawal of single uses as limited (GDPR 7(3), 21(2)-(3)). Gives the withdrawal's entry.
        """
        common: dict[str, Any] = {
            "channels": channels,
            "via": via,
            "text": text,
            "occurred_at": occurred_at,
            "evidence": evidence,
        }
        withdrawn = ConsentWithdrawn(address, uses=uses, controller=controller, limited=False, **common)
        alone = withdrawn.uses != ALL or controller is not None if limited is None else limited
        withdrawn = evolve(withdrawn, limited=bool(limited))
        also = [] if alone else [ObjectionRaised(address, **common)]
        return self.record_many([withdrawn, *also])[0]

    def publish(self, policy: Policy | str | os.PathLike[str]) -> Recorded:
        """Put a policy in force: it becomes an entry, and every decision from now on names its hash.

        Raises `InputError` where a text of the same version would get another wording: what people agreed to stays as it was.
        """
        chosen = policy if isinstance(policy, Policy) else load_policy(policy)
        with self._store.write() as tx:
            held = read_scope(tx, Limit(tx.head().size))
            for version, text in chosen.texts.items():
                if held.texts.hashes.get(version, text.hash) != text.hash:
                    raise InputError(f"expected the wording that text `{version}` had before, found another; use a new version")
            recorder = self._recorder(tx, chosen)
            facts = {"occurred_at": recorder.time, "id": chosen.id, "version": chosen.version, "hash": chosen.hash}
            index = recorder.append("policy.published", facts, policy=chosen.canonical())
            recorder.finish()
        return Recorded(index, f"policy:{chosen.hash}", recorder.time)

    # Asking.

    def check(
        self,
        address: str,
        *,
        use: str,
        channel: str | None = None,
        message: Message = UNDECLARED,
        at: datetime | int | None = None,
        known_at: datetime | int | None = None,
        controller: str | None = None,
        order: str | None = None,
        campaign: str | None = None,
        data: Sequence[str] = (),
    ) -> Decision:
        """Whether a use is allowed, and why. Never raises for what is asked: doubt is a denial with its reason.

        `channel` defaults by the address (e-mail: email, phone: sms), `controller` to the policy's. `at` is when it is to
        happen (a datetime with zone, or milliseconds; default now). `known_at` is what the ledger held: a datetime, or an int
        as the log's size; default `at`, never later than now.
        """
        asked = Asked(use, channel, message, at, known_at, controller, order, campaign, tuple(data))
        try:
            normal, key = self._key(address)
            head, lives = self._store.lookup(key)
            held = self._scope(head)
            return self._decide(None, head, held, lives, normal, asked, self._clock())
        except LedgerError:
            return judge(self._held.policy if self._held else None, _no_texts(), None, asked.request("", None, None, ""))

    def require(self, address: str, *, use: str, **asked: Any) -> Decision:
        """`check`, raising `NotAllowedError` on a denial."""
        decision = self.check(address, use=use, **asked)
        if not decision.allowed:
            raise NotAllowedError(decision)
        return decision

    def filter(
        self, rows: Iterable[_T], *, use: str, address: str | Callable[[_T], str] | None = None, **asked: Any
    ) -> Filtered[_T]:
        """The rows whose address is allowed, as they come, without recording a send; `counts` afterwards.

        `address` is the key or attribute that holds the address, or a function of the row; None: the row is the address.
        """
        return Filtered(rows, address, lambda one: self.check(one, use=use, **asked))

    def permit(self, address: str, *, use: str, **asked: Any) -> Permit:
        """Check and record the send in one transaction: no stop can come between. Raises `NotAllowedError`.

        A context manager around the hand-over: it must begin within 60 seconds, and an exception inside takes the send back.
        """
        return self.permits([address], use=use, **asked).one()

    def permits(
        self, rows: Iterable[_T], *, use: str, address: str | Callable[[_T], str] | None = None, **asked: Any
    ) -> PermitRun[_T]:
        """The rows that may be sent to now, each on record as sent before it is drawn, in small batches; `counts` afterwards."""
        return PermitRun(self, rows, address, Asked.of(use, asked))

    # Looking.

    def history(self, address: str) -> list[HistoryEntry]:
        """The entries about an address and those linked to it, oldest first. Needs no valid address."""
        with self._store.read() as view:
            ids = _linked(view, view.lives(self._key(address)[1]))
            entries = (view.entry(index) for index in sorted({index for one in ids for index in view.about(one)}))
            return [_history(entry, ids) for entry in entries if entry is not None]

    @property
    def policy(self) -> Policy | None:
        """The policy in force."""
        with self._store.read() as view:
            return self._scope(view.head(), view).policy

    def erase(self, address: str, *, reason: str, by: str) -> Erasure:
        """Erase a person (GDPR 17): what no law or claim needs goes, and the log says that it went. See `privacy.erase`."""
        with self._store.write() as tx:
            recorder = self._recorder(tx)
            erased = erase(tx, recorder, self._keys, recorder.policy, stop_key(address), reason=reason, by=by)
            if erased.parts:
                recorder.finish()
        return evolve(erased, pending=not self._store.purge())

    def export(self, path: str | os.PathLike[str], *, progress: Callable[[int], None] | None = None) -> int:
        """Write the log as a zip that anyone can verify. Unsigned, and says so. Gives the number of entries."""
        return write_export(self._store, self.origin, Path(path), progress=progress)

    def verify(self, *, progress: Callable[[int], None] | None = None) -> Report:
        """Verify chain and content of the whole log.

        Raises `VerificationError` with the evidence and marks the ledger: nothing is allowed until it verifies again.
        """
        try:
            with self._store.read() as view:
                report = verify_view(view, self.origin, progress=progress)
        except VerificationError as error:
            self._mark(str(error))
            raise
        self._mark(None)
        return report

    def close(self) -> None:
        """Let go of the store."""
        self._store.close()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None) -> None:
        self.close()

    def __repr__(self) -> str:
        return f"<Ledger {self.origin}>"

    # Below the door.

    def _key(self, address: Any) -> tuple[str | None, bytes]:
        """The key form of an address and its key. None for what is no address; it may still be known, from a stop."""
        try:
            normal = normalise(address)
        except AddressError:
            return None, address_key(self._keys.address, stop_key(address))
        return normal, address_key(self._keys.address, normal)

    def _recorder(self, tx: Transaction, policy: Policy | None = None) -> Recorder:
        chosen = policy or self._scope(tx.head(), tx).policy
        return Recorder(tx, keys=self._keys, origin=self.origin, policy=chosen, now=self._clock())

    def _scope(self, head: Head, view: View | None = None) -> Held:
        """Policy and texts as of a head; read once for each change of them."""
        held = self._held
        if held is None or held.size != head.scope:
            if view is None:
                with self._store.read() as fresh:
                    held = read_scope(fresh, Limit(head.size))
            else:
                held = read_scope(view, Limit(head.size))
            self._held = held
        return held

    def _decide(
        self, view: View | None, head: Head, held: Held, lives: Sequence[Life], normal: str | None, asked: Asked, now: int
    ) -> Decision:
        """Judge one request. Without a view the rows given must say all; if they don't, one is opened."""
        policy = held.policy
        if policy is None:
            return judge(None, held.texts, _unknown_person(head), asked.request("", None, None, ""))
        skew = policy.parameters.clock_skew_seconds * 1000
        at, limit = asked.times(max(now, head.time), head.size)
        if head.time > now + skew:
            at = None
        request = asked.request(normal, policy, at, _channel(policy, asked, normal))
        if at is None or (normal is None and not lives):
            person = _unknown_person(head)
        else:
            orders: str | bool = reads_orders(policy, asked.use, asked.message) and (request.order or True)
            fold = Fold.load(lives[0].fold) if len(lives) == 1 else None
            if fold is not None and not orders and limit is None and fold.newest <= at and _alone(lives[0], fold):
                person = Holdings(fold, (), (), head.unverified is None, head.size, head.tip)
            elif view is None:
                with self._store.read() as fresh:
                    head = fresh.head()
                    lives = fresh.lives(self._key(normal)[1]) if normal is not None else lives
                    return self._decide(fresh, head, self._scope(head, fresh), lives, normal, asked, now)
            else:
                stamp = address_key(self._keys.suppression, normal) if normal is not None and not lives else None
                row = view.suppression(stamp) if stamp is not None else None
                person = holdings(view, head, lives, suppression=row, orders=orders, at=at, limit=limit)
        if normal is None and lives:
            request = request._replace(address="verbatim:")
        texts = held.texts if limit is None or view is None else read_scope(view, limit).texts
        decision = judge(policy, texts, person, request)
        return (
            decision if decision.allowed or self.mode == "enforce" else self._soften(decision, policy, texts, person, request)
        )

    def _soften(self, decision: Decision, policy: Policy, texts: Any, person: Holdings, request: Request) -> Decision:
        """Let a denial through that the mode does not enforce, marked."""
        if decision.reason in ABSOLUTE or absolute_reason(policy, texts, person, request) is not None:
            return decision
        if self.mode == "warn":
            _log.warning("use `%s` would be denied: `%s`", decision.use, decision.reason)
        return evolve(decision, allowed=True, would_deny=decision.reason)

    def _settle(self, prepared: list[Prepared]) -> list[Recorded] | None:
        """After a write whose answer was lost: what it recorded, if it did. None if it did not, or can't be told."""
        try:
            with self._store.read() as view:
                rows = [view.event(one.id) for one in prepared]
                if any(row is None or row.digest != one.digest for row, one in zip(rows, prepared, strict=True)):
                    return None
                found = [known(view.entry(row.index)) for row in rows]  # type: ignore[union-attr, arg-type]
        except StoreUnavailableError:
            return None
        return [
            Recorded(entry.index, one.event_id, entry.time, entry.facts.get("ref"), one.event.subject)
            for entry, one in zip(found, prepared, strict=True)
            if entry is not None
        ]

    def _mark(self, problem: str | None) -> None:
        """Keep, or lift, the mark that the log is not to be trusted."""
        with self._store.read() as view:
            if view.head().unverified == problem:
                return
        with self._store.write() as tx:
            tx.apply(Changes(tx.head()._replace(unverified=problem)))


@frozen
class Asked:
    """What a caller asks, apart from the address."""

    use: str
    channel: str | None = None
    message: Message = UNDECLARED
    at: datetime | int | None = None
    known_at: datetime | int | None = None
    controller: str | None = None
    order: str | None = None
    campaign: str | None = None
    data: tuple[str, ...] = ()

    @classmethod
    def of(cls, use: str, asked: dict[str, Any]) -> Asked:
        """From keyword arguments as `check` takes them."""
        return cls(use, **{**asked, "data": tuple(asked.get("data", ()))})

    def times(self, now: int, size: int) -> tuple[int | None, Limit | None]:
        """When it is to happen, None if that can't be read, and how much of the log counts, None for all of it."""
        try:
            at = now if self.at is None else millis(self.at)
            if self.known_at is None:
                return at, None if at >= now else Limit(size, at)
            if isinstance(self.known_at, datetime):
                known_at = millis(self.known_at)
                return at, None if known_at >= now else Limit(size, known_at)
            if type(self.known_at) is not int or self.known_at < 0:
                return None, None
            return at, None if self.known_at >= size else Limit(self.known_at)
        except TimeError:
            return None, None

    def request(self, address: str | None, policy: Policy | None, at: int | None, channel: str) -> Request:
        """The request that the rules judge."""
        known_at = millis(self.known_at) if at is not None and isinstance(self.known_at, datetime) else None
        controller = self.controller or (policy.controller if policy is not None else "")
        return Request(
            self.use,
            channel or self.channel or "",
            address,
            controller,
            at,
            known_at,
            self.order,
            self.campaign,
            self.data,
            self.message,
        )


def _channel(policy: Policy, asked: Asked, normal: str | None) -> str:
    """The channel asked for; by default the address's, unless the use has only one."""
    if asked.channel is not None:
        return asked.channel
    use = policy.use(asked.use)
    by_address = default_channel(normal) if normal is not None else "none"
    if use is not None and not use.permits(by_address):
        only = sorted(use.channels) or ["none"]
        if len(only) == 1 or (normal is not None and kind_of(normal) == "phone" and "phone" in only):
            return "phone" if "phone" in only else only[0]
    return by_address


def _alone(life: Life, fold: Fold) -> bool:
    return not fold.links and life.suppressed is None


def _unknown_person(head: Head) -> Holdings:
    return Holdings(None, (), (), head.unverified is None, head.size, head.tip)


def _no_texts() -> Any:
    from consentlib.rules import Texts

    return Texts()


def _linked(view: View, lives: Sequence[Life]) -> list[str]:
    """The ids of these lives and of all linked to them."""
    ids = [life.id for life in lives]
    folds = {life.id: Fold.load(life.fold) for life in lives}
    for one in ids:
        missing = [link.other for link in folds[one].links if link.other not in folds]
        folds.update({life.id: Fold.load(life.fold) for life in view.lives_by_id(missing)} if missing else {})
        ids += [link.other for link in folds[one].links if link.other in folds and link.other not in ids]
    return ids


def _history(entry: Any, ids: Sequence[str]) -> HistoryEntry:
    import json

    from consentlib.log import parse_leaf

    leaf = parse_leaf(entry.leaf)
    parts = {name: json.loads(part[1]) for name, part in entry.parts.items() if isinstance(part, tuple) and name != "policy"}
    facts = parts.get("facts")
    if facts is not None and "addresses" in facts:
        facts = {**facts, "addresses": [one for one in facts["addresses"] if one in ids]}
    return HistoryEntry(entry.index, leaf.t, leaf.kind, facts, parts.get("person"))


def _key_path(url: str, keys: str | os.PathLike[str] | None) -> Path | None:
    """Where the key file of a ledger lies: as said, as CONSENTLIB_KEYS says, or beside an SQLite database."""
    if keys is not None:
        return Path(keys)
    if os.environ.get("CONSENTLIB_KEYS"):
        return Path(os.environ["CONSENTLIB_KEYS"])
    scheme, _, rest = url.partition(":///")
    return Path(rest.partition("?")[0] + ".keys") if scheme == "sqlite" and rest else None
