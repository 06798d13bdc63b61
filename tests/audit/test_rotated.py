"""Exports of logs whose key was rotated: the library and both verifiers that stand alone say the same."""

from __future__ import annotations

import contextlib
import io
import json
import zipfile
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import pytest
from browser import Browser
from hypothesis import HealthCheck, given, settings
from rotating_log import CASES, KEYS, Case, entries_of, note_of
from test_page import browser, needs_browser, page, verify
from test_standalone import script
from test_trust import ANY

from consentlib.audit.verify import verify_file
from consentlib.errors import VerificationError
from consentlib.log import format_line

__all__ = ["browser", "page"]  # fixtures


def written(folder: Path, case: Case) -> tuple[Path, list[Path]]:
    """The export of a case, and the checkpoints that the auditor kept."""
    entries, path = entries_of(case), folder / "audit.zip"
    with zipfile.ZipFile(path, "w", zipfile.ZIP_DEFLATED) as archive:
        archive.writestr("log.ndjson", b"".join(map(format_line, entries)))
        archive.writestr("checkpoint", note_of(entries, case.shipped[0]))
        for one in case.shipped[1:]:
            archive.writestr(f"checkpoints/{one.size}", note_of(entries, one))
    kept = [folder / f"kept{number}" for number in range(len(case.held))]
    for file, one in zip(kept, case.held, strict=True):
        file.write_bytes(note_of(entries, one))
    return path, kept


def pinned(case: Case) -> list[str]:
    """The verifier keys that the auditor has."""
    return [str(KEYS[name].verifier) for name in case.pinned.split()]


def library(path: Path, case: Case, kept: Sequence[Path]) -> str:
    """The level that the library reaches; what it refuses at, after `no`."""
    verifiers = [KEYS[name].verifier for name in case.pinned.split()]
    try:
        return verify_file(path, verifiers=verifiers, checkpoints=[one.read_bytes() for one in kept]).level
    except VerificationError as error:
        return f"no {error.level}"


def alone(path: Path, case: Case, kept: Sequence[Path]) -> tuple[int, dict[str, Any]]:
    """Exit code and report of the script."""
    options = [*(("--key", one) for one in pinned(case)), *(("--checkpoint", str(one)) for one in kept)]
    with contextlib.redirect_stdout(io.StringIO()) as out:
        code = script.main([str(path), "--json", *(word for pair in options for word in pair)])
    return code, json.loads(out.getvalue())


@pytest.mark.parametrize("case", CASES.values(), ids=CASES)
def test_library_and_script(case: Case, tmp_path: Path) -> None:
    """Each case has the verdict it must have."""
    path, kept = written(tmp_path, case)
    code, found = alone(path, case, kept)
    assert (code, found.get("level", "")) == (case.verdict, case.level)
    assert library(path, case, kept) == (case.level or ("no history" if case.verdict == 30 else "no signature"))


def test_what_the_script_says(tmp_path: Path) -> None:
    """It names the keys that the log led to, and how many earlier checkpoints don't count."""
    case = CASES["who knows the old key is led on"]
    path, kept = written(tmp_path, case)
    assert any(str(KEYS["two"].verifier) in line for line in alone(path, case, kept)[1]["checked"])
    case = CASES["who knows the new key need not know the old"]
    path, kept = written(tmp_path, case)
    assert not any(str(KEYS["one"].verifier) in line for line in alone(path, case, kept)[1]["checked"])
    unsigned = "signature: 1 earlier checkpoints of the export carry none by a key that counts"
    assert unsigned in alone(path, case, kept)[1]["not_checked"]


@settings(max_examples=120, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(case=ANY)
def test_never_of_two_minds(case: Case, tmp_path: Path) -> None:
    """Whatever is added, shipped, pinned and kept: both verify, to the same level, or both refuse."""
    path, kept = written(tmp_path, case)
    code, found = alone(path, case, kept)
    level = library(path, case, kept)
    assert (found["level"] if code in (0, 10) else "no") == level.split(" ")[0]


@needs_browser
@pytest.mark.parametrize("case", CASES.values(), ids=CASES)
def test_page(page: Browser, case: Case, tmp_path: Path) -> None:
    """The page has the verdict of the script."""
    path, kept = written(tmp_path, case)
    found = verify(page, path, keys=pinned(case), notes=kept)
    if case.verdict in (0, 10):
        assert (found.reached, found.colour) == (case.level, "good" if case.verdict == 0 else "warn")
    else:
        assert found.colour == "bad"
        assert (found.title == "Diverges from a checkpoint you hold") == (case.verdict == 30)


@needs_browser
def test_what_the_page_says(page: Browser, tmp_path: Path) -> None:
    """It shows the key that the log led to, and that an earlier checkpoint does not count."""
    case = CASES["who knows the old key is led on"]
    path, kept = written(tmp_path, case)
    verify(page, path, keys=pinned(case), notes=kept)
    assert str(KEYS["two"].verifier) in page.text("#facts")
    verify(page, path, keys=pinned(CASES["who knows the new key need not know the old"]), notes=kept)
    assert "earlier checkpoints in the export (1) are signed by no key that counts" in page.text("#gaps")
