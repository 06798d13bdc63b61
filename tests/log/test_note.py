"""Signed notes: the format's rules, the published example, and golden bytes."""

import pickle
from base64 import b64decode, b64encode

import pytest
from hypothesis import given
from hypothesis import strategies as st
from small_note import NEXT, SHOP, WITNESS

from consentlib.errors import FormatError, VerificationError
from consentlib.log.note import Signature, Signer, Verifier, format_note, open_note, parse_note, restore_lines, sign_note
from consentlib.signing import sign, verify

TEXT = "first line\n\nthird line\n"
NOTE = sign_note(TEXT, [SHOP], sign)
LINE = "\u2014 a AAAAAAA=\n"

GOLDEN = "Rita7aeJqnixgXRPazcyELT78IMcXhZJV4Z/0UfxCQXX4FEG/Rz1uIlQ52Wp0h4daptKUMqf9vUQwN0QOF68kBwuaQA="


def opened_by(data: bytes, *verifiers: Verifier) -> str:
    """The text of a note under some keys."""
    return open_note(data, verifiers, verify).text


def refused(data: bytes, match: str, *verifiers: Verifier) -> VerificationError:
    """The error of a note in form whose text may not be believed."""
    with pytest.raises(VerificationError, match=match) as caught:
        open_note(data, verifiers, verify)
    assert (caught.value.level, caught.value.evidence) == ("signature", {"note": data})
    assert pickle.loads(pickle.dumps(caught.value)).evidence == caught.value.evidence
    return caught.value


def test_golden_bytes() -> None:
    """The bytes of a note, its verifier key and its key id stay what they were."""
    assert f"{TEXT}\n\u2014 littlesteps.dk/consent {GOLDEN}\n".encode() == NOTE
    assert str(SHOP.verifier) == "littlesteps.dk/consent+462b5aed+AQPn5kzT/GMZTuEyI3b2kJeYkMSY/JoKbVIrnHwNSCJ4"


def test_published_example() -> None:
    """The note that signed-note's authors publish opens under the key they publish, and under no other."""
    example = (
        "This is an example message.\n\n\u2014 example.com/foo "
        "Uw2QOkn8srV1yJGh2VYRlL1Tnagv1YEq6TfXppzi2ONncAlTgK7Ztg1ERYNZXsYjOBH3mFXmRKuwHjG1Yu72IneyaQM=\n"
    ).encode()
    key = Verifier.parse("example.com/foo+530d903a+AekyeRrm56hApGFkyQR4ZCbV54Id2LKaANYcrnKv3U2k")
    assert opened_by(example, key) == "This is an example message.\n"
    refused(example, "by a known key, found none", SHOP.verifier)


def test_several_keys() -> None:
    """One known key is enough; signatures by unknown keys are ignored, also under a known key's name."""
    data = sign_note(TEXT, [SHOP, NEXT, WITNESS], sign)
    note = open_note(data, [NEXT.verifier], verify)
    assert [one.id for one in note.verified] == [NEXT.verifier.id]
    assert [one.name for one in note.unverified] == [SHOP.name, WITNESS.name]
    assert len(open_note(data, [SHOP.verifier, WITNESS.verifier], verify).verified) == 2
    refused(data, "found none")


@pytest.mark.parametrize("order", [1, -1])
def test_a_known_key_that_fails(order: int) -> None:
    """A failing signature under a known key rejects the note, whatever else is right, and also beside a right one."""
    text, (right, *_) = parse_note(NOTE)
    wrong = right._replace(data=bytes(64))
    _, (witness,) = parse_note(sign_note(TEXT, [WITNESS], sign))
    for lines in ([wrong, witness], [wrong, right]):
        refused(format_note(text, lines[::order]), "one that fails", SHOP.verifier, WITNESS.verifier)


