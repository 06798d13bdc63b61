"""A disclosure: what is on record about one person, all of it, proven, and nothing of anybody else."""

from __future__ import annotations

import contextlib
import importlib.util
import io
import json
import tempfile
from binascii import a2b_base64
from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import Any

import pytest
from disclosures import ANN, BAD, BO, change_line, first_line, hide_part, members, pack, signed_for, two_people, withhold_part
from hypothesis import given, settings
from hypothesis import strategies as st

from consentlib.audit.receipt import verify_receipt
from consentlib.audit.verify_disclosure import is_disclosure, verify_disclosure
from consentlib.errors import ConsentlibError, FormatError, InputError, LedgerError, StoreUnavailableError, VerificationError
from consentlib.events import AddressChanged, ConsentGiven, IdentityLinked, IdentityReleased, OrderPlaced
from consentlib.log import WITHHELD, Entry, parse_leaf, parse_line
from consentlib.log.consistency import Consistency
from consentlib.log.leaf import base64
from consentlib.log.note import Verifier
from consentlib.testing import FaultyStore
from forger import held, key
from shop import LETTER, POLICY, SEEN, Shop

SCRIPT = Path(verify_disclosure.__code__.co_filename).with_name("standalone") / "verify.py"
spec = importlib.util.spec_from_file_location("standalone_verify", SCRIPT)
assert spec is not None
assert spec.loader is not None
standalone = importlib.util.module_from_spec(spec)
spec.loader.exec_module(standalone)


def lines(path: Path) -> list[Entry]:
    """The entries of a disclosure."""
    return [parse_line(line) for line in members(path)["disclosure.ndjson"].splitlines(keepends=True)]


def facts(entry: Entry) -> dict[str, object]:
    """The facts of an entry that shows them."""
    part = entry.parts["facts"]
    assert isinstance(part, tuple)
    return dict(json.loads(part[1]))


def plain(path: Path) -> bytes:
    """Everything in a disclosure, also what stands there in base64, and in that in base64 again."""
    found = b"\n".join(data for name, data in members(path).items() if not name.startswith(("verify.", "README")))
    for entry in lines(path):
        found += entry.leaf + b"".join(part[1] for part in entry.parts.values() if isinstance(part, tuple))
    for name, data in members(path).items():
        if name.startswith("proofs/"):
            entry = parse_line(a2b_base64(data.split(b"\n")[1].removeprefix(b"extra ")))
            found += entry.leaf + b"".join(part[1] for part in entry.parts.values() if isinstance(part, tuple))
    return found


@pytest.fixture
def busy(shop: Shop) -> Shop:
    """Two people, with entries about each, about both, and about neither."""
    return two_people(shop)


def test_what_is_in_it(busy: Shop, tmp_path: Path) -> None:
    """The person's entries and the record of the disclosure, each a receipt by itself, with the policy that held then."""
    count = busy.ledger.disclose(ANN, tmp_path / "anna.zip", by="dpo", reason="art15")
    history = busy.ledger.history(ANN)
    files, entries = members(tmp_path / "anna.zip"), lines(tmp_path / "anna.zip")
    assert [entry.index for entry in entries] == [one.index for one in history]
    assert count == len(entries) == 6
    assert history[-1].kind == "export.made"
    assert {"scope": "person", "by": "dpo", "reason": "art15"}.items() <= facts(entries[-1]).items()
    assert len({facts(one)["address"] for one in entries[-2:]}) == 2
    numbers = [0, *(entry.index for entry in entries)]
    assert {name for name in files if name.startswith("proofs/")} == {f"proofs/{one}.tlog-proof" for one in numbers}
    for number in numbers:
        assert verify_receipt(files[f"proofs/{number}.tlog-proof"], [key(busy)]).index == number
    assert files["policy/0.json"] == POLICY.canonical()
    assert "log.ndjson" not in files
    assert f"{count} OF {count + 5} ENTRIES" in files["README.txt"].decode()
    with pytest.raises(VerificationError):
        verify_receipt(files["proofs/0.tlog-proof"], [key(Shop())])


