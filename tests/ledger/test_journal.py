"""The stop journal: what it keeps, what of it counts, and that it becomes entries."""

from __future__ import annotations

import json
import os
import signal
import sqlite3
import subprocess
import sys
import threading
from collections.abc import Callable
from hashlib import sha256
from pathlib import Path
from typing import Any

import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from consentlib import Ledger, codec
from consentlib.checkpoints import FileCheckpoints, MemoryCheckpoints
from consentlib.errors import FormatError, InputError, StoreUnavailableError
from consentlib.events import (
    ConsentGiven,
    ConsentInvalidated,
    ConsentRefused,
    ConsentWithdrawn,
    IdentityLinked,
    IdentityReleased,
    ObjectionRaised,
    OrderPlaced,
    RestrictionSet,
    Stop,
)
from consentlib.journal import FileJournal, Line, MemoryJournal, Position, StopJournal
from consentlib.keys import Keys
from consentlib.opening import FORMAT
from consentlib.outstanding import check_countable, fold_of
from consentlib.store import create_store
from consentlib.testing.faulty import FaultyStore
from forger import reopen
from shop import LETTER, POLICY, SEEN, Clock, Shop

ANN = "ann@example.dk"
BO = "bo@example.dk"
MINUTE = 60


def line(number: int = 0, time: int = 1_000, **said: Any) -> Line:
    """Some line."""
    mark = number.to_bytes(16, "big")
    return Line(mark, mark, mark, time, (bytes(32),), bytes(32), {"type": "consent.withdrawn", "occurred_at": time, **said})


# The journal by itself: one contract.


@pytest.fixture(params=[MemoryJournal, FileJournal], ids=["memory", "file"])
def journal(request: pytest.FixtureRequest, tmp_path: Path) -> StopJournal:
    """A journal that has begun."""
    made: StopJournal = request.param(tmp_path / "stops") if request.param is FileJournal else request.param()
    made.begin()
    return made


def test_keeps_in_order(journal: StopJournal) -> None:
    """Lines are read back as they were handed in, all of them or those after a position; the token tells of each."""
    assert journal.exists()
    assert journal.read()[0] == []
    tokens = [journal.token()]
    journal.append([line(1), line(2, channels=["email"])])
    first, position = journal.read()
    tokens.append(journal.token())
    journal.append([line(3)])
    tokens.append(journal.token())
    assert first == [line(1), line(2, channels=["email"])]
    assert journal.read(position)[0] == [line(3)]
    assert journal.read(journal.read()[1])[0] == []
    assert len(set(tokens)) == 3
    assert journal.token() == tokens[-1]
    journal.begin()
    assert [one.id for one in journal.read()[0]] == [line(n).id for n in (1, 2, 3)]


def test_settled(journal: StopJournal) -> None:
    """How far it is in the log is remembered."""
    assert journal.settled() is None
    journal.append([line(1)])
    position = journal.read()[1]
    journal.settle(position)
    assert journal.settled() == position
    journal.append([line(2)])
    assert journal.read(journal.settled())[0] == [line(2)]


def test_prune(journal: StopJournal) -> None:
    """Old lines go if they are settled; who had read up to a position reads all that is left, and nothing is missed."""
    journal.append([line(1, 100), line(2, 200)])
    before = journal.read()[1]
    assert journal.prune(1_000) == 0
    journal.settle(before)
    journal.append([line(3, 100)])
    assert journal.prune(150) == 1
    assert journal.read()[0] == [line(2, 200), line(3, 100)]
    assert journal.read(before)[0] == [line(2, 200), line(3, 100)]
    assert journal.read(journal.settled())[0] == [line(3, 100)]
    assert journal.prune(150) == 0
    assert journal.prune(10_000) == 1
    assert journal.read()[0] == [line(3, 100)]


