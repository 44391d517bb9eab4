"""Pack artifacts, crops and a budget for a device without internet, or measure there over SSH.

With ``--output DIR`` alone: ``DIR/headlight-kit.tar.gz``, to be copied to the device by any means.
There: ``tar -xzf headlight-kit.tar.gz``, then ``headlight-kit/run.sh``; bring
``headlight-kit/results`` back. The same inputs give the same file.

With ``--host user@box`` as well: the kit is copied, run and removed there, and ``DIR`` holds the
results. See docs/jetson.md.

Exit codes: 0 done, 1 error or a limit broken, 2 usage, 3 inconclusive.
"""

from __future__ import annotations

import shlex
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Annotated, Final

from benchmarks.arguments import OUTPUT, POSITIONAL, artifact_names
from benchmarks.command import run_command, say
from runtime.errors import ConfigError
from runtime.staging import check_free, new_folder, scratch_folder

from .contents import NAME, Settings
from .packing import Parts, pack, write_tar
from .remote import Remote

__all__ = ["KitConfig", "main", "make_kit"]

PROG: Final = "python -m benchmarks.kit"
ARCHIVE: Final = f"{NAME}.tar.gz"


@dataclass(frozen=True, slots=True, kw_only=True)
class KitConfig:
    """Pack what a device needs to measure artifacts, or measure there over SSH."""

    artifacts: Annotated[tuple[Path, ...], POSITIONAL]
    """Artifact folders, or descriptions of bare models; the first is the reference."""
    data: Path
    """Crops to measure with: all of them are packed. With labels, accuracy is measured, too."""
    output: Annotated[Path, OUTPUT]
    """New folder for the kit; with --host, for the results."""
    validation: Path | None = None
    """Labelled crops to fit thresholds on, on the device."""
    budget: Path | None = None
    """Limits (docs/budgets.md) to judge by."""
    wheels: Path | None = None
    """Folder of wheels (numpy, OpenCV, an engine) for a device that lacks them."""
    settings: Settings = field(default_factory=Settings)
    """How to measure."""
    host: str | None = None
    """Measure on this machine: user@box."""
    ssh: str = "ssh"
    """Program and options, for instance "ssh -p 2222"."""
    python: str = "python3"
    """Interpreter on the machine."""
    overwrite: bool = False
    """Replace the output folder."""


def make_kit(config: KitConfig) -> int:
    """Run the command.

    Returns:
        0, or the exit code of the run on the other machine.

    Raises:
        HeadlightError: anything that a user can mend.
    """
    check_free(config.output, overwrite=config.overwrite)
    remote, parts = _remote(config), _parts(config)
    with (
        new_folder(config.output, overwrite=config.overwrite) as folder,
        scratch_folder("headlight-kit-") as scratch,
    ):
        unpacked = scratch / NAME
        unpacked.mkdir()
        pack(parts, unpacked)
        archive = (folder if remote is None else scratch) / ARCHIVE
        write_tar(unpacked, archive)
        code = 0 if remote is None else remote.run(archive, folder)
    if remote is None:
        say(
            f"wrote {config.output}; next: copy {config.output / ARCHIVE} to the device, there: "
            f"tar -xzf {ARCHIVE} && {NAME}/run.sh"
        )
    else:
        say(f"wrote {config.output}; next: python -m benchmarks.report {config.output}")
    return code


def _remote(config: KitConfig) -> Remote | None:
    if config.host is None:
        return None
    try:
        ssh = shlex.split(config.ssh)
    except ValueError as error:
        raise ConfigError(f"--ssh {config.ssh!r}: {error}") from error
    return Remote(host=config.host, ssh=ssh, python=config.python)


def _parts(config: KitConfig) -> Parts:
    names = artifact_names(config.artifacts)
    return Parts(
        artifacts=dict(zip(names, config.artifacts, strict=True)),
        data=config.data,
        validation=config.validation,
        budget=config.budget,
        wheels=config.wheels,
        settings=config.settings,
    )


def main(argv: Sequence[str] | None = None) -> int:
    """Parse the command line and pack or measure; return the exit code."""
    return run_command(argv, KitConfig, make_kit, prog=PROG)
