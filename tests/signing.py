"""Keys to sign with in tests."""

from __future__ import annotations

from pathlib import Path
from typing import NamedTuple

from cryptography.hazmat.primitives import serialization
from cryptography.hazmat.primitives.asymmetric import ec

__all__ = ["KeyPair", "make_keys"]


class KeyPair(NamedTuple):
    """A private key and where both halves lie."""

    key: ec.EllipticCurvePrivateKey
    private: Path
    public: Path


def make_keys(
    folder: Path, name: str = "key", *, curve: ec.EllipticCurve | None = None, password: bytes = b""
) -> KeyPair:
    """Write ``NAME.pem`` and ``NAME.public.pem``; on P-256 unless told."""
    key = ec.generate_private_key(curve or ec.SECP256R1())
    private, public = folder / f"{name}.pem", folder / f"{name}.public.pem"
    locked = serialization.BestAvailableEncryption(password) if password else None
    private.write_bytes(
        key.private_bytes(
            serialization.Encoding.PEM,
            serialization.PrivateFormat.PKCS8,
            locked or serialization.NoEncryption(),
        )
    )
    public.write_bytes(
        key.public_key().public_bytes(
            serialization.Encoding.PEM, serialization.PublicFormat.SubjectPublicKeyInfo
        )
    )
    return KeyPair(key, private, public)
