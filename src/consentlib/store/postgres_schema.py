"""The tables of ledgers in PostgreSQL, the functions that write them, their migrations, guards and rights.

Everything lies in the schema `consentlib`, which holds any number of ledgers beside the shop's own tables. Bytes that are
hashed are `bytea`; text is compared by its bytes (`COLLATE "C"`), so that no index depends on an operating system's locale.

Who writes does so by three functions that run with the owner's rights: `seat` takes the one writer's seat, `apply` puts rows
and the new head, `forget` lets go of what is erased. So the shop's role needs no right to write a table, and the plans of
all those statements are made once a session, though nothing is prepared. Guards are rails against accidents: the owner may
drop a trigger. The proof is the chain.
"""

from __future__ import annotations

import re
from typing import TYPE_CHECKING, Any, Final, NamedTuple

from consentlib.errors import InputError, LedgerVersionError

if TYPE_CHECKING:
    import psycopg

VERSION: Final = 1
"""The version of the tables. One more with each step of `_STEPS`."""

ENCODING: Final = "UTF8"
OLDEST: Final = 150_000
NEWER: Final = "CL001"
"""The SQLSTATE of `seat` for a writer whose version of the tables is no longer the newest: what it wrote could not be read."""

_MIGRATING: Final = int.from_bytes(b"consentl")
"""The advisory lock that one of several starting processes holds while it migrates."""

_QUEUE: Final = int.from_bytes(b"cons")
"""With a ledger's number the advisory lock for which its writers queue: one is woken at a time, and finds the head's row free.
Waiting for a row that is changed meanwhile, each is woken by every change, and looks for the row anew."""

_STEPS: Final = (
    """
    CREATE SCHEMA consentlib;
    CREATE TABLE consentlib.versions (version int PRIMARY KEY, taken_at timestamptz NOT NULL DEFAULT clock_timestamp());
    CREATE TABLE consentlib.ledgers (
        ledger int GENERATED ALWAYS AS IDENTITY PRIMARY KEY, name text COLLATE "C" NOT NULL UNIQUE);
    CREATE TABLE consentlib.meta (
        ledger int, name text COLLATE "C", value text COLLATE "C" NOT NULL, PRIMARY KEY (ledger, name));
    CREATE TABLE consentlib.heads (
        ledger int PRIMARY KEY, size int8 NOT NULL, tip bytea NOT NULL, time int8 NOT NULL, frontier bytea NOT NULL,
        scope int8 NOT NULL, unverified text COLLATE "C") WITH (fillfactor = 20);
    CREATE TABLE consentlib.entries (
        ledger int, index int8, time int8 NOT NULL, kind text COLLATE "C" NOT NULL, leaf bytea NOT NULL,
        hash bytea NOT NULL, PRIMARY KEY (ledger, index));
    CREATE TABLE consentlib.parts (
        ledger int, index int8, name text COLLATE "C", salt bytea, data bytea, PRIMARY KEY (ledger, index, name));
    CREATE TABLE consentlib.about (ledger int, address text COLLATE "C", index int8, PRIMARY KEY (ledger, address, index));
    CREATE TABLE consentlib.nodes (
        ledger int, level int8, position int8, hash bytea NOT NULL, PRIMARY KEY (ledger, level, position));
    CREATE TABLE consentlib.lives (
        ledger int, key bytea NOT NULL, id text COLLATE "C", since int8 NOT NULL, index int8 NOT NULL, suppressed bytea,
        fold text COLLATE "C" NOT NULL, PRIMARY KEY (ledger, id)) WITH (fillfactor = 80);
    CREATE INDEX lives_by_key ON consentlib.lives (ledger, key);
    CREATE TABLE consentlib.orders (
        ledger int, address text COLLATE "C", order_id text COLLATE "C", category text COLLATE "C", placed int8,
        recorded int8, index int8 NOT NULL, offered bool NOT NULL, declined bool NOT NULL, delivered int8, cancelled int8,
        closed int8, complaint_opened int8, complaint_closed int8, return_opened int8, return_closed int8,
        PRIMARY KEY (ledger, address, order_id));
    CREATE TABLE consentlib.events (
        ledger int, id bytea, index int8 NOT NULL, digest bytea NOT NULL, PRIMARY KEY (ledger, id));
    CREATE TABLE consentlib.suppressions (
        ledger int, key bytea, erased_at int8 NOT NULL, review_at int8 NOT NULL, stops text COLLATE "C" NOT NULL,
        PRIMARY KEY (ledger, key));
    CREATE TABLE consentlib.purges (ledger int PRIMARY KEY, times int8 NOT NULL);
    """,
)


