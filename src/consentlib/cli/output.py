"""What all commands share: exit codes, one-line errors, JSON, tables, progress bars, the options of a ledger."""

from __future__ import annotations

import json
import sys
from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import contextmanager
from functools import wraps
from itertools import count
from pathlib import Path
from typing import Any, Final, NoReturn, TypeVar

import click
from attrs import frozen

from consentlib.asking import Mode
from consentlib.checkpoints import CheckpointStore, checkpoint_store
from consentlib.errors import ConsentlibError, FormatError, InputError, VerificationError
from consentlib.keys import Keys, key_path
from consentlib.ledger import Ledger
from consentlib.log.checkpoint import parse_checkpoint
from consentlib.log.note import restore_lines
from consentlib.store import open_locked_store

DENIED: Final = 1
USAGE: Final = 2
LEDGER: Final = 3
NO_HISTORY: Final = 10
DIVERGES: Final = 30
INVALID: Final = 40

_F = TypeVar("_F", bound=Callable[..., Any])

as_json = click.option("--json", "json_", is_flag=True, help="Answer in JSON on standard output.")
url_argument = click.argument("url")
keys_option = click.option(
    "--keys", metavar="FILE", help="The key file. Default: CONSENTLIB_KEYS, else beside an SQLite ledger."
)
checkpoints_option = click.option(
    "--checkpoints",
    metavar="FOLDER|sqlite:///FILE",
    help="Where the ledger keeps its checkpoints. Default: a folder outside the database's.",
)
vault_option = click.option(
    "--vault", metavar="FILE", help="The vault of a sealed ledger. Default: CONSENTLIB_VAULT, else beside an SQLite ledger."
)
_MODE = click.option(
    "--mode",
    type=click.Choice(["enforce", "warn", "observe"]),
    default="enforce",
    show_default=True,
    help="Whether denials that are not absolute are let through.",
)


@frozen
class Place:
    """Where a ledger, its keys, its checkpoints and its vault are, as said on the command line; None is the default."""

    url: str
    keys: str | None
    checkpoints: str | None
    mode: Mode = "enforce"
    vault: str | None = None

    def open(self) -> Ledger:
        """The ledger."""
        return Ledger.open(self.url, keys=self.keys, checkpoints=self.checkpoints, vault=self.vault, mode=self.mode)

    def size(self) -> int:
        """How many entries it has, for the length of a progress bar."""
        store = open_locked_store(self.url)
        try:
            with store.read() as view:
                return view.head().size
        finally:
            store.close()

    def kept(self, origin: str) -> CheckpointStore | None:
        """Its checkpoint store; None where it has no key file."""
        path = key_path(self.url, self.keys)
        return None if path is None else checkpoint_store(self.url, origin, Keys.load(path), self.checkpoints)


def on_ledger(function: _F) -> _F:
    """The argument and options of every command on a ledger; the function gets them as its `Place`, and `json_`."""

    @wraps(function)
    def call(url: str, keys: str | None, checkpoints: str | None, mode: Mode, vault: str | None, **rest: Any) -> Any:
        return function(Place(url, keys, checkpoints, mode, vault), **rest)

    return url_argument(keys_option(checkpoints_option(vault_option(_MODE(as_json(call))))))  # type: ignore[return-value]


class Failure(click.ClickException):
    """An error with its exit code."""

    def __init__(self, message: str, code: int) -> None:
        super().__init__(message)
        self.code = code


def fail(message: str, code: int = USAGE) -> NoReturn:
    """End the command with one line on standard error."""
    raise Failure(message, code)


def exit_code(error: ConsentlibError) -> int:
    """The exit code an error leads to."""
    if isinstance(error, VerificationError):
        return DIVERGES if error.level == "history" else INVALID
    return USAGE if isinstance(error, InputError) else LEDGER


def one_line(error: BaseException) -> str:
    """An error and its advice in one line."""
    return "; ".join(" ".join(str(part).split()) for part in (error, *getattr(error, "__notes__", ())))


def say_json(value: Any) -> None:
    """One JSON text on a line of standard output, in ASCII."""
    click.echo(json.dumps(value))


def note(text: str) -> None:
    """A remark on standard error, where it never mixes with what a program reads."""
    click.echo(text, err=True)


def good(text: str) -> str:
    """In green, on a terminal."""
    return click.style(text, fg="green")


def bad(text: str) -> str:
    """In red, on a terminal."""
    return click.style(text, fg="red")


def heading(text: str) -> str:
    """In bold, on a terminal."""
    return click.style(text, bold=True)


def plural(number: int, one: str, many: str | None = None) -> str:
    """`1 entry`, `1,200 entries`."""
    return f"{number:,} {one if number == 1 else many or one + 's'}"


def say_table(rows: Sequence[Sequence[str]]) -> None:
    """Rows with columns of one width; the last one is as wide as it is."""
    widths = [max(len(click.unstyle(cell)) for cell in column) for column in zip(*rows, strict=True)]
    for row in rows:
        padded = [cell + " " * (width - len(click.unstyle(cell))) for cell, width in zip(row[:-1], widths, strict=False)]
        click.echo("  ".join([*padded, row[-1]]).rstrip())


@contextmanager
def progress(label: str, length: Callable[[], int] | None = None) -> Iterator[Callable[[int], None]]:
    """A bar on standard error, drawn only on a terminal. Gives a function that takes how many are done by now.

    `length` gives the number to reach, asked for only where a bar is drawn; None: unknown.
    """
    if not sys.stderr.isatty():
        yield lambda done: None
        return
    steps: Iterable[int] | None = count() if length is None else None
    bar: Any = click.progressbar(
        steps, length=length() if length is not None else None, label=label, show_pos=True, file=sys.stderr
    )
    with bar:
        yield lambda done: bar.update(done - bar.pos)


def read_bytes(file: str) -> bytes:
    """The bytes of a file, or of standard input for `-`. One clear line where that can't be read."""
    try:
        return sys.stdin.buffer.read() if file == "-" else Path(file).read_bytes()
    except (OSError, ValueError) as error:
        fail(f"expected a readable file, found: {(getattr(error, 'strerror', None) or 'no such name').lower()}")


def read_checkpoints(files: Sequence[str]) -> list[bytes]:
    """The checkpoints that somebody kept. A file that is none is a mistake of the caller's, not of the log's."""
    found = [restore_lines(read_bytes(file)) for file in files]
    for file, data in zip(files, found, strict=True):
        try:
            parse_checkpoint(data)
        except FormatError as error:
            fail(f"expected a checkpoint in `{file}`, found another file: {error}")
    return found


def refuse_unusable(error: ConsentlibError, kept: Sequence[bytes]) -> None:
    """End the command if the error is about who signed a kept checkpoint: nothing was said of the log then."""
    if isinstance(error, VerificationError) and error.level == "signature" and error.evidence.get("note") in kept:
        fail(f"a checkpoint that you kept can't be used: {one_line(error)}")


def lines_of(file: str) -> list[bytes]:
    """The lines of a file or of standard input, without line ends of any kind and byte-order mark; UTF-16 is read too."""
    data = read_bytes(file)
    if data.startswith((b"\xff\xfe", b"\xfe\xff")):
        data = data.decode("utf-16", "backslashreplace").encode("utf-8", "backslashreplace")
    return data.removeprefix(b"\xef\xbb\xbf").splitlines()
