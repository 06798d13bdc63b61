"""A ledger whose rows were damaged: whatever stands in them nothing breaks, no stop is refused, no denial becomes a yes."""

from __future__ import annotations

import random
import shutil
import sqlite3
from collections.abc import Sequence
from contextlib import closing, suppress
from pathlib import Path
from typing import NamedTuple

import pytest

from consentlib import Ledger
from consentlib.audit.verify import verify_file
from consentlib.errors import ConsentlibError, StoreUnavailableError, VerificationError
from consentlib.events import ConsentWithdrawn, OrderPlaced
from consentlib.journal import FileJournal
from shop import LETTER, Shop

ANN, BO, DORA, EVE, FAY = (f"{name}@example.dk" for name in ("ann", "bo", "dora", "eve", "fay"))
DENIED = (BO, DORA, "carl@example.dk", "nobody@example.dk")
IDENTITY = ("meta", "migrations")
"""Tables that say which ledger it is, under which keys: without them it is none, and is refused."""

VALUES = (
    *("NULL", "-1", "0", "7", "4611686018427387904", "9223372036854775807", "1.5"),
    *("''", "'x'", "'{'", "'[]'", "'{}'", "'[1,2]'", "x''", "x'00'", "x'ff'", "zeroblob(32)", "CAST(x'ff' AS TEXT)"),
)


class Place(NamedTuple):
    """A column of a table."""

    table: str
    column: str

    def __str__(self) -> str:
        return f"{self.table}.{self.column}"


def fill(shop: Shop) -> None:
    """People who may be written to, who said no, who were erased, and who came back; signed, but for the last entries."""
    for one in (ANN, BO, DORA, EVE, FAY):
        shop.sign_up(one)
    shop.ledger.record(OrderPlaced(BO, order="o1"))
    shop.ledger.withdraw(BO)
    shop.ledger.withdraw(DORA)
    for one in (DORA, "carl@example.dk"):
        shop.ledger.record(OrderPlaced(one, order="o2"))
        shop.ledger.erase(one, reason="art17", by="dpo")
    shop.clock.tick(1)
    shop.ledger.record(OrderPlaced(DORA, order="o3"))
    shop.ledger.checkpoint()
    shop.ledger.record(OrderPlaced(ANN, order="o4"))
    with shop.ledger.permit(EVE, use="marketing_newsletter", message=LETTER):
        pass


def loosen(path: Path) -> None:
    """Let the tables take values of any type: who can write to the file can do that too."""
    with closing(sqlite3.connect(path, isolation_level=None)) as thief:
        for (name,) in thief.execute("SELECT name FROM sqlite_master WHERE type = 'trigger'").fetchall():
            thief.execute(f"DROP TRIGGER {name}")
        thief.execute("PRAGMA writable_schema = ON")
        thief.execute(
            """UPDATE sqlite_master SET sql = replace(replace(replace(sql, 'STRICT, ', ''), 'STRICT', ''), 'NOT NULL', '')
                WHERE type = 'table' AND name LIKE 'consentlib%'"""
        )
        thief.execute("PRAGMA writable_schema = RESET")


@pytest.fixture(scope="module")
def whole(tmp_path_factory: pytest.TempPathFactory) -> Shop:
    """A shop whose files are copied for each damage."""
    folder = tmp_path_factory.mktemp("whole")
    shop = Shop(f"sqlite:///{folder}/shop.db", checkpoints=folder / "kept")
    fill(shop)
    shop.ledger._store.close()  # without a last checkpoint
    loosen(shop.path)
    return shop


def places() -> list[Place]:
    """Every column of every table of a ledger."""
    from consentlib.store.sqlite_schema import migrate

    with closing(sqlite3.connect(":memory:")) as conn:
        migrate(conn)
        tables = [
            name for (name,) in conn.execute("SELECT name FROM sqlite_master WHERE type = 'table' AND name LIKE 'consentlib%'")
        ]
        return [
            Place(table.removeprefix("consentlib_"), column[1])
            for table in tables
            for column in conn.execute(f"PRAGMA table_info({table})")
        ]


