"""The audit report: its figures, what it never says, and what it says of a log that does not verify."""

from __future__ import annotations

import json
import re
import sys
import tracemalloc
import zipfile
from base64 import b64decode, b64encode
from collections import Counter
from collections.abc import Iterator, Mapping
from hashlib import sha256
from html.parser import HTMLParser
from pathlib import Path
from typing import Any

import pytest
from click.testing import CliRunner
from small_log import entry as small_entry
from small_log import opened

from consentlib import codec
from consentlib.audit.report import write_report
from consentlib.audit.survey import BURST, LARGEST, LISTED, discreet
from consentlib.audit.traces import Traces
from consentlib.audit.words import LANGUAGES, WORDS
from consentlib.cli import main
from consentlib.errors import FormatError, InputError, VerificationError
from consentlib.events import (
    KINDS,
    ConsentGiven,
    ContactImported,
    Evidence,
    InquiryReceived,
    MessageSent,
    ObjectionRaised,
    OrderPlaced,
)
from consentlib.log import format_line, genesis, leaf_hash, parse_line
from consentlib.log.note import Verifier

sys.path.append(str(Path(__file__).parents[1]))
from shop import DAY, LETTER, POLICY, Shop, rewrite

_VOID = {"meta", "br"}
_PROOF = Evidence(ip="203.0.113.77", user_agent="Secretbrowser/9", url="https://shop.example/page?who=cleo")


class Walk(HTMLParser):
    """Reads a page: text by line, tags, attributes; every element must be closed in order."""

    def __init__(self, page: str) -> None:
        super().__init__()
        self.open: list[str] = []
        self.tags: Counter[str] = Counter()
        self.attributes: list[tuple[str, str | None]] = []
        self.lines: list[str] = []
        self.rows: list[list[str]] = []
        self.feed(page)
        self.close()
        assert not self.open, self.open
        self.text = "\n".join(self.lines)

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.tags[tag] += 1
        self.attributes += attrs
        if tag not in _VOID:
            self.open.append(tag)
        if tag == "tr":
            self.rows.append([])
        if tag in ("td", "th"):
            self.rows[-1].append("")

    def handle_startendtag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.tags[tag] += 1
        self.attributes += attrs

    def handle_endtag(self, tag: str) -> None:
        assert self.open.pop() == tag

    def handle_data(self, data: str) -> None:
        if "style" not in self.open:
            self.lines.append(data)
        if "td" in self.open or "th" in self.open:
            self.rows[-1][-1] += data


def busy(url: str = "memory:") -> Shop:
    """A shop with a bit of everything."""
    shop = Shop(url)
    ledger, clock = shop.ledger, shop.clock
    for number in range(BURST + 3):
        shop.sign_up(f"kind{number}@secret.example")
    clock.tick(days=40)
    ledger.record(ConsentGiven("cleo@secret.example", form="footer", evidence=_PROOF))
    ledger.record(ConsentGiven("bare@secret.example", form="footer"))
    ledger.record(OrderPlaced("cleo@secret.example", order="a-1"))
    people = ["kind1@secret.example", "kind2@secret.example", "kind3@secret.example"]
    assert len(list(ledger.permits(people, use="marketing_newsletter", message=LETTER))) == 3
    clock.tick(days=1)
    ledger.withdraw("kind1@secret.example", occurred_at=clock.now - 3 * DAY)
    ledger.record(ObjectionRaised("kind2@secret.example"))
    ledger.record(InquiryReceived("kind3@secret.example", occurred_at=clock.now - 2 * DAY))
    ledger.erase("cleo@secret.example", reason="art17", by="dpo")
    with ledger._writing.appending() as recorder:  # as this version does not write it any more
        said = {"reason": "asked by cleo@secret.example", "by": "dpo", "suppressions": 1}
        recorder.append("part.erased", {"occurred_at": recorder.time, "parts": [], **said})
    return shop


@pytest.fixture(scope="module")
def exported(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, Verifier]:
    """The export of a busy shop, and its key."""
    shop = busy()
    path = tmp_path_factory.mktemp("export") / "log.zip"
    shop.ledger.export(path)
    return path, Verifier.parse(shop.ledger.verifier)


