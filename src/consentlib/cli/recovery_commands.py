"""Commands for the day a backup was restored, and for the journal that makes up for it: recover, journal."""

from __future__ import annotations

import time
from typing import Final

import click

from consentlib.cli import output
from consentlib.cli.output import Place, as_json, note, on_ledger, plural, progress, say_json
from consentlib.codec import show_time
from consentlib.recovery import recover as begin_recovered

_DAY: Final = 86_400_000


@click.command(short_help="Go on from a restored backup.")
@click.argument("url")
@click.argument("new_url")
@click.option("--by", required=True, help="Who does it: a role rather than a name.")
@click.option("--reason", required=True, help="Why, such as disk-failure.")
@click.option("--origin", metavar="NAME", help="The new log's name. Default: the old one with a number.")
@output.keys_option
@output.checkpoints_option
@click.option("--new-keys", metavar="FILE", help="Where to write the keys for the new ledger. Default: beside it.")
@click.option("--new-checkpoints", metavar="FOLDER", help="Where the new ledger keeps its checkpoints.")
@output.vault_option
@click.option("--new-vault", metavar="FILE", help="Where to put the vault of a new sealed ledger. Default: beside it.")
@click.option("--without-journal", is_flag=True, help="Do without: each person must then agree anew to all that a no can end.")
@as_json
def recover(url: str, new_url: str, json_: bool, **asked: str | bool | None) -> None:
    """Begin a ledger at NEW_URL that goes on from the restored one at URL, with the stops and erasures it has forgotten.

    Keys stay the same, the log gets another origin, and its first entry of its own says what the old one had signed. The
    restored database is left as it is.
    """
    with progress("carrying over", Place(url, None, None).size) as done:
        found = begin_recovered(url, new_url, progress=done, **asked)  # type: ignore[arg-type]
    if json_:
        names = ("origin", "entries", "stops", "erasures", "journal")
        say_json({name: getattr(found, name) for name in names})
        return
    click.echo(f"log `{found.origin}` goes on from {plural(found.entries, 'entry', 'entries')}")
    if found.journal:
        click.echo(f"{plural(found.stops, 'stop')} and {plural(found.erasures, 'erasure')} since the backup recorded again")
    else:
        note("no journal: every use that a no can end is denied until the person agrees anew")
    click.echo(f"point the shop at `{new_url}`, and give the auditor a checkpoint of it; keep the old database as evidence")


@click.command(short_help="Look at the stop journal, and take out old lines.")
@on_ledger
@click.option("--prune-days", type=click.IntRange(min=1), help="Take out lines older than so many days that are in the log.")
def journal(place: Place, json_: bool, prune_days: int | None) -> None:
    """Look at the stop journal. Keep its lines for as long as you keep backups; then take them out with --prune-days."""
    with place.open() as ledger:
        ledger.checkpoint()
        gone = 0 if prune_days is None else ledger.journal.prune(time.time_ns() // 1_000_000 - prune_days * _DAY)
        lines, _ = ledger.journal.read()
        waiting, _ = ledger.journal.read(ledger.journal.settled())
    oldest = show_time(lines[0].time) if lines else None
    if json_:
        say_json({"lines": len(lines), "waiting": len(waiting), "oldest": oldest, "pruned": gone})
        return
    since = f", the oldest of {oldest}" if oldest else ""
    click.echo(f"{plural(len(lines), 'line')}{since}; {len(waiting)} not known to be in the log")
    if prune_days is not None:
        click.echo(f"{plural(gone, 'line')} taken out")