def damages(shop: Shop, place: Place) -> list[tuple[str, int]]:
    """Each value in each row."""
    [(count,)] = shop.look(f"SELECT count(*) FROM consentlib_{place.table}")
    return [(value, row) for row in range(count) for value in VALUES]


class Damaged:
    """A copy of a shop's files, opened before it is damaged and again after."""

    def __init__(self, shop: Shop, folder: Path) -> None:
        self.path = folder / "shop.db"
        for name in ("shop.db", "shop.db.keys"):
            shutil.copy(shop.path.with_name(name), folder / name)
        shutil.copytree(shop.path.with_name("kept"), folder / "kept")
        self.clock = shop.clock

    def open(self) -> Ledger:
        """The ledger of these files."""
        return Ledger.open(f"sqlite:///{self.path}", checkpoints=self.path.with_name("kept"), clock=self.clock)

    def change(self, place: Place, row: int, value: str) -> bool:
        """Put a value in the place of another. False where the table can't hold it."""
        table = f"consentlib_{place.table}"
        with closing(sqlite3.connect(self.path)) as thief:
            key = ", ".join(name for _, name, _, _, _, key in thief.execute(f"PRAGMA table_info({table})") if key)
            chosen = thief.execute(f"SELECT {key} FROM {table} ORDER BY {key} LIMIT 1 OFFSET {row}").fetchone()
            where = " AND ".join(f"{name} = ?" for name in key.split(", "))
            try:
                thief.execute(f"UPDATE {table} SET {place.column} = {value} WHERE {where}", chosen)
            except sqlite3.Error:
                return False
            thief.commit()
            return True


def newsletter(ledger: Ledger, address: str) -> bool:
    """May the newsletter go there?"""
    return ledger.check(address, use="marketing_newsletter", message=LETTER).allowed


def use(ledger: Ledger, folder: Path, person: str, leaver: str) -> None:
    """All that a shop does: only what must not be answered wrongly may fail, and only in one way."""
    assert not any(newsletter(ledger, one) for one in DENIED)
    ledger.withdraw(leaver)
    ledger.withdraw("new@example.dk")
    assert not newsletter(ledger, leaver)
    for act in (
        lambda: ledger.history(person),
        lambda: ledger.receipt(3),
        lambda: ledger.verify(read_models=True),
        lambda: ledger.export(folder / "audit.zip"),
        lambda: ledger.export(folder / "audit.zip"),  # now as evidence, where the first found it damaged
        lambda: ledger.record_many([OrderPlaced(person, order="o9"), ConsentWithdrawn(person)]),
        lambda: ledger.erase(person, reason="art17", by="dpo"),
        ledger.verify,
    ):
        with suppress(ConsentlibError):
            act()  # type: ignore[operator]
    assert not any(newsletter(ledger, one) for one in (*DENIED, leaver, person))


def check_damage(shop: Shop, folder: Path, place: Place, row: int, value: str) -> None:
    """One damage: under a ledger that is open, and before one opens."""
    folder.mkdir()
    copy = Damaged(shop, folder)
    running = copy.open()
    assert newsletter(running, ANN)
    assert newsletter(running, EVE)
    if copy.change(place, row, value):
        use(running, folder, FAY, ANN)
        running._store.close()
        try:
            again = copy.open()
        except ConsentlibError:
            assert place.table in IDENTITY
        else:
            assert not newsletter(again, ANN)
            use(again, folder, "gus@example.dk", EVE)
            again._store.close()
    running._store.close()
    shutil.rmtree(folder)


def check_damages(shop: Shop, folder: Path, place: Place, chosen: Sequence[tuple[str, int]]) -> None:
    """Several, each in a copy of its own."""
    for value, row in chosen:
        try:
            check_damage(shop, folder, place, row, value)
        except BaseException as error:
            error.add_note(f"{place} = {value} in row {row}")
            raise


@pytest.mark.parametrize("place", places(), ids=str)
def test_any_value_anywhere(whole: Shop, tmp_path: Path, place: Place) -> None:
    """Whatever stands in a column of a row, a stop is taken and counts, and nobody who was denied is allowed."""
    every = damages(whole, place)
    check_damages(whole, tmp_path / "case", place, random.Random(str(place)).sample(every, min(3, len(every))))


