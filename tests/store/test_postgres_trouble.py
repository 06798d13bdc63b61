"""Trouble with PostgreSQL: servers that are away, refuse or die, lines that break, proxies in between; all of it real."""

# ruff: noqa: PT012
from __future__ import annotations

import os
import threading
import time
import traceback
from collections.abc import Iterator
from typing import Any

import psycopg
import pytest

from consentlib.errors import CommitUnknownError, StoreUnavailableError
from consentlib.store.postgres import PostgresStore
from consentlib.store.postgres_connection import Connection
from consentlib.store.protocol import Changes, NewEntry, Wanted
from consentlib.testing.store_contract import KEY, META, append, check_chain, in_threads, life
from postgres_proxy import Line, Pooling
from postgres_server import PASSWORD, Database, Server

COMMIT = b"COMMIT\0"


@pytest.fixture
def store(postgres_url: str) -> Iterator[PostgresStore]:
    """An empty ledger."""
    store = PostgresStore.create(postgres_url, META)
    yield store
    store.close()


@pytest.fixture
def line(postgres_url: str, store: PostgresStore) -> Iterator[Line]:
    """A line to the server that can be broken."""
    with Line(postgres_url) as one:
        yield one


@pytest.fixture
def far(line: Line) -> Iterator[PostgresStore]:
    """The ledger at the other end of the line."""
    store = PostgresStore.open(line.url)
    yield store
    store.close()


def end_sessions(postgres: Database, url: str) -> None:
    """End every session of the store in that database, as an administrator would."""
    name = url.rpartition("/")[2]
    sql = "SELECT pg_terminate_backend(pid, 5000) FROM pg_stat_activity WHERE datname = %s AND application_name = 'consentlib'"
    assert postgres.execute(sql, (name,))


# What can't be reached


def refusals(postgres: Database) -> list[tuple[str, str]]:
    """URLs that lead nowhere, and what the error says."""
    return [
        (postgres.url(user="nobody_here", password="s3cret"), "to take role and password"),
        (postgres.url(password="s3cret"), "to take role and password"),
        (postgres.url("no_such_database"), "the database of the URL"),
        ("postgresql://anna:s3cret@127.0.0.1:1/db", "a server that listens"),
        ("postgresql://anna:s3cret@no-such-host.invalid/db", "a host by that name"),
    ]


@pytest.mark.parametrize("number", range(5))
def test_what_can_not_be_reached_says_why_and_no_secret(postgres: Database, number: int) -> None:
    """One line says what is wrong; neither it nor a traceback holds a role or a password."""
    url, said = refusals(postgres)[number]
    for call in (PostgresStore.open, lambda url: PostgresStore.create(url, META)):
        with pytest.raises(StoreUnavailableError, match=said) as caught:
            call(url)
        shown = "".join(traceback.format_exception(caught.value))
        for secret in ("s3cret", PASSWORD, "anna", "nobody_here", "no_such_database"):
            assert secret not in shown.replace(__file__, "")
        assert "\n" not in str(caught.value)


def test_a_server_that_goes_away(postgres_url: str) -> None:
    """Without a server every call raises within seconds, as do views that were open; when it is back all goes on."""
    with Server().init() as server:
        store = PostgresStore.create(server.start().url(), META)
        with store.write() as transaction:
            append(transaction, "before")
        with pytest.raises(StoreUnavailableError, match="connection lost"), store.read() as view:
            server.stop("immediate")
            list(view.entries())
        for call in (lambda: store.lookup(KEY), lambda: store.read().__enter__(), lambda: store.write().__enter__()):
            start = time.monotonic()
            with pytest.raises(StoreUnavailableError, match="a server that listens"):
                call()
            assert time.monotonic() - start < 15
        server.start()
        with store.write() as transaction:
            append(transaction, "after")
        assert check_chain(store, 2) == ["before", "after"]
        store.close()


def test_a_standby_is_not_written(postgres_url: str) -> None:
    """Of two hosts the primary is found; a standby alone is refused, and so are writes to one that was asked for."""
    with Server().init() as primary, Server() as standby:
        PostgresStore.create(primary.start().url(), META).close()
        standby.copy_of(primary).start()
        primary.set(synchronous_standby_names="*")
        with pytest.raises(StoreUnavailableError, match="found a server that is read-only"):
            PostgresStore.open(standby.url())
        reader = PostgresStore.open(standby.url(target_session_attrs="any"))
        assert reader.lookup(KEY)[0].size == 0
        assert reader.health()["standby"] is True
        with pytest.raises(StoreUnavailableError, match="found a server that is read-only"), reader.write():
            pass
        reader.close()
        both = PostgresStore.open(f"postgresql://owner:{PASSWORD}@127.0.0.1:{standby.port},127.0.0.1:{primary.port}/postgres")
        with both.write() as transaction:
            append(transaction, "on the primary")
        primary.kill()
        standby.promote()
        with both.write() as transaction:
            append(transaction, "on the new one")
        assert check_chain(both, 2)[1] == "on the new one"
        both.close()


