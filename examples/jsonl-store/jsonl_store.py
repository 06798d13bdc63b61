"""A store of one's own: a ledger in a file of JSON lines, `jsonl:///srv/shop.jsonl`, which any text editor shows.

The first line describes the ledger, each one after it is a transaction. Rows are kept by the library's `MemoryStore`, into
which the lines are replayed. So this is about what a store must do besides: let in one writer at a time, commit durably,
show what others committed, and erase.
"""

from __future__ import annotations

import os
from collections.abc import Iterator, Mapping
from contextlib import ExitStack, contextmanager
from pathlib import Path
from typing import Any

from cattrs.preconf.json import make_converter

from consentlib.errors import CommitUnknownError, InputError, LedgerExistsError, LedgerMissingError, StoreUnavailableError
from consentlib.files import append_lines, locked, write_durably
from consentlib.store import Changes, Head, Life, Transaction, View
from consentlib.store.memory import MemoryStore
from consentlib.store.protocol import NOTHING_WANTED, Wanted, system_clock
from consentlib.store.turn import Turn
from consentlib.store.watched import Watched

_json = make_converter(detailed_validation=False)


class JsonlStore:
    """Fulfils `consentlib.store.Store`, whose docstrings say what each method promises."""

    clock = staticmethod(system_clock)

    def __init__(self, path: Path, meta: Mapping[str, str]) -> None:
        self.meta = MemoryStore.create("memory:", meta).meta  # refused without an origin
        self._path, self._closed = path, False
        self._replayed = (0, 0)  # by which process, of which file
        self._writing, self._replaying = Turn(), Turn()

    @classmethod
    def create(cls, url: str, meta: Mapping[str, str]) -> JsonlStore:
        store = cls(_path(url), meta)
        with store._alone(), _translated():
            if store._path.exists():
                raise LedgerExistsError(f"expected no ledger in `{store._path}`, found a file")
            write_durably(store._path, _line(dict(meta)))
        return store

    @classmethod
    def open(cls, url: str) -> JsonlStore:
        path = _path(url)
        try:
            with path.open("rb") as file:
                return cls(path, _json.loads(file.readline(), dict[str, str]))
        except (OSError, ValueError, AttributeError) as error:
            raise LedgerMissingError(f"expected a ledger in `{path}`, found none") from error

    def lookup(self, key: bytes) -> tuple[Head, tuple[Life, ...]]:
        return self._current().lookup(key)

    def read(self) -> Any:
        return self._current().read()

    @contextmanager
    def write(self, wanted: Wanted = NOTHING_WANTED) -> Iterator[Transaction]:
        with self._alone(), ExitStack() as until_durable:
            done: list[Changes] = []
            with self._current().write(wanted) as rows:
                yield Watched(rows, done.append)  # type: ignore[misc]
                until_durable.enter_context(self._replaying)  # nobody reads what is not on disk yet
            if done:
                replayed, self._replayed = self._replayed, (0, 0)  # cut short here, the file says what was committed
                line = _line(done)
                with _translated(CommitUnknownError):
                    append_lines(self._path, line)
                self._replayed, self._offset = replayed, self._offset + len(line)

    def purge(self) -> bool:
        with self._alone(), self._current().read() as view, _translated():
            meta, *lines = self._path.read_bytes().splitlines(keepends=True)
            kept = [_line([_kept(one, view) for one in _json.loads(line, list[Changes])]) for line in lines]
            write_durably(self._path, b"".join([meta, *kept]))
        return self._current().purge()

    def close(self) -> None:
        self._closed = True

    def __reduce__(self) -> tuple[Any, ...]:
        return type(self).open, (f"jsonl://{self._path}",)

    @contextmanager
    def _alone(self) -> Iterator[None]:
        """The one writer of all threads and processes."""
        with self._writing, ExitStack() as turn:
            with _translated():
                turn.enter_context(locked(self._path.with_name(f"{self._path.name}.lock")))
            yield

    def _current(self) -> MemoryStore:
        """The rows, with all that was committed by now."""
        if self._closed:
            raise StoreUnavailableError("expected an open store, found it closed")
        with self._replaying, _translated(), self._path.open("rb") as file:
            if self._replayed != (now := (os.getpid(), os.fstat(file.fileno()).st_ino)):  # forked, or purged: another file
                self._rows, self._replayed, self._offset = MemoryStore.create("memory:", self.meta), now, len(file.readline())
            file.seek(self._offset)
            for line in file:
                if line.endswith(b"\n"):  # else it is being written
                    with self._rows.write() as rows:
                        for changes in _json.loads(line, list[Changes]):
                            rows.apply(changes)
                    self._offset += len(line)
            return self._rows


def _kept(one: Changes, view: View) -> Changes:
    """A transaction without what was erased, forgotten or replaced since: replayed, all of them give the same rows."""
    return Changes(
        one.head,
        [
            new._replace(parts=now.parts, about=[id for id in new.about if new.index in view.about(id)])
            for new in one.entries
            if (now := view.entry(new.index))
        ],
        one.nodes,
        lives=[row for row in one.lives if row in view.lives_by_id([row.id])],
        orders=[row for row in one.orders if row in view.orders([row[0]], row[1].order)],
        events=[row for row in one.events if row == view.event(row.id)],
        suppressions=[row for row in one.suppressions if row == view.suppression(row.key)],
    )


@contextmanager
def _translated(to: type[StoreUnavailableError] = StoreUnavailableError) -> Iterator[None]:
    try:
        yield
    except (OSError, ValueError, TypeError, LookupError) as error:
        raise to(f"expected a file of lines, found `{type(error).__name__}`") from error


def _line(value: Any) -> bytes:
    return _json.dumps(value).encode() + b"\n"


def _path(url: str) -> Path:
    path = url.removeprefix("jsonl://")
    if path == url or not path.startswith("/"):
        raise InputError("expected `jsonl://` and the absolute path of a file, found another form of URL")
    return Path(path)