def test_verifies_in_part(busy: Shop, tmp_path: Path) -> None:
    """It reaches the level its reader's keys and checkpoints allow, and is partial at each."""
    kept = busy.ledger.checkpoint()
    busy.ledger.disclose(ANN, tmp_path / "anna.zip")
    report = verify_disclosure(tmp_path / "anna.zip")
    assert (report.level, report.partial, report.shown, report.signed_size) == ("content", True, 6, None)
    report = verify_disclosure(tmp_path / "anna.zip", verifiers=[key(busy)], origin=busy.ledger.origin)
    assert (report.level, report.size, report.signed_size) == ("signature", 11, 11)
    assert report.root == busy.ledger.verify().root
    for note in (kept, busy.ledger.checkpoint()):
        report = verify_disclosure(tmp_path / "anna.zip", verifiers=[key(busy)], checkpoints=[held(busy, note)])
        assert (report.level, report.partial) == ("history", True)
    assert report.withheld == 1
    assert {line.partition(":")[0] for line in report.not_checked} == {"completeness", "content", "chain", "meaning"}
    assert dict(report.entries_by_kind) == {
        "consent.given": 1,
        "consent.confirmed": 1,
        "message.sent": 1,
        "order.placed": 1,
        "export.made": 2,
    }


def test_held_checkpoints(busy: Shop, tmp_path: Path) -> None:
    """One that contradicts is found, of the same size or of one that is proven; any other is named as not compared."""
    other = Shop("memory:", keys=busy.ledger._keys)
    other.sign_up(BO)
    busy.ledger.disclose(ANN, tmp_path / "anna.zip")
    size = busy.ledger.verify().size
    sizes = sorted(int(name.split("/")[1]) for name in members(tmp_path / "anna.zip") if name.startswith("consistency/"))
    assert sizes == [1, 5]
    for wanted in (5, size):
        while other.ledger.verify().size < wanted:
            other.ledger.withdraw(f"p{wanted}@example.dk", limited=True)
        with pytest.raises(VerificationError) as caught:
            verify_disclosure(
                tmp_path / "anna.zip", verifiers=[key(busy)], checkpoints=[held(other, note := other.ledger.checkpoint())]
            )
        assert (caught.value.level, caught.value.evidence["note"]) == ("history", note)
    busy.ledger.withdraw(BO)
    later = held(busy, busy.ledger.checkpoint())
    report = verify_disclosure(tmp_path / "anna.zip", verifiers=[key(busy)], checkpoints=[later])
    assert (report.level, report.held_size) == ("signature", None)
    assert any(line.startswith("history: 1 checkpoints have a size") for line in report.not_checked)


def test_nothing_on_record(busy: Shop, tmp_path: Path) -> None:
    """An address that no entry is about is refused, and nothing is recorded or written, whatever it looks like."""
    busy.ledger.erase("carl@example.dk", reason="art17", by="dpo")
    size = busy.ledger.verify().size
    for address in ("nobody@example.dk", "carl@example.dk", "", "no address"):
        with pytest.raises(InputError, match="that entries are about, found none"):
            busy.ledger.disclose(address, tmp_path / "x.zip")
    for word in ("", "dåp", "x" * 129, 7, "Anna Hansen", "anna@example.dk"):
        with pytest.raises(InputError, match="in `by`, found"):
            busy.ledger.disclose(ANN, tmp_path / "x.zip", by=word)  # type: ignore[arg-type]
    assert busy.ledger.verify().size == size
    assert list(tmp_path.glob("x*")) == []


def test_only_suppressed(shop: Shop, tmp_path: Path) -> None:
    """Of whom only the row of an erasure is left, no entry is about: there is nothing to disclose."""
    shop.sign_up(ANN)
    shop.clock.tick(days=4000)
    shop.ledger.erase(ANN, reason="art17", by="dpo")
    assert shop.newsletter(ANN).reason == "erased"
    with pytest.raises(InputError):
        shop.ledger.disclose(ANN, tmp_path / "x.zip")


