"""Addresses and their keys: the only place where a text becomes the key form `address/v1`.

The form is frozen: every key in every ledger is an HMAC over it. It depends on nothing that may be absent, and no rule
may change without a new version name. A key form is a kind, a colon and a value:

* `email:` local part NFC and case-folded (Unicode D145), a dot-atom of 1 to 64 octets (RFC 5321, RFC 6531); domain in
  lower case, each label outside ASCII as its IDNA 2008 A-label (RFC 5891), with no other mapping (no UTS 46: `ß` and
  `ss` are two domains, full-width letters are refused); 254 octets at most. Dots and `+tags` are kept.
* `phone:` E.164, `+` and 8 to 15 digits.
* `post:`, `device:`, `customer:` NFC, 1 to 256 printable characters, case kept.

A stop takes any input whatever: what can't be read as an address is keyed `verbatim:`.
"""

from __future__ import annotations

import hmac
import re
from hashlib import sha256
from typing import Final
from unicodedata import normalize

from consentlib.errors import AddressError

KINDS: Final = ("email", "phone", "post", "device", "customer")

_CHANNELS: Final = {"email": "email", "phone": "sms", "post": "post", "device": "device", "customer": "none"}
_DOMAIN_TAG: Final = b"consentlib.dev/address/v1\n"

# Trimmed from both ends: white space, and the invisible marks that copying from mail programs and spreadsheets leaves.
_TRIM: Final = (
    "\t\n\v\f\r\x1c\x1d\x1e\x1f \x85\xa0\u1680\u2000\u2001\u2002\u2003\u2004\u2005\u2006\u2007\u2008\u2009\u200a"
    "\u2028\u2029\u202f\u205f\u3000\u200b\u200e\u200f\u202a\u202b\u202c\u202d\u202e\u2060\u2066\u2067\u2068\u2069\ufeff"
)
_PHONE_NOISE: Final = dict.fromkeys(map(ord, " \xa0\u2007\u2009\u202f.-\u2010\u2011\u2012\u2013\u2212()"))
_LONGEST_INPUT: Final = 1024
_LONGEST_VERBATIM: Final = 1000
_LONGEST_FOLDED: Final = 4000  # putting a long run of combining marks in order takes quadratic time

_ATEXT: Final = r"a-z0-9!#$%&'*+/=?^_`{|}~\-"
_LABEL: Final = r"[a-z0-9](?:[a-z0-9-]{0,61}[a-z0-9])?"
# Short, so that no part can be too long; possessive and without counted repeats, which halves its time.
_PLAIN_LENGTH: Final = 64
_PLAIN_LABEL: Final = "[a-z0-9]++(?:-[a-z0-9]++)*+"
_PLAIN_EMAIL: Final = re.compile(
    rf"(?:email:)?+[{_ATEXT}]++(?:\.[{_ATEXT}]++)*+@{_PLAIN_LABEL}(?:\.{_PLAIN_LABEL})++"
).fullmatch
# What is no `atext` and no dot; the range above ASCII is left to `isprintable`, since compiling it takes milliseconds.
_WORD: Final = r'[^\x00-\x20"(),.:;<>@\[\\\]\x7f]+'
_LOCAL: Final = re.compile(rf"{_WORD}(?:\.{_WORD})*").fullmatch
_DOMAIN: Final = re.compile(rf"(?:{_LABEL}\.)+{_LABEL}").fullmatch
_PHONE: Final = re.compile(r"\+[1-9][0-9]{7,14}").fullmatch
_UNREAD_PREFIXES: Final = re.compile(r"(?:\s*(?:email|phone|verbatim)\s*:)+").match
_ENCLOSED: Final = re.compile(r"<([^<>]*)>|mailto:([^\s<>]*)").findall
_DIGEST: Final = re.compile(r"verbatim-sha256:[0-9a-f]{64}").fullmatch


def normalise(text: str) -> str:
    """The key form of an address, with its kind. A fixed point: a key form is its own key form.

    Raises `AddressError`, whose message never repeats the text.
    """
    if type(text) is str and len(text) <= _PLAIN_LENGTH and text.isascii():
        plain = text.lower()
        if _PLAIN_EMAIL(plain):
            return plain if plain.startswith("email:") else "email:" + plain
    return _normalise_any(text)


def _normalise_any(text: str) -> str:
    if not isinstance(text, str):
        raise AddressError(f"expected an address as text, found `{type(text).__name__}`")
    text = text.strip(_TRIM)
    if len(text) > _LONGEST_INPUT:
        raise AddressError(f"expected an address of at most {_LONGEST_INPUT} characters, found a longer text")
    kind, colon, value = text.partition(":")
    kind = kind.rstrip(_TRIM).lower()
    if not colon or kind not in _CHANNELS:
        value = text
        if "@" in text:
            kind = "email"
        elif text.startswith("+"):
            kind = "phone"
        else:
            raise AddressError("expected an address with `@`, with `+` or with a kind in front, found none of these")
    value = normalize("NFC", value).strip(_TRIM)
    if kind == "email":
        return "email:" + _email(value)
    if kind == "phone":
        return "phone:" + _phone(value)
    if not 1 <= len(value) <= 256:
        raise AddressError(f"expected 1 to 256 characters after `{kind}:`, found another number")
    if not value.isprintable():
        raise AddressError(f"expected printable characters after `{kind}:`, found a control or unassigned character")
    return f"{kind}:{value}"


