"""The SQLite store: the contract, and what is SQLite's own."""

# ruff: noqa: PT012
from __future__ import annotations

import multiprocessing
import os
import re
import shutil
import signal
import sqlite3
import subprocess
import sys
import tempfile
import threading
import time
from collections.abc import Iterator
from pathlib import Path
from random import Random
from typing import Any

import pytest

from consentlib.errors import (
    InputError,
    LedgerExistsError,
    LedgerMissingError,
    LedgerVersionError,
    StoreUnavailableError,
)
from consentlib.fold import Order
from consentlib.store import Changes, Life, create_store, open_store, sqlite_file, sqlite_schema
from consentlib.store.sqlite import SqliteStore
from consentlib.testing import StoreContract
from consentlib.testing.store_contract import KEY, META, append, check_chain, in_child, in_threads, life, put


class TestSqliteStore(StoreContract):
    """The contract."""

    @pytest.fixture
    def store_url(self, tmp_path: Path) -> str:
        """A file in a folder of the test's own."""
        return f"sqlite:///{tmp_path}/ledger.db"


@pytest.fixture
def path(tmp_path: Path) -> Path:
    """Where the ledger is."""
    return tmp_path / "shop æ?#%20.db"


@pytest.fixture
def store(path: Path) -> Iterator[SqliteStore]:
    """A ledger with one entry and a row in every table."""
    store = SqliteStore.create(f"sqlite:///{path}", META)
    with store.write() as transaction:
        append(transaction, about=("a",), lives=[life("a")], nodes=[(1, 0, KEY)], facts=b'{"navn":"\xc3\x85se"}')
    yield store
    store.close()


def peer(path: Path) -> sqlite3.Connection:
    """A connection of somebody else's that does not wait."""
    return sqlite3.connect(path, timeout=0, isolation_level=None)


def files(path: Path) -> bytes:
    """The bytes of everything the store keeps on disk."""
    return b"".join(one.read_bytes() for one in sorted(path.parent.iterdir()))


# Beginning and opening


@pytest.mark.parametrize("url", ["sqlite:", "sqlite:///", "sqlite:///:memory:", "sqlite://shop.db", "shop.db"])
def test_other_forms_of_url_are_refused(url: str) -> None:
    """Only the path of a file is taken."""
    with pytest.raises(InputError):
        SqliteStore.open(url)


