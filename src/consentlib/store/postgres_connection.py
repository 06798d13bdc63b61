"""Connections to PostgreSQL: what a URL says, a deadline for every answer, and a driver's errors in words of ours.

A driver's error is never chained to ours: the server's words may repeat the role of the URL, or a value of a row.
"""

from __future__ import annotations

import re
import threading
from collections.abc import Generator, Iterable, Sequence
from functools import cache
from time import monotonic
from typing import Any, Final, NamedTuple, Self, TypeVar

import psycopg
from attrs import field, frozen
from psycopg import generators
from psycopg.adapt import PyFormat, Transformer
from psycopg.conninfo import conninfo_to_dict, make_conninfo
from psycopg.errors import error_from_result
from psycopg.pq import ExecStatus, Format, TransactionStatus
from psycopg.pq.abc import PGconn, PGresult

from consentlib.errors import InputError, StoreUnavailableError
from consentlib.store.postgres_rows import register
from consentlib.store.postgres_schema import NEWER
from consentlib.store.turn import WAIT

MOST: Final = 10
"""Connections of a process: one writes, the others read."""

_PATIENCE: Final = 5.0
_DEADLINE: Final = 45.0
_LEDGER: Final = re.compile(r"[a-z0-9][a-z0-9_.-]{0,62}", re.ASCII)
_DEFAULTS: Final = {
    "target_session_attrs": "read-write",
    "connect_timeout": "5",
    "application_name": "consentlib",
    # A peer that is gone without a word is noticed by the operating system, which closes the socket.
    "keepalives_idle": "10",
    "keepalives_interval": "5",
    "keepalives_count": "3",
    "tcp_user_timeout": "30000",
}
_Answer = TypeVar("_Answer")


@frozen
class Target:
    """Where a ledger is. `conninfo` holds a password, so it is in no repr; `place` names host and port for messages."""

    conninfo: str = field(repr=False)
    place: str
    ledger: str

    @classmethod
    def parse(cls, url: str) -> Self:
        """From `postgresql://user:password@host,host/database?ledger=name`. Raises `InputError`, without a word of it."""
        start, _, query = url.partition("?")
        named = [one.removeprefix("ledger=") for one in query.split("&") if one.startswith("ledger=")] or ["default"]
        if len(named) > 1 or not _LEDGER.fullmatch(named[0]):
            raise InputError("expected one `ledger` of lower-case letters, digits and `_.-`, found another form")
        rest = "&".join(one for one in query.split("&") if one and not one.startswith("ledger="))
        try:
            said = {name: str(value) for name, value in conninfo_to_dict(f"{start}?{rest}" if rest else start).items()}
        except psycopg.Error:
            raise InputError("expected `postgresql://user@host/database` as libpq reads it, found another form") from None
        hosts = said.get("host", said.get("hostaddr", "")).split(",")
        ports = said.get("port", "").split(",")
        place = ", ".join(
            f"{host or 'localhost'}:{port or '5432'}" for host, port in zip(hosts, ports * len(hosts), strict=False)
        )
        return cls(make_conninfo("", **{**_DEFAULTS, **said, "client_encoding": "UTF8"}), place, named[0])


Statement = tuple[str, Sequence[Any]]
"""SQL with `%b` for each value, and the values, which go to the server in binary."""


class Late(psycopg.OperationalError):
    """No answer came in time, and the socket was closed."""


