"""`Ledger`: the one door shop code uses. It ties store, policy, rules and clock together and decides nothing itself."""

from __future__ import annotations

import logging
import os
import time
from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import contextmanager
from datetime import datetime
from pathlib import Path
from types import TracebackType
from typing import Any, Final, Self, TypeVar

from attrs import evolve

from consentlib.addresses import stop_key
from consentlib.asking import Asked, Asking, Clock, Mode
from consentlib.audit.export import write_export
from consentlib.audit.read_models import verify_read_models
from consentlib.audit.verify import verify_view
from consentlib.checkpoints import CheckpointStore, checkpoint_store
from consentlib.errors import (
    ConsentlibError,
    InputError,
    KeyFileError,
    LedgerExistsError,
    LedgerMissingError,
    LedgerVersionError,
    NotAllowedError,
    StoreUnavailableError,
    VerificationError,
)
from consentlib.events import ConsentWithdrawn, Event, Evidence, ObjectionRaised
from consentlib.fields import ALL, Scope
from consentlib.history import HistoryEntry, read_history
from consentlib.keys import Keys, key_path
from consentlib.log import Report, check_origin
from consentlib.log.checkpoint import Checkpoint, open_checkpoint
from consentlib.notary import Notary
from consentlib.permits import Filtered, Permit, PermitRun
from consentlib.policy import Policy, load_policy
from consentlib.privacy import Erasure, erase
from consentlib.reader import Limit, read_scope
from consentlib.recorder import Recorded, Recorder, prepare
from consentlib.rules import Decision, Message
from consentlib.rules.decision import UNDECLARED
from consentlib.signing import verify as verify_signature
from consentlib.store import Store, create_store, open_store
from consentlib.store.protocol import Changes, NewEntry

FORMAT: Final = "consentlib.dev/ledger/v1"

_log = logging.getLogger("consentlib")
_T = TypeVar("_T")


def system_clock() -> int:
    """Now, in milliseconds since the epoch."""
    return time.time_ns() // 1_000_000


