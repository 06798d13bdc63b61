"""The tables of a ledger in SQLite, their migrations, and the guards that keep the log append-only.

All names begin with `consentlib_`, so that a ledger can live in the shop's own database file. Guards are rails against
accidents: who may write to the file may also drop a trigger. The proof is the chain.
"""

from __future__ import annotations

import sqlite3
from collections.abc import Callable
from functools import cache
from typing import TYPE_CHECKING, Any, Final

if TYPE_CHECKING:
    from sqlite_utils import Database, Migrations

HEAD_TABLE: Final = "consentlib_head"
MIGRATIONS_TABLE: Final = "consentlib_migrations"
PARTS_AN_ENTRY: Final = 256
"""A part's row id is index * 256 + its place among the names: rows append in order, found by range without an index."""

# The columns of an order in the order of `fold.Order`'s fields; two of those are words of SQL.
ORDER_COLUMNS: Final = (
    *("order_id", "category", "placed", "recorded", "idx", "offered", "declined", "delivered", "cancelled", "closed"),
    *("complaint_opened", "complaint_closed", "return_opened", "return_closed"),
)

_CLUSTERED: Final = (
    # One range read finds all lives of an address with their folds, however many addresses there are.
    """CREATE TABLE consentlib_lives (
        key BLOB NOT NULL, idx INTEGER NOT NULL, id TEXT NOT NULL, since INTEGER NOT NULL, suppressed BLOB,
        fold TEXT NOT NULL, PRIMARY KEY (key, idx, id)) STRICT, WITHOUT ROWID""",
    "CREATE UNIQUE INDEX consentlib_lives_id ON consentlib_lives (id)",
    """CREATE TABLE consentlib_about (
        address TEXT NOT NULL, idx INTEGER NOT NULL, PRIMARY KEY (address, idx)) STRICT, WITHOUT ROWID""",
    """CREATE TABLE consentlib_orders (
        address TEXT NOT NULL, order_id TEXT NOT NULL, category TEXT, placed INTEGER, recorded INTEGER,
        idx INTEGER NOT NULL, offered INTEGER NOT NULL, declined INTEGER NOT NULL, delivered INTEGER, cancelled INTEGER,
        closed INTEGER, complaint_opened INTEGER, complaint_closed INTEGER, return_opened INTEGER,
        return_closed INTEGER, PRIMARY KEY (address, order_id)) STRICT, WITHOUT ROWID""",
    """CREATE TABLE consentlib_events (
        id BLOB NOT NULL PRIMARY KEY, idx INTEGER NOT NULL, digest BLOB NOT NULL) STRICT, WITHOUT ROWID""",
    """CREATE TABLE consentlib_suppressions (
        key BLOB NOT NULL PRIMARY KEY, erased_at INTEGER NOT NULL, review_at INTEGER NOT NULL,
        stops TEXT NOT NULL) STRICT, WITHOUT ROWID""",
    """CREATE TABLE consentlib_nodes (
        level INTEGER NOT NULL, position INTEGER NOT NULL, hash BLOB NOT NULL,
        PRIMARY KEY (level, position)) STRICT, WITHOUT ROWID""",
    # Leaf and part bytes are text where they are UTF-8, so that a person can read them, and blobs where they are not.
    """CREATE TABLE consentlib_parts (
        id INTEGER PRIMARY KEY, idx INTEGER NOT NULL, name TEXT NOT NULL, salt BLOB, data ANY) STRICT""",
    """CREATE TABLE consentlib_entries (
        idx INTEGER PRIMARY KEY, time INTEGER NOT NULL, kind TEXT NOT NULL, leaf ANY NOT NULL,
        hash BLOB NOT NULL) STRICT""",
    """CREATE VIEW consentlib_log AS
        SELECT e.idx, strftime('%Y-%m-%dT%H:%M:%fZ', e.time / 1000.0, 'unixepoch') AS recorded, e.kind,
            p.name AS part, p.data IS NULL AS erased, p.data, e.leaf
        FROM consentlib_entries AS e LEFT JOIN consentlib_parts AS p
            ON p.id BETWEEN e.idx * 256 AND e.idx * 256 + 255""",
)


def _first(db: Database) -> None:
    db.create_table("consentlib_meta", {"name": str, "value": str}, pk="name", not_null={"value"}, strict=True)
    db.create_table(
        HEAD_TABLE,
        {"id": int, "size": int, "tip": bytes, "time": int, "frontier": bytes, "scope": int, "unverified": str},
        pk="id",
        not_null={"size", "tip", "time", "frontier", "scope"},
        strict=True,
    )
    db.create_table("consentlib_erasing", {"id": int}, pk="id", strict=True)
    db.create_table("consentlib_forgotten", {"id": int}, pk="id", strict=True)
    # What sqlite-utils has no word for: clustered tables, columns of any type, a view.
    for statement in _CLUSTERED:
        db.execute(statement)


