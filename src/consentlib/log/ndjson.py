"""The lines of an export's `log.ndjson`: one entry a line, in one spelling only.

    {"i":0,"leaf":"<base64>","parts":{"facts":{"salt":"<base64>","data":"<base64>"},"person":null}}

Parts are sorted by name; `null` is a part that is gone, `"withheld"` one that is not shown.
"""

from __future__ import annotations

import json
from binascii import a2b_base64
from typing import Any

from consentlib.errors import FormatError
from consentlib.log.leaf import base64
from consentlib.log.span import WITHHELD, Entry, Part


def format_line(entry: Entry) -> bytes:
    """The line of an entry, with its line end."""
    parts = b",".join([b'"%b":%b' % (name.encode(), _format_part(entry.parts[name])) for name in sorted(entry.parts)])
    return b'{"i":%d,"leaf":"%b","parts":{%b}}\n' % (entry.index, base64(entry.leaf), parts)


def parse_line(line: bytes) -> Entry:
    """The entry of a line, with or without its line end. Raises `FormatError` unless `format_line` gives it back.

    Only the line's form is checked here; `verify_entries` checks what stands in it.
    """
    text = line.removesuffix(b"\n")
    try:
        value = json.loads(text.decode("ascii"))
    except (ValueError, RecursionError):
        raise FormatError("expected a line of JSON in ASCII, found something else") from None
    try:
        if type(value["i"]) is not int:
            raise TypeError
        parts = {name: _parse_part(part) for name, part in value["parts"].items()}
        entry = Entry(value["i"], a2b_base64(value["leaf"]), parts)
        same = entry.index >= 0 and format_line(entry) == text + b"\n"
    except (ValueError, KeyError, TypeError, AttributeError):
        raise FormatError("expected a line with `i`, `leaf` and `parts`, found another form or type") from None
    if not same:
        raise FormatError("expected a line in its one spelling, found another of the same entry")
    return entry


def _format_part(part: Part) -> bytes:
    if part is None:
        return b"null"
    if part is WITHHELD:
        return b'"withheld"'
    salt, data = part
    return b'{"salt":"%b","data":"%b"}' % (base64(salt), base64(data))


def _parse_part(part: Any) -> Part:
    if part is None:
        return None
    if part == "withheld":
        return WITHHELD
    return a2b_base64(part["salt"]), a2b_base64(part["data"])
