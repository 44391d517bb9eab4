"""Check who made an artifact and that nothing of it was changed, without loading its engine.

::

    python -m runtime.verify artifacts/plates --key PUBLIC.pem --minimum-version 1763750000
"""

from __future__ import annotations

import hashlib
import sys
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from .errors import ArtifactError, ConfigError, HeadlightError, SignatureError
from .manifest import MANIFEST_FILE, SIGNATURE_FILE, Manifest, manifest_text
from .signature import load_public_key, read_signature

__all__ = ["VerifyConfig", "load_manifest", "main", "verify_artifact"]


@dataclass(frozen=True, slots=True, kw_only=True)
class VerifyConfig:
    """What to verify.

    Raises:
        ConfigError: a version below 0.
    """

    artifact: Path
    key: Path
    minimum_version: int = 0

    def __post_init__(self) -> None:
        if self.minimum_version < 0:
            raise ConfigError(f"minimum version must be >= 0, got {self.minimum_version}")


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


def main(argv: Sequence[str] | None = None) -> int:
    """Run the command; return 0, or 1 after printing ``error: ...``."""
    import argparse  # readers import this module and parse nothing

    parser = argparse.ArgumentParser(
        prog="python -m runtime.verify", description=(__doc__ or "").partition("\n")[0]
    )
    parser.add_argument("artifact", type=Path, help="artifact folder")
    parser.add_argument("--key", type=Path, required=True, help="public key, PEM")
    parser.add_argument("--minimum-version", type=int, default=0, help="lowest version to accept")
    options = parser.parse_args(argv)
    try:
        config = VerifyConfig(**vars(options))
        manifest = verify_artifact(
            config.artifact, config.key, minimum_version=config.minimum_version
        )
    except HeadlightError as error:
        print(f"error: {error}", file=sys.stderr)
        return 1
    print(
        f"{config.artifact}: signed by {config.key.name}, version {manifest.version}, "
        f"{len(manifest.files) + 1} files match"
    )
    return 0


if __name__ == "__main__":
    raise SystemExit(main())
