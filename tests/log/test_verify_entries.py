"""Chain and content: each protection has a log that breaks only it."""

import json
import pickle
from collections.abc import Iterator
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from small_log import ORIGIN, START, entry, erasure, log, opened, plain, with_erasure, without

from consentlib import codec
from consentlib.errors import VerificationError
from consentlib.log import (
    WITHHELD,
    Entry,
    Head,
    commitment,
    genesis,
    leaf_hash,
    merkle,
    parse_leaf,
    verify_entries,
)


def head_of(entries: list[Entry]) -> Head:
    """The head a store would hold."""
    hashes = [leaf_hash(found.leaf) for found in entries]
    frontier, _ = merkle.extend_many(b"", 0, hashes)
    return Head(len(entries), hashes[-1], parse_leaf(entries[-1].leaf).t, frontier)


def refused(entries: list[Entry], level: str, index: int | None, match: str, **options: Any) -> VerificationError:
    """The error that verification of the entries must raise."""
    with pytest.raises(VerificationError, match=match) as caught:
        verify_entries(entries, **options)
    assert (caught.value.level, caught.value.index) == (level, index)
    assert str(pickle.loads(pickle.dumps(caught.value)).evidence) == str(caught.value.evidence)
    return caught.value


def test_a_whole_log() -> None:
    """A log as it was written verifies, and the report says what holds and what was not checked."""
    entries = with_erasure()
    report = verify_entries(entries, origin=ORIGIN, head=head_of(entries))
    assert (report.level, report.origin, report.size) == ("content", ORIGIN, 5)
    assert report.root == merkle.root([leaf_hash(found.leaf) for found in entries])
    assert report.tip == leaf_hash(entries[-1].leaf)
    assert (report.first_time, report.last_time) == (START, START + 4000)
    kinds = {"consent.given": 2, "consent.withdrawn": 1, "part.erased": 1, "policy.published": 1}
    assert dict(report.entries_by_kind) == kinds
    assert (report.erased, report.withheld, report.partial) == (1, 0, False)
    assert [gap.split(":")[0] for gap in report.not_checked] == ["signature", "history", "meaning"]
    assert verify_entries(iter(entries)).not_checked[0].startswith("head:")
    assert pickle.loads(pickle.dumps(report)) == report


def test_a_kind_for_each_entry() -> None:
    """Kinds are counted apart up to a number: a log may name a new one of its own in every entry."""
    kinds = [f"a.{chr(97 + one // 26)}{chr(97 + one % 26)}" for one in range(500)]
    found = verify_entries(log([(kind, {"facts": None}) for kind in [*kinds, kinds[0]]])).entries_by_kind
    assert (len(found), dict(found)["…"], dict(found)[kinds[0]]) == (201, 300, 2)


def test_an_empty_log() -> None:
    """A log without entries verifies; its head is the genesis."""
    report = verify_entries([], origin=ORIGIN, head=Head(0, genesis(ORIGIN), 0, b""))
    assert (report.size, report.root, report.tip) == (0, merkle.EMPTY_ROOT, genesis(ORIGIN))
    assert (report.first_time, report.last_time) == (None, None)
    assert verify_entries([]) == verify_entries([], origin=None)
    refused([], "chain", None, "another tip", origin=ORIGIN, head=Head(0, genesis("other"), 0, b""))


@pytest.mark.parametrize("size", [1023, 1024, 1025, 2049])
def test_batches(size: int) -> None:
    """The root and the progress are right whether or not the last batch is full."""
    entries = plain(size)
    seen: list[int] = []
    report = verify_entries(entries, head=head_of(entries), progress=seen.append)
    assert report.root == merkle.root([leaf_hash(found.leaf) for found in entries])
    assert seen == [*range(1024, size + 1, 1024), size]


def test_leaf_that_does_not_parse() -> None:
    """A leaf in another spelling is found."""
    entries = plain(3)
    entries[1] = entries[1]._replace(leaf=entries[1].leaf.replace(b"\n1\n", b"\n01\n"))
    error = refused(entries, "chain", 1, "expected a leaf")
    assert error.evidence["leaf"] == entries[1].leaf


