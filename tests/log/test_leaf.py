"""The leaf's bytes."""

from base64 import b64decode
from hashlib import sha256

import pytest
from hypothesis import given
from hypothesis import strategies as st

from consentlib.errors import FormatError, VerificationError
from consentlib.log import WITHHELD, Entry, check_origin, commitment, encode_leaf, genesis, leaf_hash, parse_leaf
from consentlib.log.verify import verify_entries

ORIGIN = "littlesteps.dk/consent"
GOLDEN = b"""consentlib.dev/leaf/v1
littlesteps.dk/consent
0
GENESIS
1780000000000
consent.given
facts FACTS
person.1 PERSON
"""

hashes = st.binary(min_size=32, max_size=32)
names = st.from_regex(r"\A[a-z]{1,6}(\.[1-9][0-9]{0,2})?\Z")
leaves = st.builds(
    encode_leaf,
    st.from_regex(r"\A[a-z0-9./-]{1,40}\Z"),
    st.integers(0, 2**53 - 1),
    hashes,
    st.integers(0, 253402300799999),
    st.from_regex(r"\A[a-z_.]{1,20}\Z"),
    st.dictionaries(names, hashes, min_size=1, max_size=14),
)


def golden(**changed: bytes) -> bytes:
    """The golden leaf, with placeholders filled and lines changed."""
    filled = {
        b"GENESIS": b"UVrlwxJMsBWleiew3GFfOfe3r4MEJTUgCLGIRJK8OTM=",
        b"FACTS": b"AAECAwQFBgcICQoLDA0ODxAREhMUFRYXGBkaGxwdHh8=",
        b"PERSON": b"//////////////////////////////////////////8=",
    }
    leaf = GOLDEN
    for key, value in filled.items():
        leaf = leaf.replace(key, value)
    for old, new in changed.items():
        assert old.encode() in leaf
        leaf = leaf.replace(old.encode(), new)
    return leaf


def test_golden_bytes() -> None:
    """A leaf, its hash, the genesis and a commitment are these bytes for ever."""
    parts = {"person.1": b"\xff" * 32, "facts": bytes(range(32))}
    leaf = encode_leaf(ORIGIN, 0, genesis(ORIGIN), 1780000000000, "consent.given", parts)
    assert leaf == golden()
    assert leaf_hash(leaf) == sha256(b"\0" + leaf).digest() == b64decode("wqyqpVOVqFIFKvzuz08GQzVv6yVcu/a3K7p39gHpl68=")
    assert genesis(ORIGIN) == sha256(b"consentlib.dev/genesis/v1\nlittlesteps.dk/consent\n").digest()
    salt = b"s" * 32
    made = commitment(7, "facts", salt, b'{"a":1}')
    assert made == sha256(b"consentlib.dev/part/v1\n7\nfacts\n" + salt + b'{"a":1}').digest()


def test_golden_parses() -> None:
    """The golden leaf gives its fields back, parts sorted by name."""
    leaf = parse_leaf(golden())
    assert (leaf.origin, leaf.index, leaf.t, leaf.kind) == (ORIGIN, 0, 1780000000000, "consent.given")
    assert leaf.prev == genesis(ORIGIN)
    assert leaf.parts == (("facts", bytes(range(32))), ("person.1", b"\xff" * 32))


@given(leaves)
def test_round_trip(leaf: bytes) -> None:
    """What is written is read back, and written again is the same."""
    found = parse_leaf(leaf)
    assert encode_leaf(found.origin, found.index, found.prev, found.t, found.kind, dict(found.parts)) == leaf


BAD = {
    "other version": {"leaf/v1": b"leaf/v2"},
    "upper case in origin": {"littlesteps": b"Littlesteps"},
    "index with leading zero": {"consent\n0\n": b"consent\n00\n"},
    "index with sign": {"consent\n0\n": b"consent\n+0\n"},
    "index too large": {"consent\n0\n": b"consent\n9007199254740992\n"},
    "time with leading zero": {"1780000000000": b"01780000000000"},
    "negative time": {"1780000000000": b"-1"},
    "time after the year 9999": {"1780000000000": b"253402300800000"},
    "digits of another script": {"1780000000000": "١٢".encode()},
    "digit in kind": {"consent.given": b"consent.given2"},
    "base64 with spare bits": {"Hh8=": b"Hh9="},
    "base64 without padding": {"Hh8=": b"Hh8"},
    "url-safe base64": {"//////": b"______"},
    "part number zero": {"person.1": b"person.0"},
    "part number with leading zero": {"person.1": b"person.01"},
    "parts out of order": {"facts": b"query"},
    "part twice": {"person.1": b"facts"},
    "two blanks": {"facts ": b"facts  "},
    "carriage return": {"consent.given\n": b"consent.given\r\n"},
    "no line end": {"///8=\n": b"///8="},
    "empty last line": {"///8=\n": b"///8=\n\n"},
}


