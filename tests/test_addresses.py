"""Addresses: key forms, keys of stops, and the HMAC over them."""

from __future__ import annotations

import hashlib
import hmac
import subprocess
import sys
import unicodedata

import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from consentlib import addresses
from consentlib.addresses import address_key, default_channel, kind_of, normalise, stop_key
from consentlib.errors import AddressError

SECRET = bytes(range(32))

# Frozen: every key in every ledger hangs on these. A change here needs a new version name, never an edit.
GOLDEN = [
    ("anna@example.dk", "email:anna@example.dk", "8c476a047eb525e9c9bed0ec05caa376d25effa69b837fc40633db7c3bd871e3"),
    (
        "Anna.Jensen@Example.DK",
        "email:anna.jensen@example.dk",
        "916663a900bc0f033a5586c36c4448f290980a2f61a1fda7a11fc939d737e116",
    ),
    (
        "  anna@example.dk\n",
        "email:anna@example.dk",
        "8c476a047eb525e9c9bed0ec05caa376d25effa69b837fc40633db7c3bd871e3",
    ),
    (
        "\u200banna@example.dk\ufeff",
        "email:anna@example.dk",
        "8c476a047eb525e9c9bed0ec05caa376d25effa69b837fc40633db7c3bd871e3",
    ),
    (
        "email:ANNA@EXAMPLE.DK",
        "email:anna@example.dk",
        "8c476a047eb525e9c9bed0ec05caa376d25effa69b837fc40633db7c3bd871e3",
    ),
    (
        "Email: anna@example.dk",
        "email:anna@example.dk",
        "8c476a047eb525e9c9bed0ec05caa376d25effa69b837fc40633db7c3bd871e3",
    ),
    (
        "anna+shop@example.dk",
        "email:anna+shop@example.dk",
        "75f01adee4e630961909c7fdb737fcf3bea17aadfc0d262325d143b1f01db7e9",
    ),
    (
        "anna.b.c@example.dk",
        "email:anna.b.c@example.dk",
        "1bb427049ce2d874f061664ca25846986d1b8e2b6d512df7edba0ebb0d275ede",
    ),
    (
        "o'neil_{x}@mail.example.co.uk",
        "email:o'neil_{x}@mail.example.co.uk",
        "8e4cae4888abdf33f339b19b3cebfe627b58c0f456b597f9b2420b9444be9fb8",
    ),
    ("+45@example.dk", "email:+45@example.dk", "bf32d979e779616edad1dc92eaf7c7e45c6a8fd67f29a43f17cf070a280891dd"),
    (
        "Ren\xc9@example.fr",
        "email:ren\xe9@example.fr",
        "f996ee2bc8a3bc5af33a5088d668f6cb744aab7fcb504036c2a0142ae428ea90",
    ),
    (
        "rene\u0301@example.fr",
        "email:ren\xe9@example.fr",
        "f996ee2bc8a3bc5af33a5088d668f6cb744aab7fcb504036c2a0142ae428ea90",
    ),
    (
        "STRASSE@example.de",
        "email:strasse@example.de",
        "841ae36a3d0251a688bc152b8ff9d1c091c9428fec10f71b492bb43de0b43ed5",
    ),
    (
        "stra\xdfe@example.de",
        "email:strasse@example.de",
        "841ae36a3d0251a688bc152b8ff9d1c091c9428fec10f71b492bb43de0b43ed5",
    ),
    (
        "anna@stra\xdfe.de",
        "email:anna@xn--strae-oqa.de",
        "fa64b09fcd925e49e6b9302926b615086a96802d794c547a43eb133d7f301b26",
    ),
    (
        "anna@STRA\u1e9eE.de",
        "email:anna@xn--strae-oqa.de",
        "fa64b09fcd925e49e6b9302926b615086a96802d794c547a43eb133d7f301b26",
    ),
    ("anna@strasse.de", "email:anna@strasse.de", "8a88218524742863c82939b4ea05feee90bc24929c9442c7edfa0ef823e1dee6"),
    ("I@example.com", "email:i@example.com", "6e964f56fef6aba40488120276c30e9ce81d15f21ff2f3ba2e71dc2b229f9600"),
    (
        "\u0130@example.com",
        "email:i\u0307@example.com",
        "abcd3aa851bfa108659c5d12b9de9f64082633105ae0252d7894383d694e773d",
    ),
    (
        "\u0131@example.com",
        "email:\u0131@example.com",
        "8036a19001600364e98a4b7be8cb69e15adb6635048708ad757e440f6ef84184",
    ),
    (
        "\uff21nna@example.dk",
        "email:\uff41nna@example.dk",
        "12a194fca1bf4e72ab984d50fcfe39047e741f2362eea84b1156e9c2e214852c",
    ),
    (
        "S\xd8REN@R\xd8DGR\xd8D.dk",
        "email:s\xf8ren@xn--rdgrd-vuad.dk",
        "9e7a990058dc3ebdf37a11026e399f4a6622940d3f3a68c872df3595063a0140",
    ),
    (
        "s\xf8ren.\xe6\xe5@bl\xe5b\xe6r.example",
        "email:s\xf8ren.\xe6\xe5@xn--blbr-roah.example",
        "e062e121ea347f27986af1541f995114fa7012c0258c9790265cafe0930b8640",
    ),
    (
        "sa\u030aren@bla\u030aba\u0308r.example",
        "email:s\xe5ren@xn--blbr-noae.example",
        "46c3951ffc3ebec909d6c74d27421364c217946f4e619027415474a723b0cb79",
    ),
    (
        "anna@xn--rdgrd-vuad.dk",
        "email:anna@xn--rdgrd-vuad.dk",
        "140fe5baff203e4fb9c85f6aaa7e6de1a3b579c9c9a8bce7aeaa4435d0a132e5",
    ),
    (
        "ANNA@XN--RDGRD-VUAD.DK",
        "email:anna@xn--rdgrd-vuad.dk",
        "140fe5baff203e4fb9c85f6aaa7e6de1a3b579c9c9a8bce7aeaa4435d0a132e5",
    ),
    (
        "\u039f\u0394\u039f\u03a3@\u039f\u0394\u039f\u03a3.gr",
        "email:\u03bf\u03b4\u03bf\u03c3@xn--pxavbq.gr",
        "9c592ee99b882402abbacb11ed8cdc89ef42f8f1869f96b16aace4f052245038",
    ),
    (
        "\u03b1@\u03bf\u03b4\u03cc\u03c2.gr",
        "email:\u03b1@xn--pxavk3b.gr",
        "72d0df746ca381eeca72f40739bb8805f747780217a4805588f3e00c84538a31",
    ),
    (
        "\u5f20@\u4f8b\u5b50.\u6d4b\u8bd5",
        "email:\u5f20@xn--fsqu00a.xn--0zwm56d",
        "cb51132e5807fd153a095f674ca8bbe8402e312bea7bd57090ad6374b5b91bf5",
    ),
    (
        "anna@a--b.example",
        "email:anna@a--b.example",
        "79f8ea4ec0047a3bcc59ba5e679479799af78cba73e088ec6875c4b541b5f62b",
    ),
    ("+4512345678", "phone:+4512345678", "b7ea7bdd13d2e65bbfe1b8d3129883b92e266c1ad14d53880619b6ef8d522748"),
    ("+45 12 34 56 78", "phone:+4512345678", "b7ea7bdd13d2e65bbfe1b8d3129883b92e266c1ad14d53880619b6ef8d522748"),
    (
        "phone:(+45) 12.34-56\u201178",
        "phone:+4512345678",
        "b7ea7bdd13d2e65bbfe1b8d3129883b92e266c1ad14d53880619b6ef8d522748",
    ),
    ("+1 (202) 555-0100", "phone:+12025550100", "adb696e830170993c5af7b9f662fd40af971b6d8d1877ea6b7c96033d41f59d0"),
    ("+491234567890123", "phone:+491234567890123", "1f29651658cf47f064b10e4526fa119b6e21ec9c3051a0dbf75aa152925c016b"),
    (
        "post: N\xf8rregade 1, 1000 K\xf8benhavn ",
        "post:N\xf8rregade 1, 1000 K\xf8benhavn",
        "faa59eefabfd41856964205ebdc8314d414cbc7b60bb56c031ff0d38c9424b1e",
    ),
    (
        "post:No\u0308rrega\u030ard 1",
        "post:N\xf6rreg\xe5rd 1",
        "17bf3a808030a475b6f33bcfb298d648c8dc5ca22c025dcd842f8dddcef8be3d",
    ),
    (
        "device:3f1c9b2e-77aa",
        "device:3f1c9b2e-77aa",
        "e412ac771f2b38aeb0c02a20c2e2e074ee0985b12920e4b5728ba3aa2f12884a",
    ),
    ("customer:1234", "customer:1234", "45b5c74917327a3208b01ac295a27af1e7b1e6bf45b054c0c3c942b4ae874c17"),
    ("CUSTOMER: Ab-12", "customer:Ab-12", "38d2d5bd9839f2002dc0651b120a8ad12ec1edc7ff01b322d7c374f7efbf064b"),
]