class Rows(NamedTuple):
    """Rows of a table, or keys of rows: their columns and types beside the ledger, and by which a row replaces another."""

    table: str
    columns: str
    key: str = ""

    @property
    def names(self) -> list[str]:
        """The columns, in order."""
        return [one.split()[0] for one in self.columns.split(", ")]

    @property
    def types(self) -> list[str]:
        """Their types, in the same order."""
        return [one.split()[1] for one in self.columns.split(", ")]


ENTRIES: Final = Rows("entries", "index int8, time int8, kind text, leaf bytea, hash bytea")
PARTS: Final = Rows("parts", "index int8, name text, salt bytea, data bytea")
ABOUT: Final = Rows("about", "address text, index int8")
NODES: Final = Rows("nodes", "level int8, position int8, hash bytea", "level, position")
LIVES: Final = Rows("lives", "key bytea, id text, since int8, index int8, suppressed bytea, fold text", "id")
ORDERS: Final = Rows(
    "orders",
    "address text, order_id text, category text, placed int8, recorded int8, index int8, offered bool, declined bool, "
    "delivered int8, cancelled int8, closed int8, complaint_opened int8, complaint_closed int8, return_opened int8, "
    "return_closed int8",
    "address, order_id",
)
EVENTS: Final = Rows("events", "id bytea, index int8, digest bytea", "id")
SUPPRESSIONS: Final = Rows("suppressions", "key bytea, erased_at int8, review_at int8, stops text", "key")
PUT: Final = (ENTRIES, PARTS, ABOUT, NODES, EVENTS, LIVES, ORDERS, SUPPRESSIONS)
"""What is put most often first: parameters that are left out at the end cost nothing."""

FORGET: Final = (
    Rows("erase", "index int8, name text"),
    Rows("forget_about", "address text, index int8"),
    Rows("forget_orders", "address text, order_id text"),
    Rows("forget_lives", "id text"),
    Rows("forget_suppressions", "key bytea"),
)


def _put(rows: Rows) -> str:
    """Put rows, in the place of those with the same key; a life that differs in its fold alone touches no index."""
    changed = ", ".join(f"{one} = excluded.{one}" for one in rows.names if one not in rows.key.split(", "))
    conflict = f" ON CONFLICT (ledger, {rows.key}) DO UPDATE SET {changed}" if rows.key else ""
    return f"""IF cardinality(new_{rows.table}) > 0 THEN
        INSERT INTO consentlib.{rows.table} SELECT * FROM unnest(new_{rows.table}){conflict};
    END IF;"""


def _arrays(keys: Rows) -> str:
    """The parameters of `forget` that hold keys, one array a column."""
    return ", ".join(f"{keys.table}_{one}" for one in keys.names)


def _forget(keys: Rows, table: str, columns: str) -> str:
    """Delete the rows with these keys."""
    same = " AND ".join(f"old.{one} = gone.{one}" for one in columns.split(", "))
    return f"""IF cardinality({keys.table}_{keys.names[0]}) > 0 THEN
        DELETE FROM consentlib.{table} AS old USING unnest({_arrays(keys)}) AS gone({columns})
            WHERE old.ledger = of_ledger AND {same};
    END IF;"""


_ERASE, _ABOUT_GONE, _ORDERS_GONE, _LIVES_GONE, _SUPPRESSIONS_GONE = FORGET


_HEAD: Final = "size int8, tip bytea, time int8, frontier bytea, scope int8, unverified text"
_OWNERS: Final = "LANGUAGE plpgsql SECURITY DEFINER SET search_path = pg_catalog, pg_temp"
_NEW_HEAD: Final = ", ".join(f"head_{one}" for one in _HEAD.split(", "))
_NO_HEAD: Final = "NULL::int8, NULL::bytea, NULL::int8, NULL::bytea, NULL::int8, NULL, NULL::float8, NULL"
_SET_HEAD: Final = ", ".join(f"{one.split()[0]} = head_{one.split()[0]}" for one in _HEAD.split(", "))

_NEW_ROWS: Final = ", ".join(f"new_{one.table} consentlib.{one.table}[] DEFAULT NULL" for one in PUT)
_GONE: Final = ", ".join(f"{one.table}_{column}[] DEFAULT NULL" for one in FORGET for column in one.columns.split(", "))

