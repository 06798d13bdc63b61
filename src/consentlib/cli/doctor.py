"""`consentlib doctor`: what could harm a ledger and can be seen from outside it."""

from __future__ import annotations

import os
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any, Final, NamedTuple

import click

from consentlib.checkpoints import CheckpointsOnDisk
from consentlib.cli import doctor_postgres
from consentlib.cli.output import (
    DENIED,
    Place,
    as_json,
    bad,
    checkpoints_option,
    good,
    keys_option,
    plural,
    say_json,
    say_table,
    vault_option,
)
from consentlib.codec import show_time
from consentlib.errors import FormatError, LedgerError, VerificationError
from consentlib.keys import Keys, key_path
from consentlib.ledger import Ledger
from consentlib.log.checkpoint import open_checkpoint
from consentlib.log.note import Verifier
from consentlib.policy import Policy
from consentlib.signing import verify as verify_signature
from consentlib.store import Store, open_store
from consentlib.store.sealed import SealedStore

_DAY: Final = 86_400
_MARKS: Final[dict[str, Callable[[str], str]]] = {"ok": good, "warning": str, "problem": bad}


class Finding(NamedTuple):
    """`state` is `ok`, `warning` or `problem`."""

    check: str
    state: str
    detail: str


@click.command(short_help="Look a ledger over.")
@click.argument("url")
@keys_option
@checkpoints_option
@vault_option
@as_json
def doctor(url: str, keys: str | None, checkpoints: str | None, vault: str | None, json_: bool) -> None:
    """Look a ledger over: store, guards, keys, clock, checkpoints, policy, erased bytes. Exit 1 if something is wrong.

    Does not read the log: that is `verify`. Bytes of erased parts that a reader kept in a file are purged on the way.
    """
    place = Place(url, keys, checkpoints, vault=vault)
    with place.open() as ledger:
        chosen = ledger.policy
        # Before the ledger is closed, which signs what is not signed yet.
        signed = [*_checkpoints(place, ledger), *_journal(ledger)]
    store = open_store(url, vault=vault)
    try:
        found = [*_store(store), *_head(store, chosen), *_keys(key_path(url, keys)), *signed, *_policy(chosen)]
        found += [*_purge(store), *_vault(store)]  # in this order: a purge settles what the vault still has to erase
    finally:
        store.close()
    problems = sum(one.state == "problem" for one in found)
    if json_:
        say_json({"healthy": not problems, "entries": place.size(), "checks": [one._asdict() for one in found]})
    else:
        say_table([(_MARKS[one.state](one.state), one.check, one.detail) for one in found])
        click.echo(bad(plural(problems, "problem")) if problems else good("healthy"))
    click.get_current_context().exit(DENIED if problems else 0)


def _store(store: Store) -> Iterator[Finding]:
    store = store.inner if isinstance(store, SealedStore) else store
    health: dict[str, Any] | None = store.health() if hasattr(store, "health") else None
    if health is None:
        yield Finding("store", "warning", "says nothing about its health")
        return
    for name, meaning in (("missing_guards", "append-only guards"), ("wrong_pragmas", "settings of the connection")):
        if name not in health:
            continue
        wrong = health[name]
        detail = f"missing or altered: {', '.join(wrong)}" if wrong else "in place"
        yield Finding(meaning, "problem" if wrong else "ok", detail)
    if "journal_mode" in health:
        good_mode = health["journal_mode"] == "wal"
        yield Finding("write-ahead log", "ok" if good_mode else "problem", f"mode `{health['journal_mode']}`, expected `wal`")
    if "mode" in health:
        loose = health["mode"] & 0o077
        detail = f"mode {health['mode']:04o}" + (": other users of this machine can reach it" if loose else "")
        yield Finding("database file", "warning" if loose else "ok", detail)
    if "sqlite_version" in health:
        racy = health.get("wal_reset_race", False)
        why = ", before 3.51.3: in rare cases it corrupts a database when the WAL restarts" if racy else ""
        yield Finding("SQLite", "warning" if racy else "ok", health["sqlite_version"] + why)
    if "server_version" in health:
        yield from map(Finding._make, doctor_postgres.findings(health))


def _head(store: Store, policy: Policy | None) -> Iterator[Finding]:
    with store.read() as view:
        head = view.head()
    if head.unverified is None:
        yield Finding("log", "ok", f"{plural(head.size, 'entry', 'entries')}, not marked as unverified")
    else:
        for mark in head.unverified.splitlines():
            yield Finding("log", "problem", f"did not verify, so nothing is allowed: {mark}")
    ahead = head.time - store.clock()
    skew = policy.parameters.clock_skew_seconds * 1000 if policy is not None else 0
    if ahead <= 0:
        yield Finding("clock", "ok", f"newest entry recorded {show_time(head.time)}" if head.size else "no entry yet")
    else:
        state = "problem" if ahead > skew else "warning"
        yield Finding("clock", state, f"{ahead / 1000:.0f} s behind the newest entry; {skew // 1000} s are tolerated")


