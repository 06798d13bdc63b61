"""The command that writes the audit report."""

from __future__ import annotations

from pathlib import Path

import click

from consentlib.audit.words import LANGUAGES
from consentlib.cli import output
from consentlib.cli.output import fail, progress
from consentlib.errors import FormatError, VerificationError
from consentlib.log.note import Verifier


@click.command(short_help="Write the audit report of an export.")
@click.argument("source", metavar="FILE.zip")
@click.argument("out", metavar="OUT.html")
@click.option(
    "--key", "vkeys", multiple=True, metavar="VKEY", help="The log's verifier key, got from elsewhere; may be repeated."
)
@click.option("--checkpoint", "files", multiple=True, metavar="FILE", help="A checkpoint you kept; may be repeated.")
@click.option("--language", type=click.Choice(LANGUAGES), default="en", show_default=True, help="The language of the report.")
@click.option("--meaning", is_flag=True, help="Replay the rules: had each recorded send a ground? Takes several times as long.")
@click.option("--force", is_flag=True, help="Replace a file that is there.")
def report(
    source: str, out: str, vkeys: tuple[str, ...], files: tuple[str, ...], language: str, meaning: bool, force: bool
) -> None:
    """Verify an export and write what it says to one HTML file, to read and to print. It names no person.

    Exit 0 the report is written, at the level that --key and --checkpoint allow. Exit 30 the log diverges from a checkpoint, 40
    it is invalid: then the report says so and holds no figures.
    """
    from consentlib.audit.report import write_report

    path = Path(out)
    if path.is_dir() or (path.exists() and not force):
        fail("expected a new file to report to, found one that is there" + ("" if path.is_dir() else "; --force replaces it"))
    if files and not vkeys:
        fail("expected the verifier key of the checkpoints as `--key`, found none")
    verifiers = [Verifier.parse(one.strip()) for one in vkeys]
    notes = output.read_checkpoints(files)
    try:
        with progress("reading") as done:
            write_report(
                Path(source),
                path,
                verifiers=verifiers,
                checkpoints=notes,
                language=language,
                meaning=meaning,
                progress=done,
            )
    except (VerificationError, FormatError) as error:
        output.refuse_unusable(error, notes)
        code = output.exit_code(error) if isinstance(error, VerificationError) else output.INVALID
        fail(f"{'diverges' if code == output.DIVERGES else 'invalid'}: {output.one_line(error)}", code)
    click.echo(f"report written to `{out}`")
