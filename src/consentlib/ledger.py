"""`Ledger`: the one door shop code uses. It ties store, policy, rules and clock together and decides nothing itself."""

from __future__ import annotations

import logging
import os
from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import closing, contextmanager, suppress
from datetime import datetime
from pathlib import Path
from types import TracebackType
from typing import Any, Self, TypeVar

from consentlib.asking import Asked, Asking, Clock, Mode
from consentlib.audit.disclosure import record_disclosure, write_disclosure
from consentlib.audit.export import record_export, write_export
from consentlib.audit.read_models import verify_read_models
from consentlib.audit.verify import verify_view
from consentlib.bound import BoundLedger
from consentlib.checkpoints import CheckpointStore
from consentlib.damage import ReadingRows
from consentlib.errors import (
    InputError,
    LedgerVersionError,
    NotAllowedError,
    StoreUnavailableError,
    VerificationError,
)
from consentlib.events import Event, Evidence
from consentlib.fields import ALL, Scope
from consentlib.history import HistoryEntry, read_history
from consentlib.journal import StopJournal
from consentlib.keys import Keys
from consentlib.log import Report
from consentlib.log.note import Verifier, restore_lines
from consentlib.notary import Notary
from consentlib.opening import FORMAT, begin, find
from consentlib.outstanding import Outstanding
from consentlib.permits import Filtered, Permit, PermitRun
from consentlib.policy import Policy, load_policy
from consentlib.privacy import Erasure, Finished, Review, review
from consentlib.reader import Limit, read_scope
from consentlib.recorder import Recorded
from consentlib.rotation import rotate
from consentlib.rules import Decision, Message
from consentlib.rules.decision import UNDECLARED
from consentlib.store import Store, bind
from consentlib.transfer import TRANSFER
from consentlib.writing import Writing, levels, withdrawal

