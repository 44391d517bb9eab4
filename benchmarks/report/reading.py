"""Results that commands wrote before: ``result.json`` and the pictures beside it."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

from runtime.errors import DataError
from runtime.strict import parse_json

from .writing import Rows

__all__ = ["ACCURACY", "COMPARE", "LATENCY", "RESULT_FILE", "Result", "find_results", "read_result"]

RESULT_FILE: Final = "result.json"
ACCURACY: Final = "benchmarks.accuracy"
LATENCY: Final = "benchmarks.latency"
COMPARE: Final = "benchmarks.compare"


@dataclass(frozen=True, slots=True)
class Result:
    """A ``result.json``."""

    path: Path
    """The file itself."""
    value: Mapping[str, Any]

    @property
    def command(self) -> str:
        """Which command wrote it."""
        return str(self.value["command"])

    @property
    def title(self) -> str:
        """What it is called."""
        return str(self.value.get("title", self.command))

    @property
    def environment(self) -> Mapping[str, Any]:
        """What ``benchmarks.environment`` said; empty where the command did not ask."""
        found: Mapping[str, Any] = self.value.get("environment") or {}
        return found

    @property
    def device(self) -> Mapping[str, Any]:
        """What it ran on."""
        found: Mapping[str, Any] = self.environment.get("device") or {}
        return found

    @property
    def options(self) -> Mapping[str, Any]:
        """The command's resolved options."""
        found: Mapping[str, Any] = self.value.get("config") or {}
        return found

    @property
    def lead(self) -> str:
        """What its tables show; its title where it does not say."""
        return str(self.value.get("lead") or self.title)

    @property
    def artifacts(self) -> Mapping[str, Mapping[str, Any]]:
        """Name to what was measured; empty for a command that does not measure artifacts."""
        found = self.value.get("artifacts")
        return found if isinstance(found, dict) else {}

    @property
    def reference(self) -> str:
        """Name of the model that others were compared with; empty where none were."""
        names = [*self.artifacts] or [Path(str(self.options.get("old", ""))).name]
        return str(names[0])

    @property
    def verdicts(self) -> Mapping[str, Sequence[Mapping[str, Any]]]:
        """Artifact to verdicts, as ``Verdict.to_object`` wrote them."""
        found: Mapping[str, Sequence[Mapping[str, Any]]] = self.value.get("verdicts") or {}
        return found

    @property
    def tables(self) -> Mapping[str, Rows]:
        """Heading to rows of the headline tables."""
        found: Mapping[str, Rows] = self.value.get("tables") or {}
        return found

    @property
    def pictures(self) -> Mapping[Path, str]:
        """Pictures beside the file, those that are still there, to what they show."""
        named: Mapping[str, str] = self.value.get("pictures") or {}
        # A plain name: a result that came from elsewhere must not name files of this machine.
        beside = {self.path.parent / Path(name).name: text for name, text in named.items()}
        return {path: text for path, text in beside.items() if path.is_file()}


def find_results(path: Path) -> Sequence[Path]:
    """Return the result files that a name stands for, sorted.

    Args:
        path: A result, its folder, or a folder that holds several, such as a kit brought back.
    """
    if path.is_dir() and not (path / RESULT_FILE).is_file():
        return sorted(path.rglob(RESULT_FILE)) or [path / RESULT_FILE]
    return [path]


def read_result(path: Path) -> Result:
    """Read what a command of ``benchmarks`` wrote with ``--output``.

    Args:
        path: ``result.json`` or the folder that holds it.

    Raises:
        DataError: it cannot be read or is no such result.
    """
    file = path / RESULT_FILE if path.is_dir() else path
    try:
        value = parse_json(file.read_text(encoding="utf-8"), str(file), DataError)
    except (OSError, UnicodeDecodeError) as error:
        told = getattr(error, "strerror", None) or error
        raise DataError(
            f"{file} cannot be read: {told}; expected what a command wrote with --output"
        ) from error
    if not isinstance(value, dict) or not isinstance(value.get("command"), str):
        found = json.dumps(sorted(value) if isinstance(value, dict) else value)[:80]
        raise DataError(
            f"{file} is no result of a command of benchmarks: no text under 'command', but {found}"
        )
    return Result(file, value)