def test_threads_append(journal: StopJournal) -> None:
    """Lines of several threads are all there, each whole, each once."""

    def write(start: int) -> None:
        for number in range(start, start + 20):
            journal.append([line(number)])

    threads = [threading.Thread(target=write, args=(start,)) for start in (0, 100, 200)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert sorted(one.id for one in journal.read()[0]) == sorted(line(s + n).id for s in (0, 100, 200) for n in range(20))


# The file.


def file_journal(tmp_path: Path) -> FileJournal:
    """A journal in a file."""
    made = FileJournal(tmp_path / "stops")
    made.begin()
    return made


def test_torn_line(tmp_path: Path) -> None:
    """What a crash left of a line is passed over by readers and overwritten by the next, which stays whole."""
    journal = file_journal(tmp_path)
    journal.append([line(1)])
    whole = journal.path.read_bytes()
    for cut in (1, 20, len(line(2).format()) - 1):
        journal.path.write_bytes(whole + line(2).format()[:cut])
        assert journal.read()[0] == [line(1)]
        journal.append([line(3)])
        assert journal.read()[0] == [line(1), line(3)]


@pytest.mark.parametrize("place", range(0, 300, 23))
def test_damaged_line(tmp_path: Path, place: int) -> None:
    """A changed byte in a line is an error that says where, and never a line that is not there."""
    journal = file_journal(tmp_path)
    start = journal.path.stat().st_size
    journal.append([line(1), line(2)])
    data = bytearray(journal.path.read_bytes())
    data[start + place] ^= 1
    journal.path.write_bytes(bytes(data))
    with pytest.raises(StoreUnavailableError, match=r"at byte `\d+`"):
        journal.read()


JSON = st.recursive(
    st.none() | st.booleans() | st.integers(-(2**53) + 1, 2**53 - 1) | st.text(max_size=8),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text("ab_.", max_size=8), inner, max_size=3),
    max_leaves=8,
)
ROW: dict[str, Any] = json.loads(line().format().partition(b" ")[2])


def summed(text: bytes) -> bytes:
    """A line whose sum is right."""
    return b"%b %b\n" % (sha256(text).hexdigest()[:16].encode(), text)


@given(st.binary(max_size=200) | st.binary(max_size=200).map(summed))
@example(summed(b"[" * 100_000))
@example(summed(b'{"id":' + b"9" * 5_000 + b"}"))
def test_any_bytes_as_a_line(data: bytes) -> None:
    """What is not exactly a line is refused as such, also under a sum that fits."""
    with pytest.raises(FormatError):
        Line.parse(data)


@given(st.dictionaries(st.sampled_from(sorted(ROW)), JSON, max_size=3), st.sets(st.sampled_from(sorted(ROW)), max_size=1))
@example({"time": "1000"}, set())
@example({"said": {"type": "consent.frozen"}}, set())
@example({"said": {"type": "consent.given"}}, set())
@example({"said": {"type": "part.erased", "reason": 1, "by": "dpo"}}, set())
@example({"said": {"type": "consent.withdrawn", "no_such_field": 1}}, set())
@example({"said": {"type": "consent.withdrawn", "uses": {"a": []}, "occurred_at": "x"}}, set())
def test_any_fields_as_a_line(changed: dict[str, Any], gone: set[str]) -> None:
    """A line with other fields is refused when it is read, or is a stop or an erasure that counts: nothing in between."""
    row = {name: value for name, value in {**ROW, **changed}.items() if name not in gone}
    try:
        found = Line.parse(summed(codec.encode(row)))
        check_countable(found)
    except (FormatError, StoreUnavailableError):
        return
    fold = fold_of([found], POLICY, found.time)
    assert fold.stops or fold.grants == []


def test_another_file(tmp_path: Path) -> None:
    """A file that is no journal, or an empty one, is refused."""
    journal = FileJournal(tmp_path / "stops")
    with pytest.raises(StoreUnavailableError):
        journal.token()
    for data in (b"", b"another file\n", b"consentlib.dev/stops/v1 0\n", b"consentlib.dev/stops/v2 0 0\n"):
        journal.path.write_bytes(data)
        with pytest.raises(StoreUnavailableError):
            journal.read()


