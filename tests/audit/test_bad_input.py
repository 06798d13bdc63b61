"""Bad input, as an auditor may be handed it: command line, script and page refuse each, in one line, and none verifies it."""

from __future__ import annotations

import json
import subprocess
import sys
import zipfile
from base64 import b64decode, b64encode
from collections.abc import Callable
from pathlib import Path

import pytest
from browser import Browser
from click.testing import CliRunner
from small_log import plain
from test_page import browser, checkpoint, page, signer, verify, write  # noqa: F401  # fixtures too

import consentlib
from consentlib.audit.verify import verify_file
from consentlib.cli import main
from consentlib.log import format_line

SCRIPT = Path(consentlib.__file__).parent / "audit" / "standalone" / "verify.py"
ENTRIES = plain(9)
LOG = b"".join(map(format_line, ENTRIES))
NOTE = checkpoint(ENTRIES)
KEPT = checkpoint(ENTRIES[:4])
KEY = str(signer().verifier)
LINES = LOG.splitlines(keepends=True)


def leaf_changed(how: Callable[[bytes], bytes]) -> bytes:
    """The log with the leaf of entry 3 changed."""
    row = json.loads(LINES[3])
    row["leaf"] = b64encode(how(b64decode(row["leaf"]))).decode()
    return b"".join([*LINES[:3], json.dumps(row, separators=(",", ":")).encode() + b"\n", *LINES[4:]])


LOGS: dict[str, bytes] = {
    "huge line": LINES[0][:-1] + b" " * 9_000_000 + b"\n",
    "deeply nested line": b'{"i":0,"leaf":' + b"[" * 200_000 + b"\n",
    "nested parts": LINES[0].replace(b'"parts":{', b'"parts":' + b'{"facts":' * 5_000 + b"{"),
    "leaf of 64 KiB": leaf_changed(lambda leaf: leaf + b"x" * 65_536),
    "unknown format version": leaf_changed(lambda leaf: leaf.replace(b"/v1\n", b"/v2\n")),
    "mixed origins": leaf_changed(lambda leaf: leaf.replace(b"\n", b"\nother/", 1)),
    "control characters in a leaf": leaf_changed(lambda leaf: leaf.replace(b"\n3\n", b"\n3\0\n")),
    "duplicate index": b"".join([*LINES[:4], LINES[3], *LINES[4:]]),
    "an index left out": b"".join([*LINES[:3], *LINES[4:]]),
    "base64 with a space": LOG.replace(b'"data":"', b'"data":" ', 1),
    "number beyond measure": LOG.replace(b'{"i":0', b'{"i":' + b"9" * 5_000, 1),
    "not UTF-8": LOG.replace(b"facts", b"fact\xff", 1),
    "nothing": b"",
}
"""What is wrong in `log.ndjson`; the note beside it is sound."""

NOTES: dict[str, bytes] = {
    "control characters": NOTE.replace(b"\n9\n", b"\n9\x07\n"),
    "carriage returns": NOTE.replace(b"\n", b"\r\n"),
    "base64 with a space": NOTE.replace(b"\xe2\x80\x94 ", b"\xe2\x80\x94  "),
    "space in the root": NOTE.replace(b"=\n\n", b" =\n\n"),
    "from the future": checkpoint(ENTRIES, size=999),
    "size with a zero in front": NOTE.replace(b"\n9\n", b"\n09\n"),
    "size beyond measure": NOTE.replace(b"\n9\n", b"\n" + b"9" * 5_000 + b"\n"),
    "cut": NOTE[:-40],
    "without signature": NOTE[: NOTE.index(b"\n\n") + 1],
    "a megabyte": NOTE + b"x" * 1_100_000,
    "empty": b"",
}
"""What is wrong in the `checkpoint`; the log beside it is sound."""