REFUSED = [
    "",
    "anna",
    "1234",
    "@",
    "anna@",
    "@example.dk",
    "anna@example",
    "anna@@example.dk",
    "anna@example.dk@example.dk",
    "anna..b@docomo.ne.jp",
    ".anna@example.dk",
    "anna.@example.dk",
    "an na@example.dk",
    "anna@exa mple.dk",
    "anna@example..dk",
    "anna@example.dk.",
    "anna@-example.dk",
    "anna@example-.dk",
    "anna@exa_mple.dk",
    "anna@[192.0.2.1]",
    '"anna b"@example.dk',
    "Anna <anna@example.dk>",
    "mailto:anna@example.dk",
    "an\x00na@example.dk",
    "an\u200bna@example.dk",
    "an\ud800na@example.dk",
    "a" * 65 + "@example.dk",
    "\u00e6" * 33 + "@example.dk",
    "anna@" + "a" * 64 + ".dk",
    "anna@" + "\u00e6" * 63 + ".dk",
    "anna@" + "a." * 130 + "dk",
    "a" * 64 + "@" + "a." * 94 + "dk",
    "anna@\uff45xample.dk",
    "anna@example\u3002dk",
    "anna@\u2665.dk",
    "anna@a\u0301\u0301--\u00e6.xn--\u00e6.dk",
    "email:+4512345678",
    "phone:anna@example.dk",
    "+",
    "+1234567",
    "+1234567890123456",
    "+0012345678",
    "+44 (0)20 7946 0958",
    "+45 1234567a",
    "+45 12+345678",
    "+\uff14\uff15\uff11\uff12\uff13\uff14\uff15\uff16\uff17\uff18",
    "004512345678",
    "customer:",
    "customer: ",
    "post:" + "x" * 257,
    "post:one\ntwo",
    "device:a\x7fb",
    "customer:a\ud800b",
    "verbatim:anna",
    "fax:+4512345678",
    "x" * 5000,
    " " * 5000 + "x" * 1025 + "@example.dk",
]


