"""Running a kit on another machine over SSH, with the system's own ``ssh``.

What the machine needs: a POSIX shell, ``tar`` with gzip, Python 3.10 or newer. Keys, passwords,
jump hosts and ports are the business of ``ssh`` and its configuration.
"""

from __future__ import annotations

import re
import shlex
import subprocess
import tarfile
import tempfile
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path, PurePosixPath
from typing import IO, Final

from benchmarks.command import say
from runtime.errors import ConfigError

from .contents import NAME
from .running import RESULTS

__all__ = ["Remote", "extract_results"]

_PLACE: Final = re.compile(r"/[A-Za-z0-9._/-]+")
_SSH_FAILED: Final = 255
_MOST_BYTES: Final = 1 << 30
"""Of results: another machine must not fill this one's disk."""
_MOST_FILES: Final = 10_000


@dataclass(frozen=True, slots=True, kw_only=True)
class Remote:
    """Another machine.

    Raises:
        ConfigError: a host that ssh would take for an option.
    """

    host: str
    """``user@box``, or what ~/.ssh/config calls it."""
    ssh: Sequence[str] = ("ssh",)
    """The program and its options."""
    python: str = "python3"
    """The interpreter there."""

    def __post_init__(self) -> None:
        if not self.host or self.host.startswith("-") or any(map(str.isspace, self.host)):
            raise ConfigError(
                f"--host must be user@box or a name of ~/.ssh/config, got {self.host!r}"
            )
        if not self.ssh:
            raise ConfigError("--ssh must name a program")

    def run(self, kit: Path, folder: Path) -> int:
        """Copy a kit there, run it, bring its results back and leave nothing behind.

        Args:
            kit: The packed kit.
            folder: An empty folder for the results.

        Returns:
            The exit code of the kit's script.

        Raises:
            ConfigError: ssh or the machine failed.
        """
        place = self._unpack(kit)
        try:
            say(f"{self.host}: measuring in {place}")
            start = f"PYTHON={shlex.quote(self.python)} ./run.sh"
            code = self._call(f"cd {place}/{NAME} && {start}").returncode
            if code == _SSH_FAILED:
                raise ConfigError(f"ssh to {self.host} broke off; its messages stand above")
            self._fetch(place, folder)
        finally:
            self._call(f"rm -rf {place}")
        return code

    def _unpack(self, kit: Path) -> str:
        """Return the folder on the machine that the kit was unpacked into."""
        say(f"{self.host}: copying {kit.stat().st_size / 1e6:.1f} MB")
        # In /var/tmp rather than /tmp, which on small devices is memory.
        make = 'd=$(mktemp -d "${TMPDIR:-/var/tmp}/headlight.XXXXXX") && tar -xzf - -C "$d"'
        with kit.open("rb") as stream:
            done = self._call(f'{make} && echo "$d"', stdin=stream, stdout=subprocess.PIPE)
        place = done.stdout.decode(errors="replace").strip().rpartition("\n")[2]
        if done.returncode or not _PLACE.fullmatch(place) or ".." in place:
            raise ConfigError(
                f"the kit cannot be copied to {self.host} (exit code {done.returncode}, place "
                f"{place!r}); try: {shlex.join([*self.ssh, self.host, 'tar --version'])}"
            )
        return place

    def _fetch(self, place: str, folder: Path) -> None:
        with tempfile.TemporaryFile() as packed:
            done = self._call(f"tar -cf - -C {place}/{NAME} {RESULTS}", stdout=packed)
            if done.returncode:
                raise ConfigError(
                    f"{self.host} has no results (exit code {done.returncode}); what it said "
                    "stands above"
                )
            packed.seek(0)
            extract_results(packed, folder)

    def _call(
        self, command: str, *, stdin: IO[bytes] | None = None, stdout: IO[bytes] | int | None = None
    ) -> subprocess.CompletedProcess[bytes]:
        try:
            return subprocess.run(
                [*self.ssh, self.host, command],
                stdin=subprocess.DEVNULL if stdin is None else stdin,
                stdout=stdout,
                check=False,
            )
        except OSError as error:
            raise ConfigError(f"{self.ssh[0]} cannot be started: {error}") from error


def extract_results(packed: IO[bytes], folder: Path) -> None:
    """Unpack results of another machine into an empty folder: plain files, and not too many.

    Raises:
        ConfigError: it is no tar, or it holds something else.
    """
    used, count = 0, 0
    try:
        with tarfile.open(fileobj=packed) as tar:
            for member in tar:
                place = PurePosixPath(member.name)
                inside = place.parts[:1] == (RESULTS,) and ".." not in place.parts
                used, count = used + member.size, count + 1
                if used > _MOST_BYTES or count > _MOST_FILES:
                    raise ConfigError(f"the results are larger than {_MOST_BYTES >> 20} MiB")
                if not inside or not (member.isdir() or member.isreg()):
                    raise ConfigError(f"the results hold {member.name!r}, which is no plain file")
                content = tar.extractfile(member)
                if content is not None:
                    target = folder.joinpath(*place.parts[1:])
                    target.parent.mkdir(parents=True, exist_ok=True)
                    target.write_bytes(content.read())
    except tarfile.TarError as error:
        raise ConfigError(f"the results are no tar file: {error}") from error