class Connection(psycopg.Connection[tuple[Any, ...]]):
    """A connection whose socket is closed where an answer does not come in time.

    Nothing is cancelled at the server: a commit that is cancelled while it waits for a standby *succeeds*.
    """

    deadline: float = _DEADLINE

    def wait(self, gen: Generator[Any, Any, _Answer], *args: Any, **options: Any) -> _Answer:
        """See psycopg: work through `gen`; here until the deadline."""
        return super().wait(self._in_time(gen), *args, **options)

    def rows(self, sql: str, values: Sequence[Any] = ()) -> list[tuple[Any, ...]]:
        """The rows of a statement, with a value for each `%b`, or of several without values. By libpq alone, as a cursor takes
        three times as long for the same."""
        adapter = Transformer(self)
        if values:
            self._send(sql, values, adapter)
        else:
            self.pgconn.send_query(sql.encode())
        found: list[tuple[Any, ...]] = []
        for result in self.wait(generators.execute(self.pgconn)):
            if result.status == ExecStatus.TUPLES_OK:
                adapter.set_pgresult(result)
                found += adapter.load_rows(0, result.ntuples, tuple)
            elif result.status != ExecStatus.COMMAND_OK:
                raise error_from_result(result)
        return found

    def commit_after(self, statements: Iterable[Statement]) -> None:
        """Do statements that give nothing to read, and commit, in one trip. Where one fails the server commits nothing."""
        adapter = Transformer(self)
        self.pgconn.enter_pipeline_mode()
        try:
            for sql, values in (*statements, ("COMMIT", ())):
                self._send(sql, values, adapter)
            self.pgconn.pipeline_sync()
            failed = self.wait(_failure(self.pgconn))
        except BaseException:
            self.close()  # in the middle of an answer nothing else can be said
            raise
        self.pgconn.exit_pipeline_mode()
        if failed is not None:
            raise error_from_result(failed)

    def _send(self, sql: str, values: Sequence[Any], adapter: Any) -> None:
        data = adapter.dump_sequence(values, [PyFormat.BINARY] * len(values))
        self.pgconn.send_query_params(_numbered(sql), data, adapter.types, adapter.formats, Format.BINARY)

    def _in_time(self, gen: Generator[Any, Any, _Answer]) -> Generator[Any, Any, _Answer]:
        end = 0.0
        try:
            wanted = next(gen)
            while True:
                ready = yield wanted
                if not ready:  # psycopg asks again each tenth of a second
                    end = end or monotonic() + self.deadline
                    if monotonic() > end:
                        self.pgconn.finish()
                        raise Late
                wanted = gen.send(ready)
        except StopIteration as done:
            answer: _Answer = done.value
            return answer


def _failure(pgconn: PGconn) -> Generator[Any, Any, PGresult | None]:
    """The answer that is an error, among all to what was sent: after one the server does nothing else of it."""
    yield from generators.send(pgconn)
    failed = None
    while True:
        result = yield from generators.fetch(pgconn)
        if result is not None and result.status == ExecStatus.PIPELINE_SYNC:
            return failed
        if result is not None and result.status == ExecStatus.FATAL_ERROR:
            failed = result


@cache
def _numbered(sql: str) -> bytes:
    """With `$1` and so on for each `%b`, as the server takes it."""
    first, *rest = sql.split("%b")
    return (first + "".join(f"${number}{part}" for number, part in enumerate(rest, 1))).encode()


_OPTIONS: Final[dict[str, Any]] = {"autocommit": True, "prepare_threshold": None}
"""No statement is prepared at the server: behind a proxy the next one may go to another session."""


def connect(target: Target) -> Connection:
    """A connection of its own, for who begins or opens a ledger. Raises `StoreUnavailableError` with the reason."""
    try:
        conn = Connection.connect(target.conninfo, **_OPTIONS)
    except psycopg.Error as error:
        raise unreachable(target, error) from None
    register(conn)
    return conn


