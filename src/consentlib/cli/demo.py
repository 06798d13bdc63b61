"""`consentlib demo`: a year of a small shop, a newsletter, some questions, an export, and three forgeries that are caught."""

from __future__ import annotations

import io
import shlex
import tempfile
from contextlib import nullcontext, redirect_stdout
from datetime import UTC, datetime
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from consentlib.audit.receipt import verify_receipt
from consentlib.audit.verify import verify_file
from consentlib.checkpoints import FileCheckpoints, MemoryCheckpoints, covered_size
from consentlib.cli.asking import say_decision
from consentlib.cli.forgeries import forge_database, forge_export, forge_log
from consentlib.cli.output import as_json, bad, good, heading, plural, progress, say_json, say_table
from consentlib.cli.proof_commands import report_json, say_report
from consentlib.codec import show_time
from consentlib.errors import StoreUnavailableError, VerificationError
from consentlib.keys import Keys
from consentlib.ledger import Ledger
from consentlib.log import Report, parse_leaf
from consentlib.log.checkpoint import open_checkpoint
from consentlib.log.note import Verifier
from consentlib.log.receipt import Proof
from consentlib.policy import starter
from consentlib.reasons import REASONS
from consentlib.signing import verify

if TYPE_CHECKING:
    from consentlib.cli.shop_year import Clock, Year

_ORIGIN = "littlesteps.example/consent"
_AUDIT = 200
"""The day of the year on which the auditor takes a checkpoint along."""