def zipped(how: Callable[[bytes], bytes]) -> Callable[[Path], Path]:
    """A sound export, with the bytes of its zip changed."""

    def make(path: Path) -> Path:
        write(path, ENTRIES, checkpoint=NOTE)
        path.write_bytes(how(path.read_bytes()))
        return path

    return make


def without_log(path: Path) -> Path:
    with zipfile.ZipFile(path, "w") as archive:
        archive.writestr("checkpoint", NOTE)
    return path


FOREIGN = ("no zip", "empty file")
"""What was never an export."""

EXPORTS: dict[str, Callable[[Path], Path]] = {
    "corrupt zip": zipped(lambda data: data[:200] + bytes(50) + data[250:]),
    "cut zip": zipped(lambda data: data[:-40]),
    "no zip": zipped(lambda data: b"not a zip"),
    "empty file": zipped(lambda data: b""),
    "no log in it": without_log,
    "no checkpoint in it": lambda path: write(path, ENTRIES),
    **{f"log: {name}": lambda path, log=log: write(path, log, checkpoint=NOTE) for name, log in LOGS.items()},  # type: ignore[misc]
    **{f"note: {name}": lambda path, note=note: write(path, ENTRIES, checkpoint=note) for name, note in NOTES.items()},  # type: ignore[misc]
}


def one_line(output: str) -> bool:
    """Whether an error is one line that passes for no success."""
    return output.count("\n") == 1 and "Traceback" not in output and "verified" not in output.lower().split(":")[0]


def test_sound(tmp_path: Path, page: Browser) -> None:  # noqa: F811
    """What the bad ones are made of is sound."""
    export, kept = write(tmp_path / "audit.zip", ENTRIES, checkpoint=NOTE), tmp_path / "kept"
    kept.write_bytes(KEPT)
    arguments = [str(export), "--key", KEY, "--checkpoint", str(kept)]
    assert CliRunner().invoke(main, ["verify", *arguments]).exit_code == 0
    assert subprocess.run([sys.executable, SCRIPT, *arguments], capture_output=True, check=False).returncode == 0
    assert verify(page, export, keys=[KEY], notes=[kept]).reached == "history"


@pytest.mark.parametrize("name", EXPORTS)
def test_command_line_and_script(name: str, tmp_path: Path) -> None:
    """Exit 40, or 2 where it was never an export; and one line."""
    export = EXPORTS[name](tmp_path / "audit.zip")
    code = 2 if name in FOREIGN else 40
    for command in ("verify", "report"):
        more = [str(tmp_path / "report.html")] if command == "report" else []
        done = CliRunner().invoke(main, [command, str(export), *more, "--key", KEY])
        assert done.exit_code == (40 if command == "report" else code), (command, done.output)
        assert one_line(done.stderr), (command, done.output)
    ran = subprocess.run([sys.executable, SCRIPT, export, "--key", KEY], capture_output=True, text=True, check=False)
    assert (ran.returncode, ran.stderr) == (code, "")
    assert one_line(ran.stdout), ran.stdout


def test_page(tmp_path: Path, page: Browser) -> None:  # noqa: F811
    """A red verdict with its reason, and nothing in the browser's console."""
    for name, make in EXPORTS.items():
        found = verify(page, make(tmp_path / "audit.zip"), keys=[KEY])
        title = "Could not be checked" if name in FOREIGN else "Not valid"
        assert (found.title, found.colour) == (title, "bad"), (name, found)
        assert found.why, name
    assert page.complaints() == []


@pytest.mark.parametrize("name", [name for name in NOTES if name not in ("from the future", "carriage returns")])
def test_kept_notes(name: str, tmp_path: Path, page: Browser) -> None:  # noqa: F811
    """A kept checkpoint that is none can't be used: one line, and no verdict over the log is given."""
    export, kept = write(tmp_path / "audit.zip", ENTRIES, checkpoint=NOTE), tmp_path / "kept"
    kept.write_bytes(NOTES[name])
    arguments = [str(export), "--key", KEY, "--checkpoint", str(kept)]
    done = CliRunner().invoke(main, ["verify", *arguments])
    assert done.exit_code == 2, done.output
    assert one_line(done.stderr), done.output
    ran = subprocess.run([sys.executable, SCRIPT, *arguments], capture_output=True, text=True, check=False)
    assert (ran.returncode, ran.stderr) == (2, "")
    assert one_line(ran.stdout), ran.stdout
    assert verify(page, export, keys=[KEY], notes=[kept]).title == "Could not be checked"


