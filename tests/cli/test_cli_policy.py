"""Commands on policy files."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
from cli_words import Run

from consentlib.policy import starter

SHARED = next(
    (place / "shared" / "cases" for place in Path(__file__).resolve().parents if (place / "shared" / "cases").is_dir()), None
)

CASE = {
    "id": "X1",
    "title": "an order under way may be delivered",
    "events": [
        {"type": "order.placed", "subject": "email:anna@example.dk", "order": "o1", "occurred_at": "2026-09-01T09:00:00Z"}
    ],
    "request": {
        "use": "delivery",
        "channel": "email",
        "to": "email:anna@example.dk",
        "at": "2026-09-01T10:00:00Z",
        "order": "o1",
    },
    "expect": {"decision": "allow", "reason": "contract_open"},
}


def cases(tmp_path: Path, *listed: object) -> Path:
    path = tmp_path / "cases.json"
    path.write_text(json.dumps({"cases": listed}))
    return path


def test_starter_is_a_policy_without_findings(run: Run, tmp_path: Path) -> None:
    """`policy starter` prints a policy that `policy check` finds nothing wrong with; --output replaces no file."""
    assert run("policy", "starter").stdout == starter()
    path = tmp_path / "mine.toml"
    assert run("policy", "starter", "--output", path).exit_code == 0
    assert run("policy", "check", path).stdout == "0 errors, 0 warnings\n"
    assert run("policy", "starter", "--output", path).exit_code == 2


def test_check_reports_findings_with_file_and_key(run: Run, tmp_path: Path) -> None:
    """A ticked form is an error: exit 1, one line with file, key and code."""
    path = tmp_path / "bad.toml"
    path.write_text(starter().replace("prechecked = false", "prechecked = true", 1), encoding="utf-8")
    result = run("policy", "check", path)
    assert result.exit_code == 1
    assert result.stdout.startswith(f"{path}: forms.footer.prechecked: error: ")
    assert result.stdout.endswith("1 error, 0 warnings\n")
    told = json.loads(run("policy", "check", path, "--json").stdout)
    assert (told["key"], told["severity"], told["code"]) == ("forms.footer.prechecked", "error", "form_void")


def test_show_renders_notice_record_and_values(run: Run, policy: Path) -> None:
    """The notice's table and the record of processing in both languages, and everything as JSON."""
    assert run("policy", "show", policy).stdout.startswith("| Use |")
    assert run("policy", "show", policy, "--language", "da").stdout.startswith("| Brug |")
    assert run("policy", "show", policy, "--record").stdout.startswith("# Record of processing")
    assert run("policy", "show", policy, "--record", "--language", "da").stdout.startswith("# Fortegnelse")
    assert json.loads(run("policy", "show", policy, "--json").stdout)["policy"]["id"] == "littlesteps"
    assert run("policy", "show", policy, "--language", "xx").exit_code == 2


def test_policy_test_prints_failures_and_closes_with_the_count(run: Run, policy: Path, tmp_path: Path) -> None:
    """A case that comes out otherwise is named with its difference; exit 1, and the last line counts."""
    wrong = {**CASE, "id": "X2", "expect": {"decision": "deny", "reason": "no_open_contract"}}
    result = run("policy", "test", policy, cases(tmp_path, CASE, wrong))
    assert result.exit_code == 1
    assert result.stdout.startswith("failed X2 an order under way may be delivered\n  expected decision `deny`, found `allow`")
    assert result.stdout.endswith("\n1 passed, 1 failed\n")
    fine = run("policy", "test", policy, cases(tmp_path, CASE))
    assert (fine.exit_code, fine.stdout) == (0, "1 passed, 0 failed\n")


def test_policy_test_in_json_is_one_result_a_line(run: Run, policy: Path, tmp_path: Path) -> None:
    """Results on standard output, the count on standard error."""
    result = run("policy", "test", policy, cases(tmp_path, CASE), "--json")
    told = json.loads(result.stdout)
    assert (told["id"], told["passed"], told["wrong"], told["decision"]["reason"]) == ("X1", True, [], "contract_open")
    assert result.stderr == "1 passed, 0 failed\n"


@pytest.mark.parametrize(
    "content", ["", "[]", '{"cases": 3}', '{"cases": [{"id": "X"}]}', '{"cases": [{}, 3]}', '{"cases":[],"cases":[]}', "\ud800"]
)
def test_a_case_file_that_is_none_is_one_line(run: Run, policy: Path, tmp_path: Path, content: str) -> None:
    """Wrong JSON and wrong shapes: exit 2, with the file's name."""
    path = tmp_path / "cases.json"
    path.write_text(content, errors="surrogatepass", encoding="utf-8")
    result = run("policy", "test", policy, path)
    assert result.exit_code == 2
    assert result.stderr.startswith(f"consentlib: {path}: ")
    assert result.stderr.count("\n") == 1


@pytest.mark.parametrize(
    ("part", "value"),
    [
        ("events", 3),
        ("events", [3]),
        ("request", []),
        ("request", {"use": "delivery"}),
        ("request", {**CASE["request"], "use": ["delivery"]}),
        ("request", {**CASE["request"], "content": {"marketing": "false"}}),
        ("request", {**CASE["request"], "content": {"marketting": True}}),
        ("request", {**CASE["request"], "data": [3]}),
        ("expect", {}),
        ("expect", {"decision": "allow", "raeson": "contract_open"}),
        ("expect", None),
        ("system", {"ledger_verified": "no"}),
        ("policy_override", 3),
        ("colour", "red"),
        ("id", 3),
    ],
)
def test_a_case_in_another_form_is_refused(run: Run, policy: Path, tmp_path: Path, part: str, value: object) -> None:
    """A mistyped field would test nothing: exit 2, one line, no result."""
    result = run("policy", "test", policy, cases(tmp_path, CASE, {**CASE, "id": "X2", part: value}))
    assert (result.exit_code, result.stdout) == (2, "")
    assert ": case " in result.stderr
    assert result.stderr.count("\n") == 1


@pytest.mark.parametrize(
    ("part", "value"),
    [("profile", "XX"), ("policy_override", {"passivity_dys": 3}), ("events", [{"type": "order.placed"}])],
)
def test_a_case_that_leads_to_no_decision_fails(run: Run, policy: Path, tmp_path: Path, part: str, value: object) -> None:
    """An unknown profile, parameter or event makes the case fail, and only that case."""
    result = run("policy", "test", policy, cases(tmp_path, {**CASE, part: value}, CASE))
    assert "expected a decision, found an error: " in result.stdout
    assert result.stdout.endswith("\n1 passed, 1 failed\n")


@pytest.mark.parametrize("command", ["check", "show"])
@pytest.mark.parametrize("name", ["missing.toml", "."])
def test_a_policy_that_is_no_file_is_one_line(run: Run, tmp_path: Path, command: str, name: str) -> None:
    """A missing file or a folder: exit 2 and what was found."""
    result = run("policy", command, tmp_path / name)
    assert result.exit_code == 2
    assert "expected a readable policy file, found" in result.stderr


def test_the_shared_cases_all_pass(run: Run, policy: Path) -> None:
    """Every case of the shared file comes out as it expects."""
    if SHARED is None:
        pytest.skip("the shared case file is not beside this checkout")
    result = run("policy", "test", policy, SHARED / "decision_cases.json")
    assert (result.exit_code, result.stdout) == (0, "132 passed, 0 failed\n")