_FUNCTIONS: Final = f"""
CREATE OR REPLACE FUNCTION consentlib.refuse() RETURNS trigger LANGUAGE plpgsql AS $$
BEGIN
    RAISE EXCEPTION USING ERRCODE = 'restrict_violation', MESSAGE = TG_ARGV[0];
END $$;

CREATE OR REPLACE FUNCTION consentlib.seat(
    of_ledger int, of_version int, of_lives bytea[], of_suppressions bytea[], of_events bytea[])
RETURNS TABLE ({_NEW_HEAD}, now float8, durability text, what text, {LIVES.columns})
{_OWNERS} SET plan_cache_mode = force_generic_plan AS $$
#variable_conflict use_column
BEGIN
    PERFORM pg_advisory_xact_lock({_QUEUE}, of_ledger);
    IF EXISTS (SELECT FROM consentlib.versions WHERE version > of_version) THEN
        RAISE EXCEPTION USING ERRCODE = '{NEWER}', MESSAGE = 'tables of a newer version';
    END IF;
    RETURN QUERY SELECT h.size, h.tip, h.time, h.frontier, h.scope, h.unverified,
        (extract(epoch FROM clock_timestamp()) * 1000)::float8, current_setting('synchronous_commit'),
        NULL, NULL::bytea, NULL, NULL::int8, NULL::int8, NULL::bytea, NULL
        FROM consentlib.heads AS h WHERE h.ledger = of_ledger FOR UPDATE;
    IF cardinality(of_lives) > 0 THEN
        RETURN QUERY SELECT {_NO_HEAD}, 'life', l.key, l.id, l.since, l.index, l.suppressed, l.fold
            FROM consentlib.lives AS l WHERE l.ledger = of_ledger AND l.key = ANY(of_lives) ORDER BY l.index, l.since;
    END IF;
    IF cardinality(of_suppressions) > 0 THEN
        RETURN QUERY SELECT {_NO_HEAD}, 'suppression', s.key, NULL, s.erased_at, s.review_at, NULL::bytea, s.stops
            FROM consentlib.suppressions AS s WHERE s.ledger = of_ledger AND s.key = ANY(of_suppressions);
    END IF;
    IF cardinality(of_events) > 0 THEN
        RETURN QUERY SELECT {_NO_HEAD}, 'event', e.id, NULL, NULL::int8, e.index, e.digest, NULL
            FROM consentlib.events AS e WHERE e.ledger = of_ledger AND e.id = ANY(of_events);
    END IF;
END $$;

CREATE OR REPLACE FUNCTION consentlib.lookup(of_ledger int, of_key bytea)
RETURNS TABLE ({_NEW_HEAD}, now float8, {LIVES.columns}) LANGUAGE plpgsql STABLE AS $$
#variable_conflict use_column
BEGIN
    RETURN QUERY SELECT h.size, h.tip, h.time, h.frontier, h.scope, h.unverified,
        (extract(epoch FROM clock_timestamp()) * 1000)::float8, l.key, l.id, l.since, l.index, l.suppressed, l.fold
        FROM consentlib.heads AS h LEFT JOIN consentlib.lives AS l ON l.ledger = h.ledger AND l.key = of_key
        WHERE h.ledger = of_ledger ORDER BY l.index, l.since;
END $$;

CREATE OR REPLACE FUNCTION consentlib.purging(of_ledger int) RETURNS void
{_OWNERS} AS $$
BEGIN
    UPDATE consentlib.purges SET times = times + 1 WHERE ledger = of_ledger;
    PERFORM pg_stat_force_next_flush();
END $$;

CREATE OR REPLACE FUNCTION consentlib.apply(of_ledger int, {_NEW_HEAD} DEFAULT NULL, {_NEW_ROWS}) RETURNS void
{_OWNERS} AS $$
#variable_conflict use_column
BEGIN
    {" ".join(_put(one) for one in PUT)}
    UPDATE consentlib.heads SET {_SET_HEAD} WHERE ledger = of_ledger;
END $$;

CREATE OR REPLACE FUNCTION consentlib.forget(of_ledger int, {_GONE}) RETURNS void
{_OWNERS} AS $$
#variable_conflict use_column
DECLARE
    erased int8;
BEGIN
    IF cardinality(erase_index) > 0 THEN
        PERFORM set_config('consentlib.erasing', 'on', true);
        UPDATE consentlib.parts AS old SET salt = NULL, data = NULL FROM unnest({_arrays(_ERASE)}) AS gone(index, name)
            WHERE old.ledger = of_ledger AND old.index = gone.index AND old.name = gone.name
            AND coalesce(old.salt, old.data) IS NOT NULL;
        GET DIAGNOSTICS erased = ROW_COUNT;
        PERFORM set_config('consentlib.erasing', '', true);
        IF erased <> cardinality(erase_index) THEN
            RAISE EXCEPTION USING ERRCODE = 'no_data_found', MESSAGE = 'a part to erase is not there';
        END IF;
    END IF;
    {_forget(_ABOUT_GONE, "about", "address, index")}
    {_forget(_ORDERS_GONE, "orders", "address, order_id")}
    {_forget(_LIVES_GONE, "lives", "id")}
    {_forget(_LIVES_GONE, "orders", "address")}
    {_forget(_SUPPRESSIONS_GONE, "suppressions", "key")}
END $$;
"""

