"""The lines of an export."""

import json
from base64 import b64encode
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from small_log import with_erasure

from consentlib.errors import FormatError
from consentlib.log import WITHHELD, Entry, format_line, parse_line, verify_entries

LINE = b'{"i":0,"leaf":"bGVhZg==","parts":{"facts":{"salt":"c2FsdA==","data":"e30="},"person":null,"person.1":"withheld"}}\n'
ENTRY = Entry(0, b"leaf", {"facts": (b"salt", b"{}"), "person": None, "person.1": WITHHELD})

parts = st.one_of(st.none(), st.just(WITHHELD), st.tuples(st.binary(max_size=40), st.binary(max_size=40)))
entries = st.builds(
    Entry,
    st.integers(0, 2**53 - 1),
    st.binary(max_size=60),
    st.dictionaries(st.from_regex(r"\A[a-z]{1,6}(\.[1-9])?\Z"), parts, max_size=4),
)


def test_golden_line() -> None:
    """A line with a part shown, one gone and one withheld is these bytes, and gives the entry back."""
    assert format_line(ENTRY) == LINE
    assert parse_line(LINE) == ENTRY


@given(entries)
def test_round_trip(entry: Entry) -> None:
    """A line holds its entry exactly, and other readers of JSON read the same from it."""
    line = format_line(entry)
    assert parse_line(line) == entry
    value = json.loads(line)
    assert (value["i"], value["leaf"]) == (entry.index, b64encode(entry.leaf).decode())
    assert list(value["parts"]) == sorted(entry.parts)


def test_lines_verify_as_the_log_they_hold() -> None:
    """A log written as lines and read again verifies to the same report."""
    entries = with_erasure()
    assert verify_entries(map(parse_line, map(format_line, entries))) == verify_entries(entries)


BAD: list[Any] = [
    (b"", "form"),
    (b"\n", "form"),
    (LINE[:-1], "spelling"),
    (LINE[:-2], "spelling"),
    (LINE[:-2] + b"\n", "spelling"),
    (LINE[:-1] + b"{}\n", "spelling"),
    (b"[" * 100_000, "form"),
    (LINE.replace(b"leaf", "lëaf".encode()), "spelling"),
    (LINE.decode().encode("utf-16"), "form"),
    (b"[]", "form"),
    (b"null", "form"),
    (b"{}", "form"),
    (LINE.replace(b":0", b':"0"'), "form"),
    (LINE.replace(b"null", b"[]"), "spelling"),
    (LINE.replace(b"null", b'"erased"'), "spelling"),
    (LINE.replace(b'"c2FsdA=="', b"7"), "form"),
    (LINE.replace(b'"salt":"c2FsdA==",', b""), "form"),
    (LINE.replace(b"person.1", b"\\ud800"), "form"),
    (LINE[:-1] + b"\r\n", "spelling"),
    (LINE + b"\n", "spelling"),
    (LINE.replace(b":0", b": 0"), "spelling"),
    (LINE.replace(b":0", b":-1"), "spelling"),
    (LINE.replace(b":0", b":0.0"), "form"),
    (LINE.replace(b":0", b":false"), "form"),
    (LINE.replace(b":0", b":1e400"), "form"),
    (LINE.replace(b"person.1", b"\\u0070erson.1"), "form"),
    (LINE.replace(b'{"i":0', b'{"i":1,"i":0'), "form"),
    (LINE.replace(b'"person":', b'"facts":null,"person":'), "spelling"),
    (LINE.replace(b'{"i":0', b'{"x":1,"i":0'), "form"),
    (LINE.replace(b'"e30="}', b'"e30=","x":1}'), "spelling"),
    (LINE.replace(b"e30=", b"e31="), "spelling"),
    (LINE.replace(b"e30=", b"e 30="), "spelling"),
    (LINE.replace(b'"person":null,"person.1":"withheld"', b'"person.1":"withheld","person":null'), "spelling"),
]


@pytest.mark.parametrize(("line", "match"), BAD)
def test_other_lines_are_refused(line: bytes, match: str) -> None:
    """Whatever is not the one spelling of an entry is a format error that names the problem."""
    assert line != LINE
    with pytest.raises(FormatError, match=match):
        parse_line(line)
