"""`consentlib demo`: a year of a small shop, a newsletter, some questions, an export, and two forgeries that are caught."""

from __future__ import annotations

import base64
import io
import json
import shlex
import tempfile
import zipfile
from contextlib import closing, nullcontext, redirect_stdout
from datetime import UTC, datetime
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from consentlib.audit.verify import verify_file
from consentlib.cli.asking import say_decision
from consentlib.cli.ledger_commands import report_json, say_report
from consentlib.cli.output import as_json, bad, good, heading, plural, progress, say_json, say_table
from consentlib.codec import show_time
from consentlib.errors import StoreUnavailableError, VerificationError
from consentlib.ledger import Ledger
from consentlib.policy import starter
from consentlib.reasons import REASONS

if TYPE_CHECKING:
    from consentlib.cli.shop_year import Clock, Year

_DAY = 86_400_000


@click.command(short_help="Play a year of a small shop.")
@click.option("--folder", metavar="DIR", help="Where to put the files. Default: a fresh temporary folder.")
@click.option("--customers", type=click.IntRange(0, 100_000), default=3_000, show_default=True)
@as_json
def demo(folder: str | None, customers: int, json_: bool) -> None:
    """Play a year of a small shop, send its newsletter, prove it, and catch two forgeries.

    All people are invented. The files stay where the last lines say.
    """
    place = _make(folder)
    with redirect_stdout(io.StringIO()) if json_ else nullcontext():
        told = Demo(place, customers).run()
    if json_:
        say_json(told)


def _make(folder: str | None) -> Path:
    if folder is None:
        return Path(tempfile.mkdtemp(prefix="consentlib-demo-"))
    place = Path(folder)
    try:
        place.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise StoreUnavailableError(f"expected a folder for the demo, found: {(error.strerror or 'none').lower()}") from None
    return place