MAILED: dict[str, bytes] = {
    "as it was": KEPT,
    "CRLF": KEPT.replace(b"\n", b"\r\n"),
    "byte-order mark": b"\xef\xbb\xbf" + KEPT,
    "no last newline": KEPT[:-1],
    "blank lines after it": KEPT + b"\n\n",
    "all of it": b"\xef\xbb\xbf" + KEPT.replace(b"\n", b"\r\n") + b"\r\n",
}
"""What mail and editors make of a checkpoint."""


@pytest.mark.parametrize("name", MAILED)
def test_kept_as_mail_made_it(name: str, tmp_path: Path, page: Browser) -> None:  # noqa: F811
    """One that came by mail counts as it was signed (`restore_lines`); its signature, and the log, decide as ever."""
    export, kept = write(tmp_path / "audit.zip", ENTRIES, checkpoint=NOTE), tmp_path / "kept"
    arguments = [str(export), "--key", KEY, "--checkpoint", str(kept)]
    other = checkpoint(ENTRIES[1:5])
    for data, code, title in (
        (MAILED[name], 0, "Verified, history included"),
        (MAILED[name].replace(KEPT.split(b"\n")[2], other.split(b"\n")[2]), 2, "Could not be checked"),
    ):
        kept.write_bytes(data)
        done = CliRunner().invoke(main, ["verify", *arguments])
        ran = subprocess.run([sys.executable, SCRIPT, *arguments], capture_output=True, text=True, check=False)
        assert (done.exit_code, ran.returncode) == (code, code), (done.output, ran.stdout)
        assert verify(page, export, keys=[KEY], notes=[kept]).title == title


def test_a_shipped_checkpoint_is_exact(tmp_path: Path, page: Browser) -> None:  # noqa: F811
    """What comes in the zip came by no mail: there each of these is refused."""
    for note in [changed for name, changed in MAILED.items() if name != "as it was"]:
        export = write(tmp_path / "audit.zip", ENTRIES[:4], checkpoint=note)
        assert CliRunner().invoke(main, ["verify", str(export), "--key", KEY]).exit_code == 40
        ran = subprocess.run([sys.executable, SCRIPT, export, "--key", KEY], capture_output=True, check=False)
        assert ran.returncode == 40
        assert verify(page, export, keys=[KEY]).title == "Not valid"


LONG = NOTE + b"\xe2\x80\x94 witness.example " + b64encode(b"x" * 300_000) + b"\n"
BESIDE: dict[str, tuple[dict[str, bytes], int]] = {
    "of another log": ({"checkpoint": checkpoint(ENTRIES, origin="other.example/log")}, 40),
    "of a shorter one": ({"checkpoint": checkpoint(ENTRIES[:4])}, 40),
    "of a longer one": ({"checkpoint": checkpoint(ENTRIES, size=999)}, 40),
    "no note": ({"checkpoint": b"signed, sincerely\n"}, 40),
    "an earlier one that contradicts": ({"checkpoint": NOTE, "checkpoints/4": checkpoint(ENTRIES[1:5])}, 40),
    "an earlier one under another size": ({"checkpoint": NOTE, "checkpoints/5": KEPT}, 40),
    "an earlier one under a name": ({"checkpoint": NOTE, "checkpoints/foo": KEPT}, 40),
    "an earlier one, and the folder": ({"checkpoint": NOTE, "checkpoints/": b"", "checkpoints/4": KEPT}, 10),
    "a long one": ({"checkpoint": LONG}, 10),
}
"""Checkpoints in the zip, and how verifying ends with them."""