@pytest.mark.slow
@pytest.mark.parametrize("place", places(), ids=str)
def test_every_value_everywhere(whole: Shop, tmp_path: Path, place: Place) -> None:
    """The same, with each of the values in each row."""
    check_damages(whole, tmp_path / "case", place, damages(whole, place))


# One by one.


def break_fold(shop: Shop, address: str) -> str:
    """Damage what is kept about a person; gives what was there."""
    with shop.ledger._store.read() as view:
        [life] = view.lives(shop.ledger._asking.named(address).key)
    shop.steal("UPDATE consentlib_lives SET fold = '{' WHERE id = ?", values=(life.id,))
    return life.fold


def kinds(shop: Shop) -> list[str]:
    return [kind for (kind,) in shop.look("SELECT kind FROM consentlib_entries ORDER BY idx")]


def marked(shop: Shop) -> str:
    with shop.ledger._store.read() as view:
        return view.head().unverified or ""


def test_one_bad_row_stands_in_nobodys_way(shop: Shop, caplog: pytest.LogCaptureFixture) -> None:
    """The stop of somebody whose row is damaged is in the journal, counts, and becomes an entry once the row is repaired; all
    others go on meanwhile, also after it is given up, and the log says what it met and nothing personal."""
    for one in (ANN, BO, EVE):
        shop.sign_up(one)
    fold = break_fold(shop, ANN)
    assert shop.ledger.withdraw(ANN).index is None
    shop.clock.tick(120)
    assert shop.ledger.withdraw(BO).index is not None
    assert shop.sign_up(FAY).index is not None
    assert shop.ledger.erase(EVE, reason="art17", by="dpo").index is not None
    assert shop.newsletter(FAY)
    assert Ledger.open(shop.url, clock=shop.clock).withdraw(DORA).index is not None
    assert "JSONDecodeError" in caplog.text
    assert "@" not in caplog.text
    shop.steal("UPDATE consentlib_lives SET fold = ? WHERE fold = '{'", values=(fold,))
    assert not shop.newsletter(ANN)
    shop.sign_up("gus@example.dk")
    assert [one.kind for one in shop.ledger.history(ANN)][-2:] == ["consent.withdrawn", "objection.raised"]
    shop.ledger.verify(read_models=True)


def test_stops_of_a_list_one_at_a_time(shop: Shop) -> None:
    """Where a row stands in the way of a list, its other stops are entries, whether or not there is more in the list."""
    for one in (ANN, BO):
        shop.sign_up(one)
    break_fold(shop, ANN)
    with pytest.raises(VerificationError, match="rows that can be read"):
        shop.ledger.record_many([OrderPlaced(ANN, order="o1"), ConsentWithdrawn(EVE)])
    said = shop.ledger.record_many([ConsentWithdrawn(ANN), ConsentWithdrawn(BO), ConsentWithdrawn(FAY)])
    assert [one.index is None for one in said] == [True, False, False]
    assert kinds(shop)[-3:] == ["consent.withdrawn"] * 3
    assert not any(shop.newsletter(one) for one in (ANN, BO, EVE, FAY))


def test_lines_of_the_journal_one_at_a_time(shop: Shop, monkeypatch: pytest.MonkeyPatch) -> None:
    """A line that can't be recorded keeps none beside and behind it waiting, be it a stop or an erasure."""
    for one in (ANN, BO, EVE):
        shop.sign_up(one)
    for one in (ANN, BO):
        break_fold(shop, one)
    shop.ledger.record_many([ConsentWithdrawn(ANN)])
    shop.ledger.erase(BO, reason="art17", by="dpo")
    with monkeypatch.context() as patch:
        patch.setattr(type(shop.ledger._store), "write", full)
        shop.ledger.withdraw(EVE, limited=True)
        shop.ledger.erase(EVE, reason="art17", by="dpo")
    shop.sign_up(FAY)
    assert kinds(shop)[7:] == ["consent.withdrawn", "part.erased", "consent.given", "consent.confirmed"]