@pytest.mark.parametrize(("text", "normal", "key"), GOLDEN)
def test_golden(text: str, normal: str, key: str) -> None:
    """Key form and key of each frozen vector, byte for byte, for grants and for stops."""
    assert normalise(text) == normal
    assert stop_key(text) == normal
    assert address_key(SECRET, normal).hex() == key


@pytest.mark.parametrize("text", REFUSED)
def test_refused(text: str) -> None:
    """What is no address is refused in one line that does not repeat it; a stop for it has a key all the same."""
    with pytest.raises(AddressError) as caught:
        normalise(text)
    message = str(caught.value)
    assert message.startswith("expected ")
    assert ", found " in message
    assert "\n" not in message
    if len(text) > 4 and not text.strip().endswith(":"):
        assert text not in message
    assert stop_key(text)


def test_several_at_signs_are_named() -> None:
    """A second `@` is what the message speaks of, not the domain after it."""
    with pytest.raises(AddressError, match="with one `@`"):
        normalise("anna@example.dk@example.dk")


def test_sigma_does_not_depend_on_its_neighbours() -> None:
    """A capital sigma becomes the same letter everywhere in a domain, as in every other program."""
    assert normalise("anna@\u039f\u03a31.gr") == normalise("anna@\u03bf\u03c31.gr")


def test_equivalent_spellings_of_a_stop_share_a_key() -> None:
    """Canonically equivalent texts (Unicode D145) have one key, whatever the order of their marks."""
    spellings = ("\u03b1\u0345\u0301 x", "\u03b1\u0301\u0345 x", "\u1fb4 x")
    assert len({stop_key(text) for text in spellings}) == 1


@pytest.mark.parametrize("value", [None, 1234, b"anna@example.dk", ["anna@example.dk"]])
def test_refused_types(value: object) -> None:
    """Only text is an address."""
    with pytest.raises(AddressError, match=f"found `{type(value).__name__}`"):
        normalise(value)  # type: ignore[arg-type]


