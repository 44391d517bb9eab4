"""Who made an artifact: signatures as OpenSSF Model Signing 1.0 defines them, ``model.sig``.

The file is a Sigstore bundle around a DSSE envelope around an in-toto statement, which lists every
file of the folder with its SHA-256. An elliptic-curve key signs the statement's pre-authentication
encoding (DSSE 1.0.0, protocol.md). What the ``model_signing`` tool signs with a key is read here,
and the other way round; verifying takes the ``cryptography`` package, no network and no clock.
"""

from __future__ import annotations

import base64
import hashlib
import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any, Final

from .errors import ConfigError, MissingExtraError, SignatureError
from .manifest import SIGNATURE_FILE
from .staging import read_plain
from .strict import StrictObject, parse_json

__all__ = [
    "import_cryptography",
    "load_public_key",
    "pre_authentication",
    "read_signature",
    "signing_algorithm",
    "write_bundle",
    "write_statement",
]

_PAYLOAD_TYPE: Final = "application/vnd.in-toto+json"
_BUNDLE_TYPE: Final = "application/vnd.dev.sigstore.bundle.v0.3+json"
_STATEMENT_TYPE: Final = "https://in-toto.io/Statement/v1"
_PREDICATE_TYPE: Final = "https://model_signing/signature/v1.0"
_LARGEST_BYTES: Final = 1 << 20
"""Size of a signature that is refused; ours have some 2 kB."""
_HASHES: Final = {"secp256r1": "SHA256", "secp384r1": "SHA384", "secp521r1": "SHA512"}
"""Curves that the standard permits, and the hash that goes with each."""


def import_cryptography() -> Any:
    """Return ``cryptography.hazmat.primitives``, its parts for keys and signatures loaded.

    Raises:
        MissingExtraError: it is not installed.
    """
    try:
        import cryptography.hazmat.primitives.asymmetric.ec
        import cryptography.hazmat.primitives.hashes
        import cryptography.hazmat.primitives.serialization
    except ImportError as error:
        raise MissingExtraError(
            "signatures need the package 'cryptography'; run: pip install 'headlight[verify]'"
        ) from error
    return cryptography.hazmat.primitives


def load_public_key(path: Path) -> Any:
    """Return the ``EllipticCurvePublicKey`` of a PEM file.

    Raises:
        ConfigError: no public key, or not on a curve that the standard permits.
        MissingExtraError: cryptography is not installed.
    """
    primitives = import_cryptography()
    from cryptography.exceptions import UnsupportedAlgorithm

    try:
        key = primitives.serialization.load_pem_public_key(path.read_bytes())
    except (OSError, ValueError, UnsupportedAlgorithm) as error:
        raise ConfigError(
            f"{path} is no public key in PEM format ({error}); make one from the private key: "
            "openssl pkey -in KEY.pem -pubout -out PUBLIC.pem"
        ) from error
    signing_algorithm(key)
    return key


def signing_algorithm(key: Any) -> Any:
    """Return the ``ECDSA`` with the hash that belongs to a key's curve.

    Raises:
        ConfigError: another kind of key.
    """
    primitives = import_cryptography()
    curve = getattr(getattr(key, "curve", None), "name", type(key).__name__)
    if curve not in _HASHES:
        raise ConfigError(
            f"expected a key on one of the curves {', '.join(_HASHES)}, got {curve}; make one: "
            "openssl genpkey -algorithm EC -pkeyopt ec_paramgen_curve:P-256 -out KEY.pem"
        )
    return primitives.asymmetric.ec.ECDSA(getattr(primitives.hashes, _HASHES[curve])())


def pre_authentication(payload: bytes) -> bytes:
    """Return what is signed: DSSE's PAE of the payload and its type."""
    kind = _PAYLOAD_TYPE.encode()
    return b"DSSEv1 %d %s %d %s" % (len(kind), kind, len(payload), payload)


def write_statement(name: str, digests: Mapping[str, str]) -> bytes:
    """Return the in-toto statement about a folder.

    Args:
        name: What the folder is called; for people, never compared.
        digests: File name to SHA-256 as 64 hex digits.
    """
    files = dict(sorted(digests.items()))
    value = {
        "_type": _STATEMENT_TYPE,
        "subject": [{"name": name, "digest": {"sha256": _root_digest(files)}}],
        "predicateType": _PREDICATE_TYPE,
        "predicate": {
            "serialization": {
                "method": "files",
                "hash_type": "sha256",
                "allow_symlinks": False,
                "ignore_paths": [SIGNATURE_FILE],
            },
            "resources": [
                {"name": file, "algorithm": "sha256", "digest": digest}
                for file, digest in files.items()
            ],
        },
    }
    return json.dumps(value, indent=2).encode()