def report(source: Path, **options: Any) -> Walk:
    """The page of an export, read."""
    out = source.with_name("report.html")
    write_report(source, out, **options)
    return Walk(out.read_text(encoding="utf-8"))


def entries_of(path: Path) -> Iterator[tuple[int, str, dict[str, Any]]]:
    """Recorded time, kind and facts of each entry, read without the library."""
    with zipfile.ZipFile(path) as archive:
        for line in archive.read("log.ndjson").splitlines():
            row = json.loads(line)
            _, _, _, _, time, kind, *_ = b64decode(row["leaf"]).decode().split("\n")
            facts = row["parts"]["facts"]
            yield int(time), kind, json.loads(b64decode(facts["data"])) if facts else {}


def made(path: Path, shapes: Iterator[tuple[int, str, Mapping[str, Any]]]) -> Path:
    """An unsigned export of entries made here: recorded time, kind, facts."""
    prev = genesis("littlesteps.dk/consent")
    with (
        zipfile.ZipFile(path, "w", zipfile.ZIP_DEFLATED, compresslevel=1) as archive,
        archive.open("log.ndjson", "w", force_zip64=True) as file,
    ):
        for index, (time, kind, facts) in enumerate(shapes):
            part = opened(index, "facts", codec.encode(facts))
            one = small_entry(index, prev, {"facts": part}, t=time, kind=kind)
            prev = leaf_hash(one.leaf)
            file.write(format_line(one))
    return path


def sent(index: int, id: str, **more: Any) -> tuple[int, str, dict[str, Any]]:
    """A newsletter to an address, a minute an entry."""
    facts = {"occurred_at": index * 60_000, "address": id, "use": "news", "channel": "email", **more}
    return index * 60_000, "message.sent", facts


def withdrawn(index: int, id: str, **more: Any) -> tuple[int, str, dict[str, Any]]:
    """A withdrawal."""
    return index * 60_000, "consent.withdrawn", {"occurred_at": index * 60_000, "address": id, **more}


def given(index: int, id: str, use: str = "news") -> tuple[int, str, dict[str, Any]]:
    """A consent."""
    facts = {
        "occurred_at": index * 60_000,
        "address": id,
        "uses": [use],
        "channels": ["email"],
        "form": "footer",
        "evidence": ["ip"],
    }
    return index * 60_000, "consent.given", facts


def after_stop(page: Walk) -> list[tuple[str, str]]:
    """The entries listed as sends after a stop, with the stop's."""
    return [(row[0], row[4]) for row in page.rows if len(row) == 6 and row[0].isdigit()]


def test_figures_agree_with_the_export(exported: tuple[Path, Verifier]) -> None:
    """Entries by kind, consents, evidence, withdrawals, sends and erasures are what an independent count gives."""
    path, key = exported
    page = report(path, verifiers=[key])
    found = list(entries_of(path))
    kinds = Counter(kind for _, kind, _ in found)
    assert {row[0]: row[1] for row in page.rows if row and row[0] in kinds} == {kind: str(n) for kind, n in kinds.items()}
    grants = [facts for _, kind, facts in found if kind == "consent.given" and facts]
    bare = sum("evidence" not in facts for facts in grants)
    assert f"Consents: {len(grants)}; without evidence: {bare}." in page.text
    footer = next(row for row in page.rows if row[0] == "footer")
    held = Counter(one for facts in grants for one in facts.get("evidence", ()))
    kinds_held = [str(held[one]) for one in ("ip", "user_agent", "url", "session", "reference", "attachments")]
    assert footer == ["footer", str(len(grants)), *kinds_held, str(bare), "1", "0"]
    stops = [(time, facts) for time, kind, facts in found if kind in ("consent.withdrawn", "objection.raised")]
    slow = sum(DAY < time - facts["occurred_at"] <= 7 * DAY for time, facts in stops)
    assert 0 < slow < len(stops)
    assert ["within 7 days", str(slow), f"{slow / len(stops):.1%}"] in page.rows
    assert "Entries with sends: 1; addresses sent to: 3; taken back as not handed over: 0." in page.text
    assert ["marketing_newsletter", "3"] in page.rows
    erased = [facts for _, kind, facts in found if kind == "part.erased"]
    assert [row[2] for row in page.rows if row[-1] in ("art17", "asked by …")] == [str(len(one["parts"])) for one in erased]


