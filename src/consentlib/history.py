"""Access: the entries about a person, as far as they are still there (GDPR 15)."""

from __future__ import annotations

import json
from collections.abc import Collection
from typing import Any

from attrs import field, frozen

from consentlib.log import Entry, parse_leaf
from consentlib.reader import linked
from consentlib.store.protocol import View


@frozen
class HistoryEntry:
    """An entry about a person. `facts` is pseudonymous, `person` personal; both None once erased. Time in milliseconds."""

    index: int
    recorded_at: int
    kind: str
    facts: dict[str, Any] | None = field(repr=False)
    person: dict[str, Any] | None = field(repr=False)


def read_history(view: View, key: bytes) -> list[HistoryEntry]:
    """The entries about an address and those linked to it, oldest first; none about somebody who had the address before."""
    ids = linked(view, view.lives(key))
    entries = view.entries_at({index for one in ids for index in view.about(one)})
    return [_read(entry, ids) for _, entry in sorted(entries.items())]


def _read(entry: Entry, ids: Collection[str]) -> HistoryEntry:
    leaf = parse_leaf(entry.leaf)
    parts = {name: json.loads(part[1]) for name, part in entry.parts.items() if isinstance(part, tuple) and name != "policy"}
    facts = parts.get("facts")
    if facts is not None and "addresses" in facts:
        facts = {**facts, "addresses": [one for one in facts["addresses"] if one in ids]}
    return HistoryEntry(entry.index, leaf.t, leaf.kind, facts, parts.get("person"))
