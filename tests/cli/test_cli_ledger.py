"""Commands that change or prove a ledger."""

from __future__ import annotations

import json
import sqlite3
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from cli_words import CONFIRMED, ORDERED, SIGNED_UP, STOPPED, Run, reason

from consentlib.policy import starter

Lines = Callable[..., Path]


def entries(url: str) -> int:
    with sqlite3.connect(url.removeprefix("sqlite:///")) as found:
        return int(found.execute("SELECT size FROM consentlib_head").fetchone()[0])


# init and publish


def test_init_makes_a_ledger_and_its_keys(run: Run, tmp_path: Path, policy: Path) -> None:
    """`init` begins a ledger with the policy as its first entry and keys of mode 0600 where asked."""
    url, keys = f"sqlite:///{tmp_path / 'new.db'}", tmp_path / "secret"
    result = run("init", url, "--policy", policy, "--origin", "shop.example/log", "--keys", keys, "--json")
    told = json.loads(result.stdout)
    assert (result.exit_code, told["origin"], told["policy"]["id"]) == (0, "shop.example/log", "littlesteps")
    assert keys.stat().st_mode & 0o777 == 0o600
    assert told["verifier"].startswith("shop.example/log+")
    assert {one.name for one in Path(told["checkpoints"]).iterdir()} >= {"checkpoint", "checkpoint.1"}
    assert entries(url) == 1
    assert run("history", url, "anna@example.dk", "--keys", keys).exit_code == 0


def test_init_touches_no_ledger_that_is_there(run: Run, url: str, policy: Path, tmp_path: Path) -> None:
    """A second `init` is refused and changes neither ledger nor keys."""
    keys = (tmp_path / "shop.db.keys").read_bytes()
    result = run("init", url, "--policy", policy)
    assert result.exit_code == 3
    assert (tmp_path / "shop.db.keys").read_bytes() == keys
    assert entries(url) == 1


@pytest.mark.parametrize("text", ["", "[policy]\nid = 3", "not toml", '[policy]\nid = "x"\nverison = "1"'])
def test_init_with_an_unusable_policy_makes_nothing(run: Run, tmp_path: Path, text: str) -> None:
    """A policy that can't be read: exit 2, one line that names the file, no database and no keys."""
    policy = tmp_path / "bad.toml"
    policy.write_text(text)
    result = run("init", f"sqlite:///{tmp_path / 'new.db'}", "--policy", policy)
    assert result.exit_code == 2
    assert result.stderr.startswith(f"consentlib: {policy}: expected")
    assert result.stderr.count("\n") == 1
    assert [path.name for path in tmp_path.iterdir()] == ["bad.toml"]


def test_a_mistyped_key_of_a_policy_gets_the_near_name(run: Run, tmp_path: Path) -> None:
    """A key that is nearly right is answered with the right one."""
    policy = tmp_path / "bad.toml"
    policy.write_text(starter().replace("passivity_days =", "pasivity_days ="), encoding="utf-8")
    assert "`passivity_days`" in run("policy", "check", policy).stderr


def test_a_policy_with_errors_is_listed_and_refused(run: Run, url: str, tmp_path: Path) -> None:
    """`init` and `publish` say a line for each error, exit 2 and change nothing, unless the errors are allowed."""
    path = tmp_path / "void.toml"
    path.write_text(starter().replace("prechecked = false", "prechecked = true", 1), encoding="utf-8")
    new = tmp_path / "new" / "shop.db"
    new.parent.mkdir()
    for command in (("init", f"sqlite:///{new}", "--policy", path), ("publish", url, path)):
        result = run(*command)
        assert (result.exit_code, result.stdout) == (2, "")
        listed, refusal = result.stderr.splitlines()
        assert listed.startswith(f"{path}: forms.footer.prechecked: error: ")
        assert refusal.startswith("consentlib: expected a policy without errors, found 1; ")
    assert list(new.parent.iterdir()) == []
    assert run("init", f"sqlite:///{new}", "--policy", path, "--allow-errors").exit_code == 0
    assert json.loads(run("publish", url, path, "--json", "--allow-errors").stdout)["entry"] == 1


def test_publish_puts_a_new_policy_in_force(run: Run, url: str, tmp_path: Path) -> None:
    """`publish` appends the policy, and decisions name its version."""
    newer = tmp_path / "newer.toml"
    newer.write_text(starter().replace('version = "3"', 'version = "4"', 1), encoding="utf-8")
    assert json.loads(run("publish", url, newer, "--json").stdout)["entry"] == 1
    told = json.loads(run("check", url, "anna@example.dk", "--use", "newsletter", "--json").stdout)
    assert told["policy"]["version"] == "4"


# record