class Connections:
    """The connections of one process to one server, opened when none lies idle. Threads may share it.

    No thread watches over them: one that died idle is found when it is used, and what can't be opened says why at once.
    """

    def __init__(self, target: Target) -> None:
        self._target = target
        self._idle: list[Connection] = []
        self._free = threading.BoundedSemaphore(MOST)
        self.closed = False

    def take(self) -> Connection:
        """A connection, which must be given back. Waits a little where all are in use."""
        if self.closed:
            raise StoreUnavailableError("expected an open store, found it closed")
        if not self._free.acquire(timeout=_PATIENCE):
            raise StoreUnavailableError(f"expected a free connection within {_PATIENCE:.0f} s, found {MOST} in use")
        try:
            return self._idle.pop()
        except IndexError:
            pass
        try:
            return connect(self._target)
        except BaseException:
            self._free.release()
            raise

    def give_back(self, conn: Connection) -> None:
        """Let no transaction stay open, whatever happened to it; a connection that can't do that is given up."""
        try:
            if not conn.closed and conn.pgconn.transaction_status != TransactionStatus.IDLE:
                conn.rows("ROLLBACK")
        except psycopg.Error:
            conn.close()
        if not conn.closed:
            self._idle.append(conn)
        self._free.release()
        if self.closed:
            self.drop_idle()

    def drop_idle(self) -> None:
        """Close what lies idle: one of them was found dead."""
        while True:
            try:
                self._idle.pop().close()
            except IndexError:
                return

    def close(self) -> None:
        """Close what lies idle now, and what is in use when it is given back."""
        self.closed = True
        self.drop_idle()


class _Reason(NamedTuple):
    said: str
    expected: str
    found: str


_REASONS: Final = (
    _Reason("password authentication failed", "the server to take role and password", "them refused"),
    _Reason("no password supplied", "the server to take role and password", "no password given"),
    _Reason("no pg_hba.conf entry", "the server to let this machine in", "no rule in its `pg_hba.conf` that does"),
    _Reason("is not permitted to log in", "a role that may log in", "another"),
    _Reason("too many", "a free connection at the server", "all in use"),
    _Reason("role ", "the role of the URL", "none by that name"),
    _Reason("database ", "the database of the URL", "none by that name"),
    _Reason("read-only", "the primary", "a server that is read-only"),
    _Reason("refused", "a server that listens", "none"),
    _Reason("resolve host", "a host by that name", "none"),
    _Reason("translate host name", "a host by that name", "none"),
    _Reason("timeout", "an answer in time", "none"),
)


def unreachable(target: Target, error: psycopg.Error) -> StoreUnavailableError:
    """Why there is no connection. libpq tells it in words alone, in the language of the server."""
    said = str(error)
    for reason in _REASONS:
        if reason.said in said:
            return StoreUnavailableError(f"expected {reason.expected} at `{target.place}`, found {reason.found}")
    return StoreUnavailableError(
        f"expected a connection to `{target.place}`, found none",
        note="the server may be away, or does not take this role, password or database",
    )


def translated(target: Target, error: psycopg.Error) -> StoreUnavailableError:
    """What went wrong with a statement."""
    state = error.sqlstate
    if isinstance(error, Late):
        return StoreUnavailableError(f"expected an answer of the server at `{target.place}` in time, found none")
    if state is None or state.startswith(("08", "57P")):
        found = f"`{state}`, and " if state else ""
        return StoreUnavailableError(f"expected an answer of the server at `{target.place}`, found {found}the connection lost")
    if state in ("25006", "0A000"):  # a write to a standby, or one announced there
        return StoreUnavailableError(f"expected the primary at `{target.place}`, found a server that is read-only")
    if state == "42501":
        return StoreUnavailableError(
            f"expected a role that may keep ledgers at `{target.place}`, found one without the rights",
            note="let the owner run the script of `consentlib.store.postgres_schema.role_script`",
        )
    if state == NEWER:  # it came while this process had the ledger open; what is written now it could not read
        return StoreUnavailableError("expected tables of this or an older version, found newer ones")
    if state == "55P03":
        return StoreUnavailableError(f"expected the writer's turn within {WAIT:.0f} s, found another transaction")
    # Class 22 is about a value, and repeats it.
    words = "" if state.startswith("22") else f": {error.diag.message_primary}"
    return StoreUnavailableError(f"expected the server at `{target.place}` to do its work, found `{state}`{words}")
