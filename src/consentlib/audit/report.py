"""The audit report: one HTML file that a lawyer reads and prints, made from an export and nothing else."""

from __future__ import annotations

import os
import sqlite3
import time
from collections.abc import Callable, Sequence
from hashlib import file_digest
from pathlib import Path

from consentlib.audit.page import Page, Source
from consentlib.audit.survey import Survey
from consentlib.audit.traces import Traces
from consentlib.audit.verify import verify_file
from consentlib.errors import FormatError, InputError, StoreUnavailableError, VerificationError
from consentlib.log.checkpoint import Checkpoint
from consentlib.log.note import Verifier


def write_report(
    source_zip: Path,
    out: Path,
    *,
    verifiers: Sequence[Verifier] = (),
    checkpoints: Sequence[Checkpoint | bytes] = (),
    language: str = "en",
    meaning: bool = False,
    progress: Callable[[int], None] | None = None,
) -> None:
    """Verify an export as `verify_file` does and write what it says to `out`, in `en` or `da`. Read once, memory constant.

    With `meaning` it also says which recorded sends had no ground when the rules are replayed.

    Figures are shown only of a log that verified. Otherwise `out` says at which level and entry it failed, and the
    `VerificationError` or `FormatError` is raised. A file that was there is replaced, by a whole one or not at all. Raises
    `InputError` for another language, an export that can't be read or is `out`, `StoreUnavailableError` where `out` can't be
    written.
    """
    try:
        with open(source_zip, "rb") as file:
            digest, size = file_digest(file, "sha256").hexdigest(), os.fstat(file.fileno()).st_size
    except OSError as error:
        raise InputError(f"expected a readable export, found: {(error.strerror or 'an unreadable file').lower()}") from None
    page = Page(Source(size, digest, time.time_ns() // 1_000_000, [str(one) for one in verifiers]), language)
    if out.exists() and out.samefile(source_zip):
        raise InputError("expected another file to write the report to, found the export")
    with Traces() as traces:
        survey = Survey(traces)
        try:
            report = verify_file(
                source_zip,
                verifiers=verifiers,
                checkpoints=checkpoints,
                meaning=meaning,
                each=survey.see,
                progress=progress,
            )
        except (VerificationError, FormatError) as error:
            _write(out, page.failed(error))
            raise
        except sqlite3.Error as error:
            raise StoreUnavailableError("expected room for a temporary file, found none") from error
        survey.end()
    _write(out, page.verified(report, survey))


def _write(out: Path, text: str) -> None:
    aside = out.with_name(f"{out.name}.{os.getpid()}.part")
    try:
        aside.write_text(text, encoding="utf-8")
        os.replace(aside, out)
    except OSError as error:
        raise StoreUnavailableError(f"expected to write the report, found: {(error.strerror or 'an error').lower()}") from error
    finally:
        aside.unlink(missing_ok=True)
