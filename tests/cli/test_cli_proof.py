"""Commands that prove: export, verify, checkpoint, key, receipt, verify-receipt; and what they say to an auditor."""

from __future__ import annotations

import json
import shutil
import sqlite3
import zipfile
from base64 import b64decode
from collections.abc import Callable
from pathlib import Path

import pytest
from cli_words import CONFIRMED, ORDERED, SEND, SIGNED_UP, STOPPED, Run, reason

from consentlib import Ledger
from consentlib.cli.forgeries import forge_log
from consentlib.keys import Keys

Lines = Callable[..., Path]


@pytest.fixture
def kept(run: Run, url: str, lines: Lines, tmp_path: Path) -> Path:
    """A checkpoint over three entries that an auditor took along; more was recorded since."""
    run("record", url, lines(SIGNED_UP, STOPPED))
    file = tmp_path / "kept"
    assert run("checkpoint", url, "--output", file).stdout == ""
    run("record", url, lines(CONFIRMED, ORDERED))
    return file


@pytest.fixture
def vkey(run: Run, url: str) -> str:
    return run("key", url).stdout.strip()


def edit(url: str, statement: str) -> None:
    """Change the database behind the library's back."""
    with sqlite3.connect(url.removeprefix("sqlite:///")) as found:
        for (name,) in found.execute("SELECT name FROM sqlite_master WHERE type = 'trigger'").fetchall():
            found.execute(f"DROP TRIGGER {name}")
        found.execute(statement)
    found.close()


# exports


def test_an_export_is_signed_and_tells_the_key(run: Run, url: str, vkey: str, tmp_path: Path) -> None:
    """`export` says that it is signed and under which key, and silently replaces nothing."""
    audit = tmp_path / "audit.zip"
    told = json.loads(run("export", url, audit, "--json").stdout)
    assert told == {"file": str(audit), "entries": 2, "signed": True, "verifier": vkey}
    assert run("export", url, audit).exit_code == 2
    assert run("export", url, audit, "--force").stdout == f"3 entries exported to `{audit}`, signed\nverifier key {vkey}\n"
    assert run("export", url, tmp_path).exit_code == 2


def test_an_export_of_a_marked_ledger_says_unsigned(run: Run, url: str, vkey: str, tmp_path: Path) -> None:
    """What did not verify goes out as evidence, is called unsigned, and no key accepts it."""
    edit(url, "UPDATE consentlib_head SET unverified = 'content: for a test'")
    audit = tmp_path / "audit.zip"
    assert "unsigned" in run("export", url, audit).stdout
    assert run("verify", audit).exit_code == 10
    result = run("verify", audit, "--key", vkey)
    assert (result.exit_code, "level signature" in result.stderr) == (40, True)


def test_each_level_has_its_exit_code(run: Run, url: str, kept: Path, vkey: str, tmp_path: Path) -> None:
    """Content and signature end with 10, history with 0, and the level is told."""
    audit = tmp_path / "audit.zip"
    run("export", url, audit)
    for args, level, code in (
        ((), "content", 10),
        (("--key", vkey), "signature", 10),
        (("--key", vkey, "--checkpoint", kept), "history", 0),
    ):
        result = run("verify", audit, *args, "--json")
        told = json.loads(result.stdout)
        assert (result.exit_code, told["verified"], told["level"], told["size"]) == (code, True, level, 6)
        assert told["signed"] is (level != "content")
        assert told["entries_by_kind"]["consent.given"] == 1
        first = (
            "intact, but not shown to be signed: 6 entries; it may" if level == "content" else f"verified at level {level}: 6"
        )
        words = run("verify", audit, *args).stdout
        assert words.startswith(first)
        with zipfile.ZipFile(audit) as archive:
            assert told["root"] == archive.read("checkpoint").decode().split("\n")[2]  # as one would compare them
        assert f"root         {told['root']}\n" in words
    assert run("verify", audit, "--origin", "littlesteps/consent").exit_code == 10
    assert run("verify", audit, "--origin", "another/log").exit_code == 40


def test_a_rewritten_log_diverges_from_what_the_auditor_kept(run: Run, url: str, kept: Path, vkey: str, tmp_path: Path) -> None:
    """The holder of the key rewrites and signs all of it: 10 without the auditor's checkpoint, 30 with it."""
    audit, forged = tmp_path / "audit.zip", tmp_path / "forged.zip"
    run("export", url, audit)
    forge_log(audit, forged, 2, Keys.load(tmp_path / "shop.db.keys").signing)
    assert run("verify", forged, "--key", vkey).exit_code == 10
    result = run("verify", forged, "--key", vkey, "--checkpoint", kept, "--json")
    assert (result.exit_code, json.loads(result.stdout)["level"]) == (30, "history")
    assert result.stderr.startswith("consentlib: diverges at level history: ")


