"""The lines of an export's `log.ndjson`: one entry a line, in one spelling only.

    {"i":0,"leaf":"<base64>","parts":{"facts":{"salt":"<base64>","data":"<base64>"},"person":null}}

Parts are sorted by name; `null` is a part that is gone, `"withheld"` one that is not shown.
"""

from __future__ import annotations

from binascii import a2b_base64, b2a_base64

from consentlib.errors import FormatError
from consentlib.log.leaf import base64, is_name
from consentlib.log.span import LOST, WITHHELD, Entry, Part


def format_line(entry: Entry) -> bytes:
    """The line of an entry, with its line end."""
    parts = b",".join([b'"%b":%b' % (name.encode(), _format_part(entry.parts[name])) for name in sorted(entry.parts)])
    return b'{"i":%d,"leaf":"%b","parts":{%b}}\n' % (entry.index, base64(entry.leaf), parts)


def parse_line(line: bytes) -> Entry:
    """The entry of a line, line end included. Raises `FormatError` unless `format_line` gives it back.

    Only the line's form is checked here; `verify_entries` checks what stands in it.
    """
    between = line.split(b'"')  # what stands between quotes: 2 is the index, 5 the leaf, 9 the name of the first part
    parts: dict[str, Part] = {}
    at, last = 9, b""
    try:
        index, leaf = int(between[2][1:-1]), a2b_base64(between[5])
        anew = [b"{", b"i", b":%d," % index, b"leaf", b":", b2a_base64(leaf, newline=False), b",", b"parts", b":{"]
        while at + 1 < len(between):
            name, form = between[at], between[at + 1]
            if not is_name(name):
                raise ValueError
            if name <= last:
                break  # what was written so far differs from the line
            last = name
            if form == b":{":
                salt, data = a2b_base64(between[at + 4]), a2b_base64(between[at + 8])
                parts[name.decode()] = salt, data
                shown = b2a_base64(salt, newline=False), b2a_base64(data, newline=False)
                anew += (name, form, b"salt", b":", shown[0], b",", b"data", b":", shown[1], b"},")
            elif form.startswith(b":n"):
                parts[name.decode()] = None
                anew += (name, b":null,")
            else:
                parts[name.decode()] = WITHHELD
                anew += (name, b":", b"withheld", b",")
            at = len(anew)
    except (ValueError, IndexError):
        raise FormatError("expected a line with `i`, `leaf` and `parts`, found another form or type") from None
    anew[-1] = anew[-1].rstrip(b",") + b"}}\n"
    if index < 0 or anew != between:
        raise FormatError("expected a line in its one spelling, found another of the same entry")
    return Entry(index, leaf, parts)


def _format_part(part: Part) -> bytes:
    if part is None or part is LOST:
        return b"null"
    if part is WITHHELD:
        return b'"withheld"'
    salt, data = part
    return b'{"salt":"%b","data":"%b"}' % (base64(salt), base64(data))