_PURGED: Final = ("parts", "lives", "orders", "events", "about", "suppressions")
_VACUUM: Final = "VACUUM (INDEX_CLEANUP ON, TRUNCATE OFF) "

_ERASURE: Final = (
    "(((current_setting('consentlib.erasing'::text, true) = 'on'::text) IS NOT TRUE) OR (new.salt IS NOT NULL) OR "
    "(new.data IS NOT NULL) OR (new.ledger <> old.ledger) OR (new.index <> old.index) OR (new.name <> old.name))"
)


def _guard(name: str, event: str, table: str, message: str, when: str = "") -> tuple[str, str]:
    """A trigger that refuses, written as the server writes it out again, by which an altered one is told."""
    name, each = f"guard_{name}", "STATEMENT" if event == "TRUNCATE" else "ROW"
    condition = f" WHEN ({when})" if when else ""
    sql = f"CREATE TRIGGER {name} BEFORE {event} ON consentlib.{table} FOR EACH {each}{condition}"
    return name, f"{sql} EXECUTE FUNCTION consentlib.refuse('{message}')"


GUARDS: Final[dict[str, str]] = dict(
    [
        _guard("entry_change", "DELETE OR UPDATE", "entries", "entries are append-only"),
        _guard("entry_truncate", "TRUNCATE", "entries", "entries are append-only"),
        _guard("part_update", "UPDATE", "parts", "parts change only by an erasure", _ERASURE),
        _guard("part_delete", "DELETE", "parts", "parts go only by an erasure"),
        _guard("part_truncate", "TRUNCATE", "parts", "parts go only by an erasure"),
        _guard("node_delete", "DELETE", "nodes", "nodes are append-only"),
        _guard(
            "node_move",
            "UPDATE",
            "nodes",
            "nodes are append-only",
            '((new.ledger <> old.ledger) OR (new.level <> old.level) OR (new."position" <> old."position"))',
        ),
        _guard("node_truncate", "TRUNCATE", "nodes", "nodes are append-only"),
        _guard("head_delete", "DELETE", "heads", "the head is never removed"),
        _guard(
            "head_back",
            "UPDATE",
            "heads",
            "the log never shrinks",
            "((new.size < old.size) OR (new.ledger <> old.ledger))",
        ),
        _guard("head_truncate", "TRUNCATE", "heads", "the head is never removed"),
        _guard("meta_change", "DELETE OR UPDATE", "meta", "what describes the ledger never changes"),
        _guard("meta_truncate", "TRUNCATE", "meta", "what describes the ledger never changes"),
        _guard("ledger_change", "DELETE OR UPDATE", "ledgers", "a ledger is never removed"),
        _guard("ledger_truncate", "TRUNCATE", "ledgers", "a ledger is never removed"),
    ]
)


def has_ledgers(conn: psycopg.Connection[Any]) -> bool:
    """Whether the database holds tables of ledgers."""
    return bool(_one(conn, "SELECT to_regclass('consentlib.versions') IS NOT NULL"))


def version(conn: psycopg.Connection[Any]) -> int:
    """The version of the tables. Raises `LedgerVersionError` for one that a newer version of this library made."""
    found = int(_one(conn, "SELECT coalesce(max(version), 0) FROM consentlib.versions"))
    if found > VERSION:
        raise LedgerVersionError(f"expected tables of version {VERSION} or older, found version {found}")
    return found