def _email(value: str) -> str:
    local, at, domain = value.partition("@")
    if not at or "@" in domain:
        raise AddressError("expected an e-mail address with one `@`, found none or several")
    local = _fold(local)
    if not local.isprintable() or _LOCAL(local) is None:
        raise AddressError("expected a dot-atom before the `@` (RFC 5322 3.2.3), found something else")
    if len(local.encode()) > 64:
        raise AddressError("expected at most 64 octets before the `@`, found more")
    domain = ".".join(map(_ascii_label, _lower(domain).split(".")))
    if _DOMAIN(domain) is None:
        raise AddressError("expected a domain of two or more labels of letters, digits and hyphens, found another")
    if len(local.encode()) + 1 + len(domain) > 254:
        raise AddressError("expected an e-mail address of at most 254 octets, found a longer one")
    return f"{local}@{domain}"


def _phone(value: str) -> str:
    if "(0)" in value:  # the digits with and without this zero are two different numbers: don't guess
        raise AddressError("expected a phone number in E.164, found one with a trunk zero in parentheses")
    digits = value.translate(_PHONE_NOISE)
    if _PHONE(digits) is None:
        raise AddressError("expected a phone number in E.164, `+` and 8 to 15 digits, found something else")
    return digits


def _fold(text: str) -> str:
    # Decomposed first, or folding could leave a text that folds once more (Unicode D145).
    return normalize("NFC", normalize("NFD", text).casefold())


def _lower(domain: str) -> str:
    # Letter by letter: `str.lower` of a whole word picks a final sigma by its neighbours.
    return normalize("NFC", "".join(map(str.lower, domain)))


def _ascii_label(label: str) -> str:
    if label.isascii():  # an A-label (`xn--`) stays as it is, so that its key never depends on the tables installed
        return label
    import idna  # here, because a check of a plain address must not pay for it

    try:
        return idna.alabel(label).decode("ascii")
    except ValueError:
        raise AddressError("expected a domain valid under IDNA 2008, found another") from None


def stop_key(text: object) -> str:
    """The key form under which a stop is kept. Never raises, whatever `text` is.

    The result of `normalise` where that accepts the text, else `verbatim:` and the text trimmed, in NFC and folded in
    case; over 1,000 characters `verbatim-sha256:` and the SHA-256 of its UTF-8 in hex. A fixed point, like `normalise`.
    `email:`, `phone:` or nothing in front of an unreadable address make no difference. `Anna <anna@example.dk>` and
    `mailto:anna@example.dk` reach the address inside, where there is exactly one. Lone surrogates are written as
    `\\udc80`, integers of up to 18 digits as digits; what is neither text, bytes nor such a number shares one key.
    """
    shown = as_text(text)
    try:
        return normalise(shown)
    except AddressError:
        pass
    if len(shown) > _LONGEST_FOLDED:
        return _digest(shown.casefold())
    folded = _fold(shown).strip(_TRIM)
    if _DIGEST(folded):
        return folded
    prefixes = _UNREAD_PREFIXES(folded)
    if prefixes is not None:
        folded = folded[prefixes.end() :].strip(_TRIM)
        try:
            return normalise(folded)
        except AddressError:
            pass
    inside = _inside(folded)
    if inside is not None:
        return inside
    if len(folded) > _LONGEST_VERBATIM:
        return _digest(folded)
    return "verbatim:" + folded


def _inside(text: str) -> str | None:
    """The key form of the one address in angle brackets or after `mailto:` (RFC 5322 3.4, RFC 6068), else None."""
    found = set()
    for bracketed, linked in _ENCLOSED(text):
        address = bracketed.strip(_TRIM).removeprefix("mailto:") or linked
        try:
            found.add(normalise(address.partition("?")[0].replace("%40", "@")))
        except AddressError:
            continue
    return found.pop() if len(found) == 1 else None


def _digest(text: str) -> str:
    return "verbatim-sha256:" + sha256(text.encode()).hexdigest()


def as_text(value: object) -> str:
    """The text of whatever was handed in as an address, without lone surrogates. Never raises; nothing for what is no text."""
    # By exact type and never through `str` or `repr` of a stranger: those may raise, or name a memory address.
    kind = type(value)
    if kind is str:
        return value.encode(errors="backslashreplace").decode()  # type: ignore[attr-defined,no-any-return]
    if issubclass(kind, str):
        return as_text(str.__str__(value))
    if issubclass(kind, bytes):
        return bytes.decode(value, errors="backslashreplace")  # type: ignore[arg-type]
    if issubclass(kind, bytearray):
        return bytearray.decode(value, errors="backslashreplace")  # type: ignore[arg-type]
    if kind is int and abs(value) < 10**18:  # type: ignore[arg-type]
        return str(value)
    return ""


def kind_of(normal: str) -> str:
    """The kind of a key form: one of `KINDS`, or `verbatim`. Raises `AddressError` for anything else."""
    kind = normal.partition(":")[0]
    if kind in _CHANNELS:
        return kind
    if kind in ("verbatim", "verbatim-sha256"):
        return "verbatim"
    raise AddressError("expected a key form with a known kind in front, found another text")


def default_channel(normal: str) -> str:
    """The channel a question about this key form means where it names none."""
    kind = kind_of(normal)
    if kind == "verbatim":
        return "email" if "@" in normal else "none"
    return _CHANNELS[kind]


def address_key(secret: bytes, normal: str) -> bytes:
    """The 32 bytes that stand for a key form in the ledger: HMAC-SHA-256 under the ledger's address key.

    The message is `consentlib.dev/address/v1`, a line feed, and the key form in UTF-8.
    """
    return hmac.digest(secret, _DOMAIN_TAG + normal.encode(), "sha256")