def test_claimed_index() -> None:
    """An entry that is stored under another index than its leaf's is found."""
    entries = plain(3)
    entries[2] = entries[2]._replace(index=3)
    refused(entries, "chain", 2, "expected entry `2`, found one claimed as `3` whose leaf says `2`")


def test_index_in_the_leaf() -> None:
    """A leaf that names another index is found, though its link is right."""
    entries = plain(2)
    entries.append(entry(7, leaf_hash(entries[1].leaf), {"facts": opened(7, "facts")}, t=START + 9000)._replace(index=2))
    refused(entries, "chain", 2, "whose leaf says `7`")


@pytest.mark.parametrize(("order", "index"), [([0, 2, 1], 1), ([0, 2], 1), ([1, 2], 0), ([0, 0, 1, 2], 1)])
def test_order(order: list[int], index: int) -> None:
    """Entries left out, repeated or exchanged are found."""
    entries = plain(3)
    refused([entries[at] for at in order], "chain", index, f"expected entry `{index}`, found")


def test_left_out_and_renumbered() -> None:
    """A middle entry cut out, with the rest claimed under new indices, is found by the leaves' own indices."""
    entries = plain(3)
    refused([entries[0], entries[2]._replace(index=1)], "chain", 1, "whose leaf says `2`")


def test_broken_link() -> None:
    """A leaf that names another predecessor is found, also the first."""
    entries = plain(2)
    parts = {"facts": opened(2, "facts")}
    refused([*entries, entry(2, bytes(32), parts, t=START + 9000)], "chain", 2, "its predecessor's hash")
    refused([entry(0, genesis("other"), {"facts": opened(0, "facts")}, t=START)], "chain", 0, "its predecessor's hash")


def test_falling_time() -> None:
    """Recorded time may stand still and never falls."""
    entries = plain(2)
    link, parts = leaf_hash(entries[1].leaf), {"facts": opened(2, "facts")}
    verify_entries([*entries, entry(2, link, parts, t=START + 1000)])
    refused([*entries, entry(2, link, parts, t=START + 999)], "chain", 2, "never fall")


def test_other_origin() -> None:
    """A whole log of another shop, and an entry of another shop, are found."""
    entries = plain(2)
    refused(entries, "chain", 0, "the log's origin", origin="other.dk")
    parts = {"facts": opened(2, "facts")}
    stray = entry(2, leaf_hash(entries[1].leaf), parts, t=START + 9000, origin="other.dk")
    refused([*entries, stray], "chain", 2, "the log's origin")


@pytest.mark.parametrize("field", Head._fields)
def test_head(field: str) -> None:
    """A head that differs in any of its fields is found, and so is a log cut at its end."""
    entries = plain(5)
    head = head_of(entries)
    wrong: dict[str, Any] = {"size": 6, "tip": bytes(32), "time": START, "frontier": bytes(64)}
    refused(entries, "chain", None, f"another {field}", head=head._replace(**{field: wrong[field]}))
    refused(entries[:-1], "chain", None, "another size at size `4`", head=head)


def test_edited_part() -> None:
    """Attack 1: other bytes in a part are found."""
    entries = plain(3)
    salt, _ = opened(1, "person")
    entries[1].parts["person"] = salt, b'{"n":2}'  # type: ignore[index]
    error = refused(entries, "content", 1, "part `person` to open its commitment")
    assert error.evidence["part"] == (salt, b'{"n":2}')


def test_salt_and_data_have_one_border() -> None:
    """Bytes can't be moved from the data into the salt or back, though the hash stays."""
    for shift in (1, -1):
        entries = plain(2)
        salt, data = opened(1, "facts")
        both = salt + data
        entries[1].parts["facts"] = both[: 32 + shift], both[32 + shift :]  # type: ignore[index]
        assert commitment(1, "facts", *entries[1].parts["facts"]) == commitment(1, "facts", salt, data)  # type: ignore[misc]
        refused(entries, "content", 1, "part `facts` to open its commitment")


def test_moved_parts() -> None:
    """Attack 9: parts swapped between entries, names or numbers are found."""
    entries = plain(3)
    first, second = dict(entries[1].parts), dict(entries[2].parts)
    refused([entries[0], entries[1]._replace(parts=second), entries[2]], "content", 1, "open its commitment")
    swapped = {"facts": first["person"], "person": first["facts"]}
    refused([entries[0], entries[1]._replace(parts=swapped)], "content", 1, "open its commitment")


