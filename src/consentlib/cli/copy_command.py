"""The command that moves a ledger: copy."""

from __future__ import annotations

import click

from consentlib.cli import output
from consentlib.cli.output import Place, as_json, note, plural, progress, say_json
from consentlib.copying import copy as copy_ledger
from consentlib.log.leaf import base64


@click.command(short_help="Copy a ledger to another store, or catch up.")
@click.argument("url")
@click.argument("new_url")
@output.keys_option
@output.checkpoints_option
@output.vault_option
@click.option("--new-keys", metavar="FILE", help="Where to put the key file of the copy. Default: beside it.")
@click.option("--new-checkpoints", metavar="FOLDER|sqlite:///FILE", help="Copy checkpoints there too. Default: they stay.")
@click.option("--new-vault", metavar="FILE", help="Where to put the vault of a sealed copy. Default: beside it.")
@as_json
def copy(url: str, new_url: str, json_: bool, **asked: str | None) -> None:
    """Bring the ledger at NEW_URL to the state of the one at URL: the same log, under the same keys.

    Cut short, it goes on when it is run again; run later, it catches up. The old ledger is left as it is: stop the shop, copy
    once more, then point it at NEW_URL.
    """
    with progress("copying", Place(url, None, None).size) as done:
        found = copy_ledger(url, new_url, progress=done, **asked)
    if json_:
        told = {"origin": found.origin, "entries": found.size, "carried": found.carried, "root": base64(found.root).decode()}
        say_json({**told, "pending": found.pending})
        return
    click.echo(f"log `{found.origin}`: {plural(found.carried, 'entry', 'entries')} carried, {found.size:,} in all, verified")
    if found.pending:
        note("erased bytes may stay in the copy's files until what reads it lets go; copy again then")
    click.echo("when the shop is stopped, copy once more, then point it at the new one and put the old one away")
