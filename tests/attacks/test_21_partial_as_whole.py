"""Attack 21: one person's entries are passed off as the whole log, or somebody else's as that person's, or some left out."""

import json
import sys
import zipfile
from binascii import a2b_base64
from collections.abc import Callable
from pathlib import Path
from subprocess import run

import pytest

from consentlib.audit.report import write_report
from consentlib.audit.verify import verify_file
from consentlib.audit.verify_disclosure import verify_disclosure
from consentlib.errors import FormatError, VerificationError
from consentlib.log import parse_line
from forger import key
from shop import Shop

ANN, BO = "anna@example.dk", "bo@example.dk"
Files = dict[str, bytes]
SCRIPTS = ("src/consentlib/audit/standalone/verify.py", "tests/independent_verify.py")


@pytest.fixture
def disclosure(shop: Shop, tmp_path: Path) -> Path:
    """A disclosure of Anna's entries out of a log with Bo's."""
    shop.sign_up(ANN)
    shop.sign_up(BO)
    shop.ledger.withdraw(BO, limited=True)
    shop.ledger.disclose(ANN, tmp_path / "anna.zip")
    return tmp_path / "anna.zip"


def files_of(path: Path) -> Files:
    with zipfile.ZipFile(path) as archive:
        return {name: archive.read(name) for name in archive.namelist()}


def pack(path: Path, files: Files) -> Path:
    with zipfile.ZipFile(path, "w") as archive:
        for name, data in files.items():
            archive.writestr(name, data)
    return path


def nobody_takes(path: Path, shop: Shop) -> None:
    """The library, the report and both scripts refuse it as a whole log, with the key and without."""
    for keys in ([], [key(shop)]):
        with pytest.raises((FormatError, VerificationError)):
            verify_file(path, verifiers=keys)
        with pytest.raises((FormatError, VerificationError)):
            write_report(path, path.with_suffix(".html"), verifiers=keys)
    for script in SCRIPTS:
        found = run([sys.executable, Path(__file__).parents[2] / script, path], capture_output=True, text=True, check=False)
        assert found.returncode not in (0, 10), found.stdout


def renamed(files: Files) -> Files:
    """The lines under the name of a whole log's."""
    return {"log.ndjson" if name == "disclosure.ndjson" else name: data for name, data in files.items()}


def stripped(files: Files) -> Files:
    """That, and all that a whole log does not have taken out."""
    return {name: data for name, data in renamed(files).items() if not name.startswith(("proofs/", "consistency/"))}


def with_policy(files: Files) -> Files:
    """That, and the policy's entry, which its proof holds, in front: the log begins as it must."""
    extra = a2b_base64(files["proofs/0.tlog-proof"].split(b"\n")[1].removeprefix(b"extra "))
    return {**stripped(files), "log.ndjson": extra + files["disclosure.ndjson"]}


def renumbered(files: Files) -> Files:
    """That, with indices that follow on one another."""
    rows = [json.loads(line) for line in with_policy(files)["log.ndjson"].splitlines()]
    lines = [json.dumps({**row, "i": index}, separators=(",", ":")).encode() + b"\n" for index, row in enumerate(rows)]
    return {**stripped(files), "log.ndjson": b"".join(lines)}


def both(files: Files) -> Files:
    """Lines under both names."""
    return {**files, "log.ndjson": with_policy(files)["log.ndjson"]}


def untouched(files: Files) -> Files:
    """The disclosure as it is, handed over as the whole."""
    return files


@pytest.mark.parametrize("change", [untouched, renamed, stripped, with_policy, renumbered, both])
def test_passed_off_as_whole(shop: Shop, disclosure: Path, tmp_path: Path, change: Callable[[Files], Files]) -> None:
    """The chain lacks what is between (`verify_entries`); what says that it is a part is not looked at as more."""
    path = pack(tmp_path / "audit.zip", change(files_of(disclosure)))
    if change is untouched:
        assert verify_disclosure(path, verifiers=[key(shop)]).partial
        with pytest.raises(FormatError, match="found a disclosure, which is a part"):
            verify_file(path)
        return
    nobody_takes(path, shop)
    with pytest.raises((FormatError, VerificationError)):
        verify_disclosure(path)


def test_a_beginning(shop: Shop, tmp_path: Path) -> None:
    """Where the person's entries are the first of the log, the rest is missing under the checkpoint that covers it."""
    shop.sign_up(ANN)
    shop.ledger.disclose(ANN, tmp_path / "anna.zip")
    files = files_of(tmp_path / "anna.zip")
    shop.ledger.withdraw(BO)
    shop.ledger.disclose(ANN, tmp_path / "later.zip")
    later = {**with_policy(files), "checkpoint": files_of(tmp_path / "later.zip")["checkpoint"]}
    with pytest.raises(VerificationError, match="expected at least `7` entries, as signed, found `4`"):
        verify_file(pack(tmp_path / "cut.zip", later), verifiers=[key(shop)])


def test_whole_because_there_is_no_more(shop: Shop, tmp_path: Path) -> None:
    """Of a log with nobody else in it the lines are the whole log, and may be called so: bit for bit what an export holds."""
    shop.sign_up(ANN)
    shop.ledger.disclose(ANN, tmp_path / "anna.zip")
    whole = pack(tmp_path / "whole.zip", with_policy(files_of(tmp_path / "anna.zip")))
    report = verify_file(whole, verifiers=[key(shop)])
    assert (report.size, report.partial) == (4, False)
    shop.ledger.export(tmp_path / "audit.zip")
    lines = files_of(tmp_path / "audit.zip")["log.ndjson"].splitlines()
    assert files_of(whole)["log.ndjson"].splitlines() == lines[:4]


def test_somebody_elses_entry(shop: Shop, disclosure: Path, tmp_path: Path) -> None:
    """A withdrawal of Bo's put into Anna's file needs a proof, and one under the same checkpoint (`_Shown`)."""
    (stop,) = [one.index for one in shop.ledger.history(BO) if one.kind == "consent.withdrawn"]
    shop.ledger.disclose(BO, tmp_path / "bo.zip")
    anna, bo = files_of(disclosure), files_of(tmp_path / "bo.zip")
    mine, theirs = (files["disclosure.ndjson"].splitlines(keepends=True) for files in (anna, bo))
    moved = next(line for line in theirs if parse_line(line).index == stop)
    mixed = {**anna, "disclosure.ndjson": b"".join(sorted([*mine, moved]))}
    with pytest.raises(FormatError, match="in the zip, found none"):
        verify_disclosure(pack(tmp_path / "mixed.zip", mixed))
    mixed[f"proofs/{stop}.tlog-proof"] = bo[f"proofs/{stop}.tlog-proof"]
    with pytest.raises(VerificationError, match="under the checkpoint beside it"):
        verify_disclosure(pack(tmp_path / "mixed.zip", mixed))


def test_left_out(shop: Shop, disclosure: Path, tmp_path: Path) -> None:
    """An entry left out can't be seen from the part, so each report says that; the whole log shows it."""
    files = files_of(disclosure)
    rows = files["disclosure.ndjson"].splitlines(keepends=True)
    files["disclosure.ndjson"] = b"".join(rows[1:])
    del files["proofs/1.tlog-proof"]
    report = verify_disclosure(pack(tmp_path / "less.zip", files), verifiers=[key(shop)])
    assert report.shown == 2
    assert any(line.startswith("completeness: ") for line in report.not_checked)
    assert len(shop.ledger.history(ANN)) == 3
