"""Recovery: after a backup was restored, a new log goes on from it, with the stops and erasures that it had forgotten.

A log that is behind its newest checkpoint can't be continued: whoever holds that checkpoint would see two histories. So the
entries are carried into a log of another origin, which says in its first entry of its own where they came from and what was
signed there last. The restored database is left as it is: it is evidence.
"""

from __future__ import annotations

import os
import re
from collections.abc import Callable, Iterator, Sequence
from contextlib import closing, contextmanager
from typing import Any, Final

from attrs import frozen

from consentlib.asking import Clock
from consentlib.audit.verify import verify_view
from consentlib.checkpoints import CheckpointStore
from consentlib.checkpoints.making import agrees
from consentlib.errors import InputError, StoreUnavailableError
from consentlib.fields import read_word
from consentlib.journal import Line
from consentlib.keys import Keys
from consentlib.ledger import Ledger
from consentlib.log import LOST, WITHHELD, Entry, parse_leaf
from consentlib.log.leaf import base64
from consentlib.notary import Notary
from consentlib.opening import Opened, begin, find
from consentlib.outstanding import ERASURE, check_countable, prepared_of
from consentlib.reader import Limit, read_scope
from consentlib.recorder import Recorder
from consentlib.replay import replay, runs
from consentlib.transfer import Shown, finished, transfer

_NUMBERED: Final = re.compile(r"(.*?)(?:-(\d{1,6}))?")


@frozen
class Recovery:
    """What `recover` did: the new log's origin, how many entries it took over, how many stops and erasures it made up for.

    `journal` is False where there was none: then a new consent of each person is needed for all that a no can end.
    """

    origin: str
    entries: int
    stops: int
    erasures: int
    journal: bool


def recover(
    url: str,
    new_url: str,
    *,
    by: str,
    reason: str,
    origin: str | None = None,
    keys: Keys | str | os.PathLike[str] | None = None,
    new_keys: str | os.PathLike[str] | None = None,
    checkpoints: CheckpointStore | str | os.PathLike[str] | None = None,
    new_checkpoints: CheckpointStore | str | os.PathLike[str] | None = None,
    vault: str | os.PathLike[str] | None = None,
    new_vault: str | os.PathLike[str] | None = None,
    without_journal: bool = False,
    clock: Clock | None = None,
    progress: Callable[[int], None] | None = None,
) -> Recovery:
    """Begin a log at `new_url` that goes on from the restored one at `url`, under the same keys and another origin.

    Chain and content of the restored log are verified first. Then come its entries, the record of the recovery (the old
    origin, size and root as restored, its newest checkpoint, `by`, `reason`), and every stop and erasure of the journal that
    it does not hold. `origin` is by default the old one with a number. Until all of it is there the new log allows nothing.

    Nothing may be recorded in the restored log any more: the new one would not know of it.

    Raises `VerificationError` for a log that does not verify, `StoreUnavailableError` for a journal that is missing, damaged or
    does not go back to the backup, unless `without_journal`; `LedgerExistsError`, `KeyFileError`, `InputError` as
    `Ledger.create`.
    """
    said = {"by": read_word(by, "by"), "reason": read_word(reason, "reason")}
    old = find(url, keys=keys, checkpoints=checkpoints, vault=vault)
    with closing(old.store):
        old.keys.verify(old.store.meta)
        old_origin = old.store.meta["origin"]
        lines = None if without_journal else _lines(old, old_origin)
        note = old.checkpoints.read()
        origin = origin or _next(old_origin)
        if origin == old_origin:
            raise InputError("expected another origin than that of the restored log, found the same")
        with old.store.read() as view:
            report = verify_view(Shown(view, _found), old_origin)
            place = {"keys": new_keys, "checkpoints": new_checkpoints, "vault": new_vault}
            sealed = "sealed" in old.store.meta
            new = begin(new_url, origin=origin, fresh=old.keys.renamed(), sealed=sealed, **place)  # type: ignore[arg-type]
            with closing(new.store):
                lost = transfer(view, new.store, progress=progress)
                facts: dict[str, Any] = {"from": old_origin, "size": report.size, "root": base64(report.root).decode()}
                facts |= {**said, "journal": lines is not None}
                facts |= {} if note is None else {"checkpoint": note.decode("utf-8", "replace")}
                stops, erasures = _append(new, facts, lost, lines or [], clock or new.store.clock)
    with Ledger.open(new_url, clock=clock, **place) as ledger:  # type: ignore[arg-type]
        ledger.verify(read_models=True)
        ledger.checkpoint()
    return Recovery(origin, report.size, stops, erasures, lines is not None)


