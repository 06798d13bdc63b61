"""Commands that ask a ledger: check, filter, history."""

from __future__ import annotations

import json
import sys
from collections.abc import Callable
from datetime import UTC, datetime, timedelta
from typing import Any, Final, TypeVar

import click

from consentlib.cli import output
from consentlib.cli.output import Place, bad, good, note, on_ledger, plural, say_json
from consentlib.codec import read_time, show_time
from consentlib.errors import TimeError
from consentlib.ledger import Ledger
from consentlib.permits import Filtered
from consentlib.rules import Decision, Message

_F = TypeVar("_F", bound=Callable[..., Any])
_FLAGS: Final = {
    "marketing": "it sells or promotes",
    "unsubscribe": "it offers a way to stop",
    "sender-identified": "it says who sends it",
    "own-products": "it is about the shop's own products",
    "branded": "a survey carries branding",
    "tracking": "it has pixels or tracked links",
}
_MOST_DIGITS: Final = 16  # of a log's size
_TEXTS: Final = {
    "product-category": "What it sells.",
    "partner": "Who receives the data.",
    "processor": "Who sends it.",
    "kind": "A label of the shop's own.",
}


def _question(function: _F) -> _F:
    """The options that describe a use, its time and its message."""
    for name, meaning in reversed(_TEXTS.items()):
        function = click.option(f"--{name}", help=f"The message: {meaning[0].lower()}{meaning[1:]}")(function)
    for name, meaning in reversed(_FLAGS.items()):
        function = click.option(f"--{name}/--no-{name}", default=None, help=f"The message: {meaning}.")(function)
    for option in (
        click.option("--controller", metavar="NAME", help="Who decides. Default: the policy's."),
        click.option("--known-at", metavar="TIME|SIZE", help="What the ledger held at that time, or at that size."),
        click.option("--at", metavar="TIME", help="When it is to happen, such as 2026-09-01T10:00:00Z. Default: now."),
        click.option("--data", multiple=True, metavar="CATEGORY", help="Data the use needs; may be repeated."),
        click.option("--campaign", metavar="ID", help="The campaign it is about."),
        click.option("--order", metavar="ID", help="The order it is about."),
        click.option("--channel", metavar="NAME", help="email, sms, phone, post, device, none. Default: by the address."),
        click.option("--use", required=True, metavar="NAME", help="A use of the policy, or its short name."),
    ):
        function = option(function)
    return function


def _asked(options: dict[str, Any]) -> dict[str, Any]:
    """The options as `Ledger.check` takes them."""
    names = [name.replace("-", "_") for name in (*_FLAGS, *_TEXTS)]
    message = Message(**{name: options.pop(name) for name in names})
    at, known_at = options.pop("at"), options.pop("known_at")
    try:
        options["at"] = None if at is None else read_time(at)
    except TimeError as error:
        raise TimeError(f"{error} in `--at`") from None
    try:
        options["known_at"] = _known_at(known_at)
    except TimeError as error:
        raise TimeError(f"{error} in `--known-at`") from None
    return {**options, "message": message}


def _known_at(text: str | None) -> datetime | int | None:
    if text is None:
        return None
    if text.isascii() and text.isdigit() and len(text) <= _MOST_DIGITS:
        return int(text)
    return datetime(1970, 1, 1, tzinfo=UTC) + timedelta(milliseconds=read_time(text))


@click.command(short_help="Ask whether a use is allowed.")
@on_ledger
@click.argument("address")
@_question
def check(place: Place, json_: bool, address: str, **options: Any) -> None:
    """Whether a use of ADDRESS is allowed, and why: exit 0 allowed, 1 denied."""
    asked = _asked(options)
    with place.open() as ledger:
        decision = ledger.check(address, **asked)
    if json_:
        say_json(decision.as_dict())
    else:
        say_decision(decision)
    click.get_current_context().exit(0 if decision.allowed else output.DENIED)