@pytest.mark.parametrize("change", BAD.values(), ids=BAD)
def test_other_spellings_are_refused(change: dict[str, bytes]) -> None:
    """Whatever is not the one spelling of a leaf is a format error."""
    with pytest.raises(FormatError):
        parse_leaf(golden(**change))


@pytest.mark.parametrize("leaf", [b"", golden().split(b"facts")[0], golden() * 2])
def test_fragments_are_refused(leaf: bytes) -> None:
    """Nothing, a leaf without parts and two leaves in one are format errors."""
    with pytest.raises(FormatError):
        parse_leaf(leaf)


def many(count: int, kind: str = "k") -> bytes:
    """A leaf of so many parts."""
    return encode_leaf(ORIGIN, 1, bytes(32), 1, kind, {f"p.{number}": bytes(32) for number in range(1, count + 1)})


def test_sixteen_parts_at_most() -> None:
    """Sixteen parts fit, none and seventeen are refused, in writing and in reading."""
    assert len(parse_leaf(many(16)).parts) == 16
    for count in (0, 17):
        with pytest.raises(FormatError):
            many(count)
    line = b"a " + b"A" * 43 + b"=\n"
    sixteen = many(16).replace(b"\np.1 ", b"\n" + line + b"p.1 ")
    assert len(sixteen) < 1024
    with pytest.raises(FormatError, match="16 parts"):
        parse_leaf(sixteen)


def test_under_one_kibibyte() -> None:
    """A leaf of 1,023 bytes is one, of 1,024 is none, in writing and in reading."""
    room = 1024 - len(many(16))
    longest = many(16, kind="k" * room)
    assert len(longest) == 1023
    assert parse_leaf(longest).kind == "k" * room
    with pytest.raises(FormatError, match="below 1024"):
        many(16, kind="k" * (room + 1))
    with pytest.raises(FormatError):
        parse_leaf(longest.replace(b"\nk", b"\nkk"))


@pytest.mark.parametrize(
    "bad",
    [
        {"origin": "Å.dk"},
        {"origin": "a" * 129},
        {"index": -1},
        {"index": 2**53},
        {"prev": bytes(31)},
        {"t": -1},
        {"t": 253402300800000},
        {"kind": "Consent"},
        {"kind": "é"},
        {"kind": "a\n"},
        {"parts": {"Facts": bytes(32)}},
        {"parts": {"facts\n": bytes(32)}},
        {"parts": {"é": bytes(32)}},
        {"parts": {"facts": bytes(33)}},
    ],
)
def test_nothing_else_is_written(bad: dict[str, object]) -> None:
    """What could not be read back is refused before it is written."""
    good = {"origin": ORIGIN, "index": 1, "prev": bytes(32), "t": 1, "kind": "k", "parts": {"facts": bytes(32)}}
    encode_leaf(**good)  # type: ignore[arg-type]
    with pytest.raises(FormatError):
        encode_leaf(**{**good, **bad})  # type: ignore[arg-type]


def test_check_origin() -> None:
    """An origin is 1 to 128 of lower-case ASCII letters, digits, dot, slash and hyphen."""
    for good in ("a", "littlesteps.dk/consent", "x" * 128, "shop-1.example/a/b"):
        check_origin(good)
    for bad in ("", "x" * 129, "Shop.dk", "shop dk", "shop_dk", "shop.dk\n", "å.dk", "a+b", "\ud800", b"shop.dk", None):
        with pytest.raises(FormatError):
            check_origin(bad)  # type: ignore[arg-type]


@st.composite
def nearly_leaves(draw: st.DrawFn) -> bytes:
    """First leaves of a log, most of them with a byte changed, dropped or added."""
    parts = draw(st.dictionaries(names, hashes, min_size=1, max_size=3))
    leaf = encode_leaf(ORIGIN, 0, genesis(ORIGIN), draw(st.integers(0, 2**45)), "k", parts)
    at = draw(st.integers(0, len(leaf)))
    new = draw(st.one_of(st.binary(max_size=1), st.sampled_from([b"\n", b" ", b"=", b"0", b"A", b".", b"\r"])))
    return leaf[:at] + new + leaf[at + draw(st.integers(0, 1)) :]


@given(nearly_leaves())
def test_the_verifier_reads_leaves_as_strictly(leaf: bytes) -> None:
    """The verifier's reading of a leaf and `parse_leaf` accept and refuse the same bytes."""
    try:
        found = parse_leaf(leaf)
    except FormatError:
        with pytest.raises(VerificationError) as caught:
            verify_entries([Entry(0, leaf, {})])
        assert caught.value.level == "chain"
        return
    assert encode_leaf(found.origin, found.index, found.prev, found.t, found.kind, dict(found.parts)) == leaf
    shown = Entry(0, leaf, dict.fromkeys((name for name, _ in found.parts), WITHHELD))
    if (found.index, found.prev) == (0, genesis(found.origin)):
        report = verify_entries([shown])
        assert (report.first_time, report.withheld) == (found.t, len(found.parts))
    else:
        with pytest.raises(VerificationError):
            verify_entries([shown])