def _found(entry: Entry) -> Entry:
    """An entry as a restored log is found: parts whose key was erased since are not shown, instead of gone without a record."""
    return entry._replace(parts={name: WITHHELD if part is LOST else part for name, part in entry.parts.items()})


def _append(
    new: Opened, facts: dict[str, Any], lost: list[tuple[int, str]], lines: Sequence[Line], clock: Clock
) -> tuple[int, int]:
    """Record the recovery and what the journal has besides, then lift the mark. Gives how many stops and erasures."""
    with _recording(new, clock()) as recorder:
        recorder.append("log.recovered", {"occurred_at": recorder.time, **facts})
        if lost:
            said = {"occurred_at": recorder.time, "reason": "key-erased", "by": facts["by"]}
            recorder.append("part.erased", {**said, "parts": [list(part) for part in lost]})
    with new.store.read() as view:
        held = view.events([line.id for line in lines])
    missing = [line for line in lines if held[line.id] is None]
    for run in runs([line if line.said["type"] == ERASURE else prepared_of(line) for line in missing]):
        with _recording(new, clock()) as recorder:
            replay(recorder, new.keys, run)
    with new.store.write() as tx:
        finished(tx)
    erasures = sum(line.said["type"] == ERASURE for line in missing)
    return len(missing) - erasures, erasures


@contextmanager
def _recording(new: Opened, now: int) -> Iterator[Recorder]:
    """A recorder for the new log, which is marked still."""
    with new.store.write() as tx:
        policy = read_scope(tx, Limit(tx.head().size)).policy
        recorder = Recorder(tx, keys=new.keys, origin=new.store.meta["origin"], policy=policy, now=now)
        yield recorder
        recorder.finish()


def _lines(old: Opened, origin: str) -> list[Line]:
    """What the journal of the restored log has, if it has every stop that the log may have forgotten."""
    journal = old.checkpoints.journal
    try:
        if not journal.exists():
            raise StoreUnavailableError("expected the stop journal beside the checkpoints, found none")
        if _as_signed(old, origin) < journal.since():
            raise StoreUnavailableError("expected a stop journal that goes back to the backup, found a later or pruned one")
        lines, _ = journal.read()
        for line in lines:
            check_countable(line)
    except StoreUnavailableError as error:
        error.add_note("find it, or recover without it: then each person must agree anew to all that a no can end")
        raise
    return list({line.id: line for line in lines}.values())


def _as_signed(old: Opened, origin: str) -> int:
    """The recorded time (ms) of the newest entry that the restored log surely had before: one that a checkpoint covers."""
    notary = Notary(old.store, origin, old.keys, old.checkpoints, key_file=old.key_file)
    with old.store.read() as view:
        sizes = [one.size for one in notary.earlier(view.head().size + 1) if agrees(view, one)]
        entry = view.entry(max(sizes) - 1) if sizes else None
    return 0 if entry is None else parse_leaf(entry.leaf).t


def _next(origin: str) -> str:
    found = _NUMBERED.fullmatch(origin)
    assert found is not None  # noqa: S101  # it matches everything
    return f"{found[1]}-{int(found[2] or 1) + 1}"