# Sessions that die


def test_sessions_that_died_idle_are_replaced(store: PostgresStore, postgres: Database, postgres_url: str) -> None:
    """A check, a view and a transaction each begin on a live session though all that were idle are gone."""
    holds = [store.read() for _ in range(4)]
    for one in holds:
        one.__enter__()
    for one in holds:
        one.__exit__(None)
    for use in (lambda: store.lookup(KEY), lambda: check_chain(store, 0), lambda: append_one(store)):
        end_sessions(postgres, postgres_url)
        use()
    check_chain(store, 1)


def append_one(store: PostgresStore) -> None:
    with store.write() as transaction:
        append(transaction)


@pytest.mark.parametrize("step", ["begun", "applied"])
def test_a_session_that_dies_before_the_commit(store: PostgresStore, postgres: Database, postgres_url: str, step: str) -> None:
    """A transaction whose session ends before its commit was sent leaves nothing, and the next writer goes on."""
    with pytest.raises(StoreUnavailableError), store.write() as transaction:
        if step == "applied":
            append(transaction, "lost")
        end_sessions(postgres, postgres_url)
        append(transaction, "lost too")
    append_one(store)
    assert check_chain(store, 1) == [""]


@pytest.mark.parametrize("reached", [False, True])
def test_a_commit_without_an_answer_is_unknown(line: Line, far: PostgresStore, store: PostgresStore, reached: bool) -> None:
    """Whether the commit reached the server or not, the caller gets `CommitUnknownError`, and the seat is free again."""
    line.break_at(COMMIT, reached=reached)
    with pytest.raises(CommitUnknownError), far.write() as transaction:
        append(transaction, "doubtful")
    append_one(far)
    assert check_chain(store, 1 + reached)[:reached] == ["doubtful"] * reached


@pytest.mark.parametrize("words", [b"BEGIN ISOLATION LEVEL READ COMMITTED", b"consentlib.parts", b"consentlib.apply"])
@pytest.mark.parametrize("reached", [False, True])
def test_a_line_that_breaks_before_the_commit(
    line: Line, far: PostgresStore, store: PostgresStore, words: bytes, reached: bool
) -> None:
    """A line that breaks at the first words is made anew; later, the transaction is lost whole."""
    line.break_at(words, reached=reached)
    try:
        with far.write() as transaction:
            append(transaction, "one")
            assert transaction.entry(0) is not None
        size = 1
    except CommitUnknownError:
        raise
    except StoreUnavailableError:
        size = 0
    assert size == (b"BEGIN" in words)
    append_one(far)
    check_chain(store, size + 1)


def test_a_write_is_two_trips(line: Line, far: PostgresStore, store: PostgresStore) -> None:
    """The seat comes with all that is wanted, and the commit goes with what was applied last."""
    append_one(far)
    for number in range(2):
        line.sent = 0
        with far.write(Wanted([KEY], [KEY], [KEY])) as transaction:
            assert [list(one) for one in transaction.found] == [[KEY]] * 3
            append(transaction, str(number), lives=[life("a")])
        assert line.sent == 2
    with far.write() as transaction:
        append(transaction, "2", lives=[life("b")])
        assert len(transaction.lives(KEY)) == 2
    check_chain(store, 4)


def test_a_change_that_fails_with_its_commit(far: PostgresStore, store: PostgresStore) -> None:
    """It is the server's refusal and no doubtful commit; the connection goes on."""
    append_one(far)
    with store.read() as view:
        [first] = view.entries()
    for _ in range(2):
        with pytest.raises(StoreUnavailableError, match="23505") as caught, far.write() as transaction:
            head = transaction.head()
            again = NewEntry(0, 0, "consent.given", first.leaf, KEY, {}, [])
            transaction.apply(Changes(head._replace(size=9), [again], lives=[life("a")]))
        assert not isinstance(caught.value, CommitUnknownError)
    assert far._connections._idle
    append_one(far)
    check_chain(store, 2)
    assert store.lookup(KEY)[1] == ()