@pytest.mark.parametrize(
    "text",
    [
        "a" * 64 + "@example.dk",
        "\u00e6" * 32 + "@example.dk",
        "anna@" + "a" * 63 + ".dk",
        "a" * 64 + "@" + "a." * 93 + "abc",
        "+12345678",
        "+123456789012345",
        "post:" + "x" * 256,
        "customer:x",
    ],
)
def test_limits_are_inclusive(text: str) -> None:
    """The longest and shortest addresses that are allowed are allowed."""
    assert normalise(text).endswith(text[-3:])


plain_part = st.text("abzABZ019.+-_!'{", min_size=1, max_size=30)
plain_domain = st.lists(st.text("abZ09-", min_size=1, max_size=20), min_size=1, max_size=4).map(".".join)
plain_emails = st.tuples(st.sampled_from(["", "email:", "EMAIL:"]), plain_part, plain_domain).map(
    lambda parts: f"{parts[0]}{parts[1]}@{parts[2]}"
)
letters = st.text(min_size=1, max_size=12)
danish = st.text("aeou\u00e6\u00f8\u00e5\u00c6\u00d8\u00c5\u00e9\u00df.-", min_size=1, max_size=12)
emails = st.tuples(letters | danish, danish | plain_domain, st.sampled_from(["dk", "r\u00f8d", "\u6d4b\u8bd5"])).map(
    lambda parts: f"{parts[0]}@{parts[1]}.{parts[2]}"
)
phones = st.text("0123456789 -.()", max_size=24).map("+".__add__)
others = st.tuples(st.sampled_from(["post:", "device:", "customer:", "Email:", "phone: "]), letters).map("".join)
texts = plain_emails | emails | phones | others | st.text() | st.text(st.characters())


def _outcome(form: object, text: str) -> str | None:
    try:
        return form(text)  # type: ignore[operator,no-any-return]
    except AddressError:
        return None


@given(plain_emails | st.text(st.characters(max_codepoint=127), max_size=80))
@example("anna@" + "a" * 58 + ".x")
@example("a" * 60 + "@b.c")
def test_fast_path_is_the_full_path(text: str) -> None:
    """The plain-ASCII path and the full path give the same answer, or both refuse."""
    assert _outcome(normalise, text) == _outcome(addresses._normalise_any, text)


@given(texts)
def test_key_form_is_a_fixed_point(text: str) -> None:
    """A key form is its own key form, in NFC, and encodes to UTF-8."""
    normal = _outcome(normalise, text)
    if normal is not None:
        assert normalise(normal) == normal
        assert unicodedata.is_normalized("NFC", normal)
        assert len(address_key(SECRET, normal)) == 32


def test_folding_any_character_is_a_fixed_point() -> None:
    """No character of the planes that have case folds once more, alone or before the mark that folds to a letter."""
    for mark in ("", "\u0345"):
        for point in range(0x20000):
            folded = addresses._fold(chr(point) + mark)
            assert addresses._fold(folded) == folded


@given(texts)
def test_stop_key_is_the_key_form(text: str) -> None:
    """A stop for an address that a grant may name has the grant's key."""
    normal = _outcome(normalise, text)
    if normal is not None:
        assert stop_key(text) == normal


class Hostile(str):
    """Text whose own methods raise."""

    def __str__(self) -> str:
        raise RuntimeError

    encode = strip = casefold = __repr__ = __len__ = __str__  # type: ignore[assignment]


class Stranger:
    """An object that raises whatever it is asked."""

    def __getattribute__(self, name: str) -> object:
        raise RuntimeError(name)

    def __repr__(self) -> str:
        raise RuntimeError

    __str__ = __repr__


@given(texts | st.binary() | st.integers() | st.none() | st.floats() | st.lists(st.text()))
@example(10**5000)
@example("\ud800@example.dk")
@example("email:" * 1000)
@example("\u0301" * 1500)
@example(bytearray(b"\xff"))
@example(True)
def test_stop_key_is_total(value: object) -> None:
    """Any input whatever has a key form for its stop: bounded, encodable, and its own key form."""
    key = stop_key(value)
    assert len(key) <= 1009
    assert len(address_key(SECRET, key)) == 32
    assert stop_key(key) == key
    assert kind_of(key) in (*addresses.KINDS, "verbatim")
    assert default_channel(key) in ("email", "sms", "post", "device", "none")


