"""The vault: the keys that parts are sealed under, one a subject, in a database of their own with backups of its own.

Erasing a key erases every copy of what was sealed under it, wherever copies are. So a key must itself leave no copy: it is
overwritten where it stands and its row stays, because a row that SQLite moves leaves its bytes behind in the old place.

Keys of parts that are about to be erased are first condemned: nothing new is sealed under them, and they still open what
is there. Once the store has committed they are erased, or pardoned if it has not.
"""

from __future__ import annotations

import os
import sqlite3
from collections.abc import Collection, Iterable, Iterator, Mapping, Sequence
from contextlib import closing, contextmanager
from pathlib import Path
from typing import Any, Final, NamedTuple, Self

from consentlib.errors import KeyFileError, StoreUnavailableError
from consentlib.store.sqlite_file import SqliteFile, switch_to_wal
from consentlib.store.turn import WAIT

_FORMAT: Final = "consentlib.dev/vault/v1"
_AT_ONCE: Final = 250
_GONE: Final = bytes(32)
_SET_SETTLED: Final = "UPDATE meta SET value = ? WHERE name = 'settled'"

_TABLES: Final = (
    "CREATE TABLE meta (name TEXT PRIMARY KEY, value ANY NOT NULL) STRICT",
    # Rows are only appended and only overwritten by others of the same length: SQLite then never moves one.
    "CREATE TABLE keys (n INTEGER PRIMARY KEY, id BLOB NOT NULL UNIQUE, key BLOB NOT NULL) STRICT",
    "CREATE TABLE owners (owner TEXT PRIMARY KEY, n INTEGER NOT NULL UNIQUE) STRICT, WITHOUT ROWID",
    "CREATE TABLE condemned (n INTEGER PRIMARY KEY, idx INTEGER NOT NULL, owner TEXT) STRICT",
)


class Key(NamedTuple):
    """A key of 32 bytes and its id of 16, which is random."""

    id: bytes
    key: bytes

    def __repr__(self) -> str:
        return f"Key({self.id.hex()})"


class Condemned(NamedTuple):
    """A key whose parts are about to go: its id, the index of one of them, and whose it is (None: the entry's own)."""

    id: bytes
    index: int  # type: ignore[assignment]
    owner: str | None


def discard_unused(path: Path) -> None:
    """Remove a vault that was begun for a ledger that never was. Raises `KeyFileError` for one that holds keys, or no vault."""
    try:
        with closing(sqlite3.connect(f"{path.absolute().as_uri()}?mode=rw", uri=True, timeout=WAIT)) as conn:
            tables = {name for (name,) in conn.execute("SELECT name FROM sqlite_master WHERE type = 'table'")}
            begun = {"meta", "keys", "owners", "condemned"}
            unused = not tables or (tables == begun and not conn.execute("SELECT 1 FROM keys").fetchall())
    except sqlite3.Error as error:
        raise KeyFileError(f"expected a vault at `{path}`, found another file") from error
    if not unused:
        raise KeyFileError(f"expected no file at `{path}`, found one; a vault is never replaced")
    for name in (path.name, f"{path.name}-wal", f"{path.name}-shm"):
        path.with_name(name).unlink(missing_ok=True)


