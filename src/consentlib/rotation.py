"""Rotating the signing key: the old key vouches for the new one in the log, both sign once, then only the new one signs.

Five steps, each durable before the next: the new seed is in the key file; the log says which key comes next; a checkpoint by
the old key covers that entry; the new key signs the same checkpoint; the key file names the new key as the current one.
Wherever it is cut, doing it again goes on from there.
"""

from __future__ import annotations

import os
from collections.abc import Callable, Mapping
from contextlib import AbstractContextManager

from consentlib.errors import KeyFileError
from consentlib.files import locked
from consentlib.keys import Keys
from consentlib.log.trust import KEY_ADDED
from consentlib.notary import Notary
from consentlib.recorder import Recorder

Appending = Callable[[], AbstractContextManager[Recorder]]


def rotate(notary: Notary, meta: Mapping[str, str], appending: Appending) -> None:
    """Finish the rotation under way in the notary's key file, or make one.

    One process at a time rotates. Raises `KeyFileError` where there is no file or it can't be written, and what signing
    and recording raise.
    """
    path = notary.key_file
    if path is None:
        raise KeyFileError("expected a key file to rotate the signing key in, found keys without one")
    try:
        with locked(path.resolve().parent, os.O_RDONLY):
            keys = Keys.load(path)
            keys.verify(meta)
            notary.adopt(keys)
            notary.sign()  # first of all: what can't be signed now could not be covered later
            keys = keys.prepared()
            keys.replace(path)
            notary.adopt(keys)
            _announce(notary, appending)
            notary.sign()
            notary.hand_over()
            keys = keys.advanced(notary.keys.current.key)
            keys.replace(path)
            notary.adopt(keys)
    except OSError as error:
        raise KeyFileError(f"expected to lock the folder of the key file, found: {error.strerror}") from error


def _announce(notary: Notary, appending: Appending) -> None:
    """Append that the next signing key comes after the current one, unless the log says so."""
    keys = notary.keys
    with appending() as recorder:
        if keys.next is not None and not any(map(keys.introduce, notary.added(recorder.view))):
            facts = {"key": str(keys.next.verifier), "replaces": str(keys.current.verifier)}
            recorder.append(KEY_ADDED, {"occurred_at": recorder.time, **facts})
