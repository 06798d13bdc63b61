"""Commands that change a ledger: init, publish, record, erase, review."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any, Final

import click
from attrs import evolve, frozen

from consentlib.checkpoints import CheckpointsOnDisk
from consentlib.cli import output
from consentlib.cli.output import Place, as_json, fail, note, on_ledger, plural, progress, say_json
from consentlib.cli.policy_commands import say_finding
from consentlib.errors import ConsentlibError, EventError, PolicyError
from consentlib.events import Event, Stop
from consentlib.keys import key_path, vault_path
from consentlib.ledger import Ledger
from consentlib.policy import Policy, load_policy
from consentlib.recorder import new_event_id
from consentlib.wire import read_line

_BATCH: Final = 1_000
_allow_errors = click.option("--allow-errors", is_flag=True, help="Put a policy in force in which `policy check` finds errors.")


@click.command(short_help="Begin a ledger under a policy.")
@click.argument("url")
@click.option("--policy", required=True, metavar="FILE", help="The policy, a TOML file.")
@click.option("--origin", metavar="NAME", help="The log's name for ever, such as shop.dk/consent.")
@click.option("--keys", metavar="FILE", help="Where to write the keys. Default: CONSENTLIB_KEYS, else beside the ledger.")
@output.checkpoints_option
@click.option("--sealed", is_flag=True, help="Keep personal parts under keys in a vault: erasing a key erases every copy.")
@output.vault_option
@_allow_errors
@as_json
def init(
    url: str,
    policy: str,
    origin: str | None,
    keys: str | None,
    checkpoints: str | None,
    sealed: bool,
    vault: str | None,
    allow_errors: bool,
    json_: bool,
) -> None:
    """Begin a ledger at URL, such as sqlite:///shop.db, with a policy."""
    chosen = load_policy(policy)
    if vault is not None and not sealed:
        fail("expected `--sealed` with `--vault`, found it left out")
    options: dict[str, Any] = {"keys": keys, "checkpoints": checkpoints, "sealed": sealed, "vault": vault}
    with _listing_errors(policy):
        begun = Ledger.create(url, policy=chosen, origin=origin, allow_errors=allow_errors, **options)
    with begun as ledger:
        path = key_path(url, keys)
        kept = Place(url, keys, checkpoints).kept(ledger.origin)
        folder = str(kept.place) if isinstance(kept, CheckpointsOnDisk) else None
        locked = str(vault_path(url, vault)) if sealed else None
        if json_:
            places = {"keys": path and str(path), "checkpoints": folder, "vault": locked, "verifier": ledger.verifier}
            say_json({"origin": ledger.origin, **places, "policy": _named(chosen)})
        else:
            click.echo(f"ledger `{ledger.origin}` begun under policy `{chosen.id}` version {chosen.version}")
            click.echo(f"keys in `{path}`: keep a copy elsewhere; without them the ledger knows nobody")
            if sealed:
                click.echo(f"vault in `{locked}`: back it up apart, and keep those backups shortly; what it loses is erased")
            click.echo(f"checkpoints in `{folder}`: never restore them together with the database")
            click.echo(f"verifier key {ledger.verifier}: give it to your auditor")


@click.command(short_help="Put a new policy in force.")
@on_ledger
@click.argument("file")
@_allow_errors
def publish(place: Place, json_: bool, file: str, allow_errors: bool) -> None:
    """Put the policy in FILE in force."""
    chosen = load_policy(file)
    with place.open() as ledger, _listing_errors(file):
        recorded = ledger.publish(chosen, allow_errors=allow_errors)
    if json_:
        say_json({"entry": recorded.index, "policy": _named(chosen)})
    else:
        click.echo(f"policy `{chosen.id}` version {chosen.version} in force from entry {recorded.index}")


def _named(policy: Policy) -> dict[str, str]:
    return {"id": policy.id, "version": policy.version, "hash": policy.hash}


@contextmanager
def _listing_errors(file: str) -> Iterator[None]:
    """A policy refused for what the linter found: each error on a line of its own, as `policy check` shows it."""
    try:
        yield
    except PolicyError as error:
        if not error.findings:
            raise
        for one in error.findings:
            say_finding(one, file, err=True)
        fail(f"{error}; what people agree to keeps its wording for ever, so mend them first, or say `--allow-errors`")