def test_bursts_late_entries_policies_and_texts(exported: tuple[Path, Verifier]) -> None:
    """A minute full of consents, entries said before a send and recorded after it, the policy and its wordings are listed."""
    path, _ = exported
    page = report(path)
    assert ["2026-03-02 10:00", str(BURST + 3)] in page.rows
    late = [row[1] for row in page.rows if len(row) == 4 and row[1] in KINDS]
    assert late == ["consent.withdrawn", "objection.raised", "inquiry.received"]
    with zipfile.ZipFile(path) as archive:
        policy = archive.read("policy/0.json")
    assert ["0", "littlesteps", "3", "2026-03-02 10:00:00", sha256(policy).hexdigest()] in page.rows
    for version, text in json.loads(policy)["texts"].items():
        assert sha256(codec.encode(text["wording"])).hexdigest() in page.lines, version
        assert set(text["wording"].values()) <= set(page.lines)


@pytest.mark.parametrize("language", LANGUAGES)
def test_nothing_personal_and_nothing_active(exported: tuple[Path, Verifier], language: str) -> None:
    """No address, evidence, whole id or script; nothing that loads; a policy that forbids all but this very style."""
    path, key = exported
    page = report(path, verifiers=[key], language=language)
    text = path.with_name("report.html").read_text(encoding="utf-8")
    assert not re.search(r"secret|cleo|203\.0\.113|Secretbrowser|kind1@", text, re.IGNORECASE)
    ids = {facts["address"] for _, _, facts in entries_of(path) if "address" in facts}
    assert ids
    assert not [id for id in ids if id in text]
    assert not page.tags.keys() & {"script", "link", "img", "iframe", "object", "form", "a"}
    assert not [name for name, _ in page.attributes if name in ("src", "href", "style") or name.startswith("on")]
    policy = next(value for _, value in page.attributes if value and value.startswith("default-src"))
    style = re.search(r"<style>(.*?)</style>", text, re.DOTALL)
    assert style is not None
    assert policy.startswith(
        f"default-src 'none'; style-src 'sha256-{b64encode(sha256(style[1].encode()).digest()).decode()}';"
    )
    assert f'lang="{language}"' in text


def test_levels_are_told(exported: tuple[Path, Verifier]) -> None:
    """Without a key the report says that nobody's signature was checked, with one that no held checkpoint was."""
    path, key = exported
    assert "Intact, but not shown to be signed. Verified at level: content" in (page := report(path)).text
    assert WORDS["unsigned"][0] in page.text
    assert "Verified at level: signature" in (page := report(path, verifiers=[key])).text
    assert "Intact" not in page.text
    assert WORDS["no_held"][0] in page.text
    assert "Verificeret på niveau: underskrift" in report(path, verifiers=[key], language="da").text


def test_a_tampered_export_gives_red_and_no_figures(exported: tuple[Path, Verifier], tmp_path: Path) -> None:
    """The report of a log that does not verify names level and entry, holds nothing else, and the error is raised."""

    def change(lines: list[dict[str, Any]]) -> None:
        lines[5]["parts"]["facts"]["data"] = lines[3]["parts"]["facts"]["data"]

    source, out = rewrite(exported[0], tmp_path / "bad.zip", change), tmp_path / "bad.html"
    with pytest.raises(VerificationError) as raised:
        write_report(source, out)
    assert (raised.value.level, raised.value.index) == ("content", 5)
    page = Walk(out.read_text(encoding="utf-8"))
    assert "NOT VERIFIED" in page.text
    assert ["Entry (index)", "5"] in page.rows
    assert "level content" in page.text
    assert ("class", "verdict bad") in page.attributes
    assert "svg" not in page.tags
    assert page.tags["h2"] == 0


