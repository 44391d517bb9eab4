"""What lies in a kit, and ``kit.json``, which names every file with its digest."""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any, Final

from runtime.errors import ConfigError
from runtime.file_records import FileRecord
from runtime.staging import write_text
from runtime.strict import StrictObject

__all__ = ["INDEX", "LISTS", "NAME", "Contents", "Settings", "read_contents"]

VERSION: Final = 1
NAME: Final = "headlight-kit"
"""The folder that a kit unpacks to."""
INDEX: Final = "kit.json"
LISTS: Final[Mapping[str, str]] = {"data": "crops", "validation": "validation"}
"""What crops are for, to the folder that holds them."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Settings:
    """How to measure on the device; the options of ``benchmarks.latency``.

    Raises:
        ConfigError: a number that cannot be.
    """

    threads: int = 1
    """Threads of the engine."""
    duration: float = 5.0
    """Least seconds per scenario."""
    cold_starts: int = 11
    """Fresh processes to time the first answer of."""
    tries: int = 3
    """Measure again, at most this often, while other processes keep the device busy."""

    def __post_init__(self) -> None:
        counts = min(self.threads, self.tries) >= 1 and self.cold_starts >= 0
        if not (counts and 0 < self.duration < 3600):
            raise ConfigError(
                "--threads and --tries must be >= 1, --cold-starts >= 0 and --duration in "
                f"(0, 3600), got {self}"
            )


@dataclass(frozen=True, slots=True, kw_only=True)
class Contents:
    """What ``kit.json`` says."""

    artifacts: Mapping[str, str]
    """Name to its path in the kit: a folder, or the description of a bare model."""
    labelled: bool
    """Whether the crops have labels, so that accuracy can be measured."""
    validation: bool
    """Whether there are crops to fit thresholds on."""
    budget: str | None
    """Path of the budget in the kit."""
    settings: Settings
    files: Mapping[str, FileRecord]
    """Path to size and digest of every other file."""

    def write(self, folder: Path) -> None:
        """Write ``kit.json``."""
        value = {
            "kit": VERSION,
            "artifacts": dict(self.artifacts),
            "labelled": self.labelled,
            "validation": self.validation,
            "budget": self.budget,
            "settings": asdict(self.settings),
            "files": {name: _record(record) for name, record in sorted(self.files.items())},
        }
        write_text(folder / INDEX, json.dumps(value, ensure_ascii=False, indent=1) + "\n")


def _record(record: FileRecord) -> Mapping[str, Any]:
    return {"size_bytes": record.size_bytes, "sha256": record.sha256}


def read_contents(folder: Path) -> Contents:
    """Read ``kit.json`` and check that every file is as it was packed.

    Raises:
        ConfigError: it cannot be read, or a file was changed or is missing.
    """
    try:
        value = json.loads((folder / INDEX).read_text(encoding="utf-8"))
    except (OSError, ValueError) as error:
        raise ConfigError(
            f"{folder / INDEX} cannot be read: {error}; unpack the kit again"
        ) from error
    with StrictObject(value, INDEX, ConfigError) as top:
        if top.integer("kit") != VERSION:
            raise ConfigError(f"{folder / INDEX}: this script reads kits of version {VERSION}")
        with StrictObject(dict(top.mapping("settings")), "settings", ConfigError) as given:
            settings = Settings(
                threads=given.integer("threads"),
                duration=given.number("duration"),
                cold_starts=given.integer("cold_starts"),
                tries=given.integer("tries"),
            )
        contents = Contents(
            artifacts={str(name): str(path) for name, path in top.mapping("artifacts").items()},
            labelled=top.flag("labelled"),
            validation=top.flag("validation"),
            budget=top.optional_text("budget"),
            settings=settings,
            files={name: _parsed(name, item) for name, item in top.mapping("files").items()},
        )
    changed = [name for name, record in contents.files.items() if not _same(folder / name, record)]
    if changed:
        raise ConfigError(
            f"{len(changed)} files of the kit are missing or not as they were packed, the first is "
            f"{changed[0]}; copy and unpack it again"
        )
    return contents


def _parsed(name: str, value: object) -> FileRecord:
    with StrictObject(value, name, ConfigError) as item:
        return FileRecord(item.integer("size_bytes"), item.text("sha256"))


def _same(path: Path, record: FileRecord) -> bool:
    return path.is_file() and FileRecord.of(path) == record