_log = logging.getLogger("consentlib")
_T = TypeVar("_T")


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
        clock: Clock | None = None,
        mode: Mode = "enforce",
        key_file: Path | None = None,
    ) -> None:
        if store.meta.get("format") != FORMAT or "origin" not in store.meta:
            raise LedgerVersionError(f"expected a ledger of format `{FORMAT}`, found another")
        keys.verify(store.meta)
        self._store = store
        self._keys = keys
        self._clock = store.clock if clock is None else clock
        self._closed = False
        self.origin = store.meta["origin"]
        outstanding = Outstanding(checkpoints.journal)
        self._asking = Asking(store, keys, self._clock, mode, outstanding)
        self._notary = Notary(store, self.origin, keys, checkpoints, key_file=key_file)
        self._writing = Writing(store, keys, self.origin, self._asking, self._notary, outstanding, self._clock)

    @classmethod
    def create(
        cls,
        url: str,
        *,
        policy: Policy | str | os.PathLike[str],
        origin: str | None = None,
        keys: Keys | str | os.PathLike[str] | None = None,
        checkpoints: CheckpointStore | str | os.PathLike[str] | None = None,
        sealed: bool = False,
        vault: str | os.PathLike[str] | None = None,
        clock: Clock | None = None,
        mode: Mode = "enforce",
        allow_errors: bool = False,
    ) -> Self:
        """Begin a ledger: its key file (mode 0600), its store, and the policy as its first entry.

        `origin` names the log for ever (default: the policy's controller and `/consent`). Keys go to a file beside an SQLite
        ledger, to `keys`, or to the path in CONSENTLIB_KEYS; signed checkpoints to `checkpoints`, a folder or a second database
        (`sqlite:///`), by default a folder elsewhere (see `checkpoints.default_folder`). `sealed` keeps personal parts under
        keys in a database of its own: beside an SQLite ledger, at `vault`, or at the path in CONSENTLIB_VAULT. `allow_errors`
        as in `publish`. Raises `LedgerExistsError` and touches nothing if there is a ledger, `KeyFileError` if there are keys
        or a vault without one.
        """
        chosen = _publishable(policy, allow_errors)
        origin = f"{chosen.controller}/consent" if origin is None else origin
        opened = begin(url, origin=origin, keys=keys, checkpoints=checkpoints, sealed=sealed, vault=vault)
        try:
            ledger = cls(*opened[:3], clock=clock, mode=mode, key_file=opened.key_file)
            ledger._put_in_force(chosen)
            ledger.checkpoint()
        except BaseException:
            opened.store.close()
            raise
        return ledger

    @classmethod
    def open(
        cls,
        url: str,
        *,
        keys: Keys | str | os.PathLike[str] | None = None,
        checkpoints: CheckpointStore | str | os.PathLike[str] | None = None,
        vault: str | os.PathLike[str] | None = None,
        clock: Clock | None = None,
        mode: Mode = "enforce",
    ) -> Self:
        """Open a ledger that exists. Raises `LedgerMissingError`, `LedgerVersionError` or `KeyFileError`.

        What came since the newest checkpoint is hashed again. A log that is behind or beside it was rolled back, cut or
        rewritten: it opens, marked, takes stops, and allows nothing. So does one whose rows can't be read. Unmarked, it
        allows nothing either where neither its checkpoints nor its stop journal are found (see `checkpoint`).
        """
        opened = find(url, keys=keys, checkpoints=checkpoints, vault=vault)
        try:
            ledger = cls(*opened[:3], clock=clock, mode=mode, key_file=opened.key_file)
            ledger._examine()
            ledger._begin_journal()
            ledger._writing.catch_up()
            return ledger
        except BaseException:
            opened.store.close()
            raise

    @property
    def mode(self) -> Mode:
        """`enforce`, `warn` or `observe`."""
        return self._asking.mode

    # Recording.

    def record(self, event: Event) -> Recorded:
        """Record one event durably, or find it by its `event_id`.

        Raises `InputError` for what is not a recordable event, `EventConflictError` and `ErasedError` for a taken id,
        `ClockError` while the clock is behind the log, `StoreUnavailableError`, `VerificationError` where rows that it needs
        can't be read; nothing was stored then. A stop raises only the last two, and only where the stop journal can't be
        written either. `CommitUnknownError`, a kind of `StoreUnavailableError`, says that the answer to the commit was lost and
        what became of it can't be found out: record it again under the same `event_id`.
        """
        return self.record_many([event])[0]

    def record_many(self, events: Iterable[Event]) -> list[Recorded]:
        """Record events in one transaction: all, in order, or none. As `record` otherwise; an error's `position` says which.

        Stops are never refused: those in a list that can't be recorded are recorded all the same.
        """
        return self._writing.record(events)

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
        event_id: str | None = None,
    ) -> Recorded:
        """Take a consent back. Never refused, whatever the address looks like; needs no grant.

        Recorded as an objection to direct marketing too, in the same transaction, unless the person limited it: `limited`
        None takes a withdrawal of single uses as limited (GDPR 7(3), 21(2)-(3)). Gives the withdrawal's entry.

        `event_id` is a name of 1 to 128 characters: the same withdrawal handed in again under it, as webhooks do, is found and
        not written twice. Say `occurred_at` where it may come late, or it counts from when it is recorded.
        """
        common: dict[str, Any] = {
            "channels": channels,
            "via": via,
            "text": text,
            "occurred_at": occurred_at,
            "evidence": evidence,
            "event_id": event_id,
        }
        return self.record_many(withdrawal(address, uses=uses, controller=controller, limited=limited, **common))[0]

    def publish(self, policy: Policy | str | os.PathLike[str], *, allow_errors: bool = False) -> Recorded:
        """Put a policy in force: it becomes an entry, and every decision from now on names its hash.

        Raises `InputError` where a text of the same version would get another wording: what people agreed to stays as it was.
        For that reason it raises `PolicyError` for a policy that `lint` finds errors in, unless they are allowed, as for a
        form of the past that collected no valid consent.
        """
        return self._put_in_force(_publishable(policy, allow_errors))

    def _put_in_force(self, chosen: Policy) -> Recorded:
        with self._writing.appending(chosen) as recorder:
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
        What is denied for anybody, such as an unknown use, or a key that no row has is logged as a warning, under the name
        `consentlib`: like `check` it never raises for what is asked.
        """
        question = Asked.read(use, **asked)
        if (denial := self._asking.denied_for_anybody(question)) is not None:
            _log.warning("nobody passes: use `%s` is denied for anybody, `%s`", denial.use, denial.reason)
        return Filtered(rows, address, lambda one: self._asking.check(one, question))

    def permit(self, address: str, *, use: str, **asked: Any) -> Permit:
        """Check and record the send in one transaction: no stop can come between. Raises `NotAllowedError`.

        A context manager around the hand-over: it must begin within 60 seconds, and an exception inside takes the send back.
        `asked` as in `check`, but for `at` and `known_at`: a permit is for now.
        """
        return self._run([address], None, _now(use, asked)).one()

    def permits(
        self, rows: Iterable[_T], *, use: str, address: str | Callable[[_T], str] | None = None, **asked: Any
    ) -> PermitRun[_T]:
        """The rows that may be sent to now, each on record as sent before it is drawn, in small batches; `counts` afterwards.

        `with ledger.permits(...) as run: for row in run: ...` takes back the row whose hand-over raises (see `PermitRun`).
        `address` as in `filter`, `asked` as in `permit`. Raises `NotAllowedError` for what is denied for anybody, such as an
        unknown use or a message that does not say what the use needs, and `InputError` at the end where no row had the key.
        """
        question = _now(use, asked)
        if (denial := self._asking.denied_for_anybody(question)) is not None:
            raise NotAllowedError(denial)
        return self._run(rows, address, question)

    def _run(self, rows: Iterable[_T], address: str | Callable[[_T], str] | None, asked: Asked) -> PermitRun[_T]:
        return PermitRun(self._writing.appending, self._asking, self._clock, rows, address, asked)

    @contextmanager
    def bind(self, connection: Any) -> Iterator[BoundLedger]:
        """The ledger inside a transaction of the shop's own: what is recorded commits or fails with the shop's rows.

        `connection` is one to the ledger's own database, in an open transaction that holds the writer's lock: of `sqlite3`,
        prepared with `store.sqlite_file.prepare` and begun with `BEGIN IMMEDIATE`. The shop commits or rolls back, after the
        block. Raises `LedgerError` for any other connection, and where the store can't do it.
        """
        with closing(bind(self._store, connection)) as store:
            yield BoundLedger(store, self._asking, self._writing)

    # Looking.

    def history(self, address: str) -> list[HistoryEntry]:
        """The entries about an address and those linked to it, oldest first. Needs no valid address.

        Raises `VerificationError` where what is stored of them can't be read.
        """
        key = self._asking.named(address).key
        with ReadingRows(), self._store.read() as view:
            return read_history(view, key)

    @property
    def policy(self) -> Policy | None:
        """The policy in force."""
        with self._store.read() as view:
            return self._asking.scope(view.head(), view).policy

    def erase(self, address: str, *, reason: str, by: str) -> Erasure:
        """Erase a person (GDPR 17): what no law or claim needs goes, and the log says that it went. See `privacy.erase`.

        `reason` and `by` stay for ever: names such as `art17` and `dpo`. Never refused: what is no name is kept as `?`.
        """
        return self._writing.erase(address, reason=reason, by=by)

    def finish_erasures(self, *, by: str) -> Finished:
        """Let go of facts about people who were erased once nothing needs them any more (GDPR 5(1)(e)); needs no address.

        For a job once a day or once a month. No denial that such facts hold up ends with them. Raises `LedgerError` for a log
        that did not verify, and what kept a person from being finished, when all others were; facts that are not as the log
        commits to are `VerificationError`, and mark it. Where the rows of erased people can't be read nobody is finished.
        """
        return self._writing.finish_erasures(by=by)

    def review_suppressions(self, *, by: str) -> Review:
        """Drop what remains of erased addresses where its review date has come and no stop is in it. See `privacy.review`."""
        with self._writing.appending() as recorder:
            return review(recorder, by=by)

    def export(
        self,
        path: str | os.PathLike[str],
        *,
        by: str | None = None,
        reason: str | None = None,
        progress: Callable[[int], None] | None = None,
    ) -> int:
        """Write the log, with the entry that says so, as a signed zip that anyone can verify; gives the number of entries.

        `by` and `reason` stay in it for ever: names such as `auditor`, no free text, or `InputError`.
        """
        with self._writing.doubting():
            with self._writing.appending() as recorder:
                record_export(recorder, by=by, reason=reason)
            return write_export(self._store, self._notary, Path(path), progress=progress)

    def disclose(self, address: str, path: str | os.PathLike[str], *, by: str | None = None, reason: str | None = None) -> int:
        """Write one person's entries, each with its proof, as a zip that shows nobody else's (see `audit.disclosure`).

        `by` and `reason` as in `export`.
        """
        with self._writing.doubting():
            with self._writing.appending() as recorder:
                ids = record_disclosure(recorder, self._asking.named(address).key, by=by, reason=reason)
            return write_disclosure(self._store, self._notary, ids, Path(path))

    def verify(
        self,
        *,
        checkpoints: Iterable[bytes] = (),
        read_models: bool = False,
        meaning: bool = False,
        progress: Callable[[int], None] | None = None,
        processes: int = 1,
    ) -> Report:
        """Verify the whole log and that it extends its newest checkpoint; with `read_models` also what checks read.

        `checkpoints` are signed notes that somebody else kept: with one, the level is *history*. With `meaning` the rules are
        replayed over each recorded send: `Report.meaning` names those without a ground; where none is, the level is *meaning*.

        `processes` share the work over a large log, unless `meaning` is asked. They are started afresh each time: for programs
        whose main module is safe to import. If something is recorded just while they start, the first one does all of the work.

        Read models (folds, orders, event ids) are no part of the log, and no auditor needs them; comparing them takes several
        times as long. Raises `VerificationError` with the evidence and marks the ledger: nothing is allowed until it verifies
        again. A mark of level `read_models` goes only when those are compared again, one of `signature` or `history` only when
        there is a checkpoint to compare with; of several marks none goes before all can, and none that was set meanwhile.
        """
        # Opened before anything is doubted: one of another log says nothing of this one.
        held = [self._notary.open(restore_lines(note)) for note in checkpoints]
        with self._writing.doubting():
            last = self._notary.newest().checkpoint  # before the view: what is signed meanwhile is no business of this moment
            with self._store.read() as view:
                marks = view.head().unverified
                own = self._notary.sign_view(view) if held and marks is None else None
                shipped = [] if own is None else [self._notary.open(own)]
                report = verify_view(
                    view,
                    self.origin,
                    shipped=shipped,
                    checkpoints=held,
                    meaning=meaning,
                    progress=progress,
                    store=self._store,
                    processes=processes,
                )
                self._notary.examine(view, last)
                if read_models:
                    with ReadingRows():
                        verify_read_models(view, self._keys)
        compared = bool(held or last)
        settled = {"read_models": read_models, "signature": compared, "history": compared, TRANSFER: False}
        if marks is not None and all(settled.get(level, True) for level in levels(marks)):
            self._writing.lift(marks)
        return report

    def checkpoint(self, *, begin: bool = False) -> bytes:
        """Sign the log as it stands: a C2SP signed note of origin, size and root, for somebody else to keep.

        What is new is first read back and hashed again, and must extend what was signed before; else `VerificationError`,
        nothing is signed, and the ledger is marked. Also done now and then while recording, and when the ledger is closed.

        Raises `StoreUnavailableError` where neither an earlier checkpoint nor the stop journal is found: both lie elsewhere,
        and so do the stops that others keep there. `begin` begins both anew here. Say it only if they are lost.
        """
        if begin:
            self._notary.begin_place(self._clock())
        return self._writing.checkpoint()

    def receipt(self, recorded: Recorded | int) -> bytes:
        """Proof that an entry is in the log, as the bytes of a `.tlog-proof` (C2SP): what a person gets after a withdrawal.

        `recorded` is what `record` or `withdraw` gave, or an index. Signs a checkpoint if none covers the entry yet.
        """
        return next(self.receipts([recorded]))

    def receipts(self, recorded: Iterable[Recorded | int]) -> Iterator[bytes]:
        """`receipt` of each, in order and under one checkpoint, thousands at a time: many times as fast as one by one.

        Nothing is read, and nothing raised, before the first is asked for.
        """
        indices = (one.index if isinstance(one, Recorded) else one for one in recorded)
        with self._writing.doubting():
            yield from self._notary.receipts(-1 if index is None else index for index in indices)

    @property
    def verifier(self) -> str:
        """The public key that checkpoints verify under, as `name+id+key`. Auditors should have it from elsewhere too."""
        return str(self._notary.verifier)

    @property
    def journal(self) -> StopJournal:
        """The stop journal beside the checkpoints. Its lines must stay as long as a backup may be restored; then prune them."""
        return self._notary.checkpoints.journal

    def verifiers(self) -> list[tuple[str, int | None]]:
        """Every key this ledger has signed with, as `verifier`, oldest first, with the index of the entry that added it."""
        return self._notary.introduced()

    def signs_under(self, verifiers: Iterable[str]) -> bool:
        """Whether the newest checkpoint counts for who trusts these keys: signed by one, or by one they lead to."""
        return self._notary.signs_under(map(Verifier.parse, verifiers))

    def rotate_key(self) -> str:
        """Sign with a fresh key from now on; gives its verifier. Who trusts the old key is led on by the log.

        Cut short, doing it again finishes it. Other processes sign no more, with `KeyFileError`, until they open the ledger
        again. Raises `KeyFileError` where the keys are in no file, or in one that can't be written.
        """
        with self._writing.doubting():
            rotate(self._notary, self._store.meta, self._writing.appending)
        return self.verifier

    def close(self) -> None:
        """Sign a last checkpoint if entries came since the newest, and let go of the store."""
        if not self._closed:
            self._writing.sign_if(self._notary.unsigned)
        self._closed = True
        self._store.close()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None) -> None:
        self.close()

    def __repr__(self) -> str:
        return f"<Ledger {self.origin}>"

    # Below the door.

    def _examine(self) -> None:
        """Mark the log unless it extends its newest checkpoint, which must be readable. Raises where it can't be marked."""
        if (error := self._notary.look()) is not None:
            _log.error("the log was not found to extend its newest checkpoint: %s", error)
            with suppress(VerificationError):  # a head that can't be read, so that nothing is allowed anyway
                self._writing.mark(f"{getattr(error, 'level', 'history')}: {error}")

    def _begin_journal(self) -> None:
        """Begin a stop journal where there is none, unless the log is marked or its checkpoints are not here either.

        A log that agrees with its checkpoint holds what the lost one held. For one that does not, an empty journal would
        pass for one that knows what it forgot; and where neither is, others may be keeping both elsewhere.
        """
        kept = self._notary.checkpoints
        try:
            if kept.journal.exists():
                return
            self._notary.check_place()
            with self._store.read() as view:
                marked = view.head().unverified is not None
            if marked:
                _log.error("the stop journal was not found; none begins for a log that is not as it was signed")
            else:
                _log.error("the stop journal was not found; a new one begins")
                kept.prepare(since=self._clock())
        except (StoreUnavailableError, VerificationError) as error:
            _log.error("there is no stop journal, so that nothing is allowed: %s", error)


def _now(use: str, asked: dict[str, Any]) -> Asked:
    if not asked.keys().isdisjoint(("at", "known_at")):
        raise InputError("expected a send that happens now, found `at` or `known_at`; `filter` answers for other times")
    return Asked.read(use, **asked)


def _publishable(policy: Policy | str | os.PathLike[str], allow_errors: bool) -> Policy:
    from consentlib.policy.lint import refuse_errors  # here, because a ledger that is only used publishes nothing

    chosen = policy if isinstance(policy, Policy) else load_policy(policy)
    if not allow_errors:
        refuse_errors(chosen)
    return chosen
