"""Events as JSON objects, strictly, both ways: the form of `consentlib record`, of case files and of imports.

`type` is the kind, `subject` the address, times are RFC 3339 with a zone. Unknown kinds and fields, wrong types and values are
refused; stops are kept with what could be read, and their text is kept beside it.
"""

from __future__ import annotations

import json
from datetime import UTC, datetime, timedelta
from datetime import date as Date
from functools import cache
from typing import Any

import attrs

from consentlib.codec import read, read_time, show_time
from consentlib.errors import ConsentlibError, EventError, FormatError, TimeError
from consentlib.events import KINDS, Event, Evidence, FormState, Stop, slots

_TIMES = frozenset({"occurred_at", "valid_until"})
_EPOCH = datetime(1970, 1, 1, tzinfo=UTC)


def read_line(line: str | bytes) -> Event:
    """The event of one JSON text. Raises `EventError`; a stop is never refused once its `type` can be read."""
    try:
        found = read(line)
    except FormatError as error:
        found = _loosely(line)
        if not issubclass(_kind_of(found) or Event, Stop):
            raise EventError(str(error)) from None
    return read_event(found)


def read_event(found: Any) -> Event:
    """The event of a JSON object that was read. Raises `EventError`, except for stops, which are read in the widest sense."""
    if type(found) is not dict:
        raise EventError(f"expected an object with `type`, found `{type(found).__name__}`")
    cls = _kind_of(found)
    if cls is None:
        raise EventError(f"expected a known kind in `type`, found {_other(found.get('type'), KINDS)}", field="type")
    fields = {key: value for key, value in found.items() if key != "type"}
    try:
        return _structure(cls, fields)
    except EventError:
        if not issubclass(cls, Stop):
            raise
        return _widest(cls, fields)


def event_json(event: Event) -> dict[str, Any]:
    """The JSON object of an event; fields at their default are left out."""
    found: dict[str, Any] = {"type": event.kind, "subject": event.subject}
    for name, alias, default, _ in slots(type(event)):
        value = getattr(event, name)
        if value != default and name != "subject":
            found[alias] = value if type(value) is str else _plain(name, value)
    return found


def _plain(name: str, value: Any) -> Any:
    if name in _TIMES:
        return show_time(value)
    if isinstance(value, (FormState, Evidence)):
        named = [(key, getattr(value, key)) for key, *_ in slots(type(value))]
        return {key: _plain(key, one) for key, one in named if one is not None and one != ()}
    if isinstance(value, Date):
        return value.isoformat()
    return list(value) if isinstance(value, tuple) else value


def _loosely(line: str | bytes) -> dict[Any, Any]:
    """The object of a text that strict reading refused, to see whether it is a stop; empty if it can't be read at all."""
    try:
        found = json.loads(line if isinstance(line, str) else line.decode("utf-8", "replace"))
    except (ValueError, RecursionError):
        return {}
    return found if isinstance(found, dict) else {}


def _kind_of(found: dict[Any, Any]) -> type[Event] | None:
    kind = found.get("type")
    return KINDS.get(kind) if isinstance(kind, str) else None


@cache
def _converter() -> Any:
    """One strict cattrs converter: no coercion, no unknown keys. Made when first needed; it costs milliseconds."""
    from cattrs import Converter

    converter = Converter(forbid_extra_keys=True, detailed_validation=False, use_alias=True)
    # The events' own fields check type and form exactly; nothing may be coerced on the way to them.
    for cls in (str, int, bool):
        converter.register_structure_hook(cls, lambda value, _: value)
    converter.register_structure_hook_func(lambda t: t is not Evidence and not attrs.has(t), lambda value, _: value)
    converter.register_structure_hook_func(
        lambda t: t == str | FormState | None,
        lambda value, _: converter.structure(value, FormState) if type(value) is dict else value,
    )
    converter.register_structure_hook_func(
        lambda t: t == Evidence | None,
        lambda value, _: converter.structure(value, Evidence) if type(value) is dict else value,
    )
    return converter


def _structure(cls: type[Event], fields: dict[str, Any]) -> Event:
    from cattrs.errors import ForbiddenExtraKeysError

    ready = dict(fields)
    for name in _TIMES & fields.keys():
        if ready[name] is not None:
            try:
                ready[name] = _EPOCH + timedelta(milliseconds=read_time(ready[name]))  # no number: it may be before 2000
            except TimeError as error:
                raise EventError(f"{error} in `{name}`", field=name) from None
    try:
        event: Event = _converter().structure(ready, cls)
    except ForbiddenExtraKeysError as error:
        known = [one.alias for one in attrs.fields(error.cl or cls)]
        extra = sorted(error.extra_fields)[0]
        raise EventError(f"expected a known field of `{cls.kind}`, found {_other(extra, known)}", field=extra) from None
    except (KeyError, TypeError):
        missing = [one.alias for one in attrs.fields(cls) if one.default is attrs.NOTHING and one.alias not in fields]
        if not missing:
            raise EventError(f"expected the fields of `{cls.kind}`, found another shape") from None
        raise EventError(f"expected `{missing[0]}` in `{cls.kind}`, found none", field=missing[0]) from None
    return event


def _widest(cls: type[Event], fields: dict[str, Any]) -> Event:
    """A stop with what could be read: each field alone, what fails at its widest, the whole text kept beside it."""
    kept: dict[str, Any] = {}
    for one in attrs.fields(cls):
        if one.alias in fields:
            try:
                kept[one.alias] = getattr(_structure(cls, {"subject": "-", one.alias: fields[one.alias]}), one.name)
            except ConsentlibError:
                continue
    subject = kept.pop("subject", fields.get("subject", ""))
    return cls(subject, **{**kept, "raw": json.dumps(fields)[:4_000]})


def _other(value: Any, known: Any) -> str:
    """What was found instead, with the nearest known name; text that is not near anything is not repeated."""
    from difflib import get_close_matches  # here, because only a mistake needs it

    near = get_close_matches(value, known, n=1) if type(value) is str else []
    if near:
        return f"another name; did you mean `{near[0]}`?"
    return "an unknown name" if type(value) is str else f"`{type(value).__name__}`"
