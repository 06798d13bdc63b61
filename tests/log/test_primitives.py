"""What the log stands on, against the Wycheproof vectors: Ed25519 as notes use it, HMAC as keys use it."""

import hmac
import json
from collections.abc import Iterator
from hashlib import sha256
from typing import Any

from hypothesis import given
from hypothesis import strategies as st
from small_note import VECTORS, needs_vectors

from consentlib.addresses import address_key
from consentlib.signing import sign, signer, verify


def published(name: str) -> Iterator[tuple[dict[str, Any], dict[str, Any]]]:
    """Group and test of every vector in a file."""
    for group in json.loads((VECTORS / "wycheproof" / name).read_text())["testGroups"]:
        for test in group["tests"]:
            yield group, test


@needs_vectors
def test_published_signatures() -> None:
    """All 151 Ed25519 vectors get the published verdict, malformed and malleable signatures among them."""
    count = 0
    for group, test in published("ed25519_test.json"):
        key, signature, message = (bytes.fromhex(text) for text in (group["publicKey"]["pk"], test["sig"], test["msg"]))
        assert verify(key, signature, message) == (test["result"] == "valid"), test
        count += 1
    assert count == 151


@given(st.binary(min_size=32, max_size=32), st.binary(max_size=100))
def test_own_signatures(seed: bytes, message: bytes) -> None:
    """What is signed verifies under the signer's public key, and no other message does."""
    made = signer("a", seed)
    assert verify(made.key, sign(seed, message), message)
    assert not verify(made.key, sign(seed, message), message + b"x")


def test_no_key_at_all() -> None:
    """Bytes that are no key, or no signature, verify nothing and raise nothing."""
    assert not verify(b"", bytes(64), b"")
    assert not verify(bytes(31), bytes(64), b"")
    assert not verify(b"\xff" * 32, bytes(64), b"")
    assert not verify(signer("a", bytes(32)).key, b"", b"")


def rfc2104(key: bytes, message: bytes) -> bytes:
    """HMAC-SHA-256 as RFC 2104 defines it."""
    key = (sha256(key).digest() if len(key) > 64 else key).ljust(64, b"\0")
    inner = sha256(bytes(byte ^ 0x36 for byte in key) + message).digest()
    return sha256(bytes(byte ^ 0x5C for byte in key) + inner).digest()


@needs_vectors
def test_published_tags() -> None:
    """All 174 HMAC-SHA-256 vectors get the published verdict, from the standard library and from the definition."""
    count = 0
    for group, test in published("hmac_sha256_test.json"):
        key, message, tag = (bytes.fromhex(test[name]) for name in ("key", "msg", "tag"))
        made = hmac.digest(key, message, "sha256")
        assert made == rfc2104(key, message)
        assert (made[: group["tagSize"] // 8] == tag) == (test["result"] == "valid"), test
        count += 1
    assert count == 174


@given(st.binary(min_size=32, max_size=32), st.text(st.characters(codec="utf-8"), max_size=80))
def test_address_keys(secret: bytes, normal: str) -> None:
    """An address's key is the whole HMAC of its form under the documented prefix."""
    assert address_key(secret, normal) == rfc2104(secret, b"consentlib.dev/address/v1\n" + normal.encode())
