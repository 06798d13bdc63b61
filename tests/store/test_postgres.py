"""The PostgreSQL store on real servers of two versions: the contract, and what is PostgreSQL's own."""

# ruff: noqa: PT012
from __future__ import annotations

import multiprocessing
import os
import subprocess
import sys
import threading
import time
from collections.abc import Iterator
from typing import Any

import psycopg
import pytest

from consentlib import Ledger
from consentlib.checkpoints import MemoryCheckpoints
from consentlib.errors import (
    InputError,
    KeyFileError,
    LedgerExistsError,
    LedgerMissingError,
    LedgerVersionError,
    StoreUnavailableError,
)
from consentlib.events import OrderPlaced
from consentlib.keys import Keys
from consentlib.store import EventRow, Suppression, Wanted, create_store, open_store, postgres_schema, postgres_view
from consentlib.store.postgres import PostgresStore
from consentlib.store.postgres_connection import Target
from consentlib.testing import StoreContract
from consentlib.testing.store_contract import KEY, META, OTHER, append, check_chain, in_threads, life, put
from postgres_server import Database, Server
from shop import LETTER, POLICY, Shop


@pytest.fixture(scope="session")
def shared(postgres: Database) -> Iterator[str]:
    """A database for many ledgers."""
    name = f"consentlib_{os.urandom(8).hex()}"
    yield postgres.database(name)
    postgres.execute(f"DROP DATABASE {name} WITH (FORCE)")


class TestPostgresStore(StoreContract):
    """The contract."""

    @pytest.fixture
    def store_url(self, shared: str) -> str:
        """A ledger of the test's own in the shared database."""
        return f"{shared}?ledger=test-{os.urandom(8).hex()}"


@pytest.fixture
def store(postgres_url: str) -> Iterator[PostgresStore]:
    """A ledger with one entry and a row in every table, in a database of its own."""
    store = PostgresStore.create(postgres_url, META)
    with store.write() as transaction:
        append(
            transaction,
            about=("a",),
            lives=[life("a")],
            nodes=[(1, 0, KEY)],
            events=[EventRow(KEY, 0, b"d")],
            suppressions=[Suppression(KEY, 1, 2, "[]")],
            facts=b"1",
            person=b"2",
        )
    yield store
    store.close()


def do(url: str, statement: str) -> list[tuple[Any, ...]]:
    """Do a statement, as somebody who does not know of the store."""
    with psycopg.connect(url, autocommit=True) as conn:
        done = conn.execute(statement)
        return done.fetchall() if done.description else []


# URLs


@pytest.mark.parametrize(
    "url",
    [
        "postgresql://anna:s3cret@host/db?ledger=",
        "postgresql://anna:s3cret@host/db?ledger=a&ledger=b",
        "postgresql://anna:s3cret@host/db?ledger=Ledger",
        "postgresql://anna:s3cret@host/db?s3cret=1",
        "postgresql://anna:s3cret@[host/db",
    ],
)
def test_a_bad_url_is_refused_without_a_word_of_it(url: str) -> None:
    """What libpq can't read, or names no ledger, is an `InputError` that repeats nothing."""
    for call in (PostgresStore.open, lambda url: PostgresStore.create(url, META)):
        with pytest.raises(InputError) as caught:
            call(url)
        assert "s3cret" not in str(caught.value)
        assert caught.value.__cause__ is None


def test_a_target_shows_no_secret_and_asks_for_the_primary() -> None:
    """The defaults hold unless the URL says otherwise; a repr shows host and ledger alone."""
    target = Target.parse("postgresql://anna:s3cret@one,two:5433/db?ledger=shop-2&connect_timeout=9")
    assert repr(target) == "Target(place='one:5432, two:5433', ledger='shop-2')"
    assert "target_session_attrs=read-write" in target.conninfo
    assert "connect_timeout=9" in target.conninfo
    assert "ledger" not in target.conninfo
    assert "target_session_attrs=any" in Target.parse("postgres:///db?target_session_attrs=any").conninfo


