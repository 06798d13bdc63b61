"""A stop in any order of failures: of the journal, the log, the list it came in, the clock, and what was restored or lost."""

from __future__ import annotations

import threading
from collections.abc import Sequence
from contextlib import contextmanager
from typing import Any

import pytest

from consentlib import Ledger
from consentlib.errors import InputError, StoreUnavailableError
from consentlib.events import ConsentConfirmed, ConsentGiven, ConsentWithdrawn, Event, OrderPlaced
from consentlib.journal import FileJournal, Line
from consentlib.recovery import Recovery, recover
from forger import reopen, restore, save
from shop import DAY, LETTER, SEEN, Shop

ANN, BO = "ann@example.dk", "bo@example.dk"


@pytest.fixture
def signed_up(shop: Shop) -> Shop:
    """Ann and Bo get the newsletter."""
    shop.sign_up(ANN)
    shop.sign_up(BO)
    shop.clock.tick(1)
    return shop


def fail(*_: Any) -> Any:
    raise StoreUnavailableError("expected a place that can be written, found one that can't")


def unwritable(shop: Shop, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(type(shop.ledger._store), "write", fail)


def file_of(shop: Shop) -> FileJournal:
    journal = shop.ledger.journal
    assert isinstance(journal, FileJournal)
    return journal


def withdraw_many(shop: Shop) -> None:
    """Let the journal grow."""
    shop.ledger.record_many([ConsentWithdrawn(f"{number}@example.dk") for number in range(9)])


def recovered(shop: Shop, **more: Any) -> tuple[Recovery, Ledger]:
    url = f"sqlite:///{shop.path.parent}/new.db"
    done = recover(shop.url, url, by="ops", reason="disk-failure", clock=shop.clock, **more)
    return done, Ledger.open(url, clock=shop.clock)


# In a list.


@pytest.mark.parametrize("journal", [True, False], ids=["with the journal", "without"])
@pytest.mark.parametrize(
    "other",
    [
        lambda: ConsentGiven("no address", form="footer", evidence=SEEN),
        lambda: ConsentConfirmed(BO, ref="nosuch"),
        lambda: "no event",
    ],
    ids=["address", "reference", "no event"],
)
def test_in_a_refused_list(signed_up: Shop, other: Any, journal: bool, monkeypatch: pytest.MonkeyPatch) -> None:
    """Whatever is wrong with the others, and also where the journal can't be written, the stop of a list is an entry."""
    if not journal:
        monkeypatch.setattr(FileJournal, "append", fail)
    events: list[Event] = [other(), ConsentWithdrawn(ANN)]
    for order in (events, events[::-1]):
        with pytest.raises(InputError) as caught:
            signed_up.ledger.record_many(order)
        assert caught.value.position == order.index(events[0])
    assert not signed_up.newsletter(ANN)
    assert [one.kind for one in signed_up.ledger.history(ANN)].count("consent.withdrawn") == 2
    signed_up.ledger.verify(read_models=True)


# By the clock.


def test_clock_ahead(signed_up: Shop, monkeypatch: pytest.MonkeyPatch) -> None:
    """What a process with a clock ahead kept counts at once for those whose clock is right."""
    unwritable(signed_up, monkeypatch)
    signed_up.clock.tick(600)
    signed_up.ledger.withdraw(ANN)
    signed_up.clock.tick(-600)
    assert not signed_up.newsletter(ANN)
    assert signed_up.newsletter(BO)


# Erasures beside it.


def test_two_erasures_wait(signed_up: Shop, monkeypatch: pytest.MonkeyPatch) -> None:
    """Asked twice while the log can't be written, after a stop that says more: all is erased in the end, and on record."""
    unwritable(signed_up, monkeypatch)
    signed_up.ledger.withdraw(ANN, text="never again")
    for _ in range(2):
        assert signed_up.ledger.erase(ANN, reason="art17", by="dpo").pending
    monkeypatch.undo()
    signed_up.ledger.record(OrderPlaced(BO, order="o1"))
    assert signed_up.look("SELECT count(*) FROM consentlib_log WHERE kind = 'part.erased'") == [(2,)]
    assert all(one.person is None for one in signed_up.ledger.history(ANN))
    assert signed_up.newsletter(ANN).reason == "erased"
    signed_up.ledger.verify(read_models=True)


def test_two_erasures_recovered(signed_up: Shop) -> None:
    """Erased, back again and erased again since the backup: recovery replays both."""
    backup = save(signed_up)
    reopen(signed_up)
    for _ in range(2):
        signed_up.ledger.erase(ANN, reason="art17", by="dpo")
        signed_up.sign_up(ANN)
    signed_up.ledger.erase(ANN, reason="art17", by="dpo")
    signed_up.ledger.checkpoint()
    restore(signed_up, backup)
    done, ledger = recovered(signed_up)
    assert done.erasures == 3
    assert ledger.check(ANN, use="marketing_newsletter", message=LETTER).reason == "erased"
    ledger.close()


def test_erasure_kept_once(signed_up: Shop, monkeypatch: pytest.MonkeyPatch) -> None:
    """An erasure whose commit fails has one line, which names all addresses of the person, and is recovered once."""
    backup = save(signed_up)
    reopen(signed_up)
    real = type(signed_up.ledger._store).write

    @contextmanager
    def write(store: Any, *wanted: Any) -> Any:
        with real(store, *wanted) as tx:
            yield tx
            fail()

    monkeypatch.setattr(type(signed_up.ledger._store), "write", write)
    assert signed_up.ledger.erase(ANN, reason="art17", by="dpo").pending
    monkeypatch.undo()
    assert len(signed_up.ledger.journal.read()[0]) == 1
    restore(signed_up, backup)
    done, ledger = recovered(signed_up)
    assert done.erasures == 1
    assert ledger.check(ANN, use="marketing_newsletter", message=LETTER).reason == "erased"
    ledger.close()


# Lines of another version.


@pytest.mark.parametrize(
    "said", [{"type": "consent.frozen"}, {"type": "consent.given"}, {"type": "part.erased"}], ids=lambda said: said["type"]
)
def test_line_nobody_knows(signed_up: Shop, said: dict[str, Any]) -> None:
    """A line that this version can't count denies everybody, refuses no stop, and is not recovered from."""
    signed_up.ledger.journal.append([Line(bytes(16), bytes(16), bytes(16), 0, (bytes(32),), bytes(32), said)])
    assert signed_up.newsletter(BO).reason == "ledger_unavailable"
    assert signed_up.ledger.withdraw(ANN).index is not None
    signed_up.ledger.close()
    with pytest.raises(StoreUnavailableError, match="found another line"):
        recovered(signed_up)
    assert not (signed_up.path.parent / "new.db").exists()


# Journals lost, cut, restored and pruned.


def test_lost_beside_its_mark(signed_up: Shop, monkeypatch: pytest.MonkeyPatch) -> None:
    """A journal that began anew is read from its beginning, whatever was settled in the one before."""
    withdraw_many(signed_up)
    signed_up.ledger.checkpoint()
    file_of(signed_up).path.unlink()
    reopen(signed_up)
    unwritable(signed_up, monkeypatch)
    signed_up.ledger.withdraw(ANN)
    assert not signed_up.newsletter(ANN)
    assert not Ledger.open(signed_up.url, clock=signed_up.clock).check(ANN, use="marketing_newsletter", message=LETTER)


def test_older_copy_of_the_journal(signed_up: Shop, monkeypatch: pytest.MonkeyPatch) -> None:
    """So is one that was put back to an earlier state under a running shop."""
    journal = file_of(signed_up)
    before = journal.path.read_bytes()
    withdraw_many(signed_up)
    assert signed_up.newsletter(BO)
    journal.path.write_bytes(before)
    unwritable(signed_up, monkeypatch)
    signed_up.ledger.withdraw(ANN)
    assert not signed_up.newsletter(ANN)


def test_lost_with_the_database(signed_up: Shop) -> None:
    """Opening a restored ledger begins no journal in the place of a lost one, which recovery would believe."""
    backup = save(signed_up)
    reopen(signed_up)
    signed_up.ledger.withdraw(ANN)
    signed_up.ledger.checkpoint()
    file_of(signed_up).path.unlink()
    restore(signed_up, backup)
    reopen(signed_up)
    assert signed_up.ledger.withdraw(BO).index is not None
    assert not signed_up.ledger.journal.exists()
    with pytest.raises(StoreUnavailableError, match="found none"):
        recovered(signed_up)
    _, ledger = recovered(signed_up, without_journal=True)
    assert not ledger.check(ANN, use="marketing_newsletter", message=LETTER)
    ledger.close()


def test_begun_anew_since_the_backup(signed_up: Shop) -> None:
    """A journal that began after the backup was made does not know what the one before it knew."""
    backup = save(signed_up)
    reopen(signed_up)
    signed_up.ledger.withdraw(ANN)
    signed_up.ledger.checkpoint()
    file_of(signed_up).path.unlink()
    signed_up.clock.tick(60)
    reopen(signed_up)
    assert signed_up.ledger.journal.since() == signed_up.clock()
    restore(signed_up, backup)
    reopen(signed_up)
    signed_up.ledger.withdraw(BO)  # what the restored log takes is no sign of what the backup held
    with pytest.raises(StoreUnavailableError, match="goes back to the backup"):
        recovered(signed_up)


@pytest.mark.parametrize("days", [3, 30])
def test_pruned_too_early(signed_up: Shop, days: int) -> None:
    """A journal pruned of what came since the backup is none; pruned of what came before, it is whole."""
    signed_up.ledger.withdraw("old@example.dk")
    signed_up.clock.tick(days=20)
    signed_up.ledger.record(OrderPlaced(BO, order="o1"))
    backup = save(signed_up)
    reopen(signed_up)
    signed_up.ledger.withdraw(ANN)
    signed_up.clock.tick(days=20)
    signed_up.ledger.checkpoint()
    assert signed_up.ledger.journal.prune(signed_up.clock() - days * DAY) == (4 if days == 3 else 2)
    restore(signed_up, backup)
    reopen(signed_up)
    if days == 3:
        with pytest.raises(StoreUnavailableError, match="goes back to the backup"):
            recovered(signed_up)
    else:
        done, ledger = recovered(signed_up)
        assert done.stops == 2
        assert not ledger.check(ANN, use="marketing_newsletter", message=LETTER)
        ledger.close()


# Several threads.


def test_settled_by_what_was_signed(signed_up: Shop) -> None:
    """A journal is settled up to what the signed log holds, not to what came while it was signed."""
    journal, outstanding = signed_up.ledger.journal, signed_up.ledger._writing._outstanding
    signed_up.ledger.checkpoint()
    before = journal.settled()
    with signed_up.ledger._store.read() as signed:
        signed.head()
        signed_up.ledger.withdraw(ANN)
        assert signed_up.newsletter(BO)  # another thread's check has read the line, and found it in the log
        outstanding.settle(signed)
    assert journal.settled() == before
    with signed_up.ledger._store.read() as view:
        outstanding.settle(view)
    assert journal.settled() == journal.read()[1]


def test_nobody_waits_for_a_reader(signed_up: Shop, monkeypatch: pytest.MonkeyPatch) -> None:
    """A thread that is slow to read, or that a child was forked beside, keeps nobody from reading."""
    reading, go_on = threading.Event(), threading.Event()
    outstanding = signed_up.ledger._writing._outstanding
    unwritable(signed_up, monkeypatch)
    signed_up.ledger.withdraw(ANN)

    class Slow:
        """A view that answers when it may."""

        def events(self, ids: Sequence[bytes]) -> dict[bytes, None]:
            reading.set()
            go_on.wait(10)
            return dict.fromkeys(ids)

    slow = threading.Thread(target=lambda: outstanding.lines(Slow()))  # type: ignore[arg-type]
    slow.start()
    assert reading.wait(10)
    answers: list[bool] = []
    quick = threading.Thread(target=lambda: answers.append(bool(signed_up.newsletter(ANN))))
    quick.start()
    quick.join(5)
    meanwhile = list(answers)
    go_on.set()
    slow.join()
    quick.join()
    assert meanwhile == [False]
