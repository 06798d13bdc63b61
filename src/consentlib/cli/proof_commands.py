"""Commands that prove: export, disclose, verify, checkpoint, key, rotate-key, receipt, verify-receipt."""

from __future__ import annotations

import os
import re
import zipfile
from collections.abc import Sequence
from contextlib import closing
from pathlib import Path
from typing import Any, BinaryIO, Final, NoReturn

import click
from attrs import asdict

from consentlib.audit.reading import is_zip
from consentlib.checkpoints import covered_size
from consentlib.cli import output
from consentlib.cli.output import Place, as_json, fail, note, on_ledger, plural, progress, say_json, say_table
from consentlib.codec import show_time
from consentlib.errors import FormatError, LedgerVersionError, StoreUnavailableError, VerificationError
from consentlib.keys import key_path
from consentlib.log import Meaning, Report, parse_leaf
from consentlib.log.leaf import base64
from consentlib.log.note import Verifier
from consentlib.log.receipt import Proof
from consentlib.opening import FORMAT
from consentlib.store import open_locked_store

_STORE: Final = re.compile(r"[A-Za-z][A-Za-z0-9+.-]*:")
_key_option = click.option(
    "--key", "vkeys", multiple=True, metavar="VKEY", help="The log's verifier key, got from elsewhere; may be repeated."
)


_by_option = click.option("--by", metavar="ROLE", help="Who asked for it: a role, no name. Kept on record.")
_reason_option = click.option("--reason", metavar="WORD", help="Why, such as art15. Kept on record.")
_force_option = click.option("--force", is_flag=True, help="Replace a file that is there.")


@click.command(short_help="Write the log to a zip.")
@on_ledger
@click.argument("file", metavar="FILE.zip")
@_by_option
@_reason_option
@_force_option
def export(place: Place, json_: bool, file: str, by: str | None, reason: str | None, force: bool) -> None:
    """Write the whole log to a zip that anyone can verify, signed unless the ledger is marked as not verified.

    That it was made is recorded first, and the last entry in it.
    """
    path = _new_file(file, force)
    with place.open() as ledger, progress("exporting", place.size) as done:
        size = ledger.export(path, by=by, reason=reason, progress=done)
        verifier = ledger.verifier
    with zipfile.ZipFile(path) as archive:
        signed = "checkpoint" in archive.namelist()
    if json_:
        say_json({"file": file, "entries": size, "signed": signed, "verifier": verifier})
    else:
        click.echo(
            f"{plural(size, 'entry', 'entries')} exported to `{file}`, " + ("signed" if signed else output.bad("unsigned"))
        )
        click.echo(f"verifier key {verifier}")


@click.command(short_help="Write one person's entries to a zip.")
@on_ledger
@click.argument("address")
@click.argument("file", metavar="FILE.zip")
@_by_option
@_reason_option
@_force_option
def disclose(place: Place, json_: bool, address: str, file: str, by: str | None, reason: str | None, force: bool) -> None:
    """Write what the log holds about ADDRESS and those linked to it to a zip that proves each entry, and nobody else's.

    Parts of entries that are also about others are withheld. That it was made is recorded first, and in it. What it verifies as
    is a part of the log, never the whole. A ledger that is marked as not verified discloses nothing.
    """
    path = _new_file(file, force)
    with place.open() as ledger:
        shown = ledger.disclose(address, path, by=by, reason=reason)
        verifier = ledger.verifier
    if json_:
        say_json({"file": file, "entries": shown, "verifier": verifier})
    else:
        click.echo(f"{plural(shown, 'entry', 'entries')} of one person disclosed to `{file}`, signed")
        click.echo(f"verifier key {verifier}")


def _new_file(file: str, force: bool) -> Path:
    path = Path(file)
    if path.is_dir() or (path.exists() and not force):
        fail("expected a new file to export to, found one that is there" + ("" if path.is_dir() else "; --force replaces it"))
    return path


@click.command(short_help="Sign the log as it stands.")
@on_ledger
@click.option("--output", "file", metavar="FILE", help="Write the checkpoint to a file, in the place of what is there.")
@click.option("--begin", is_flag=True, help="Begin checkpoints and stop journal anew, because both are lost.")
def checkpoint(place: Place, json_: bool, file: str | None, begin: bool) -> None:
    """Sign the log as it stands, for somebody else to keep: a signed note of origin, size and root.

    What is new is read back and hashed again first. Exit 30 or 40, and nothing is signed, where the log is not what was signed
    before; exit 3 where neither an earlier checkpoint nor the stop journal is found, because both lie elsewhere.
    """
    with place.open() as ledger:
        signed = ledger.checkpoint(begin=begin)
    if file is not None:
        _write(Path(file), signed)
    if json_:
        say_json({"checkpoint": signed.decode(), "file": file})
    elif file is None:
        click.echo(signed, nl=False)


