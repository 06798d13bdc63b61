"""Disks that are full or read-only, a database that stays locked, and one that a newer version took over meanwhile."""

from __future__ import annotations

import resource
import sqlite3
import subprocess
from collections.abc import Callable, Iterator
from contextlib import closing
from pathlib import Path

import pytest
from lives import ANN, BO, LATER, Place, begin, may_write_to

from consentlib import Ledger
from consentlib.errors import LedgerVersionError, StoreUnavailableError
from consentlib.events import OrderPlaced
from consentlib.store import sqlite_file
from consentlib.testing.store_contract import in_child


@pytest.fixture
def mounted(tmp_path: Path) -> Iterator[Callable[..., Path]]:
    """Mounts something on a folder of the test; a visible skip where that is not allowed."""
    folder = tmp_path / "mounted"
    folder.mkdir()
    done = False

    def mount(*options: str) -> Path:
        nonlocal done
        try:
            subprocess.run(["mount", *options, str(folder)], check=True, capture_output=True)
        except (OSError, subprocess.CalledProcessError):
            pytest.skip("needs the right to mount")
        done = True
        return folder

    yield mount
    if done:
        subprocess.run(["umount", "-l", str(folder)], check=True)


def fill(ledger: Ledger) -> int:
    """Record until the disk is full; gives how many were answered."""
    for number in range(5000):
        try:
            ledger.record(OrderPlaced(BO, order=f"o{number}", event_id=f"e{number}"))
        except StoreUnavailableError:
            return number
    raise AssertionError("the disk was never full")


def check_filled(place: Place, answered: int) -> None:
    """Every order that was answered is there once, and the log verifies."""
    with place.open(later=LATER) as ledger:
        ledger.verify(read_models=True)
        found = [one.kind for one in ledger.history(BO)].count("order.placed")
        assert answered <= found <= answered + 1
        for number in range(answered):
            ledger.record(OrderPlaced(BO, order=f"o{number}", event_id=f"e{number}"))
        assert [one.kind for one in ledger.history(BO)].count("order.placed") == found


def test_full_disk(tmp_path: Path, mounted: Callable[..., Path]) -> None:
    """A full disk costs no answer and no stop: they are kept in the journal elsewhere, and go in when there is room."""
    place = begin(tmp_path / "ledger")
    disk = mounted("-t", "tmpfs", "-o", "size=1200k", "consentlib-test")
    there = Place(disk)
    (disk / "aside").symlink_to(place.checkpoints)
    (disk / "ballast").write_bytes(bytes(600_000))
    place.database.parent.rename(tmp_path / "shop")
    subprocess.run(["cp", "-r", str(tmp_path / "shop"), str(disk)], check=True)
    with there.open() as ledger:
        answered = fill(ledger)
        assert may_write_to(ledger, ANN)
        assert ledger.withdraw(ANN).index is None
        assert not may_write_to(ledger, ANN)
        (disk / "ballast").unlink()
        ledger.record(OrderPlaced(ANN, order="last"))
        assert "consent.withdrawn" in [one.kind for one in ledger.history(ANN)]
    check_filled(there, answered)


def test_full_disk_under_everything(mounted: Callable[..., Path]) -> None:
    """Where the journal's disk is full too, a stop is one clear error; nothing is torn, and all goes on with room."""
    disk = mounted("-t", "tmpfs", "-o", "size=1200k", "consentlib-test")
    place = begin(disk / "ledger")
    (disk / "ballast").write_bytes(bytes(400_000))
    with place.open() as ledger:
        answered = fill(ledger)
        stops = 0
        with pytest.raises(StoreUnavailableError):  # noqa: PT012  # what is left of the last page takes some lines
            while stops < 5000:
                assert ledger.withdraw(f"p{stops}@example.dk").index is None
                stops += 1
        (disk / "ballast").unlink()
        ledger.withdraw(ANN)
        assert not may_write_to(ledger, ANN)
        assert all(ledger.history(f"p{number}@example.dk") for number in range(stops))
    check_filled(place, answered)


def test_no_file_may_grow(tmp_path: Path) -> None:
    """The same by a limit on the size of files, which needs no rights: what does not fit is refused whole."""
    place = begin(tmp_path / "ledger")

    def work() -> None:
        resource.setrlimit(resource.RLIMIT_FSIZE, (300_000, resource.RLIM_INFINITY))
        ledger = place.open()
        (tmp_path / "answered").write_text(str(fill(ledger)))
        assert ledger.withdraw(ANN).index is None
        assert not may_write_to(ledger, ANN)

    assert in_child(work) == 0
    check_filled(place, int((tmp_path / "answered").read_text()))
    with place.open() as ledger:
        assert not may_write_to(ledger, ANN)


def test_read_only_disk(tmp_path: Path, mounted: Callable[..., Path]) -> None:
    """From a read-only disk nothing is changed: what can't be recorded is refused, and a stop is kept in the journal."""
    place = begin(tmp_path / "ledger")
    writer = place.open()
    disk = mounted("--bind", str(place.database.parent))
    subprocess.run(["mount", "-o", "remount,ro,bind", str(disk)], check=True)
    url = f"sqlite:///{disk / 'shop.db'}"
    with Ledger.open(url, checkpoints=place.checkpoints, keys=place.database.with_name("shop.db.keys")) as ledger:
        size = writer.verify().size
        with pytest.raises(StoreUnavailableError):
            ledger.record(OrderPlaced(BO, order="o1"))
        assert ledger.withdraw(ANN).index is None
        assert not may_write_to(ledger, ANN)
        assert writer.verify(read_models=True).size == size
    assert not may_write_to(writer, ANN)
    writer.close()


def test_locked_for_longer_than_a_writer_waits(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Who holds the database locked gets no stop refused: it is answered from the journal, the rest by one clear error."""
    place = begin(tmp_path / "ledger")
    monkeypatch.setattr(sqlite_file, "WAIT", 0.2)
    with place.open() as ledger, closing(sqlite3.connect(place.database, isolation_level=None)) as other:
        other.execute("BEGIN IMMEDIATE")
        with pytest.raises(StoreUnavailableError, match="locked"):
            ledger.record(OrderPlaced(BO, order="o1"))
        assert may_write_to(ledger, BO)
        assert ledger.withdraw(ANN).index is None
        assert not may_write_to(ledger, ANN)
        other.execute("COMMIT")
        ledger.record(OrderPlaced(BO, order="o1"))
        assert "consent.withdrawn" in [one.kind for one in ledger.history(ANN)]
        ledger.verify(read_models=True)


def test_a_newer_version_took_over(tmp_path: Path) -> None:
    """Once a newer version changed the tables, an older process that has them open writes no more, and keeps its stops."""
    place = begin(tmp_path / "ledger")
    with place.open() as ledger, closing(sqlite3.connect(place.database, isolation_level=None)) as newer:
        newer.execute(
            "INSERT INTO consentlib_migrations (migration_set, name, applied_at) VALUES ('consentlib', '0999', '2027-01-01')"
        )
        size = ledger.verify().size
        with pytest.raises(StoreUnavailableError, match="newer"):
            ledger.record(OrderPlaced(BO, order="o1"))
        assert ledger.withdraw(ANN).index is None
        assert not may_write_to(ledger, ANN)
        assert ledger.verify().size == size
        with pytest.raises(LedgerVersionError):
            place.open()
        newer.execute("DELETE FROM consentlib_migrations WHERE name = '0999'")
        ledger.record(OrderPlaced(BO, order="o1"))
        ledger.verify(read_models=True)