def _keys(path: Path | None) -> Iterator[Finding]:
    if path is None:
        return
    mode = path.stat().st_mode & 0o777
    if mode & 0o077:
        yield Finding("key file", "problem", f"mode {mode:04o}: other users of this machine can reach it; expected 0600")
    else:
        yield Finding("key file", "ok", f"mode {mode:04o}, keys match the ledger")
    if Keys.load(path).next_signing is not None:
        yield Finding("key rotation", "warning", "begun and not finished: run `consentlib rotate-key` again")
    if os.environ.get("CONSENTLIB_KEYS") and path != Path(os.environ["CONSENTLIB_KEYS"]):
        yield Finding("CONSENTLIB_KEYS", "warning", "names another key file than the one used")


def _checkpoints(place: Place, ledger: Ledger) -> Iterator[Finding]:
    """Where they lie, and the newest."""
    store = place.kept(ledger.origin)
    if not isinstance(store, CheckpointsOnDisk):
        return
    path = place.url.removeprefix("sqlite:///")
    beside = path != place.url and store.place.resolve().is_relative_to(Path(path).resolve().parent)
    where = "with the database: a restore takes back both" if beside else "outside the database's folder"
    yield Finding("checkpoint store", "warning" if beside else "ok", f"`{store.place}`, {where}")
    try:
        data = store.read()
        if data is None:
            yield Finding(
                "newest checkpoint", "problem", "none: nothing shows a log that was rolled back, or it lies elsewhere"
            )
            return
        size = open_checkpoint(data, [Verifier.parse(one) for one, _ in ledger.verifiers()], verify_signature).size
    except (VerificationError, FormatError, LedgerError) as error:
        yield Finding("newest checkpoint", "problem", f"not one that the key of this ledger signed: {error}")
        return
    age = time.time() - (store.newest_at() or 0)
    missing = place.size() - size
    state = "problem" if missing < 0 else "warning" if missing and age > _DAY else "ok"
    detail = f"covers {plural(size, 'entry', 'entries')} of {place.size():,}, signed {age / 3600:.0f} h ago by the ledger's key"
    yield Finding("newest checkpoint", state, detail)


def _journal(ledger: Ledger) -> Iterator[Finding]:
    """Whether stops are kept apart from the database, and whether some wait to become entries."""
    try:
        waiting, _ = ledger.journal.read(ledger.journal.settled())
    except LedgerError as error:
        yield Finding("stop journal", "problem", f"can't be read, so nothing is allowed: {error}")
        return
    oldest = min((line.time for line in waiting), default=time.time_ns() // 1_000_000)
    late = time.time_ns() // 1_000_000 - oldest > _DAY * 1000
    detail = f"{plural(len(waiting), 'line')} since the newest checkpoint"
    yield Finding("stop journal", "warning" if late else "ok", detail + (", some of them older than a day" if late else ""))


def _policy(policy: Policy | None) -> Iterator[Finding]:
    from consentlib.policy.lint import lint

    if policy is None:
        yield Finding("policy", "problem", "none in force, so nothing is allowed")
        return
    findings = lint(policy)
    errors = [one for one in findings if one.severity == "error"]
    detail = f"`{policy.id}` version {policy.version}: {plural(len(errors), 'error')}, "
    detail += plural(len(findings) - len(errors), "warning")
    yield Finding("policy", "problem" if errors else "ok", "; ".join([detail, *(one.key for one in errors[:3])]))


def _purge(store: Store) -> Iterator[Finding]:
    try:
        clean = store.purge()
    except LedgerError as error:
        yield Finding("erased bytes", "problem", f"the store can't be written: {error}")
        return
    detail = "none wait in a file" if clean else "a reader keeps the store from letting go of them: close it, ask again"
    yield Finding("erased bytes", "ok" if clean else "problem", detail)


def _vault(store: Store) -> Iterator[Finding]:
    if not isinstance(store, SealedStore) or store.vault is None:
        yield Finding("vault", "ok", "none: personal parts lie in the database in clear until they are erased")
        return
    health = store.vault.health()
    loose = health["mode"] & 0o077
    detail = f"`{health['path']}`, mode {health['mode']:04o}, {plural(health['keys'], 'key')}"
    if loose:
        detail += ": other users of this machine can reach it"
    elif health["condemned"]:
        detail += f": {health['condemned']:,} of them to be erased as soon as the store can be written"
    yield Finding("vault", "problem" if loose else "warning" if health["condemned"] else "ok", detail)