@click.command(short_help="Print the verifier key.")
@on_ledger
@click.option("--all", "all_", is_flag=True, help="Those before it too, oldest first, each with the entry that added it.")
def key(place: Place, json_: bool, all_: bool) -> None:
    """The public key that checkpoints verify under, as name+id+key: for auditors, by another way than the export."""
    with place.open() as ledger:
        current, every = ledger.verifier, ledger.verifiers() if all_ else []
    if json_:
        keys = [{"verifier": one, "added_by": index} for one, index in every]
        say_json({"verifier": current, **({"all": keys} if all_ else {})})
    elif all_:
        say_table([(one, "from the start" if index is None else f"added by entry {index}") for one, index in every])
    else:
        click.echo(current)


@click.command("rotate-key", short_help="Sign with a fresh key from now on.")
@on_ledger
def rotate_key(place: Place, json_: bool) -> None:
    """Sign with a fresh key from now on, and print its verifier key.

    The old key vouches for it in the log, so that who trusts the old one is led on. The key file is rewritten: copy it anew.
    Cut short, the command finishes when it is run again. Other processes must open the ledger again.
    """
    with place.open() as ledger:
        verifier = ledger.rotate_key()
    if json_:
        say_json({"verifier": verifier})
    else:
        click.echo(f"verifier key {verifier}: tell your auditor, copy the key file anew, and restart what has the ledger open")


@click.command(short_help="Prove that an entry is in the log.")
@on_ledger
@click.argument("index", type=click.IntRange(min=0))
@click.option("--output", "file", metavar="FILE.tlog-proof", help="Write the receipt to a file, in the place of what is there.")
def receipt(place: Place, json_: bool, index: int, file: str | None) -> None:
    """A receipt for the entry at INDEX: that it is in the log, under a signed checkpoint. It holds the entry in clear."""
    with place.open() as ledger:
        proof = ledger.receipt(index)
    if file is not None:
        _write(Path(file), proof)
    if json_:
        say_json({"receipt": proof.decode(), "file": file})
    elif file is None:
        click.echo(proof, nl=False)


def _write(path: Path, data: bytes) -> None:
    """All at once: a reader finds the old file or the new one."""
    aside = path.with_name(f"{path.name}.{os.getpid()}.part")
    try:
        aside.write_bytes(data)
        aside.replace(path)
    except OSError as error:
        raise StoreUnavailableError(f"expected to write a file, found: {(error.strerror or 'an error').lower()}") from None
    finally:
        aside.unlink(missing_ok=True)


@click.command("verify-receipt", short_help="Verify a receipt.")
@click.argument("file")
@click.option("--key", "vkeys", multiple=True, required=True, metavar="VKEY", help="The log's verifier key; may be repeated.")
@as_json
def verify_receipt(file: str, vkeys: tuple[str, ...], json_: bool) -> None:
    """Verify the receipt in FILE (- is standard input), without a ledger: exit 0 verified, 40 invalid."""
    from consentlib.audit.receipt import verify_receipt as verified

    verifiers, data = _verifiers(vkeys), output.read_bytes(file)
    try:
        leaf = parse_leaf(verified(data, verifiers).leaf)
        size = covered_size(Proof.parse(data).checkpoint)
    except (VerificationError, FormatError) as error:
        _invalid(error, json_)
    told = {"origin": leaf.origin, "index": leaf.index, "recorded_at": show_time(leaf.t), "kind": leaf.kind}
    if json_:
        say_json({"verified": True, **told, "signed_size": size})
    else:
        click.echo(output.good("verified") + f": entry {leaf.index} of `{leaf.origin}`, `{leaf.kind}`")
        click.echo(f"  recorded     {told['recorded_at']}")
        click.echo(f"  signed       as one of {plural(size, 'entry', 'entries')}")


