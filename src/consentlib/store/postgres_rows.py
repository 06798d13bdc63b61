"""Rows as PostgreSQL takes them in binary: many in one value, an array of the row type of their table.

The form: dimensions (1), whether there are nulls (none is), the type of the elements, their number, the lower bound (1); then
the length and the bytes of each row: the number of its fields, and for each the type, the length and the bytes, a null with
length -1. All of it in signed 32-bit integers, big-endian. The number of a row type is another in each database: as one that
is not built in is never compared with what comes (`array_recv`, since PostgreSQL 14), `record` stands for all.
"""

from __future__ import annotations

from collections.abc import Callable, Collection, Sequence
from struct import Struct
from typing import Any, Final

from psycopg.abc import AdaptContext
from psycopg.adapt import Dumper
from psycopg.pq import Format

from consentlib.store.postgres_schema import Rows

_RECORD: Final = 2249
_array: Final = Struct("!iiIii").pack
_row: Final = Struct("!iIii").pack
_length: Final = Struct("!i").pack
_field: Final = Struct("!Ii").pack
_int8: Final = Struct("!Iiq").pack


def _text(value: str) -> bytes:
    data = value.encode()
    return _field(25, len(data)) + data


_FIELDS: Final[dict[str, tuple[int, Callable[[Any], bytes]]]] = {
    "bool": (16, lambda one: _field(16, 1) + (b"\1" if one else b"\0")),
    "bytea": (17, lambda one: _field(17, len(one)) + one),
    "int8": (20, lambda one: _int8(20, 8, one)),
    "text": (25, _text),
}
"""By the name of a type: its number, and how a field of it is written."""


class RowArray(bytes):
    """Rows in this form. The server takes their type from the function they are handed to."""


class _RowArrayDumper(Dumper):
    format = Format.BINARY
    oid = 0

    def dump(self, obj: RowArray) -> bytes:
        return obj


def register(context: AdaptContext) -> None:
    """Let a connection or a cursor take rows."""
    context.adapters.register_dumper(RowArray, _RowArrayDumper)


def encoder(of: Rows) -> Callable[[int, Collection[Sequence[Any]]], RowArray]:
    """A function that writes rows of this table: given their ledger and their other columns."""
    writers = [(write, _field(number, -1)) for number, write in map(_FIELDS.__getitem__, of.types)]
    fields = len(writers) + 1

    def encode(ledger: int, rows: Collection[Sequence[Any]]) -> RowArray:
        start = _row(fields, 23, 4, ledger)
        found = [_array(1, 0, _RECORD, len(rows), 1)]
        for row in rows:
            data = b"".join([null if one is None else write(one) for (write, null), one in zip(writers, row, strict=True)])
            found += (_length(len(start) + len(data)), start, data)
        return RowArray(b"".join(found))

    return encode