def test_a_file_that_is_no_export(tmp_path: Path) -> None:
    """Garbage gives a red report of the file's form; a missing file, the export as target and another language an error."""
    source, out = tmp_path / "x.zip", tmp_path / "x.html"
    source.write_bytes(b"PK nonsense")
    with pytest.raises(FormatError):
        write_report(source, out)
    assert "NOT VERIFIED" in out.read_text()
    for target, language, missing in ((source, "en", False), (out, "sv", False), (out, "en", True)):
        with pytest.raises(InputError):
            write_report(tmp_path / "none.zip" if missing else source, target, language=language)
    assert source.read_bytes() == b"PK nonsense"


def test_a_partial_export_says_so(exported: tuple[Path, Verifier], tmp_path: Path) -> None:
    """Withheld parts are told at the top and counted, and no box is green."""

    def withhold(lines: list[dict[str, Any]]) -> None:
        for line in lines[1:4]:
            line["parts"] = dict.fromkeys(line["parts"], "withheld")

    source = rewrite(exported[0], tmp_path / "part.zip", withhold)
    page = report(source, verifiers=[exported[1]])
    hidden = sum(
        part == "withheld"
        for line in zipfile.ZipFile(source).read("log.ndjson").splitlines()
        for part in json.loads(line)["parts"].values()
    )
    assert f"could not be checked: {hidden}." in page.text
    assert "withheld: 3;" in page.text
    assert ("class", "verdict good") not in page.attributes


def test_sends_after_a_stop(tmp_path: Path) -> None:
    """A send is listed if a stop of its scope came before it and no consent of its use in between."""
    shapes = [
        given(0, "a"),
        sent(1, "a", size=1),
        withdrawn(2, "a"),
        sent(3, "a"),  # listed
        given(4, "a"),
        sent(5, "a", size=99),  # consented anew; names a size that was not there yet
        withdrawn(6, "b", uses=["other"]),
        sent(7, "b"),  # of another use
        withdrawn(8, "c", channels=["sms"]),
        sent(9, "c"),  # by another channel
        withdrawn(10, "d", uses=["news"]),
        given(11, "d", "other"),
        sent(12, "d"),  # listed: the consent is for another use
        (13 * 60_000, "message.sent", {"occurred_at": 0, "addresses": ["a", "d"], "use": "news", "channel": "email"}),  # d
    ]
    page = report(made(tmp_path / "log.zip", iter(shapes)))
    assert [
        "footer",
        "3",
        "3",
        "0",
        "0",
        "0",
        "0",
        "0",
        "0",
        "0",
        "0",
    ] in page.rows  # no person part was ever there to be erased
    assert after_stop(page) == [("3", "2"), ("12", "10"), ("13", "10")]
    assert "Entries with sends: 7; addresses sent to: 8;" in page.text
    assert "that the decision read: 2; that do not: 5;" in page.text
    assert "can have read: 1." in page.text
    assert "(5)" in page.text


def test_ids_are_shortened(tmp_path: Path) -> None:
    """A send after a stop is listed with the first eight characters of the address id."""
    one = "0123456789abcdef" * 2
    page = report(made(tmp_path / "log.zip", iter([withdrawn(0, one), sent(1, one)])))
    assert ["1", "1970-01-01 00:01:00", one[:8], "news", "0", "1 min 0 s"] in page.rows
    assert one[:9] not in page.text


def test_stops_reach_what_the_policy_lets_them_reach(tmp_path: Path) -> None:
    """An objection to marketing does not reach a message about an order; it reaches a newsletter."""
    shop = Shop()
    shop.ledger.record(ContactImported("eve@secret.example", source="list"))
    shop.ledger.record(ObjectionRaised("eve@secret.example"))
    shop.ledger.export(tmp_path / "log.zip")
    lines = list(entries_of(tmp_path / "log.zip"))
    with zipfile.ZipFile(tmp_path / "log.zip") as archive:
        policy = json.loads(archive.read("policy/0.json"))
    marketing = {name: use["marketing"] for name, use in policy["uses"].items()}
    with Traces() as traces:
        facts = lines[-2][2]
        traces.stop("objection.raised", [facts["address"]], facts, 2, 2)
        reached = {use: traces.send(facts["address"], use, "email", POLICY, 3) is not None for use in POLICY.uses}
    assert reached == marketing
    assert {True, False} == set(reached.values())