class Vault(SqliteFile):
    """The keys of one sealed store, in an SQLite file of mode 0600. May be shared by threads, processes and after a fork.

    Keys are made, condemned and erased inside the store's write transaction, so that there is one writer; what a method did
    is durable when it returns. Nothing is cached: a key that one process erased is gone for all of them. Raises
    `StoreUnavailableError` where the file can't be read or written.
    """

    id: str

    @classmethod
    def create(cls, path: Path) -> Self:
        """Begin an empty vault in a new file. Raises `KeyFileError` rather than replace one."""
        vault = cls(path.absolute())
        vault.id = os.urandom(16).hex()
        if not vault._make_file():
            raise KeyFileError(f"expected no file at `{path}`, found one; a vault is never replaced")
        try:
            conn = vault._take()
            switch_to_wal(conn)
            vault._give_back(conn)
            with vault._changing() as conn:
                for statement in _TABLES:
                    conn.execute(statement)
                rows = {"format": _FORMAT, "id": vault.id, "settled": 0}
                conn.executemany("INSERT INTO meta VALUES (?, ?)", rows.items())
        except BaseException:
            vault.close()
            path.unlink()
            raise
        return vault

    @classmethod
    def open(cls, path: Path, id: str) -> Self:
        """The vault with this id. Raises `KeyFileError` where there is no file, another file, or another ledger's vault."""
        if not path.is_file():
            raise KeyFileError(
                f"expected the vault of this ledger at `{path}`, found no file",
                note="pass `vault` or set CONSENTLIB_VAULT; without its vault a sealed ledger can only be verified",
            )
        vault = cls(path.absolute())
        try:
            found = dict(vault._rows("SELECT name, value FROM meta"))
        except StoreUnavailableError as error:
            vault.close()
            if getattr(error.__cause__, "sqlite_errorcode", None) in (sqlite3.SQLITE_NOTADB, sqlite3.SQLITE_ERROR):
                raise KeyFileError(f"expected a vault at `{path}`, found another file") from error
            raise
        if found.get("format") != _FORMAT or found.get("id") != id:
            vault.close()
            raise KeyFileError(f"expected the vault of this ledger at `{path}`, found another")
        vault.id = id
        return vault

    def __reduce__(self) -> tuple[Any, ...]:
        """Opened anew where it is unpickled, as the store beside it is."""
        return type(self).open, (self._path, self.id)

    def keys_for(self, owners: Sequence[str | None]) -> list[Key]:
        """A key to seal under for each owner: the one it has, or a new one; for None one that is used once."""
        keys = self._owned([one for one in owners if one is not None])
        new = list(dict.fromkeys(one for one in owners if one is not None and one not in keys))
        made = [Key(os.urandom(16), os.urandom(32)) for _ in range(len(new) + owners.count(None))]
        if made:
            with self._changing() as conn:
                conn.executemany("INSERT INTO keys (id, key) VALUES (?, ?)", made)
                [(last,)] = conn.execute("SELECT max(n) FROM keys").fetchall()
                first = last - len(made) + 1
                conn.executemany("INSERT INTO owners VALUES (?, ?)", [(one, first + at) for at, one in enumerate(new)])
        keys.update(zip(new, made, strict=False))
        single = iter(made[len(new) :])
        return [next(single) if one is None else keys[one] for one in owners]

    def find(self, ids: Collection[bytes]) -> dict[bytes, bytes]:
        """The keys with these ids that are there, erased ones left out."""
        rows = self._among("SELECT id, key FROM keys WHERE id IN", ids)
        return {id: key for id, key in rows if key != _GONE}

    def condemn(self, used: Mapping[bytes, int]) -> None:
        """Seal nothing more under these keys. `used` gives, for each id, the index of a part that is about to go."""
        with self._changing() as conn:
            conn.executemany(
                """INSERT OR REPLACE INTO condemned SELECT k.n, ?, coalesce(o.owner, c.owner) FROM keys AS k
                LEFT JOIN owners AS o ON o.n = k.n LEFT JOIN condemned AS c ON c.n = k.n WHERE k.id = ?""",
                [(index, id) for id, index in used.items()],
            )
            conn.execute("DELETE FROM owners WHERE n IN (SELECT n FROM condemned)")

    def condemned(self) -> list[Condemned]:
        """The keys that wait to be erased or pardoned."""
        return [
            Condemned(*row) for row in self._rows("SELECT k.id, c.idx, c.owner FROM condemned AS c JOIN keys AS k USING (n)")
        ]

    def settled(self) -> int:
        """The size of the log up to which every erasure on record has erased its keys here."""
        [(size,)] = self._rows("SELECT value FROM meta WHERE name = 'settled'")
        return int(size)

    def set_settled(self, size: int) -> None:
        """Note that every erasure on record below this size has erased its keys here."""
        with self._changing() as conn:
            conn.execute(_SET_SETTLED, (size,))

    def settle(self, *, erase: Collection[bytes], size: int) -> None:
        """Erase these keys, pardon what else is condemned, and then `set_settled`."""
        with self._changing() as conn:
            conn.executemany("UPDATE keys SET key = zeroblob(32) WHERE id = ?", [(id,) for id in erase])
            self._close_case(conn, size)

    def keep_only(self, ids: Iterable[bytes], *, size: int) -> None:
        """Erase every key but these, as `settle` does."""
        with self._changing() as conn:
            conn.execute("CREATE TEMP TABLE used (id BLOB PRIMARY KEY) WITHOUT ROWID")
            conn.executemany("INSERT OR IGNORE INTO used VALUES (?)", ((id,) for id in ids))
            conn.execute("UPDATE keys SET key = zeroblob(32) WHERE id NOT IN (SELECT id FROM used)")
            conn.execute("DELETE FROM owners WHERE n IN (SELECT n FROM keys WHERE key = zeroblob(32))")
            self._close_case(conn, size)
            conn.execute("DROP TABLE used")

    def purge(self) -> bool:
        """Let no file hold an erased key. False while something that reads the vault prevents it."""
        return self._truncate_wal()

    def health(self) -> dict[str, Any]:
        """Facts for `doctor`: where it is, its mode, and how many keys it holds and how many of them are condemned."""
        [(count,)] = self._rows("SELECT count(*) FROM keys WHERE key <> zeroblob(32)")
        mode = self._path.stat().st_mode & 0o777
        return {"path": str(self._path), "mode": mode, "keys": count, "condemned": len(self.condemned())}

    def _owned(self, owners: Collection[str]) -> dict[str, Key]:
        rows = self._among("SELECT o.owner, k.id, k.key FROM owners AS o JOIN keys AS k USING (n) WHERE o.owner IN", owners)
        return {owner: Key(id, key) for owner, id, key in rows}

    @staticmethod
    def _close_case(conn: sqlite3.Connection, size: int) -> None:
        # One who got a newer key meanwhile keeps that; the pardoned one opens what was sealed under it.
        conn.execute(
            """INSERT OR IGNORE INTO owners SELECT c.owner, c.n FROM condemned AS c JOIN keys AS k USING (n)
            WHERE c.owner IS NOT NULL AND k.key <> zeroblob(32)"""
        )
        conn.execute("DELETE FROM condemned")
        conn.execute(_SET_SETTLED, (size,))

    def _rows(self, sql: str, values: Sequence[Any] = ()) -> list[Any]:
        conn = self._take()
        try:
            rows = conn.execute(sql, values).fetchall()
        except sqlite3.Error as error:
            self._drop(conn)
            self._fail(error)
        self._give_back(conn)
        return rows

    def _among(self, sql: str, values: Collection[Any]) -> Iterator[Any]:
        each = list(dict.fromkeys(values))
        width = 1 if len(each) == 1 else _AT_ONCE  # two statements in all, so that SQLite has each prepared
        for start in range(0, len(each), width):
            some = each[start : start + width]
            yield from self._rows(f"{sql} ({', '.join('?' * width)})", (*some, *[None] * (width - len(some))))

    @contextmanager
    def _changing(self) -> Iterator[sqlite3.Connection]:
        """A transaction: durable when the block is left, undone by an exception."""
        with self._turn:
            conn = self._take()
            try:
                conn.execute("BEGIN IMMEDIATE")
                yield conn
                conn.execute("COMMIT")
            except BaseException as error:
                self._drop(conn)
                if isinstance(error, sqlite3.Error):
                    self._fail(error)
                raise
            self._give_back(conn)
