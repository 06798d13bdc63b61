"""What `doctor` wants to know of a ledger in PostgreSQL: guards, rights, and how durable a commit is there."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Final

from consentlib.store import postgres_schema as schema
from consentlib.store.protocol import system_clock

if TYPE_CHECKING:
    import psycopg

_SETTINGS: Final = ("fsync", "full_page_writes", "synchronous_commit", "synchronous_standby_names")


def health(conn: psycopg.Connection[Any]) -> dict[str, Any]:
    """Facts about the server and the role: `missing_guards` must be empty, `loose_rights` should be.

    `clock_difference` is the server's clock less this machine's, in milliseconds.
    """
    rows: list[Any] = conn.execute("SELECT name, setting FROM pg_settings WHERE name = ANY(%s)", (list(_SETTINGS),)).fetchall()
    [(standby, streaming)] = conn.execute("SELECT pg_is_in_recovery(), count(*) FROM pg_stat_replication").fetchall()
    return {
        "missing_guards": schema.missing_guards(conn),
        "loose_rights": schema.loose_rights(conn),
        "server_version": conn.info.server_version,
        "schema_version": schema.version(conn),
        "standby": standby,
        "standbys_streaming": streaming,
        "clock_difference": round(schema.clock(conn) - system_clock()),
        **dict(rows),
    }
