"""A store of one's own: a ledger in a file of JSON lines, `jsonl:///srv/shop.jsonl`, which any text editor shows.

The first line describes the ledger, each one after it is a transaction. Rows are kept by the library's `MemoryStore`, into
which the lines are replayed. So this is about what a store must do besides: commit durably, let in one writer of all
processes at a time, show what others committed, and erase.
"""

from __future__ import annotations

import fcntl
import json
import os
import threading
import time
from collections.abc import Iterator, Mapping
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any, BinaryIO

from attrs import asdict

from consentlib.errors import InputError, LedgerExistsError, LedgerMissingError, StoreUnavailableError
from consentlib.fold import Order
from consentlib.store import Changes, EventRow, Head, Life, NewEntry, Suppression, Transaction, View
from consentlib.store.memory import MemoryStore
from consentlib.store.protocol import NOTHING_WANTED, Wanted, system_clock

FORMAT = "jsonl-store/1"
WAIT = 30.0


class JsonlStore:
    """Fulfils `consentlib.store.Store`, whose docstrings say what each method promises."""

    clock = staticmethod(system_clock)

    def __init__(self, path: Path, meta: Mapping[str, str]) -> None:
        self._path = path
        self._meta = dict(meta)
        self._closed = False
        self._begin_process()
        self.meta = self._rows.meta

    def _begin_process(self) -> None:
        """A child after a fork has none of the threads that held its parent's locks."""
        self._pid = os.getpid()
        self._writer: int | None = None
        self._turn, self._replaying = threading.Lock(), threading.Lock()
        self._begin_rows(0)

    def _begin_rows(self, inode: int) -> None:
        self._rows, self._inode, self._offset = MemoryStore.create("memory:", self._meta), inode, 0

    @classmethod
    def create(cls, url: str, meta: Mapping[str, str]) -> JsonlStore:
        if "origin" not in meta:
            raise InputError("expected `origin` among what describes the ledger, found none")
        path = _path(url)
        with _locked(path):
            if path.exists():
                raise LedgerExistsError(f"expected no ledger in `{path}`, found a file")
            _put_in_place(path, [json.dumps({"format": FORMAT, "meta": dict(meta)}).encode() + b"\n"])
        return cls(path, meta)

    @classmethod
    def open(cls, url: str) -> JsonlStore:
        path = _path(url)
        with suppress(OSError, ValueError, KeyError, TypeError), path.open("rb") as file:
            first = json.loads(file.readline())
            if first["format"] == FORMAT:
                return cls(path, first["meta"])
        raise LedgerMissingError(f"expected a ledger in `{path}`, found none")

    def lookup(self, key: bytes) -> tuple[Head, tuple[Life, ...]]:
        return self._current().lookup(key)

    def read(self) -> Any:
        return self._current().read()

    @contextmanager
    def write(self, wanted: Wanted = NOTHING_WANTED) -> Iterator[Transaction]:
        with self._as_writer() as file, self._rows.write(wanted) as rows:
            recording = _Recording(rows)
            yield recording  # type: ignore[misc]
            if os.getpid() == self._pid and recording.done and not recording.failed:
                file.write(_line(recording.done))
                file.flush()
                os.fsync(file.fileno())  # durable first; then the rows change, when this block is left
                self._offset = file.tell()

    def purge(self) -> bool:
        with self._as_writer() as file, self._rows.read() as view:
            file.seek(0)
            lines = file.readlines()
            kept = [_line([_kept(one, view) for one in _read(line)]) for line in lines[1:]]
            _put_in_place(self._path, lines[:1] + kept)
        return self._current().purge()

    def close(self) -> None:
        self._closed = True
        self._rows.close()

    def __reduce__(self) -> tuple[Any, ...]:
        return type(self).open, (f"jsonl://{self._path}",)

    @contextmanager
    def _as_writer(self) -> Iterator[BinaryIO]:
        """The file at its end, while no other thread or process writes."""
        self._current()
        if self._writer == threading.get_ident():
            raise StoreUnavailableError("expected one write transaction at a time in a thread, found one open")
        if not self._turn.acquire(timeout=WAIT):
            raise StoreUnavailableError("expected the writer's turn, found another transaction")
        try:
            with _locked(self._path):
                self._current()
                self._writer = threading.get_ident()
                with self._path.open("r+b") as file:
                    file.truncate(self._offset)  # what a crash left of a line was never answered for
                    file.seek(self._offset)
                    yield file
        finally:
            self._writer = None
            self._turn.release()

    def _current(self) -> MemoryStore:
        """The rows, with what other processes wrote. While a thread of this one is the writer, nobody else is."""
        if os.getpid() != self._pid:
            self._begin_process()
        if self._closed:
            raise StoreUnavailableError("expected an open store, found it closed")
        with self._replaying:
            if self._writer is None:
                with self._path.open("rb") as file:
                    if self._inode != (inode := os.fstat(file.fileno()).st_ino):  # another file was put in its place
                        self._begin_rows(inode)
                    file.seek(self._offset)
                    for line in file:
                        if line.endswith(b"\n"):  # else it is being written
                            if self._offset:
                                with self._rows.write() as rows:
                                    for one in _read(line):
                                        rows.apply(one)
                            self._offset += len(line)
            return self._rows