def test_known_name_or_id_alone() -> None:
    """A signature that shares only its name or only its id with a known key is an unknown one."""
    text, (right,) = parse_note(NOTE)
    other_id, other_name = right._replace(id=b"\0\1\2\3", data=bytes(64)), right._replace(name="other", data=bytes(64))
    assert opened_by(format_note(text, [other_id, right, other_name]), SHOP.verifier) == TEXT
    refused(format_note(text, [other_id, other_name]), "found none", SHOP.verifier)


@pytest.mark.parametrize("size", [1, 63, 65, 100])
def test_length_of_a_signature(size: int) -> None:
    """What is not 64 bytes long under a known Ed25519 key fails, without the function's help."""
    text, (right,) = parse_note(NOTE)
    data = format_note(text, [right._replace(data=(right.data + right.data)[:size])])
    with pytest.raises(VerificationError, match="one that fails"):
        open_note(data, [SHOP.verifier], lambda *_: True)


def test_signature_over_another_text() -> None:
    """A signature moved under another text, or one line less of it, fails."""
    _, lines = parse_note(NOTE)
    for text in ("third line\n", TEXT + "\n", "First line\n\nthird line\n"):
        refused(format_note(text, lines), "one that fails", SHOP.verifier)


def test_colliding_keys() -> None:
    """Two known keys that no signature line could tell apart are refused; one key named twice is not two."""

    class Colliding(Verifier):
        id = SHOP.verifier.id  # type: ignore[assignment]

    assert opened_by(NOTE, SHOP.verifier, SHOP.verifier) == TEXT
    with pytest.raises(FormatError, match="differ in name or key id"):
        opened_by(NOTE, SHOP.verifier, Colliding(SHOP.name, bytes(32)))


MALFORMED = {
    "nothing": "",
    "no signature": "text\n",
    "no signature lines": "text\n\n",
    "blank line only": "\n\n",
    "no last newline": f"text\n\n{LINE[:-1]}",
    "no blank line": f"text\n{LINE}",
    "blank line after": f"text\n\n{LINE}\n",
    "no dash": "text\n\na AAAAAAA=\n",
    "hyphen": "text\n\n- a AAAAAAA=\n",
    "no space after the dash": "text\n\n\u2014a AAAAAAA=\n",
    "no name": "text\n\n\u2014  AAAAAAA=\n",
    "no signature in the line": "text\n\n\u2014 a\n",
    "empty signature": "text\n\n\u2014 a \n",
    "key id alone": "text\n\n\u2014 a AAAAAA==\n",
    "two spaces": "text\n\n\u2014 a  AAAAAAA=\n",
    "trailing space": "text\n\n\u2014 a AAAAAAA= \n",
    "third field": "text\n\n\u2014 a AAAAAAA= b\n",
    "plus in the name": "text\n\n\u2014 a+b AAAAAAA=\n",
    "no-break space in the name": "text\n\n\u2014 a\u00a0b AAAAAAA=\n",
    "ideographic space in the name": "text\n\n\u2014 a\u3000b AAAAAAA=\n",
    "line separator in the name": "text\n\n\u2014 a\u2028b AAAAAAA=\n",
    "no padding": "text\n\n\u2014 a AAAAAAA\n",
    "too much padding": "text\n\n\u2014 a AAAAAAA==\n",
    "loose bits": "text\n\n\u2014 a AAAAAAB=\n",
    "URL alphabet": "text\n\n\u2014 a AAAAA-_=\n",
    "base64 with a space": "text\n\n\u2014 a AAA AAAA=\n",
    "base64 of other digits": "text\n\n\u2014 a AAAAAA\uff21=\n",
    "one bad line among good ones": f"text\n\n{LINE}x\n{LINE}",
    "carriage return": f"text\r\n\n{LINE}",
    "tab": f"te\txt\n\n{LINE}",
    "NUL": f"te\0xt\n\n{LINE}",
    "unit separator in a line": "text\n\n\u2014 a\x1fb AAAAAAA=\n",
    "101 signatures": f"text\n\n{LINE * 101}",
    "too long": f"{'x' * 999_990}\n\n{LINE}",
}


