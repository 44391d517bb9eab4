"""Check who made an artifact and that nothing of it was changed, without loading its engine.

::

    python -m runtime.verify artifacts/plates --key PUBLIC.pem --minimum-version 1763750000
"""

from __future__ import annotations

import argparse
import sys
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from .errors import ConfigError, HeadlightError
from .printable import printable
from .trust import verify_artifact

__all__ = ["VerifyConfig", "main"]


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


def main(argv: Sequence[str] | None = None) -> int:
    """Run the command; return 0, or 1 after printing ``error: ...``."""
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
        print(f"error: {printable(str(error), lines=True)}", file=sys.stderr)
        return 1
    print(
        f"{config.artifact}: signed by {config.key.name}, version {manifest.version}, "
        f"{len(manifest.files) + 1} files match"
    )
    return 0


if __name__ == "__main__":
    raise SystemExit(main())