class _Recording:
    """A transaction of the rows that notes what it did."""

    def __init__(self, rows: Transaction) -> None:
        self._rows, self.done, self.failed = rows, list[Changes](), False

    def __getattr__(self, name: str) -> Any:
        return getattr(self._rows, name)

    def apply(self, changes: Changes) -> None:
        self.failed = True
        self._rows.apply(changes)
        self.done.append(changes)
        self.failed = False


def _kept(one: Changes, view: View) -> Changes:
    """A transaction without what was erased, forgotten or replaced since: replayed, all of them give the same rows."""
    now = {new.index: view.entry(new.index) for new in one.entries}
    entries = [
        new._replace(parts=now[new.index].parts, about=[id for id in new.about if new.index in view.about(id)])  # type: ignore[union-attr]
        for new in one.entries
    ]
    rows = {
        "lives": [row for row in one.lives if row in view.lives_by_id([row.id])],
        "orders": [row for row in one.orders if row in view.orders([row[0]], row[1].order)],
        "events": [row for row in one.events if row == view.event(row.id)],
        "suppressions": [row for row in one.suppressions if row == view.suppression(row.key)],
    }
    return Changes(one.head, entries, one.nodes, **rows)  # type: ignore[arg-type]


def _line(transaction: list[Changes]) -> bytes:
    rows = [asdict(one, recurse=False) for one in transaction]
    return json.dumps(rows, default=lambda data: {"hex": data.hex()}, separators=(",", ":")).encode() + b"\n"


def _read(line: bytes) -> list[Changes]:
    def restored(found: dict[str, Any]) -> Any:
        return bytes.fromhex(found["hex"]) if isinstance(found.get("hex"), str) else found

    return [_changes(**fields) for fields in json.loads(line, object_hook=restored)]


def _changes(head: Any, entries: Any, lives: Any, orders: Any, events: Any, suppressions: Any, **rest: Any) -> Changes:
    return Changes(
        Head(*head),
        [NewEntry(*row)._replace(parts={name: part and tuple(part) for name, part in row[5].items()}) for row in entries],
        lives=[Life(*row) for row in lives],
        orders=[(id, Order(*row)) for id, row in orders],
        events=[EventRow(*row) for row in events],
        suppressions=[Suppression(*row) for row in suppressions],
        **{name: [tuple(row) if isinstance(row, list) else row for row in rows] for name, rows in rest.items()},
    )


def _path(url: str) -> Path:
    path = url.removeprefix("jsonl://")
    if path == url or not path.startswith("/"):
        raise InputError("expected `jsonl://` and the absolute path of a file, found another form of URL")
    return Path(path)


@contextmanager
def _locked(path: Path) -> Iterator[None]:
    """Hold the lock among processes, on a file beside the ledger's. Who dies lets go of it."""
    end = time.monotonic() + WAIT
    with path.with_name(f"{path.name}.lock").open("wb") as file:
        while True:
            with suppress(BlockingIOError):
                fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
                break
            if time.monotonic() > end:
                raise StoreUnavailableError("expected the writer's turn, found another process writing")
            time.sleep(0.001)
        try:
            yield
        finally:
            fcntl.flock(file, fcntl.LOCK_UN)  # a child forked meanwhile has the descriptor too, and would hold on


def _put_in_place(path: Path, lines: list[bytes]) -> None:
    """Durably and all at once, for its owner alone."""
    aside = path.with_name(f"{path.name}.new")
    with open(os.open(aside, os.O_WRONLY | os.O_CREAT | os.O_TRUNC, 0o600), "wb") as file:
        file.writelines(lines)
        file.flush()
        os.fsync(file.fileno())
    os.replace(aside, path)
    folder = os.open(path.parent, os.O_RDONLY)
    os.fsync(folder)
    os.close(folder)