def test_a_changed_export_is_invalid(run: Run, url: str, kept: Path, tmp_path: Path) -> None:
    """A line that was taken out, or a file that is no export: exit 40, level and entry."""
    audit, forged = tmp_path / "audit.zip", tmp_path / "forged.zip"
    run("export", url, audit)
    with zipfile.ZipFile(audit) as old, zipfile.ZipFile(forged, "w") as new:
        rows = old.read("log.ndjson").splitlines(keepends=True)
        new.writestr("log.ndjson", b"".join(rows[:1] + rows[2:]))
    result = run("verify", forged, "--json")
    told = json.loads(result.stdout)
    assert (result.exit_code, told["verified"], told["level"], told["index"]) == (40, False, "chain", 1)
    assert result.stderr.startswith("consentlib: invalid at level chain: expected entry `1`")
    forged.write_bytes(audit.read_bytes()[:-40])
    assert run("verify", forged).exit_code == 40


def test_what_is_no_export_is_a_mistake_of_who_asks(run: Run, tmp_path: Path) -> None:
    """A log out of its zip, or whatever is no zip, was never an export: exit 2 and what was expected."""
    for data in (b'{"i":0}\n', b""):
        (tmp_path / "log.ndjson").write_bytes(data)
        result = run("verify", tmp_path / "log.ndjson")
        assert (result.exit_code, "which is a zip file" in result.stderr) == (2, True)


def test_another_key_or_a_foreign_checkpoint(run: Run, url: str, kept: Path, vkey: str, policy: Path, tmp_path: Path) -> None:
    """A key that did not sign: 40. A kept checkpoint that it did not sign, or that is none: 2. No ledger is marked for it."""
    other, foreign, audit = f"sqlite:///{tmp_path / 'other.db'}", tmp_path / "foreign", tmp_path / "audit.zip"
    run("init", other, "--policy", policy)
    run("checkpoint", other, "--output", foreign)
    run("export", url, audit)
    for source in (audit, url):
        assert run("verify", source, "--key", run("key", other).stdout.strip()).exit_code == 40
        assert run("verify", source, "--key", vkey, "--checkpoint", foreign).exit_code == 2
        assert run("verify", source, "--key", vkey, "--checkpoint", policy).exit_code == 2
    assert run("verify", url).exit_code == 10


@pytest.mark.parametrize(
    "args", [("missing.zip",), (".",), ("audit.zip", "--checkpoint", "kept"), ("audit.zip", "--key", "no key")]
)
def test_what_can_not_be_asked_is_a_usage_error(
    run: Run, url: str, kept: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, args: tuple[str, ...]
) -> None:
    """A mistyped file or key, or a checkpoint without a key, is no forgery: exit 2."""
    monkeypatch.chdir(tmp_path)
    run("export", url, "audit.zip")
    result = run("verify", *args)
    assert (result.exit_code, result.stdout, result.stderr.count("\n")) == (2, "", 1)


# ledgers


def test_a_ledger_reaches_history_only_with_a_checkpoint_from_elsewhere(run: Run, url: str, kept: Path, vkey: str) -> None:
    """Its own newest checkpoint is no independent one: 10; with the auditor's, 0."""
    assert run("verify", url).exit_code == 10
    result = run("verify", url, "--checkpoint", kept, "--key", vkey)
    assert (result.exit_code, "level history" in result.stdout) == (0, True)


def test_a_changed_database_is_invalid_and_allows_nothing(run: Run, url: str, lines: Lines, kept: Path) -> None:
    """A row changed behind the guards: verify exits 40, and no check allows any more; a stop is still taken."""
    edit(url, "UPDATE consentlib_parts SET data = replace(data, 'footer', 'header') WHERE idx = 1")
    result = run("verify", url)
    assert result.exit_code == 40
    assert "level content" in result.stderr
    assert reason(run, url, "anna@example.dk") == "ledger_unverified"
    assert run("record", url, lines(ORDERED)).exit_code == 3
    assert run("stop", url, "anna@example.dk").exit_code == 0


