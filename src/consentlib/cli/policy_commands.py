"""Commands on policy files: check, show, test, starter. They need no ledger."""

from __future__ import annotations

import click

from consentlib.cli.output import DENIED, as_json, bad, good, plural, progress, read_bytes, say_json
from consentlib.errors import InputError
from consentlib.policy import load_policy, starter
from consentlib.policy.lint import Finding, lint


@click.group(short_help="Check, show and test a policy file.")
def policy() -> None:
    """Check, show and test a policy file. Needs no ledger."""


@policy.command("check", short_help="Find what should be otherwise.")
@click.argument("file")
@as_json
def check(file: str, json_: bool) -> None:
    """Read the policy in FILE and say what in it should be otherwise: exit 1 if there are errors."""
    findings = lint(load_policy(file))
    errors = sum(finding.severity == "error" for finding in findings)
    if json_:
        for one in findings:
            say_json({"key": one.key, "severity": one.severity, "code": one.code, "sentence": one.sentence})
    else:
        for one in findings:
            say_finding(one, file)
        click.echo(f"{plural(errors, 'error')}, {plural(len(findings) - errors, 'warning')}")
    click.get_current_context().exit(DENIED if errors else 0)


def say_finding(finding: Finding, file: str, *, err: bool = False) -> None:
    """A finding in a line: where, how bad, what, and its code."""
    mark = bad(finding.severity) if finding.severity == "error" else finding.severity
    click.echo(f"{file}: {finding.key}: {mark}: {finding.sentence} [{finding.code}]", err=err)


@policy.command("show", short_help="Render as notice or record of processing.")
@click.argument("file")
@click.option("--language", type=click.Choice(["en", "da"]), default="en", show_default=True)
@click.option("--record", is_flag=True, help="The record of processing (GDPR 30) instead of the notice's table.")
@as_json
def show(file: str, language: str, record: bool, json_: bool) -> None:
    """The policy in FILE as Markdown: the table for a privacy notice (GDPR 13). With --json, every value of it."""
    from consentlib.policy.render import notice_table, processing_record

    found = load_policy(file)
    if json_:
        say_json({**found.plain(), "hash": found.hash})
    else:
        click.echo((processing_record if record else notice_table)(found, language), nl=False)


@policy.command("test", short_help="Judge decision cases.")
@click.argument("file", metavar="POLICY.toml")
@click.argument("cases", metavar="CASES.json")
@as_json
def test(file: str, cases: str, json_: bool) -> None:
    """Judge the cases in CASES.json under a policy: exit 1 if any comes out otherwise than it expects.

    With --json one result a line, and the closing line on standard error.
    """
    from consentlib.testing.cases import read_cases, run_cases

    chosen = load_policy(file)
    try:
        listed = read_cases(read_bytes(cases))
    except InputError as error:
        raise InputError(f"{cases}: {error}") from None
    failed = 0
    with progress("judging", lambda: len(listed)) as done:
        for number, result in enumerate(run_cases(chosen, listed), start=1):
            failed += bool(result.wrong)
            if json_:
                decision = result.decision and result.decision.as_dict()
                verdict = {"id": result.id, "title": result.title, "passed": not result.wrong, "wrong": list(result.wrong)}
                say_json({**verdict, "decision": decision})
            elif result.wrong:
                click.echo(f"{bad('failed')} {result.id} {result.title}".rstrip())
                for difference in result.wrong:
                    click.echo(f"  {difference}")
            done(number)
    summary = f"{len(listed) - failed} passed, {failed} failed"
    click.echo((bad if failed else good)(summary), err=json_)
    click.get_current_context().exit(DENIED if failed else 0)


@policy.command("starter", short_help="Print a policy to start from.")
@click.option("--output", metavar="FILE", help="Write to a new file instead.")
def starter_(output: str | None) -> None:
    """Print a whole policy of a small shop, to start your own from."""
    if output is None:
        click.echo(starter(), nl=False)
        return
    try:
        with open(output, "x", encoding="utf-8") as file:
            file.write(starter())
    except FileExistsError:
        raise InputError("expected a new file to write to, found one that is there") from None
