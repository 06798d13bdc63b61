"""Where the checkpoints of a ledger lie: where the caller says, or by default outside the database's folder."""

from __future__ import annotations

import os
from pathlib import Path
from typing import Final

from consentlib.checkpoints.stores import CheckpointStore, FileCheckpoints, MemoryCheckpoints
from consentlib.errors import InputError, StoreUnavailableError
from consentlib.keys import Keys

_SQLITE: Final = "sqlite:///"


def checkpoint_store(
    url: str, origin: str, keys: Keys, said: CheckpointStore | str | os.PathLike[str] | None
) -> CheckpointStore:
    """The checkpoint store of a ledger: what the caller says, a folder, a database (`sqlite:///`), or the default for its URL.

    Raises `InputError` for the ledger's own database.
    """
    if said is None and url.startswith("memory:"):
        return MemoryCheckpoints.named(url)
    if said is None:
        said = os.environ.get("CONSENTLIB_CHECKPOINTS", "")
        if not said.startswith("sqlite:"):
            return FileCheckpoints(default_folder(origin, keys))
    if isinstance(said, str) and said.startswith("sqlite:"):
        return _in_database(url, said, log_name(origin, keys))
    return FileCheckpoints(Path(said)) if isinstance(said, (str, os.PathLike)) else said


def _in_database(url: str, said: str, log: str) -> CheckpointStore:
    from consentlib.checkpoints.sqlite import SqliteCheckpoints

    path = Path(said.removeprefix(_SQLITE))
    if not said.startswith(_SQLITE) or not path.name or path.name == ":memory:":
        raise InputError("expected `sqlite:///` and the path of a file for the checkpoints, found another form of URL")
    if url.startswith(_SQLITE) and Path(url.removeprefix(_SQLITE)).resolve() == path.resolve():
        raise InputError("expected checkpoints in another database than the ledger's, found the same")
    return SqliteCheckpoints(path, log)


def default_folder(origin: str, keys: Keys) -> Path:
    """Where checkpoints lie unless said otherwise: in CONSENTLIB_CHECKPOINTS, or with the user's state (XDG_STATE_HOME).

    Never in the database's own folder: what restores the database must not restore its checkpoint with it.
    """
    try:
        said, state = os.environ.get("CONSENTLIB_CHECKPOINTS"), os.environ.get("XDG_STATE_HOME")
        home = Path(said) if said else Path(state or Path.home() / ".local" / "state") / "consentlib"
    except RuntimeError:
        problem = "expected a folder for checkpoints, found no home"
        raise StoreUnavailableError(problem, note="pass `checkpoints`, or set CONSENTLIB_CHECKPOINTS") from None
    return home / log_name(origin, keys)


def log_name(origin: str, keys: Keys) -> str:
    """What a log's checkpoints are called among those of others: after its name and the check value of its first signing key.

    Neither ever changes, so that a ledger that is moved or whose key is rotated finds them again.
    """
    return f"{origin.replace('/', '_')}-{keys.checks()['key.signing'][:16]}"
