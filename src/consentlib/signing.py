"""Ed25519 (RFC 8032) through `cryptography`, loaded when something is first signed or checked."""

from __future__ import annotations

from consentlib.log.note import Signer


def sign(seed: bytes, message: bytes) -> bytes:
    """The signature of 64 bytes under a private seed of 32."""
    from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey

    return Ed25519PrivateKey.from_private_bytes(seed).sign(message)


def verify(key: bytes, signature: bytes, message: bytes) -> bool:
    """Whether the signature holds under a public key of 32 bytes."""
    from cryptography.exceptions import InvalidSignature
    from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PublicKey

    try:
        Ed25519PublicKey.from_public_bytes(key).verify(signature, message)
    except (InvalidSignature, ValueError):
        return False
    return True


def signer(name: str, seed: bytes) -> Signer:
    """The signer of a name with a private seed."""
    from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey

    return Signer(name, seed, Ed25519PrivateKey.from_private_bytes(seed).public_key().public_bytes_raw())