_STEPS: Final[tuple[Callable[[Database], None], ...]] = (_first,)


@cache
def _migrations() -> Migrations:
    from sqlite_utils import Migrations

    steps = Migrations("consentlib")
    steps.migrations_table = MIGRATIONS_TABLE
    for number, step in enumerate(_STEPS, 1):
        steps(name=f"{number:04}")(step)
    return steps


def has_ledger(conn: sqlite3.Connection) -> bool:
    """Whether the database holds tables of a ledger."""
    return bool(conn.execute("SELECT 1 FROM sqlite_master WHERE name = ?", (MIGRATIONS_TABLE,)).fetchall())


def unknown_migrations(conn: sqlite3.Connection) -> list[str]:
    """Steps that a newer version of this library has taken."""
    known = {f"{number:04}" for number in range(1, len(_STEPS) + 1)}
    rows = conn.execute(f"SELECT name FROM {MIGRATIONS_TABLE} WHERE migration_set = 'consentlib'")
    return sorted(name for (name,) in rows.fetchall() if name not in known)


def is_current(conn: sqlite3.Connection) -> bool:
    """Whether no step is left to take."""
    [(taken,)] = conn.execute(f"SELECT count(*) FROM {MIGRATIONS_TABLE}").fetchall()
    return bool(taken >= len(_STEPS))


def migrate(conn: sqlite3.Connection) -> None:
    """Take the steps that are left and put the guards back. The caller holds `BEGIN IMMEDIATE`: of processes that start
    at once, one migrates and the others find it done."""
    from sqlite_utils import Database

    _migrations().apply(Database(conn, execute_plugins=False))
    for name, sql in GUARDS.items():
        conn.execute(f"DROP TRIGGER IF EXISTS {name}")
        conn.execute(sql)


def rewrite_forgotten(conn: sqlite3.Connection) -> None:
    """Write lives and orders afresh if something was forgotten from them: where SQLite splits a page, copies of rows may
    stay in its gaps, which `secure_delete` does not reach. The caller holds `BEGIN IMMEDIATE`."""
    if conn.execute("SELECT 1 FROM consentlib_forgotten").fetchall():
        for table, key in (("consentlib_lives", "key, idx, id"), ("consentlib_orders", "address, order_id")):
            conn.execute(f"CREATE TABLE consentlib_kept AS SELECT * FROM {table} ORDER BY {key}")
            conn.execute(f"DELETE FROM {table}")
            conn.execute(f"INSERT INTO {table} SELECT * FROM consentlib_kept ORDER BY rowid")
            conn.execute("DROP TABLE consentlib_kept")
        conn.execute("DELETE FROM consentlib_forgotten")


def _guard(name: str, when: str, message: str, condition: str = "") -> tuple[str, str]:
    name = f"consentlib_guard_{name}"
    sql = f"CREATE TRIGGER {name} BEFORE {when}{condition and ' WHEN ' + condition}"
    return name, f"{sql} BEGIN SELECT RAISE(ABORT, '{message}'); END"


_ERASING: Final = "EXISTS (SELECT 1 FROM consentlib_erasing) AND NEW.salt IS NULL AND NEW.data IS NULL"

GUARDS: Final[dict[str, str]] = dict(
    [
        _guard("entry_update", "UPDATE ON consentlib_entries", "entries are append-only"),
        _guard("entry_delete", "DELETE ON consentlib_entries", "entries are append-only"),
        _guard(
            "part_update",
            "UPDATE ON consentlib_parts",
            "parts change only by an erasure",
            f"NOT ({_ERASING} AND NEW.id = OLD.id AND NEW.idx = OLD.idx AND NEW.name = OLD.name)",
        ),
        _guard("part_delete", "DELETE ON consentlib_parts", "parts go only by an erasure"),
        _guard("node_delete", "DELETE ON consentlib_nodes", "nodes are append-only"),
        _guard("node_move", "UPDATE OF level, position ON consentlib_nodes", "nodes are append-only"),
        _guard("head_delete", "DELETE ON consentlib_head", "the head is never removed"),
        _guard("head_insert", "INSERT ON consentlib_head", "there is one head", "NEW.id <> 0"),
        _guard("head_back", "UPDATE ON consentlib_head", "the log never shrinks", "NEW.size < OLD.size"),
        _guard("meta_update", "UPDATE ON consentlib_meta", "what describes the ledger never changes"),
        _guard("meta_delete", "DELETE ON consentlib_meta", "what describes the ledger never changes"),
    ]
)


def missing_guards(conn: sqlite3.Connection) -> list[str]:
    """Names of guards that are not there as they were made."""
    rows: list[tuple[Any, ...]] = conn.execute("SELECT name, sql FROM sqlite_master WHERE type = 'trigger'").fetchall()
    found = dict(rows)
    return sorted(name for name, sql in GUARDS.items() if found.get(name) != sql)
