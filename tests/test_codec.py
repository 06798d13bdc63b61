"""Canonical JSON and times, against RFC 8785's own vectors and another implementation."""

import json
import os
from datetime import UTC, datetime, timedelta, timezone
from pathlib import Path
from typing import Any
from unicodedata import normalize

import pytest
import rfc8785
from hypothesis import given
from hypothesis import strategies as st

from consentlib import codec
from consentlib.errors import FormatError, TimeError

VECTORS = Path(os.environ.get("CONSENTLIB_VECTORS", Path(__file__).parents[1] / "../shared/vectors")) / "jcs"
needs_vectors = pytest.mark.skipif(not VECTORS.is_dir(), reason=f"no vectors in {VECTORS}; set CONSENTLIB_VECTORS")

BOUND = 2**53 - 1
texts = st.text(st.characters(exclude_categories=["Cs"]), max_size=12).map(lambda text: normalize("NFC", text))
keys = st.text(st.characters(max_codepoint=127), max_size=8)
values = st.recursive(
    st.none() | st.booleans() | st.integers(-BOUND, BOUND) | texts,
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(keys, inner, max_size=4),
    max_leaves=12,
)


@needs_vectors
def test_published_vector() -> None:
    """The one published vector inside the domain gives its published bytes."""
    value = codec.read((VECTORS / "input/arrays.json").read_bytes())
    expected = (VECTORS / "output/arrays.json").read_bytes()
    assert codec.encode(value) == expected
    assert codec.decode(expected) == value


@needs_vectors
@pytest.mark.parametrize("name", ["french", "structures", "unicode", "values", "weird"])
def test_published_vectors_outside_the_domain(name: str) -> None:
    """The others hold floats, keys beyond ASCII or text outside NFC, and are refused."""
    with pytest.raises(FormatError):
        codec.decode((VECTORS / f"input/{name}.json").read_bytes())


@needs_vectors
def test_published_output() -> None:
    """A published canonical form without floats is read and written byte for byte."""
    data = (VECTORS / "output/structures.json").read_bytes()
    assert codec.encode(codec.decode(data)) == data


@given(values)
def test_same_bytes_as_another_implementation(value: Any) -> None:
    """Inside the domain the bytes are those of the rfc8785 package, and give the value back."""
    data = codec.encode(value)
    assert data == rfc8785.dumps(value) == codec.encode_typed(value)
    assert codec.decode(data) == value


@given(values, st.sampled_from([{"indent": 1}, {"separators": (", ", ": ")}, {"ensure_ascii": True}]))
def test_other_spellings(value: Any, style: dict[str, Any]) -> None:
    """Another spelling is read to the same value, and is not canonical unless the bytes happen to agree."""
    data = json.dumps(value, **{"ensure_ascii": False, "separators": (",", ":"), **style}).encode()
    assert codec.read(data) == value
    if data == codec.encode(value):
        assert codec.decode(data) == value
    else:
        with pytest.raises(FormatError, match="another spelling"):
            codec.decode(data)


@pytest.mark.parametrize(
    ("data", "match"),
    [
        (b'{"a":1,"a":1}', "duplicate"),
        (b'[{"a":{"b":1,"b":2}}]', "duplicate"),
        (b'{"a":1,"\\u0061":1}', "duplicate"),
        (b"NaN", "integers only"),
        (b"[Infinity]", "integers only"),
        (b"-Infinity", "integers only"),
        (b"1.0", "integers only"),
        (b"1e2", "integers only"),
        (b"9007199254740992", "below 2\\^53"),
        (b"-9007199254740992", "below 2\\^53"),
        (b"1" * 5000, "below 2\\^53"),
        (b'"\\ud800"', "surrogates"),
        (b'{"a":["\\udfff"]}', "surrogates"),
        (b'{"\\ud800":1}', "keys"),
        (b'"\xff"', "UTF-8"),
        (b'"\xed\xa0\x80"', "UTF-8"),
        (b"", "expected JSON"),
        (b"{", "expected JSON"),
        (b"1 2", "expected JSON"),
        (b"\xef\xbb\xbf1", "expected JSON"),
        (b'"\n"', "expected JSON"),
        (b"[" * 33 + b"]" * 33, "nested"),
        (b"[" * 100_000, "nested"),
        (b'{"a":' * 100_000, "nested"),
    ],
)
def test_refused(data: bytes, match: str) -> None:
    """What is outside the domain is a format error that names the reason."""
    with pytest.raises(FormatError, match=match):
        codec.read(data)


@pytest.mark.parametrize(("data", "match"), [('{"å":1}', "ASCII"), ('["e\u0301"]', "NFC")])
def test_read_and_not_kept(data: str, match: str) -> None:
    """Other keys and other normal forms are read from outside, and never pass as canonical."""
    assert codec.read(data) == json.loads(data)
    with pytest.raises(FormatError, match=match):
        codec.decode(data.encode())


