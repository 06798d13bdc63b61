"""The contract of a store, as tests that anybody can run against a store of their own.

Subclass `StoreContract` in a test module and give it a fixture that makes the URL of a fresh place each time::

    from consentlib.testing import StoreContract

    class TestMyStore(StoreContract):
        persistent = True        # what was written is there after `close` and `open`
        multiprocess = True      # other processes can open the same URL at the same time

        @pytest.fixture
        def store_url(self, tmp_path):
            return f"mine://{tmp_path}/ledger"

The scheme must be found by `consentlib.store.open_store`: declare it in the entry-point group `consentlib.stores`. The
fixture may clean up behind its `yield`; stores are closed by then.
"""

# ruff: noqa: S101, PT012
from __future__ import annotations

import multiprocessing
import os
import pickle
import secrets
import threading
import time
import tracemalloc
import warnings
from collections.abc import Iterator
from contextlib import ExitStack, closing
from hashlib import sha256
from typing import TYPE_CHECKING, Any, ClassVar

import pytest

from consentlib.errors import InputError, LedgerExistsError, LedgerMissingError, StoreUnavailableError
from consentlib.fold import Order
from consentlib.log import Entry, genesis
from consentlib.store import (
    Changes,
    EventRow,
    Head,
    Life,
    NewEntry,
    Store,
    Suppression,
    Transaction,
    Wanted,
    create_store,
    open_store,
)

if TYPE_CHECKING:
    from multiprocessing.synchronize import Barrier

META = {"format": "1", "origin": "shop.example/consent", "label": "æøå"}
KEY = sha256(b"anna").digest()
OTHER = sha256(b"bo").digest()


def life(id: str, key: bytes = KEY, *, index: int = 0, since: int = 0, fold: str = "[]") -> Life:
    """A life in a few words."""
    return Life(key, id, since, index, None, fold)


def entry(head: Head, text: str = "", *, about: tuple[str, ...] = (), **parts: bytes) -> NewEntry:
    """The next entry after `head`: its leaf names its predecessor, as a real one does."""
    leaf = f"leaf {head.size}\n{head.tip.hex()}\n{text}\n".encode()
    salted = {name: (sha256(f"{head.size} {name}".encode()).digest(), data) for name, data in parts.items()}
    return NewEntry(head.size, head.time + 1, "consent.given", leaf, sha256(b"\0" + leaf).digest(), salted, about)


def after(head: Head, new: NewEntry) -> Head:
    """The head once `new` is appended."""
    return head._replace(size=new.index + 1, tip=new.hash, time=new.time)


def append(transaction: Transaction, text: str = "", **more: Any) -> NewEntry:
    """Append one entry; `more` is handed to `Changes`, or to `entry` where it is `about` or the bytes of a part."""
    head = transaction.head()
    of_entry = {name: more.pop(name) for name in list(more) if name == "about" or isinstance(more[name], bytes)}
    new = entry(head, text, **of_entry)
    transaction.apply(Changes(after(head, new), [new], **more))
    return new


def put(store: Store, **more: Any) -> None:
    """Change read models alone."""
    with store.write() as transaction:
        transaction.apply(Changes(transaction.head(), **more))


def append_many(url: str, count: int, text: str, begin: Barrier) -> None:
    """Append entries one transaction each: the work of one of several processes that begin together."""
    store = open_store(url)
    begin.wait(60)
    for number in range(count):
        with store.write() as transaction:
            append(transaction, f"{text} {number}")
    store.close()


def try_to_create(url: str) -> bool:
    """Begin a ledger, if no other process does it first."""
    try:
        create_store(url, META).close()
    except LedgerExistsError:
        return False
    return True


def check_chain(store: Store, size: int) -> list[str]:
    """Check that indices are whole and each entry follows the one before; gives the texts of all entries."""
    with store.read() as view:
        head, found = view.head(), list(view.entries())
    assert [one.index for one in found] == list(range(size))
    assert head.size == size
    tip = genesis(META["origin"])
    texts = []
    for one in found:
        _, previous, text, _ = one.leaf.decode().split("\n")
        assert previous == tip.hex()
        tip = sha256(b"\0" + one.leaf).digest()
        texts.append(text)
    assert head.tip == tip
    return texts