def full(*_: object) -> None:
    """What a place without room does."""
    raise StoreUnavailableError("expected room, found none")


def test_neither_log_nor_journal(shop: Shop, monkeypatch: pytest.MonkeyPatch) -> None:
    """A stop that neither can take is an error, after those of the list that the log can take were recorded."""
    shop.sign_up(ANN)
    break_fold(shop, ANN)
    monkeypatch.setattr(FileJournal, "append", full)
    with pytest.raises(VerificationError):
        shop.ledger.record_many([ConsentWithdrawn(ANN), ConsentWithdrawn(BO)])
    assert kinds(shop)[-1] == "consent.withdrawn"


@pytest.mark.parametrize("change", ["data = 'x'", "data = NULL", "salt = NULL, data = NULL"])
def test_policy_that_can_not_be_read(shop: Shop, change: str) -> None:
    """After a restart: everybody is denied, stops are in the journal, and nothing else is recorded."""
    shop.sign_up(ANN)
    shop.ledger.checkpoint()
    shop.steal(f"UPDATE consentlib_parts SET {change} WHERE name = 'policy'")
    with Ledger.open(shop.url, clock=shop.clock) as again:
        assert not again.check(ANN, use="marketing_newsletter", message=LETTER)
        assert again.withdraw(ANN).index is None
        with pytest.raises(VerificationError, match="rows that can be read"):
            again.record(OrderPlaced(ANN, order="o1"))


@pytest.mark.parametrize("parts", [False, True], ids=["its parts left", "with its parts"])
@pytest.mark.parametrize("signed", [False, True], ids=["unsigned", "signed"])
def test_deleted_entry(shop: Shop, tmp_path: Path, signed: bool, parts: bool) -> None:
    """An entry that was deleted is missed by `verify`, and on opening where it was not covered by what was signed or is its
    last; then the ledger is marked, takes stops, and can be exported as it is."""
    shop.sign_up(ANN)
    shop.ledger.checkpoint()
    last = shop.ledger.record(OrderPlaced(ANN, order="o1")).index
    if signed:
        shop.ledger.checkpoint()
    shop.ledger.record(OrderPlaced(BO, order="o2"))
    shop.steal(*[f"DELETE FROM consentlib_{name} WHERE idx = {last}" for name in ("entries", "parts")[: 1 + parts]])
    again = Ledger.open(shop.url, clock=shop.clock)
    assert marked(shop).startswith("history: " if signed else "chain: ")
    shop.ledger._writing.lift(marked(shop))
    with pytest.raises(VerificationError, match=f"expected entry `{last}`") as caught:
        shop.ledger.verify()
    assert caught.value.level == "chain"
    assert marked(shop).startswith("chain: ")
    assert again.withdraw(ANN).index is not None
    assert not shop.newsletter(ANN)
    assert shop.ledger.export(tmp_path / "audit.zip") == 8
    with pytest.raises(VerificationError):
        verify_file(tmp_path / "audit.zip")


def test_head_gone(shop: Shop) -> None:
    """Without its head a ledger opens, denies, keeps stops in the journal, and says what is wrong."""
    shop.sign_up(ANN)
    shop.steal("DELETE FROM consentlib_head")
    again = Ledger.open(shop.url, clock=shop.clock)
    for ledger in (shop.ledger, again):
        assert ledger.check(ANN, use="marketing_newsletter", message=LETTER).reason == "ledger_unverified"
        assert ledger.withdraw(ANN).index is None
        with pytest.raises(VerificationError, match="expected the head of the log, found none") as caught:
            ledger.verify()
        assert caught.value.__notes__ == [
            "the ledger could not be marked as unverified: expected the head of the log, found none"
        ]


@pytest.mark.parametrize("change", ["frontier = x'00'", "size = 8"])
def test_head_that_is_no_tree(shop: Shop, change: str) -> None:
    """It is never built upon: a stop is in the journal, and counts."""
    shop.sign_up(ANN)
    shop.steal(f"UPDATE consentlib_head SET {change}")
    assert shop.ledger.withdraw(ANN).index is None
    assert not shop.newsletter(ANN)


