"""Reading of single values into the fields of events: exactly the type and form stated, or one line that says what was found.

Each reader takes the field's name, so that the error can say where; none repeats what it was given.
"""

from __future__ import annotations

import logging
import re
from collections.abc import Callable
from datetime import date as Date
from typing import Any, Final, Literal
from unicodedata import is_normalized, normalize

from attrs import Converter, field

from consentlib.addresses import as_text
from consentlib.codec import millis
from consentlib.errors import EventError, InputError, TimeError

ALL: Final = "all"

_log = logging.getLogger("consentlib")

_NAME: Final = re.compile(r"[A-Za-z0-9][A-Za-z0-9_.:/+-]{0,127}", re.ASCII)
_SHA256: Final = re.compile(r"[0-9a-f]{64}", re.ASCII)
_LONGEST_TEXT: Final = 4_000
_MOST_NAMES: Final = 64

Names = tuple[str, ...]
Scope = Names | Literal["all"]


def found_type(value: object) -> str:
    return f"`{type(value).__name__}`"


def read_name(value: Any, where: str) -> str:
    if type(value) is not str:
        raise EventError(f"expected text in `{where}`, found {found_type(value)}", field=where)
    if _NAME.fullmatch(value) is None:
        raise EventError(
            f"expected a name of 1 to 128 letters, digits and `_.:/+-` in `{where}`, found other text", field=where
        )
    return value


def read_text(value: Any, where: str) -> str:
    if type(value) is not str:
        raise EventError(f"expected text in `{where}`, found {found_type(value)}", field=where)
    if not 0 < len(value) <= _LONGEST_TEXT:
        raise EventError(f"expected 1 to {_LONGEST_TEXT} characters in `{where}`, found {len(value)}", field=where)
    if not value.isascii():
        if any("\ud800" <= c <= "\udfff" for c in value):
            raise EventError(f"expected Unicode text in `{where}`, found a lone surrogate", field=where)
        if not is_normalized("NFC", value):
            return normalize("NFC", value)
    return value


def read_word(value: Any, where: str) -> str:
    """What an operator says of an act of the ledger's own, such as who asked for it: a name, as it can never be erased."""
    try:
        return read_name(value, where)
    except EventError as error:
        raise InputError(str(error), note="it stays for ever: a role such as `dpo`, a reason such as `art17`") from None


def read_flag(value: Any, where: str) -> bool:
    if type(value) is not bool:
        raise EventError(f"expected true or false in `{where}`, found {found_type(value)}", field=where)
    return value


def read_names(value: Any, where: str) -> Names:
    if isinstance(value, str) or not isinstance(value, (list, tuple, set, frozenset)):
        raise EventError(f"expected a list of names in `{where}`, found {found_type(value)}", field=where)
    if len(value) > _MOST_NAMES:
        raise EventError(f"expected at most {_MOST_NAMES} names in `{where}`, found {len(value)}", field=where)
    return tuple(dict.fromkeys(read_name(one, where) for one in (value if isinstance(value, (list, tuple)) else sorted(value))))


def read_moment(value: Any, where: str) -> int:
    try:
        return millis(value)
    except TimeError as error:
        raise EventError(f"{error} in `{where}`", field=where) from None


def read_subject(value: Any, where: str) -> str:
    if type(value) is not str:
        raise EventError(f"expected an address as `{where}`, found {found_type(value)}", field=where)
    if not 0 < len(value) <= 1_000:
        raise EventError(f"expected an address of 1 to 1000 characters as `{where}`, found {len(value)}", field=where)
    return value


def read_addresses(value: Any, where: str) -> Names:
    if isinstance(value, str) or not isinstance(value, (list, tuple)) or len(value) > 16:
        raise EventError(f"expected a list of at most 16 addresses in `{where}`, found {found_type(value)}", field=where)
    return tuple(read_subject(one, where) for one in value)


def read_date(value: Any, where: str) -> Date:
    if type(value) is Date:
        return value
    try:
        if type(value) is str and len(value) == 10:
            return Date.fromisoformat(value)
    except ValueError:
        pass
    raise EventError(f"expected a date such as `1990-05-31` in `{where}`, found {found_type(value)}", field=where)


def read_digests(value: Any, where: str) -> Names:
    if not isinstance(value, (list, tuple)) or not all(type(one) is str and _SHA256.fullmatch(one) for one in value):
        raise EventError(f"expected a list of SHA-256 digests in hex in `{where}`, found something else", field=where)
    return tuple(value)


Reader = Callable[[Any, str], Any]


def checked(
    read: Reader,
    name: str,
    default: Any = ...,
    *,
    person: bool = False,
    positional: bool = False,
    alias: str | None = None,
) -> Any:
    """A field read strictly; optional where a default is given. `person` puts it in the erasable personal part."""
    options: dict[str, Any] = {} if default is ... else {"default": default}
    known = object() if default is ... else default

    def convert(value: Any) -> Any:
        return value if value is known else read(value, name)  # most fields of most events are left out

    return field(
        converter=Converter(convert),  # made once a field; from a bare function attrs makes one for each class that inherits it
        kw_only=not positional,
        alias=alias,
        repr=not person,
        metadata={"person": person},
        **options,
    )


def otherwise(read: Reader, widest: Any) -> Reader:
    """A reader for stops: what can't be read becomes the widest reading."""

    def lenient(value: Any, where: str) -> Any:
        try:
            return read(value, where)
        except Exception:  # noqa: BLE001  # a stranger's object may raise anything when looked at, and a stop is never refused
            return widest

    return lenient


def read_said(value: Any, where: str) -> int:
    """A time at which something happened. As a number before 2000 it is a mistake, most likely of seconds for milliseconds."""
    said = read_moment(value, where)
    if said < _OLDEST_NUMBER and type(value) is int:
        raise EventError(
            f"expected milliseconds since 1970 in `{where}`, found a number that would be before 2000: seconds?", field=where
        )
    return said


def read_said_of_stop(value: Any, where: str) -> int | None:
    """The same of a stop: before 1990 it would void the stop, so it is dropped, as what can't be read is. Then the stop counts
    from when it is recorded."""
    said = otherwise(read_moment, None)(value, where)
    if said is not None and said >= _EARLIEST_STOP:
        return int(said)
    _log.warning("a stop counts from when it is recorded, as its `%s` can't be read or is before 1990", where)
    return None


_OLDEST_NUMBER: Final = 946_684_800_000
_EARLIEST_STOP: Final = 631_152_000_000


def read_reach(value: Any, where: str) -> Scope:
    return ALL if value is None or value == ALL else read_names(value, where) or ALL


def one_of(*allowed: str) -> Reader:
    def read(value: Any, where: str) -> str:
        if type(value) is not str or value not in allowed:
            listed = ", ".join(f"`{one}`" for one in allowed)
            raise EventError(f"expected one of {listed} in `{where}`, found {found_type(value)}", field=where)
        return value

    return read


def any_subject(value: Any, where: str) -> str:
    return value if type(value) is str else as_text(value)