def test_erased(busy: Shop, tmp_path: Path) -> None:
    """Of an erased person the facts that stay are shown, what is gone is null, and the record of the erasure is there."""
    busy.ledger.erase(ANN, reason="art17", by="dpo")
    busy.ledger.disclose(ANN, tmp_path / "anna.zip")
    shown = {parse_leaf(entry.leaf).kind: entry.parts for entry in lines(tmp_path / "anna.zip")}
    assert shown["consent.given"]["person"] is None
    assert shown["part.erased"]["facts"] is not None
    report = verify_disclosure(tmp_path / "anna.zip", verifiers=[key(busy)])
    assert report.erased == 1
    assert not any("said to be erased" in line for line in report.not_checked)
    assert busy.ledger.verify(read_models=True)


def test_how_long_it_stays(busy: Shop, tmp_path: Path) -> None:
    """The record of a disclosure outlives an erasure by the proof period, makes nothing else stay longer, then goes too."""
    busy.clock.tick(days=POLICY.parameters.proof_days - 1)
    busy.ledger.disclose(ANN, tmp_path / "anna.zip")
    busy.clock.tick(days=2)
    busy.ledger.erase(ANN, reason="art17", by="dpo")
    left = {one.kind for one in busy.ledger.history(ANN) if one.facts is not None}
    assert {"export.made", "consent.given"} - left == {"consent.given"}
    busy.clock.tick(days=POLICY.parameters.proof_days)
    busy.ledger.erase(ANN, reason="art17", by="dpo")
    assert "export.made" not in {one.kind for one in busy.ledger.history(ANN)}
    assert busy.ledger.verify(read_models=True)


def test_released(shop: Shop, tmp_path: Path) -> None:
    """Who has an address now is shown nothing that was said by who had it before, but that it was released."""
    shop.sign_up(ANN)
    shop.ledger.withdraw(ANN, text="I am the first")
    before = {one for entry in shop.ledger.history(ANN) for one in json.dumps(entry.facts).split('"') if len(one) == 32}
    shop.clock.tick(60)
    shop.ledger.record(IdentityReleased(ANN))
    shop.clock.tick(60)
    shop.sign_up(ANN)
    shop.ledger.disclose(ANN, tmp_path / "anna.zip")
    entries = lines(tmp_path / "anna.zip")
    assert parse_leaf(entries[0].leaf).kind == "identity.released"
    assert set(entries[0].parts.values()) == {WITHHELD}
    assert b"I am the first" not in plain(tmp_path / "anna.zip")
    assert not any(one.encode() in plain(tmp_path / "anna.zip") for one in before)


def test_marked(busy: Shop, tmp_path: Path) -> None:
    """A ledger that did not verify discloses nothing: unsigned it would prove nothing. Nothing is recorded or written."""
    busy.ledger._writing.mark("content: a test")
    size = busy.ledger.verify().size
    busy.ledger._writing.mark("content: a test")
    with pytest.raises(LedgerError, match="expected a verified log"):
        busy.ledger.disclose(ANN, tmp_path / "x.zip")
    assert busy.ledger.verify().size == size
    assert list(tmp_path.glob("x*")) == []


def test_edited(tmp_path: Path) -> None:
    """What does not verify is not handed over: the ledger is marked, and the file is not there."""
    shop = two_people(Shop(f"sqlite:///{tmp_path}/shop.db"))
    shop.steal("UPDATE consentlib_parts SET data = replace(data, 'footer', 'header') WHERE idx = 1 AND name = 'facts'")
    with pytest.raises(VerificationError, match="expected the part `facts` to open its commitment"):
        shop.ledger.disclose(ANN, tmp_path / "x.zip")
    assert list(tmp_path.glob("x*")) == []
    assert shop.newsletter(ANN).reason == "ledger_unverified"
    shop.ledger.close()