class Demo:
    """The demo in a folder: tells it on standard output, and gives what it told as JSON."""

    def __init__(self, place: Path, customers: int) -> None:
        from consentlib.cli import shop_year

        self._shop = shop_year
        self._place = place
        self._database = place / "shop.db"
        self._export = place / "audit.zip"
        self._told: dict[str, Any] = {"folder": str(place)}
        self._year: Year = shop_year.write_year(customers, today=datetime.now(UTC).date())
        self._clock: Clock = shop_year.Clock(self._year.start)

    def run(self) -> dict[str, Any]:
        """All of it, in order."""
        policy = self._place / "littlesteps.toml"
        url = f"sqlite:///{self._database}"
        with Ledger.create(
            url, policy=self._write_policy(policy), origin="littlesteps.example/consent", clock=self._clock
        ) as one:
            self._play(one)
            self._newsletter(one)
            self._refusals(one)
            self._others(one)
            self._delivery(one)
            index = self._stop_of_anna(one)
            self._prove(one)
        self._forge_export(index)
        self._forge_database(index)
        self._goodbye(url, policy)
        return self._told

    def _write_policy(self, path: Path) -> Path:
        try:
            path.write_text(starter(), encoding="utf-8")
        except OSError as error:
            raise StoreUnavailableError(f"expected to write `{path}`, found: {(error.strerror or 'none').lower()}") from None
        return path

    def _play(self, ledger: Ledger) -> None:
        _head("A year at Littlesteps, a shop for children's things")
        click.echo("The people are invented and the clock is moved on; policy, ledger and answers are real.")
        with progress("playing the year", lambda: len(self._year.happenings)) as done:
            self._year.play(ledger, self._clock, done)
        counts = self._year.counts
        click.echo(f"{plural(len(self._year.customers), 'customer')} did this, and each thing went into the log:\n")
        say_table([(f"  {name}", f"{number:>7,}") for name, number in counts.items()])
        self._told["year"] = {"customers": len(self._year.customers), **counts}

    def _newsletter(self, ledger: Ledger) -> None:
        _head("Today's newsletter: who may get it?")
        run = ledger.permits(self._year.customers, use="marketing_newsletter", channel="email", message=self._shop.NEWSLETTER)
        with progress("asking", lambda: len(self._year.customers)) as done:
            for number, _ in enumerate(run, start=1):
                done(number)  # the mail server would take the letter here
        click.echo("Each address was asked for and each send recorded before it went out. By reason:\n")
        counts = sorted(run.counts.items(), key=lambda pair: (pair[0] != "allowed", -pair[1]))
        meaning = {code: reason.shop["en"] for code, reason in REASONS.items()} | {"allowed": "Sent."}
        say_table([(f"{number:>7,}", code, meaning[code]) for code, number in counts])
        self._told["newsletter"] = dict(counts)

    def _refusals(self, ledger: Ledger) -> None:
        _head("Three who did not get it, and why")
        refused: dict[str, Any] = {}
        for address in (self._shop.ANNA, self._shop.BO, self._shop.CLARA):
            decision = self._ask(ledger, address)
            click.echo(f"{address}: {bad(decision.reason)}")
            click.echo(f"  {decision.text()} ({'; '.join(REASONS[decision.reason].cite)})")
            for one in decision.determined_by[:1]:
                if one.index is not None and one.said is not None:
                    click.echo(f"  Entry {one.index} of the log says so, of {show_time(one.said)}.")
            if decision.would_allow_if:
                click.echo(f"  It would take: {', '.join(decision.would_allow_if)}.")
            if address == self._shop.ANNA:
                click.echo(f"  To the customer, in Danish: {decision.text('da', reader='person')}")
            refused[address] = decision.as_dict()
        self._told["refused"] = refused

    def _others(self, ledger: Ledger) -> None:
        _head("Some others")
        shop = self._shop
        asked: tuple[tuple[str, str, str, dict[str, Any]], ...] = (
            (shop.DORTE, "said no thanks at the checkout", "marketing_newsletter", {}),
            (shop.GUSTAV, "asked by reply to be left alone", "marketing_newsletter", {}),
            (shop.IB, "pressed unsubscribe in the mail program", "marketing_newsletter", {}),
            (shop.ERIK, "asked to be erased", "marketing_newsletter", {}),
            (shop.FREJA_BEFORE, "has another address now", "marketing_newsletter", {}),
            (shop.FREJA, "the new address, verified", "marketing_newsletter", {}),
            (shop.HANNE, "won the summer campaign", "campaign_prize", {"campaign": shop.CAMPAIGN, "message": shop.SERVICE}),
        )
        rows = []
        for address, story, use, more in asked:
            decision = self._ask(ledger, address, use=use, **more)
            verdict = good("allowed") if decision.allowed else bad("denied")
            rows.append((verdict, decision.reason, use, address, story))
        say_table(rows)
        self._told["others"] = [{"address": row[3], "use": row[2], "reason": row[1]} for row in rows]

    def _delivery(self, ledger: Ledger) -> None:
        _head("Anna said no to marketing. May her parcel still be delivered?")
        decision = ledger.check(self._shop.ANNA, use="delivery", order=self._year.open_order)
        say_decision(decision)
        self._told["delivery"] = decision.as_dict()

    def _ask(self, ledger: Ledger, address: str, use: str = "marketing_newsletter", **more: Any) -> Any:
        return ledger.check(address, use=use, channel="email", **{"message": self._shop.NEWSLETTER, **more})

    def _stop_of_anna(self, ledger: Ledger) -> int:
        return next(one.index for one in ledger.history(self._shop.ANNA) if one.kind == "consent.withdrawn")

    def _prove(self, ledger: Ledger) -> None:
        _head("The proof: an export that anyone can verify, with or without this program")
        with progress("exporting") as done:
            ledger.export(self._export, progress=done)
        report = verify_file(self._export, origin=ledger.origin)
        say_report(report)
        self._told["report"] = report_json(report)

    def _forge_export(self, index: int) -> None:
        _head("Forgery 1: in a copy of the export, Anna's unsubscribe is moved by two days")
        forged = self._place / "forged.zip"
        with zipfile.ZipFile(self._export) as old, zipfile.ZipFile(forged, "w", zipfile.ZIP_DEFLATED) as new:
            for name in old.namelist():
                with old.open(name) as source, new.open(name, "w", force_zip64=True) as target:
                    for number, line in enumerate(source):
                        target.write(_later(line) if name == "log.ndjson" and number == index else line)
        try:
            verify_file(forged)
        except VerificationError as error:
            self._caught("forged_export", error)

    def _forge_database(self, index: int) -> None:
        _head("Forgery 2: in a copy of the database, Anna's unsubscribe becomes a visit to the website")
        import sqlite3  # the rest of the command line does without

        forged = self._place / "forged.db"
        change = "UPDATE consentlib_entries SET leaf = replace(leaf, kind, 'site.visited'), kind = 'site.visited' WHERE idx = ?"
        with closing(sqlite3.connect(self._database)) as old, closing(sqlite3.connect(forged)) as new:
            old.backup(new)
            try:
                new.execute(change, (index,))
            except sqlite3.DatabaseError as error:
                click.echo(f"The database itself refuses: {error}. So the forger drops its guards, and tries again.")
            for (name,) in new.execute("SELECT name FROM sqlite_master WHERE type = 'trigger'").fetchall():
                new.execute(f'DROP TRIGGER "{name}"')
            new.execute(change, (index,))
            new.commit()
        keys = self._database.with_name("shop.db.keys")
        with Ledger.open(f"sqlite:///{forged}", keys=keys, clock=self._clock) as ledger:
            try:
                ledger.verify()
            except VerificationError as error:
                self._caught("forged_database", error)
            decision = self._ask(ledger, self._shop.FREJA)
            click.echo(f"From now on the copy allows nothing: {decision.reason}. Stops it still takes.")

    def _caught(self, name: str, error: VerificationError) -> None:
        click.echo(f"{bad('caught')} at level {error.level}, entry {error.index}: {error}")
        self._told[name] = {"level": error.level, "index": error.index, "problem": str(error)}

    def _goodbye(self, url: str, policy: Path) -> None:
        _head("Yours to look at")
        click.echo(f"All files are in {self._place}: the ledger shop.db with its keys, the policy, the export.\n")
        click.echo("Try next:")
        shop, forged, notice = (shlex.quote(str(one)) for one in (url, self._place / "forged.zip", policy))
        for line in (
            f"consentlib history {shop} {self._shop.ANNA}",
            f"consentlib check {shop} {self._shop.FREJA} --use newsletter --marketing --unsubscribe --sender-identified",
            f"consentlib stop {shop} {self._shop.FREJA}     (and check again)",
            f"consentlib verify {forged}",
            f"consentlib doctor {shop}",
            f"consentlib policy show {notice} --language da",
        ):
            click.echo(f"  {line}")


def _head(text: str) -> None:
    click.echo(f"\n{heading(text)}\n")


def _later(line: bytes) -> bytes:
    """The line of an entry whose facts say that it happened two days later."""
    entry = json.loads(line)
    part = entry["parts"]["facts"]
    facts = json.loads(base64.b64decode(part["data"]))
    facts["occurred_at"] += 2 * _DAY
    part["data"] = base64.b64encode(json.dumps(facts, sort_keys=True, separators=(",", ":")).encode()).decode()
    return json.dumps(entry, separators=(",", ":")).encode() + b"\n"
