"""Commands that ask: check, filter, history."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path

import pytest
from cli_words import CONFIRMED, ORDERED, SEND, SIGNED_UP, STOPPED, Run, reason

Lines = Callable[..., Path]


@pytest.fixture
def shop(run: Run, url: str, lines: Lines) -> str:
    """A ledger with Anna, who signed up and ordered, and Bo, who said no."""
    assert run("record", url, lines(SIGNED_UP, CONFIRMED, ORDERED, STOPPED)).exit_code == 0
    return url


def test_check_says_yes_with_obligations(run: Run, shop: str) -> None:
    """Allowed: exit 0, the ground, and what the send must fulfil."""
    result = run("check", shop, "anna@example.dk", *SEND)
    assert result.exit_code == 0
    assert result.stdout.startswith("allowed: consent_valid, ground consent\n")
    assert "obligations: include_unsubscribe" in result.stdout


def test_check_says_no_with_the_reason_and_its_source(run: Run, shop: str) -> None:
    """Denied: exit 1, the reason in words, the rule, its entry and its citation."""
    result = run("check", shop, "bo@example.dk", *SEND)
    assert result.exit_code == 1
    assert result.stdout.startswith("denied: consent_withdrawn\n")
    assert "entry 4" in result.stdout
    assert "GDPR 7(3)" in result.stdout


@pytest.mark.parametrize(
    ("address", "more", "expected"),
    [
        ("anna@example.dk", ("--channel", "pigeon"), "unknown_channel"),
        ("anna@example.dk", ("--channel", "sms"), "consent_channel_mismatch"),
        ("anna@example.dk", ("--controller", "othershop"), "consent_controller_mismatch"),
        ("anna@example.dk", ("--data", "payment_info"), "data_category_not_permitted"),
        ("anna@example.dk", ("--no-unsubscribe",), "message_obligation_unmet"),
        ("anna@example.dk", ("--tracking",), "tracking_not_consented"),
        ("anna@example.dk", ("--known-at", "2"), "consent_unconfirmed"),
        ("anna@example.dk", ("--at", "2099-01-01T00:00:00Z"), "consent_expired"),
        ("anna@example.dk", ("--known-at", "2020-01-01T00:00:00Z"), "unknown_subject"),
        ("anna@example.dk", (), "consent_valid"),
        ("nobody@example.dk", (), "unknown_subject"),
        ("no address", (), "invalid_address"),
    ],
)
def test_check_passes_every_option_on(run: Run, shop: str, address: str, more: tuple[str, ...], expected: str) -> None:
    """Each option changes what is asked, and so the answer."""
    assert reason(run, shop, address, *more) == expected


@pytest.mark.parametrize("size", ["9" * 17, "9" * 5_000])
def test_check_of_a_size_that_no_log_has(run: Run, shop: str, size: str) -> None:
    """A number of more digits than a size can have is one line, exit 2."""
    result = run("check", shop, "anna@example.dk", *SEND, "--known-at", size)
    assert result.exit_code == 2
    assert result.stderr.startswith("consentlib: expected an RFC 3339 time")
    assert result.stderr.count("\n") == 1


def test_check_of_an_order_and_of_an_unknown_use(run: Run, shop: str) -> None:
    """`--order` names the order; an unknown use is denied, not an error."""
    assert run("check", shop, "anna@example.dk", "--use", "delivery", "--order", "o1").exit_code == 0
    result = run("check", shop, "anna@example.dk", "--use", "dancing", "--json")
    assert (result.exit_code, json.loads(result.stdout)["reason"]) == (1, "unknown_use")


def test_undeclared_marketing_denies(run: Run, shop: str) -> None:
    """A flag left out is undeclared, not false."""
    told = json.loads(run("check", shop, "anna@example.dk", "--use", "newsletter", "--json").stdout)
    assert (told["reason"], told["determined_by"][0]["lacks"]) == ("missing_fact", "marketing")
    assert told["text"]["en"].endswith(" Missing: `marketing`.")


def test_mode_lets_a_denial_through_and_says_so(run: Run, shop: str) -> None:
    """`--mode observe` allows what is not absolute, marked; a withdrawal holds."""
    result = run("check", shop, "nobody@example.dk", *SEND, "--mode", "observe")
    assert result.exit_code == 0
    assert "would be denied: unknown_subject" in result.stdout
    assert run("check", shop, "bo@example.dk", *SEND, "--mode", "observe").exit_code == 1


def test_filter_passes_the_allowed_lines_on(run: Run, shop: str, tmp_path: Path) -> None:
    """Allowed addresses on standard output, counts on standard error, whatever else the file holds."""
    listed = tmp_path / "list.txt"
    listed.write_bytes(b"anna@example.dk\r\n\r\nbo@example.dk\nnobody@example.dk\n\xff\xfe\nno address\n")
    result = run("filter", shop, listed, *SEND)
    assert (result.exit_code, result.stdout) == (0, "anna@example.dk\n")
    assert result.stderr == "allowed 1, consent_withdrawn 1, invalid_address 2, unknown_subject 1\n"
    assert run("filter", shop, "-", *SEND, input="anna@example.dk\n").stdout == "anna@example.dk\n"


def test_filter_in_json_answers_every_line(run: Run, shop: str) -> None:
    """One object a line, allowed or not."""
    result = run("filter", shop, "-", *SEND, "--json", input="anna@example.dk\nbo@example.dk\n")
    assert [json.loads(line) for line in result.stdout.splitlines()] == [
        {"address": "anna@example.dk", "allowed": True, "reason": "consent_valid"},
        {"address": "bo@example.dk", "allowed": False, "reason": "consent_withdrawn"},
    ]


def test_history_shows_what_is_held(run: Run, shop: str) -> None:
    """Entries in order; personal parts only with `--json`; what is erased says so."""
    result = run("history", shop, "anna@example.dk")
    assert [line.split()[2] for line in result.stdout.splitlines()] == ["consent.given", "consent.confirmed", "order.placed"]
    assert "192.0.2.1" not in result.stdout
    told = [json.loads(line) for line in run("history", shop, "anna@example.dk", "--json").stdout.splitlines()]
    assert told[0]["person"]["evidence"]["ip"] == "192.0.2.1"
    assert set(told[0]) == {"index", "recorded_at", "kind", "facts", "person"}
    run("erase", shop, "anna@example.dk", "--reason", "art17", "--by", "dpo")
    assert result.stderr == "3 entries\npersonal parts: --json\n"
    assert run("history", shop, "anna@example.dk").stderr == "4 entries\n"
    assert run("history", shop, "nobody@example.dk").stderr == "0 entries\n"
