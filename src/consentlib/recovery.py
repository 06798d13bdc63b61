"""Recovery: after a backup was restored, a new log goes on from it, with the stops and erasures that it had forgotten.

A log that is behind its newest checkpoint can't be continued: whoever holds that checkpoint would see two histories. So the
entries are carried into a log of another origin, which says in its first entry of its own where they came from and what was
signed there last. The restored database is left as it is: it is evidence.
"""

from __future__ import annotations

import os
import re
from collections.abc import Callable, Iterator, Sequence
from contextlib import closing
from typing import Any, Final

from attrs import frozen

from consentlib.asking import Clock
from consentlib.audit.verify import verify_view
from consentlib.checkpoints import CheckpointStore
from consentlib.errors import InputError, StoreUnavailableError
from consentlib.journal import Line
from consentlib.keys import Keys
from consentlib.ledger import Ledger
from consentlib.log import LOST, WITHHELD, Entry
from consentlib.log.leaf import base64
from consentlib.opening import Opened, begin, find
from consentlib.outstanding import ERASURE, prepared_of
from consentlib.privacy import erase_again
from consentlib.reader import Limit, read_scope
from consentlib.recorder import Recorder
from consentlib.store import View
from consentlib.transfer import finished, transfer

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

    Raises `VerificationError` for a log that does not verify, `StoreUnavailableError` for a journal that is missing or damaged,
    unless `without_journal`; `LedgerExistsError`, `KeyFileError`, `InputError` as `Ledger.create`.
    """
    for name, value in (("by", by), ("reason", reason)):
        if type(value) is not str or not 0 < len(value) <= 128 or not value.isascii():
            raise InputError(f"expected 1 to 128 ASCII characters in `{name}`, found something else")
    old = find(url, keys=keys, checkpoints=checkpoints, vault=vault)
    with closing(old.store):
        old.keys.verify(old.store.meta)
        old_origin = old.store.meta["origin"]
        lines = None if without_journal else _lines(old.checkpoints)
        note = old.checkpoints.read()
        origin = origin or _next(old_origin)
        if origin == old_origin:
            raise InputError("expected another origin than that of the restored log, found the same")
        with old.store.read() as view:
            report = verify_view(_Found(view), old_origin)
            place = {"keys": new_keys, "checkpoints": new_checkpoints, "vault": new_vault}
            sealed = "sealed" in old.store.meta
            new = begin(new_url, origin=origin, fresh=old.keys.renamed(), sealed=sealed, **place)  # type: ignore[arg-type]
            with closing(new.store):
                lost = transfer(view, new.store, progress=progress)
                facts: dict[str, Any] = {"from": old_origin, "size": report.size, "root": base64(report.root).decode()}
                facts |= {"by": by, "reason": reason, "journal": lines is not None}
                facts |= {} if note is None else {"checkpoint": note.decode("utf-8", "replace")}
                stops, erasures = _append(new, facts, lost, lines or [], (clock or new.store.clock)())
    with Ledger.open(new_url, clock=clock, **place) as ledger:  # type: ignore[arg-type]
        ledger.verify(read_models=True)
        ledger.checkpoint()
    return Recovery(origin, report.size, stops, erasures, lines is not None)


class _Found:
    """A view as a restored log is found: parts whose key was erased since are not shown, instead of gone without a record."""

    def __init__(self, view: View) -> None:
        self._view = view

    def __getattr__(self, name: str) -> Any:
        return getattr(self._view, name)

    def entries(self, start: int = 0, stop: int | None = None) -> Iterator[Entry]:
        for entry in self._view.entries(start, stop):
            yield entry._replace(parts={name: WITHHELD if part is LOST else part for name, part in entry.parts.items()})


def _append(
    new: Opened, facts: dict[str, Any], lost: list[tuple[int, str]], lines: Sequence[Line], now: int
) -> tuple[int, int]:
    """The record of the recovery and what the journal has besides, in one transaction. Gives how many stops and erasures."""
    with new.store.write() as tx:
        policy = read_scope(tx, Limit(tx.head().size)).policy
        finished(tx)
        recorder = Recorder(tx, keys=new.keys, origin=new.store.meta["origin"], policy=policy, now=now)
        recorder.append("log.recovered", {"occurred_at": recorder.time, **facts})
        if lost:
            said = {"occurred_at": recorder.time, "reason": "key-erased", "by": facts["by"]}
            recorder.append("part.erased", {**said, "parts": [list(part) for part in lost]})
        held = tx.events([line.id for line in lines])
        missing = [line for line in lines if held[line.id] is None]
        for line in missing:
            if line.said["type"] == ERASURE:
                erase_again(recorder, new.keys, line)
            else:
                recorder.record(prepared_of(line))
        recorder.finish()
    erasures = sum(line.said["type"] == ERASURE for line in missing)
    return len(missing) - erasures, erasures


def _lines(kept: CheckpointStore) -> list[Line]:
    try:
        if not kept.journal.exists():
            raise StoreUnavailableError("expected the stop journal beside the checkpoints, found none")
        return kept.journal.read()[0]
    except StoreUnavailableError as error:
        error.add_note("find it, or recover without it: then each person must agree anew to all that a no can end")
        raise


def _next(origin: str) -> str:
    found = _NUMBERED.fullmatch(origin)
    assert found is not None  # noqa: S101  # it matches everything
    return f"{found[1]}-{int(found[2] or 1) + 1}"
