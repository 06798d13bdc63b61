"""Checkpoints: their three lines, whose signature counts, and a log of another implementation."""

from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from small_log import ORIGIN, plain
from small_note import NEXT, SHOP, VECTORS, WITNESS, needs_vectors, root_of, signed

from consentlib.errors import FormatError, VerificationError
from consentlib.log import merkle
from consentlib.log.checkpoint import Checkpoint, open_checkpoint
from consentlib.log.leaf import base64
from consentlib.log.note import Verifier, format_note, parse_note, sign_note
from consentlib.signing import sign, verify

ROOT = base64(bytes(range(32))).decode()
GOLDEN = "Rita7VgCTnhaBmTd45nh6v3JbG1uPAcY14QpdLIhXU99p5p8rljfx4etrDgOm8g9ODXTgkbHuPEt0SDXs0mBV2CaSwg="
TEXT = f"{ORIGIN}\n20852163\n{ROOT}\n"


def test_golden_bytes() -> None:
    """The text and the signed note of a checkpoint stay what they were."""
    assert Checkpoint.parse(TEXT) == Checkpoint(ORIGIN, 20852163, bytes(range(32)))
    text = "littlesteps.dk/consent\n3\n2dTrH56actcPI+LXQ5A1DUgTCmfSMAjxp3rm5z1zN4Q=\n"
    assert signed(plain(3)).decode() == f"{text}\n\u2014 littlesteps.dk/consent {GOLDEN}\n"


MALFORMED = {
    "nothing": "",
    "two lines": f"{ORIGIN}\n3\n",
    "no last newline": TEXT[:-1],
    "extension line": f"{TEXT}extension\n",
    "empty line after": f"{TEXT}\n",
    "empty line before": f"\n{TEXT}",
    "no origin": f"\n3\n{ROOT}\n",
    "origin of capitals": f"Littlesteps.dk\n3\n{ROOT}\n",
    "origin with a space": f"little steps\n3\n{ROOT}\n",
    "origin of 129": f"{'a' * 129}\n3\n{ROOT}\n",
    "no size": f"{ORIGIN}\n\n{ROOT}\n",
    "leading zero": f"{ORIGIN}\n03\n{ROOT}\n",
    "plus": f"{ORIGIN}\n+3\n{ROOT}\n",
    "minus": f"{ORIGIN}\n-3\n{ROOT}\n",
    "space before": f"{ORIGIN}\n 3\n{ROOT}\n",
    "underscore": f"{ORIGIN}\n1_0\n{ROOT}\n",
    "hexadecimal": f"{ORIGIN}\n0x3\n{ROOT}\n",
    "fraction": f"{ORIGIN}\n3.0\n{ROOT}\n",
    "other digits": f"{ORIGIN}\n\u0663\n{ROOT}\n",
    "2^53": f"{ORIGIN}\n{2**53}\n{ROOT}\n",
    "17 digits": f"{ORIGIN}\n{10**16}\n{ROOT}\n",
    "endless digits": f"{ORIGIN}\n{'9' * 10_000}\n{ROOT}\n",
    "no root": f"{ORIGIN}\n3\n\n",
    "root without padding": f"{ORIGIN}\n3\n{ROOT[:-1]}\n",
    "root with loose bits": f"{ORIGIN}\n3\n{ROOT[:-2]}9=\n",
    "root of 31 bytes": f"{ORIGIN}\n3\n{base64(bytes(31)).decode()}\n",
    "root of 33 bytes": f"{ORIGIN}\n3\n{base64(bytes(33)).decode()}\n",
    "root with a space": f"{ORIGIN}\n3\n{ROOT[:20]} {ROOT[21:]}\n",
    "hexadecimal root": f"{ORIGIN}\n3\n{bytes(32).hex()}\n",
    "carriage returns": TEXT.replace("\n", "\r\n"),
}


@pytest.mark.parametrize("text", MALFORMED.values(), ids=MALFORMED)
def test_malformed(text: str) -> None:
    """What is not a checkpoint's text in its one spelling is refused."""
    with pytest.raises(FormatError, match=r"\Aexpected [^\n]*\Z"):
        Checkpoint.parse(text)


@pytest.mark.parametrize("change", [{"origin": "a\nb"}, {"size": -1}, {"size": 2**53}, {"size": True}, {"root": b""}])
def test_no_false_checkpoint(change: dict[str, Any]) -> None:
    """A checkpoint that has no text can't be made."""
    fields = {"origin": ORIGIN, "size": 3, "root": bytes(32)} | change
    with pytest.raises(FormatError):
        Checkpoint(**fields)


