"""The secrets of a ledger: they live in a file of their own, outside the database, readable by its owner alone.

Four keys: `address` keys the addresses, `event` the event ids and their content, `suppression` the rows that stay of
erased addresses, and `signing` is the Ed25519 seed that signs checkpoints. Each has a check value; the ledger keeps it, so
that a wrong file is refused before it does harm. Only the signing key can be rotated: the file then remembers the check value
of the first one, by which the ledger knows it, and the public halves of those before.
"""

from __future__ import annotations

import hmac
import json
import os
import re
from collections.abc import Mapping
from hashlib import sha256
from pathlib import Path
from typing import Any, Final

from attrs import evolve, field, frozen

from consentlib import codec
from consentlib.errors import FormatError, KeyFileError
from consentlib.files import write_durably

PURPOSES: Final = ("address", "event", "suppression", "signing")
_NEXT: Final = "signing.next"
_FORMAT: Final = "consentlib.dev/keys/v1"


@frozen
class Keys:
    """The keys of one ledger, 32 bytes each."""

    address: bytes = field(repr=False)
    event: bytes = field(repr=False)
    suppression: bytes = field(repr=False)
    signing: bytes = field(repr=False)
    next_signing: bytes | None = field(default=None, repr=False)
    """The seed that takes over, while a rotation is under way."""
    retired: tuple[bytes, ...] = ()
    """Public keys of the signing keys before this one, oldest first."""
    first_check: str | None = None
    """The check value of the first signing key; None while there was no other."""

    @classmethod
    def generate(cls) -> Keys:
        """Fresh random keys."""
        return cls(address=os.urandom(32), event=os.urandom(32), suppression=os.urandom(32), signing=os.urandom(32))

    def checks(self) -> dict[str, str]:
        """What the ledger keeps of each key: `key.<purpose>` to its check value, from which no key can be found.

        Of the signing key it is that of the first, for ever.
        """
        found = {f"key.{purpose}": _check(purpose, getattr(self, purpose)) for purpose in PURPOSES}
        return found if self.first_check is None else {**found, "key.signing": self.first_check}

    def prepared(self) -> Keys:
        """These keys with a fresh seed that is to sign next; as they are where there is one."""
        return self if self.next_signing is not None else evolve(self, next_signing=os.urandom(32))

    def advanced(self, public: bytes) -> Keys:
        """These keys with the next signing key in the place of the current one, whose public half stays."""
        if self.next_signing is None:
            raise KeyFileError("expected a prepared signing key, found none")
        return evolve(
            self,
            signing=self.next_signing,
            next_signing=None,
            retired=(*self.retired, public),
            first_check=self.checks()["key.signing"],
        )

    def renamed(self) -> Keys:
        """These keys for a log of another origin, which has had no signing key before."""
        return evolve(self, next_signing=None, retired=(), first_check=None)

    def verify(self, meta: Mapping[str, str]) -> None:
        """Raise `KeyFileError` unless these are the keys the ledger was made with."""
        for name, check in self.checks().items():
            if not hmac.compare_digest(check.encode(), str(meta.get(name)).encode()):
                raise KeyFileError(f"expected the `{name.removeprefix('key.')}` key of this ledger, found another")

    def save(self, path: Path) -> None:
        """Write a new file, mode 0600. Raises `KeyFileError` rather than replace one."""
        try:
            descriptor = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600)
        except FileExistsError:
            raise KeyFileError(f"expected no file at `{path}`, found one; keys are never replaced") from None
        except OSError as error:
            raise KeyFileError(f"expected to write the key file `{path}`, found: {error.strerror}") from None
        with os.fdopen(descriptor, "w") as file:
            file.write(self._text())
            file.flush()
            os.fsync(file.fileno())

    def replace(self, path: Path) -> None:
        """Write the file anew, all at once, in the place of the one that is there: for rotation alone."""
        try:
            write_durably(path.resolve(), self._text().encode())
        except OSError as error:
            raise KeyFileError(f"expected to write the key file `{path}`, found: {error.strerror}") from None

    def _text(self) -> str:
        rows = [_row(one, getattr(self, one)) for one in PURPOSES]
        if self.next_signing is not None:
            rows.append(_row(_NEXT, self.next_signing))
        rotated = {"first": self.first_check, "retired": [one.hex() for one in self.retired]} if self.retired else {}
        return json.dumps({"format": _FORMAT, "keys": rows, **rotated}, indent=1) + "\n"

    @classmethod
    def load(cls, path: Path) -> Keys:
        """Read a file that `save` wrote. Raises `KeyFileError`; its message never holds a key."""
        try:
            found = codec.read(path.read_bytes())
        except OSError as error:
            raise KeyFileError(f"expected a key file at `{path}`, found: {error.strerror}") from None
        except FormatError:
            raise KeyFileError(f"expected a key file at `{path}`, found another file") from None
        try:
            if found["format"] != _FORMAT:
                raise KeyError
            keys = {row["purpose"]: bytes.fromhex(row["key"]) for row in found["keys"]}
            checks = {row["purpose"]: row["check"] for row in found["keys"]}
            retired = tuple(bytes.fromhex(one) for one in found.get("retired", ()))
            first: Any = found["first"] if retired else None
            loaded = cls(
                **{one: keys[one] for one in PURPOSES}, next_signing=keys.get(_NEXT), retired=retired, first_check=first
            )
            intact = all(len(key) == 32 and hmac.compare_digest(_check(one, key), checks[one]) for one, key in keys.items())
            intact = intact and all(len(one) == 32 for one in retired) and (not retired or _is_check(first) is not None)
            if intact and codec.read(loaded._text()) != found:
                raise KeyError
        except (AttributeError, KeyError, TypeError, ValueError):
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


def _row(purpose: str, key: bytes) -> dict[str, str]:
    return {"purpose": purpose, "check": _check(purpose, key), "key": key.hex()}


def _check(purpose: str, key: bytes) -> str:
    return hmac.digest(key, b"consentlib.dev/key-check/v1\n" + purpose.encode(), sha256).hex()[:32]


_is_check: Final = re.compile("[0-9a-f]{32}").fullmatch
"""Whether a text can be a check value. Of a key that is no longer there only the ledger knows whether it is the right one."""