@pytest.mark.parametrize("change", ["time = -5", "time = 253402300800000", "size = -1", "tip = x''"])
def test_head_that_no_log_can_have(shop: Shop, change: str) -> None:
    """Nothing is read by it: everybody is denied, and stops are in the journal."""
    shop.sign_up(ANN)
    shop.steal(f"UPDATE consentlib_head SET {change}")
    assert shop.newsletter(ANN).reason == "ledger_unverified"
    assert shop.ledger.withdraw(ANN).index is None


def test_text_that_is_none(shop: Shop) -> None:
    """Bytes that are no text are found when verifying, which marks the ledger, and are not repeated: they may be a person's."""
    shop.sign_up(ANN)
    shop.ledger.checkpoint()
    shop.steal("UPDATE consentlib_entries SET kind = CAST('ann@example.dk' || x'ff' AS TEXT) WHERE idx = 1")
    with pytest.raises(VerificationError) as caught:
        shop.ledger.verify()
    assert caught.value.level == "content"
    assert "ann" not in str(caught.value)
    assert marked(shop).startswith("content: ")
    assert "ann" not in marked(shop)
    assert not shop.newsletter(ANN)


FACTS = ("data = 'x'", "data = '[]'", "data = '{}'", "data = x'ff'", "salt = NULL", "data = NULL")


@pytest.mark.parametrize("change", FACTS)
def test_facts_that_can_not_be_read(shop: Shop, tmp_path: Path, change: str) -> None:
    """They are evidence until the person is erased: then they go with the rest, on record."""
    shop.sign_up(ANN)
    shop.ledger.checkpoint()
    shop.steal(f"UPDATE consentlib_parts SET {change} WHERE idx = 1 AND name = 'facts'")
    with pytest.raises(VerificationError):
        shop.ledger.verify()
    assert shop.ledger.export(tmp_path / "audit.zip") == 4
    shop.clock.tick(days=9_000)
    erased = shop.ledger.erase(ANN, reason="art17", by="dpo")
    assert (erased.index, erased.pending) == (4, False)
    assert shop.look("SELECT idx FROM consentlib_parts WHERE data IS NULL AND salt IS NULL AND name = 'facts'") == [(1,), (2,)]
    assert shop.ledger.history(ANN) == []
    assert shop.ledger.verify(read_models=True).erased == 3


def test_history_that_can_not_be_read(shop: Shop) -> None:
    """A person's history is whole or an error."""
    shop.sign_up(ANN)
    shop.steal("UPDATE consentlib_parts SET data = 'x' WHERE idx = 1")
    with pytest.raises(VerificationError, match="rows that can be read"):
        shop.ledger.history(ANN)


def test_erasure_that_the_log_can_not_take(shop: Shop) -> None:
    """It waits in the journal and counts, like one that the log could not be written for."""
    shop.sign_up(ANN)
    fold = break_fold(shop, ANN)
    assert shop.ledger.erase(ANN, reason="art17", by="dpo").pending
    shop.steal("UPDATE consentlib_lives SET fold = ?", values=(fold,))
    assert shop.newsletter(ANN).reason == "erased"
    shop.sign_up(BO)
    assert "part.erased" in kinds(shop)


def test_what_a_block_raises_is_no_doubtful_commit(shop: Shop, monkeypatch: pytest.MonkeyPatch) -> None:
    """A block that fails for want of a store of its own is undone, and nothing is looked for."""
    writes = []
    real = type(shop.ledger._store).write
    monkeypatch.setattr(type(shop.ledger._store), "write", lambda store, wanted: (writes.append(1), real(store, wanted))[1])

    def fail() -> None:
        with shop.ledger._writing.appending() as recorder:
            recorder.append("policy.published", {"occurred_at": 0})
            raise StoreUnavailableError("expected a server elsewhere, found none")

    with pytest.raises(StoreUnavailableError, match="elsewhere"):
        fail()
    assert len(writes) == 1
