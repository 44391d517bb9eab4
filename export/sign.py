"""Sign an artifact: ``python -m export.sign ARTIFACT --key KEY.pem``.

Adds ``model.sig``, a signature as OpenSSF Model Signing defines it, which ``runtime.verify`` and
the ``model_signing`` tool check. Keys come from openssl, see docs/signing.md.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import tyro

from benchmarks.command import run_command
from runtime.errors import ConfigError
from runtime.manifest import MANIFEST_FILE, SIGNATURE_FILE, FileRecord, Manifest
from runtime.signature import (
    import_cryptography,
    pre_authentication,
    signing_algorithm,
    write_bundle,
    write_statement,
)
from runtime.staging import write_text

__all__ = ["SignConfig", "main", "sign_artifact"]


@dataclass(frozen=True, slots=True, kw_only=True)
class SignConfig:
    """Sign an artifact with a private key."""

    artifact: tyro.conf.Positional[Path]
    """Artifact folder; ``model.sig`` is added to it."""
    key: Path
    """Private key in PEM format, on the curve P-256, P-384 or P-521."""
    password_file: Path | None = None
    """File that holds the key's password, where it has one."""
    overwrite: bool = False
    """Replace a signature that is there."""


def sign_artifact(folder: Path, key: Any) -> Manifest:
    """Write ``model.sig`` into an artifact whose files all match its manifest.

    Args:
        folder: The artifact.
        key: An ``EllipticCurvePrivateKey``.

    Raises:
        ArtifactError: the folder is no whole artifact; nothing is signed.
        ConfigError: the key's curve is not one of the standard's.
    """
    algorithm = signing_algorithm(key.public_key())
    manifest = Manifest.load(folder)
    manifest.check_files(folder)
    digests = {name: record.sha256 for name, record in manifest.files.items()}
    digests[MANIFEST_FILE] = FileRecord.of(folder / MANIFEST_FILE).sha256
    payload = write_statement(manifest.id, digests)
    signature = key.sign(pre_authentication(payload), algorithm)
    write_text(folder / SIGNATURE_FILE, write_bundle(payload, signature, key.public_key()))
    return manifest


def main(argv: Sequence[str] | None = None) -> int:
    """Run the command line."""
    return run_command(argv, SignConfig, _work, prog="python -m export.sign")


def _work(config: SignConfig) -> int:
    target = config.artifact / SIGNATURE_FILE
    if target.exists() and not config.overwrite:
        raise ConfigError(f"{target} exists; pass --overwrite to replace it")
    manifest = sign_artifact(config.artifact, _private_key(config))
    print(
        f"wrote {target} ({manifest.id}, version {manifest.version}); next: python -m "
        f"runtime.verify {config.artifact} --key PUBLIC.pem"
    )
    return 0


def _private_key(config: SignConfig) -> Any:
    primitives = import_cryptography()
    from cryptography.exceptions import UnsupportedAlgorithm

    try:
        password = config.password_file and config.password_file.read_bytes().rstrip(b"\r\n")
        return primitives.serialization.load_pem_private_key(config.key.read_bytes(), password)
    except (OSError, ValueError, TypeError, UnsupportedAlgorithm) as error:
        raise ConfigError(
            f"{config.key} cannot be used as a private key: {error}; make one: openssl genpkey "
            "-algorithm EC -pkeyopt ec_paramgen_curve:P-256 -out KEY.pem, or pass --password-file"
        ) from error


if __name__ == "__main__":
    raise SystemExit(main())