def test_full_disk(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A line that does not fit is an error, read by nobody and overwritten by the next; whole ones before it stay."""
    journal = file_journal(tmp_path)
    journal.append([line(1)])
    real = os.write

    def short(descriptor: int, data: bytes) -> int:
        if len(data) > len(line(3).format()) - 10:
            return real(descriptor, data[:10])
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(os, "write", short)
    with pytest.raises(StoreUnavailableError, match="No space left"):
        journal.append([line(2), line(3)])
    monkeypatch.undo()
    assert journal.read()[0] == [line(1), line(2)]
    journal.append([line(4)])
    assert journal.read()[0] == [line(1), line(2), line(4)]


WRITER = """
import sys
from consentlib.journal import FileJournal, Line
from pathlib import Path
journal = FileJournal(Path(sys.argv[1]))
for number in range(int(sys.argv[2]), 10**6):
    mark = number.to_bytes(16, "big")
    journal.append([Line(mark, mark, mark, 1, (bytes(32),), bytes(32), {"type": "consent.withdrawn"})])
    print(number, flush=True)
"""


def test_processes_killed(tmp_path: Path) -> None:
    """Every line that two processes were answered for is there after both were killed."""
    journal = file_journal(tmp_path)
    answered: set[int] = set()
    writers = [
        subprocess.Popen([sys.executable, "-c", WRITER, journal.path, str(start)], stdout=subprocess.PIPE, text=True)
        for start in (0, 500_000)
    ]
    for process in writers:
        assert process.stdout is not None
        answered |= {int(process.stdout.readline()) for _ in range(30)}
    for process in writers:
        process.send_signal(signal.SIGKILL)
        assert process.stdout is not None
        answered |= {int(text) for text in process.stdout.read().split()}
        process.wait()
        process.stdout.close()
    found = {int.from_bytes(one.id, "big") for one in journal.read()[0]}
    assert answered <= found
    assert len(found - answered) <= 2


# The ledger with it.


class Broken:
    """A ledger whose store can be told to fail, with its journal at hand."""

    def __init__(self) -> None:
        keys = Keys.generate()
        self.clock = Clock()
        self.store = FaultyStore(create_store("memory:", {"format": FORMAT, "origin": "shop.example", **keys.checks()}))
        self.kept = MemoryCheckpoints()
        self.keys = keys
        self.ledger = Ledger(self.store, keys, self.kept, clock=self.clock)
        self.ledger.publish(POLICY)

    def sign_up(self, address: str) -> None:
        self.ledger.record(ConsentGiven(address, form="footer", evidence=SEEN, address_verified=True))

    def other(self) -> Ledger:
        """The same ledger in another process, as far as its memory goes."""
        return Ledger(self.store, self.keys, self.kept, clock=self.clock)


@pytest.fixture
def broken() -> Broken:
    return Broken()


def allowed(ledger: Ledger, address: str, **asked: Any) -> bool:
    return ledger.check(address, use="marketing_newsletter", message=LETTER, **asked).allowed


STOPS: list[Callable[[], Stop]] = [
    lambda: ConsentWithdrawn(ANN),
    lambda: ConsentWithdrawn(ANN, uses=["marketing_newsletter"], channels=["email"], limited=True),
    lambda: ConsentWithdrawn(ANN, uses=["no such use"]),
    lambda: ConsentRefused(ANN),
    lambda: ConsentInvalidated(ANN),
    lambda: ConsentInvalidated(ANN, ref="g1"),
    lambda: ObjectionRaised(ANN),
    lambda: RestrictionSet(ANN),
    lambda: IdentityReleased(ANN),
]


@pytest.fixture
def signed_up(shop: Shop) -> Shop:
    """Ann and Bo get the newsletter; the database can't be written any more."""
    shop.sign_up(ANN, ref="g1")
    shop.sign_up(BO)
    shop.clock.tick(1)
    return shop


def waiting(shop: Shop) -> list[Line]:
    """The lines that the log does not hold."""
    with shop.ledger._store.read() as view:
        return shop.ledger._writing._outstanding.lines(view)


def unwritable(shop: Shop, monkeypatch: pytest.MonkeyPatch) -> None:
    """Let each write of the store fail at its commit."""

    def fail(*_: Any) -> Any:
        raise StoreUnavailableError("expected a database that can be written, found one that can't")

    monkeypatch.setattr(type(shop.ledger._store), "write", fail)


@pytest.mark.parametrize("stop", STOPS, ids=lambda make: make().kind)
def test_stop_without_the_log(signed_up: Shop, stop: Callable[[], Stop], monkeypatch: pytest.MonkeyPatch) -> None:
    """Each kind of stop is answered while the log can't be written, counts here and in a ledger opened anew, and becomes an
    entry with the next write, with the same effect; others are not touched."""
    shop = signed_up
    size = shop.newsletter(ANN).size
    unwritable(shop, monkeypatch)
    answer = shop.ledger.record(stop())
    assert answer.index is None
    denied = shop.newsletter(ANN)
    assert not denied
    assert all(one.index is None or one.index < size for one in denied.determined_by)
    assert shop.newsletter(BO)
    other = Ledger.open(shop.url, clock=shop.clock)
    assert other.check(ANN, use="marketing_newsletter", message=LETTER).reason == denied.reason
    with pytest.raises(InputError):
        shop.ledger.receipt(answer)
    monkeypatch.undo()
    shop.ledger.record(OrderPlaced(BO, order="o1"))
    assert shop.newsletter(BO).size == size + 2
    assert shop.ledger.history(ANN)[-1].kind == stop().kind or stop().kind == "identity.released"
    assert not shop.newsletter(ANN)
    if stop().kind != "identity.released":
        assert shop.newsletter(ANN).reason == denied.reason
    shop.ledger.verify(read_models=True)
    assert waiting(shop) == []
    other.close()


def test_evidence_stays_where_it_was_given(signed_up: Shop, monkeypatch: pytest.MonkeyPatch) -> None:
    """The process that took a stop records it with all it was told, as soon as it can; the journal holds nothing personal."""
    unwritable(signed_up, monkeypatch)
    signed_up.ledger.withdraw("carl@example.dk", text="please stop", via="reply", limited=True)
    journal = signed_up.ledger._notary.checkpoints.journal
    assert isinstance(journal, FileJournal)
    kept = journal.path.read_bytes()
    assert b"reply" in kept
    assert b"carl" not in kept
    assert b"please" not in kept
    monkeypatch.undo()
    signed_up.ledger.record(OrderPlaced(BO, order="o1"))
    [entry] = signed_up.ledger.history("carl@example.dk")
    assert entry.person is not None
    assert entry.person["text"] == "please stop"


def test_what_a_dead_process_left(signed_up: Shop, monkeypatch: pytest.MonkeyPatch) -> None:
    """A line whose process is gone counts at once, and becomes an entry once nobody else can still record it: one entry."""
    shop = signed_up
    unwritable(shop, monkeypatch)
    shop.ledger.withdraw(ANN, limited=True, uses=["marketing_newsletter"])
    shop.ledger._store.close()
    monkeypatch.undo()
    shop.ledger = Ledger.open(shop.url, clock=shop.clock)
    shop.ledger.record(OrderPlaced(BO, order="o1"))
    assert not shop.newsletter(ANN)
    assert [one.kind for one in shop.ledger.history(ANN)] == ["consent.given", "consent.confirmed"]
    shop.clock.tick(MINUTE)
    shop.ledger.record(OrderPlaced(BO, order="o2"))
    last = shop.ledger.history(ANN)[-1]
    assert (last.kind, last.person, last.facts and last.facts["occurred_at"]) == (
        "consent.withdrawn",
        None,
        shop.clock() - MINUTE * 1000,
    )
    shop.ledger.record(OrderPlaced(BO, order="o3"))
    assert len(shop.ledger.history(ANN)) == 3
    shop.ledger.verify(read_models=True)


def test_opening_records_what_waits(signed_up: Shop, monkeypatch: pytest.MonkeyPatch) -> None:
    """Opening a ledger is enough."""
    unwritable(signed_up, monkeypatch)
    signed_up.ledger.withdraw(ANN, limited=True)
    monkeypatch.undo()
    signed_up.clock.tick(MINUTE)
    other = Ledger.open(signed_up.url, clock=signed_up.clock)
    assert other.history(ANN)[-1].kind == "consent.withdrawn"
    other.close()


def test_unknown_and_linked_addresses(signed_up: Shop, monkeypatch: pytest.MonkeyPatch) -> None:
    """A line about an address reaches those linked to it, also where the address had nothing on record."""
    shop = signed_up
    shop.ledger.record(IdentityLinked(ANN, other="a@work.dk"))
    unwritable(shop, monkeypatch)
    shop.ledger.withdraw("a@work.dk")
    shop.ledger.withdraw("new@example.dk")
    assert not shop.newsletter(ANN)
    assert not shop.newsletter("new@example.dk")
    assert shop.newsletter(BO)
    monkeypatch.undo()
    shop.sign_up("new@example.dk", occurred_at=shop.clock())
    assert not shop.newsletter("new@example.dk")
    assert not shop.newsletter(ANN)


def test_permits_heed_it(signed_up: Shop, monkeypatch: pytest.MonkeyPatch) -> None:
    """No permit is issued after a stop that only the journal has: the run that records it denies it."""
    unwritable(signed_up, monkeypatch)
    signed_up.ledger.withdraw(ANN, limited=True)
    monkeypatch.undo()
    run = signed_up.ledger.permits([ANN, BO], use="marketing_newsletter", message=LETTER)
    assert list(run) == [BO]
    assert list(Ledger.open(signed_up.url, clock=signed_up.clock).filter([ANN, BO], use="survey")) == []


def test_what_was_known(signed_up: Shop, monkeypatch: pytest.MonkeyPatch) -> None:
    """A line says nothing of what was known before it came, nor of a log of an earlier size."""
    shop = signed_up
    before, size = shop.clock(), shop.newsletter(ANN).size
    shop.clock.tick(10)
    unwritable(shop, monkeypatch)
    shop.ledger.withdraw(ANN)
    shop.clock.tick(10)
    assert shop.newsletter(ANN, at=before)
    assert shop.newsletter(ANN, at=before, known_at=before)
    assert shop.newsletter(ANN, known_at=size - 1)
    assert not shop.newsletter(ANN, known_at=shop.clock() - 5_000)


def test_erasure_without_the_log(signed_up: Shop, monkeypatch: pytest.MonkeyPatch) -> None:
    """An erasure asked for while the log can't be written waits in the journal, counts, and is done with the next write."""
    shop = signed_up
    unwritable(shop, monkeypatch)
    erased = shop.ledger.erase(ANN, reason="art17", by="dpo")
    assert (erased.index, erased.pending) == (None, True)
    assert shop.newsletter(ANN).reason == "erased"
    assert shop.newsletter(BO)
    monkeypatch.undo()
    shop.ledger.record(OrderPlaced(BO, order="o1"))
    assert shop.newsletter(ANN).reason == "erased"
    assert all(one.person is None for one in shop.ledger.history(ANN))
    assert shop.look("SELECT count(*) FROM consentlib_log WHERE kind = 'part.erased'") == [(1,)]
    shop.ledger.verify(read_models=True)
    unwritable(shop, monkeypatch)
    shop.ledger.erase("nobody@example.dk", reason="art17", by="dpo")
    monkeypatch.undo()
    shop.ledger.record(OrderPlaced(BO, order="o2"))
    assert waiting(shop) == []
    shop.ledger.verify(read_models=True)


def test_mixed_list(signed_up: Shop) -> None:
    """A list with an event that can't be recorded leaves nothing but its stops; a repeated stop is found, not doubled."""
    shop = signed_up
    size = shop.newsletter(ANN).size
    stop = ConsentWithdrawn(ANN, event_id="e1")
    with pytest.raises(InputError):
        shop.ledger.record_many([OrderPlaced(BO, order="o1"), stop, ConsentGiven(BO, form="nosuch")])
    assert shop.newsletter(BO).size == size + 1
    assert not shop.newsletter(ANN)
    assert shop.ledger.record(stop).index == size
    assert shop.newsletter(BO).size == size + 1
    shop.ledger.verify(read_models=True)


def test_taken_id(signed_up: Shop, monkeypatch: pytest.MonkeyPatch) -> None:
    """A stop under an id that something else has is recorded once, however it gets into the log."""
    shop = signed_up
    shop.ledger.record(OrderPlaced(BO, order="o1", event_id="e1"))
    size = shop.newsletter(ANN).size
    unwritable(shop, monkeypatch)
    shop.ledger.record(ConsentWithdrawn(ANN, event_id="e1"))
    shop.ledger._store.close()
    monkeypatch.undo()
    shop.ledger = Ledger.open(shop.url, clock=shop.clock)
    assert not shop.newsletter(ANN)
    shop.clock.tick(MINUTE)
    for order in ("o2", "o3"):
        shop.ledger.record(OrderPlaced(BO, order=order))
    assert shop.newsletter(BO).size == size + 3
    shop.ledger.verify(read_models=True)


@pytest.mark.parametrize("persisted", [False, True], ids=["not persisted", "answer lost"])
def test_each_step_fails(persisted: bool) -> None:
    """Whatever step of recording a stop fails, it counts at once, and the log holds it once in the end."""
    for step in range(4):
        one = Broken()
        one.sign_up(ANN)
        assert one.ledger.record(OrderPlaced(BO, order="o1"))
        one.store.fail_next(persisted=persisted) if step == 3 else one.store.fail_step(step)
        one.ledger.withdraw(ANN)
        assert not allowed(one.ledger, ANN)
        assert not allowed(one.other(), ANN)
        one.ledger.record(OrderPlaced(BO, order="o2"))
        kinds = [entry.kind for entry in one.ledger.history(ANN)]
        assert kinds == ["consent.given", "consent.withdrawn", "objection.raised"]
        one.ledger.verify(read_models=True)


class Viewed(Shop):
    """A shop that counts the views its ledger opens, and the lines it reads of the journal."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch) -> None:
        super().__init__()
        self.views = self.lines = 0
        store, journal = self.ledger._store, self.ledger.journal
        view, read = store.read, journal.read

        def count_views() -> Any:
            self.views += 1
            return view()

        def count_lines(after: Position | None = None) -> Any:
            lines, end = read(after)
            self.lines += len(lines)
            return lines, end

        monkeypatch.setattr(store, "read", count_views)
        monkeypatch.setattr(journal, "read", count_lines)


def test_looks_once_a_minute(monkeypatch: pytest.MonkeyPatch) -> None:
    """Who writes asks neither store nor journal what others gave up before a minute has passed; nor after its own stops."""
    shop = Viewed(monkeypatch)
    for _ in range(3):
        shop.ledger.withdraw(ANN)
        shop.ledger.record(OrderPlaced(BO, order="o1"))
    assert (shop.views, shop.lines) == (0, 0)
    shop.clock.tick(MINUTE)
    shop.ledger.record(OrderPlaced(BO, order="o1"))
    assert (shop.views, shop.lines) == (1, 6)
    assert not shop.ledger._writing._outstanding._read.lines
    shop.clock.tick(-MINUTE)  # a clock that was put back is no reason to wait longer
    shop.ledger.record(OrderPlaced(BO, order="o1"))
    assert shop.views == 2


def test_looks_when_a_line_is_a_minute_old(monkeypatch: pytest.MonkeyPatch) -> None:
    """A line that is in nobody's log yet is looked at again the moment that its writer must have given it up."""
    shop = Viewed(monkeypatch)
    shop.ledger.record(OrderPlaced(BO, order="o1"))
    shop.ledger.journal.append([line(time=shop.clock() + 30_000)])
    shop.clock.tick(MINUTE)
    size = shop.ledger.record(OrderPlaced(BO, order="o2")).index
    shop.clock.tick(MINUTE / 2 - 1)
    assert shop.ledger.record(OrderPlaced(BO, order="o3")).index == size + 1
    shop.clock.tick(1)
    assert shop.ledger.record(OrderPlaced(BO, order="o4")).index == size + 3


def test_reads_nothing_that_is_settled(monkeypatch: pytest.MonkeyPatch) -> None:
    """What a checkpoint has found in the log is not read again by who had not read it."""
    shop = Viewed(monkeypatch)
    shop.ledger.withdraw(ANN)
    shop.ledger.withdraw(BO)
    shop.ledger.checkpoint()
    shop.ledger.withdraw(ANN)
    shop.lines = 0
    assert waiting(shop) == []
    assert shop.lines == 2


def test_recorded_by_somebody_else(signed_up: Shop) -> None:
    """A process whose clock is ahead records what another is about to record: the stop is one entry all the same."""
    shop = signed_up
    size = shop.newsletter(ANN).size
    ahead = Clock(shop.clock() + 3_600_000)
    other = Ledger.open(shop.url, clock=ahead)
    real = shop.ledger._writing._outstanding.keep

    def slow(*args: Any) -> bool:
        kept = real(*args)
        ahead.tick(MINUTE)  # since it looked when it was opened
        other.record(OrderPlaced(BO, order="o1"))
        return kept

    shop.ledger._writing._outstanding.keep = slow  # type: ignore[method-assign]
    assert shop.ledger.withdraw(ANN, limited=True).index == size
    assert shop.newsletter(BO).reason == "invalid_time"
    shop.clock.tick(3_600 + MINUTE)
    assert shop.newsletter(BO).size == size + 2
    assert [one.kind for one in shop.ledger.history(ANN)].count("consent.withdrawn") == 1
    shop.ledger.verify(read_models=True)
    other.close()


def test_threads_settle(signed_up: Shop) -> None:
    """Checkpoints of several threads at once settle the journal without getting in each other's way."""
    wrong: list[StoreUnavailableError] = []
    journal = signed_up.ledger.journal

    def settle() -> None:
        try:
            for number in range(50):
                journal.settle(Position(0, number))
        except StoreUnavailableError as error:
            wrong.append(error)

    threads = [threading.Thread(target=settle) for _ in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert wrong == []
    assert journal.settled() is not None


def test_both_fail(signed_up: Shop, monkeypatch: pytest.MonkeyPatch) -> None:
    """Only where neither journal nor log can be written does a stop raise; with the log alone it is recorded."""
    shop = signed_up
    kept = shop.ledger._notary.checkpoints
    assert isinstance(kept, FileCheckpoints)
    (kept.folder / "stops").rename(kept.folder / "away")
    assert shop.ledger.withdraw(ANN).index is not None
    unwritable(shop, monkeypatch)
    with pytest.raises(StoreUnavailableError):
        shop.ledger.withdraw(BO)
    monkeypatch.undo()
    assert shop.newsletter(BO).reason == "ledger_unavailable"
    (kept.folder / "away").rename(kept.folder / "stops")
    assert shop.newsletter(BO)
    assert not shop.newsletter(ANN)


def test_missing_journal(signed_up: Shop, caplog: pytest.LogCaptureFixture) -> None:
    """A ledger whose journal is gone allows nothing until it is opened anew, which begins another and says so."""
    kept = signed_up.ledger._notary.checkpoints
    assert isinstance(kept, FileCheckpoints)
    signed_up.ledger.close()
    (kept.folder / "stops").unlink()
    reopen(signed_up)
    assert "journal was not found" in caplog.text
    assert signed_up.newsletter(BO)
    signed_up.ledger.withdraw(BO)
    assert not signed_up.newsletter(BO)


def test_another_place(signed_up: Shop, tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    """Who looks for checkpoints and journal where neither is allows nothing and signs nothing: others keep stops elsewhere."""
    shop = signed_up
    place = tmp_path / "of-another-user"
    with Ledger.open(shop.url, clock=shop.clock, checkpoints=place) as other:
        asked = {"use": "newsletter", "message": LETTER}
        assert other.check(BO, **asked).reason == "ledger_unavailable"
        with pytest.raises(StoreUnavailableError, match="where this process looks, found neither"):
            other.checkpoint()
        with pytest.raises(StoreUnavailableError, match="found neither"):
            other.export(tmp_path / "export.zip")
        assert other.withdraw(ANN).index is not None
    assert "nothing is allowed" in caplog.text
    assert not (place / "checkpoint").exists()
    assert not (tmp_path / "export.zip").exists()
    assert shop.newsletter(BO)
    with Ledger.open(shop.url, clock=shop.clock, checkpoints=place) as other:
        note = other.checkpoint(begin=True)
        assert note == (place / "checkpoint").read_bytes()
        assert other.check(BO, **asked)
        assert not other.check(ANN, **asked)
        assert other.checkpoint(begin=True) == note


def test_damaged_journal_denies(signed_up: Shop) -> None:
    """A line that can't be read may be anybody's no: nothing is allowed, stops are recorded."""
    kept = signed_up.ledger._notary.checkpoints
    assert isinstance(kept, FileCheckpoints)
    with open(kept.folder / "stops", "ab") as file:
        file.write(b"what is this\n")
    assert signed_up.newsletter(BO).reason == "ledger_unavailable"
    assert signed_up.ledger.withdraw(ANN).index is not None


def test_rollback_to_after_the_checkpoint(signed_up: Shop, tmp_path: Path) -> None:
    """A backup that no checkpoint misses still loses no stop: the journal has it, and it becomes an entry again."""
    shop = signed_up
    shop.ledger.checkpoint()
    shop.ledger.record(OrderPlaced(BO, order="o1"))
    copy = tmp_path / "copy.db"
    with sqlite3.connect(shop.path) as source, sqlite3.connect(copy) as target:
        source.backup(target)
    source.close()
    target.close()
    shop.ledger.withdraw(ANN)
    shop.ledger._closed = True  # as if it were killed: no checkpoint on close
    shop.ledger._store.close()
    for suffix in ("-wal", "-shm"):
        Path(f"{shop.path}{suffix}").unlink(missing_ok=True)
    copy.rename(shop.path)
    shop.ledger = Ledger.open(shop.url, clock=shop.clock)
    assert shop.newsletter(BO)
    assert not shop.newsletter(ANN)
    shop.clock.tick(MINUTE)
    shop.ledger.record(OrderPlaced(BO, order="o2"))
    assert [one.kind for one in shop.ledger.history(ANN)][-2:] == ["consent.withdrawn", "objection.raised"]


def test_read_no_more_than_what_came(signed_up: Shop, monkeypatch: pytest.MonkeyPatch) -> None:
    """A check reads the journal only when it changed; a signed checkpoint spares the next opening what is in the log."""
    reads: list[Any] = []
    real = FileJournal.read

    def counted(self: FileJournal, after: Any = None) -> Any:
        found = real(self, after)
        reads.append(len(found[0]))
        return found

    signed_up.ledger.withdraw(ANN)
    signed_up.ledger.checkpoint()
    monkeypatch.setattr(FileJournal, "read", counted)
    for _ in range(3):
        signed_up.newsletter(BO)
    assert sum(reads) == 0
    reopen(signed_up)
    signed_up.newsletter(BO)
    assert sum(reads) == 0
    signed_up.ledger.withdraw(BO)
    signed_up.newsletter(BO)
    signed_up.newsletter(BO)
    assert sum(reads) == 2