@pytest.mark.parametrize("part", [opened(1, "person.2"), WITHHELD, None])
def test_uncommitted_part(part: Any) -> None:
    """Attack 10: a part that the leaf does not commit to is found, even if claimed withheld or erased."""
    entries = plain(2)
    entries[1].parts["person.2"] = part  # type: ignore[index]
    refused(entries, "content", 1, "only parts that the leaf commits to")


@pytest.mark.parametrize("absent", [True, False])
def test_wiped_part(absent: bool) -> None:
    """Attack 8: a part that is gone without an erasure entry is found, whether marked as gone or left out."""
    entries = plain(3)
    parts = dict(entries[1].parts)
    parts.pop("person")
    entries[1] = entries[1]._replace(parts=parts) if absent else without(entries[1], "person")
    error = refused(entries, "content", 1, "part `person` or a record of its erasure")
    assert error.evidence["leaf"] == entries[1].leaf


def test_erased_and_still_there() -> None:
    """Attack 8, second half: a part whose erasure is on record must not be there."""
    entries = with_erasure()
    entries[1].parts["person"] = opened(1, "person")  # type: ignore[index]
    refused(entries, "content", 3, "part `person` of entry `1` to be gone")
    entries[1].parts["person"] = WITHHELD  # type: ignore[index]
    refused(entries, "content", 3, "part `person` of entry `1` to be gone")


def test_erasure_recorded_twice() -> None:
    """A second record of the same erasure changes nothing."""
    entries = log([("consent.given", {"facts": None}), erasure((0, "facts")), erasure((0, "facts"))])
    entries[0] = without(entries[0], "facts")
    assert verify_entries(entries).erased == 1


@pytest.mark.parametrize("named", [(0, "facts"), (1, "facts"), (1, "ghost"), (2, "facts"), (3, "facts")])
def test_erasure_of_what_is_not_gone(named: tuple[int, str]) -> None:
    """An erasure that names a present part, an unknown part, itself or a later entry is found."""
    shapes = [("consent.given", {"facts": None, "person": None})] * 2
    entries = log([*shapes, erasure(named), ("consent.given", {"facts": None})])
    refused(entries, "content", 2, "expected")


@pytest.mark.parametrize("kind", ["policy.published", "text.published", "part.erased", "key.added"])
def test_never_erasable(kind: str) -> None:
    """Parts of policy, text, key and erasure entries can't be erased, not even on record."""
    facts = erasure()[1] if kind == "part.erased" else {"facts": None}
    entries = log([(kind, facts), erasure((0, "facts"))])
    entries[0] = without(entries[0], "facts")
    refused(entries, "content", 0, "can never be erased")


BAD_ERASURES = [
    b'{"by":"dpo"}',
    b'{"parts":null}',
    b'{"parts":[[0]]}',
    b'{"parts":[[0,"facts","x"]]}',
    b'{"parts":[["0","facts"]]}',
    b'{"parts":[[false,"facts"]]}',
    b'{"parts":[[-1,"facts"]]}',
    b'{"parts":[[0,1]]}',
    b'{"parts":["0f"]}',
    b'{"parts":{"0":"facts"}}',
    b'{"parts": [[0,"facts"]]}',
    b'{"parts":[[0,"facts"]],"parts":[]}',
    b"[]",
    b"0",
    b"\xff",
]


@pytest.mark.parametrize("facts", BAD_ERASURES)
def test_malformed_erasure(facts: bytes) -> None:
    """An erasure whose facts are not canonical JSON of the form is found, not skipped."""
    entries = log([("consent.given", {"facts": None}), ("part.erased", {"facts": facts})])
    entries[0] = without(entries[0], "facts")
    refused(entries, "content", 1, "expected")


def test_erasure_without_facts() -> None:
    """What was erased can't be withheld, or nothing that is gone could be told from tampering."""
    entries = with_erasure()
    entries[3] = entries[3]._replace(parts={"facts": WITHHELD})
    refused(entries, "content", 3, "facts of an erasure to be shown")
    refused(log([("part.erased", {"person": None})]), "content", 0, "facts of an erasure to be shown")