class StoreContract:
    """The tests. Every one gets the URL of a place where nothing is yet."""

    persistent: ClassVar[bool] = True
    multiprocess: ClassVar[bool] = True

    @pytest.fixture
    def store_url(self) -> str:
        """The URL of a fresh place: to be given by the subclass."""
        raise NotImplementedError("a subclass of StoreContract gives the fixture `store_url`")

    @pytest.fixture
    def store(self, store_url: str) -> Iterator[Store]:
        """A ledger just begun, closed at the end."""
        store = create_store(store_url, META)
        yield store
        store.close()

    # Beginning and opening

    def test_create_begins_an_empty_log(self, store: Store) -> None:
        """An empty log has size 0, the genesis as its tip, and nothing else."""
        head, lives = store.lookup(KEY)
        assert head == Head(0, genesis(META["origin"]), 0, b"", 0, None)
        assert lives == ()
        with store.read() as view:
            assert view.head() == head
            assert list(view.entries()) == []
            assert list(view.kinds()) == []
            assert view.entry(0) is None
            assert view.event(KEY) is None
            assert view.suppression(KEY) is None
            assert view.about("a") == ()
            assert view.orders(["a"]) == ()

    def test_meta_comes_back(self, store: Store, store_url: str) -> None:
        """What `create` was given is there at once and after `open`, and can't be changed by accident."""
        again = open_store(store_url)
        assert dict(store.meta) == dict(again.meta) == META
        with pytest.raises(TypeError):
            store.meta["format"] = "2"  # type: ignore[index]
        again.close()

    def test_create_needs_an_origin(self, store_url: str) -> None:
        """Without an origin there is no genesis: refused, and nothing is begun."""
        with pytest.raises(InputError):
            create_store(store_url, {"format": "1"})
        with pytest.raises(LedgerMissingError):
            open_store(store_url)

    def test_create_refuses_an_existing_ledger(self, store: Store, store_url: str) -> None:
        """A second `create` raises and leaves the ledger as it was."""
        with store.write() as transaction:
            append(transaction, "kept")
        with pytest.raises(LedgerExistsError):
            create_store(store_url, {**META, "label": "other"})
        again = open_store(store_url)
        assert dict(again.meta) == META
        assert check_chain(again, 1) == ["kept"]
        again.close()

    def test_open_refuses_a_missing_ledger(self, store_url: str) -> None:
        """Opening where nothing is raises, and begins nothing: it raises again."""
        for _ in range(2):
            with pytest.raises(LedgerMissingError):
                open_store(store_url)

    def test_one_of_many_creators_wins(self, store_url: str) -> None:
        """Of several `create` at once exactly one succeeds."""
        won: list[Store] = []
        refused = []

        def create() -> None:
            try:
                won.append(create_store(store_url, META))
            except LedgerExistsError:
                refused.append(1)

        in_threads(create, 4)
        assert (len(won), len(refused)) == (1, 3)
        check_chain(won[0], 0)
        won[0].close()

    def test_one_of_many_creating_processes_wins(self, store_url: str) -> None:
        """Of several processes that `create` at once in a place where nothing is yet, exactly one succeeds."""
        if not self.multiprocess:
            pytest.skip("the store is for one process")
        with multiprocessing.get_context("spawn").Pool(3) as pool:
            won = pool.map(try_to_create, [store_url] * 3, chunksize=1)
        assert sorted(won) == [False, False, True]
        store = open_store(store_url)
        check_chain(store, 0)
        store.close()

    def test_clock(self, store: Store) -> None:
        """The clock gives whole milliseconds of the present, after a lookup and in a transaction."""
        times = []
        for _ in range(3):
            store.lookup(KEY)
            times.append(store.clock())
        with store.write():
            times.append(store.clock())
        assert all(type(one) is int for one in times)
        assert all(abs(one - time.time() * 1000) < 3_600_000 for one in times)

    def test_everything_is_there_after_open(self, store_url: str) -> None:
        """A store that persists gives everything back once it was closed and opened."""
        if not self.persistent:
            pytest.skip("the store does not persist")
        store = create_store(store_url, META)
        with store.write() as transaction:
            new = append(transaction, about=("a",), lives=[life("a")], nodes=[(1, 0, KEY)], facts=b"{}")
        store.close()
        store = open_store(store_url)
        assert store.lookup(KEY) == (after(Head(0, new.leaf, 0, b"", 0, None), new), (life("a"),))
        with store.read() as view:
            assert view.entry(0) == Entry(0, new.leaf, new.parts)
            assert view.about("a") == (0,)
            assert view.node(1, 0) == KEY
        store.close()

    # Entries

    def test_bytes_come_back_exactly(self, store: Store) -> None:
        """Leaf, salt and data come back byte for byte: every byte value, text outside ASCII, line ends, nothing."""
        every = bytes(range(256))
        parts = {
            "facts": (every[:32], '{"navn":"Åse 日本 \U0001f600"}'.encode()),
            "person": (every[224:], every),
            "person.1": (b"\0" * 32, b"\r\n\0{}\0"),
            "person.2": (b"\xff" * 32, b""),
            "person.3": (every, b"\xef\xbb\xbf1e400"),
        }
        with store.write() as transaction:
            head = transaction.head()
            for leaf in ("æ\r\n\0".encode(), every, b"123", b"x\n" * 500):
                new = NewEntry(head.size, 5, "consent.given", leaf, every[:32], parts, [])
                head = head._replace(size=new.index + 1)
                transaction.apply(Changes(head, [new]))
        with store.read() as view:
            found = list(view.entries())
        assert [one.leaf for one in found] == ["æ\r\n\0".encode(), every, b"123", b"x\n" * 500]
        for one in found:
            assert dict(one.parts) == parts
            assert isinstance(one.leaf, bytes)
            assert all(isinstance(value, bytes) for part in one.parts.values() for value in part)  # type: ignore[union-attr]

    def test_an_entry_may_be_without_parts(self, store: Store) -> None:
        """Nothing is made up for an entry that has no parts, nor taken from its neighbours."""
        with store.write() as transaction:
            append(transaction, facts=b"1")
            append(transaction)
            append(transaction, facts=b"2")
        with store.read() as view:
            assert [sorted(one.parts) for one in view.entries()] == [["facts"], [], ["facts"]]

    def test_entries_by_range(self, store: Store) -> None:
        """`entries` and `kinds` give start <= index < stop, in order; `entry` one or None."""
        with store.write() as transaction:
            for number in range(10):
                append(transaction, str(number))
        with store.read() as view:
            assert [one.index for one in view.entries(3, 6)] == [3, 4, 5]
            assert [one.index for one in view.entries(8)] == [8, 9]
            assert [one.index for one in view.entries(stop=2)] == [0, 1]
            assert list(view.entries(6, 3)) == list(view.entries(10)) == []
            assert list(view.kinds(7)) == [(number, number + 1, "consent.given") for number in (7, 8, 9)]
            assert view.entry(4) == next(view.entries(4))
            assert view.entry(10) is None

    def test_entries_at(self, store: Store) -> None:
        """`entries_at` gives those that there are of any number asked for, each with its own parts, also in the transaction."""
        with store.write() as transaction:
            for number in range(600):
                append(
                    transaction,
                    str(number),
                    **{f"facts.{part}": b"{}" for part in range(1, 1 + number % 3)},
                    facts=b"%d" % number,
                )
            inside = transaction.entries_at(range(590, 610))
        with store.read() as view:
            asked = [*range(599, 0, -2), 7, 10**6]
            assert view.entries_at(asked) == {index: view.entry(index) for index in range(1, 600, 2)}
            assert view.entries_at([]) == {}
            assert inside == {index: view.entry(index) for index in range(590, 600)}

    def test_entries_stream(self, store: Store) -> None:
        """Reading entries takes memory that does not grow with their number, in a store that is not itself memory."""
        with store.write() as transaction:
            for number in range(1200):
                append(transaction, str(number), facts=b"x" * 2000)
        if not self.persistent:
            pytest.skip("the store is memory")
        tracemalloc.start()
        try:
            with store.read() as view:
                assert sum(1 for _ in view.entries()) == 1200
            _, peak = tracemalloc.get_traced_memory()
        finally:
            tracemalloc.stop()
        assert peak < 1_600_000

    def test_a_stream_can_be_left_in_the_middle(self, store: Store) -> None:
        """An iterator that is not read to its end holds nothing: later reads see later commits."""
        with store.write() as transaction:
            append(transaction)
            append(transaction)
        with store.read() as view:
            entries = view.entries()
            next(entries)
        with store.write() as transaction:
            append(transaction)
        assert store.lookup(KEY)[0].size == 3
        with store.read() as view:
            assert view.head().size == 3

    # Read models

    def test_lives_by_key(self, store: Store) -> None:
        """Several lives of an address come oldest first; another address has its own."""
        put(store, lives=[life("b", index=7, since=9), life("a", index=2), life("c", OTHER, index=300)])
        assert [one.id for one in store.lookup(KEY)[1]] == ["a", "b"]
        assert store.lookup(OTHER)[1] == (life("c", OTHER, index=300),)
        with store.read() as view:
            assert view.lives(KEY) == (life("a", index=2), life("b", index=7, since=9))
            assert view.lives(bytes(32)) == ()
            assert {one.id for one in view.lives_by_id(["c", "nobody", "a", "a"])} == {"a", "c"}
            assert view.lives_by_id([]) == ()

    def test_many_at_once(self, store: Store) -> None:
        """Lives by many keys and event rows by many ids are those found one by one, and say what is not there."""
        keys = [sha256(b"%d" % number).digest() for number in range(600)]
        put(store, lives=[life(f"{number}", keys[number], index=number) for number in range(0, 600, 2)])
        put(store, lives=[life("later", keys[2], index=700), life("first", keys[2], index=1)])
        put(store, events=[EventRow(key, 1, key[:16]) for key in keys[::3]])
        with store.read() as view:
            twice = [*keys, *keys]
            assert view.lives_many(twice) == {key: view.lives(key) for key in keys}
            assert [one.id for one in view.lives_many(keys)[keys[2]]] == ["first", "2", "later"]
            assert view.events(twice) == {key: view.event(key) for key in keys}
            assert view.lives_many(keys[1:2]) == {keys[1]: ()}
            assert view.events(keys[1:2]) == {keys[1]: None}
            assert (len(view.lives_many([])), len(view.events([]))) == (0, 0)

    def test_what_is_wanted(self, store: Store) -> None:
        """What comes with the writer's seat is what the transaction's own reads give; it may be less than was wanted."""
        keys = [sha256(b"%d" % number).digest() for number in range(30)]
        put(store, lives=[life(f"{number}", keys[number], index=number) for number in range(0, 30, 2)])
        put(store, lives=[life("later", keys[2], index=700), life("first", keys[2], index=1)])
        put(store, events=[EventRow(key, 1, key[:16]) for key in keys[::3]])
        put(store, suppressions=[Suppression(key, 1, 2, "[]") for key in keys[::5]])
        for wanted in (Wanted(keys, keys, keys), Wanted(keys[2:3]), Wanted(events=keys[:1]), Wanted(suppressions=keys[:2])):
            with store.write(wanted) as transaction:
                lives, suppressions, events = transaction.found
                assert lives == {key: transaction.lives(key) for key in lives}
                assert suppressions == {key: transaction.suppression(key) for key in suppressions}
                assert events == {key: transaction.event(key) for key in events}
                assert all(set(some) <= set(all) for some, all in zip(transaction.found, wanted, strict=True))

    def test_a_fold_is_replaced_alone_or_with_the_rest(self, store: Store) -> None:
        """Lives from before the entries appended with them take their new folds, whatever else of a row has changed."""
        with store.write() as transaction:
            append(transaction, lives=[life("a"), life("b", OTHER)])
        with store.write() as transaction:
            append(transaction, lives=[life("a", fold="new"), life("b", OTHER, fold="new"), life("c", index=1)])
        assert store.lookup(KEY)[1] == (life("a", fold="new"), life("c", index=1))
        assert store.lookup(OTHER)[1] == (life("b", OTHER, fold="new"),)
        with store.write() as transaction:
            append(transaction, lives=[life("a", fold="newer"), life("b", OTHER, since=3, fold="newer")])
        assert store.lookup(KEY)[1] == (life("a", fold="newer"), life("c", index=1))
        assert store.lookup(OTHER)[1] == (life("b", OTHER, since=3, fold="newer"),)

    def test_all_lives(self, store: Store) -> None:
        """Every life comes once, however many there are; a transaction's own count, and what it forgot does not."""
        many = [life(f"{number:04}", sha256(b"%d" % number).digest(), index=number) for number in range(600)]
        put(store, lives=many)
        with store.read() as view:
            assert sorted(one.id for one in view.all_lives()) == [one.id for one in many]
        with store.write() as transaction:
            head = transaction.head()
            transaction.apply(
                Changes(head, lives=[life("x"), life("0007", many[7].key, index=7, fold="new")], forget_lives=["0000"])
            )
            seen = {one.id: one.fold for one in transaction.all_lives()}
            assert len(seen) == 600
            assert (seen["x"], seen["0007"], "0000" in seen) == ("[]", "new", False)

    def test_all_events_and_suppressions(self, store: Store) -> None:
        """Every event id and every suppression row comes once, however many there are; a transaction's own count."""
        ids = [sha256(b"%d" % number).digest() for number in range(600)]
        events = [EventRow(id[:16], number, b"d") for number, id in enumerate(ids)]
        rows = [Suppression(id, number, 2, "[]") for number, id in enumerate(ids)]
        put(store, events=events, suppressions=rows)
        with store.read() as view:
            assert sorted(view.all_events()) == sorted(events)
            assert sorted(view.all_suppressions()) == sorted(rows)
        with store.write() as transaction:
            more = Changes(transaction.head(), events=[EventRow(b"new", 0, b"")], suppressions=[Suppression(KEY, 0, 0, "")])
            transaction.apply(more)
            assert len(list(transaction.all_events())) == len(list(transaction.all_suppressions())) == 601

    def test_an_entry_may_come_with_an_erased_part(self, store: Store) -> None:
        """A part that was erased elsewhere is None from the beginning, and can't be erased again."""
        with store.write() as transaction:
            head = transaction.head()
            new = entry(head, facts=b"{}")._replace(parts={"facts": (bytes(32), b"{}"), "person": None})
            transaction.apply(Changes(after(head, new), entries=[new]))
        with store.read() as view:
            found = view.entry(0)
            assert found is not None
            assert found.parts == {"facts": (bytes(32), b"{}"), "person": None}
        with pytest.raises(StoreUnavailableError), store.write() as transaction:
            transaction.apply(Changes(transaction.head(), erase_parts=[(0, "person")]))

    def test_a_life_replaces_the_one_with_its_id(self, store: Store) -> None:
        """Rows are keyed by id: any other field may change, and no second row is left."""
        put(store, lives=[life("a", fold="old"), life("b", index=1)])
        changed = Life(OTHER, "a", 5, 4, b"s" * 32, "æ" * 5000)
        put(store, lives=[changed])
        assert store.lookup(OTHER)[1] == (changed,)
        assert [one.id for one in store.lookup(KEY)[1]] == ["b"]

    def test_of_rows_with_one_key_the_last_counts(self, store: Store) -> None:
        """One change may name a row several times: the last is kept, and what is forgotten in it goes."""
        with store.write() as transaction:
            append(
                transaction,
                about=("a", "a"),
                nodes=[(1, 0, OTHER), (1, 0, KEY)],
                lives=[life("a", fold="old"), life("b", index=1), life("a", OTHER, fold="new")],
                orders=[("a", Order("1", placed=1)), ("a", Order("1", placed=2)), ("b", Order("1"))],
                events=[EventRow(KEY, 1, b"d"), EventRow(KEY, 0, b"")],
                suppressions=[Suppression(KEY, 1, 2, "[]"), Suppression(KEY, 1, 3, "[]")],
                forget_lives=["b", "b"],
            )
        with store.read() as view:
            assert view.about("a") == (0,)
            assert view.node(1, 0) == KEY
            assert sorted(view.all_lives()) == [life("a", OTHER, fold="new")]
            assert view.orders(["a", "b"]) == (("a", Order("1", placed=2)),)
            assert view.event(KEY) == EventRow(KEY, 0, b"")
            assert view.suppression(KEY) == Suppression(KEY, 1, 3, "[]")

    def test_orders_by_address_and_id(self, store: Store) -> None:
        """Orders come by address, or one of them by id; a row replaces the one with its ids."""
        first = Order("1", "toys", 10, 11, 3, True, False, 12, None, None, 13, None, 14, 15)
        put(store, orders=[("a", first), ("a", Order("2")), ("b", Order("1"))])
        with store.read() as view:
            assert sorted(view.orders(["a"])) == [("a", first), ("a", Order("2"))]
            assert sorted(view.orders(["a", "b"], "1")) == [("a", first), ("b", Order("1"))]
            assert view.orders(["a"], "3") == view.orders([]) == view.orders(["c"]) == ()
            assert all(type(one.offered) is bool for _, one in view.orders(["a"]))
        put(store, orders=[("a", Order("2", cancelled=9))])
        with store.read() as view:
            assert view.orders(["a"], "2") == (("a", Order("2", cancelled=9)),)

    def test_event_rows(self, store: Store) -> None:
        """An event id is found by its hash; a row replaces the one with its id."""
        put(store, events=[EventRow(KEY, 4, b"d" * 32), EventRow(OTHER, 5, b"e" * 32)])
        put(store, events=[EventRow(KEY, 4, b"")])
        with store.read() as view:
            assert view.event(KEY) == EventRow(KEY, 4, b"")
            assert view.event(OTHER) == EventRow(OTHER, 5, b"e" * 32)
            assert view.event(bytes(32)) is None

    def test_suppressions(self, store: Store) -> None:
        """A suppression is found by its key; a row replaces the one with its key."""
        put(store, suppressions=[Suppression(KEY, 1, 2, "[]")])
        put(store, suppressions=[Suppression(KEY, 1, 3, '["æ"]')])
        with store.read() as view:
            assert view.suppression(KEY) == Suppression(KEY, 1, 3, '["æ"]')
            assert view.suppression(OTHER) is None

    def test_suppressions_are_forgotten(self, store: Store) -> None:
        """A row goes by its key, also in the transaction that looks; one that is not there is no error."""
        first, second = Suppression(KEY, 1, 5, "[]"), Suppression(OTHER, 1, 9, "[]")
        put(store, suppressions=[first, second])
        with store.write() as transaction:
            transaction.apply(Changes(transaction.head(), forget_suppressions=[KEY, bytes(32)]))
            assert [*transaction.all_suppressions()] == [second]
        with store.read() as view:
            assert [*view.all_suppressions()] == [second]
            assert view.suppression(KEY) is None

    def test_about(self, store: Store) -> None:
        """`about` gives the indices of an address in ascending order."""
        with store.write() as transaction:
            append(transaction, about=("a", "b"))
            append(transaction, about=("b",))
            append(transaction, about=("a",))
        with store.read() as view:
            assert view.about("a") == (0, 2)
            assert view.about("b") == (0, 1)

    def test_nodes(self, store: Store) -> None:
        """Interior nodes are given back, level 0 is the entries' hashes, and a missing node is a KeyError."""
        with store.write() as transaction:
            new = append(transaction, nodes=[(1, 0, KEY), (40, 2**20, OTHER)])
        with store.read() as view:
            assert view.node(0, 0) == new.hash
            assert view.node(1, 0) == KEY
            assert view.node(40, 2**20) == OTHER
            for level, position in ((0, 1), (1, 1), (2, 0)):
                with pytest.raises(KeyError):
                    view.node(level, position)

    def test_many_nodes(self, store: Store) -> None:
        """`nodes` gives those that there are of any number asked for, of all levels at once, also in the transaction."""
        rows = [(1 + place % 3, place, place.to_bytes(32, "big")) for place in range(700)]
        asked = [(level, place) for level in range(5) for place in range(701)]
        with store.write() as transaction:
            new = append(transaction, nodes=rows)
            inside = transaction.nodes(asked)
        wanted = {(0, 0): new.hash, **{(level, place): value for level, place, value in rows}}
        with store.read() as view:
            assert view.nodes(asked) == inside == wanted
            assert view.nodes([]) == {}

    def test_pickled(self, store: Store) -> None:
        """Unpickled it is opened anew and shows what was committed, or it says that no other process can open it."""
        with store.write() as transaction:
            append(transaction)
        try:
            other = pickle.loads(pickle.dumps(store))
        except InputError:
            return
        with closing(other), other.read() as view, store.read() as mine:
            assert (other.meta, view.head()) == (store.meta, mine.head())

    def test_head_fields(self, store: Store) -> None:
        """Every field of the head is kept; `unverified` can be set and taken back."""
        head = Head(0, bytes(range(32)), 2**45, bytes(range(256)) * 5, 7, "chain broken at `3`")
        for one in (head, head._replace(unverified=None)):
            with store.write() as transaction:
                transaction.apply(Changes(one))
                assert transaction.head() == one
            assert store.lookup(KEY)[0] == one

    # Forgetting and erasing

    def test_forget(self, store: Store) -> None:
        """Lives go with their orders, orders and index rows go one by one, the rest stays; forgetting nothing is no error."""
        orders = [("a", Order("1")), ("b", Order("1")), ("b", Order("2"))]
        with store.write() as transaction:
            append(transaction, about=("a", "b"), lives=[life("a"), life("b", index=1)], orders=orders)
        put(store, forget_lives=["a", "x"], forget_orders=[("b", "1"), ("x", "1")], forget_about=[("a", 0), ("x", 0)])
        with store.read() as view:
            assert [one.id for one in view.lives(KEY)] == ["b"]
            assert view.lives_by_id(["a"]) == ()
            assert view.orders(["a", "b"]) == (("b", Order("2")),)
            assert view.about("a") == ()
            assert view.about("b") == (0,)

    def test_erased_parts_are_none(self, store: Store) -> None:
        """An erased part stays by name with None; other parts and the leaf are untouched."""
        with store.write() as transaction:
            first = append(transaction, facts=b"1", person=b"2")
            second = append(transaction, facts=b"3", person=b"4")
        put(store, erase_parts=[(0, "person"), (1, "facts")])
        with store.read() as view:
            assert view.entry(0) == Entry(0, first.leaf, {"facts": first.parts["facts"], "person": None})
            assert view.entry(1) == Entry(1, second.leaf, {"facts": None, "person": second.parts["person"]})

    @pytest.mark.parametrize("missing", [(0, "other"), (9, "person"), (1, "person"), (0, "person")])
    def test_erasing_a_missing_part_changes_nothing(self, store: Store, missing: tuple[int, str]) -> None:
        """A part that is not there, or is erased twice, fails the whole transaction."""
        with store.write() as transaction:
            append(transaction, facts=b"1", person=b"2")
            append(transaction, facts=b"3", person=b"4")
        put(store, erase_parts=[(1, "person")])
        with pytest.raises(StoreUnavailableError), store.write() as transaction:
            append(transaction, erase_parts=[(0, "facts"), (0, "person"), missing])
        with store.read() as view:
            assert view.head().size == 2
            assert None not in next(view.entries()).parts.values()

    def test_purge(self, store: Store) -> None:
        """With nobody reading, erased bytes can be made to go for good."""
        with store.write() as transaction:
            append(transaction, person=b"gone")
        put(store, erase_parts=[(0, "person")])
        assert store.purge() is True

    # Transactions

    def test_a_view_is_of_one_moment(self, store: Store) -> None:
        """Nothing that is committed while a view is open shows in it; the next view shows it."""
        with store.write() as transaction:
            append(transaction, about=("a",), lives=[life("a")], orders=[("a", Order("1"))], person=b"1")
        with store.read() as view:
            before = view.head(), view.lives(KEY), list(view.entries())
            with store.write() as transaction:
                changed: Any = {"lives": [life("a", fold="new"), life("b", index=1)], "orders": [("a", Order("2"))]}
                append(transaction, about=("a",), nodes=[(1, 0, KEY)], erase_parts=[(0, "person")], **changed)
            assert (view.head(), view.lives(KEY), list(view.entries())) == before
            assert view.about("a") == (0,)
            assert view.orders(["a"]) == (("a", Order("1")),)
            with pytest.raises(KeyError):
                view.node(1, 0)
            assert store.lookup(KEY)[0].size == 2
            with store.read() as later:
                assert later.head().size == 2
                assert later.lives(KEY) == (life("a", fold="new"), life("b", index=1))
        with store.read() as view:
            assert view.about("a") == (0, 1)

    def test_a_transaction_sees_its_own_changes(self, store: Store) -> None:
        """Reads inside a transaction show what it applied, and nobody else sees it before the commit."""
        with store.write() as transaction:
            new = append(
                transaction,
                about=("a",),
                lives=[life("a")],
                orders=[("a", Order("1"))],
                events=[EventRow(KEY, 0, b"")],
                suppressions=[Suppression(KEY, 1, 2, "[]")],
                nodes=[(1, 0, KEY)],
                facts=b"1",
            )
            assert transaction.head().size == 1
            assert list(transaction.entries()) == [transaction.entry(0)] == [Entry(0, new.leaf, new.parts)]
            assert list(transaction.kinds()) == [(0, 1, "consent.given")]
            assert transaction.lives(KEY) == transaction.lives_by_id(["a"]) == (life("a"),)
            assert transaction.orders(["a"]) == (("a", Order("1")),)
            assert transaction.event(KEY) == EventRow(KEY, 0, b"")
            assert transaction.suppression(KEY) == Suppression(KEY, 1, 2, "[]")
            assert transaction.about("a") == (0,)
            assert transaction.node(0, 0) == new.hash
            assert transaction.node(1, 0) == KEY
            transaction.apply(Changes(transaction.head(), forget_lives=["a"]))
            assert transaction.lives(KEY) == ()
            assert transaction.orders(["a"]) == ()
            assert store.lookup(KEY)[0].size == 0
            with store.read() as view:
                assert view.head().size == 0
        assert store.lookup(KEY)[0].size == 1

    def test_an_exception_undoes_everything(self, store: Store) -> None:
        """An error in the block leaves nothing behind, and the next writer is not kept out."""
        with pytest.raises(ZeroDivisionError), store.write() as transaction:
            append(transaction, about=("a",), lives=[life("a")], nodes=[(1, 0, KEY)], facts=b"1")
            raise ZeroDivisionError
        assert store.lookup(KEY) == (Head(0, genesis(META["origin"]), 0, b"", 0, None), ())
        with store.read() as view:
            assert view.entry(0) is None
            assert view.about("a") == ()
            with pytest.raises(KeyError):
                view.node(1, 0)
        with store.write() as transaction:
            append(transaction, "next")
        check_chain(store, 1)

    def test_a_failed_change_dooms_its_transaction(self, store: Store) -> None:
        """A second entry with an index that exists is refused, and also who goes on after it commits nothing."""
        with store.write() as transaction:
            append(transaction, "first")
        twice = entry(Head(0, bytes(32), 0, b"", 0, None), "second")
        with pytest.raises(StoreUnavailableError), store.write() as transaction:
            append(transaction, "lost")
            transaction.apply(Changes(transaction.head(), [twice]))
        with pytest.raises(StoreUnavailableError), store.write() as transaction, pytest.raises(StoreUnavailableError):
            transaction.apply(Changes(transaction.head(), [entry(transaction.head()), twice], lives=[life("a")]))
            transaction.entry(0)
        with pytest.raises(StoreUnavailableError), store.write() as transaction:
            transaction.apply(Changes(transaction.head(), [twice], lives=[life("a")]))
        assert store.lookup(KEY)[1] == ()
        assert check_chain(store, 1) == ["first"]

    def test_nothing_works_outside_its_block(self, store: Store) -> None:
        """A view or transaction that was left raises instead of answering from a later state."""
        with store.write() as transaction:
            new = append(transaction)
        with store.read() as view:
            view.head()
        for one in (view, transaction):
            for call in (one.head, lambda one=one: one.lives(KEY), lambda one=one: list(one.entries())):
                with pytest.raises(StoreUnavailableError):
                    call()
        with pytest.raises(StoreUnavailableError):
            transaction.apply(Changes(Head(2, bytes(32), 0, b"", 0, None), [new]))

    def test_a_second_transaction_in_a_thread_is_refused(self, store: Store) -> None:
        """A thread that asks for a second transaction inside its first is told at once instead of waiting for itself."""
        with store.write() as transaction:
            append(transaction)
            with pytest.raises(StoreUnavailableError), store.write():
                pass
        check_chain(store, 1)

    # Many at once

    def test_threads_share_a_store(self, store: Store) -> None:
        """Threads that append at once lose nothing, double nothing and fork nothing; readers see whole states."""
        writing = threading.Event()
        wrong = []

        def read() -> None:
            while not writing.is_set():
                head, lives = store.lookup(KEY)
                if head.size != (int(lives[0].fold) if lives else 0):
                    wrong.append(head)

        def write() -> None:
            for _ in range(25):
                with store.write() as transaction:
                    size = transaction.head().size + 1
                    append(transaction, secrets.token_hex(8), lives=[life("a", fold=str(size))])

        reader = threading.Thread(target=read)
        reader.start()
        in_threads(write, 4)
        writing.set()
        reader.join()
        assert wrong == []
        assert len(set(check_chain(store, 100))) == 100

    def test_processes_share_a_ledger(self, store: Store, store_url: str) -> None:
        """Processes that append at once lose nothing, double nothing and fork nothing, and none is turned away."""
        if not self.multiprocess:
            pytest.skip("the store is for one process")
        context = multiprocessing.get_context("spawn")
        begin = context.Barrier(3)
        workers = [context.Process(target=append_many, args=(store_url, 40, f"w{number}", begin)) for number in range(2)]
        for worker in workers:
            worker.start()
        begin.wait(60)
        for number in range(40):
            with store.write() as transaction:
                append(transaction, f"here {number}")
        for worker in workers:
            worker.join(60)
        assert [worker.exitcode for worker in workers] == [0, 0]
        assert len(set(check_chain(store, 120))) == 120

    @pytest.mark.skipif(not hasattr(os, "fork"), reason="no fork here")
    def test_a_child_after_a_fork_can_read_and_write(self, store: Store) -> None:
        """A child goes on with its own connections; what the parent had open is neither used nor harmed by it."""
        with store.write() as transaction:
            append(transaction, "parent")
        release, held = threading.Event(), threading.Event()

        def hold() -> None:
            with store.write() as transaction:
                append(transaction, "held")
                held.set()
                release.wait(20)

        holder = threading.Thread(target=hold)
        if not self.multiprocess:  # where the child has its own copy, it does not wait for the parent's writer
            holder.start()
            held.wait(20)
        status = in_child(lambda: use_in_child(store))
        release.set()
        if not self.multiprocess:
            holder.join()
        assert status == 0
        assert check_chain(store, 2) == ["parent", "child" if self.multiprocess else "held"]
        with store.write() as transaction:
            append(transaction, "parent again")
        check_chain(store, 3)

    @pytest.mark.skipif(not hasattr(os, "fork"), reason="no fork here")
    def test_a_child_can_not_end_the_parents_transaction(self, store: Store) -> None:
        """A transaction that was open when the process forked belongs to the parent: the child can't commit it."""
        manager = store.write()
        with manager as transaction:
            append(transaction, "parent")

            def child() -> None:
                with pytest.raises(StoreUnavailableError), ExitStack() as block:
                    block.push(manager)
                    transaction.apply(Changes(transaction.head(), lives=[life("a")]))

            assert in_child(child) == 0
        assert check_chain(store, 1) == ["parent"]
        assert store.lookup(KEY)[1] == ()

    # Closing

    def test_close_ends_everything(self, store: Store) -> None:
        """After `close` every call raises; closing twice is no error."""
        store.close()
        store.close()
        with pytest.raises(StoreUnavailableError):
            store.lookup(KEY)
        with pytest.raises(StoreUnavailableError), store.read():
            pass
        with pytest.raises(StoreUnavailableError), store.write():
            pass
        with pytest.raises(StoreUnavailableError):
            store.purge()

    def test_close_reaches_other_threads(self, store: Store) -> None:
        """A store that one thread closes is closed for the others."""
        looked, closed = threading.Event(), threading.Event()
        seen: list[str] = []

        def use() -> None:
            store.lookup(KEY)
            looked.set()
            closed.wait(20)
            try:
                store.lookup(KEY)
            except StoreUnavailableError:
                seen.append("closed")

        user = threading.Thread(target=use)
        user.start()
        looked.wait(20)
        store.close()
        closed.set()
        user.join()
        assert seen == ["closed"]


def in_threads(work: Any, count: int) -> None:
    """Run `work` in threads at once; what one of them raises is raised here."""
    errors: list[BaseException] = []

    def run() -> None:
        try:
            work()
        except BaseException as error:  # noqa: BLE001  # raised below
            errors.append(error)

    threads = [threading.Thread(target=run) for _ in range(count)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    if errors:
        raise errors[0]


def in_child(work: Any) -> int:
    """Run `work` in a forked child; the status is 0 if it did not raise."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", DeprecationWarning)  # that other threads run is the point of some tests
        child = os.fork()
    if child == 0:
        status = 1
        try:
            work()
            status = 0
        finally:
            os._exit(status)
    return os.waitstatus_to_exitcode(os.waitpid(child, 0)[1])


def use_in_child(store: Store) -> None:
    """Read, append and close in a child whose parent had appended one entry."""
    assert check_chain(store, 1) == ["parent"]
    with store.write() as transaction:
        append(transaction, "child")
    assert check_chain(store, 2) == ["parent", "child"]
    store.close()