@click.command(short_help="Verify a ledger, an export or a disclosure.")
@click.argument("source", metavar="URL|FILE.zip")
@_key_option
@click.option("--checkpoint", "files", multiple=True, metavar="FILE", help="A checkpoint you kept; may be repeated.")
@click.option("--origin", metavar="NAME", help="The log that it must be.")
@click.option("--keys", metavar="FILE", help="The key file of a ledger.")
@output.checkpoints_option
@output.vault_option
@click.option("--meaning", is_flag=True, help="Replay the rules: had each recorded send a ground? Takes several times as long.")
@click.option(
    "--processes",
    type=click.IntRange(1, 64),
    default=1,
    help="Processes that share the work, but for --meaning (default 1).",
)
@as_json
def verify(
    source: str,
    vkeys: tuple[str, ...],
    files: tuple[str, ...],
    origin: str | None,
    keys: str | None,
    checkpoints: str | None,
    vault: str | None,
    meaning: bool,
    processes: int,
    json_: bool,
) -> None:
    """Verify a ledger, an export or a disclosure, up to the level that --key and --checkpoint allow.

    Exit 0 verified at level history, or meaning where that was asked; 10 verified, but in part or not against a checkpoint of
    your own; 30 diverges from a checkpoint; 40 invalid, or a recorded send had no ground. A ledger that fails is marked, and
    allows nothing until it verifies again; sends without a ground do not mark it. Without its keys the database is verified
    all the same, and not marked.
    """
    verifiers = _verifiers(vkeys)
    notes = output.read_checkpoints(files)
    of_ledger = _STORE.match(source) and not _exists(source)
    if notes and not verifiers and not of_ledger:
        fail("expected the verifier key of the checkpoints as `--key`, found none")
    try:
        if of_ledger:
            place = Place(source, keys, checkpoints, vault=vault)
            report = _verify_ledger(place, verifiers, notes, origin, meaning, processes)
        else:
            with _readable(source) as opened, progress("verifying") as done:
                if not is_zip(opened):
                    fail("expected the URL of a ledger or an export, which is a zip file, found a file of another kind")
                from consentlib.audit.verify import verify_file
                from consentlib.audit.verify_disclosure import is_disclosure, verify_disclosure

                file = Path(source)
                if is_disclosure(file):
                    report = verify_disclosure(file, origin=origin, verifiers=verifiers, checkpoints=notes, progress=done)
                else:
                    report = verify_file(
                        file,
                        origin=origin,
                        verifiers=verifiers,
                        checkpoints=notes,
                        meaning=meaning,
                        progress=done,
                        processes=processes,
                    )
    except (VerificationError, FormatError) as error:
        output.refuse_unusable(error, notes)
        _invalid(error, json_)
    if json_:
        say_json({"verified": True, "signed": report.level != "content", **report_json(report)})
    else:
        say_report(report)
    sends = report.meaning
    if sends is not None and sends.unlawful:
        fail(_unlawful(report, sends), output.INVALID)
    whole = report.level == "meaning" or (report.level == "history" and not report.partial and sends is None)
    click.get_current_context().exit(0 if whole else output.NO_HISTORY)


def _unlawful(report: Report, sends: Meaning) -> str:
    first = sends.findings[0]
    let = f", {sends.let_through:,} of them let through by a mode" if sends.let_through else ""
    return (
        f"invalid at level meaning: {plural(sends.unlawful, 'recorded send')} had no valid ground{let}; the first is in entry "
        f"{first.index}: `{first.reason}`; the log itself is verified at level {report.level}"
    )


def _verify_ledger(
    place: Place, verifiers: Sequence[Verifier], notes: Sequence[bytes], origin: str | None, meaning: bool, processes: int
) -> Report:
    """A ledger with its keys, or, where there are none, what its database holds."""
    path = key_path(place.url, place.keys)
    if place.keys is None and not os.environ.get("CONSENTLIB_KEYS") and not (path and path.exists()):
        return _verify_database(place, verifiers, notes, origin, meaning, processes)
    with place.open() as ledger, progress("verifying", place.size) as done:
        _expect_origin(origin, ledger.origin)
        if verifiers and not ledger.signs_under(map(str, verifiers)):
            raise VerificationError("expected a ledger that signs with the key given, found another", level="signature")
        return ledger.verify(checkpoints=notes, meaning=meaning, progress=done, processes=processes)