def migrate(conn: psycopg.Connection[Any]) -> None:
    """Take the steps that are left, and put functions and guards back. The caller holds a transaction; of processes that
    start at once one migrates, the others wait for it and find it done."""
    conn.execute("SELECT pg_advisory_xact_lock(%s)", (_MIGRATING,))
    start = version(conn) if has_ledgers(conn) else 0
    if start == VERSION:
        return
    for number, step in enumerate(_STEPS[start:], start + 1):
        conn.execute(step)
        conn.execute("INSERT INTO consentlib.versions (version) VALUES (%s)", (number,))
    conn.execute(_FUNCTIONS)
    conn.execute("REVOKE EXECUTE ON ALL FUNCTIONS IN SCHEMA consentlib FROM PUBLIC")
    for name, sql in GUARDS.items():
        table = sql.partition(" ON ")[2].split()[0]
        conn.execute(f"DROP TRIGGER IF EXISTS {name} ON {table}; {sql}; ALTER TABLE {table} ENABLE ALWAYS TRIGGER {name}")


def missing_guards(conn: psycopg.Connection[Any]) -> list[str]:
    """Names of guards that are not there as they were made, or do not fire."""
    rows = conn.execute(
        """SELECT tgname, pg_get_triggerdef(oid) FROM pg_trigger WHERE NOT tgisinternal AND tgenabled = 'A' AND tgrelid IN
            (SELECT oid FROM pg_class WHERE relnamespace = 'consentlib'::regnamespace)"""
    ).fetchall()
    found = dict(rows)
    return sorted(name for name, sql in GUARDS.items() if found.get(name) != sql)


def loose_rights(conn: psycopg.Connection[Any]) -> list[str]:
    """Rights that the connected role has and does not need: `UPDATE on entries` and the like."""
    rows = conn.execute(
        """SELECT right_, relname FROM pg_class, unnest(ARRAY['UPDATE', 'DELETE', 'TRUNCATE']) AS right_
            WHERE relnamespace = 'consentlib'::regnamespace AND relkind = 'r' AND has_table_privilege(oid, right_)
            AND relname IN ('entries', 'parts', 'nodes', 'heads', 'meta', 'ledgers') ORDER BY relname, right_"""
    ).fetchall()
    return [f"{right} on {table}" for right, table in rows]


def role_script(role: str) -> str:
    """SQL that lets `role` keep ledgers and nothing more: read the tables, write by the functions alone, and from version 17
    of the server vacuum what is erased.

    For the owner of the schema to run, after the first ledger was created and again after an upgrade of this library.
    Raises `InputError` for a role that is not lower-case letters, digits and `_`.
    """
    if not re.fullmatch("[a-z_][a-z0-9_]{0,62}", role, re.ASCII):
        raise InputError("expected a role of lower-case letters, digits and `_`, found another form")
    maintained = ", ".join(f"consentlib.{one}" for one in ("purges", *_PURGED))
    return f"""\
REVOKE ALL ON ALL TABLES IN SCHEMA consentlib FROM PUBLIC, {role};
REVOKE ALL ON SCHEMA consentlib FROM PUBLIC, {role};
GRANT USAGE ON SCHEMA consentlib TO {role};
GRANT SELECT ON ALL TABLES IN SCHEMA consentlib TO {role};
GRANT EXECUTE ON FUNCTION consentlib.lookup, consentlib.seat, consentlib.apply, consentlib.forget, consentlib.purging TO {role};
DO $$ BEGIN
    IF current_setting('server_version_num')::int >= 170000 THEN
        EXECUTE 'GRANT MAINTAIN ON {maintained} TO {role}';
    END IF;
END $$;
"""


def purge(conn: psycopg.Connection[Any], ledger: int) -> bool:
    """Vacuum what rows were erased from. Gives whether nothing kept the server from it: a row made dead here goes first, and
    what still needs that one, such as an older view, needs the others too."""
    conn.execute("SELECT consentlib.purging(%s)", (ledger,))
    conn.execute(f"{_VACUUM} consentlib.purges")
    needed = _one(conn, "SELECT n_dead_tup FROM pg_stat_all_tables WHERE relid = 'consentlib.purges'::regclass")
    if not needed:
        conn.execute(_VACUUM + ", ".join(f"consentlib.{one}" for one in _PURGED))
    return not needed


def clock(conn: psycopg.Connection[Any]) -> float:
    """Now by the server's clock, in milliseconds since the epoch."""
    return float(_one(conn, "SELECT extract(epoch FROM clock_timestamp())::float8 * 1000"))


def _one(conn: psycopg.Connection[Any], sql: str) -> Any:
    [(value,)] = conn.execute(sql).fetchall()
    return value