def say_decision(decision: Decision) -> None:
    """A decision in words."""
    verdict = good("allowed") if decision.allowed else bad("denied")
    ground = f", ground {decision.ground}" if decision.ground else ""
    click.echo(f"{verdict}: {decision.reason}{ground}")
    if decision.would_deny:
        click.echo(f"  let through by the mode; enforced, it would be denied: {decision.would_deny}")
    click.echo(f"  {decision.text()}")
    for one in decision.determined_by:
        entry = "" if one.index is None else f", entry {one.index}"
        said = "" if one.said is None else f", said {show_time(one.said)}"
        click.echo(f"  rule {one.rule}{entry}{said} ({'; '.join(one.cite)})")
    for name, values in (
        ("also failed", decision.also_failed),
        ("it would take", decision.would_allow_if),
        ("obligations", decision.obligations),
    ):
        if values:
            click.echo(f"  {name}: {', '.join(values)}")
    if decision.valid_until is not None:
        click.echo(f"  holds until {show_time(decision.valid_until)}, or the person's next event")


@click.command("filter", short_help="Pass on the addresses that are allowed.")
@on_ledger
@click.argument("file")
@_question
def filter_(place: Place, json_: bool, file: str, **options: Any) -> None:
    """The addresses in FILE (- is standard input), one a line, that are allowed; counts on standard error.

    No send is recorded. With --json every line is answered, allowed or not.
    """
    asked = _asked(options)
    rows = [line for line in output.lines_of(file) if line.strip()]
    with place.open() as ledger, output.progress("checking", lambda: len(rows)) as done:
        if json_:
            counts = _answer_all(ledger, rows, asked, done)
        else:
            found = ledger.filter(rows, address=_text, **asked)
            _write(found, done)
            counts = dict(found.counts)
    note(", ".join(f"{reason} {number}" for reason, number in sorted(counts.items())) or "no addresses")


def _write(found: Filtered[bytes], done: Callable[[int], None]) -> None:
    for row in found:
        sys.stdout.buffer.write(row.strip() + b"\n")
        done(sum(found.counts.values()))
    sys.stdout.buffer.flush()


def _answer_all(ledger: Ledger, rows: list[bytes], asked: dict[str, Any], done: Callable[[int], None]) -> dict[str, int]:
    counts: dict[str, int] = {}
    for number, row in enumerate(rows, start=1):
        decision = ledger.check(_text(row), **asked)
        verdict = "allowed" if decision.allowed else decision.reason
        counts[verdict] = counts.get(verdict, 0) + 1
        address = row.strip().decode("utf-8", "backslashreplace")
        say_json({"address": address, "allowed": decision.allowed, "reason": decision.reason})
        done(number)
    return counts


def _text(row: bytes) -> Any:
    """The address of a line; None, which no check allows, where it is no text."""
    try:
        return row.decode().strip()
    except UnicodeDecodeError:
        return None


@click.command(short_help="Show what is held about a person.")
@on_ledger
@click.argument("address")
def history(place: Place, json_: bool, address: str) -> None:
    """What the log holds about ADDRESS and those linked to it, oldest first. With --json, personal parts too."""
    with place.open() as ledger:
        entries = ledger.history(address)
    if json_:
        for one in entries:
            time = show_time(one.recorded_at)
            say_json({"index": one.index, "recorded_at": time, "kind": one.kind, "facts": one.facts, "person": one.person})
        return
    output.say_table([(str(one.index), show_time(one.recorded_at), one.kind, _facts(one.facts)) for one in entries])
    note(plural(len(entries), "entry", "entries"))
    if any(one.person for one in entries):
        note("personal parts: --json")


def _facts(facts: dict[str, Any] | None) -> str:
    """The facts that say something to a person who looks."""
    if facts is None:
        return "erased"
    hidden = {"address", "addresses", "event_id", "ref", "text_hash", "life"}
    shown = {name: value for name, value in facts.items() if name not in hidden}
    if type(shown.get("occurred_at")) is int:
        shown["said"] = show_time(shown.pop("occurred_at"))
    return " ".join(f"{name}={value if isinstance(value, str) else json.dumps(value)}" for name, value in shown.items())
