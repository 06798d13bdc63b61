"""Ed25519 (RFC 8032) through `cryptography`, loaded when something is first signed or checked, and the keys of a ledger."""

from __future__ import annotations

from itertools import pairwise

from attrs import frozen

from consentlib.keys import Keys
from consentlib.log.note import Signer, Verifier
from consentlib.log.trust import KeyAdded


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


@frozen
class SigningKeys:
    """The keys that a ledger signs with under its name: `current`, `next` while a rotation is under way, and those before."""

    retired: tuple[Verifier, ...]
    current: Signer
    next: Signer | None

    @classmethod
    def of(cls, origin: str, keys: Keys) -> SigningKeys:
        """Those of a ledger's key file."""
        coming = None if keys.next_signing is None else signer(origin, keys.next_signing)
        return cls(tuple(Verifier(origin, one) for one in keys.retired), signer(origin, keys.signing), coming)

    @property
    def verifiers(self) -> tuple[Verifier, ...]:
        """Their public halves, in the order in which they came."""
        return (*self.retired, self.current.verifier, *([] if self.next is None else [self.next.verifier]))

    def hold(self, added: KeyAdded) -> bool:
        """Whether an entry says no more than that one of these keys came after the one before it."""
        return (added.replaces, added.key) in pairwise(self.verifiers)

    def introduce(self, added: KeyAdded) -> bool:
        """Whether an entry says that the next of these keys comes after the current one."""
        return self.next is not None and (added.replaces, added.key) == (self.current.verifier, self.next.verifier)