def test_record_takes_json_lines_from_a_file_and_from_standard_input(run: Run, url: str, lines: Lines) -> None:
    """Events go in, in order; blank lines are skipped; a consent recorded so is one."""
    result = run("record", url, lines(SIGNED_UP, "", CONFIRMED), "--json")
    assert (result.exit_code, json.loads(result.stdout)) == (0, {"events": 2, "entries": [1, 2]})
    assert reason(run, url, "anna@example.dk") == "consent_valid"
    assert run("record", url, "-", input=json.dumps(ORDERED)).stdout == "1 event recorded\n"
    assert entries(url) == 4


BAD_LINES = {
    "no JSON": "anna@example.dk",
    "no object": "[1]",
    "unknown kind": {"type": "consent.givn", "subject": "anna@example.dk"},
    "unknown field": {**ORDERED, "colour": "red"},
    "text for a flag": {**ORDERED, "optout_offered": "false"},
    "number for text": {**ORDERED, "order": 5},
    "naive time": {**ORDERED, "occurred_at": "2026-09-01T10:00:00"},
    "absurd time": {**ORDERED, "occurred_at": "2026-13-41T10:00:00Z"},
    "malformed address": {**ORDERED, "subject": "anna at example"},
    "unknown use": {"type": "consent.given", "subject": "anna@example.dk", "uses": ["dancing"], "form": "footer"},
    "unknown form": {"type": "consent.given", "subject": "anna@example.dk", "form": "nowhere"},
    "confirmation of nothing": {"type": "consent.confirmed", "subject": "anna@example.dk", "ref": "none"},
    "duplicate key": '{"type":"order.placed","subject":"anna@example.dk","order":"o1","order":"o2"}',
    "NaN": '{"type":"order.placed","subject":"anna@example.dk","order":NaN}',
    "lone surrogate": '{"type":"order.placed","subject":"\\ud800@example.dk","order":"o1"}',
    "too long": {**ORDERED, "order": "x" * 100_000},
    "a list for its type": {**ORDERED, "type": []},
    "no JSON, a list for its type": '{"type": [], "type": []}',
}


@pytest.mark.parametrize("bad", BAD_LINES.values(), ids=BAD_LINES)
def test_a_bad_line_stores_nothing_but_the_stops(run: Run, url: str, lines: Lines, bad: object) -> None:
    """One line says line number, expected and found; good events are not stored, stops before and after are."""
    last = {**STOPPED, "subject": "carl@example.dk"}
    result = run("record", url, lines(SIGNED_UP, STOPPED, bad, CONFIRMED, last))
    assert result.exit_code == 2
    assert result.stderr.startswith("consentlib: line 3: expected")
    assert result.stderr.endswith("; nothing of the file was stored but its 2 stops\n")
    assert result.stderr.count("\n") == 1
    assert "anna" not in result.stderr
    assert entries(url) == 3
    assert "consent.withdrawn" in run("history", url, "bo@example.dk").stdout
    assert reason(run, url, "anna@example.dk") == "unknown_subject"


def test_of_several_bad_lines_the_first_is_named(run: Run, url: str, lines: Lines) -> None:
    """The line to look at first is the first one."""
    assert run("record", url, lines(ORDERED, "no", "neither")).stderr.startswith("consentlib: line 2: ")


def test_a_stop_is_kept_whatever_its_line_looks_like(run: Run, url: str, lines: Lines) -> None:
    """A withdrawal with unknown fields, bad times and no address is recorded."""
    odd = {"type": "consent.withdrawn", "subject": "anna..b@docomo.ne.jp", "occurred_at": "soon", "colour": 3}
    assert run("record", url, lines(odd, '{"type":"objection.raised","subject":NaN}')).exit_code == 0
    assert "consent.withdrawn" in run("history", url, "anna..b@docomo.ne.jp").stdout


def test_a_batch_that_was_committed_stays_and_is_said(run: Run, url: str, lines: Lines) -> None:
    """With `--batch` an error tells what was stored before it."""
    bad = {"type": "consent.confirmed", "subject": "anna@example.dk", "ref": "none"}
    result = run("record", url, lines(ORDERED, SIGNED_UP, CONFIRMED, bad, STOPPED), "--batch", "2")
    assert "line 4: " in result.stderr
    assert "the 2 events before were stored, nothing else but its 1 stop" in result.stderr
    assert entries(url) == 4


