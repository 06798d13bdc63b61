"""Several processes: the same report and the same first problem as one, and plain words where they can't help."""

import os
from collections.abc import Iterator
from itertools import islice
from pathlib import Path

import pytest

from consentlib.audit.sharing import share
from consentlib.audit.verify import verify_file, verify_view
from consentlib.checkpoints import covered_size
from consentlib.errors import FormatError, InputError, StoreUnavailableError, VerificationError
from consentlib.store import open_store
from forger import held, key
from shop import LETTER, Shop


def double(number: int) -> int:
    return 2 * number


def die(_: int) -> int:
    os._exit(1)


def test_results_and_errors_come_in_turn() -> None:
    """Results come in the order of the jobs, an error of drawing them after those of the jobs drawn before it."""

    def jobs() -> Iterator[int]:
        yield from range(20)
        raise FormatError("expected more, found the end")

    for processes in (1, 2):
        with share(double, jobs(), processes) as results:
            assert list(islice(results, 20)) == list(range(0, 40, 2))
            with pytest.raises(FormatError, match="found the end"):
                next(results)


def test_few_jobs_wait() -> None:
    """Jobs are drawn as results are taken: not all of a long row of them is in memory."""
    drawn = iter(range(10_000))
    with share(double, drawn, 2) as results:
        assert next(results) == 0
        assert next(drawn) < 100


def test_a_process_that_dies() -> None:
    """It is an error of the library, not a wait without end."""
    with pytest.raises(StoreUnavailableError, match="found one dead"), share(die, range(3), 2) as results:
        list(results)


@pytest.mark.parametrize("processes", [0, -1, True, 1.0, "2", None])
def test_strange_numbers(processes: object) -> None:
    """A number of processes is an int from 1."""
    with pytest.raises(InputError, match="a number of processes"), share(double, [1], processes):  # type: ignore[arg-type]
        pass


@pytest.fixture
def stocked(tmp_path: Path) -> Iterator[Shop]:
    """A shop with three spans of entries, an erasure over two of them, and an export."""
    shop = Shop(f"sqlite:///{tmp_path}/shop.db", checkpoints=tmp_path / "checkpoints")
    shop.sign_up("anna@example.dk")
    (tmp_path / "kept").write_bytes(shop.ledger.checkpoint())
    for _ in range(2):
        shop.sign_up("bo@example.dk")
        shop.ledger.checkpoint()
    shop.ledger.erase("anna@example.dk", reason="art17", by="dpo")
    yield shop
    shop.ledger.close()


def test_the_same_report(stocked: Shop, tmp_path: Path) -> None:
    """Ledger and export, at level history: whoever shares the work, the report is the same."""
    kept = (tmp_path / "kept").read_bytes()
    one, two = (stocked.ledger.verify(checkpoints=[kept], processes=number) for number in (1, 2))
    assert one == two
    assert (two.level, two.erased) == ("history", 1)
    stocked.ledger.export(tmp_path / "audit.zip")
    options = {"verifiers": [key(stocked)], "checkpoints": [held(stocked, kept)]}
    one, two = (verify_file(tmp_path / "audit.zip", processes=number, **options) for number in (1, 2))  # type: ignore[arg-type]
    assert one == two


def test_a_rotated_ledger(stocked: Shop, tmp_path: Path) -> None:
    """Several processes follow a rotation that lies in one span from keys that are checked in another."""
    old = key(stocked)
    stocked.ledger.rotate_key()
    note = stocked.ledger.checkpoint()
    stocked.ledger.export(tmp_path / "audit.zip")
    one, two = (verify_file(tmp_path / "audit.zip", verifiers=[old], checkpoints=[note], processes=n) for n in (1, 2))
    assert one == two
    assert (two.level, two.led_to) == ("history", (stocked.ledger.verifier,))
    store = open_store(stocked.url)
    with store.read() as view:
        report = verify_view(view, stocked.ledger.origin, verifiers=[old], checkpoints=[note], store=store, processes=2)
        assert (report.held_size, report.led_to) == (covered_size(note), two.led_to)
    store.close()


def test_a_sealed_ledger(tmp_path: Path) -> None:
    """Each process opens the vault too."""
    shop = Shop(f"sqlite:///{tmp_path}/shop.db", sealed=True)
    for name in ("anna", "bo"):
        shop.sign_up(f"{name}@example.dk")
    shop.ledger.erase("anna@example.dk", reason="art17", by="dpo")
    one, two = (shop.ledger.verify(processes=number) for number in (1, 2))
    assert one == two
    assert (two.erased, two.withheld) == (one.erased, 0)
    shop.ledger.close()


def test_meaning_with_processes(stocked: Shop) -> None:
    """The rules are replayed in order, by one process however many there may be."""
    list(stocked.ledger.permits(["bo@example.dk"], use="marketing_newsletter", message=LETTER))
    report = stocked.ledger.verify(meaning=True, processes=2)
    assert report.meaning is not None
    assert report.meaning.judged == 1


def test_the_same_problem(stocked: Shop) -> None:
    """The first of several problems is found, with the same evidence, and the ledger is marked."""
    stocked.steal("UPDATE consentlib_parts SET data = data || ' ' WHERE idx IN (4, 5)")
    found = []
    for number in (1, 2):
        with pytest.raises(VerificationError) as caught:
            stocked.ledger.verify(processes=number)
        found.append((str(caught.value), caught.value.level, caught.value.index, caught.value.evidence))
    assert found[0] == found[1]
    assert found[0][1:3] == ("content", 4)
    assert stocked.newsletter("bo@example.dk").reason == "ledger_unverified"


def test_another_moment(stocked: Shop) -> None:
    """What is recorded while the processes start shows in none of it: the verifier's own view is what is verified."""
    store = open_store(stocked.url)
    with store.read() as view:
        stocked.ledger.erase("bo@example.dk", reason="art17", by="dpo")
        report = verify_view(view, stocked.ledger.origin, store=store, processes=2)
        assert (report.size, report.erased) == (view.head().size, 1)
    store.close()


def test_a_store_in_memory() -> None:
    """No other process can open it, and it says so."""
    shop = Shop()
    with pytest.raises(InputError, match="found one in memory"):
        shop.ledger.verify(processes=2)