def test_exports_are_listed(shop: Shop, tmp_path: Path) -> None:
    """Each export and disclosure on record, with date, scope and role; of whom, the report does not say."""
    shop.sign_up("eve@secret.example")
    shop.ledger.disclose("eve@secret.example", tmp_path / "eve.zip", by="dpo")
    shop.clock.tick(days=1)
    with shop.ledger._writing.appending() as recorder:  # as this version does not write it any more
        recorder.append("export.made", {"occurred_at": recorder.time, "scope": "whole", "by": "auditor +4512345678"})
    shop.ledger.export(tmp_path / "log.zip")
    page = report(tmp_path / "log.zip")
    assert ["3", "2026-03-02 10:00:00", "one person's entries", "dpo"] in page.rows
    assert ["4", "2026-03-03 10:00:00", "the whole log", "auditor …"] in page.rows
    with zipfile.ZipFile(tmp_path / "eve.zip") as archive:
        facts = json.loads(parse_line(archive.read("disclosure.ndjson").splitlines(keepends=True)[-1]).parts["facts"][1])
    assert facts["address"][:9] not in page.text


def test_strange_facts_are_counted_not_believed(tmp_path: Path) -> None:
    """Facts that no ledger writes are counted as unreadable, and markup in them stays text."""
    evil = "<script>alert(1)</script>"
    shapes = [
        (0, "consent.given", {"occurred_at": "never", "address": "a"}),
        (0, "message.sent", {"address": 7}),
        (0, "policy.published", {"occurred_at": 0}),
        (1, "consent.given", {"occurred_at": 0, "address": "a", "form": evil, "uses": [evil], "channels": "all"}),
        (2, "message.sent", {"occurred_at": 0, "address": evil, "use": evil}),
        (3, "part.erased", {"occurred_at": 0, "parts": [], "reason": evil}),
        (4, "message.sent", {"v": 99, "occurred_at": 0, "address": "b", "use": "x"}),
    ]
    path = made(tmp_path / "log.zip", iter(shapes))
    page = report(path)
    assert "can't read: 4." in page.text
    assert "script" not in page.tags
    assert [evil, "1"] in [row[:2] for row in page.rows]


