"""The sealed store: the contract over two stores, and what happens to sealed parts that somebody touched."""

from __future__ import annotations

import sqlite3
from collections.abc import Iterator, Mapping
from contextlib import closing
from pathlib import Path

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from consentlib.errors import KeyFileError, LedgerExistsError, LedgerMissingError, LedgerVersionError, StoreUnavailableError
from consentlib.events import NOBODY
from consentlib.log import LOST, WITHHELD
from consentlib.store import Store, create_sealed_store, create_store, open_locked_store, open_store
from consentlib.store.sealed import SealedStore
from consentlib.testing import StoreContract, store_contract
from consentlib.testing.store_contract import META, append, put


class _SealedContract(StoreContract):
    """The contract, over a store that `create_store` puts inside a sealed one."""

    @pytest.fixture(autouse=True)
    def _sealed(self, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
        """`create_store` seals here, and `open_store` finds the vault, also in another process."""
        monkeypatch.setenv("CONSENTLIB_VAULT", str(tmp_path / "keys.vault"))

        def create(url: str, meta: Mapping[str, str]) -> Store:
            try:
                store = create_sealed_store(url, meta)
            except KeyFileError:  # a vault that is there belongs to a ledger that is there
                raise LedgerExistsError("expected no ledger here, found one") from None
            for name in ("sealed", "vault"):
                monkeypatch.setitem(META, name, store.meta[name])
            return store

        monkeypatch.setattr(store_contract, "create_store", create)


class TestSealedSqliteStore(_SealedContract):
    """SQLite inside."""

    @pytest.fixture
    def store_url(self, tmp_path: Path) -> str:
        """A file in a folder of the test's own."""
        return f"sqlite:///{tmp_path}/ledger.db"


class TestSealedMemoryStore(_SealedContract):
    """Memory inside."""

    persistent = False
    multiprocess = False

    @pytest.fixture
    def store_url(self, tmp_path: Path) -> str:
        """A name of the test's own."""
        return f"memory://{tmp_path}"


@pytest.fixture
def url(tmp_path: Path) -> str:
    """Where the ledger is."""
    return f"sqlite:///{tmp_path}/shop.db"


@pytest.fixture
def store(url: str) -> Iterator[SealedStore]:
    """A sealed store with entries about two people, both of them, and nobody."""
    store = create_sealed_store(url, META)
    assert isinstance(store, SealedStore)
    with store.write() as transaction:
        for about in (("a",), ("b",), ("a",), ("a", "b"), (NOBODY,), (NOBODY,)):
            append(transaction, about=about, facts=b"facts", person=b"the-plaintext")
    yield store
    store.close()


def files(folder: Path) -> bytes:
    """The bytes of everything on disk."""
    return b"".join(one.read_bytes() for one in sorted(folder.iterdir()))


def rows(url: str, sql: str, *values: object, change: bool = False) -> list[tuple[object, ...]]:
    """What a thief reads in the database, or changes in it, guards or not."""
    with closing(sqlite3.connect(url.removeprefix("sqlite:///"), isolation_level=None)) as thief:
        if change:
            for (name,) in thief.execute("SELECT name FROM sqlite_master WHERE type = 'trigger'").fetchall():
                thief.execute(f"DROP TRIGGER {name}")
        return thief.execute(sql, values).fetchall()


def part(store: Store, index: int, name: str = "person") -> object:
    """A part as a view shows it."""
    with store.read() as view:
        entry = view.entry(index)
        assert entry is not None
        return entry.parts[name]


def keys(url: str) -> list[object]:
    """The ids of the keys that the entries are sealed under."""
    return [salt for (salt,) in rows(url, "SELECT salt FROM consentlib_parts WHERE name = 'person' ORDER BY idx")]


def test_no_file_holds_a_personal_part(store: SealedStore, url: str, tmp_path: Path) -> None:
    """Personal parts are nowhere in clear; facts stay as they are; both come back as they went in."""
    assert b"the-plaintext" not in files(tmp_path)
    assert rows(url, "SELECT DISTINCT data FROM consentlib_parts WHERE name = 'facts'") == [("facts",)]
    with store.read() as view:
        assert {entry.parts["person"][1] for entry in view.entries()} == {b"the-plaintext"}  # type: ignore[index]


def test_the_sealed_form(store: SealedStore, url: str) -> None:
    """A sealed part opens with the key of its id, by nothing but what the documented format says."""
    from cryptography.hazmat.primitives.ciphers.aead import AESGCM

    [(id, data)] = rows(url, "SELECT salt, data FROM consentlib_parts WHERE name = 'person' AND idx = 2")
    assert isinstance(id, bytes)
    assert isinstance(data, bytes)
    with closing(sqlite3.connect(url.removeprefix("sqlite:///") + ".vault")) as vault:
        [(key,)] = vault.execute("SELECT key FROM keys WHERE id = ?", (id,)).fetchall()
    head = b"consentlib.dev/sealed/v1\n"
    assert (len(id), data[: len(head)]) == (16, head)
    nonce, hidden = data[len(head) : len(head) + 12], data[len(head) + 12 :]
    associated = head + b"shop.example/consent\n2\nperson"
    assert AESGCM(key).decrypt(nonce, hidden, associated)[34:] == b"the-plaintext"


def test_one_key_a_subject(store: SealedStore, url: str) -> None:
    """Entries about one address share its key; those about several or nobody have each a key of their own."""
    first, second, again, both, nobody, other = keys(url)
    assert first == again
    assert len({first, second, both, nobody, other}) == 5


def test_erasing_takes_one_key(store: SealedStore, url: str, tmp_path: Path) -> None:
    """After `purge` no copy of what was erased opens, not even one made before; everybody else's opens as ever."""
    copy = tmp_path / "copy"
    copy.mkdir()
    with (
        closing(sqlite3.connect(url.removeprefix("sqlite:///"))) as source,
        closing(sqlite3.connect(copy / "shop.db")) as target,
    ):
        source.backup(target)
    put(store, erase_parts=[(0, "person"), (2, "person")])
    assert store.purge() is True
    assert store.vault is not None
    assert store.vault.condemned() == []
    old = open_store(f"sqlite:///{copy}/shop.db", vault=f"{tmp_path}/shop.db.vault")
    assert [part(old, index) is LOST for index in range(6)] == [True, False, True, False, False, False]
    old.close()
    assert [part(store, index) is None for index in range(6)] == [True, False, True, False, False, False]


def test_purge_leaves_no_byte_of_a_key(store: SealedStore, url: str, tmp_path: Path) -> None:
    """After `purge` the key is in no file, the vault's WAL included; while somebody reads the vault it is pending."""
    assert store.vault is not None
    [key] = store.vault.find([keys(url)[0]]).values()  # type: ignore[list-item]
    put(store, erase_parts=[(0, "person"), (2, "person")])
    with closing(sqlite3.connect(tmp_path / "shop.db.vault", isolation_level=None)) as reader:
        reader.execute("BEGIN")
        reader.execute("SELECT count(*) FROM keys").fetchall()
        assert store.purge() is False
        assert key in files(tmp_path)
    assert store.purge() is True
    assert key not in files(tmp_path)


def test_an_entry_about_several_takes_nobody_elses_key(store: SealedStore) -> None:
    """Where one of several people is erased, what they share goes and what is the others' stays."""
    put(store, erase_parts=[(0, "person"), (2, "person"), (3, "person")])
    assert store.purge() is True
    assert isinstance(part(store, 1), tuple)


def test_a_key_that_something_needs_stays(store: SealedStore) -> None:
    """An erasure that leaves a part of the same subject behind erases no key: that part must stay readable."""
    put(store, erase_parts=[(0, "person")])
    assert store.purge() is True
    assert isinstance(part(store, 2), tuple)


def test_an_erasure_that_failed_erases_no_key(store: SealedStore, url: str) -> None:
    """Keys condemned in a transaction that was undone are pardoned; what is recorded meanwhile is under another key."""
    with pytest.raises(ZeroDivisionError), store.write() as transaction:  # noqa: PT012
        append(transaction, erase_parts=[(0, "person"), (2, "person")])
        raise ZeroDivisionError
    assert store.vault is not None
    assert len(store.vault.condemned()) == 1
    with store.write() as transaction:
        append(transaction, about=("a",), person=b"more")
    assert store.purge() is True
    assert [isinstance(part(store, index), tuple) for index in (0, 2, 6)] == [True] * 3
    assert len(set(keys(url))) == 6


def test_what_comes_after_an_erasure_has_a_new_key(store: SealedStore, url: str) -> None:
    """A subject that is heard of again after its erasure gets another key, also before the old one is purged."""
    [old, *_] = keys(url)
    put(store, erase_parts=[(0, "person"), (2, "person")])
    for purged in (False, True):
        with store.write() as transaction:
            append(transaction, about=("a",), person=b"more")
        assert keys(url)[-1] not in (old, None)
        assert store.purge() is True or purged
    assert isinstance(part(store, 6), tuple)
    assert isinstance(part(store, 7), tuple)


def test_a_crash_before_the_purge(store: SealedStore, url: str) -> None:
    """An erasure that was committed and not purged is finished when the ledger is opened again."""
    with store.write() as transaction:
        new = append(transaction, facts=b"{}", erase_parts=[(0, "person"), (2, "person")])
        assert new.index == 6
    rows(url, "UPDATE consentlib_entries SET kind = 'part.erased' WHERE idx = 6", change=True)
    store.close()
    again = open_store(url)
    assert isinstance(again, SealedStore)
    assert again.vault is not None
    assert (again.vault.condemned(), again.vault.health()["keys"]) == ([], 4)
    assert isinstance(part(again, 1), tuple)
    again.close()


def test_a_view_open_during_an_erasure(store: SealedStore) -> None:
    """A part that is erased for good under an open view is withheld in it, not lost: the log is whole."""
    with store.read() as view:
        put(store, erase_parts=[(0, "person"), (2, "person")])
        assert store.purge() is False
        entry = view.entry(0)
        assert entry is not None
        assert entry.parts["person"] is WITHHELD
    assert store.purge() is True


def test_without_the_vault(store: SealedStore, url: str, tmp_path: Path) -> None:
    """Without its vault a ledger is not opened, its parts are withheld from who looks all the same, and nothing is written."""
    (tmp_path / "shop.db.vault").rename(tmp_path / "elsewhere")
    with pytest.raises(KeyFileError, match="no file"):
        open_store(url)
    open_store(url, vault=tmp_path / "elsewhere").close()
    locked = open_locked_store(url)
    assert part(locked, 0) is WITHHELD
    assert part(locked, 0, "facts") == part(store, 0, "facts")
    for call in (locked.write, locked.purge):
        with pytest.raises(KeyFileError):
            call()
    locked.close()


def test_another_vault(url: str, store: SealedStore, tmp_path: Path) -> None:
    """The vault of another ledger, or a file that is none, is refused."""
    create_sealed_store(f"sqlite:///{tmp_path}/other.db", META).close()
    with pytest.raises(KeyFileError, match="found another"):
        open_store(url, vault=tmp_path / "other.db.vault")
    with pytest.raises(KeyFileError, match="another file"):
        open_store(url, vault=tmp_path / "shop.db")
    (tmp_path / "text").write_text("no vault\n" * 1000)
    with pytest.raises(KeyFileError, match="another file"):
        open_store(url, vault=tmp_path / "text")


def test_a_vault_is_never_replaced(url: str, store: SealedStore, tmp_path: Path) -> None:
    """Neither where a vault is, nor where a ledger is: what was begun before stays, and no vault is left behind."""
    with pytest.raises(KeyFileError, match="never replaced"):
        create_sealed_store(f"sqlite:///{tmp_path}/new.db", META, vault=tmp_path / "shop.db.vault")
    assert not (tmp_path / "new.db").exists()
    with pytest.raises(LedgerExistsError):
        create_sealed_store(url, META, vault=tmp_path / "new.vault")
    assert not [*tmp_path.glob("new.vault*")]
    with pytest.raises(KeyFileError, match="CONSENTLIB_VAULT"):
        create_sealed_store("memory:", META)


def test_another_form_of_sealing(url: str, tmp_path: Path) -> None:
    """Parts sealed in a form of a later version are not touched."""
    create_store(url, {**META, "sealed": "consentlib.dev/sealed/v2", "vault": "00"}).close()
    for call in (open_store, open_locked_store):
        with pytest.raises(LedgerVersionError):
            call(url)
    with pytest.raises(LedgerMissingError):
        open_store(f"sqlite:///{tmp_path}/none.db")


def test_a_vault_that_fails_dooms_the_transaction(store: SealedStore, tmp_path: Path) -> None:
    """Where no key can be made nothing is stored, also for who caught the error; what needs no key goes on."""
    assert store.vault is not None
    with closing(sqlite3.connect(tmp_path / "shop.db.vault")) as thief:
        thief.execute("ALTER TABLE owners RENAME TO gone")
        with pytest.raises(StoreUnavailableError), store.write() as transaction, pytest.raises(StoreUnavailableError):
            append(transaction, about=("a",), person=b"lost")
        with store.write() as transaction:
            append(transaction, about=("a",), facts=b"kept")
    with store.read() as view:
        assert view.head().size == 7


@settings(max_examples=60, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(data=st.data())
def test_a_touched_part_is_never_opened(store: SealedStore, url: str, data: st.DataObject) -> None:
    """A flipped byte, a part in another's place or under another's key does not open, and is handed out as what it is."""
    index, other = data.draw(st.permutations(range(6)))[:2]
    read = "SELECT salt, data FROM consentlib_parts WHERE name = 'person' AND idx = ?"
    [was] = rows(url, read, index)
    [(salt, sealed)] = rows(url, read, other)
    assert isinstance(was[1], bytes)
    assert isinstance(was[0], bytes)
    touched: tuple[object, object]
    match data.draw(st.sampled_from(["byte", "cut", "place", "key", "unknown key"])):
        case "byte":
            at = data.draw(st.integers(25, len(was[1]) - 1))
            mask = data.draw(st.integers(1, 255))
            touched = was[0], was[1][:at] + bytes([was[1][at] ^ mask]) + was[1][at + 1 :]
        case "cut":
            touched = was[0], was[1][: data.draw(st.integers(25, len(was[1]) - 1))]
        case "place":
            touched = salt, sealed
        case "key":
            touched = (salt, was[1]) if salt != was[0] else (bytes(16), was[1])
        case _:
            touched = data.draw(st.one_of(st.none(), st.binary(max_size=20))), was[1]
    change = "UPDATE consentlib_parts SET salt = ?, data = ? WHERE name = 'person' AND idx = ?"
    rows(url, change, *touched, index, change=True)
    assert part(store, index) in (LOST, touched)
    rows(url, change, *was, index, change=True)
    assert part(store, index) == part(store, index)
    assert isinstance(part(store, index), tuple)


def test_another_name_does_not_open(store: SealedStore, url: str) -> None:
    """A part under another name of the same entry does not open."""
    rows(url, "UPDATE consentlib_parts SET name = 'person.2' WHERE name = 'person' AND idx = 0", change=True)
    shown = part(store, 0, "person.2")
    assert isinstance(shown, tuple)
    assert b"the-plaintext" not in shown[1]