@pytest.mark.parametrize("key", [[], [KEY]], ids=["no key", "key"])
@pytest.mark.parametrize("name", BESIDE)
def test_checkpoints_beside_the_log(name: str, key: list[str], tmp_path: Path, page: Browser) -> None:  # noqa: F811
    """What came with the log is compared with it, whoever signed it and whether or not there is a key to ask."""
    files, code = BESIDE[name]
    export = write(tmp_path / "audit.zip", ENTRIES, **files)
    arguments = [str(export), *(word for one in key for word in ("--key", one))]
    done = CliRunner().invoke(main, ["verify", *arguments])
    ran = subprocess.run([sys.executable, SCRIPT, *arguments], capture_output=True, text=True, check=False)
    assert (done.exit_code, ran.returncode) == (code, code), (done.output, ran.stdout)
    assert (verify(page, export, keys=key).colour == "bad") is (code == 40)


def test_a_zip_packed_otherwise(tmp_path: Path) -> None:
    """Only files that are stored or deflated are read, by both."""
    with zipfile.ZipFile(tmp_path / "audit.zip", "w", zipfile.ZIP_BZIP2) as archive:
        archive.writestr("log.ndjson", LOG)
    done = CliRunner().invoke(main, ["verify", str(tmp_path / "audit.zip")])
    ran = subprocess.run([sys.executable, SCRIPT, tmp_path / "audit.zip"], capture_output=True, text=True, check=False)
    assert (done.exit_code, ran.returncode) == (40, 40), (done.output, ran.stdout)
    assert "another method" in done.stderr
    assert "another method" in ran.stdout


@pytest.mark.parametrize("error", [KeyError, ValueError, RuntimeError, OSError])
def test_what_a_caller_raises_is_no_damaged_zip(error: type[Exception], tmp_path: Path) -> None:
    """An error of the code that is handed the entries comes out as it is."""
    export = write(tmp_path / "audit.zip", ENTRIES, checkpoint=NOTE)

    def fail(_: object) -> None:
        raise error("of the caller")

    for handed in ({"each": fail}, {"progress": fail}):
        with pytest.raises(error, match="of the caller"):
            verify_file(export, **handed)  # type: ignore[arg-type]


def test_kept_under_another_key(tmp_path: Path) -> None:
    """So can't one that a stranger signed."""
    export, kept = write(tmp_path / "audit.zip", ENTRIES, checkpoint=NOTE), tmp_path / "kept"
    kept.write_bytes(checkpoint(ENTRIES[:4], signer(2)))
    for command in (["verify", export], ["report", export, tmp_path / "report.html"]):
        done = CliRunner().invoke(main, [*map(str, command), "--key", KEY, "--checkpoint", str(kept)])
        assert (done.exit_code, "that you kept" in done.stderr, one_line(done.stderr)) == (2, True, True), done.output
    ran = subprocess.run([sys.executable, SCRIPT, export, "--key", KEY, "--checkpoint", kept], capture_output=True, check=False)
    assert ran.returncode == 2


def test_kept_from_the_future(tmp_path: Path, page: Browser) -> None:  # noqa: F811
    """A checkpoint that was kept and covers more than there is says that the log was cut."""
    export, kept = write(tmp_path / "audit.zip", ENTRIES, checkpoint=NOTE), tmp_path / "kept"
    kept.write_bytes(NOTES["from the future"])
    arguments = [str(export), "--key", KEY, "--checkpoint", str(kept)]
    done = CliRunner().invoke(main, ["verify", *arguments])
    assert (done.exit_code, one_line(done.stderr)) == (30, True), done.output
    ran = subprocess.run([sys.executable, SCRIPT, *arguments], capture_output=True, text=True, check=False)
    assert (ran.returncode, one_line(ran.stdout)) == (30, True), ran.stdout
    assert verify(page, export, keys=[KEY], notes=[kept]).colour == "bad"