@pytest.mark.parametrize("text", MALFORMED.values(), ids=MALFORMED)
def test_malformed(text: str) -> None:
    """What is not a note in form is refused as a whole."""
    with pytest.raises(FormatError, match=r"\Aexpected [^\n]*\Z"):
        parse_note(text.encode())


@pytest.mark.parametrize("data", [b"\xff", b"\xc0\xaf", b"\xed\xa0\x80"], ids=["stray", "overlong", "surrogate"])
def test_not_utf8(data: bytes) -> None:
    """Bytes that are not UTF-8 are refused, in the text and in a name."""
    for note in (b"te%bxt\n\n%b" % (data, LINE.encode()), b"text\n\n\xe2\x80\x94 a%b AAAAAAA=\n" % data):
        with pytest.raises(FormatError, match="UTF-8"):
            parse_note(note)


WELL_FORMED = {
    "100 signatures": f"text\n\n{LINE * 100}",
    "empty lines in the text": f"\n\n\n\n{LINE}",
    "dash lines in the text": f"\u2014 a AAAAAAA=\n\n{LINE}",
    "text of one newline": f"\n\n{LINE}",
    "any name": "text\n\n\u2014 \u00e6\u200b\u2603/1 AAAAAAA=\n",
    "post-quantum signature": f"text\n\n\u2014 a {b64encode(bytes(5000)).decode()}\n",
}


@pytest.mark.parametrize("text", WELL_FORMED.values(), ids=WELL_FORMED)
def test_well_formed(text: str) -> None:
    """What the format allows is read, and formats back to the same bytes."""
    assert format_note(*parse_note(text.encode())) == text.encode()


@pytest.mark.parametrize("text", ["", "no newline", "tab\t\n", "\r\n", "\x1f\n", "\ud800\n", "x" * 500_000 + "\n"])
def test_text_that_no_note_may_hold(text: str) -> None:
    """What no note may hold is refused before anything is signed."""

    def never(_: bytes, __: bytes) -> bytes:
        raise AssertionError

    with pytest.raises(FormatError):
        sign_note(text, [SHOP], never)


def test_signers() -> None:
    """A note has at least one signer, and no more than it may have signatures."""
    with pytest.raises(FormatError):
        sign_note(TEXT, [], sign)
    with pytest.raises(FormatError, match="100 signatures"):
        sign_note(TEXT, [SHOP] * 101, lambda *_: bytes(64))


@pytest.mark.parametrize("name", ["", "a b", "a+b", "a\nb", "a\u2003b", "a\0", "\ud800", None, b"a"])
def test_key_names(name: str) -> None:
    """A key has a name that a signature line can carry."""
    with pytest.raises(FormatError, match="key name"):
        Verifier(name, bytes(32))
    with pytest.raises(FormatError, match="key name"):
        Signer(name, bytes(32), bytes(32))


@pytest.mark.parametrize("key", [b"", bytes(31), bytes(33), "0" * 32])
def test_key_sizes(key: bytes) -> None:
    """Keys are 32 bytes long, and a signer's repr does not show its secret."""
    for make in (lambda: Verifier("a", key), lambda: Signer("a", key, bytes(32)), lambda: Signer("a", bytes(32), key)):
        with pytest.raises(FormatError, match="32 bytes"):
            make()
    assert "seed" not in repr(SHOP)
    assert repr(SHOP.seed) not in repr(SHOP)