@pytest.mark.parametrize("data", [b"-0", b" 1", b"1\n", b'"\\u0061"', b'"\\/"', b'{"b":1,"a":1}', b'"\\u001F"'])
def test_not_canonical(data: bytes) -> None:
    """Readable and not canonical is refused where canonical bytes are asked for."""
    codec.read(data)
    with pytest.raises(FormatError, match="another spelling"):
        codec.decode(data)


@pytest.mark.parametrize(
    "value", [1.0, float("nan"), b"x", {1: 2}, {"å": 1}, {None: 1}, "e\u0301", "\ud800", {1}, 2**53, object()]
)
def test_not_written(value: Any) -> None:
    """What could not be read back is refused before it is written, at any depth."""
    for nested in (value, [value], {"a": [value]}):
        with pytest.raises(FormatError):
            codec.encode(nested)


def test_depth() -> None:
    """Thirty-two levels are written and read, one more is not; what contains itself is refused."""
    value: Any = []
    for _ in range(31):
        value = [value]
    assert codec.decode(codec.encode(value)) == value
    with pytest.raises(FormatError, match="nested"):
        codec.encode([value])
    loop: list[Any] = []
    loop.append(loop)
    with pytest.raises(FormatError, match="nested"):
        codec.encode(loop)


moments = st.datetimes(timezones=st.sampled_from([UTC, timezone(timedelta(hours=5, minutes=30))])).map(
    lambda moment: moment.replace(microsecond=moment.microsecond // 1000 * 1000)
)


@given(moments.filter(lambda moment: 2 <= moment.year <= 9998))
def test_times_round_trip(moment: datetime) -> None:
    """A time is its milliseconds, and its text gives them back."""
    millis = codec.millis(moment)
    assert moment == datetime(1970, 1, 1, tzinfo=UTC) + timedelta(milliseconds=millis)
    assert codec.read_time(codec.show_time(millis)) == codec.read_time(moment.isoformat()) == millis
    assert codec.millis(millis) == millis


@pytest.mark.parametrize(
    ("text", "millis"),
    [
        ("1970-01-01T00:00:00Z", 0),
        ("1969-12-31T23:59:59.999Z", -1),
        ("2026-09-01T10:00:00Z", 1788256800000),
        ("2026-09-01t10:00:00.5z", 1788256800500),
        ("2026-09-01T12:00:00.120000000+02:00", 1788256800120),
        ("2026-09-01T09:30:00-00:30", 1788256800000),
    ],
)
def test_read_time(text: str, millis: int) -> None:
    """RFC 3339 times with zone are read to milliseconds."""
    assert codec.read_time(text) == millis


@pytest.mark.parametrize(
    "text",
    [
        "2026-09-01T10:00:00",
        "2026-09-01",
        "2026-09-01 10:00:00Z",
        "2026-09-01T10:00Z",
        "2026-09-01T10:00:00.0001Z",
        "2026-09-01T10:00:00.Z",
        "2026-02-29T10:00:00Z",
        "2026-09-01T24:00:00Z",
        "2026-09-01T10:00:60Z",
        "2026-09-01T10:00:00+25:00",
        "0000-01-01T00:00:00Z",
        "٢026-09-01T10:00:00Z",
        "2026-09-01T10:00:00Z\n",
        "",
        None,
        1788256800000,
    ],
)
def test_refused_times(text: Any) -> None:
    """Naive, finer, impossible and otherwise spelled times are time errors."""
    with pytest.raises(TimeError):
        codec.read_time(text)


@pytest.mark.parametrize(
    "value",
    [
        datetime(2026, 9, 1),  # noqa: DTZ001
        datetime(2026, 9, 1, microsecond=1, tzinfo=UTC),
        253402300800000,
        -62135596800001,
        True,
        1.0,
        "0",
        None,
    ],
)
def test_refused_millis(value: Any) -> None:
    """Naive, finer, absurd and otherwise typed times are time errors."""
    with pytest.raises(TimeError):
        codec.millis(value)


def test_show_time() -> None:
    """Times are shown in UTC, with milliseconds only where there are any."""
    assert codec.show_time(1788256800000) == "2026-09-01T10:00:00Z"
    assert codec.show_time(1788256800120) == "2026-09-01T10:00:00.120Z"
    assert codec.show_time(-1) == "1969-12-31T23:59:59.999Z"


def test_times_at_the_edge_of_the_calendar() -> None:
    """What `read_time` and `millis` give can be shown, also where the zone leads beyond the years 1 to 9999."""
    for text in ("0001-01-01T00:00:00+01:00", "9999-12-31T23:59:59-01:00"):
        with pytest.raises(TimeError):
            codec.read_time(text)
        with pytest.raises(TimeError):
            codec.millis(datetime.fromisoformat(text))
