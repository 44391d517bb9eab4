"""Install an artifact into a store of versions, which a running gateway then takes up.

::

    python -m runtime.install /var/lib/plates artifacts/plates-2 --key PUBLIC.pem
    python -m runtime.install /var/lib/plates --rollback "reads nothing at night"
    python -m runtime.install /var/lib/plates    # what is there
"""

from __future__ import annotations

import argparse
import sys
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from .errors import ConfigError, HeadlightError
from .printable import printable
from .session import SessionOptions
from .versions import Versions

__all__ = ["InstallConfig", "install", "main"]


@dataclass(frozen=True, slots=True, kw_only=True)
class InstallConfig:
    """What to do with a store.

    Raises:
        ConfigError: an artifact and a rollback at a time, or a version below 0.
    """

    store: Path
    artifact: Path | None = None
    key: Path | None = None
    minimum_version: int | None = None
    threads: int = 1
    again: bool = False
    rollback: str | None = None

    def __post_init__(self) -> None:
        if self.artifact is not None and self.rollback is not None:
            raise ConfigError("give an artifact to install or --rollback, not both")
        if self.minimum_version is not None and self.minimum_version < 0:
            raise ConfigError(f"minimum version must be >= 0, got {self.minimum_version}")


def install(config: InstallConfig) -> str | None:
    """Install, roll back or only look; return the name of the version that is in use then.

    Raises:
        HeadlightError: as ``Versions.add``; or there is no version to go back to.
    """
    if config.artifact is None and not config.store.is_dir():
        raise ConfigError(f"{config.store} is no store; name an artifact to begin one")
    versions = Versions(config.store, key=config.key)
    if config.artifact is not None:
        name = versions.add(
            config.artifact,
            trial=SessionOptions(threads=config.threads),
            minimum_version=config.minimum_version,
            again=config.again,
        )
        versions.select(name)
    elif config.rollback is not None:
        bad = versions.current
        instead = versions.fallback(bad or "")
        if bad is None or instead is None:
            raise ConfigError(f"{config.store} holds no version to go back to")
        versions.reject(bad, config.rollback, instead=instead)
    return versions.current


def _table(store: Path) -> str:
    versions = Versions(store)
    bad, current, last_good = versions.state().bad, versions.current, versions.last_good
    lines = []
    for name in versions.names():
        marks = [m for m, yes in (("current", name == current), ("good", name == last_good)) if yes]
        if name in bad:
            marks.append(f"rejected: {bad[name]}")
        lines.append(f"{name}  {', '.join(marks)}".rstrip())
    return "\n".join(lines) or "no versions"


def main(argv: Sequence[str] | None = None) -> int:
    """Run the command; return 0, or 1 after printing ``error: ...``."""
    parser = argparse.ArgumentParser(
        prog="python -m runtime.install", description=(__doc__ or "").partition("\n")[0]
    )
    parser.add_argument("store", type=Path, help="folder of versions; made if need be")
    parser.add_argument("artifact", type=Path, nargs="?", help="artifact folder")
    parser.add_argument("--key", type=Path, help="public key (PEM) whose owner must have signed")
    parser.add_argument(
        "--minimum-version", type=int, help="lowest version to accept; default: the one in use"
    )
    parser.add_argument("--threads", type=int, default=1, help="of the trial load")
    parser.add_argument("--again", action="store_true", help="even if it was rejected before")
    parser.add_argument("--rollback", metavar="REASON", help="reject the version in use")
    try:
        config = InstallConfig(**vars(parser.parse_args(argv)))
        name = install(config)
    except HeadlightError as error:
        print(f"error: {printable(str(error), lines=True)}", file=sys.stderr)
        return 1
    if config.artifact is None and config.rollback is None:
        print(_table(config.store))
    else:
        print(f"{config.store}: {name} is in use from now on; running readers that poll take it up")
    return 0


if __name__ == "__main__":
    raise SystemExit(main())