def write_bundle(payload: bytes, signature: bytes, key: Any) -> str:
    """Return the text of ``model.sig``.

    Args:
        payload: A statement.
        signature: Of its ``pre_authentication``, DER.
        key: The public half of the key that signed.
    """
    value = {
        "mediaType": _BUNDLE_TYPE,
        "verificationMaterial": {"publicKey": {"hint": _key_hint(key)}, "tlogEntries": []},
        "dsseEnvelope": {
            "payload": base64.b64encode(payload).decode(),
            "payloadType": _PAYLOAD_TYPE,
            "signatures": [{"sig": base64.b64encode(signature).decode(), "keyid": ""}],
        },
    }
    return json.dumps(value) + "\n"


def read_signature(folder: Path, key: Any) -> Mapping[str, str]:
    """Return what the owner of ``key`` signed: file name to SHA-256 as 64 hex digits.

    Nothing of the statement is looked at before its signature holds.

    Args:
        folder: The artifact; only ``model.sig`` is read.
        key: What ``load_public_key`` returned.

    Raises:
        SignatureError: there is no signature of this standard, or it is not of this key.
    """
    path = folder / SIGNATURE_FILE
    payload, signature, hint = _open_bundle(_read(path), str(path))
    from cryptography.exceptions import InvalidSignature

    try:
        key.verify(signature, pre_authentication(payload), signing_algorithm(key))
    except InvalidSignature as error:
        trusted = _key_hint(key)
        reason = (
            f"it was made with the key {hint[:12]}..., trusted is {trusted[:12]}..."
            if hint not in ("", trusted)
            else "it was changed after it was made, or only claims to be of this key"
        )
        raise SignatureError(
            f"{path} does not hold: {reason}; get the artifact again, or the right public key"
        ) from error
    return _signed_files(payload, str(path))


def _key_hint(key: Any) -> str:
    """The standard's name of a public key: SHA-256 of its PEM text."""
    form = import_cryptography().serialization
    return hashlib.sha256(
        key.public_bytes(form.Encoding.PEM, form.PublicFormat.SubjectPublicKeyInfo)
    ).hexdigest()


def _root_digest(digests: Mapping[str, str]) -> str:
    return hashlib.sha256(b"".join(map(bytes.fromhex, digests.values()))).hexdigest()


def _read(path: Path) -> str:
    try:
        return read_plain(path, largest_bytes=_LARGEST_BYTES).decode()
    except FileNotFoundError as error:
        raise SignatureError(
            f"{path} is missing: nobody signed this artifact; sign it with `python -m "
            "export.sign`, or get the signed one"
        ) from error
    except (OSError, UnicodeDecodeError) as error:
        raise SignatureError(f"{path} cannot be read: {error}; get the artifact again") from error


def _open_bundle(text: str, what: str) -> tuple[bytes, bytes, str]:
    """Return payload, signature and key hint."""
    # Not as context managers: unknown keys are other tools' extensions, and none of it is signed.
    bundle = StrictObject(parse_json(text, what, SignatureError), what, SignatureError)
    material = StrictObject(bundle.mapping("verificationMaterial"), what, SignatureError)
    key = StrictObject(material.mapping("publicKey"), what, SignatureError)
    envelope = StrictObject(bundle.mapping("dsseEnvelope"), what, SignatureError)
    _require(bundle, "mediaType", _BUNDLE_TYPE, what)
    _require(envelope, "payloadType", _PAYLOAD_TYPE, what)
    signatures = envelope.items("signatures")
    if len(signatures) != 1:
        raise SignatureError(f"{what}: expected one signature, got {len(signatures)}")
    signed = StrictObject(signatures[0], what, SignatureError)
    try:
        return (
            base64.b64decode(envelope.text("payload"), validate=True),
            base64.b64decode(signed.text("sig"), validate=True),
            key.optional_text("hint") or "",
        )
    except ValueError as error:  # binascii.Error, or letters outside ASCII
        raise SignatureError(f"{what} is no base64: {error}") from error


def _signed_files(payload: bytes, what: str) -> Mapping[str, str]:
    """Return the files of a statement whose signature holds."""
    try:
        text = payload.decode()
    except UnicodeDecodeError as error:
        raise SignatureError(f"{what}: the statement is not UTF-8: {error}") from error
    value = StrictObject(parse_json(text, what, SignatureError), what, SignatureError)
    predicate = StrictObject(value.mapping("predicate"), what, SignatureError)
    how = StrictObject(predicate.mapping("serialization"), what, SignatureError)
    _require(value, "_type", _STATEMENT_TYPE, what)
    _require(value, "predicateType", _PREDICATE_TYPE, what)
    _require(how, "method", "files", what)
    _require(how, "hash_type", "sha256", what)
    digests: dict[str, str] = {}
    for resource in predicate.items("resources"):
        item = StrictObject(resource, what, SignatureError)
        _require(item, "algorithm", "sha256", what)
        name = item.text("name")
        if name in digests:
            raise SignatureError(f"{what}: file {name!r} is listed twice")
        digests[name] = item.text("digest")
    return digests


def _require(item: StrictObject, key: str, expected: str, what: str) -> None:
    found = item.text(key)
    if found != expected:
        raise SignatureError(f"{what}: {key} is {found!r:.80}, this runtime verifies {expected!r}")
