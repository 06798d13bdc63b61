"""Files of released format versions: what was written once verifies, opens and answers as it did, for ever."""

from __future__ import annotations

import json
import subprocess
import sys
import tarfile
import zipfile
from collections.abc import Iterator
from hashlib import sha256
from pathlib import Path
from typing import Any

import pytest
from make import END, LETTER, ask, sign_up

import independent_verify
from consentlib import Ledger, Message
from consentlib.audit.receipt import verify_receipt
from consentlib.audit.report import write_report
from consentlib.audit.verify import verify_file
from consentlib.audit.verify_disclosure import verify_disclosure
from consentlib.log import parse_leaf
from consentlib.log.note import Verifier

V1 = Path(__file__).parent / "v1"
KEY = (V1 / "key.txt").read_text().strip()
PINNED = [Verifier.parse(KEY)]
ROTATED = (V1 / "rotated.key.txt").read_text().strip()
BOTH = [*PINNED, Verifier.parse(ROTATED)]
SCRIPT = Path(verify_file.__code__.co_filename).parent / "standalone" / "verify.py"
CASES: list[dict[str, Any]] = json.loads((V1 / "decisions.json").read_text())["cases"]


@pytest.fixture(scope="module")
def shop(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Ledger]:
    """A copy of the ledger, opened two months later."""
    folder = unpacked("ledger", tmp_path_factory.mktemp("golden"))
    with Ledger.open(f"sqlite:///{folder}/shop.db", checkpoints=folder / "checkpoints", clock=lambda: END) as ledger:
        yield ledger


def unpacked(name: str, folder: Path) -> Path:
    with tarfile.open(V1 / f"{name}.tar.xz") as archive:
        archive.extractall(folder, filter="data")
    return folder


def test_bytes_are_kept() -> None:
    """No file was remade, added or lost."""
    sums = dict(reversed(line.split("  ")) for line in (V1 / "SHA256SUMS").read_text().splitlines())
    found = {path.name: sha256(path.read_bytes()).hexdigest() for path in V1.iterdir() if path.name != "SHA256SUMS"}
    assert found == sums
    assert (
        sha256((V1 / "SHA256SUMS").read_bytes()).hexdigest()
        == "e04c0fd58800da6ec08781069439b0de2203f9aa55724136f3ebf3f2a54fb408"
    )


@pytest.mark.parametrize("kept", ["kept.checkpoint", "newest.checkpoint"])
def test_export(kept: str) -> None:
    """The export reaches *history* with a checkpoint from before the key was rotated, and *meaning* beyond it."""
    report = verify_file(V1 / "export.zip", verifiers=PINNED, checkpoints=[(V1 / kept).read_bytes()])
    assert (report.level, report.signed_size, report.withheld, report.erased) == ("history", report.size, 0, 1)
    judged = verify_file(V1 / "export.zip", verifiers=PINNED, checkpoints=[(V1 / kept).read_bytes()], meaning=True)
    assert (judged.level, judged.meaning and judged.meaning.findings) == ("meaning", ())


@pytest.mark.parametrize("script", ["today", "then"])
def test_script(script: str, tmp_path: Path) -> None:
    """So it does with the one-file verifier, that of today and that in the export."""
    path = SCRIPT
    if script == "then":
        with zipfile.ZipFile(V1 / "export.zip") as archive:
            path = Path(archive.extract("verify.py", tmp_path))
    command = [sys.executable, path, V1 / "export.zip", "--key", KEY, "--checkpoint", V1 / "kept.checkpoint"]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    assert (done.returncode, done.stderr) == (0, "")
    assert "history" in done.stdout
    done = subprocess.run(
        [sys.executable, path, V1 / "disclosure.zip", "--key", ROTATED], capture_output=True, text=True, check=False
    )
    assert (done.returncode, done.stderr) == (10, "")


def test_independently() -> None:
    """Sixty lines of the standard library find the root that was signed, of the whole and of what an auditor kept."""
    with zipfile.ZipFile(V1 / "export.zip") as archive:
        lines = archive.read("log.ndjson").splitlines()
        origin, size, root, *_ = archive.read("checkpoint").decode().split("\n")
    assert independent_verify.verify(lines) == (int(size), root)
    assert origin == "littlesteps/consent"


def test_receipt() -> None:
    """A receipt proves its withdrawal under the key of its time."""
    entry = verify_receipt((V1 / "withdrawal.tlog-proof").read_bytes(), BOTH)
    assert parse_leaf(entry.leaf).kind == "consent.withdrawn"


def test_disclosure() -> None:
    """A disclosure proves the entries of its person, under the key of its time."""
    report = verify_disclosure(V1 / "disclosure.zip", verifiers=BOTH, checkpoints=[(V1 / "kept.checkpoint").read_bytes()])
    assert (report.level, report.partial, report.shown) == ("history", True, 8)


def test_report_renders(tmp_path: Path) -> None:
    """The audit report of it is a whole page."""
    note = (V1 / "kept.checkpoint").read_bytes()
    write_report(V1 / "export.zip", tmp_path / "report.html", verifiers=PINNED, checkpoints=[note], meaning=True)
    text = (tmp_path / "report.html").read_text()
    assert "history" in text
    assert text.endswith("</html>\n")


@pytest.mark.parametrize(
    "case", CASES, ids=lambda case: f"{case['question']['address'].partition('@')[0]}-{case['question']['use']}"
)
def test_decisions(shop: Ledger, case: dict[str, Any]) -> None:
    """Each question gets the answer that it got then, rule by rule."""
    answer = ask(shop, case["question"]).as_dict()
    assert {name: answer[name] for name in case["answer"] if name != "ledger"} == {
        name: value for name, value in case["answer"].items() if name != "ledger"
    }
    assert answer["ledger"]["size"] == case["answer"]["ledger"]["size"]


def test_goes_on(tmp_path: Path) -> None:
    """It verifies with what checks read, has what waited in its journal as an entry, records and signs on."""
    folder = unpacked("ledger", tmp_path)
    kept = (V1 / "newest.checkpoint").read_bytes()
    url = f"sqlite:///{folder}/shop.db"
    with Ledger.open(url, checkpoints=folder / "checkpoints", clock=lambda: END) as ledger:
        report = ledger.verify(checkpoints=[kept], read_models=True, meaning=True)
        assert report.level == "meaning"
        assert [one.kind for one in ledger.history("gerda@example.dk")][-1] == "consent.withdrawn"
        sign_up(ledger, "new@example.dk")
        assert ledger.check("new@example.dk", use="marketing_newsletter", message=Message(**LETTER))
        assert not ledger.erase("ann@example.dk", reason="art17", by="dpo").pending
        ledger.rotate_key()
        size = ledger.export(folder / "again.zip", by="auditor")
        assert verify_file(folder / "again.zip", verifiers=PINNED, checkpoints=[kept, ledger.checkpoint()]).size == size


def test_sealed(tmp_path: Path) -> None:
    """A sealed ledger opens with its vault and verifies; without it, parts are withheld and the log stands."""
    folder = unpacked("sealed", tmp_path) / "sealed"
    with Ledger.open(f"sqlite:///{folder}/shop.db", checkpoints=folder / "checkpoints", clock=lambda: END) as ledger:
        report = ledger.verify(read_models=True)
        assert (report.withheld, report.erased) == (0, 1)
        persons = [one.person for one in ledger.history("bo@example.dk") if one.kind == "consent.withdrawn"]
        assert persons == [{"text": "no more"}]
        assert ledger.check("carl@example.dk", use="marketing_newsletter").reason == "erased"
        sign_up(ledger, "new@example.dk")