def test_withheld_part() -> None:
    """A withheld part makes the report partial, and it says so in words."""
    entries = plain(3)
    entries[1].parts["person"] = WITHHELD  # type: ignore[index]
    report = verify_entries(entries)
    assert (report.withheld, report.partial) == (1, True)
    assert report.not_checked[0].startswith("content: 1 parts are withheld")


def test_no_personal_data_in_words() -> None:
    """Neither an entry's repr nor an error's message shows what a part holds."""
    found = log([("consent.given", {"person": b'{"email":"anna@example.dk"}'})])
    assert "anna" not in repr(found[0])
    found[0].parts["person"] = bytes(32), b'{"email":"anna@example.dk"}'  # type: ignore[index]
    error = refused(found, "content", 0, "open its commitment")
    assert "anna" not in str(error) + repr(error)


def test_entries_are_read_once() -> None:
    """The log is read as a stream: an entry is no longer held once the next but one was read."""
    alive = 0

    class Counted(dict[str, Any]):
        def __init__(self, parts: Any) -> None:
            nonlocal alive
            super().__init__(parts)
            alive += 1

        def __del__(self) -> None:
            nonlocal alive
            alive -= 1

    entries = plain(50)

    def stream() -> Iterator[Entry]:
        for found in entries:
            assert alive <= 2
            yield found._replace(parts=Counted(found.parts))

    assert verify_entries(stream()).size == 50


def mutable_bytes() -> list[tuple[int, str, int, int]]:
    """Every byte of a small log: (entry, "leaf" or a part's name, 0 salt or 1 data, position)."""
    places = []
    for found in with_erasure():
        places += [(found.index, "leaf", 0, at) for at in range(len(found.leaf))]
        for name, part in found.parts.items():
            if isinstance(part, tuple):
                places += [(found.index, name, side, at) for side in (0, 1) for at in range(len(part[side]))]
    return places


def tampered(entries: list[Entry], place: tuple[int, str, int, int], new: int) -> list[Entry]:
    """The log with one byte changed."""
    index, name, side, at = place

    def change(old: bytes) -> bytes:
        return old[:at] + bytes([old[at] ^ new]) + old[at + 1 :]

    found = entries[index]
    if name == "leaf":
        entries[index] = found._replace(leaf=change(found.leaf))
    else:
        part = list(found.parts[name])  # type: ignore[arg-type]
        part[side] = change(part[side])
        entries[index] = found._replace(parts={**found.parts, name: (part[0], part[1])})
    return entries


def test_any_byte_tampered() -> None:
    """Any single byte of any leaf, salt or part, changed in one bit, is found."""
    head = head_of(with_erasure())
    for number, place in enumerate(mutable_bytes()):
        with pytest.raises(VerificationError):
            verify_entries(tampered(with_erasure(), place, 1 << number % 8), origin=ORIGIN, head=head)


@given(st.sampled_from(mutable_bytes()), st.integers(1, 255))
def test_any_byte_tampered_anyhow(place: tuple[int, str, int, int], new: int) -> None:
    """Any single byte, changed in any way, is found."""
    with pytest.raises(VerificationError):
        verify_entries(tampered(with_erasure(), place, new), origin=ORIGIN, head=head_of(with_erasure()))


def test_rewritten_log() -> None:
    """A log rewritten as a whole verifies by itself, which the report admits, and not against the head."""
    entries, forged = plain(4), plain(3)
    assert any(gap.startswith("history:") for gap in verify_entries(forged, origin=ORIGIN).not_checked)
    refused(forged, "chain", None, "another size", head=head_of(entries))
    other = log([("consent.given", {"facts": b"{}"})] * 4)
    refused(other, "chain", None, "another tip", head=head_of(entries))


def test_erasure_facts_keep_other_keys() -> None:
    """Other keys beside `parts`, such as the reason, are the ledger's business."""
    facts = codec.encode({"parts": [[0, "facts"]], "reason": "art17", "run": 7})
    assert json.loads(facts)["run"] == 7
    entries = log([("consent.given", {"facts": None}), ("part.erased", {"facts": facts})])
    entries[0] = without(entries[0], "facts")
    assert verify_entries(entries).erased == 1