@click.command(short_help="Record events.")
@on_ledger
@click.argument("file")
@click.option("--batch", type=click.IntRange(min=1), help="Commit after so many events, for a large import while others write.")
def record(place: Place, json_: bool, file: str, batch: int | None) -> None:
    """Record the events in FILE (- is standard input), one JSON object a line.

    All or none: where a line can't be used, nothing of the file is stored but the stops in it, which are never refused.
    With --batch, what was committed before that line stays.
    """
    events, problem = _read_events(file)
    recorded = []
    with place.open() as ledger, progress("recording", lambda: len(events)) as done:
        size = batch or max(len(events), 1)
        for start in range(0, len(events) if problem is None else 0, size):
            try:
                recorded += ledger.record_many(event for _, event in events[start : start + size])
            except ConsentlibError as error:
                line = None if error.position is None else events[start + error.position][0]
                problem = Problem(line, error, len(recorded))
                break
            done(len(recorded))
        if problem is not None:
            stops = [event for _, event in events[problem.stored :] if isinstance(event, Stop)]
            for start in range(0, len(stops), _BATCH):
                ledger.record_many(stops[start : start + _BATCH])
            fail(problem.sentence(len(stops)), output.exit_code(problem.error))
    if json_:
        ends = [recorded[0].index, recorded[-1].index] if recorded else None
        say_json({"events": len(recorded), "entries": ends})
    else:
        click.echo(f"{plural(len(recorded), 'event')} recorded")


@frozen
class Problem:
    """What kept a file out: in which line, where it was one, why, and how many events were committed before."""

    line: int | None
    error: ConsentlibError
    stored: int

    def sentence(self, stops: int) -> str:
        """What is wrong, and what became of the file."""
        before = (
            f"the {self.stored} events before were stored, nothing else" if self.stored else "nothing of the file was stored"
        )
        kept = f" but its {plural(stops, 'stop')}" if stops else ""
        where = "" if self.line is None else f"line {self.line}: "
        return f"{where}{output.one_line(self.error)}; {before}{kept}"


def _read_events(file: str) -> tuple[list[tuple[int, Event]], Problem | None]:
    """The events of a file with their line numbers, and the first line that holds none."""
    events: list[tuple[int, Event]] = []
    problem = None
    for number, line in enumerate(output.lines_of(file), start=1):
        if line.strip():
            try:
                events.append((number, _named_stop(read_line(line))))
            except EventError as error:
                problem = problem or Problem(number, error, 0)
    return events, problem


def _named_stop(event: Event) -> Event:
    """A stop is recorded even if its batch is not: by its id it is known again, should it be handed in a second time."""
    return evolve(event, event_id=new_event_id()) if isinstance(event, Stop) and event.event_id is None else event


@click.command(short_help="Erase a person.")
@on_ledger
@click.argument("address")
@click.option("--reason", required=True, help="Why, such as art17.")
@click.option("--by", required=True, help="Who does it: a role rather than a name.")
def erase(place: Place, json_: bool, address: str, reason: str, by: str) -> None:
    """Erase a person: what no law or claim needs goes, and the log says that it went (GDPR 17)."""
    with place.open() as ledger:
        erased = ledger.erase(address, reason=reason, by=by)
    if json_:
        say_json({"entry": erased.index, **{name: getattr(erased, name) for name in ("parts", "kept", "pending")}})
    elif erased.index is None:
        click.echo("nothing to erase about this address")
    else:
        kept = f", facts of {plural(erased.kept, 'entry', 'entries')} stay for now" if erased.kept else ""
        click.echo(f"{plural(erased.parts, 'part')} erased, recorded in entry {erased.index}{kept}")
    if erased.pending:
        note("bytes wait in a file until a reader lets go of it: run `consentlib doctor` later")


@click.command(short_help="Let go of what remains of the erased.")
@on_ledger
@click.option("--by", required=True, help="Who does it: a role rather than a name.")
def review(place: Place, json_: bool, by: str) -> None:
    """Erase facts about erased people whose period is over, and drop the rows that stay of erased addresses where their review
    date has come; those that hold a stop stay."""
    with place.open() as ledger:
        finished = ledger.finish_erasures(by=by)
        done = ledger.review_suppressions(by=by)
    if json_:
        facts = {name: getattr(finished, name) for name in ("people", "parts", "kept", "pending")}
        say_json({"entry": done.index, "dropped": done.dropped, "kept": done.kept, "finished": facts})
    else:
        people = plural(finished.people, "person", "people")
        stay = f"facts of {plural(finished.kept, 'entry', 'entries')} stay for now"
        click.echo(f"{plural(finished.parts, 'part')} of {people} erased, {stay}")
        click.echo(f"{plural(done.dropped, 'row')} dropped, {done.kept:,} that are due stay")
    if finished.pending:
        note("bytes wait in a file until a reader lets go of it: run `consentlib doctor` later")
