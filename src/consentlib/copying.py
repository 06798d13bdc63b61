"""Moving a ledger: the same log, under the same keys, in another store. The old one is left as it is.

The copy can be cut short anywhere and begun again, and repeated later to catch up with what came since. It allows nothing
until it is whole and verified. A stop that the old ledger takes after the last copy would be missing in the new one: stop
the shop, copy once more, then point it at the new URL.
"""

from __future__ import annotations

import os
from collections.abc import Callable, Sequence
from contextlib import closing
from pathlib import Path
from typing import Final

from attrs import frozen

from consentlib.audit.read_models import verify_read_models
from consentlib.audit.verify import verify_view
from consentlib.checkpoints import CheckpointStore, covered_size
from consentlib.errors import InputError, KeyFileError, LedgerError, LedgerExistsError, VerificationError
from consentlib.journal import Line, StopJournal
from consentlib.keys import Keys
from consentlib.log import LOST, Entry, Report
from consentlib.log.checkpoint import Checkpoint
from consentlib.notary import Notary
from consentlib.opening import Opened, find, find_copy
from consentlib.store import Head
from consentlib.transfer import Shown, finished, transfer

_SQLITE: Final = "sqlite:///"


@frozen
class Copied:
    """What `copy` did: the log's origin, its size and root, how many of its entries were `carried` this time, and whether
    erased bytes are `pending` in a file of the copy until a reader lets go of it."""

    origin: str
    size: int
    root: bytes
    carried: int
    pending: bool = False


def copy(
    url: str,
    new_url: str,
    *,
    keys: Keys | str | os.PathLike[str] | None = None,
    new_keys: str | os.PathLike[str] | None = None,
    checkpoints: CheckpointStore | str | os.PathLike[str] | None = None,
    new_checkpoints: CheckpointStore | str | os.PathLike[str] | None = None,
    vault: str | os.PathLike[str] | None = None,
    new_vault: str | os.PathLike[str] | None = None,
    progress: Callable[[int], None] | None = None,
) -> Copied:
    """Bring the ledger at `new_url` to the state of the one at `url`, and verify it: chain, content, read models, root.

    The key file is copied to the place of the new one. Checkpoints and stop journal stay where they are, unless
    `new_checkpoints` names another place: then they are copied too. A sealed ledger gets a vault of its own. What was erased
    since an earlier copy is erased in the new one. `progress` is called with the number of entries that are there.

    Raises `LedgerExistsError` or `LedgerError` where there is another log, or one that went on by itself; `KeyFileError` for
    other keys in the new place and for personal parts whose key is lost; `VerificationError` where either log does not hold
    what it must, and `LedgerError` where the old one is marked. The new one stays marked then: it allows nothing.
    """
    if _place(url) == _place(new_url):
        raise InputError("expected another place to copy the ledger to, found the same")
    old = find(url, keys=keys, checkpoints=checkpoints, vault=vault)
    with closing(old.store):
        notary = _notary(old)
        if (error := notary.look()) is not None:
            raise error
        # Before the view, which then holds all that was signed.
        notes, newest, lines = old.checkpoints.history(), notary.newest().checkpoint, old.checkpoints.journal.read()[0]
        with old.store.read() as view:
            if view.head().unverified is not None:
                raise LedgerError("expected a verified log to copy, found one that is marked; verify or recover it first")
            said = new_checkpoints if new_checkpoints is not None else checkpoints
            new = find_copy(old, new_url, keys=new_keys, checkpoints=said, vault=new_vault)
            with closing(new.store):
                with new.store.read() as held:
                    before = held.head().size
                transfer(Shown(view, _whole), new.store, progress=progress)
                _carry_notes(notes, new.checkpoints)
                _carry_lines(lines, old.checkpoints.journal.since(), new.checkpoints.journal)
                report = _verify(new, view.head(), newest)
                with new.store.write() as transaction:
                    finished(transaction)
                pending = not new.store.purge()
    return Copied(old.store.meta["origin"], report.size, report.root, report.size - before, pending)


def _whole(entry: Entry) -> Entry:
    """An entry of whose parts each can be read, or is erased on record; else an error."""
    for name, part in entry.parts.items():
        if part is LOST:
            raise KeyFileError(f"expected the key of part `{name}` of entry `{entry.index}`, found it lost")
        if part is not None and not isinstance(part, tuple):
            raise LedgerError("expected no erasure while the log is read, found one; copy again")
    return entry


def _place(url: str) -> object:
    return Path(url.removeprefix(_SQLITE)).resolve() if url.startswith(_SQLITE) else url


def _notary(of: Opened) -> Notary:
    of.keys.verify(of.store.meta)
    return Notary(of.store, of.store.meta["origin"], of.keys, of.checkpoints, key_file=of.key_file)


def _carry_notes(notes: Sequence[bytes], kept: CheckpointStore) -> None:
    """Put checkpoints that are missing where the others are; nothing where both are one place."""
    ours, theirs = ({covered_size(note): note for note in some} for some in (notes, kept.history()))
    if any(size not in ours or _text(ours[size]) != _text(note) for size, note in theirs.items()):
        raise LedgerExistsError("expected only checkpoints of the log that is copied in the new place, found others")
    newest = kept.read()
    for size in sorted(ours):
        if (newest is None or size >= covered_size(newest)) and theirs.get(size) != ours[size]:
            kept.replace(newest, ours[size])
            newest = ours[size]


def _text(note: bytes) -> bytes:
    """What was signed: another signature may have come to it."""
    return note.partition(b"\n\n")[0]


def _carry_lines(lines: Sequence[Line], since: int, journal: StopJournal) -> None:
    if journal.since() < since:  # lines may have come and gone since the last copy
        raise LedgerError(
            "expected a stop journal that lacks what the copied one lacks, found one that claims more",
            note="the old one was pruned since the last copy: name a fresh place for the checkpoints of the copy",
        )
    there = {line.id for line in journal.read()[0]}
    missing = [line for line in lines if line.id not in there]
    if missing:
        journal.append(missing)


def _verify(new: Opened, head: Head, newest: Checkpoint | None) -> Report:
    """Raise unless the copy holds what the old one showed, by itself and under its newest checkpoint."""
    with new.store.read() as view:
        found = view.head()
        report = verify_view(view, new.store.meta["origin"])
        _notary(new).examine(view, newest)
        verify_read_models(view, new.keys)
        if found._replace(unverified=None) != head:
            raise VerificationError("expected the head of the log that was copied, found another", level="history")
    return report
