"""Versions of an artifact on disk, and which of them is in use; whole after a ``kill -9`` anywhere.

::

    STORE/versions/NAME/    an artifact, never changed once it is there
    STORE/current           link to the version in use
    STORE/last_good         link to the last one that proved itself
    STORE/state.json        versions that were rejected and why; starts that did not end well

A version appears by a rename, a link changes by a rename, and each step alone leaves a store that
can be started from. What an installer that was killed leaves behind is removed by the next one.
"""

from __future__ import annotations

import os
import re
import shutil
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Final

from .errors import ArtifactError, ConfigError, HeadlightError, IntegrityError
from .manifest import MANIFEST_FILE, SIGNATURE_FILE, Manifest
from .session import SessionOptions
from .staging import file_digest, new_folder, sync
from .trial import trial_load
from .trust import load_manifest
from .version_state import VersionState

__all__ = ["MOST_STARTS", "Versions"]

MOST_STARTS: Final = 3
"""Starts of a version that has not proved itself, before it is given up."""
_CURRENT: Final = "current"
_LAST_GOOD: Final = "last_good"


class Versions:
    """A folder of versions; any process and thread may use it at the same time (POSIX systems).

    Args:
        folder: Made if it does not exist.
        key: Public key whose owner must have signed every version.
        keep: Versions to keep, >= 2, besides the one in use and the last good one.

    Raises:
        ConfigError: the folder cannot be made, or ``keep`` is too small.
    """

    def __init__(self, folder: Path | str, *, key: Path | None = None, keep: int = 3) -> None:
        if keep < 2:
            raise ConfigError(f"keep must be >= 2 versions, got {keep}")
        self.folder = Path(folder)
        self._key = key
        self._keep = keep
        self._versions = self.folder / "versions"
        with self._errors("cannot be made"):
            self._versions.mkdir(parents=True, exist_ok=True)

    @property
    def current(self) -> str | None:
        """Name of the version in use."""
        return self._target(_CURRENT)

    @property
    def last_good(self) -> str | None:
        """Name of the last version that proved itself."""
        return self._target(_LAST_GOOD)

    def path(self, name: str) -> Path:
        """Return the folder of a version."""
        return self._versions / name

    def names(self) -> list[str]:
        """Return all versions, the newest first."""
        found = {path.name: _age(path) for path in self._versions.glob("[!.]*")}
        return sorted(found, key=lambda name: (found[name], name), reverse=True)

    def state(self) -> VersionState:
        """Return what was rejected, and how starts went."""
        return VersionState.load(self.folder)

    def add(
        self,
        artifact: Path | str,
        *,
        trial: SessionOptions | None = None,
        minimum_version: int | None = None,
        again: bool = False,
    ) -> str:
        """Copy an artifact into the store, without using it yet; on any error nothing changes.

        Args:
            artifact: Its folder.
            trial: Load the copy in a child process, in this way, before it counts as a version.
            minimum_version: The lowest version to accept; default: that of the one in use.
            again: Accept it although it was rejected before.

        Returns:
            The version's name, made of its number, its id and its content.

        Raises:
            ArtifactError: no artifact, an older one, or one that was rejected before.
            IntegrityError: a file was changed, or the signature does not hold.
            EngineError: it did not survive the trial.
            ConfigError: the disk is full, or the store cannot be written.
        """
        source = Path(artifact)
        lowest = self._lowest() if minimum_version is None else minimum_version
        with self._errors(f"{source} cannot be installed"), self._locked("install"):
            _remove_leftovers(self._versions)
            manifest = self._verified(source, lowest)
            name = _name(source, manifest)
            rejected = self.state().bad.get(name)
            if rejected is not None and not again:
                raise ArtifactError(
                    f"{source} was rejected before: {rejected}; to use it nevertheless, install it "
                    "again with again=True"
                )
            if not self._there(name):
                with new_folder(self.path(name)) as staged:
                    _copy(source, staged, manifest)
                    if _name(staged, self._verified(staged, lowest)) != name:
                        raise IntegrityError(f"{source} was changed while it was copied")
                    if trial is not None:
                        trial_load(staged, trial)
        return name

    def select(self, name: str) -> None:
        """Use a version from now on, also one that was rejected, and remove the oldest ones.

        Raises:
            ConfigError: there is no such version, or the store cannot be written.
        """
        with self._changing():
            self._point(_CURRENT, name)
            # Afterwards: a start between the steps takes another, as it would have before.
            if name in self.state().bad:
                self.state().without(name).save(self.folder)
        self._tidy()

    def confirm(self, name: str) -> None:
        """Note that a version proved itself.

        Raises:
            ConfigError: there is no such version, or the store cannot be written.
        """
        with self._changing():
            self._point(_LAST_GOOD, name)
            self.state().started("", 0).save(self.folder)

    def reject(self, name: str, reason: str, *, instead: str) -> None:
        """Note that a version is bad, so that it is not taken again, and use another.

        Args:
            name: The bad one.
            reason: Why.
            instead: The version to use.

        Raises:
            ConfigError: there is no such version, or the store cannot be written.
        """
        with self._changing():
            # In this order: a start between the steps finds a version in use that is rejected,
            # and takes another.
            self.state().rejecting(name, reason).save(self.folder)
            if self.last_good == name:
                self._point(_LAST_GOOD, instead)
            if self.current == name:
                self._point(_CURRENT, instead)

    def fallback(self, name: str) -> str | None:
        """Return what to use instead of a version: the last good one, or the newest other."""
        bad = {*self.state().bad, name}
        good = [self.last_good, *self.names()]
        return next((other for other in good if other is not None and other not in bad), None)

    def begin_start(self) -> str:
        """Return the version to start with, counting the start.

        Ends well by ``end_start`` or ``confirm``. A version that has not proved itself is rejected
        after ``MOST_STARTS`` starts that did not. What a killed installer left is removed.

        Raises:
            ConfigError: nothing was installed, or the store cannot be written.
        """
        self._tidy()
        with self._changing():
            _remove_leftovers(self.folder)
            name, state = self.current, self.state()
            if name is not None and name not in state.bad and name == self.last_good:
                return name
            if name is not None and name not in state.bad:
                starts = state.starts + 1 if state.starting == name else 1
                if starts <= MOST_STARTS or self.fallback(name) is None:
                    state.started(name, starts).save(self.folder)
                    return name
                reason = f"{MOST_STARTS} starts in a row did not end well"
                state.rejecting(name, reason).save(self.folder)
            instead = self.fallback(name or "")
            if instead is None:
                raise ConfigError(
                    f"{self.folder} holds no version to start with; install one: python -m "
                    f"runtime.install {self.folder} ARTIFACT"
                )
            self._point(_CURRENT, instead)
            return instead

    def end_start(self) -> None:
        """Note that a start ended well: it was stopped, not killed.

        Raises:
            ConfigError: the store cannot be written.
        """
        with self._changing():
            self.state().started("", 0).save(self.folder)

    def remove(self, name: str) -> None:
        """Remove a version that is neither in use nor the last good one."""
        with self._changing():
            if name not in (self.current, self.last_good):
                self._remove(name)

    # ---- inside -------------------------------------------------------------------------------

    def _target(self, link: str) -> str | None:
        try:
            name = (self.folder / link).readlink().name
        except OSError:
            return None
        return name if self.path(name).is_dir() else None

    def _point(self, link: str, name: str) -> None:
        if not self.path(name).is_dir():
            raise ConfigError(f"{self.folder} holds no version {name!r}; it holds {self.names()}")
        temporary = self.folder / f".{link}.partial"
        temporary.unlink(missing_ok=True)
        temporary.symlink_to(Path("versions", name))
        temporary.replace(self.folder / link)
        sync(self.folder)

    def _lowest(self) -> int:
        try:
            return Manifest.load(self.folder / _CURRENT).version
        except ArtifactError:  # none yet, or it is broken, and then anything that is signed will do
            return 0

    def _verified(self, folder: Path, lowest: int) -> Manifest:
        manifest = load_manifest(folder, key=self._key, minimum_version=lowest)
        manifest.check_files(folder)
        return manifest

    def _there(self, name: str) -> bool:
        """Whether a version is there and whole; removes what is not."""
        path = self.path(name)
        if not path.exists():
            return False
        try:
            self._verified(path, 0)
        except ArtifactError:
            self._remove(name)
            return False
        os.utime(path)  # it counts as new when old ones are removed
        return True

    def _tidy(self) -> None:
        """Remove leftovers and old versions, unless an installer is at work, or it fails."""
        with suppress(OSError), self._locked("install", wait=False):
            _remove_leftovers(self._versions)
            needed = {self.current, self.last_good}
            for name in [name for name in self.names() if name not in needed][self._keep :]:
                self._remove(name)

    def _remove(self, name: str) -> None:
        gone = self._versions / f".{name}.removed.partial"
        shutil.rmtree(gone, ignore_errors=True)
        self.path(name).rename(gone)
        shutil.rmtree(gone, ignore_errors=True)

    @contextmanager
    def _changing(self) -> Iterator[None]:
        with self._errors("cannot be changed"), self._locked("state"):
            yield

    @contextmanager
    def _locked(self, what: str, *, wait: bool = True) -> Iterator[None]:
        """Hold a lock among processes and threads; the system frees it when a process dies.

        Raises:
            BlockingIOError: another holds it, and this one is not to wait.
        """
        try:
            import fcntl
        except ImportError as error:
            raise ConfigError(
                "versions on disk take a POSIX system; open artifacts with Reader.open"
            ) from error
        handle = os.open(
            self.folder / f".{what}.lock", os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o644
        )
        try:
            fcntl.flock(handle, fcntl.LOCK_EX if wait else fcntl.LOCK_EX | fcntl.LOCK_NB)
            yield
        finally:
            os.close(handle)

    @contextmanager
    def _errors(self, what: str) -> Iterator[None]:
        try:
            yield
        except HeadlightError:
            raise
        except OSError as error:
            raise ConfigError(
                f"{self.folder}: {what}: {error}; nothing was changed; make room or mend the rights"
            ) from error


def _name(folder: Path, manifest: Manifest) -> str:
    """The manifest holds the digests of all files, and so its own digest is that of all content."""
    readable = re.sub(r"[^A-Za-z0-9._-]+", "-", manifest.id)[:80]
    return f"{manifest.version}-{readable}-{file_digest(folder / MANIFEST_FILE)[:12]}"


def _copy(source: Path, target: Path, manifest: Manifest) -> None:
    for name in [MANIFEST_FILE, SIGNATURE_FILE, *manifest.files]:
        if name != SIGNATURE_FILE or (source / name).exists():
            shutil.copyfile(source / name, target / name, follow_symlinks=False)


def _age(path: Path) -> int:
    try:
        return path.stat().st_mtime_ns
    except OSError:  # removed meanwhile
        return 0


def _remove_leftovers(folder: Path) -> None:
    """Remove what was left by processes that were killed, while no other can be at work."""
    for path in folder.glob(".*.partial"):
        if path.is_dir() and not path.is_symlink():
            shutil.rmtree(path, ignore_errors=True)
        else:
            path.unlink(missing_ok=True)