def test_a_missing_extra_is_named() -> None:
    """Without psycopg the error says what to install."""
    code = (
        "import sys; sys.modules['psycopg'] = None\n"
        "from consentlib.errors import StoreUnavailableError; from consentlib.store import open_store\n"
        "try: open_store('postgresql://host/db')\n"
        "except StoreUnavailableError as error: print(error)"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert "pip install 'consentlib[postgres]'" in done.stdout
    assert done.stdout.count("\n") == 1


def test_keys_need_a_place(postgres_url: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """A ledger on a server is not begun with keys that would be lost."""
    monkeypatch.delenv("CONSENTLIB_KEYS", raising=False)
    with pytest.raises(KeyFileError, match="pass `keys` or set CONSENTLIB_KEYS"):
        Ledger.create(postgres_url, policy=POLICY)
    with pytest.raises(LedgerMissingError):
        open_store(postgres_url)


# Beginning and opening


def test_ledgers_of_a_database_are_apart(store: PostgresStore, postgres_url: str) -> None:
    """Another ledger of the same database sees nothing of the first, and each its own description."""
    with pytest.raises(LedgerMissingError, match="`other`"):
        PostgresStore.open(f"{postgres_url}?ledger=other")
    other = PostgresStore.create(f"{postgres_url}?ledger=other", {**META, "label": "other"})
    head, lives = other.lookup(KEY)
    assert (head.size, lives) == (0, ())
    with other.read() as view:
        assert list(view.entries()) == list(view.kinds()) == list(view.all_lives()) == []
        assert list(view.all_events()) == list(view.all_suppressions()) == []
        assert (view.event(KEY), view.suppression(KEY), view.about("a"), view.nodes([(0, 0), (1, 0)])) == (None, None, (), {})
    put(other, forget_lives=["a"], forget_about=[("a", 0)])
    with pytest.raises(StoreUnavailableError), other.write() as transaction:
        append(transaction, erase_parts=[(0, "person")])
    assert store.lookup(KEY)[1] == (life("a"),)
    with store.read() as view:
        assert view.about("a") == (0,)
    assert (store.meta["label"], other.meta["label"]) == ("æøå", "other")
    other.close()


def begin(url: str) -> str:
    """What a starting process gets when it begins a ledger."""
    try:
        PostgresStore.create(url, META).close()
    except LedgerExistsError:
        return "exists"
    return "made"


def test_processes_that_start_at_once(postgres_url: str) -> None:
    """In an empty database one of them migrates and the others wait for it; of those with one name, one begins the ledger."""
    urls = [f"{postgres_url}?ledger={name}" for name in ("a", "a", "b", "c")]
    with multiprocessing.get_context("spawn").Pool(4) as pool:
        pool.map(time.sleep, [0.1] * 4)
        found = pool.map(begin, urls, chunksize=1)
    assert sorted(found[:2]) == ["exists", "made"]
    assert found[2:] == ["made", "made"]
    assert do(postgres_url, "SELECT version FROM consentlib.versions") == [(postgres_schema.VERSION,)]


def test_a_starting_process_waits_for_one_that_migrates(postgres_url: str) -> None:
    """While another holds the lock of migrations, `create` waits, and then goes on."""
    made = threading.Event()
    starting = threading.Thread(target=lambda: (PostgresStore.create(postgres_url, META).close(), made.set()))
    with psycopg.connect(postgres_url) as other:
        other.execute("SELECT pg_advisory_xact_lock(%s)", (postgres_schema._MIGRATING,))
        starting.start()
        assert not made.wait(1)
    starting.join(30)
    assert made.is_set()


def test_a_newer_version_is_refused(store: PostgresStore, postgres_url: str) -> None:
    """Tables that a newer version of this library has changed are not used."""
    do(postgres_url, "INSERT INTO consentlib.versions VALUES (99)")
    for call in (PostgresStore.open, lambda url: PostgresStore.create(f"{url}?ledger=other", META)):
        with pytest.raises(LedgerVersionError, match="found version 99"):
            call(postgres_url)


def test_a_newer_version_took_over(store: PostgresStore, postgres_url: str) -> None:
    """An older process that has the tables open writes no more, in no transaction, and goes on once they are its own again."""
    with store.read() as view:
        size = view.head().size
    do(postgres_url, "INSERT INTO consentlib.versions VALUES (99)")
    newer = "expected tables of this or an older version, found newer ones"
    with pytest.raises(StoreUnavailableError, match=newer), store.write() as transaction:
        append(transaction)
    with psycopg.connect(postgres_url) as shop:
        shop.execute("SELECT 1")
        with pytest.raises(StoreUnavailableError, match=newer):
            store.bind(shop)
    do(postgres_url, "DELETE FROM consentlib.versions WHERE version = 99")
    with store.write() as transaction:
        append(transaction)
    check_chain(store, size + 1)


def test_a_failed_create_leaves_nothing(postgres: Database, postgres_url: str) -> None:
    """A schema of somebody else's stays as it was, and no half of a ledger is left."""
    do(postgres_url, "CREATE SCHEMA consentlib; CREATE TABLE consentlib.heads (mine int)")
    with pytest.raises(LedgerMissingError):
        PostgresStore.open(postgres_url)
    with pytest.raises(StoreUnavailableError, match="42P06"):
        PostgresStore.create(postgres_url, META)
    assert do(postgres_url, "SELECT relname FROM pg_class WHERE relnamespace = 'consentlib'::regnamespace") == [("heads",)]


def test_another_encoding_is_refused(postgres: Database) -> None:
    """A database that is not in UTF-8 keeps no ledger."""
    name = f"consentlib_{os.urandom(8).hex()}"
    postgres.execute(f"CREATE DATABASE {name} ENCODING 'LATIN1' LOCALE 'C' TEMPLATE template0")
    with pytest.raises(StoreUnavailableError, match="expected a database in `UTF8`, found one in `LATIN1`"):
        PostgresStore.create(postgres.url(name), META)
    postgres.execute(f"DROP DATABASE {name}")


# Reading what the other stores can't show


def test_rows_come_page_by_page(store: PostgresStore) -> None:
    """Every event row and suppression comes once, however many there are; nodes come many at once, those that exist."""
    keys = [number.to_bytes(16) for number in range(600)]
    put(store, events=[EventRow(key, 1, b"") for key in keys], suppressions=[Suppression(key, 1, 2, "[]") for key in keys])
    with store.read() as view:
        assert sorted(row.id for row in view.all_events()) == sorted([*keys, KEY])
        assert sorted(row.key for row in view.all_suppressions()) == sorted([*keys, KEY])
        leaf = view.node(0, 0)
        assert view.nodes([(0, 0), (1, 0), (0, 9), (7, 7)]) == {(0, 0): leaf, (1, 0): KEY}
        assert view.nodes([]) == {}


def test_readers_wait_for_nobody(store: PostgresStore) -> None:
    """While a writer has its seat, checks and views answer from the state before."""
    with store.write() as transaction:
        append(transaction, lives=[life("b", OTHER)])
        assert store.lookup(OTHER) == (store.lookup(KEY)[0], ())
        with store.read() as view:
            assert view.head().size == 1


# Writing


def test_a_writer_waits_and_gives_up(store: PostgresStore, postgres_url: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """Another process's writer is waited for, so long and no longer; then the seat is free again."""
    monkeypatch.setattr(postgres_view, "WAIT", 0.3)
    other = PostgresStore.open(postgres_url)
    with store.write() as transaction:
        start = time.monotonic()
        with pytest.raises(StoreUnavailableError, match="the writer's turn"), other.write():
            pass
        assert 0.2 < time.monotonic() - start < 5
        append(transaction, "mine")
    with other.write() as transaction:
        append(transaction, "other's")
    assert check_chain(store, 3)[1:] == ["mine", "other's"]
    other.close()


def test_a_commit_wakes_one_writer(store: PostgresStore, postgres: Database, postgres_url: str) -> None:
    """Writers of several processes queue for an advisory lock, and none of them for the head's row, which changes."""
    others = [PostgresStore.open(postgres_url) for _ in range(3)]
    sql = "SELECT locktype FROM pg_locks WHERE NOT granted AND pid IN (SELECT pid FROM pg_stat_activity WHERE datname = %s)"
    name = postgres_url.rpartition("/")[2]

    def write(other: PostgresStore) -> None:
        with other.write() as transaction:
            append(transaction)

    threads = [threading.Thread(target=write, args=(other,)) for other in others]
    with store.write() as transaction:
        append(transaction)
        for thread in threads:
            thread.start()
        end = time.monotonic() + 20
        while len(found := postgres.execute(sql, (name,))) < 3:
            assert time.monotonic() < end
        assert set(found) == {("advisory",)}
    for thread in threads:
        thread.join(20)
    check_chain(store, 5)
    for other in others:
        other.close()


def test_what_is_wanted_under_any_setting(store: PostgresStore, postgres: Database, postgres_url: str) -> None:
    """However a role has its strings and bytes written, what comes with the seat is what is there."""
    name = postgres_url.rpartition("/")[2]
    put(store, lives=[life("a")], suppressions=[Suppression(KEY, 1, 2, "[]")], events=[EventRow(KEY, 1, KEY[:16])])
    for said in ("standard_conforming_strings = off", "bytea_output = escape", "plan_cache_mode = force_custom_plan"):
        postgres.execute(f"ALTER DATABASE {name} SET {said}")
        fresh = PostgresStore.open(postgres_url)
        with fresh.write(Wanted([KEY], [KEY], [KEY])) as transaction:
            assert transaction.found == (
                {KEY: (life("a"),)},
                {KEY: Suppression(KEY, 1, 2, "[]")},
                {KEY: EventRow(KEY, 1, KEY[:16])},
            )
        fresh.close()


def test_commits_are_durable_whatever_the_role_says(store: PostgresStore, postgres: Database, postgres_url: str) -> None:
    """A role or database with `synchronous_commit` off does not weaken a commit here, and a stronger setting stays."""
    name = postgres_url.rpartition("/")[2]
    for said, expected in (("off", "on"), ("local", "on"), ("remote_apply", "remote_apply")):
        postgres.execute(f"ALTER DATABASE {name} SET synchronous_commit = {said}")
        fresh = PostgresStore.open(postgres_url)
        with fresh.write() as transaction:
            assert transaction._rows("SELECT current_setting('synchronous_commit') WHERE %b > 0") == [(expected,)]
        fresh.close()


def test_an_aborted_transaction_does_not_pass_for_committed(store: PostgresStore) -> None:
    """Where a read failed and the error was caught, the server answers a commit by undoing: that raises."""
    with pytest.raises(StoreUnavailableError), store.write() as transaction:
        append(transaction, "lost")
        with pytest.raises(StoreUnavailableError):
            transaction._rows("SELECT 1 / (%b - %b)", store._ledger)
    check_chain(store, 1)


def test_the_servers_clock_counts(postgres_url: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """A ledger is stamped by the server's clock, not by this machine's; one that is passed still wins."""
    keys, kept = Keys.generate(), MemoryCheckpoints()
    now = time.time() * 1000
    monkeypatch.setattr("time.time_ns", lambda: 0)
    with Ledger.create(postgres_url, policy=POLICY, keys=keys, checkpoints=kept) as ledger:
        recorded = ledger.record(OrderPlaced("ann@example.dk", order="o1"))
        assert abs(recorded.recorded_at - now) < 20_000
        assert ledger.check("ann@example.dk", use="delivery", order="o1")
    with Ledger.open(postgres_url, keys=keys, checkpoints=kept, clock=lambda: 5_000_000_000_000) as ledger:
        assert ledger.record(OrderPlaced("ann@example.dk", order="o2")).recorded_at == 5_000_000_000_000


# Guards and rights

REFUSED = [
    "UPDATE consentlib.entries SET kind = 'x'",
    "DELETE FROM consentlib.entries",
    "TRUNCATE consentlib.entries",
    "UPDATE consentlib.parts SET data = '2' WHERE name = 'person'",
    "UPDATE consentlib.parts SET salt = NULL, data = NULL",
    "UPDATE consentlib.parts SET name = 'x'",
    "DELETE FROM consentlib.parts",
    "TRUNCATE consentlib.parts",
    "DELETE FROM consentlib.nodes",
    "UPDATE consentlib.nodes SET position = 9",
    "TRUNCATE consentlib.nodes",
    "UPDATE consentlib.heads SET size = 0",
    "DELETE FROM consentlib.heads",
    "TRUNCATE consentlib.heads",
    "UPDATE consentlib.meta SET value = 'x'",
    "DELETE FROM consentlib.meta",
    "TRUNCATE consentlib.meta",
    "UPDATE consentlib.ledgers SET name = 'x'",
    "DELETE FROM consentlib.ledgers",
    "TRUNCATE consentlib.ledgers",
]


def test_guards_refuse_the_owner(store: PostgresStore, postgres_url: str) -> None:
    """What would change the log is refused to who owns the tables, also with triggers of replication alone."""
    for statement in REFUSED:
        for replica in ("", "SET session_replication_role = replica; "):
            with pytest.raises(psycopg.errors.RestrictViolation):
                do(postgres_url, replica + statement)
    assert len(REFUSED) >= len(postgres_schema.GUARDS)
    put(store, erase_parts=[(0, "person")])
    with pytest.raises(psycopg.errors.RestrictViolation):
        do(postgres_url, "UPDATE consentlib.parts SET salt = NULL, data = NULL")
    check_chain(store, 1)


def test_guards_that_were_tampered_with_are_told(store: PostgresStore, postgres_url: str) -> None:
    """A guard that is gone, switched off or written anew is named; a migration would put none of them back."""
    assert store.guards() == []
    do(postgres_url, "DROP TRIGGER guard_entry_change ON consentlib.entries")
    do(postgres_url, "ALTER TABLE consentlib.parts DISABLE TRIGGER guard_part_delete")
    do(postgres_url, "DROP TRIGGER guard_head_back ON consentlib.heads")
    sql = postgres_schema.GUARDS["guard_head_back"].replace("<", ">", 1)
    do(postgres_url, f"{sql}; ALTER TABLE consentlib.heads ENABLE ALWAYS TRIGGER guard_head_back")
    assert store.guards() == ["guard_entry_change", "guard_head_back", "guard_part_delete"]


@pytest.fixture
def clerk(store: PostgresStore, postgres: Database, postgres_url: str) -> Iterator[str]:
    """The URL of the ledger for a role that got no more rights than the script gives."""
    role = f"clerk_{os.urandom(4).hex()}"
    do(postgres_url, f"CREATE ROLE {role} LOGIN PASSWORD 'clerks'")
    do(postgres_url, postgres_schema.role_script(role))
    yield postgres.url(postgres_url.rpartition("/")[2], user=role, password="clerks")
    do(postgres_url, f"DROP OWNED BY {role}; DROP ROLE {role}")


def test_a_role_with_the_least_rights(clerk: str, store: PostgresStore, postgres_url: str) -> None:
    """It can read, append and erase by the store; by itself it can change nothing."""
    assert store.health()["loose_rights"]
    mine = PostgresStore.open(clerk)
    assert mine.health()["loose_rights"] == []
    with mine.write() as transaction:
        append(transaction, "clerk's", lives=[life("a", fold="new")], person=b"3")
    put(mine, erase_parts=[(0, "person")], forget_lives=["a"])
    assert check_chain(mine, 2) == ["", "clerk's"]
    sql = "SELECT relname FROM pg_class WHERE relkind = 'r' AND relnamespace = 'consentlib'::regnamespace"
    tables = [name for (name,) in do(postgres_url, sql)]
    assert len(tables) > 10
    for table in tables:
        for statement in ("DELETE FROM", "TRUNCATE", "INSERT INTO"):
            more = " DEFAULT VALUES" if "INSERT" in statement else ""
            with pytest.raises(psycopg.errors.InsufficientPrivilege):
                do(clerk, f"{statement} consentlib.{table}{more}")
    for statement in (
        "UPDATE consentlib.lives SET fold = ''",
        "CREATE TABLE consentlib.mine ()",
        "DROP TABLE consentlib.lives",
    ):
        with pytest.raises(psycopg.errors.InsufficientPrivilege):
            do(clerk, statement)
    with pytest.raises(StoreUnavailableError, match="without the rights"):
        PostgresStore.create(f"{clerk}?ledger=other", META)
    mine.close()


def test_a_role_without_rights_is_told(store: PostgresStore, postgres: Database, postgres_url: str) -> None:
    """A role that nobody granted anything gets one clear error, and the way to get rights as a note."""
    role = f"stranger_{os.urandom(4).hex()}"
    do(postgres_url, f"CREATE ROLE {role} LOGIN PASSWORD 'strangers'")
    with pytest.raises(StoreUnavailableError, match="without the rights") as caught:
        PostgresStore.open(postgres.url(postgres_url.rpartition("/")[2], user=role, password="strangers"))
    assert "role_script" in caught.value.__notes__[0]
    do(postgres_url, f"DROP ROLE {role}")


@pytest.mark.parametrize("role", ["", "Shop", "shop; DROP SCHEMA consentlib", 'shop"', "å"])
def test_the_script_takes_plain_names_of_roles(role: str) -> None:
    """Nothing but a plain name gets into the script."""
    with pytest.raises(InputError):
        postgres_schema.role_script(role)


# Erased bytes


def test_purge_vacuums_what_was_erased(store: PostgresStore, postgres_url: str) -> None:
    """It says no while a view could still need what was erased, and yes once the dead rows are gone."""
    counted = "SELECT sum(n_dead_tup) FROM pg_stat_all_tables WHERE schemaname = 'consentlib' AND relname IN ('parts', 'lives')"
    other = PostgresStore.open(postgres_url)
    with other.read() as view:
        put(store, erase_parts=[(0, "person"), (0, "facts")], forget_lives=["a"])
        assert store.purge() is False
        assert view.entry(0) is not None
    assert store.purge() is True
    assert do(postgres_url, counted) == [(0,)]
    assert store.purge() is True
    other.close()


def test_purge_in_a_transaction_is_refused(store: PostgresStore) -> None:
    """A thread that is writing can't purge: it would wait for itself."""
    with store.write(), pytest.raises(StoreUnavailableError, match="no write transaction"):
        store.purge()


def test_purge_needs_rights(clerk: str, postgres_url: str) -> None:
    """A role that may not vacuum, be it one table, is not told that erased bytes are gone. Before 17 only the owner may."""
    mine = PostgresStore.open(clerk)
    may = mine.health()["server_version"] >= 170_000
    assert mine.purge() is may
    if may:
        do(postgres_url, f"REVOKE MAINTAIN ON consentlib.parts FROM {clerk.partition('//')[2].partition(':')[0]}")
    assert mine.purge() is False
    mine.close()


# Threads, forks, ends


def test_no_thread_and_no_session_is_left(store: PostgresStore, postgres_url: str) -> None:
    """Nothing of the store runs on after `close`, here or at the server, however many threads used it."""
    fresh = PostgresStore.open(postgres_url)
    before = set(threading.enumerate())
    in_threads(lambda: [fresh.lookup(KEY) for _ in range(20)], 6)
    fresh.close()
    assert set(threading.enumerate()) <= before
    name = postgres_url.rpartition("/")[2]
    store.close()
    end = time.monotonic() + 10
    counted = f"SELECT count(*) FROM pg_stat_activity WHERE datname = '{name}' AND application_name = 'consentlib'"
    while do(postgres_url, counted) != [(0,)]:
        assert time.monotonic() < end
        time.sleep(0.02)


def test_opening_starts_no_thread(postgres_url: str, store: PostgresStore) -> None:
    """A process that opens a ledger and forks its workers has no threads yet."""
    before = threading.active_count()
    fresh = PostgresStore.open(postgres_url)
    assert threading.active_count() == before
    fresh.close()


# Health


def test_health(store: PostgresStore) -> None:
    """`doctor` learns the server's version, what makes commits durable, guards, rights and clock."""
    found = store.health()
    assert found["missing_guards"] == []
    assert found["server_version"] >= 150_000
    assert found["schema_version"] == postgres_schema.VERSION
    assert (found["standby"], found["synchronous_commit"], found["synchronous_standby_names"]) == (False, "on", "")
    assert abs(found["clock_difference"]) < 60_000
    assert found["connections"] > 1


def test_a_shop_on_postgres(postgres_url: str) -> None:
    """The whole ledger works on it: sign-up, check, erasure, history, verification with read models, export."""
    shop = Shop(postgres_url, keys=Keys.generate(), checkpoints=MemoryCheckpoints())
    shop.sign_up("ann@example.dk")
    shop.sign_up("bo@example.dk")
    assert shop.newsletter("ann@example.dk")
    shop.ledger.record(OrderPlaced("ann@example.dk", order="o1"))
    with shop.ledger.permit("ann@example.dk", use="marketing_newsletter", message=LETTER):
        pass
    shop.ledger.withdraw("ann@example.dk")
    assert not shop.newsletter("ann@example.dk")
    assert shop.ledger.erase("bo@example.dk", reason="art17", by="dpo").parts
    assert len(shop.ledger.history("ann@example.dk")) == 6
    assert shop.ledger.verify(read_models=True).size == 10
    shop.ledger.close()


def test_create_store_knows_both_schemes(postgres_url: str) -> None:
    """`postgres:` is the same as `postgresql:`."""
    create_store(postgres_url.replace("postgresql:", "postgres:"), META).close()
    open_store(postgres_url).close()


def test_a_server_can_be_named(postgres: Database) -> None:
    """The tests run on any server whose URL is in CONSENTLIB_TEST_POSTGRES."""
    assert Database(postgres.url()).execute("SELECT 1") == [(1,)]
    assert isinstance(postgres, Server) or "CONSENTLIB_TEST_POSTGRES" in os.environ


@pytest.mark.parametrize(
    "place", ["boss:secret@db.example:5433", "boss@db.example", "db.example", "boss@%2Frun%2Fpostgresql", "boss@[::1]:5433"]
)
def test_other_databases_of_a_named_server(place: str) -> None:
    """Whatever the URL leaves to libpq stays left to it; another role comes in its place."""
    named = Database(f"postgresql://{place}/postgres")
    assert named.url() == f"postgresql://{place}/postgres"
    assert named.url("shop") == f"postgresql://{place}/shop"
    address = place.rpartition("@")[2]
    assert named.url("shop", user="clerk", password="p") == f"postgresql://clerk:p@{address}/shop"
