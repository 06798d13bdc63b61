"""Canonical JSON and strict reading: the only place where bytes become values and values become bytes.

Canonical bytes are RFC 8785 (JCS) by restricting the domain: objects with ASCII keys, text in NFC without lone surrogates,
integers below 2^53 in size, booleans, null; no floats. On that domain the standard library's `json` writes exactly the
bytes RFC 8785 asks for.
"""

from __future__ import annotations

import json
import re
from collections.abc import Callable
from datetime import UTC, datetime, timedelta
from typing import Any, Final
from unicodedata import is_normalized

from consentlib.errors import FormatError, TimeError

_BOUND: Final = 2**53
_DEPTH: Final = 32
_EPOCH: Final = datetime(1970, 1, 1, tzinfo=UTC)
_MS: Final = timedelta(milliseconds=1)
_RFC3339: Final = re.compile(r"(\d{4})-(\d\d)-(\d\d)[Tt](\d\d):(\d\d):(\d\d)(?:\.(\d{1,9}))?([Zz]|[+-]\d\d:\d\d)?", re.ASCII)


def writer(*, sort_keys: bool) -> Callable[[Any], str]:
    """A function that writes JSON without spaces. Where the C encoder is there it is made once: `JSONEncoder.encode` makes
    one a call, which takes as long as what it then does for a small value."""
    encoder = json.JSONEncoder(ensure_ascii=False, sort_keys=sort_keys, separators=(",", ":"), allow_nan=False)
    make = getattr(json.encoder, "c_make_encoder", None)
    if make is None:
        return encoder.encode
    pieces = make(None, encoder.default, json.encoder.encode_basestring, None, ":", ",", sort_keys, False, False)
    return lambda value: "".join(pieces(value, 0))


_encode: Final = writer(sort_keys=True)


def encode(value: Any) -> bytes:
    """The canonical bytes of `value`. Raises `FormatError` for anything outside the domain."""
    _check(value, 0)
    return _encode(value).encode()


def encode_typed(value: Any) -> bytes:
    """`encode` for values whose types this library has already checked: same bytes, without the walk."""
    return _encode(value).encode()


def decode(data: bytes) -> Any:
    """The value of canonical bytes. Raises `FormatError` unless `encode` gives `data` back exactly."""
    value = read(data)
    if encode(value) != data:
        raise FormatError("expected canonical JSON (RFC 8785), found another spelling of the same value")
    return value


def read(data: bytes | str) -> Any:
    """The value of a JSON text in any spelling, keys and text in any script and form.

    Duplicate keys, floats, NaN, integers of 2^53 and more, lone surrogates, deep nesting and invalid UTF-8 are refused.
    """
    try:
        text = data if isinstance(data, str) else data.decode("utf-8")
        value = json.loads(text, object_pairs_hook=_object, parse_float=_no_float, parse_constant=_no_float)
    except FormatError:
        raise
    except UnicodeDecodeError:
        raise FormatError("expected UTF-8, found other bytes") from None
    except RecursionError:
        raise FormatError(f"expected JSON nested at most {_DEPTH} deep, found deeper") from None
    except json.JSONDecodeError as error:
        raise FormatError(f"expected JSON, found an error at character {error.pos}: {error.msg.lower()}") from None
    except ValueError:
        raise FormatError("expected integers below 2^53, found a larger one") from None
    _check(value, 0, canonical=False)
    return value


def _object(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    found = dict(pairs)
    if len(found) != len(pairs):
        raise FormatError("expected each key once in an object, found a duplicate")
    return found


def _no_float(_: str) -> Any:
    raise FormatError("expected integers only, found a number with a fraction, exponent, NaN or infinity")


def _check(value: Any, depth: int, canonical: bool = True) -> None:
    kind = type(value)
    if kind is str:
        if not value.isascii() and not _text_ok(value, canonical):
            raise FormatError("expected text in Unicode NFC without lone surrogates, found other text")
    elif kind is int:
        if not -_BOUND < value < _BOUND:
            raise FormatError("expected integers below 2^53, found a larger one")
    elif kind is dict or kind is list or kind is tuple:
        if depth >= _DEPTH:
            raise FormatError(f"expected JSON nested at most {_DEPTH} deep, found deeper")
        if kind is dict:
            for key in value:
                if type(key) is not str or not (key.isascii() or (not canonical and _text_ok(key, canonical))):
                    raise FormatError("expected ASCII text as keys, found something else")
            value = value.values()
        for item in value:
            _check(item, depth + 1, canonical)
    elif value is not None and kind is not bool:
        raise FormatError(f"expected text, integers, booleans, null, lists and objects, found `{kind.__name__}`")


def _text_ok(text: str, canonical: bool) -> bool:
    try:
        text.encode()
    except UnicodeEncodeError:
        return False
    return not canonical or is_normalized("NFC", text)


def millis(value: datetime | int) -> int:
    """Integer milliseconds since 1970-01-01T00:00:00Z. Raises `TimeError` for naive, finer or absurd times."""
    if isinstance(value, datetime):
        if value.utcoffset() is None:
            raise TimeError("expected a time with a zone, found a naive one")
        count, rest = divmod(value - _EPOCH, _MS)
        if rest:
            raise TimeError("expected a time in whole milliseconds, found a finer one")
        value = count
    if type(value) is not int:
        raise TimeError(f"expected a datetime with a zone, found `{type(value).__name__}`")
    if not -62135596800000 <= value <= 253402300799999:
        raise TimeError("expected milliseconds within the years 1 to 9999, found another number")
    return value


def read_time(text: str) -> int:
    """Milliseconds of an RFC 3339 time with zone. Raises `TimeError`."""
    found = _RFC3339.fullmatch(text) if isinstance(text, str) else None
    if found is None:
        raise TimeError("expected an RFC 3339 time such as `2026-09-01T10:00:00Z`, found something else")
    *numbers, fraction, zone = found.groups()
    if zone is None:
        raise TimeError("expected a time with a zone, found a naive one")
    fraction = (fraction or "").ljust(3, "0")
    if fraction[3:].strip("0"):
        raise TimeError("expected a time in whole milliseconds, found a finer one")
    try:
        offset = "+00:00" if zone in "Zz" else zone
        moment = datetime.fromisoformat("{}-{}-{}T{}:{}:{}".format(*numbers) + offset)
        return millis((moment - _EPOCH) // _MS + int(fraction[:3]))
    except (ValueError, OverflowError):
        raise TimeError("expected a time that exists, found an impossible date, time or zone") from None


def show_time(millis: int) -> str:
    """RFC 3339 in UTC, with milliseconds only where there are any."""
    moment = _EPOCH + timedelta(milliseconds=millis)
    return moment.isoformat(timespec="milliseconds" if millis % 1000 else "seconds").replace("+00:00", "Z")
