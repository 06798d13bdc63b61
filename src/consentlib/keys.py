"""The secrets of a ledger: they live in a file of their own, outside the database, readable by its owner alone.

Four keys: `address` keys the addresses, `event` the event ids and their content, `suppression` the rows that stay of
erased addresses, and `signing` is the Ed25519 seed that signs checkpoints. Each has a check value; the ledger keeps it, so
that a wrong file is refused before it does harm.
"""

from __future__ import annotations

import hmac
import json
import os
from collections.abc import Mapping
from hashlib import sha256
from pathlib import Path
from typing import Final

from attrs import field, frozen

from consentlib.errors import KeyFileError

PURPOSES: Final = ("address", "event", "suppression", "signing")
_FORMAT: Final = "consentlib.dev/keys/v1"


@frozen
class Keys:
    """The keys of one ledger, 32 bytes each."""

    address: bytes = field(repr=False)
    event: bytes = field(repr=False)
    suppression: bytes = field(repr=False)
    signing: bytes = field(repr=False)

    @classmethod
    def generate(cls) -> Keys:
        """Fresh random keys."""
        return cls(*(os.urandom(32) for _ in PURPOSES))

    def checks(self) -> dict[str, str]:
        """What the ledger keeps of each key: `key.<purpose>` to its id and check value, from which no key can be found."""
        return {f"key.{purpose}": _check(purpose, getattr(self, purpose)) for purpose in PURPOSES}

    def verify(self, meta: Mapping[str, str]) -> None:
        """Raise `KeyFileError` unless these are the keys the ledger was made with."""
        for name, check in self.checks().items():
            if not hmac.compare_digest(check, meta.get(name, "")):
                raise KeyFileError(f"expected the `{name.removeprefix('key.')}` key of this ledger, found another")

    def save(self, path: Path) -> None:
        """Write a new file, mode 0600. Raises `KeyFileError` rather than replace one."""
        rows = [{"purpose": one, "check": _check(one, getattr(self, one)), "key": getattr(self, one).hex()} for one in PURPOSES]
        text = json.dumps({"format": _FORMAT, "keys": rows}, indent=1) + "\n"
        try:
            descriptor = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600)
        except FileExistsError:
            raise KeyFileError(f"expected no file at `{path}`, found one; keys are never replaced") from None
        except OSError as error:
            raise KeyFileError(f"expected to write the key file `{path}`, found: {error.strerror}") from None
        with os.fdopen(descriptor, "w") as file:
            file.write(text)
            file.flush()
            os.fsync(file.fileno())

    @classmethod
    def load(cls, path: Path) -> Keys:
        """Read a file that `save` wrote. Raises `KeyFileError`; its message never holds a key."""
        try:
            found = json.loads(path.read_text())
        except OSError as error:
            raise KeyFileError(f"expected a key file at `{path}`, found: {error.strerror}") from None
        except ValueError:
            raise KeyFileError(f"expected a key file at `{path}`, found another file") from None
        try:
            if found["format"] != _FORMAT:
                raise KeyError
            keys = {row["purpose"]: bytes.fromhex(row["key"]) for row in found["keys"]}
            checks = {row["purpose"]: row["check"] for row in found["keys"]}
            loaded = cls(**{purpose: keys[purpose] for purpose in PURPOSES})
            intact = all(len(keys[one]) == 32 and hmac.compare_digest(_check(one, keys[one]), checks[one]) for one in PURPOSES)
        except (KeyError, TypeError, ValueError):
            raise KeyFileError(f"expected a key file of version 1 at `{path}`, found another form") from None
        if not intact:
            raise KeyFileError(f"expected a whole key file at `{path}`, found a damaged one")
        return loaded


def load_keys(url: str, keys: str | os.PathLike[str] | None) -> Keys:
    """The keys of a ledger from their file, see `key_path`. Raises `KeyFileError`."""
    path = key_path(url, keys)
    if path is None:
        raise KeyFileError("expected keys for this ledger, found none; pass `keys` or set CONSENTLIB_KEYS")
    return Keys.load(path)


def key_path(url: str, keys: str | os.PathLike[str] | None) -> Path | None:
    """Where the key file of a ledger lies: as said, as CONSENTLIB_KEYS says, or beside an SQLite database; else nowhere."""
    return _place(url, keys, "keys")


def vault_path(url: str, vault: str | os.PathLike[str] | None) -> Path | None:
    """Where the vault of a sealed ledger lies: as `key_path`, with CONSENTLIB_VAULT."""
    return _place(url, vault, "vault")


def _place(url: str, said: str | os.PathLike[str] | None, what: str) -> Path | None:
    said = said if said is not None else os.environ.get(f"CONSENTLIB_{what.upper()}")
    if said:
        return Path(said)
    path = url.removeprefix("sqlite:///")
    return Path(f"{path}.{what}") if path not in ("", url) else None


def _check(purpose: str, key: bytes) -> str:
    return hmac.digest(key, b"consentlib.dev/key-check/v1\n" + purpose.encode(), sha256).hex()[:32]