def test_half_written(busy: Shop, tmp_path: Path) -> None:
    """Where the file can't be written nothing takes its place, and the entry stays: none is made without being on record."""
    with pytest.raises(StoreUnavailableError):
        busy.ledger.disclose(ANN, tmp_path / "missing" / "x.zip")
    assert busy.ledger.history(ANN)[-1].kind == "export.made"


def test_names(busy: Shop, tmp_path: Path) -> None:
    """The files come in one order, whatever the time."""
    busy.ledger.disclose(ANN, tmp_path / "anna.zip")
    names = [name for name in members(tmp_path / "anna.zip") if not name.startswith(("proofs/", "consistency/"))]
    assert names == ["checkpoint", "disclosure.ndjson", "policy/0.json", "README.txt", "verify.py", "verify.html"]
    assert is_disclosure(tmp_path / "anna.zip")
    busy.ledger.export(tmp_path / "audit.zip")
    assert not is_disclosure(tmp_path / "audit.zip")
    with pytest.raises(FormatError, match="expected a disclosure"):
        verify_disclosure(tmp_path / "audit.zip")


def test_only_the_policies_that_held(shop: Shop, tmp_path: Path) -> None:
    """Policies that were in force for an entry that is shown are there, others are not."""
    from consentlib.policy import parse_policy, starter

    texts = [starter().replace('version = "1"', f'version = "{number}"', 1) for number in range(2, 5)]
    shop.ledger.publish(parse_policy(texts[0]))
    shop.sign_up(ANN)
    shop.ledger.publish(parse_policy(texts[1]))
    shop.ledger.publish(parse_policy(texts[2]))
    shop.ledger.disclose(ANN, tmp_path / "anna.zip")
    assert [name for name in members(tmp_path / "anna.zip") if name.startswith("policy/")] == ["policy/1.json", "policy/5.json"]
    assert verify_disclosure(tmp_path / "anna.zip", verifiers=[key(shop)]).shown == 3


PEOPLE = ("p0@example.dk", "p1@example.dk", "p2@example.dk", "p3@example.dk")
WHO = st.sampled_from(range(len(PEOPLE)))
ACTS = st.one_of(
    st.tuples(st.sampled_from(["give", "stop", "order", "erase", "release", "alone"]), WHO, WHO),
    st.tuples(st.sampled_from(["link", "move", "batch"]), WHO, WHO),
)


def act(shop: Shop, what: str, one: str, other: str) -> None:
    """One thing that happens in a shop; where it is not allowed nothing does."""
    shop.clock.tick(60)
    doing: dict[str, Callable[[], object]] = {
        "give": lambda: shop.sign_up(one),
        "stop": lambda: shop.ledger.withdraw(one, text=f"said by {one}"),
        "order": lambda: shop.ledger.record(OrderPlaced(one, order="o1", product_category="toys")),
        "erase": lambda: shop.ledger.erase(one, reason="art17", by="dpo"),
        "release": lambda: shop.ledger.record(IdentityReleased(one)),
        "alone": lambda: shop.ledger.record(
            ConsentGiven(one, form="footer", evidence=SEEN, addresses=(f"+45{one[1]}2345678",))
        ),
        "link": lambda: shop.ledger.record(IdentityLinked(one, other=other)),
        "move": lambda: shop.ledger.record(AddressChanged(one, to=other, by="subject", address_verified=True)),
        "batch": lambda: list(shop.ledger.permits(PEOPLE, use="marketing_newsletter", message=LETTER)),
    }
    try:
        doing[what]()
    except ConsentlibError:
        pass