def test_an_empty_log_and_a_long_one(tmp_path: Path) -> None:
    """A log without entries has a report; charts of centuries stay narrow and lists stop at their length."""
    assert "Verified" in report(made(tmp_path / "empty.zip", iter([]))).text
    century = 36_525 * DAY
    facts = {"occurred_at": 0, "uses": ["news"], "channels": ["email"]}
    shapes = [(number * century // 150, "consent.given", {**facts, "address": f"id{number}"}) for number in range(LISTED + 50)]
    page = report(made(tmp_path / "long.zip", iter(shapes)))
    assert f"The first {LISTED} of {LISTED + 50} are listed" in page.text
    assert page.tags["rect"] < 150


def test_the_largest_bursts_are_listed(tmp_path: Path) -> None:
    """Of more bursts than fit the largest are shown, largest first, also one that came last."""
    sizes = [BURST + number % 7 for number in range(LARGEST + 5)] + [BURST + 50]
    shapes = (
        (
            minute * 60_000,
            "consent.given",
            {"occurred_at": 0, "address": f"id{minute}-{one}", "uses": ["news"], "channels": ["email"]},
        )
        for minute, size in enumerate(sizes)
        for one in range(size)
    )
    page = report(made(tmp_path / "log.zip", shapes))
    assert f"The {LARGEST} largest of {len(sizes)} are listed." in page.text
    shown = [int(row[1]) for row in page.rows if len(row) == 2 and row[0].startswith("1970-01-01 00:")]
    assert shown == sorted(sizes, reverse=True)[:LARGEST]


def test_numbers_as_a_dane_writes_them(tmp_path: Path) -> None:
    """In Danish a full stop parts thousands and a comma decimals, in tables and in charts."""
    facts = {"occurred_at": 0, "uses": ["news"], "channels": ["email"]}
    shapes = [(0, "consent.given", {**facts, "address": f"id{number}"}) for number in range(1_999)]
    shapes.append((1, "consent.withdrawn", {"occurred_at": 1, "address": "id1", "scope": "all"}))
    page = report(made(tmp_path / "log.zip", iter(shapes)), language="da")
    assert ["consent.given", "1.999", "100,0 %"] in [[cell.replace("\xa0", " ") for cell in row] for row in page.rows]
    assert "2.000" in page.lines  # on the axis
    assert "2,000" not in page.text


def test_free_text_is_discreet() -> None:
    """Words of an operator's reason that look like an address or a number of somebody's are left out."""
    assert discreet("art17 for anna@example.dk +4512345678 case 12") == "art17 for … … case 12"


def test_words_are_in_both_languages() -> None:
    """Each text names the same values in English and Danish."""
    for key, pair in WORDS.items():
        english, danish = (set(re.findall(r"\{(\w+)\}", text)) for text in pair)
        assert english == danish, key
        assert all(pair), key


def test_memory_does_not_grow_with_the_log(tmp_path: Path) -> None:
    """Four times the entries and people take no more memory."""

    def shapes(size: int) -> Iterator[tuple[int, str, Mapping[str, Any]]]:
        for index in range(size):
            yield (given, withdrawn, sent, sent)[index % 4](index, f"{index // 4:032x}")

    peaks = []
    for size in (1_500, 6_000):
        path = made(tmp_path / f"{size}.zip", shapes(size))
        tracemalloc.start()
        report(path)
        peaks.append(tracemalloc.get_traced_memory()[1])
        tracemalloc.stop()
    assert peaks[1] < peaks[0] * 1.25 + 100_000, peaks


def test_the_command(exported: tuple[Path, Verifier], tmp_path: Path) -> None:
    """`report` writes the file, replaces one only when forced, and ends with 40 for a log that does not verify."""

    def run(*args: object) -> tuple[int, str]:
        done = CliRunner().invoke(main, ["report", *map(str, args)])
        return done.exit_code, done.output

    path, key = exported
    out, note = tmp_path / "r.html", tmp_path / "kept.note"
    with zipfile.ZipFile(path) as archive:
        note.write_bytes(archive.read("checkpoint"))
    assert run(path, out, "--key", key, "--checkpoint", note, "--language", "da")[0] == 0
    assert "Verificeret på niveau: historik" in out.read_text(encoding="utf-8")
    assert run(path, out)[0] == 2
    assert run(path, out, "--force")[0] == 0
    assert run(path, tmp_path / "n.html", "--checkpoint", note)[0] == 2
    assert run(tmp_path / "none.zip", tmp_path / "n.html")[0] == 2
    bad = tmp_path / "bad.zip"
    bad.write_bytes(b"no zip")
    code, said = run(bad, tmp_path / "bad.html")
    assert code == 40
    assert said.startswith("consentlib: invalid: ")
    assert (tmp_path / "bad.html").exists()


def test_sends_against_decisions(tmp_path: Path) -> None:
    """Asked for, the report judges each send; else it says nothing of it, and that it does not judge."""
    shop = Shop()
    shop.sign_up("anna@example.dk")
    shop.ledger.record(MessageSent("anna@example.dk", use="marketing_newsletter"))
    shop.ledger.withdraw("anna@example.dk", limited=True)
    shop.clock.tick(60)
    index = shop.ledger.record(MessageSent("anna@example.dk", use="marketing_newsletter")).index
    shop.ledger.export(tmp_path / "audit.zip")
    pages = {}
    for language in LANGUAGES:
        for meaning in (False, True):
            write_report(tmp_path / "audit.zip", tmp_path / "out.html", language=language, meaning=meaning)
            pages[language, meaning] = Walk((tmp_path / "out.html").read_text())
    for column, language in enumerate(LANGUAGES):
        plain, asked = pages[language, False], pages[language, True]
        assert WORDS["replayed"][column] not in plain.text
        assert WORDS["limits"][column] in plain.text
        assert WORDS["replayed"][column] in asked.text
        assert WORDS["limits"][column] not in asked.text
        assert WORDS["unlawful"][column].format(n=1) in asked.text
        assert [str(index), "consent_withdrawn"] in [row[:2] for row in asked.rows]
        assert [WORDS["meaning"][column], WORDS["broken"][column]] in asked.rows
