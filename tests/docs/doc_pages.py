"""Reads and runs the pages: what stands in a fenced block is executed where it stands.

On each page, in order and in one temporary folder:

- `python` blocks share one namespace; a `text` block right after one is what it prints;
- in `console` blocks each line that begins with `$ ` is run; the lines after it, if any, are what it prints; one that needs a
  program of others is passed over where that is not installed;
- a `code-block` directive with a `:caption:` that names a file writes that file.

In what is shown, `...` stands for anything.
"""

from __future__ import annotations

import os
import re
import shutil
import subprocess
import sys
import sysconfig
from collections.abc import Iterator
from contextlib import redirect_stdout
from doctest import ELLIPSIS, NORMALIZE_WHITESPACE, OutputChecker
from io import StringIO
from pathlib import Path
from textwrap import dedent
from typing import NamedTuple

from consentlib import Ledger

ROOT = Path(__file__).parents[2]
DOCS = ROOT / "docs"
PAGES = [ROOT / "README.md", ROOT / "CHANGELOG.md", *sorted(DOCS.rglob("*.md"))]
NAMES = [str(page.relative_to(ROOT)) for page in PAGES]

_FENCE = re.compile(r"^( *)(```+)(?:\{code-block\} *)?([a-z]*)\n(.*?)^\1\2 *$", re.DOTALL | re.MULTILINE)
_OTHERS = ("openssl",)
_CAPTION = re.compile(r":caption: (\S+)\n\n?")


class Block(NamedTuple):
    """A fenced block: its language, text, the line it begins at, the file it is, and whether it directly follows another."""

    language: str
    text: str
    line: int
    file: str | None
    follows: bool


def blocks(page: Path) -> Iterator[Block]:
    """The fenced blocks of a page."""
    text, end = page.read_text(encoding="utf-8"), -1
    for found in _FENCE.finditer(text):
        body = dedent(found[4])
        caption = _CAPTION.match(body)
        if caption:
            body = body[caption.end() :]
        follows = end >= 0 and not text[end : found.start()].strip()
        end = found.end()
        yield Block(found[3], body, text.count("\n", 0, found.start()) + 2, caption[1] if caption else None, follows)


def run(page: Path, folder: Path) -> None:
    """Run a page in `folder`, which must be the current one."""
    space: dict[str, object] = {"__name__": "__page__"}
    printed, language = "", ""
    try:
        for block in blocks(page):
            where = f"{page.name}, line {block.line}"
            if block.file is not None:
                (folder / block.file).write_text(block.text, encoding="utf-8")
            elif block.language == "python":
                out = StringIO()
                code = compile("\n" * (block.line - 1) + block.text, str(page), "exec")
                with redirect_stdout(out):
                    exec(code, space)
                printed = out.getvalue()
            elif block.language == "console":
                _converse(block.text, folder, where)
            elif block.language == "text" and block.follows and language == "python":
                _compare(block.text, printed, where)
            language = block.language
    finally:
        for value in space.values():
            if isinstance(value, Ledger):
                value.close()


def _converse(text: str, folder: Path, where: str) -> None:
    for exchange in re.split(r"^\$ ", text, flags=re.MULTILINE)[1:]:
        command, _, shown = exchange.partition("\n")
        if any(command.startswith(f"{name} ") and shutil.which(name) is None for name in _OTHERS):
            continue
        path = os.pathsep.join([sysconfig.get_path("scripts"), str(Path(sys.executable).parent), os.environ["PATH"]])
        environment = {**os.environ, "PATH": path, "COLUMNS": "100"}
        done = subprocess.run(
            command, shell=True, cwd=folder, env=environment, text=True, stdout=subprocess.PIPE, stderr=subprocess.STDOUT
        )
        assert done.returncode in (0, 1, 10), f"{where}: `{command}` ended with {done.returncode}:\n{done.stdout}"
        if shown.strip():
            assert "Traceback" not in done.stdout, f"{where}: {done.stdout}"
            _compare(shown, done.stdout, f"{where}: `{command}`")
        else:
            assert done.returncode == 0, f"{where}: `{command}` ended with {done.returncode}:\n{done.stdout}"


def _compare(shown: str, found: str, where: str) -> None:
    same = OutputChecker().check_output(shown, found, ELLIPSIS | NORMALIZE_WHITESPACE)
    assert same, f"{where}: shown\n{shown}\nfound\n{found}"