def others(shop: Shop, address: str) -> set[bytes]:
    """Random ids and texts of everybody who is not the person behind an address."""
    from consentlib.reader import linked

    with shop.ledger._store.read() as view:
        own = set(linked(view, view.lives(shop.ledger._asking.named(address).key)))
        lives = list(view.all_lives())
        mine = {life.key for life in lives if life.id in own}
        ids = {life.id.encode() for life in lives if life.id not in own}
        named = {one.encode() for one in PEOPLE if shop.ledger._asking.named(one).key not in mine}
    return ids | named


@settings(max_examples=15, deadline=None)
@given(acts=st.lists(ACTS, max_size=10), who=WHO)
def test_any_history(acts: list[tuple[str, int, int]], who: int) -> None:
    """Of whatever happened: exactly the entries that `history` gives, each proven, and no id or address of anybody else's."""
    check(acts, who)


@pytest.mark.slow
@settings(max_examples=500, deadline=None)
@given(acts=st.lists(ACTS, max_size=20), who=WHO)
def test_any_long_history(acts: list[tuple[str, int, int]], who: int) -> None:
    """The same of more and longer ones."""
    check(acts, who)


def check(acts: list[tuple[str, int, int]], who: int) -> None:
    """Let it happen, disclose one person's entries, and look at what is there and what is not."""
    shop = Shop()
    for what, one, other in acts:
        act(shop, what, PEOPLE[one], PEOPLE[other])
    address = PEOPLE[who]
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "one.zip"
        before = shop.ledger.history(address)
        if not before:
            with pytest.raises(InputError):
                shop.ledger.disclose(address, path)
            return
        shop.ledger.disclose(address, path)
        history = shop.ledger.history(address)
        assert [one.index for one in history][: len(before)] == [one.index for one in before]
        assert {one.kind for one in history[len(before) :]} == {"export.made"}
        assert [one.index for one in lines(path)] == [one.index for one in history]
        report = verify_disclosure(path, verifiers=[key(shop)])
        assert (report.shown, report.partial, report.size) == (len(history), True, shop.ledger.verify(read_models=True).size)
        found = plain(path)
        assert [one for one in others(shop, address) if one in found] == []
        for name, data in members(path).items():
            if name.startswith("proofs/"):
                verify_receipt(data, [key(shop)])
            if name.startswith("consistency/"):
                grown = Consistency.parse(data)
                earlier = next(one for one in shop.ledger._notary.earlier(report.size) if one.size == grown.old_size)
                grown.verify(earlier.root, held(shop, members(path)["checkpoint"]))


def library(path: Path, *keys: Verifier) -> bool:
    """Whether the library says that a disclosure holds."""
    try:
        return verify_disclosure(path, verifiers=keys).partial
    except (VerificationError, FormatError):
        return False


def script(path: Path, *arguments: str | Path) -> tuple[int, dict[str, Any]]:
    """Exit code and report of the one-file verifier."""
    with contextlib.redirect_stdout(io.StringIO()) as out:
        code = standalone.main([str(path), "--json", *map(str, arguments)])
    return code, json.loads(out.getvalue())


def test_missing_line_end(busy: Shop, tmp_path: Path) -> None:
    """Without the end of its last line no verifier takes it: each line has one spelling."""
    busy.ledger.disclose(ANN, tmp_path / "anna.zip")
    files = members(tmp_path / "anna.zip")
    bad = pack(tmp_path / "bad.zip", {**files, "disclosure.ndjson": files["disclosure.ndjson"][:-1]})
    assert not library(bad, key(busy))
    assert script(bad, "--key", busy.ledger.verifier)[0] == 40


