"""Keys, notes and checkpoints for tests; the seeds are fixed, so that every run sees the same bytes."""

from __future__ import annotations

import os
from collections.abc import Sequence
from pathlib import Path

import pytest
from small_log import ORIGIN

from consentlib.log import Entry, leaf_hash, merkle
from consentlib.log.checkpoint import Checkpoint, open_checkpoint
from consentlib.log.note import Signer, sign_note
from consentlib.signing import sign, signer, verify

VECTORS = Path(os.environ.get("CONSENTLIB_VECTORS", Path(__file__).parents[2] / "../shared/vectors"))
needs_vectors = pytest.mark.skipif(not VECTORS.is_dir(), reason=f"no vectors in {VECTORS}; set CONSENTLIB_VECTORS")

SHOP = signer(ORIGIN, b"shop".ljust(32, b"\0"))
NEXT = signer(ORIGIN, b"next".ljust(32, b"\0"))
WITNESS = signer("witness.example/w1", b"witness".ljust(32, b"\0"))


def root_of(entries: Sequence[Entry]) -> bytes:
    """The root over the entries."""
    return merkle.root([leaf_hash(found.leaf) for found in entries])


def signed(entries: Sequence[Entry], *signers: Signer, origin: str = ORIGIN) -> bytes:
    """The signed note of a checkpoint over the entries, by the shop unless others are named."""
    return sign_note(Checkpoint(origin, len(entries), root_of(entries)).text(), signers or [SHOP], sign)


def checkpoint(entries: Sequence[Entry]) -> Checkpoint:
    """A checkpoint over the entries, opened under the shop's key."""
    return open_checkpoint(signed(entries), [SHOP.verifier], verify)
