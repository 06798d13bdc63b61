"""Who holds the database file and knows the format: rewrites the log so that it fits together again, or restores it."""

from __future__ import annotations

import os
import shutil
import sqlite3
import zipfile
from collections.abc import Callable
from contextlib import closing
from pathlib import Path
from typing import Any

from attrs import define

from consentlib import Ledger
from consentlib.log import commitment, encode_leaf, genesis, leaf_hash, parse_leaf
from consentlib.log.checkpoint import Checkpoint, open_checkpoint
from consentlib.log.merkle import extend_many
from consentlib.log.note import Verifier
from consentlib.policy import parse_policy, starter
from consentlib.signing import verify
from shop import Shop


@define
class Forged:
    """What an entry shall say: index, predecessor, salts and commitments follow from where it ends up."""

    time: int
    kind: str
    parts: dict[str, bytes]


def forge(shop: Shop, change: Callable[[list[Forged]], None]) -> None:
    """Rewrite the whole log in the database, with fresh salts, each link, each node and the head as they must then be.

    What stays as it was, at its index, keeps its bytes.
    """
    with closing(sqlite3.connect(shop.path, isolation_level=None)) as thief:
        for (name,) in thief.execute("SELECT name FROM sqlite_master WHERE type = 'trigger'").fetchall():
            thief.execute(f"DROP TRIGGER {name}")
        leaves = [leaf for (leaf,) in thief.execute("SELECT CAST(leaf AS BLOB) FROM consentlib_entries ORDER BY idx")]
        salts: list[dict[str, bytes]] = [{} for _ in leaves]
        old: list[dict[str, bytes]] = [{} for _ in leaves]
        for index, name, salt, data in thief.execute("SELECT idx, name, salt, CAST(data AS BLOB) FROM consentlib_parts"):
            salts[index][name], old[index][name] = salt, data
        parsed = [parse_leaf(leaf) for leaf in leaves]
        entries = [Forged(leaf.t, leaf.kind, dict(parts)) for leaf, parts in zip(parsed, old, strict=True)]
        change(entries)
        thief.execute("BEGIN IMMEDIATE")
        for table in ("entries", "parts", "nodes"):
            thief.execute(f"DELETE FROM consentlib_{table}")
        tip, hashes = genesis(parsed[0].origin), []
        for index, entry in enumerate(entries):
            same = index < len(old) and entry.parts == old[index]
            chosen = salts[index] if same else {name: os.urandom(32) for name in entry.parts}
            commitments = {name: commitment(index, name, chosen[name], data) for name, data in entry.parts.items()}
            leaf = encode_leaf(parsed[0].origin, index, tip, entry.time, entry.kind, commitments)
            tip = leaf_hash(leaf)
            hashes.append(tip)
            row = (index, entry.time, entry.kind, leaf.decode(), tip)
            thief.execute("INSERT INTO consentlib_entries VALUES (?, ?, ?, ?, ?)", row)
            for place, name in enumerate(sorted(entry.parts)):
                part = (index * 256 + place, index, name, chosen[name], entry.parts[name].decode())
                thief.execute("INSERT INTO consentlib_parts VALUES (?, ?, ?, ?, ?)", part)
        frontier, nodes = extend_many(b"", 0, hashes)
        thief.executemany("INSERT INTO consentlib_nodes VALUES (?, ?, ?)", nodes)
        head = (len(entries), tip, entries[-1].time, frontier)
        thief.execute("UPDATE consentlib_head SET size = ?, tip = ?, time = ?, frontier = ?, unverified = NULL", head)
        thief.execute("COMMIT")


def reopen(shop: Shop, **options: Any) -> Ledger:
    """The shop's next day: its ledger closed, and opened again."""
    shop.ledger.close()
    shop.ledger = Ledger.open(shop.url, clock=shop.clock, **options)
    return shop.ledger


def save(shop: Shop, *more: Path) -> Path:
    """A backup of the database and its keys, and of further folders."""
    shop.ledger.close()
    backup = shop.path.parent / "backup"
    backup.mkdir()
    for one in (shop.path, Path(f"{shop.path}.keys")):
        shutil.copy(one, backup)
    for folder in more:
        shutil.copytree(folder, backup / folder.name)
    return backup


def restore(shop: Shop, backup: Path, *more: Path) -> None:
    """Put a backup in the place of what is there. The ledger must be opened again."""
    shop.ledger.close()
    for suffix in ("-wal", "-shm"):
        Path(f"{shop.path}{suffix}").unlink(missing_ok=True)
    for one in (shop.path, Path(f"{shop.path}.keys")):
        shutil.copy(backup / one.name, one)
    for folder in more:
        shutil.rmtree(folder)
        shutil.copytree(backup / folder.name, folder)


def key(shop: Shop) -> Verifier:
    """The verifier key that the auditor was told."""
    return Verifier.parse(shop.ledger.verifier)


def held(shop: Shop, note: bytes) -> Checkpoint:
    """A checkpoint that the auditor kept, opened under that key."""
    return open_checkpoint(note, [key(shop)], verify)


def _rewritten(files: dict[str, bytes]) -> None:
    files["policy/0.json"] = files["policy/0.json"].replace(b"newsletter", b"phone call")


def _one_byte_more(files: dict[str, bytes]) -> None:
    files["policy/0.json"] += b"\n"


def _emptied(files: dict[str, bytes]) -> None:
    files["policy/0.json"] = b""


def _swapped(files: dict[str, bytes]) -> None:
    files["policy/0.json"], files["policy/1.json"] = files["policy/1.json"], files["policy/0.json"]


def _taken_out(files: dict[str, bytes]) -> None:
    del files["policy/1.json"]


def _of_no_such_entry(files: dict[str, bytes]) -> None:
    files["policy/2.json"] = files["policy/1.json"]


def _in_capitals(files: dict[str, bytes]) -> None:
    """Where names are the same in capitals it takes the place of the true one."""
    files["Policy/0.JSON"] = b"{}"


def _with_a_backslash(files: dict[str, bytes]) -> None:
    files["policy\\0.json"] = b"{}"


def _nested(files: dict[str, bytes]) -> None:
    files["./policy/0.json"] = b"{}"


def _named_to_deceive(files: dict[str, bytes]) -> None:
    files["policy/\x1b[2J\n0.json"] = b"{}"


_FORGED_POLICIES = (
    _rewritten,
    _one_byte_more,
    _emptied,
    _swapped,
    _taken_out,
    _of_no_such_entry,
    _in_capitals,
    _with_a_backslash,
    _nested,
    _named_to_deceive,
)


def export_policies(shop: Shop, folder: Path) -> tuple[Path, list[Path]]:
    """A true export with two policies, at 0 and 1, and each of the forgeries of them that leave the log as it is."""
    shop.ledger.publish(parse_policy(starter().replace('version = "3"', 'version = "4"', 1)))
    shop.sign_up("anna@example.dk")
    true, forged = folder / "audit.zip", []
    shop.ledger.export(true)
    with zipfile.ZipFile(true) as archive:
        members = {name: archive.read(name) for name in archive.namelist()}
    for change in _FORGED_POLICIES:
        files = dict(members)
        change(files)
        assert files != members
        forged.append(folder / f"{change.__name__}.zip")
        with zipfile.ZipFile(forged[-1], "w", zipfile.ZIP_DEFLATED) as archive:
            for name, data in files.items():
                archive.writestr(name, data)
    return true, forged
