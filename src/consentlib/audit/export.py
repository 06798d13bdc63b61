"""Writing the export: a zip that says what it is, in public formats, with constant memory."""

from __future__ import annotations

import os
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final

from consentlib.audit.readme import export_readme
from consentlib.damage import ReadingRows
from consentlib.errors import StoreUnavailableError
from consentlib.fields import read_word
from consentlib.log import format_line
from consentlib.log.merkle import frontier_root
from consentlib.notary import Notary
from consentlib.recorder import Recorder
from consentlib.store import Store

if TYPE_CHECKING:
    from zipfile import ZipFile

_CHUNK: Final = 2_000
_ATTEMPTS: Final = 5


def record_export(recorder: Recorder, *, by: str | None, reason: str | None) -> None:
    """Put on record that the whole log is exported, before it is: who may have it is a question of its own (GDPR 30, 32)."""
    made(recorder, "whole", by=by, reason=reason)


def made(recorder: Recorder, scope: str, *, by: str | None, reason: str | None, address: str | None = None) -> None:
    """Append the entry `export.made`, which the file to come will hold.

    `scope` is `whole` or `person`; `by` is a role and `reason` a word, both optional names, no free text;
    `address` is the id of the person's, so that it shows in the person's history. Raises `InputError`.
    """
    facts: dict[str, Any] = {"occurred_at": recorder.time, "scope": scope}
    facts |= {name: read_word(said, name) for name, said in (("by", by), ("reason", reason)) if said is not None}
    if address is not None:
        facts["address"] = address
    recorder.append("export.made", facts)


def write_export(store: Store, notary: Notary, path: Path, *, progress: Callable[[int], None] | None = None) -> int:
    """Write the log to a new zip at `path`; gives the number of entries. A half-written file never takes its place.

    Signed by a checkpoint of exactly what is in it, unless the ledger is marked unverified: that can be exported as evidence,
    and says that it is unsigned. Reads in short transactions, so that nobody waits for it, up to the head it catches up with.
    What is erased meanwhile must not be in the file: then it begins anew, and at last reads in one transaction.
    """
    with replacing(path) as aside:
        for attempt in range(_ATTEMPTS):
            size = _write(store, notary, aside, progress, at_once=attempt == _ATTEMPTS - 1)
            if size is not None:
                return size
        raise StoreUnavailableError("expected a quiet moment to export in, found erasures all the time")


@contextmanager
def replacing(path: Path) -> Iterator[Path]:
    """A path to write to: what lies there in the end takes the place of `path`; nothing does if the block raises."""
    aside = path.with_name(f"{path.name}.{os.getpid()}-{threading.get_ident()}.part")
    try:
        yield aside
        os.replace(aside, path)
    except OSError as error:
        raise StoreUnavailableError(f"expected to write the export, found: {error.strerror}") from error
    finally:
        aside.unlink(missing_ok=True)


def add_verifiers(archive: ZipFile) -> None:
    """Put the verifiers beside what they verify: one file each, for Python alone and for a browser alone."""
    from importlib.resources import files  # here, because few who import the library export

    for name in ("verify.py", "verify.html"):
        archive.writestr(name, files("consentlib.audit").joinpath("standalone", name).read_bytes())


def _write(store: Store, notary: Notary, path: Path, progress: Callable[[int], None] | None, *, at_once: bool) -> int | None:
    """One attempt. None if something was erased since it began: a part that is gone now may have been written."""
    import zipfile  # here, because few who import the library export

    with zipfile.ZipFile(path, "w", zipfile.ZIP_DEFLATED, compresslevel=1) as archive:
        policies: list[tuple[int, bytes]] = []
        size, begun, note = 0, None, None
        with archive.open("log.ndjson", "w", force_zip64=True) as file:
            while True:
                with ReadingRows(), store.read() as view:
                    head = view.head()
                    begun = head.size if begun is None else begun
                    stop = head.size if at_once else min(head.size, size + _CHUNK)
                    for entry in view.entries(size, stop):
                        if entry.index >= begun and entry.leaf.split(b"\n", 6)[5:6] == [b"part.erased"]:
                            return None
                        file.write(format_line(entry))
                        policy = entry.parts.get("policy")
                        if isinstance(policy, tuple):
                            policies.append((entry.index, policy[1]))
                    size = stop
                    trusted = head.unverified is None
                    if size == head.size and trusted:
                        note = notary.sign_view(view)
                if progress is not None:
                    progress(size)
                if size == head.size:
                    if note is not None or not trusted:
                        break
                    notary.sign()  # somebody else was first, or the log was cut: then this says so
        for index, policy_bytes in policies:
            archive.writestr(f"policy/{index}.json", policy_bytes)
        if note is not None:
            archive.writestr("checkpoint", note)
            for earlier in notary.earlier(size):
                archive.writestr(f"checkpoints/{earlier.size}", earlier.note)
        root = frontier_root(head.frontier)
        archive.writestr("README.txt", export_readme(notary.verifier, size, head.tip, root, signed=note is not None))
        add_verifiers(archive)
    return size
