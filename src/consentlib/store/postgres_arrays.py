"""Arrays as PostgreSQL takes them in binary: the driver's own way to write them costs an append as much as all the rest.

The form: dimensions (1), whether there are nulls, the type of the elements, their number, the lower bound (1); then the
length and the bytes of each, a null with length -1. All of it in signed 32-bit integers, big-endian.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from struct import Struct
from typing import Any, Final

from psycopg.abc import AdaptContext
from psycopg.adapt import Dumper
from psycopg.pq import Format

_head: Final = Struct("!iiIii").pack
_length: Final = Struct("!i").pack
_int8: Final = Struct("!iq").pack
_NULL: Final = _length(-1)


_Encode = Callable[[Sequence[Any]], bytes]


def _kind(element: int, array: int, write: Callable[[Any], bytes]) -> tuple[type[bytes], type[Dumper], _Encode]:
    """A class of bytes for arrays of this type, by which the driver knows them; how it takes them; and how they are made."""

    class Array(bytes):
        pass

    class ArrayDumper(Dumper):
        format = Format.BINARY
        oid = array

        def dump(self, obj: Array) -> bytes:
            return obj

    of_one = _head(1, 0, element, 1, 1)

    def encode(values: Sequence[Any]) -> bytes:
        if len(values) == 1 and values[0] is not None:  # as an append of one entry has in most of its columns
            return Array(of_one + write(values[0]))
        found = [_NULL if one is None else write(one) for one in values]
        return Array(_head(1, None in values, element, len(found), 1) + b"".join(found))

    return Array, ArrayDumper, encode


def _text(value: str) -> bytes:
    data = value.encode()
    return _length(len(data)) + data


_KINDS: Final = {
    "bool": _kind(16, 1000, lambda one: b"\0\0\0\1\1" if one else b"\0\0\0\1\0"),
    "bytea": _kind(17, 1001, lambda one: _length(len(one)) + one),
    "int8": _kind(20, 1016, lambda one: _int8(8, one)),
    "text": _kind(25, 1009, _text),
}

ENCODE: Final = {name: encode for name, (_, _, encode) in _KINDS.items()}
"""By the name of the elements' type: the array of these values, of which any may be None."""


def register(context: AdaptContext) -> None:
    """Let a connection or a cursor take arrays."""
    for array, dumper, _ in _KINDS.values():
        context.adapters.register_dumper(array, dumper)