def test_stop_key_of_hostile_values() -> None:
    """Values whose own methods raise neither escape nor are asked."""
    assert stop_key(Hostile("Anna@example.dk")) == "email:anna@example.dk"
    assert stop_key(Stranger()) == stop_key(object()) == stop_key(None) == "verbatim:"
    assert stop_key(b"Anna@example.dk") == stop_key(bytearray(b"Anna@example.dk")) == "email:anna@example.dk"
    assert stop_key(4512345678) == "verbatim:4512345678"
    assert stop_key("\udc80@x") == "verbatim:\\udc80@x"


@pytest.mark.parametrize(
    "text",
    [
        "Anna..B@docomo.ne.jp",
        " anna..b@DOCOMO.ne.jp\n",
        "email:anna..b@docomo.ne.jp",
        "EMAIL : Anna..b@docomo.ne.jp",
        "verbatim:anna..b@docomo.ne.jp",
    ],
)
def test_unreadable_stop_has_one_key(text: str) -> None:
    """Case, white space and a kind in front make no difference to a stop that can't be read."""
    assert stop_key(text) == "verbatim:anna..b@docomo.ne.jp"


@given(st.text("abcXYZ \u00e6\u00d8\u00c9\u00e5@.:<>", max_size=1100))
def test_case_never_matters_to_an_unreadable_stop(text: str) -> None:
    """Upper and lower case of an unreadable address share a key."""
    if _outcome(normalise, text) is None:
        assert stop_key(text) == stop_key(text.upper()) == stop_key(text.lower())


def test_long_stop_is_a_digest() -> None:
    """Over 1,000 characters the key form holds the SHA-256 of the folded text; 1,000 are kept."""
    assert stop_key("X" * 1000) == "verbatim:" + "x" * 1000
    assert stop_key(" " + "X" * 1001) == "verbatim-sha256:" + hashlib.sha256(b"x" * 1001).hexdigest()
    assert stop_key("X" * 4001) == "verbatim-sha256:" + hashlib.sha256(b"x" * 4001).hexdigest()


def test_stop_key_takes_linear_time() -> None:
    """Texts made to be slow are not: a million characters return at once, where quadratic work would take hours."""
    for text in ("\u0301\u0323" * 500_000, "email:" * 200_000, " " * 500_000 + "email" + " " * 500_000, "a." * 500_000):
        assert kind_of(stop_key(text)) == "verbatim"


@pytest.mark.parametrize(
    ("normal", "kind", "channel"),
    [
        ("email:anna@example.dk", "email", "email"),
        ("phone:+4512345678", "phone", "sms"),
        ("post:N\u00f8rregade 1", "post", "post"),
        ("device:1", "device", "device"),
        ("customer:anna@example.dk", "customer", "none"),
        ("verbatim:anna..b@docomo.ne.jp", "verbatim", "email"),
        ("verbatim:12345678", "verbatim", "none"),
        ("verbatim-sha256:" + "0" * 64, "verbatim", "none"),
    ],
)
def test_kind_and_channel(normal: str, kind: str, channel: str) -> None:
    """Each kind of key form has its default channel."""
    assert kind_of(normal) == kind
    assert default_channel(normal) == channel


def test_kind_of_refuses_what_is_no_key_form() -> None:
    """A text without a known kind is no key form, and the error does not repeat it."""
    with pytest.raises(AddressError) as caught:
        kind_of("anna@example.dk")
    assert "anna" not in str(caught.value)


def test_address_key_is_the_documented_hmac() -> None:
    """The key is HMAC-SHA-256 over the version line and the key form, as another program would make it."""
    message = b"consentlib.dev/address/v1\nemail:s\xc3\xb8ren@example.dk"
    assert address_key(SECRET, "email:s\u00f8ren@example.dk") == hmac.new(SECRET, message, hashlib.sha256).digest()
    assert address_key(b"x" * 32, "email:s\u00f8ren@example.dk") != address_key(SECRET, "email:s\u00f8ren@example.dk")


def test_a_plain_address_loads_no_idna() -> None:
    """Importing the module and reading plain addresses, phones and bad stops does not import idna."""
    script = """
import sys
from consentlib.addresses import normalise, stop_key
for text in ("Anna@example.dk", "s\u00f8ren@example.dk", "+4512345678"):
    normalise(text)
stop_key("an na@x")
assert "idna" not in sys.modules
normalise("anna@r\u00f8d.dk")
assert "idna" in sys.modules
"""
    subprocess.run([sys.executable, "-c", script], check=True)
