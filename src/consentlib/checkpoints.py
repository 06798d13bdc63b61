"""Checkpoints kept and made: what the log committed to, held where a restored or rewritten database can't reach.

A checkpoint store is a second trust domain. Before a new checkpoint is signed, what came since the last one is read back from
committed storage and hashed again, and the tree must extend the last one; a log that is behind or beside its checkpoint was
rolled back, cut or forked, and is not signed.
"""

from __future__ import annotations

import os
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from hashlib import sha256
from pathlib import Path
from typing import ClassVar, Final, Protocol

from consentlib.errors import CheckpointConflictError, FormatError, StoreUnavailableError, VerificationError
from consentlib.keys import Keys
from consentlib.log import commitment, leaf_hash, parse_leaf
from consentlib.log.checkpoint import Checkpoint, open_checkpoint
from consentlib.log.merkle import extend_many, frontier_root
from consentlib.log.note import Signer, sign_note
from consentlib.signing import sign, verify
from consentlib.store.protocol import View

_BATCH: Final = 1_000


class CheckpointStore(Protocol):
    """Keeps the newest checkpoint of one log, as the bytes of a signed note."""

    def prepare(self) -> None:
        """Raise `StoreUnavailableError` unless checkpoints can be kept here: asked before a ledger is made."""
        ...

    def read(self) -> bytes | None:
        """The newest, or None. Raises `StoreUnavailableError`."""
        ...

    def replace(self, old: bytes | None, new: bytes) -> None:
        """Put `new` in the place of `old`, durably, all at once; `CheckpointConflictError` if `old` is not the newest."""
        ...

    def history(self) -> list[bytes]:
        """Every checkpoint that was ever the newest, smallest first."""
        ...


class MemoryCheckpoints:
    """A checkpoint store that is gone with the process: for tests, and for logs that are."""

    _by_url: ClassVar[dict[str, MemoryCheckpoints]] = {}

    def __init__(self) -> None:
        self._all: list[bytes] = []
        self._replacing = threading.Lock()

    @classmethod
    def named(cls, url: str) -> MemoryCheckpoints:
        """That of a named memory ledger, the same each time in a process; a fresh one for an anonymous one."""
        return cls() if url in ("memory:", "memory://") else cls._by_url.setdefault(url, cls())

    def prepare(self) -> None:
        """There is always room."""

    def read(self) -> bytes | None:
        return self._all[-1] if self._all else None

    def replace(self, old: bytes | None, new: bytes) -> None:
        with self._replacing:
            if self.read() != old:
                raise CheckpointConflictError("expected the newest checkpoint to replace, found that another came first")
            self._all.append(new)

    def history(self) -> list[bytes]:
        return list(self._all)


class FileCheckpoints:
    """A checkpoint store in a folder: the file `checkpoint`, and every one that was ever signed as `checkpoint.SIZE`."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder.absolute()
        self._path = self.folder / "checkpoint"

    def prepare(self) -> None:
        try:
            self.folder.mkdir(parents=True, exist_ok=True, mode=0o700)
            with _locked(self.folder / "lock"):
                pass
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
            with _locked(self.folder / "lock"):
                if self.read() != old:
                    raise CheckpointConflictError("expected the newest checkpoint to replace, found that another came first")
                _write(self.folder, new, f"checkpoint.{covered_size(new)}", self._path.name)
        except OSError as error:
            raise StoreUnavailableError(f"expected to write the checkpoint, found: {error.strerror}") from error

    def history(self) -> list[bytes]:
        found = [one for one in self.folder.glob("checkpoint.*") if one.suffix[1:].isdecimal()]
        try:
            return [one.read_bytes() for one in sorted(found, key=lambda one: int(one.suffix[1:]))]
        except OSError as error:
            raise StoreUnavailableError(f"expected to read the earlier checkpoints, found: {error.strerror}") from error


def checkpoint_store(
    url: str, origin: str, keys: Keys, said: CheckpointStore | str | os.PathLike[str] | None
) -> CheckpointStore:
    """The checkpoint store of a ledger: what the caller says, a folder, or the default for its URL."""
    if said is None:
        return MemoryCheckpoints.named(url) if url.startswith("memory:") else FileCheckpoints(default_folder(origin, keys))
    return FileCheckpoints(Path(said)) if isinstance(said, (str, os.PathLike)) else said


def default_folder(origin: str, keys: Keys) -> Path:
    """Where checkpoints lie unless said otherwise: in CONSENTLIB_CHECKPOINTS, or with the user's state (XDG_STATE_HOME).

    Never in the database's own folder: what restores the database must not restore its checkpoint with it. The folder is
    named after the log and its key, so that a ledger that is moved finds it again.
    """
    try:
        said, state = os.environ.get("CONSENTLIB_CHECKPOINTS"), os.environ.get("XDG_STATE_HOME")
        home = Path(said) if said else Path(state or Path.home() / ".local" / "state") / "consentlib"
    except RuntimeError:
        problem = "expected a folder for checkpoints, found no home"
        raise StoreUnavailableError(problem, note="pass `checkpoints`, or set CONSENTLIB_CHECKPOINTS") from None
    tag = sha256(b"consentlib.dev/checkpoints/v1\n" + keys.signing).hexdigest()[:16]
    return home / f"{origin.replace('/', '_')}-{tag}"


def covered_size(note: bytes) -> int:
    """How many entries a checkpoint of ours covers."""
    return int(note.split(b"\n", 2)[1])


def newest(store: CheckpointStore, signer: Signer) -> tuple[bytes | None, Checkpoint | None]:
    """The newest checkpoint, as bytes and opened under the log's own key. Raises `VerificationError`."""
    data = store.read()
    if data is None:
        return None, None
    try:
        return data, open_checkpoint(data, [signer.verifier], verify)
    except FormatError as error:
        problem = f"expected the newest checkpoint to be a signed one, found other bytes: {error}"
        raise VerificationError(problem, level="signature", note=data) from None