def test_a_restored_backup_diverges(run: Run, url: str, lines: Lines, tmp_path: Path) -> None:
    """An old copy in the place of the database: marked, nothing allowed or signed, stops taken, verify exits 30."""
    run("record", url, lines(SIGNED_UP, CONFIRMED))
    database = tmp_path / "shop.db"
    backup = tmp_path / "backup.db"
    with sqlite3.connect(database) as found:
        found.execute("VACUUM INTO ?", (str(backup),))
    found.close()
    assert reason(run, url, "anna@example.dk") == "consent_valid"
    run("stop", url, "anna@example.dk")
    for name in ("shop.db-wal", "shop.db-shm"):
        (tmp_path / name).unlink(missing_ok=True)
    shutil.copy(backup, database)
    assert run("check", url, "anna@example.dk", *SEND).stdout.startswith("denied: ledger_unverified")
    assert run("stop", url, "bo@example.dk").exit_code == 0
    assert run("checkpoint", url).exit_code == 30
    assert run("verify", url).exit_code == 30
    problems = {one["check"] for one in json.loads(run("doctor", url, "--json").stdout)["checks"] if one["state"] == "problem"}
    assert "log" in problems


def test_a_database_without_keys_is_verified_and_not_marked(run: Run, url: str, kept: Path, vkey: str, tmp_path: Path) -> None:
    """An auditor with the database alone: content 10, with checkpoints of then and now 0, changed 40; no mark is made."""
    now = tmp_path / "now"
    run("checkpoint", url, "--output", now)
    keys = tmp_path / "shop.db.keys"
    keys.rename(tmp_path / "aside")
    result = run("verify", url)
    assert (result.exit_code, "intact, but not shown to be signed" in result.stdout) == (10, True)
    assert "not marked" in result.stderr
    assert run("verify", url, "--key", vkey, "--checkpoint", kept, "--checkpoint", now).exit_code == 0
    assert run("verify", url, "--checkpoint", kept).exit_code == 2
    assert run("verify", url, "--origin", "another/log").exit_code == 40
    edit(url, "UPDATE consentlib_parts SET data = replace(data, 'footer', 'header') WHERE idx = 1")
    assert run("verify", url).exit_code == 40
    (tmp_path / "aside").rename(keys)
    assert reason(run, url, "anna@example.dk") != "ledger_unverified"


def test_checkpoints_lie_where_said(run: Run, url: str, tmp_path: Path) -> None:
    """`--checkpoints` names the folder; in one where nothing was signed yet, only who says so begins."""
    folder = tmp_path / "elsewhere" / "signed"
    refused = run("checkpoint", url, "--checkpoints", folder)
    assert refused.exit_code == 3
    assert "found neither" in refused.stderr
    note = run("checkpoint", url, "--checkpoints", folder, "--begin").stdout_bytes
    assert (folder / "checkpoint").read_bytes() == note
    assert note.startswith(b"littlesteps/consent\n1\n")
    assert json.loads(run("checkpoint", url, "--json").stdout)["checkpoint"] == note.decode()


def test_a_checkpoint_replaces_the_file(run: Run, url: str, lines: Lines, tmp_path: Path) -> None:
    """The same command every day: the file holds the newest, and no half-written file stays."""
    file = tmp_path / "out" / "checkpoint"
    assert run("checkpoint", url, "--output", file).exit_code == 3
    file.parent.mkdir()
    run("checkpoint", url, "--output", file)
    run("record", url, lines(SIGNED_UP))
    run("checkpoint", url, "--output", file)
    assert file.read_text().split("\n")[1] == "2"
    assert [one.name for one in file.parent.iterdir()] == ["checkpoint"]


# receipts


def test_a_receipt_proves_a_withdrawal(run: Run, url: str, kept: Path, vkey: str, tmp_path: Path) -> None:
    """What `receipt` writes verifies under the key, alone; and says kind, time and origin."""
    file = tmp_path / "bo.tlog-proof"
    assert run("receipt", url, "2", "--output", file).exit_code == 0
    told = json.loads(run("verify-receipt", file, "--key", vkey, "--json").stdout)
    assert (told["verified"], told["index"], told["kind"]) == (True, 2, "consent.withdrawn")
    assert told["origin"] == "littlesteps/consent"
    assert told["signed_size"] >= 3
    piped = run("receipt", url, "2").stdout_bytes
    assert "verified: entry 2 of" in run("verify-receipt", "-", "--key", vkey, input=piped).stdout


def test_a_receipt_that_does_not_hold_is_invalid(run: Run, url: str, kept: Path, vkey: str, tmp_path: Path) -> None:
    """Another index, another key, no receipt: 40; no file, no key, no entry: 2."""
    file = tmp_path / "bo.tlog-proof"
    run("receipt", url, "2", "--output", file)
    with Ledger.create("memory:", policy=tmp_path / "policy.toml") as other:
        assert run("verify-receipt", file, "--key", other.verifier).exit_code == 40
    file.write_bytes(file.read_bytes().replace(b"index 2\n", b"index 1\n"))
    result = run("verify-receipt", file, "--key", vkey)
    assert (result.exit_code, result.stderr.count("\n")) == (40, 1)
    file.write_text("no receipt")
    assert run("verify-receipt", file, "--key", vkey).exit_code == 40
    assert run("verify-receipt", file).exit_code == 2
    assert run("verify-receipt", tmp_path / "none", "--key", vkey).exit_code == 2
    assert run("receipt", url, "99").exit_code == 2