def test_opening() -> None:
    """A checkpoint signed by its origin's key opens, carries its note, and equals another of the same commitment."""
    note, again = signed(plain(3)), signed(plain(3), SHOP, WITNESS)
    opened = open_checkpoint(note, [SHOP.verifier, WITNESS.verifier], verify)
    assert (opened.origin, opened.size, opened.root, opened.note) == (ORIGIN, 3, root_of(plain(3)), note)
    assert opened == open_checkpoint(again, [SHOP.verifier], verify)
    assert note.decode() not in repr(opened)


def test_key_rotation() -> None:
    """A checkpoint that the old and the new key signed opens under either."""
    note = signed(plain(3), SHOP, NEXT)
    for key in (SHOP, NEXT):
        assert open_checkpoint(note, [key.verifier], verify).size == 3


def test_another_key() -> None:
    """Attack 13: signed by another key of the same name, a checkpoint does not open."""
    with pytest.raises(VerificationError, match="found none") as caught:
        open_checkpoint(signed(plain(3), NEXT), [SHOP.verifier], verify)
    assert caught.value.level == "signature"


def test_another_name() -> None:
    """Attack 13: a pinned key of another name, such as a witness's, can't stand for the origin's."""
    for note in (signed(plain(3), WITNESS), signed(plain(3), SHOP, origin="other.dk")):
        with pytest.raises(VerificationError, match="found only those of others") as caught:
            open_checkpoint(note, [SHOP.verifier, WITNESS.verifier], verify)
        assert (caught.value.level, caught.value.evidence) == ("signature", {"note": note})


def test_signed_and_no_checkpoint() -> None:
    """A note that a pinned key signed and that is no checkpoint is refused; unsigned, it is not even read."""
    with pytest.raises(FormatError, match="expected a checkpoint"):
        open_checkpoint(sign_note("hello\n", [SHOP], sign), [SHOP.verifier], verify)
    with pytest.raises(VerificationError, match="found none"):
        open_checkpoint(sign_note("hello\n", [NEXT], sign), [SHOP.verifier], verify)


def test_any_byte_changed() -> None:
    """No checkpoint opens after a change of any of its bytes."""
    note = signed(plain(3))
    for at in range(len(note)):
        with pytest.raises((FormatError, VerificationError)):
            open_checkpoint(note[:at] + bytes([note[at] ^ 1 << at % 8]) + note[at + 1 :], [SHOP.verifier], verify)


@given(st.from_regex(r"[a-z0-9./-]{1,128}", fullmatch=True), st.integers(0, 2**53 - 1), st.binary(min_size=32, max_size=32))
def test_round_trip(origin: str, size: int, root: bytes) -> None:
    """Any checkpoint comes back from its text."""
    made = Checkpoint(origin, size, root)
    assert Checkpoint.parse(made.text()) == made


PIECES = [ORIGIN, "\n", "0", "3", "9007199254740991", "9007199254740992", ROOT, "A", "=", " ", "\u0663"]


@given(st.text(max_size=60) | st.lists(st.sampled_from(PIECES), max_size=8).map("".join))
def test_fuzz(text: str) -> None:
    """Whatever the text, parsing gives a checkpoint that has it, or a `FormatError`."""
    try:
        found = Checkpoint.parse(text)
    except FormatError:
        return
    assert found.text() == text


@given(st.integers(0, len(TEXT) - 1), st.characters())
def test_edited_text(at: int, new: str) -> None:
    """A text with one character changed is another checkpoint in its one spelling, or none."""
    text = TEXT[:at] + new + TEXT[at + 1 :]
    try:
        found = Checkpoint.parse(text)
    except FormatError:
        return
    assert found.text() == text
    assert (found == Checkpoint.parse(TEXT)) == (text == TEXT)


@needs_vectors
@pytest.mark.parametrize("name", ["checkpoint", *(f"checkpoint.{size}" for size in range(16))])
def test_published_checkpoints(name: str) -> None:
    """The checkpoints that Tessera signed open under its key, commit to its leaf hashes, and format back to the same bytes."""
    log = VECTORS / "tessera-log"
    key = Verifier.parse("example.com/log/testdata+33d7b496+AeHTu4Q3hEIMHNqc6fASMsq3rKNx280NI+oO5xCFkkSx")
    note = (log / name).read_bytes()
    found = open_checkpoint(note, [key], verify)
    hashes = (log / f"tile/0/000.p/{found.size}").read_bytes() if found.size else b""
    assert found.root == merkle.root([hashes[at : at + 32] for at in range(0, len(hashes), 32)])
    text, signatures = parse_note(note)
    assert format_note(found.text(), signatures) == note == format_note(text, signatures)