def test_a_commit_that_is_interrupted(far: PostgresStore, store: PostgresStore, monkeypatch: pytest.MonkeyPatch) -> None:
    """Whoever is interrupted before he has the answer leaves no connection behind, which would be in the middle of a trip."""
    real = Connection.wait

    def interrupt(*args: Any) -> None:
        real(*args)  # the driver does not let go of a connection before the server has answered
        raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt), far.write() as transaction:
        append(transaction, "doubtful")
        monkeypatch.setattr(Connection, "wait", interrupt)
    monkeypatch.undo()
    assert not far._connections._idle
    append_one(far)
    assert check_chain(store, 2)[0] == "doubtful"


def test_an_answer_that_never_comes(line: Line, far: PostgresStore, store: PostgresStore) -> None:
    """After a deadline the socket is closed: a commit is unknown then, and the server has it all the same."""
    line.silent = True
    for words, error in ((b"consentlib.lookup", StoreUnavailableError), (COMMIT, CommitUnknownError)):
        with pytest.MonkeyPatch.context() as patch:
            patch.setattr(Connection, "deadline", 0.5)
            line.break_at(words, reached=True)
            start = time.monotonic()
            with pytest.raises(error):
                far.lookup(KEY) if error is StoreUnavailableError else append_one(far)
            assert 0.4 < time.monotonic() - start < 10
    check_chain(store, 1)


def test_a_cancelled_wait_for_a_standby_is_unknown() -> None:
    """A commit whose wait for a standby somebody cancels *succeeds* for the driver: here it is `CommitUnknownError`."""
    with Server().init() as server:
        store = PostgresStore.create(server.start().url(), META)
        server.set(synchronous_standby_names="ANY 1 (nobody)")
        found: list[BaseException] = []

        def write() -> None:
            try:
                append_one(store)
            except BaseException as error:  # noqa: BLE001  # looked at below
                found.append(error)

        writer = threading.Thread(target=write)
        writer.start()
        wait_for(server, "wait_event = 'SyncRep'")
        server.execute("SELECT pg_cancel_backend(pid) FROM pg_stat_activity WHERE wait_event = 'SyncRep'")
        writer.join(20)
        assert [type(one) for one in found] == [CommitUnknownError]
        server.set(synchronous_standby_names="")
        check_chain(store, 1)
        store.close()


def wait_for(server: Database, condition: str) -> None:
    """Wait until a session of the store is in such a state."""
    end = time.monotonic() + 20
    while not server.execute(f"SELECT 1 FROM pg_stat_activity WHERE {condition}"):
        assert time.monotonic() < end
        time.sleep(0.02)


def test_a_lost_head_or_table_is_one_clear_error(store: PostgresStore, postgres_url: str) -> None:
    """Where rows or tables are gone, every way in raises `StoreUnavailableError`, and the connections go back."""
    with psycopg.connect(postgres_url, autocommit=True) as owner:
        owner.execute("ALTER TABLE consentlib.heads DISABLE TRIGGER ALL; DELETE FROM consentlib.heads")
        for _ in range(12):
            for use in (lambda: store.lookup(KEY), lambda: store.read().__enter__(), lambda: store.write().__enter__()):
                with pytest.raises(StoreUnavailableError):
                    use()
        owner.execute("DROP TABLE consentlib.lives CASCADE")
        with pytest.raises(StoreUnavailableError, match="42P01"):
            store.lookup(KEY)


# Proxies


def test_behind_a_proxy_that_pools_transactions(store: PostgresStore, postgres_url: str) -> None:
    """Sessions that change with every transaction and forget everything between are enough, for many threads at once."""
    with Pooling(postgres_url) as proxy:
        far = PostgresStore.open(proxy.url)

        def work() -> None:
            for _ in range(8):
                append_one(far)
                far.lookup(KEY)
                with far.read() as view:
                    size = view.head().size
                    assert len(list(view.entries())) == len(list(view.kinds())) == size

        in_threads(work, 4)
        assert far.purge() in (True, False)
        assert far.guards() == []
        far.close()
        assert proxy.turns > 4 * 8 * 3
    check_chain(store, 32)


def test_ended_with_an_open_transaction(store: PostgresStore, postgres_url: str) -> None:
    """A process that is gone in the middle of a transaction holds the seat no longer than the server takes to see it."""
    pid = os.fork()
    if pid == 0:
        other = PostgresStore.open(postgres_url)
        with other.write() as transaction:
            append(transaction, "lost")
            os._exit(0)
    os.waitpid(pid, 0)
    append_one(store)
    assert check_chain(store, 1) == [""]