# sends


def test_meaning(run: Run, url: str, lines: Lines, vkey: str, tmp_path: Path) -> None:
    """`--meaning` replays the rules: exit 0 at that level, 40 with the first send without a ground and the log's own level."""
    run("record", url, lines(SIGNED_UP, CONFIRMED))
    kept = tmp_path / "kept"
    run("checkpoint", url, "--output", kept)
    held = ("--key", vkey, "--checkpoint", kept)
    result = run("verify", url, *held, "--meaning")
    assert (result.exit_code, "verified at level meaning" in result.stdout) == (0, True)
    assert "sends        0 judged, 0 without a ground; 0 not judged" in result.stdout
    anna = SIGNED_UP["subject"]
    sent = {"type": "message.sent", "subject": anna, "use": "marketing_newsletter"}
    run("record", url, lines({**STOPPED, "subject": anna}, sent))
    assert run("verify", url, *held).exit_code == 0
    result = run("verify", url, *held, "--meaning", "--json")
    told = json.loads(result.stdout)
    assert (result.exit_code, told["level"], told["meaning"]["unlawful"]) == (40, "history", 1)
    [finding] = told["meaning"]["findings"]
    assert told["meaning"]["reasons"] == {finding["reason"]: 1}
    line = f"invalid at level meaning: 1 recorded send had no valid ground; the first is in entry {finding['index']}: "
    assert line in result.stderr
    assert result.stderr.strip().endswith("the log itself is verified at level history")
    assert run("verify", url, *held).exit_code == 0, "the ledger is not marked"


# disclosures


def test_a_disclosure_is_verified_in_part(run: Run, url: str, vkey: str, lines: Lines, tmp_path: Path) -> None:
    """`disclose` writes one person's entries; `verify` says how many of how many, and ends with 10 at best, 40 if broken."""
    run("record", url, lines(SIGNED_UP, STOPPED))
    anna = tmp_path / "anna.zip"
    address = SIGNED_UP["subject"]
    result = run("disclose", url, address, anna, "--by", "dpo", "--reason", "art15")
    assert result.stdout == f"2 entries of one person disclosed to `{anna}`, signed\nverifier key {vkey}\n"
    assert address not in result.stdout + result.stderr
    assert run("disclose", url, address, anna).exit_code == 2
    assert run("disclose", url, "nobody@example.dk", tmp_path / "x.zip").exit_code == 2
    kept = tmp_path / "kept"
    run("checkpoint", url, "--output", kept)
    for args, level in (((), "content"), (("--key", vkey), "signature"), (("--key", vkey, "--checkpoint", kept), "history")):
        result = run("verify", anna, *args)
        assert result.exit_code == 10
        first = "intact in part, but not shown to be signed" if level == "content" else f"verified in part at level {level}"
        assert result.stdout.startswith(f"{first}: 2 of 4 entries")
    told = json.loads(run("verify", anna, "--key", vkey, "--json").stdout)
    assert (told["partial"], told["shown"], told["size"]) == (True, 2, 4)
    assert "invalid" in run("report", anna, tmp_path / "report.html").stderr
    broken = tmp_path / "broken.zip"
    with zipfile.ZipFile(anna) as old, zipfile.ZipFile(broken, "w") as new:
        for name in old.namelist():
            if name != "proofs/1.tlog-proof":
                new.writestr(name, old.read(name))
    assert run("verify", broken).exit_code == 40


def test_who_exported_is_on_record(run: Run, url: str, tmp_path: Path) -> None:
    """`--by` and `--reason` stand in the last entry of the export; what is no plain word is refused."""
    audit = tmp_path / "audit.zip"
    run("export", url, audit, "--by", "auditor", "--reason", "audit-2026")
    with zipfile.ZipFile(audit) as archive:
        last = json.loads(archive.read("log.ndjson").splitlines()[-1])
    facts = json.loads(b64decode(last["parts"]["facts"]["data"]))
    assert (facts["scope"], facts["by"], facts["reason"]) == ("whole", "auditor", "audit-2026")
    assert run("export", url, tmp_path / "x.zip", "--by", "Anna Hansen").exit_code == 2
