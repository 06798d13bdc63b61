"""How fast the one-file verifier is, on one core: `python tests/benchmarks/standalone.py [--entries N] [--rounds N]`.

Every entry has two parts, of the size a sign-up has. Each round verifies the same export at level `history` in a process of its
own, start of Python included; what counts is the processor time of the best round, because others use the machine too.
"""

from __future__ import annotations

import argparse
import os
import subprocess
import sys
import tempfile
import zipfile
from pathlib import Path

from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey

import consentlib
from consentlib import codec
from consentlib.log import Entry, commitment, encode_leaf, format_line, genesis, leaf_hash, merkle
from consentlib.log.checkpoint import Checkpoint
from consentlib.log.note import Signer, sign_note

SCRIPT = Path(consentlib.__file__).parent / "audit" / "standalone" / "verify.py"
ORIGIN = "littlesteps.dk/consent"
FACTS = codec.encode(
    {
        "address": "a" * 22,
        "form": "footer",
        "ids": ["a" * 22],
        "text": "nl-1",
        "text_hash": "0" * 64,
        "uses": ["marketing_newsletter"],
    }
)
PERSON = codec.encode(
    {"addresses": {"a" * 22: "email:customer-1234@example.dk"}, "ip": "192.0.2.7", "user_agent": "Mozilla/5.0"}
)
TARGET = 100_000


def write(folder: Path, entries: int) -> tuple[Path, list[str]]:
    """A signed export of this many entries, and the arguments that verify it at level `history`."""
    private = Ed25519PrivateKey.generate()
    signer = Signer(ORIGIN, private.private_bytes_raw(), private.public_key().public_bytes_raw())

    def sign(_: bytes, message: bytes) -> bytes:
        return private.sign(message)

    prev, hashes = genesis(ORIGIN), []
    with zipfile.ZipFile(folder / "export.zip", "w", zipfile.ZIP_DEFLATED, compresslevel=1) as archive:
        with archive.open("log.ndjson", "w", force_zip64=True) as file:
            for index in range(entries):
                parts = {"facts": (os.urandom(32), FACTS), "person": (os.urandom(32), PERSON)}
                commitments = {name: commitment(index, name, *part) for name, part in parts.items()}
                leaf = encode_leaf(ORIGIN, index, prev, 1_780_000_000_000 + index, "consent.given", commitments)
                hashes.append(prev := leaf_hash(leaf))
                file.write(format_line(Entry(index, leaf, parts)))
        archive.writestr("checkpoint", sign_note(Checkpoint(ORIGIN, entries, merkle.root(hashes)).text(), [signer], sign))
    half = Checkpoint(ORIGIN, entries // 2, merkle.root(hashes[: entries // 2]))
    (folder / "kept").write_bytes(sign_note(half.text(), [signer], sign))
    return folder / "export.zip", ["--key", str(signer.verifier), "--checkpoint", str(folder / "kept")]


def children_seconds() -> float:
    """Processor time of all child processes that have ended."""
    times = os.times()
    return times.children_user + times.children_system


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--entries", type=int, default=100_000)
    parser.add_argument("--rounds", type=int, default=3)
    asked = parser.parse_args()
    taken = []
    with tempfile.TemporaryDirectory() as folder:
        path, options = write(Path(folder), asked.entries)
        for _ in range(asked.rounds):
            start = children_seconds()
            subprocess.run([sys.executable, "-I", SCRIPT, path, *options], check=True, stdout=subprocess.DEVNULL)
            taken.append(children_seconds() - start)
    rate = asked.entries / min(taken)
    verdict = "reached" if rate >= TARGET else "MISSED"
    print(
        f"verify.py at level history, {asked.entries:,} entries of two parts: {rate:,.0f}/s, target >= {TARGET:,}/s: {verdict}"
    )


if __name__ == "__main__":
    main()