@click.command(short_help="Play a year of a small shop.")
@click.option("--folder", metavar="DIR", help="Where to put the files. Default: a fresh temporary folder.")
@click.option("--customers", type=click.IntRange(0, 100_000), default=3_000, show_default=True)
@as_json
def demo(folder: str | None, customers: int, json_: bool) -> None:
    """Play a year of a small shop, send its newsletter, prove it, and catch three forgeries.

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
        self._elsewhere = place / "elsewhere"
        self._year: Year = shop_year.write_year(customers, today=datetime.now(UTC).date())
        self._clock: Clock = shop_year.Clock(self._year.start)
        self._kept = place / "auditor.checkpoint"
        self._kept_on = self._year.at(_AUDIT, lambda ledger: self._kept.write_bytes(ledger.checkpoint()))

    def run(self) -> dict[str, Any]:
        """All of it, in order."""
        policy = self._place / "littlesteps.toml"
        url = f"sqlite:///{self._database}"
        aside = MemoryCheckpoints()  # an hour passes with each few entries, and each would be synced to disk
        with Ledger.create(url, policy=self._write_policy(policy), origin=_ORIGIN, checkpoints=aside, clock=self._clock) as one:
            self._play(one)
        FileCheckpoints(self._elsewhere).prepare()
        with Ledger.open(url, checkpoints=self._elsewhere, clock=self._clock) as one:
            self._newsletter(one)
            self._refusals(one)
            self._others(one)
            self._delivery(one)
            index, early = (self._stop_of(one, address) for address in (self._shop.ANNA, self._shop.IB))
            key = Verifier.parse(one.verifier)
            self._prove(one, key)
            self._receipt(one, key, index)
        self._forge_export(index)
        self._forge_database(index)
        self._forge_log(key, early)
        self._goodbye(url, policy, key)
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

    def _stop_of(self, ledger: Ledger, address: str) -> int:
        return next(one.index for one in ledger.history(address) if one.kind == "consent.withdrawn")

    def _prove(self, ledger: Ledger, key: Verifier) -> None:
        _head("The proof: a signed export that anyone can verify, with or without this program")
        with progress("exporting") as done:
            ledger.export(self._export, progress=done)
        click.echo(f"On {show_time(self._kept_on)[:10]} the auditor took a checkpoint along, and knows the shop's key.\n")
        report = self._audit(self._export, key)
        say_report(report)
        self._told["report"] = report_json(report)

    def _audit(self, file: Path, key: Verifier) -> Report:
        """What the auditor does: with the key, and the checkpoint kept since."""
        held = [open_checkpoint(self._kept.read_bytes(), [key], verify)]
        return verify_file(file, origin=_ORIGIN, verifiers=[key], checkpoints=held)

    def _receipt(self, ledger: Ledger, key: Verifier, index: int) -> None:
        _head("Anna's receipt: proof of her unsubscribe, which nobody can take from her")
        file = self._place / "anna.tlog-proof"
        file.write_bytes(ledger.receipt(index))
        leaf = parse_leaf(verify_receipt(file.read_bytes(), [key]).leaf)
        size = covered_size(Proof.parse(file.read_bytes()).checkpoint)
        click.echo(f"{good('verified')}: entry {index}, `{leaf.kind}` of {show_time(leaf.t)}")
        click.echo(f"  It is under the shop's signature over {plural(size, 'entry', 'entries')}.")
        self._told["receipt"] = {"index": index, "kind": leaf.kind, "signed_size": size}

    def _forge_export(self, index: int) -> None:
        _head("Forgery 1: in a copy of the export, Anna's unsubscribe is moved by two days")
        forged = forge_export(self._export, self._place / "forged.zip", index)
        try:
            verify_file(forged)
        except VerificationError as error:
            self._caught("forged_export", error)

    def _forge_database(self, index: int) -> None:
        _head("Forgery 2: in a copy of the database, Anna's unsubscribe becomes a visit to the website")
        forged = self._place / "forged.db"
        refused = forge_database(self._database, forged, index)
        click.echo(f"The database itself refuses: {refused}. So the forger drops its guards, and tries again.")
        keys = self._database.with_name("shop.db.keys")
        with Ledger.open(f"sqlite:///{forged}", keys=keys, checkpoints=self._elsewhere, clock=self._clock) as ledger:
            try:
                ledger.verify()
            except VerificationError as error:
                self._caught("forged_database", error)
            decision = self._ask(ledger, self._shop.FREJA)
            click.echo(f"From now on the copy allows nothing: {decision.reason}. Stops it still takes.")

    def _forge_log(self, key: Verifier, index: int) -> None:
        _head("Forgery 3: the shop itself moves Ib's unsubscribe, writes the whole log anew, and signs it with its own key")
        keys = Keys.load(self._database.with_name("shop.db.keys"))
        forged = forge_log(self._export, self._place / "rewritten.zip", index, keys.signing)
        report = verify_file(forged, origin=_ORIGIN, verifiers=[key])
        click.echo(
            f"Chain, content and signature hold: it verifies at level {report.level}. But the auditor kept a checkpoint:"
        )
        try:
            self._audit(forged, key)
        except VerificationError as error:
            self._caught("rewritten_log", error)

    def _caught(self, name: str, error: VerificationError) -> None:
        where = "" if error.index is None else f", entry {error.index}"
        click.echo(f"{bad('caught')} at level {error.level}{where}: {error}")
        self._told[name] = {"level": error.level, "index": error.index, "problem": str(error)}

    def _goodbye(self, url: str, policy: Path, key: Verifier) -> None:
        _head("Yours to look at")
        click.echo(f"All files are in {self._place}: the ledger shop.db with its keys, the policy, the export,")
        click.echo("the receipt, the auditor's checkpoint, and those that the ledger keeps elsewhere.\n")
        click.echo("Try next:")
        files = (url, self._elsewhere, self._export, self._place / "rewritten.zip", self._kept, policy)
        shop, elsewhere, export, rewritten, kept, notice = (shlex.quote(str(one)) for one in files)
        shop = f"{shop} --checkpoints {elsewhere}"
        for line in (
            f"consentlib history {shop} {self._shop.ANNA}",
            f"consentlib check {shop} {self._shop.FREJA} --use newsletter --marketing --unsubscribe --sender-identified",
            f"consentlib stop {shop} {self._shop.FREJA}     (and check again)",
            f"consentlib verify {export} --key {key} --checkpoint {kept}",
            f"consentlib verify {rewritten} --key {key} --checkpoint {kept}",
            f"consentlib verify-receipt {shlex.quote(str(self._place / 'anna.tlog-proof'))} --key {key}",
            f"consentlib doctor {shop}",
            f"consentlib policy show {notice} --language da",
        ):
            click.echo(f"  {line}")


def _head(text: str) -> None:
    click.echo(f"\n{heading(text)}\n")
