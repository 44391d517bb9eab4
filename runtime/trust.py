"""Manifests that may be trusted: signed by a key, and not older than what is in use."""

from __future__ import annotations

import hashlib
from pathlib import Path

from .errors import ArtifactError, SignatureError
from .manifest import MANIFEST_FILE, SIGNATURE_FILE, Manifest, manifest_text
from .signature import load_public_key, read_signature

__all__ = ["load_manifest", "verify_artifact"]


def load_manifest(folder: Path, *, key: Path | None = None, minimum_version: int = 0) -> Manifest:
    """Read an artifact's manifest, as one that may be trusted where a key is given.

    With a key, the signature covers the manifest and, by its digests, all other files; these
    are compared by ``Manifest.check_files``, which must follow.

    Args:
        folder: The artifact.
        key: Public key in PEM format; None trusts whoever wrote the folder.
        minimum_version: The lowest version to accept, usually that of the artifact in use.

    Raises:
        SignatureError: no signature by this key, or it covers other files than the manifest's.
        ArtifactError: no readable manifest, or an older version.
        ConfigError: the key cannot be used.
        MissingExtraError: cryptography is not installed.
    """
    manifest = Manifest.load(folder) if key is None else _signed_manifest(folder, key)
    if manifest.version < minimum_version:
        raise ArtifactError(
            f"{folder} has version {manifest.version}, older than {minimum_version}, the lowest "
            "that is accepted; to go back on purpose, lower the minimum version"
        )
    return manifest


def verify_artifact(folder: Path, key: Path, *, minimum_version: int = 0) -> Manifest:
    """Return the manifest of an artifact whose signature, version and files are all as they must.

    Raises:
        IntegrityError: no signature by this key, or a file was changed, added or is missing.
        HeadlightError: as ``load_manifest``.
    """
    manifest = load_manifest(folder, key=key, minimum_version=minimum_version)
    manifest.check_files(folder)
    return manifest


def _signed_manifest(folder: Path, key: Path) -> Manifest:
    signed = read_signature(folder, load_public_key(key))
    path = folder / MANIFEST_FILE
    text = manifest_text(folder)  # once: what is hashed here is what is parsed below
    digest = hashlib.sha256(text.encode()).hexdigest()
    if signed.get(MANIFEST_FILE) != digest:
        raise SignatureError(
            f"{path} was changed after {SIGNATURE_FILE} was made (SHA-256 {digest[:12]}..., signed "
            f"{signed.get(MANIFEST_FILE, 'nothing')[:12]}...); get the artifact again"
        )
    manifest = Manifest.from_json(text)
    listed = {name: record.sha256 for name, record in manifest.files.items()}
    if listed != {name: value for name, value in signed.items() if name != MANIFEST_FILE}:
        different = sorted(
            name
            for name in {*listed, *signed} - {MANIFEST_FILE}
            if listed.get(name) != signed.get(name)
        )
        raise SignatureError(
            f"{folder}: manifest and signature disagree about {different}; sign with `python -m "
            "export.sign`, which signs whole artifacts"
        )
    return manifest