def frontier_at(view: View, size: int) -> bytes:
    """The frontier that the tree had at an earlier size, from the stored subtrees. Raises KeyError where one is missing."""
    places = [(level, (size >> level) - 1) for level in range(size.bit_length() - 1, -1, -1) if size >> level & 1]
    found = view.nodes(places)
    return b"".join([found[place] for place in places])


def check_extends(view: View, checkpoint: Checkpoint, origin: str) -> None:
    """Raise `VerificationError` (level `history`) unless the log contains what the checkpoint committed to."""
    head = view.head()
    note = checkpoint.note
    if checkpoint.origin != origin:
        raise VerificationError("expected the checkpoint of this log, found another log's", level="history", checkpoint=note)
    if checkpoint.size > head.size:
        problem = f"expected at least {checkpoint.size} entries, as signed, found {head.size}: the log was rolled back or cut"
        raise VerificationError(problem, level="history", checkpoint=note, tip=head.tip)
    try:
        root = frontier_root(frontier_at(view, checkpoint.size))
    except KeyError:
        root = b""
    if root != checkpoint.root:
        problem = f"expected the root signed for the first {checkpoint.size} entries, found another: the log was rewritten"
        raise VerificationError(problem, level="history", checkpoint=note, root=root)


def rehash(view: View, start: int, frontier: bytes) -> None:
    """Read every entry from `start` back, hash it again, and compare with the head. Raises `VerificationError`."""
    head = view.head()
    tip = view.node(0, start - 1) if start else None
    previous = b""
    hashes: list[bytes] = []
    size = start
    for entry in view.entries(start, head.size):
        try:
            leaf = parse_leaf(entry.leaf)
        except FormatError as error:
            raise VerificationError(str(error), level="chain", index=entry.index, leaf=entry.leaf) from None
        if leaf.index != size + len(hashes) or (tip is not None and leaf.prev != tip):
            problem = f"entry {entry.index}: expected to follow the entry before it, found another"
            raise VerificationError(problem, level="chain", index=entry.index, leaf=entry.leaf, previous_leaf=previous)
        for name, committed in leaf.parts:
            part = entry.parts.get(name)
            if isinstance(part, tuple) and not _opens(leaf.index, name, part, committed):
                problem = f"entry {entry.index}: expected the part `{name}` as committed, found other bytes"
                raise VerificationError(problem, level="content", index=entry.index, leaf=entry.leaf, part=part)
        previous, tip = entry.leaf, leaf_hash(entry.leaf)
        hashes.append(tip)
        if len(hashes) == _BATCH:
            frontier, _ = extend_many(frontier, size, hashes)
            size, hashes = size + len(hashes), []
    frontier, _ = extend_many(frontier, size, hashes)
    size += len(hashes)
    if (size, frontier) != (head.size, head.frontier) or (tip is not None and tip != head.tip):
        problem = "expected the stored head to be the tree over the stored entries, found another"
        found = (size, tip, frontier)
        raise VerificationError(problem, level="chain", leaf=previous, head=(head.size, head.tip, head.frontier), found=found)


def _opens(index: int, name: str, part: tuple[bytes, bytes], committed: bytes) -> bool:
    salt, data = part
    both = isinstance(salt, bytes) and isinstance(data, bytes)
    return both and len(salt) == 32 and commitment(index, name, salt, data) == committed


def make_checkpoint(view: View, store: CheckpointStore, signer: Signer, known: tuple[bytes | None, Checkpoint | None]) -> bytes:
    """Sign the log as the view shows it, after hashing what is new again, and keep the note; gives its bytes.

    `known` is the newest checkpoint, read before the view was opened: another process may record and sign between the two,
    and a checkpoint read later than an older view would pass for one that the log fell behind.

    Raises `VerificationError` where the log does not extend the last checkpoint or does not hash as it should: nothing is
    signed then. `CheckpointConflictError` where another process was first.
    """
    old, last = known
    head = view.head()
    if last is not None:
        check_extends(view, last, signer.name)
        if last.size == head.size and old is not None:
            return old
    start = last.size if last is not None else 0
    rehash(view, start, frontier_at(view, start))
    text = Checkpoint(signer.name, head.size, frontier_root(head.frontier)).text()
    note = sign_note(text, [signer], sign)
    store.replace(old, note)
    return note


def _write(folder: Path, data: bytes, *names: str) -> None:
    """Durably, each file all at once: new ones, flushed, in the place of the old; then the folder that names them."""
    for name in names:
        aside = folder / f"{name}.{os.getpid()}.new"
        descriptor = os.open(aside, os.O_WRONLY | os.O_CREAT | os.O_TRUNC, 0o600)
        try:
            os.write(descriptor, data)
            os.fsync(descriptor)
        finally:
            os.close(descriptor)
        os.replace(aside, folder / name)
    descriptor = os.open(folder, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)


@contextmanager
def _locked(path: Path) -> Iterator[None]:
    """Hold a lock among processes; the operating system lets go of it when the holder dies."""
    import fcntl

    descriptor = os.open(path, os.O_RDWR | os.O_CREAT, 0o600)
    try:
        fcntl.flock(descriptor, fcntl.LOCK_EX)
        try:
            yield
        finally:
            fcntl.flock(descriptor, fcntl.LOCK_UN)  # a child forked meanwhile has the descriptor too, and would hold on
    finally:
        os.close(descriptor)
