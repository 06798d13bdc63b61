"""The forgeries of the demo, as somebody would make them who knows the format."""

from __future__ import annotations

import os
import zipfile
from collections.abc import Iterator
from contextlib import closing
from pathlib import Path
from typing import Final

from consentlib import codec
from consentlib.log import Entry, commitment, encode_leaf, format_line, leaf_hash, parse_leaf, parse_line
from consentlib.log.checkpoint import Checkpoint
from consentlib.log.merkle import extend_many, frontier_root
from consentlib.log.note import sign_note
from consentlib.signing import sign, signer

_TWO_DAYS: Final = 2 * 86_400_000
_CHANGE: Final = "UPDATE consentlib_entries SET leaf = replace(leaf, kind, 'site.visited'), kind = 'site.visited' WHERE idx = ?"


def forge_export(export: Path, forged: Path, index: int) -> Path:
    """A copy of an export in which the entry at `index` says that it happened two days later."""
    with zipfile.ZipFile(export) as old, zipfile.ZipFile(forged, "w", zipfile.ZIP_DEFLATED) as new:
        for name in old.namelist():
            with old.open(name) as source, new.open(name, "w", force_zip64=True) as target:
                for number, line in enumerate(source):
                    if name == "log.ndjson" and number == index:
                        line = format_line(_later(parse_line(line)))
                    target.write(line)
    return forged


def _later(entry: Entry) -> Entry:
    salt, data = entry.parts["facts"]  # type: ignore[misc]
    facts = codec.decode(data)
    facts["occurred_at"] += _TWO_DAYS
    return entry._replace(parts={**entry.parts, "facts": (salt, codec.encode(facts))})


def forge_database(database: Path, forged: Path, index: int) -> str:
    """A copy of a database in which the entry at `index` is of another kind. Gives what the guards said to it first."""
    import sqlite3  # the rest of the command line does without

    refused = "nothing"
    with closing(sqlite3.connect(database)) as old, closing(sqlite3.connect(forged)) as new:
        old.backup(new)
        try:
            new.execute(_CHANGE, (index,))
        except sqlite3.DatabaseError as error:
            refused = str(error)
        for (name,) in new.execute("SELECT name FROM sqlite_master WHERE type = 'trigger'").fetchall():
            new.execute(f'DROP TRIGGER "{name}"')
        new.execute(_CHANGE, (index,))
        new.commit()
    return refused


def forge_log(export: Path, forged: Path, index: int, seed: bytes) -> Path:
    """An export in which the entry at `index` says that it happened two days later, and all is hashed and signed to fit."""
    hashes: list[bytes] = []
    origin = ""
    with zipfile.ZipFile(export) as old, zipfile.ZipFile(forged, "w", zipfile.ZIP_DEFLATED, compresslevel=1) as new:
        with old.open("log.ndjson") as source, new.open("log.ndjson", "w", force_zip64=True) as target:
            for entry in _rewritten(map(parse_line, source), index):
                origin = parse_leaf(entry.leaf).origin
                hashes.append(leaf_hash(entry.leaf))
                target.write(format_line(entry))
        frontier, _ = extend_many(b"", 0, hashes)
        text = Checkpoint(origin, len(hashes), frontier_root(frontier)).text()
        new.writestr("checkpoint", sign_note(text, [signer(origin, seed)], sign))
        for name in old.namelist():
            if name.startswith("policy/"):
                new.writestr(name, old.read(name))
    return forged


def _rewritten(entries: Iterator[Entry], index: int) -> Iterator[Entry]:
    tip = b""
    for entry in entries:
        if entry.index < index:
            tip = leaf_hash(entry.leaf)
            yield entry
            continue
        leaf = parse_leaf(entry.leaf)
        parts = dict(leaf.parts)
        if entry.index == index:
            _, data = _later(entry).parts["facts"]  # type: ignore[misc]
            salt = os.urandom(32)
            entry = entry._replace(parts={**entry.parts, "facts": (salt, data)})
            parts["facts"] = commitment(index, "facts", salt, data)
        entry = entry._replace(leaf=encode_leaf(leaf.origin, leaf.index, tip, leaf.t, leaf.kind, parts))
        tip = leaf_hash(entry.leaf)
        yield entry
