"""Spans: wherever a log is cut, verifying its spans gives the report, or the first problem, that verifying it whole gives."""

from collections.abc import Sequence
from itertools import pairwise

from hypothesis import given, settings
from hypothesis import strategies as st
from rotating_log import CASES, KEYS, Case, entries_of, note_of
from small_log import ORIGIN, erasure, log, plain, with_erasure, without
from small_note import checkpoint

from consentlib.errors import FormatError, VerificationError
from consentlib.log import LOST, WITHHELD, Entry
from consentlib.log.leaf import INDEX_LIMIT
from consentlib.log.span import check_span
from consentlib.log.trust import Trust
from consentlib.log.verify import span_ranges, verify_spans
from consentlib.signing import verify


def verdict(entries: Sequence[Entry], cuts: Sequence[int], **options: object) -> object:
    """The report, or all of the error."""
    ends = [0, *sorted({cut for cut in cuts if 0 < cut < len(entries)}), len(entries)]
    spans = [check_span(entries[start:end], start) for start, end in pairwise(ends)]
    try:
        return verify_spans(spans, **options)  # type: ignore[arg-type]
    except (VerificationError, FormatError) as error:
        return type(error), str(error), error.__dict__


BOTH: dict[str, bytes | None] = {"facts": None, "person": None}
SHAPES = [("consent.given", BOTH)] * 5
ERASED = [
    without(one, "person") if one.index in (1, 3) else one
    for one in log([*SHAPES, erasure((1, "person")), ("consent.withdrawn", BOTH), erasure((3, "person"), (1, "person"))])
]
LOGS = {
    "whole": ERASED,
    "erased and there": [*ERASED[:3], log(SHAPES)[3], *ERASED[4:]],
    "never erased": [*ERASED[:4], without(ERASED[4], "person"), *ERASED[5:]],
    "withheld": [*ERASED[:2], ERASED[2]._replace(parts={**ERASED[2].parts, "person": WITHHELD}), *ERASED[3:]],
    "lost and erased": [ERASED[0], ERASED[1]._replace(parts={**ERASED[1].parts, "person": LOST}), *ERASED[2:]],
    "lost": [*ERASED[:2], ERASED[2]._replace(parts={**ERASED[2].parts, "person": LOST}), *ERASED[3:]],
    "another log": [*ERASED[:4], *log(SHAPES, "other.dk")[4:]],
    "rejoined": [*ERASED[:4], *plain(9)[4:]],
    "small": with_erasure(),
}


def damaged(entries: Sequence[Entry], at: int, how: str) -> list[Entry]:
    """The log with one entry changed, dropped, doubled, or claimed as another."""
    found = list(entries)
    one = found[at % len(found)]
    match how:
        case "leaf":
            found[at % len(found)] = one._replace(leaf=one.leaf[:60] + b"x" + one.leaf[61:])
        case "form":
            found[at % len(found)] = one._replace(leaf=one.leaf[:-1])
        case "part":
            found[at % len(found)] = one._replace(parts={**one.parts, "facts": (bytes(32), b"{}")})
        case "type":
            found[at % len(found)] = one._replace(parts={**one.parts, "facts": ("salt", "data")})  # type: ignore[dict-item]
        case "extra":
            found[at % len(found)] = one._replace(parts={**one.parts, "more": (bytes(32), b"{}")})
        case "claim":
            found[at % len(found)] = one._replace(index=one.index + 1)
        case "drop":
            del found[at % len(found)]
        case "double":
            found.insert(at % len(found), one)
    return found


@settings(max_examples=400, deadline=None)
@given(
    name=st.sampled_from(sorted(LOGS)),
    cuts=st.lists(st.integers(0, 9), max_size=6),
    damages=st.lists(
        st.tuples(st.integers(0, 9), st.sampled_from(["leaf", "form", "part", "type", "extra", "claim", "drop", "double"])),
        max_size=2,
    ),
    origin=st.sampled_from([None, ORIGIN, "other.dk"]),
)
def test_cut_anywhere(name: str, cuts: list[int], damages: list[tuple[int, str]], origin: str | None) -> None:
    """The verdict, its words and its evidence do not depend on where the log was cut."""
    entries = LOGS[name]
    for at, how in damages:
        entries = damaged(entries, at, how)
    assert verdict(entries, cuts, origin=origin) == verdict(entries, [], origin=origin)


def led(case: Case, cuts: Sequence[int]) -> object:
    """The verdict on a log whose key was rotated, cut there and at each checkpoint."""
    entries = entries_of(case)
    trust = Trust([KEYS[name].verifier for name in case.pinned.split()], verify)
    try:
        held, shipped = ([trust.claim(note_of(entries, one)) for one in some] for some in (case.held, case.shipped))
    except VerificationError as error:
        return str(error)
    sizes = [one.size for one in (*held, *shipped)]
    return verdict(entries, [*cuts, *sizes], trust=trust, shipped=shipped, checkpoints=held)


@settings(max_examples=200, deadline=None)
@given(case=st.sampled_from(sorted(CASES)), cuts=st.lists(st.integers(0, 12), max_size=6))
def test_keys_wherever_cut(case: str, cuts: list[int]) -> None:
    """Which keys the log leads to, and what they count for, does not depend on where it was cut."""
    assert led(CASES[case], cuts) == led(CASES[case], [])


def test_keys_in_spans() -> None:
    """A rotation within a span and one at its beginning lead on; without those of the spans nothing would."""
    for case in ("who knows the old key is led on", "a third rotation passes over two"):
        for cuts in ([], [3, 4, 6]):
            assert led(CASES[case], cuts).level == (CASES[case].level)  # type: ignore[attr-defined]


def test_ranges_end_at_checkpoints() -> None:
    """A span ends where a checkpoint must be compared, and after 1,024 entries; there is no end to them."""
    ranges = span_ranges([checkpoint(plain(3)), checkpoint(plain(3)), checkpoint(plain(0))])
    assert [next(ranges) for _ in range(3)] == [(0, 3), (3, 1024), (1024, 2048)]
    assert list(span_ranges([], INDEX_LIMIT - 5)) == [(INDEX_LIMIT - 5, INDEX_LIMIT)]