def test_verifier_keys() -> None:
    """A verifier key has one spelling, and its id must be the key's."""
    text = str(SHOP.verifier)
    assert Verifier.parse(text) == SHOP.verifier
    name, hexid, encoded = text.split("+", 2)
    key = b64decode(encoded)
    other_type, longer = b64encode(b"\2" + key[1:]).decode(), b64encode(key + b"x").decode()
    wrong = [
        "",
        name,
        f"{name}+{hexid}",
        f"{name}+{hexid}+",
        f"{name}+{hexid.upper()}+{encoded}",
        f"{name}+00000000+{encoded}",
        f"{name}x+{hexid}+{encoded}",
        f"{name}+{hexid}+{encoded}\n",
        f" {name}+{hexid}+{encoded}",
        f"{name}+{hexid}+{encoded[:-1]}",
        f"{name}+{hexid}+{other_type}",
        f"{name}+{hexid}+{longer}",
        f"+{hexid}+{encoded}",
        f"\ud800+{hexid}+{encoded}",
        "PRIVATE+KEY+" + text,
    ]
    for one in wrong:
        with pytest.raises(FormatError, match="expected an Ed25519 verifier key"):
            Verifier.parse(one)


names = st.text(st.characters(codec="utf-8", exclude_categories=["Z", "C"], exclude_characters="+"), min_size=1)
texts = st.text(st.characters(codec="utf-8", exclude_categories=["Cc"], include_characters="\n")).map(lambda text: text + "\n")
lines = st.builds(Signature, names, st.binary(min_size=4, max_size=4), st.binary(min_size=1, max_size=80))


@given(texts, st.lists(lines, min_size=1, max_size=20))
def test_round_trip(text: str, signatures: list[Signature]) -> None:
    """Any text and signatures come back as they were put in."""
    assert parse_note(format_note(text, signatures)) == (text, tuple(signatures))


@given(texts, st.lists(lines, min_size=1, max_size=20), st.sampled_from([b"\n", b"\r\n"]), st.integers(0, 3), st.booleans())
def test_restored_lines(text: str, signatures: list[Signature], end: bytes, ends: int, mark: bool) -> None:
    """What mail does to the ends of lines is undone exactly, and an untouched note stays as it is."""
    note = format_note(text.removeprefix("\ufeff"), signatures)
    mailed = b"\xef\xbb\xbf" * mark + note.removesuffix(b"\n").replace(b"\n", end) + end * ends
    assert restore_lines(mailed) == note == restore_lines(note)


PIECES = ["\n", "\n\n", "\u2014 ", "a", " ", "+", "=", "AAAAAAA=", LINE, "text", "\0", "\u00a0", "\u00e6"]
fuzz = st.binary(max_size=80) | st.lists(st.sampled_from(PIECES), max_size=12).map(lambda found: "".join(found).encode())


@given(fuzz)
def test_fuzz(data: bytes) -> None:
    """Whatever the bytes, parsing gives a note that formats back to them, or a `FormatError`."""
    try:
        found = parse_note(data)
    except FormatError:
        return
    assert format_note(*found) == data


@given(st.text(max_size=60) | st.lists(st.sampled_from(["+", "a", "0a1b2c3d", "AQ", "=", "\ud800"])).map("".join))
def test_fuzz_verifier(text: str) -> None:
    """Whatever the text, parsing gives a key that prints as it, or a `FormatError`."""
    try:
        found = Verifier.parse(text)
    except FormatError:
        return
    assert str(found) == text


def test_any_byte_changed() -> None:
    """No note opens after a change of one bit of any of its bytes, or with any byte left out or doubled."""
    for at in range(len(NOTE)):
        before, byte, after = NOTE[:at], NOTE[at], NOTE[at + 1 :]
        for changed in (bytes([byte ^ 1 << at % 8]), bytes([byte ^ 0x20]), b"", bytes([byte, byte])):
            with pytest.raises((FormatError, VerificationError)):
                open_note(before + changed + after, [SHOP.verifier], verify)


@given(st.integers(0, len(NOTE) - 1), st.integers(1, 255))
def test_any_byte_changed_anyhow(at: int, new: int) -> None:
    """No note opens after any change of any one byte."""
    data = NOTE[:at] + bytes([NOTE[at] ^ new]) + NOTE[at + 1 :]
    with pytest.raises((FormatError, VerificationError)):
        open_note(data, [SHOP.verifier], verify)