def test_a_relative_path_stays_what_it_was(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The path counts from the folder in which the store was opened, also after the folder changed."""
    monkeypatch.chdir(tmp_path)
    store = create_store("sqlite:///ledger.db", META)
    monkeypatch.chdir("/")
    in_threads(lambda: store.lookup(KEY), 1)
    store.close()
    assert (tmp_path / "ledger.db").exists()


def test_files_are_for_their_owner_alone(store: SqliteStore, path: Path) -> None:
    """A new database and what SQLite puts beside it have mode 0600."""
    modes = {one.name: one.stat().st_mode & 0o777 for one in path.parent.iterdir()}
    assert set(modes) == {path.name, f"{path.name}-wal", f"{path.name}-shm"}
    assert set(modes.values()) == {0o600}


def test_a_ledger_can_live_in_the_shops_database(path: Path) -> None:
    """`create` adds its tables to a database that has others, and leaves those and the file's mode alone."""
    shop = peer(path)
    shop.execute("CREATE TABLE orders (id INTEGER PRIMARY KEY, total INTEGER)")
    shop.execute("INSERT INTO orders VALUES (1, 100)")
    path.chmod(0o640)
    with pytest.raises(LedgerMissingError):
        SqliteStore.open(f"sqlite:///{path}")
    assert shop.execute("PRAGMA journal_mode").fetchall() == [("delete",)]
    SqliteStore.create(f"sqlite:///{path}", META).close()
    names = [name for (name,) in shop.execute("SELECT name FROM sqlite_master WHERE name NOT LIKE 'sqlite_%'")]
    assert [name for name in names if not name.startswith(("consentlib_", "idx_consentlib_"))] == ["orders"]
    assert shop.execute("SELECT * FROM orders").fetchall() == [(1, 100)]
    assert path.stat().st_mode & 0o777 == 0o640
    shop.close()


@pytest.mark.parametrize("content", [b"", b"name,mail\n" * 500])
def test_a_file_without_a_ledger_is_missing(path: Path, content: bytes) -> None:
    """An empty file, or one of another kind, is no ledger, and `open` leaves it as it was."""
    path.write_bytes(content)
    with pytest.raises(LedgerMissingError):
        SqliteStore.open(f"sqlite:///{path}")
    assert files(path) == content


def test_create_leaves_a_foreign_file_alone(path: Path) -> None:
    """A file that is no database is neither overwritten nor called a ledger."""
    path.write_bytes(b"name,mail\n" * 500)
    with pytest.raises(StoreUnavailableError):
        SqliteStore.create(f"sqlite:///{path}", META)
    assert files(path) == b"name,mail\n" * 500


def test_a_folder_is_missing_or_no_file(tmp_path: Path) -> None:
    """A folder is no ledger, and nothing is begun in a folder that does not exist."""
    with pytest.raises(LedgerMissingError):
        SqliteStore.open(f"sqlite:///{tmp_path}")
    with pytest.raises(StoreUnavailableError):
        SqliteStore.create(f"sqlite:///{tmp_path}/none/ledger.db", META)
    assert list(tmp_path.iterdir()) == []


def test_a_newer_format_is_refused(store: SqliteStore, path: Path) -> None:
    """A ledger that a newer version has migrated is not opened."""
    conn = peer(path)
    conn.execute("INSERT INTO consentlib_migrations (migration_set, name, applied_at) VALUES ('consentlib', '9999', '')")
    conn.close()
    with pytest.raises(LedgerVersionError, match="9999"):
        SqliteStore.open(f"sqlite:///{path}")


def test_another_encoding_is_refused(path: Path) -> None:
    """In a UTF-16 database text has other bytes than were hashed: no ledger there."""
    conn = peer(path)
    conn.execute("PRAGMA encoding = 'UTF-16'")
    conn.execute("CREATE TABLE shop (id)")
    conn.close()
    with pytest.raises(StoreUnavailableError, match="encoding"):
        SqliteStore.create(f"sqlite:///{path}", META)


def test_one_of_many_processes_begins_the_ledger(path: Path) -> None:
    """Of processes that create at once one succeeds, the others find its ledger."""
    context = multiprocessing.get_context("spawn")
    workers = [context.Process(target=_create, args=(f"sqlite:///{path}",)) for _ in range(3)]
    for worker in workers:
        worker.start()
    for worker in workers:
        worker.join(30)
    assert sorted(worker.exitcode or 0 for worker in workers) == [0, 7, 7]
    SqliteStore.open(f"sqlite:///{path}").close()


def _create(url: str) -> None:
    try:
        create_store(url, META).close()
    except LedgerExistsError:
        os._exit(7)


def test_a_later_step_is_taken_once_and_keeps_the_guards(
    store: SqliteStore, path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Of threads that open an older ledger at once one migrates it; guards that the step dropped are back."""
    taken = []

    def second(db: Any) -> None:
        taken.append(1)
        db["consentlib_parts"].transform(rename={"data": "bytes"})
        db["consentlib_parts"].transform(rename={"bytes": "data"})
        time.sleep(0.05)

    monkeypatch.setattr(sqlite_schema, "_STEPS", (*sqlite_schema._STEPS, second))
    sqlite_schema._migrations.cache_clear()
    try:
        in_threads(lambda: SqliteStore.open(f"sqlite:///{path}").close(), 3)
    finally:
        sqlite_schema._migrations.cache_clear()
    assert taken == [1]
    assert store.guards() == []


# Guards


@pytest.mark.parametrize(
    "sql",
    [
        "UPDATE consentlib_entries SET time = 0",
        "DELETE FROM consentlib_entries",
        "INSERT OR REPLACE INTO consentlib_entries SELECT idx, 0, kind, leaf, hash FROM consentlib_entries",
        "UPDATE consentlib_parts SET data = '{}'",
        "UPDATE consentlib_parts SET salt = NULL, data = NULL",
        "DELETE FROM consentlib_parts",
        "INSERT OR REPLACE INTO consentlib_parts SELECT id, idx, name, salt, '{}' FROM consentlib_parts",
        "DELETE FROM consentlib_nodes",
        "UPDATE consentlib_nodes SET position = 5",
        "UPDATE consentlib_head SET size = 0",
        "DELETE FROM consentlib_head",
        "INSERT INTO consentlib_head SELECT 1, size, tip, time, frontier, scope, unverified FROM consentlib_head",
        "UPDATE consentlib_meta SET value = ''",
        "DELETE FROM consentlib_meta",
        "INSERT INTO consentlib_erasing VALUES (1); UPDATE consentlib_parts SET data = '{}'",
        "INSERT INTO consentlib_erasing VALUES (1); UPDATE consentlib_parts SET salt = NULL, data = NULL, name = 'x'",
    ],
)
def test_guards_fire(store: SqliteStore, path: Path, sql: str) -> None:
    """What would rewrite or shorten the log is refused to anybody who comes with SQL."""
    conn = peer(path)
    conn.execute("PRAGMA recursive_triggers = ON")
    *before, last = sql.split("; ")
    for statement in before:
        conn.execute(statement)
    with pytest.raises(sqlite3.IntegrityError, match=r"append-only|erasure|never|one head"):
        conn.execute(last)
    conn.close()


def test_our_connections_see_through_replace(store: SqliteStore, path: Path) -> None:
    """`INSERT OR REPLACE` deletes rows without a word unless `recursive_triggers` is on: it is."""
    again = SqliteStore.open(f"sqlite:///{path}")
    with pytest.raises(StoreUnavailableError, match="append-only"), again.write() as transaction:
        transaction._rows("INSERT OR REPLACE INTO consentlib_entries SELECT * FROM consentlib_entries")
    again.close()
    check_chain(store, 1)


def test_missing_guards_are_named(store: SqliteStore, path: Path) -> None:
    """A guard that was dropped, or put back as something else, is reported."""
    assert store.guards() == []
    conn = peer(path)
    conn.execute("DROP TRIGGER consentlib_guard_entry_delete")
    conn.execute("DROP TRIGGER consentlib_guard_head_back")
    conn.execute("CREATE TRIGGER consentlib_guard_head_back BEFORE UPDATE ON consentlib_head BEGIN SELECT 1; END")
    conn.close()
    assert store.guards() == ["consentlib_guard_entry_delete", "consentlib_guard_head_back"]
    assert store.health()["missing_guards"] == store.guards()


def test_health(store: SqliteStore, path: Path) -> None:
    """What `doctor` asks for is there and right."""
    health = store.health()
    assert health["path"] == str(path)
    assert health["mode"] == 0o600
    assert health["journal_mode"] == "wal"
    assert health["wrong_pragmas"] == health["missing_guards"] == []
    assert health["bytes"] > 0
    assert health["wal_reset_race"] == (sqlite3.sqlite_version_info < (3, 51, 3))


def test_an_auditor_can_read_it(store: SqliteStore, path: Path) -> None:
    """Leaf and parts are text in the file, and one view shows the log with times in words."""
    conn = peer(path)
    [(index, recorded, kind, part, erased, data, leaf)] = conn.execute("SELECT * FROM consentlib_log").fetchall()
    conn.close()
    assert (index, recorded, kind, part, erased) == (0, "1970-01-01T00:00:00.001Z", "consent.given", "facts", 0)
    assert data == '{"navn":"Åse"}'
    assert leaf.startswith("leaf 0\n")


# Erasure


def test_erased_bytes_are_in_no_file(store: SqliteStore, path: Path) -> None:
    """After `purge` neither the database nor its WAL holds an erased plaintext, long or short."""
    texts = [b"short-%d-plaintext" % number for number in range(30)] + [b"long-%d-plaintext" % 1 * 2000]
    with store.write() as transaction:
        for text in texts:
            append(transaction, person=text, facts=b"{}")
    assert all(text in files(path) for text in texts[:-1])
    put(store, erase_parts=[(number, "person") for number in range(1, 32)])
    assert store.purge() is True
    assert b"plaintext" not in files(path)


@pytest.mark.parametrize("seed", [2, pytest.param(5, marks=pytest.mark.slow), pytest.param(9, marks=pytest.mark.slow)])
def test_forgotten_rows_are_in_no_file(store: SqliteStore, path: Path, seed: int) -> None:
    """SQLite leaves copies of rows where it splits a page; `purge` reaches those as well."""
    random = Random(seed)
    ids = [random.randbytes(16).hex() for _ in range(1500)]
    keys = {id: random.randbytes(32) for id in ids}

    def grown(number: int) -> Life:
        id = ids[number]
        return Life(keys[id], id, 0, number, None, f"FOLD{number:06}-" * random.randint(1, 40))

    for start in range(0, 1500, 50):
        numbers = range(start, start + 50)
        lives = [grown(number) for number in numbers] + [grown(random.randrange(start + 50)) for _ in numbers]
        put(store, lives=lives, orders=[(ids[number], Order(f"ORDER{number:06}")) for number in numbers])
    gone = set(random.sample(range(1500), 300))
    put(store, forget_lives=[ids[number] for number in gone])
    assert store.purge() is True
    found = {int(number) for number in re.findall(rb"(?:FOLD|ORDER)(\d{6})", files(path))}
    assert found == set(range(1500)) - gone
    assert not [number for number in gone if keys[ids[number]] in files(path)]
    with store.read() as view:
        assert len(view.lives_by_id(ids)) == len(view.orders(ids)) == 1200


def test_purge_says_when_a_reader_prevents_it(store: SqliteStore, path: Path) -> None:
    """While a view of an older state is open the WAL can't be emptied: False, and True once it is closed."""
    with store.write() as transaction:
        append(transaction, person=b"the-plaintext")
    with store.read():
        put(store, erase_parts=[(1, "person")])
        assert store.purge() is False
        assert b"the-plaintext" in files(path)
    assert store.purge() is True
    assert b"the-plaintext" not in files(path)


# Faults


def test_a_lost_race_keeps_no_transaction(store: SqliteStore, path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Who does not get the writer's turn raises and holds nothing: the next one gets it at once."""
    monkeypatch.setattr(sqlite_file, "WAIT", 0.05)
    late = SqliteStore.open(f"sqlite:///{path}")
    conn = peer(path)
    conn.execute("BEGIN IMMEDIATE")
    with pytest.raises(StoreUnavailableError, match="SQLITE_BUSY"), late.write():
        pass
    conn.execute("ROLLBACK")
    conn.execute("BEGIN IMMEDIATE")
    conn.execute("ROLLBACK")
    with late.write() as transaction:
        append(transaction)
    late.close()
    conn.close()


def test_a_failed_transaction_keeps_nobody_out(store: SqliteStore, path: Path) -> None:
    """After any error in a block the write lock is free for others."""
    conn = peer(path)
    for wrong in (KeyError("x"), sqlite3.OperationalError("x"), KeyboardInterrupt()):
        with pytest.raises(type(wrong)), store.write() as transaction:
            append(transaction)
            raise wrong
        conn.execute("BEGIN IMMEDIATE")
        conn.execute("ROLLBACK")
    with pytest.raises(StoreUnavailableError), store.write() as transaction:
        transaction._conn.execute("ROLLBACK")  # type: ignore[attr-defined]  # as SQLite does by itself on some errors
        append(transaction)
    conn.execute("BEGIN IMMEDIATE")
    conn.execute("ROLLBACK")
    conn.close()
    check_chain(store, 1)


def test_a_full_disk(store: SqliteStore) -> None:
    """Without room nothing of a transaction stays, and with room again the next one succeeds."""
    with pytest.raises(StoreUnavailableError, match="SQLITE_FULL"), store.write() as transaction:
        transaction._conn.execute("PRAGMA max_page_count = 1").fetchall()  # type: ignore[attr-defined]
        append(transaction, person=b"x" * 1_000_000)
    with store.write() as transaction:
        transaction._conn.execute("PRAGMA max_page_count = 1000000").fetchall()  # type: ignore[attr-defined]
        append(transaction, "room again", person=b"x" * 1_000_000)
    check_chain(store, 2)


@pytest.mark.skipif(not hasattr(os, "geteuid") or os.geteuid() != 0, reason="only root can become somebody else")
@pytest.mark.parametrize("mode", [0o600, 0o444])
def test_a_file_that_is_not_ours_to_write(mode: int) -> None:
    """A user without the right to write gets `StoreUnavailableError` and changes nothing."""
    folder = Path(tempfile.mkdtemp())
    try:
        folder.chmod(0o755)
        url = f"sqlite:///{folder}/ledger.db"
        create_store(url, META).close()
        (folder / "ledger.db").chmod(mode)

        def work() -> None:
            os.setuid(65534)
            with pytest.raises(StoreUnavailableError):
                store = open_store(url)
                with store.write() as transaction:
                    append(transaction)
            with pytest.raises(StoreUnavailableError):
                create_store(f"sqlite:///{folder}/new.db", META)

        before = files(folder / "ledger.db")
        assert in_child(work) == 0
        assert files(folder / "ledger.db") == before
    finally:
        shutil.rmtree(folder)


def test_a_damaged_file(store: SqliteStore, path: Path) -> None:
    """Damage is `StoreUnavailableError`, not an error of SQLite."""
    with store.write() as transaction:
        for _ in range(200):
            append(transaction, person=b"x" * 500)
    store.purge()
    store.close()
    data = bytearray(path.read_bytes())
    data[8192:] = b"\xff" * (len(data) - 8192)
    path.write_bytes(data)
    with pytest.raises(StoreUnavailableError):
        damaged = SqliteStore.open(f"sqlite:///{path}")
        with damaged.read() as view:
            list(view.entries())


_APPENDER = """
import sys
from consentlib.store import open_store
from consentlib.testing.store_contract import append, life
store = open_store(sys.argv[1])
while True:
    with store.write() as transaction:
        for _ in range(3):
            size = transaction.head().size + 1
            append(transaction, about=("a",), lives=[life("a", fold=str(size))], person=b"x" * 3000)
    print(size, flush=True)
"""


@pytest.mark.skipif(not hasattr(signal, "SIGKILL"), reason="no kill -9 here")
@pytest.mark.parametrize("after", [1, 4, pytest.param(60, marks=pytest.mark.slow)])
def test_a_killed_writer_leaves_whole_transactions(store: SqliteStore, path: Path, after: int) -> None:
    """After kill -9 in the middle of appending, every acknowledged transaction is there and none is there by half."""
    for moment in (0.0, 0.0003, 0.0011):
        command = [sys.executable, "-c", _APPENDER, f"sqlite:///{path}"]
        with subprocess.Popen(command, stdout=subprocess.PIPE, text=True) as child:
            assert child.stdout is not None
            acknowledged = max(int(child.stdout.readline()) for _ in range(after))
            time.sleep(moment)
            child.kill()
            acknowledged = max([acknowledged, *(int(line) for line in child.stdout if line.endswith("\n"))])
        again = SqliteStore.open(f"sqlite:///{path}")
        head, lives = again.lookup(KEY)
        assert head.size >= acknowledged
        assert head.size % 3 == 1
        assert lives[0].fold == str(head.size)
        check_chain(again, head.size)
        again.close()
    with store.write() as transaction:
        append(transaction)


# Connections


def test_connections_of_ended_threads_are_closed(store: SqliteStore) -> None:
    """Threads that come and go do not pile up connections."""
    for _ in range(20):
        in_threads(lambda: store.lookup(KEY), 1)
    assert len(store._connections) <= 3


def test_views_in_a_thread_do_not_share_a_connection(store: SqliteStore) -> None:
    """Views inside views work, and their connections are used again."""
    for _ in range(5):
        with store.read() as outer, store.read() as inner, store.write() as transaction:
            append(transaction)
            assert outer.head() == inner.head()
    assert len(store._connections) == 3


@pytest.mark.skipif(not hasattr(os, "fork"), reason="no fork here")
def test_a_view_of_the_parent_is_closed_in_the_child(store: SqliteStore) -> None:
    """A child of a process that was in a view is refused: neither the parent's connection nor wrong locks are used."""
    with store.read() as view:

        def child() -> None:
            with pytest.raises(StoreUnavailableError, match="parent"):
                view.lives(KEY)
            with pytest.raises(StoreUnavailableError, match="child"):
                store.lookup(KEY)
            with pytest.raises(StoreUnavailableError, match="child"):
                SqliteStore.open(f"sqlite:///{store._path}")

        assert in_child(child) == 0
        assert view.head().size == 1


@pytest.mark.skipif(not hasattr(os, "fork"), reason="no fork here")
def test_a_fork_while_another_thread_writes(store: SqliteStore) -> None:
    """A child is not stuck on a lock that a thread of the parent held: it waits for the file as any process does."""
    started, release = threading.Event(), threading.Event()

    def hold() -> None:
        with store.write() as transaction:
            append(transaction, "held")
            started.set()
            release.wait(20)

    holder = threading.Thread(target=hold)
    holder.start()
    started.wait(20)
    timer = threading.Timer(0.1, release.set)
    timer.start()

    def child() -> None:
        with store.write() as transaction:
            assert transaction.head().size == 2
            append(transaction, "child")

    assert in_child(child) == 0
    holder.join()
    timer.join()
    assert check_chain(store, 3) == ["", "held", "child"]


def test_changes_are_one_moment_for_lookup(store: SqliteStore) -> None:
    """`lookup` between the views of a thread answers from the newest state, not from that of an open view."""
    with store.read() as view:
        put(store, lives=[life("a", fold="new")])
        assert store.lookup(KEY)[1] == (life("a", fold="new"),)
        assert view.lives(KEY) == (life("a"),)
    with store.write() as transaction:
        transaction.apply(Changes(transaction.head(), lives=[life("a", fold="newer")]))
        assert store.lookup(KEY)[1] == (life("a", fold="new"),)
