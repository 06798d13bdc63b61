"""Checkpoint stores: the newest checkpoint and all before it, held where a restored or rewritten database can't reach."""

from __future__ import annotations

import threading
from pathlib import Path
from typing import ClassVar, Protocol, runtime_checkable

from consentlib.errors import CheckpointConflictError, StoreUnavailableError
from consentlib.files import locked, write_durably
from consentlib.journal import FileJournal, MemoryJournal, StopJournal


class CheckpointStore(Protocol):
    """Keeps the newest checkpoint of one log, as the bytes of a signed note, and the stop journal beside it."""

    @property
    def journal(self) -> StopJournal: ...

    def prepare(self, since: int = 0) -> None:
        """Begin the journal, see `StopJournal.begin`. Raises `StoreUnavailableError` unless both can be kept here."""
        ...

    def read(self) -> bytes | None:
        """The newest, or None. Raises `StoreUnavailableError`."""
        ...

    def replace(self, old: bytes | None, new: bytes) -> None:
        """Put `new` in the place of `old`, durably, all at once; `CheckpointConflictError` if `old` is not the newest.

        The sizes they cover never fall. One of the same size, signed by more keys, takes the old one's place altogether.
        """
        ...

    def history(self) -> list[bytes]:
        """The newest checkpoint of each size that was ever covered, smallest first."""
        ...


@runtime_checkable
class CheckpointsOnDisk(CheckpointStore, Protocol):
    """A checkpoint store that can say where it lies, which must not be where the database lies."""

    place: Path

    def newest_at(self) -> float | None:
        """When the newest was written, in seconds since the epoch; None if there is none."""
        ...


class MemoryCheckpoints:
    """A checkpoint store that is gone with the process: for tests, and for logs that are."""

    _by_url: ClassVar[dict[str, MemoryCheckpoints]] = {}

    def __init__(self) -> None:
        self._all: list[bytes] = []
        self._replacing = threading.Lock()
        self.journal: StopJournal = MemoryJournal()

    @classmethod
    def named(cls, url: str) -> MemoryCheckpoints:
        """That of a named memory ledger, the same each time in a process; a fresh one for an anonymous one."""
        return cls() if url in ("memory:", "memory://") else cls._by_url.setdefault(url, cls())

    def prepare(self, since: int = 0) -> None:
        """There is always room."""

    def read(self) -> bytes | None:
        return self._all[-1] if self._all else None

    def replace(self, old: bytes | None, new: bytes) -> None:
        with self._replacing:
            if self.read() != old:
                raise conflict()
            if old is not None and covered_size(old) == covered_size(new):
                self._all.pop()
            self._all.append(new)

    def history(self) -> list[bytes]:
        return list(self._all)


class FileCheckpoints:
    """A checkpoint store in a folder: the files `checkpoint`, `checkpoint.SIZE` for all ever signed, and `stops`."""

    def __init__(self, folder: Path) -> None:
        self.place = self.folder = folder.absolute()
        self._path = self.folder / "checkpoint"
        self.journal: StopJournal = FileJournal(self.folder / "stops")

    def prepare(self, since: int = 0) -> None:
        try:
            self.folder.mkdir(parents=True, exist_ok=True, mode=0o700)
            with locked(self.folder / "lock"):
                pass
            self.journal.begin(since)
        except OSError as error:
            problem = f"expected a folder for checkpoints at `{self.folder}`, found: {error.strerror}"
            raise StoreUnavailableError(problem, note="pass `checkpoints`, or set CONSENTLIB_CHECKPOINTS") from error

    def read(self) -> bytes | None:
        try:
            return self._path.read_bytes()
        except FileNotFoundError:
            return None
        except OSError as error:
            raise StoreUnavailableError(f"expected to read the checkpoint, found: {error.strerror}") from error

    def replace(self, old: bytes | None, new: bytes) -> None:
        try:
            self.folder.mkdir(parents=True, exist_ok=True, mode=0o700)
            with locked(self.folder / "lock"):
                if self.read() != old:
                    raise conflict()
                paths = [self.folder / f"checkpoint.{covered_size(new)}", self._path]
                if old is not None and covered_size(old) == covered_size(new):
                    paths.reverse()  # what another key signed too is not among the earlier ones before it is the newest
                for path in paths:
                    write_durably(path, new)
        except OSError as error:
            raise StoreUnavailableError(f"expected to write the checkpoint, found: {error.strerror}") from error

    def history(self) -> list[bytes]:
        found = [one for one in self.folder.glob("checkpoint.*") if one.suffix[1:].isdecimal()]
        try:
            return [one.read_bytes() for one in sorted(found, key=lambda one: int(one.suffix[1:]))]
        except OSError as error:
            raise StoreUnavailableError(f"expected to read the earlier checkpoints, found: {error.strerror}") from error

    def newest_at(self) -> float | None:
        return self._path.stat().st_mtime if self._path.is_file() else None


def conflict() -> CheckpointConflictError:
    """What `replace` raises."""
    return CheckpointConflictError("expected the newest checkpoint to replace, found that another came first")


def covered_size(note: bytes) -> int:
    """How many entries a checkpoint of ours covers."""
    return int(note.split(b"\n", 2)[1])
