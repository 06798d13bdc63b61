"""What stands in the README and the pages runs where it stands."""

import subprocess
import sys
from collections.abc import Callable
from contextlib import ExitStack
from pathlib import Path
from zipfile import ZipFile

import pytest
from doc_pages import DOCS, NAMES, PAGES, blocks, run

from consentlib import Ledger
from consentlib.policy import parse_policy, starter
from postgres_server import Server

RUN = [(page, name) for page, name in zip(PAGES, NAMES, strict=True) if any(b.language != "text" for b in blocks(page))]


@pytest.mark.parametrize("page", [page for page, _ in RUN], ids=[name for _, name in RUN])
def test_page_runs(page: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Every snippet runs, and prints what is shown below it."""
    monkeypatch.chdir(tmp_path)
    if page.is_relative_to(DOCS) and page.parent.name != "tutorial":
        (tmp_path / "littlesteps.toml").write_text(starter(), encoding="utf-8")
    with ExitStack() as stack:
        if page.name == "use-postgresql.md":
            monkeypatch.setenv("SHOP_DATABASE", stack.enter_context(Server(fsync="on").init()).start().url())
        run(page, tmp_path)


@pytest.mark.parametrize(
    "text",
    ["```python\nraise ValueError\n```\n", "```python\nprint(1)\n```\n\n```text\n2\n```\n", "```console\n$ echo 1\n2\n```\n"],
    ids=["raises", "prints otherwise", "answers otherwise"],
)
def test_runner_notices(text: str, tmp_path: Path) -> None:
    """A page that is wrong fails."""
    page = tmp_path / "page.md"
    page.write_text(text)
    with pytest.raises((AssertionError, ValueError)):
        run(page, tmp_path)


def test_quick_start_is_short() -> None:
    """The README's first Python snippet has at most ten lines of code."""
    first = next(block for block in blocks(PAGES[0]) if block.language == "python")
    assert len([line for line in first.text.splitlines() if line.strip()]) <= 10


@pytest.mark.parametrize(
    ("forge", "problem"),
    [
        (lambda lines: lines, ""),
        (lambda lines: [lines[0], *lines[2:]], "1: out of place"),
        (lambda lines: [*lines[:2], lines[2].replace(b'"person":{', b'"other":{')], "2: a part no leaf commits to"),
        (lambda lines: [*lines[:2], lines[2][: lines[2].index(b',"person"')] + b"}}\n"], "parts are gone without a record"),
        (lambda lines: [*lines[:2], lines[2].replace(b'"data":"eyJ', b'"data":"eyK', 1)], "2: facts does not open"),
        (lambda lines: [lines[0], lines[2].replace(b'"i":2', b'"i":1')], "1: out of place"),
    ],
    ids=["whole", "cut out", "uncommitted", "wiped", "edited", "renumbered"],
)
def test_verifier_of_the_page(forge: Callable[[list[bytes]], list[bytes]], problem: str, tmp_path: Path) -> None:
    """The verifier printed for auditors passes an export and notices each forgery."""
    page = DOCS / "how-to/export-and-verify.md"
    (tmp_path / "check.py").write_text(next(block.text for block in blocks(page) if block.file == "check.py"))
    with Ledger.create("memory:", policy=parse_policy(starter())) as ledger:
        for text in ("one", "two", "three"):
            ledger.withdraw("anna@example.dk", text=text, limited=True)
        ledger.export(tmp_path / "whole.zip")
    with ZipFile(tmp_path / "whole.zip") as whole, ZipFile(tmp_path / "forged.zip", "w") as forged:
        lines = whole.read("log.ndjson").splitlines(keepends=True)[:3]
        forged.writestr("log.ndjson", b"".join(forge(lines)))
    command = [sys.executable, "-I", str(tmp_path / "check.py"), str(tmp_path / "forged.zip")]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    assert (done.returncode, done.stderr.strip()) == (1 if problem else 0, problem)