def _verify_database(
    place: Place, verifiers: Sequence[Verifier], notes: Sequence[bytes], origin: str | None, meaning: bool, processes: int
) -> Report:
    from consentlib.audit.verify import verify_view

    with closing(open_locked_store(place.url)) as store, progress("verifying", place.size) as done:
        if store.meta.get("format") != FORMAT:
            raise LedgerVersionError(f"expected a ledger of format `{FORMAT}`, found another")
        if notes and not verifiers:
            fail("expected the verifier key of the checkpoints as `--key`, found none")
        note("no keys found: the database is verified as it is, and the ledger is not marked, whatever comes out")
        _expect_origin(origin, store.meta["origin"])
        with store.read() as view:
            return verify_view(
                view,
                store.meta["origin"],
                verifiers=verifiers,
                checkpoints=notes,
                meaning=meaning,
                progress=done,
                store=store,
                processes=processes,
            )


def _expect_origin(expected: str | None, found: str) -> None:
    if expected not in (None, found):
        raise VerificationError("expected the log of the origin named, found another", level="chain")


def _verifiers(vkeys: Sequence[str]) -> list[Verifier]:
    return [Verifier.parse(one.strip()) for one in vkeys]


def _invalid(error: VerificationError | FormatError, json_: bool) -> NoReturn:
    """End with what does not hold."""
    code = output.exit_code(error) if isinstance(error, VerificationError) else output.INVALID
    if json_:
        where = {"level": getattr(error, "level", None), "index": getattr(error, "index", None)}
        say_json({"verified": False, **where, "problem": str(error)})
    level = f" at level {error.level}" if isinstance(error, VerificationError) else ""
    verdict = "diverges" if code == output.DIVERGES else "invalid"
    fail(f"{verdict}{level}: {output.one_line(error)}", code)


def _exists(name: str) -> bool:
    try:
        return Path(name).exists()
    except (OSError, ValueError):  # too long for a name, or no text that could be one
        return False


def _readable(source: str) -> BinaryIO:
    """The file, opened to see that it can be read: what can't be is a mistake of the caller's, not of the log's."""
    try:
        return open(source, "rb")
    except (OSError, ValueError) as error:
        reason = (getattr(error, "strerror", None) or "no such name").lower()
        fail(f"expected the URL of a ledger or a readable export, found: {reason}")


def report_json(report: Report) -> dict[str, Any]:
    """A report, JSON-ready."""
    found = asdict(report)
    found["entries_by_kind"] = dict(report.entries_by_kind)
    for name in ("not_checked", "led_to"):
        found[name] = list(getattr(report, name))
    if report.meaning is not None:
        found["meaning"]["reasons"] = dict(report.meaning.reasons)
    found["partial"] = report.partial
    for name in ("root", "tip"):
        found[name] = found[name] and base64(found[name]).decode()
    for name in ("first_time", "last_time"):
        found[name] = None if found[name] is None else show_time(found[name])
    return found


def say_report(report: Report) -> None:
    """A report in words."""
    entries = plural(report.size, "entry", "entries")
    shown = entries if report.shown is None else f"{report.shown:,} of {entries}"
    part = " in part" if report.partial else ""
    if report.level == "content":
        doubt = "it may have been cut at its end or written anew"
        click.echo(f"{output.good('intact')}{part}, but not shown to be signed: {shown}; {doubt}")
    else:
        click.echo(f"{output.good('verified')}{part} at level {report.level}: {shown}")
    click.echo(f"  origin       {report.origin}")
    if report.first_time is not None and report.last_time is not None:
        click.echo(f"  from, to     {show_time(report.first_time)}, {show_time(report.last_time)}")
    click.echo(f"  root         {base64(report.root).decode()}")
    if report.signed_size is not None:
        click.echo(f"  signed       {plural(report.signed_size, 'entry', 'entries')}")
    for led_to in report.led_to:
        click.echo(f"  led on to    {led_to}")
    if report.held_size is not None:
        click.echo(
            f"  kept by you  a checkpoint of {plural(report.held_size, 'entry', 'entries')}, and nothing of them changed"
        )
    click.echo(f"  erased       {plural(report.erased, 'part')}{', each on record' if report.shown is None else ''}")
    if (sends := report.meaning) is not None:
        without = f"{sends.unlawful:,} without a ground"
        shown = output.bad(without) if sends.unlawful else without
        click.echo(f"  sends        {sends.judged:,} judged, {shown}; {sends.unjudged:,} not judged")
    for gap in report.not_checked:
        click.echo(f"  not checked  {gap}")
