"""The command that records a no: one address, or a list of them in whatever form it came."""

from __future__ import annotations

import csv
import re
from itertools import islice
from pathlib import Path
from typing import Final

import click

from consentlib.addresses import KINDS, kind_of, stop_key
from consentlib.cli import output
from consentlib.cli.output import Place, fail, note, on_ledger, plural, progress, say_json
from consentlib.errors import StoreUnavailableError
from consentlib.events import ConsentWithdrawn, Event, ObjectionRaised

_BATCH: Final = 1_000
_NAMED_LINES: Final = 10
_means_somebody: Final = re.compile(
    rf".*@.*|\s*\+.*|[\s\d().-]*\d[\s\d().-]*|\s*(?:{'|'.join(KINDS)})\s*:.*", re.I | re.S
).fullmatch
"""What is meant as an address, readable or not; what else names no file is a mistyped name of one."""


@click.command(context_settings={"ignore_unknown_options": True}, short_help="Record that people said no.")
@on_ledger
@click.argument("address", metavar="ADDRESS|FILE")
def stop(place: Place, json_: bool, address: str) -> None:
    """Record that people said no: one ADDRESS, or a FILE (- is standard input) with one person a line.

    Of a table every cell that is an address is taken. Never refused: what is no known form of address is kept word for word,
    and the exit code is 1, so that somebody looks at it. What is neither a file nor meant as an address is a mistyped name of
    a file: nothing is recorded, exit 2.
    """
    people = _people(address)
    said = [one for line in people.values() for one in line]
    events: list[Event] = []
    for one in said:
        events += [ConsentWithdrawn(one, via="list"), ObjectionRaised(one, via="list")]
    stored = 0
    with place.open() as ledger, progress("recording", lambda: len(said)) as done:
        for start in range(0, len(events), 2 * _BATCH):
            try:
                stored += len(ledger.record_many(events[start : start + 2 * _BATCH])) // 2
            except StoreUnavailableError as error:
                fail(
                    f"{output.one_line(error)}; {stored} of {len(said)} stops were stored: record the list again", output.LEDGER
                )
            done(stored)
    unread = [number for number, line in people.items() if not all(map(_is_address, line))]
    if json_:
        say_json({"stops": stored, "unreadable": len(unread)})
    else:
        click.echo(f"{plural(stored, 'stop')} recorded")
    if unread:
        note(f"consentlib: no known form of address{_where(unread)}: kept word for word; look at what was meant")
        click.get_current_context().exit(output.DENIED)


def _where(lines: list[int]) -> str:
    """The places of lines, shortly; of an address from the command line there is nothing to say."""
    if lines == [_ARGUMENT]:
        return ""
    rest = len(lines) - _NAMED_LINES
    listed = ", ".join(map(str, islice(lines, _NAMED_LINES)))
    return f" in {'line' if len(lines) == 1 else 'lines'} {listed}{f' and {rest:,} more' if rest > 0 else ''}"


_ARGUMENT: Final = 0


def _people(address: str) -> dict[int, list[str]]:
    """The addresses meant, by line: those in a file of that name, else the text itself; both where it could be either."""
    given = {_ARGUMENT: [address]}
    if address != "-" and not (address and _exists(address)):
        if not _means_somebody(address):
            fail("expected an address or the name of a file, found neither; nothing was recorded")
        return given
    if _is_address(address) and Path(address).is_dir():
        return given
    listed = {number: _of_line(line) for number, line in enumerate(output.lines_of(address), start=1)}
    return {**given, **listed} if _is_address(address) else listed


def _exists(name: str) -> bool:
    try:
        return Path(name).exists()
    except (OSError, ValueError):  # too long for a name, or no text that could be one
        return False


def _of_line(line: bytes) -> list[str]:
    """Whom a line means: the addresses in its cells. Where none is one, what may have been meant, and the whole line."""
    try:
        text = line.decode().strip()
    except UnicodeDecodeError:
        text = line.decode("latin-1").strip()
    if not text:
        return []
    if text.lower().startswith("post:"):
        return [text]
    row = max((_cells(text, delimiter) for delimiter in ",;\t"), key=_worth)
    if any(map(_is_address, row)):
        return [cell for cell in row if _is_meant(cell)]
    meant = [cell for place, cell in enumerate(row) if cell and (place == 0 or _is_meant(cell))]
    return list(dict.fromkeys([*meant, text]))


def _cells(text: str, delimiter: str) -> list[str]:
    try:
        return [cell.strip() for cell in next(csv.reader([text], delimiter=delimiter), [text])]
    except csv.Error:  # a cell that is longer than a table may hold, or an older Python met a NUL
        return [text]


def _worth(row: list[str]) -> tuple[int, int, int]:
    """By which the delimiter is told: how much of the row is addresses, then what is meant as one, then how many cells."""
    return sum(map(_is_address, row)), sum(map(_is_meant, row)), len(row)


def _is_meant(cell: str) -> bool:
    return "@" in cell or _is_address(cell)


def _is_address(text: str) -> bool:
    """Whether a stop finds an address in it, as of `Anna <anna@example.dk>`."""
    return kind_of(stop_key(text)) != "verbatim"