def test_a_file_too_large_for_the_disk_leaves_its_stops(
    run: Run, url: str, lines: Lines, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The store gives up on a whole file: exit 3, no line is blamed, and its stops, which fit, are stored."""
    connect = sqlite3.connect

    def small(*args: Any, **more: Any) -> sqlite3.Connection:
        found = connect(*args, **more)
        pages = found.execute("PRAGMA page_count").fetchone()[0]
        found.execute(f"PRAGMA max_page_count = {pages + 20}")
        return found

    path = lines(*({**ORDERED, "order": f"o{number}"} for number in range(2_000)), STOPPED)
    monkeypatch.setattr(sqlite3, "connect", small)
    result = run("record", url, path)
    monkeypatch.undo()
    assert result.exit_code == 3
    assert "SQLITE_FULL" in result.stderr
    assert result.stderr.endswith("; nothing of the file was stored but its 1 stop\n")
    assert "line" not in result.stderr
    assert entries(url) == 2


def test_an_event_id_with_other_content_is_refused_with_its_line(run: Run, url: str, lines: Lines) -> None:
    """A conflict is the ledger's no: exit 3, with the line; the same content again is no conflict."""
    first = {**ORDERED, "event_id": "e1"}
    assert run("record", url, lines(first)).exit_code == 0
    assert run("record", url, lines(first)).exit_code == 0
    result = run("record", url, lines(SIGNED_UP, {**first, "order": "o2"}))
    assert (result.exit_code, result.stderr[:20]) == (3, "consentlib: line 2: ")
    assert entries(url) == 2


@pytest.mark.parametrize("name", ["missing.jsonl", ".", "x" * 5_000])
def test_a_file_that_is_none_is_one_line(run: Run, url: str, tmp_path: Path, name: str) -> None:
    """A missing file, a folder or an impossible name: exit 2 and what was found."""
    result = run("record", url, tmp_path / name)
    assert result.exit_code == 2
    assert result.stderr.startswith("consentlib: expected a readable file, found: ")


# stop


def test_stop_takes_one_address(run: Run, url: str, lines: Lines) -> None:
    """A stop by hand ends the newsletter."""
    run("record", url, lines(SIGNED_UP, CONFIRMED))
    assert run("stop", url, "ANNA@example.dk").stdout == "1 stop recorded\n"
    assert reason(run, url, "anna@example.dk") == "objection_direct_marketing"


def test_stop_takes_a_list_and_never_refuses(run: Run, url: str, tmp_path: Path) -> None:
    """Tables, quotes, other encodings, empty lines and nonsense: every person is stopped; lines without address are named."""
    listed = tmp_path / "stops.csv"
    listed.write_bytes(
        b"\xef\xbb\xbfEmail Address,First Name\r\n"
        b"anna@example.dk,Anna\r\n\r\n"
        b'"bo@example.dk";"Bo"\r\n'
        b"post:Strandvejen 1, 8000 Aarhus\r\n"
        b"anna..b@docomo.ne.jp,Anna\r\n"
        b"s\xf8ren@example.dk\r\n"
        b"+45 12 34 56 78\r\n"
        b"\x00\xff\r\n"
    )
    result = run("stop", url, listed, "--json")
    assert result.exit_code == 1
    assert result.stderr.startswith("consentlib: no known form of address in lines 1, 6, 9: kept word for word")
    for address in (
        "anna@example.dk",
        "bo@example.dk",
        "post:Strandvejen 1, 8000 Aarhus",
        "anna..b@docomo.ne.jp",
        "søren@example.dk",
        "+4512345678",
    ):
        assert "consent.withdrawn" in run("history", url, address).stdout, address
    assert json.loads(result.stdout) == {"stops": 10, "unreadable": 3}


@pytest.mark.parametrize(
    "table", [b'"%b",Anna\nbo@example.dk,Bo\n' % (b"x" * 140_000), b"anna@example.dk,Anna\rbo@example.dk,Bo\r"]
)
def test_stop_takes_a_table_that_is_none(run: Run, url: str, tmp_path: Path, table: bytes) -> None:
    """A cell longer than a table's reader takes, or lines with the ends of old, keep nobody's stop from being recorded."""
    (tmp_path / "stops.csv").write_bytes(table)
    assert run("stop", url, tmp_path / "stops.csv").stdout.endswith("recorded\n")
    assert "consent.withdrawn" in run("history", url, "bo@example.dk").stdout


@pytest.mark.parametrize("delimiter", [",", ";", "\t"])
def test_an_address_in_any_column_is_stopped(run: Run, url: str, tmp_path: Path, delimiter: str) -> None:
    """Of a row every cell that is an address is taken, readable or not, and nothing else of the row is kept."""
    listed = tmp_path / "stops.csv"
    rows = (("1001", "Anna", "anna@example.dk", "+45 12 34 56 78"), ("1002", "Bo <bo@example.dk>", "b..o@example.dk"))
    listed.write_text("".join(delimiter.join(row) + "\n" for row in rows))
    result = run("stop", url, listed)
    assert result.stdout == "4 stops recorded\n"
    assert (result.exit_code, "in line 2:" in result.stderr) == (1, True)
    for address in ("anna@example.dk", "+4512345678", "bo@example.dk", "b..o@example.dk"):
        assert "consent.withdrawn" in run("history", url, address).stdout, address
    assert "consent.withdrawn" not in run("history", url, "1001").stdout


def test_a_list_of_addresses_ends_well(run: Run, url: str, tmp_path: Path) -> None:
    """Where each line holds an address nothing is remarked: exit 0."""
    listed = tmp_path / "stops.txt"
    listed.write_text("anna@example.dk\nBo <bo@example.dk>\n\n")
    result = run("stop", url, listed)
    assert (result.exit_code, result.stdout, result.stderr) == (0, "2 stops recorded\n", "")


def test_many_lines_without_address_are_named_in_one_line(run: Run, url: str) -> None:
    """The first ten, and how many more."""
    told = run("stop", url, "-", input="nobody\n" * 1_012).stderr
    assert "in lines 1, 2, 3, 4, 5, 6, 7, 8, 9, 10 and 1,002 more: kept" in told
    assert told.count("\n") == 1


@pytest.mark.parametrize(
    "odd", ["anna..b@example.dk", "æ\u0301@@", "12 34 56 78", "+45", "phone:", "Post : \x07", "x" * 5_000 + "@"]
)
def test_an_odd_address_is_stopped_and_remarked(run: Run, url: str, odd: str) -> None:
    """What is meant as an address and is none is kept word for word, exit 1; the answer does not repeat it."""
    result = run("stop", url, odd)
    assert (result.exit_code, result.stdout) == (1, "1 stop recorded\n")
    assert result.stderr == "consentlib: no known form of address: kept word for word; look at what was meant\n"
    assert "consent.withdrawn" in run("history", url, odd).stdout


def test_an_address_may_begin_like_an_option(run: Run, url: str) -> None:
    """A hyphen in front makes no difference to a stop."""
    assert run("stop", url, "-anna@example.dk").exit_code == 0
    assert "consent.withdrawn" in run("history", url, "--", "-anna@example.dk").stdout


@pytest.mark.parametrize("mistyped", ["", "nobody at all", "x" * 5_000, "missing/list.csv", "no-thanks.txt"])
def test_a_mistyped_file_is_no_stop(run: Run, url: str, mistyped: str) -> None:
    """What is neither a file nor meant as an address: exit 2, nothing is recorded; in a list it would be kept."""
    result = run("stop", url, mistyped)
    assert (result.exit_code, result.stdout) == (2, "")
    assert result.stderr == "consentlib: expected an address or the name of a file, found neither; nothing was recorded\n"
    assert run("history", url, mistyped).stdout == ""


def test_a_list_named_like_an_address_is_both(run: Run, url: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A file whose name reads as an address: its lines are stopped, and the address too."""
    monkeypatch.chdir(tmp_path)
    Path("list@shop.example").write_text("anna@example.dk\n")
    assert run("stop", url, "list@shop.example").stdout == "2 stops recorded\n"
    Path("bo@shop.example").mkdir()
    assert run("stop", url, "bo@shop.example").stdout == "1 stop recorded\n"
    assert run("stop", url, ".").exit_code == 2


# erase and keys


def test_erase_tells_what_went_and_what_stays(run: Run, url: str, lines: Lines) -> None:
    """An erased person is denied for good, what the law keeps stays, and the ledger verifies."""
    run("record", url, lines(SIGNED_UP, CONFIRMED, ORDERED))
    told = json.loads(run("erase", url, "anna@example.dk", "--reason", "art17", "--by", "dpo", "--json").stdout)
    assert told["entry"] == 4
    assert told["pending"] is False
    assert reason(run, url, "anna@example.dk") == "erased"
    assert run("verify", url).exit_code == 10
    again = run("erase", url, "nobody@example.dk", "--reason", "art17", "--by", "dpo")
    assert again.stdout == "nothing to erase about this address\n"


def test_wrong_keys_are_refused(run: Run, url: str, tmp_path: Path, policy: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Another ledger's key file, by option or by CONSENTLIB_KEYS: exit 3."""
    run("init", f"sqlite:///{tmp_path / 'other.db'}", "--policy", policy)
    other = str(tmp_path / "other.db.keys")
    assert run("history", url, "anna@example.dk", "--keys", other).exit_code == 3
    monkeypatch.setenv("CONSENTLIB_KEYS", other)
    result = run("history", url, "anna@example.dk")
    assert result.exit_code == 3
    assert "key of this ledger, found another" in result.stderr