class Ledger:
    """A log of consent events with its policy. Made by `create` or `open`; a context manager that closes it.

    Safe to share between threads and to use in a child after a fork. `mode` `warn` and `observe` let denials through that
    are not absolute, marked `would_deny`; `warn` also logs them under the name `consentlib`.
    """

    def __init__(
        self,
        store: Store,
        keys: Keys,
        checkpoints: CheckpointStore,
        *,
        clock: Clock = system_clock,
        mode: Mode = "enforce",
    ) -> None:
        if store.meta.get("format") != FORMAT:
            raise LedgerVersionError(f"expected a ledger of format `{FORMAT}`, found another")
        keys.verify(store.meta)
        self._store = store
        self._keys = keys
        self._clock = clock
        self._closed = False
        self._asking = Asking(store, keys, clock, mode)
        self.origin = store.meta["origin"]
        self._notary = Notary(store, self.origin, keys.signing, checkpoints)

    @classmethod
    def create(
        cls,
        url: str,
        *,
        policy: Policy | str | os.PathLike[str],
        origin: str | None = None,
        keys: Keys | str | os.PathLike[str] | None = None,
        checkpoints: CheckpointStore | str | os.PathLike[str] | None = None,
        clock: Clock = system_clock,
        mode: Mode = "enforce",
    ) -> Self:
        """Begin a ledger: its key file (mode 0600), its store, and the policy as its first entry.

        `origin` names the log for ever (default: the policy's controller and `/consent`). Keys go to a file beside an SQLite
        ledger, to `keys`, or to the path in CONSENTLIB_KEYS; signed checkpoints to the folder `checkpoints`, by default one
        outside the database's (see `checkpoints.default_folder`). Raises `LedgerExistsError` and touches nothing if there is
        a ledger, `KeyFileError` if there are keys without one.
        """
        chosen = policy if isinstance(policy, Policy) else load_policy(policy)
        origin = f"{chosen.controller}/consent" if origin is None else origin
        check_origin(origin)
        made, path = (keys, None) if isinstance(keys, Keys) else (Keys.generate(), key_path(url, keys))
        _refuse_existing(url, path)
        kept = checkpoint_store(url, origin, made, checkpoints)
        kept.prepare()
        if path is not None:
            made.save(path)  # first: a ledger whose keys were never written would be lost
        try:
            store = create_store(url, {"format": FORMAT, "origin": origin, **made.checks()})
        except BaseException:
            if path is not None:
                path.unlink()
            raise
        try:
            ledger = cls(store, made, kept, clock=clock, mode=mode)
            ledger.publish(chosen)
            ledger.checkpoint()
        except BaseException:
            store.close()
            raise
        return ledger

    @classmethod
    def open(
        cls,
        url: str,
        *,
        keys: Keys | str | os.PathLike[str] | None = None,
        checkpoints: CheckpointStore | str | os.PathLike[str] | None = None,
        clock: Clock = system_clock,
        mode: Mode = "enforce",
    ) -> Self:
        """Open a ledger that exists. Raises `LedgerMissingError`, `LedgerVersionError` or `KeyFileError`.

        What came since the newest checkpoint is hashed again. A log that is behind or beside it was rolled back, cut or
        rewritten: it opens, marked, takes stops, and allows nothing.
        """
        store = open_store(url)
        try:
            loaded = keys if isinstance(keys, Keys) else _load_keys(url, keys)
            kept = checkpoint_store(url, store.meta.get("origin", ""), loaded, checkpoints)
            ledger = cls(store, loaded, kept, clock=clock, mode=mode)
            ledger._examine()
            return ledger
        except BaseException:
            store.close()
            raise

    @property
    def mode(self) -> Mode:
        """`enforce`, `warn` or `observe`."""
        return self._asking.mode

    # Recording.

    def record(self, event: Event) -> Recorded:
        """Record one event durably, or find it by its `event_id`.

        Raises `InputError` for what is not a recordable event, `EventConflictError` and `ErasedError` for a taken id,
        `ClockError` while the clock is behind the log, `StoreUnavailableError`; nothing was stored then. A stop raises only
        the last.
        """
        return self.record_many([event])[0]

    def record_many(self, events: Iterable[Event]) -> list[Recorded]:
        """Record events in one transaction: all, in order, or none. As `record` otherwise; an error's `position` says which."""
        prepared = list(_each(lambda event: prepare(event, self._keys), events))
        recorded: list[Recorded] = []
        if prepared:
            with self._appending() as recorder:
                recorder.expect(prepared)
                recorded += _each(recorder.record, prepared)
        return recorded

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
        withdrawn = ConsentWithdrawn(address, uses=uses, controller=controller, **common)
        narrow = withdrawn.uses != ALL or withdrawn.controller is not None
        if narrow if limited is None else limited is True:
            return self.record(evolve(withdrawn, limited=True))
        return self.record_many([withdrawn, ObjectionRaised(address, **common)])[0]

    def publish(self, policy: Policy | str | os.PathLike[str]) -> Recorded:
        """Put a policy in force: it becomes an entry, and every decision from now on names its hash.

        Raises `InputError` where a text of the same version would get another wording: what people agreed to stays as it was.
        """
        chosen = policy if isinstance(policy, Policy) else load_policy(policy)
        with self._appending(chosen) as recorder:
            held = read_scope(recorder.view, Limit(recorder.head.size))
            for version, text in chosen.texts.items():
                if held.texts.hashes.get(version, text.hash) != text.hash:
                    raise InputError(f"expected the wording that text `{version}` had before, found another; use a new version")
            facts = {"occurred_at": recorder.time, "id": chosen.id, "version": chosen.version, "hash": chosen.hash}
            index = recorder.append("policy.published", facts, policy=chosen.canonical())
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
        asked = Asked.read(use, channel, message, at, known_at, controller, order, campaign, data)
        return self._asking.check(address, asked)

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
        question = Asked.read(use, **asked)
        return Filtered(rows, address, lambda one: self._asking.check(one, question))

    def permit(self, address: str, *, use: str, **asked: Any) -> Permit:
        """Check and record the send in one transaction: no stop can come between. Raises `NotAllowedError`.

        A context manager around the hand-over: it must begin within 60 seconds, and an exception inside takes the send back.
        `asked` as in `check`, but for `at` and `known_at`: a permit is for now.
        """
        return self.permits([address], use=use, **asked).one()

    def permits(
        self, rows: Iterable[_T], *, use: str, address: str | Callable[[_T], str] | None = None, **asked: Any
    ) -> PermitRun[_T]:
        """The rows that may be sent to now, each on record as sent before it is drawn, in small batches; `counts` afterwards.

        `address` as in `filter`, `asked` as in `permit`.
        """
        if not asked.keys().isdisjoint(("at", "known_at")):
            raise InputError("expected a send that happens now, found `at` or `known_at`; `filter` answers for other times")
        return PermitRun(self._appending, self._asking, self._clock, rows, address, Asked.read(use, **asked))

    # Looking.

    def history(self, address: str) -> list[HistoryEntry]:
        """The entries about an address and those linked to it, oldest first. Needs no valid address."""
        with self._store.read() as view:
            return read_history(view, self._asking.named(address).key)

    @property
    def policy(self) -> Policy | None:
        """The policy in force."""
        with self._store.read() as view:
            return self._asking.scope(view.head(), view).policy

    def erase(self, address: str, *, reason: str, by: str) -> Erasure:
        """Erase a person (GDPR 17): what no law or claim needs goes, and the log says that it went. See `privacy.erase`."""
        with self._appending() as recorder:
            erased = erase(recorder, self._keys, stop_key(address), reason=reason, by=by)
        try:
            return evolve(erased, pending=not self._store.purge())
        except StoreUnavailableError:
            return evolve(erased, pending=True)

    def export(self, path: str | os.PathLike[str], *, progress: Callable[[int], None] | None = None) -> int:
        """Write the log as a zip that anyone can verify, signed by a checkpoint of its own. Gives the number of entries."""
        with self._doubting():
            return write_export(self._store, self._notary, Path(path), progress=progress)

    def verify(
        self,
        *,
        checkpoints: Iterable[bytes] = (),
        read_models: bool = False,
        progress: Callable[[int], None] | None = None,
        processes: int = 1,
    ) -> Report:
        """Verify the whole log and that it extends its newest checkpoint; with `read_models` also what checks read.

        `checkpoints` are signed notes that somebody else kept: if there are any, the level *history* is reached. `processes`
        share the work over a large log, started afresh each time: for programs whose main module is safe to import. They are
        of no use if something is recorded in the fraction of a second that they take to start.

        Read models (folds, orders, event ids) are no part of the log, and no auditor needs them; comparing them takes several
        times as long. Raises `VerificationError` with the evidence and marks the ledger: nothing is allowed until it verifies
        again. A mark of level `read_models` goes only when those are compared again, one of `signature` or `history` only when
        there is a checkpoint to compare with.
        """
        held = [self._opened(note) for note in checkpoints]  # before: one of another log says nothing of this one
        with self._doubting():
            last = self._notary.newest()  # before the view: what is signed meanwhile is no business of this moment's log
            with self._store.read() as view:
                mark = view.head().unverified
                own = self._notary.sign_view(view) if held and mark is None else None
                shipped = [] if own is None else [self._opened(own)]
                report = verify_view(
                    view,
                    self.origin,
                    shipped=shipped,
                    checkpoints=held,
                    progress=progress,
                    store=self._store,
                    processes=processes,
                )
                self._notary.examine(view, last)
                if read_models:
                    verify_read_models(view, self._keys)
        compared = bool(held or last)
        settled = {"read_models": read_models, "signature": compared, "history": compared}
        if mark is not None and settled.get(mark.partition(":")[0], True):
            self._mark(None)
        return report

    def checkpoint(self) -> bytes:
        """Sign the log as it stands: a C2SP signed note of origin, size and root, for somebody else to keep.

        What is new is first read back and hashed again, and must extend what was signed before; else `VerificationError`,
        nothing is signed, and the ledger is marked. Also done now and then while recording, and when the ledger is closed.
        """
        with self._doubting():
            return self._notary.sign()

    def receipt(self, recorded: Recorded | int) -> bytes:
        """Proof that an entry is in the log, as the bytes of a `.tlog-proof` (C2SP): what a person gets after a withdrawal.

        `recorded` is what `record` or `withdraw` gave, or an index. Signs a checkpoint if none covers the entry yet.
        """
        return next(self.receipts([recorded]))

    def receipts(self, recorded: Iterable[Recorded | int]) -> Iterator[bytes]:
        """`receipt` of each, in order and under one checkpoint, thousands at a time: many times as fast as one by one."""
        with self._doubting():
            yield from self._notary.receipts(one.index if isinstance(one, Recorded) else one for one in recorded)

    @property
    def verifier(self) -> str:
        """The public key that checkpoints verify under, as `name+id+key`. Auditors should have it from elsewhere too."""
        return str(self._notary.verifier)

    def close(self) -> None:
        """Sign a last checkpoint if entries came since the newest, and let go of the store."""
        if not self._closed:
            self._sign_if(self._notary.unsigned)
        self._closed = True
        self._store.close()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None) -> None:
        self.close()

    def __repr__(self) -> str:
        return f"<Ledger {self.origin}>"

    # Below the door.

    @contextmanager
    def _appending(self, policy: Policy | None = None) -> Iterator[Recorder]:
        """A recorder in a write transaction of its own, which commits what it appended; nothing if the block raises.

        Where the answer to the commit was lost, the entries are looked for: if they are there, all is well.
        """
        recorder = None
        try:
            with self._store.write() as tx:
                chosen = policy or self._asking.scope(tx.head(), tx).policy
                recorder = Recorder(tx, keys=self._keys, origin=self.origin, policy=chosen, now=self._clock())
                yield recorder
                if recorder.changes.entries:
                    recorder.finish()
            head, now = recorder.changes.head, recorder.now
            self._sign_if(lambda: self._notary.due(head.size, now) and head.unverified is None)
        except StoreUnavailableError:
            if recorder is None or not self._holds(recorder.changes.entries):
                raise

    def _holds(self, entries: Sequence[NewEntry]) -> bool:
        """Whether these entries were committed. A leaf holds fresh random commitments: it can't be another's."""
        try:
            with self._store.read() as view:
                found = view.entry(entries[-1].index) if entries else None
        except StoreUnavailableError:
            return False
        return found is not None and found.leaf == entries[-1].leaf

    def _opened(self, note: bytes) -> Checkpoint:
        return open_checkpoint(note, [self._notary.verifier], verify_signature)

    def _examine(self) -> None:
        """Mark the log unless it extends its newest checkpoint, which must be readable. Raises where it can't be marked."""
        try:
            last = self._notary.newest()
        except (VerificationError, StoreUnavailableError) as error:
            self._open_marked(error)
            return
        try:
            with self._store.read() as view:
                if view.head().unverified is None:
                    self._notary.examine(view, last)
        except VerificationError as error:
            self._open_marked(error)

    def _open_marked(self, error: VerificationError | StoreUnavailableError) -> None:
        self._mark(f"{getattr(error, 'level', 'history')}: {error}")
        _log.error("the log was not found to extend its newest checkpoint: %s", error)

    def _sign_if(self, due: Callable[[], bool]) -> None:
        """Sign if it is due. What goes wrong is logged: the entries are recorded, and the next checkpoint will tell."""
        try:
            if due():
                self.checkpoint()
        except ConsentlibError as error:
            _log.error("no checkpoint could be signed: %s", error)

    @contextmanager
    def _doubting(self) -> Iterator[None]:
        """Mark the ledger where what the block does finds that the log does not hold."""
        try:
            yield
        except VerificationError as error:
            try:
                self._mark(f"{error.level}: {error}")
            except StoreUnavailableError:
                error.add_note("the ledger could not be marked as unverified: its store can't be written")
            raise

    def _mark(self, problem: str | None) -> None:
        """Keep, or lift, the mark that the log is not to be trusted."""
        with self._store.write() as tx:
            head = tx.head()
            if head.unverified != problem:
                tx.apply(Changes(head._replace(unverified=problem)))


def _load_keys(url: str, keys: str | os.PathLike[str] | None) -> Keys:
    path = key_path(url, keys)
    if path is None:
        raise KeyFileError("expected keys for this ledger, found none; pass `keys` or set CONSENTLIB_KEYS")
    return Keys.load(path)


def _refuse_existing(url: str, path: Path | None) -> None:
    """Raise `LedgerExistsError` where there is a ledger, whatever became of its keys; `KeyFileError` for keys without one."""
    try:
        open_store(url).close()
    except LedgerMissingError:
        if path is not None and path.exists():
            raise KeyFileError(f"expected no file at `{path}`, found one; keys are never replaced") from None
    else:
        raise LedgerExistsError("expected no ledger at this URL, found one")


_In = TypeVar("_In")
_Out = TypeVar("_Out")


def _each(act: Callable[[_In], _Out], items: Iterable[_In]) -> Iterator[_Out]:
    """What `act` makes of each; an error says at which."""
    for position, item in enumerate(items):
        try:
            yield act(item)
        except ConsentlibError as error:
            error.position = position
            raise