@pytest.mark.parametrize("places", [6, pytest.param(100, marks=pytest.mark.slow)])
def test_any_byte(busy: Shop, tmp_path: Path, places: int) -> None:
    """A byte changed, gone or added in what is signed for, and neither verifier says that it holds; else both do.

    Only the end of the last line may be missing.
    """
    busy.ledger.erase(ANN, reason="art17", by="dpo")
    busy.ledger.disclose(ANN, tmp_path / "anna.zip")
    files = signed_for(tmp_path / "anna.zip")
    same = pack(tmp_path / "same.zip", files)
    assert library(same, key(busy))
    assert script(same, "--key", busy.ledger.verifier)[0] == 10
    tried = 0
    for name, data in files.items():
        for at in range(0, len(data) - 1, max(1, len(data) // places)):
            changed = bytes([data[at] ^ 1]) + data[at + 1 :], data[at + 1 :], b"A" + data[at:]
            for new in {data[:at] + one for one in changed} - {data}:
                tried += 1
                bad = pack(tmp_path / "bad.zip", {**files, name: new})
                assert not library(bad, key(busy)), (name, at)
                assert script(bad, "--key", busy.ledger.verifier)[0] == 40, (name, at)
    assert tried > 30 * places


@pytest.mark.parametrize("change", BAD)
def test_put_together_otherwise(busy: Shop, tmp_path: Path, change: Callable[[dict[str, bytes]], None]) -> None:
    """Left out, added, exchanged, turned or said otherwise: both verifiers refuse, with the key and without."""
    busy.ledger.disclose(ANN, tmp_path / "anna.zip")
    files = members(tmp_path / "anna.zip")
    change(files)
    bad = pack(tmp_path / "bad.zip", files)
    for keys in ([], [key(busy)]):
        assert not library(bad, *keys)
        assert script(bad, *[word for one in keys for word in ("--key", str(one))])[0] == 40


def both_refuse(path: Path, words: str) -> None:
    """Library and one-file verifier refuse it, for the reason meant."""
    with pytest.raises(VerificationError, match=words):
        verify_disclosure(path)
    code, found = script(path)
    assert code == 40
    assert words in found["problem"]


def test_erased_and_shown(busy: Shop, tmp_path: Path) -> None:
    """Who kept what was erased since and puts it back beside the record of its erasure is refused."""
    busy.ledger.disclose(ANN, tmp_path / "before.zip")
    busy.ledger.erase(ANN, reason="art17", by="dpo")
    busy.ledger.disclose(ANN, tmp_path / "after.zip")
    kept = members(tmp_path / "before.zip")["disclosure.ndjson"].splitlines(keepends=True)[0]
    assert parse_line(kept).parts["person"] is not None
    files = members(tmp_path / "after.zip")
    first_line(files, lambda row: row.update(json.loads(kept)))
    both_refuse(pack(tmp_path / "bad.zip", files), "gone")


def test_never_erased(busy: Shop, tmp_path: Path) -> None:
    """The record of an erasure can't be called erased itself."""
    busy.ledger.erase(ANN, reason="art17", by="dpo")
    busy.ledger.disclose(ANN, tmp_path / "anna.zip")
    files = members(tmp_path / "anna.zip")
    (index,) = [entry.index for entry in lines(tmp_path / "anna.zip") if parse_leaf(entry.leaf).kind == "part.erased"]
    change_line(files, index, lambda row: row["parts"].update(facts=None))
    both_refuse(pack(tmp_path / "bad.zip", files), "can never be erased")


def test_no_policy(busy: Shop, tmp_path: Path) -> None:
    """A part called `policy` in an entry of another kind was never in force."""
    with busy.ledger._writing.appending() as recorder:
        index = recorder.append("register.checked", {"occurred_at": recorder.time}, policy=b"{}")
    busy.ledger.disclose(ANN, tmp_path / "anna.zip")
    files = {**members(tmp_path / "anna.zip"), f"proofs/{index}.tlog-proof": busy.ledger.receipt(index)}
    both_refuse(
        pack(tmp_path / "bad.zip", {**files, f"policy/{index}.json": b"{}"}), "expected the policy that its proof holds"
    )


@pytest.mark.parametrize("change", [hide_part, withhold_part])
def test_what_is_hidden_is_counted(busy: Shop, tmp_path: Path, change: Callable[[dict[str, bytes]], None]) -> None:
    """A part that whoever hands the file over calls erased or withholds: both say that it was not checked."""
    busy.ledger.disclose(ANN, tmp_path / "anna.zip")
    files = members(tmp_path / "anna.zip")
    change(files)
    bad = pack(tmp_path / "bad.zip", files)
    report, (code, found) = verify_disclosure(bad, verifiers=[key(busy)]), script(bad, "--key", busy.ledger.verifier)
    assert (report.erased + report.withheld, found["erased"] + found["withheld"], code) == (2, 2, 10)
    words = "1 parts are said to be erased" if change is hide_part else "2 parts are withheld"
    assert any(words in line for line in report.not_checked)
    assert any(words in line for line in found["not_checked"])


def test_script_agrees(busy: Shop, tmp_path: Path) -> None:
    """The one-file verifier gives the level, the numbers, the gaps and the exit codes that the library gives."""
    kept = tmp_path / "kept"
    kept.write_bytes(busy.ledger.checkpoint())
    busy.ledger.disclose(ANN, path := tmp_path / "anna.zip")
    told = ["--key", busy.ledger.verifier, "--origin", busy.ledger.origin]
    for level, arguments, checkpoints in (
        ("content", [], []),
        ("signature", told, []),
        ("history", [*told, "--checkpoint", kept], [held(busy, kept.read_bytes())]),
        ("history", [*told, "--checkpoint", kept], [kept.read_bytes().replace(b"\n", b"\r\n")]),
    ):
        code, found = script(path, *arguments)
        report = verify_disclosure(path, verifiers=[key(busy)] if arguments else [], checkpoints=checkpoints)
        assert (code, found["level"], found["partial"], report.level) == (10, level, True, level)
        assert (found["entries"], found["shown"], found["withheld"]) == (report.size, report.shown, report.withheld)
        assert found["root"] == base64(report.root).decode()
        gaps = [[line.partition(":")[0] for line in one] for one in (found["not_checked"], report.not_checked)]
        assert gaps[0] == gaps[1]
    other = Shop("memory:", keys=busy.ledger._keys)
    while other.ledger.verify().size < 5:
        other.ledger.withdraw(BO)
    for size in (5, busy.ledger.verify().size):
        while other.ledger.verify().size < size:
            other.ledger.withdraw(BO, limited=True)
        kept.write_bytes(other.ledger.checkpoint())
        assert script(path, *told, "--checkpoint", kept)[0] == 30
    assert script(path, "--key", Shop().ledger.verifier)[0] == 40
    with contextlib.redirect_stdout(io.StringIO()) as out:
        standalone.main([str(path), *told])
    assert out.getvalue().startswith(f"VERIFIED IN PART to level `signature`: log `{busy.ledger.origin}`, 6 of 11 entries\n")


def test_signed_by_another(busy: Shop, tmp_path: Path) -> None:
    """Under the key of another log, or of none that was given, it is refused at level signature."""
    busy.ledger.disclose(ANN, tmp_path / "anna.zip")
    with pytest.raises(VerificationError) as caught:
        verify_disclosure(tmp_path / "anna.zip", verifiers=[key(Shop())])
    assert caught.value.level == "signature"
    with pytest.raises(VerificationError, match="the origin named"):
        verify_disclosure(tmp_path / "anna.zip", origin="other.example/log")


def test_not_on_record_when_the_store_fails(shop: Shop, tmp_path: Path) -> None:
    """Where the ledger can't write, neither export nor disclosure is made."""
    shop.sign_up(ANN)
    store = shop.ledger._store = shop.ledger._writing._store = FaultyStore(shop.ledger._store)
    for make in (shop.ledger.export, partial(shop.ledger.disclose, ANN)):
        store.fail_next(persisted=False)
        with pytest.raises(StoreUnavailableError):
            make(tmp_path / "x.zip")
        assert list(tmp_path.glob("x.zip*")) == []
    assert "export.made" not in {one.kind for one in shop.ledger.history(ANN)}
