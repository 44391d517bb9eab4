"""What a store of versions remembers besides its folders and links: ``state.json``."""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Final

from .errors import ConfigError
from .staging import read_plain, sync, write_text
from .strict import StrictObject, parse_json

__all__ = ["VersionState"]

_FILE: Final = "state.json"
_LARGEST_BYTES: Final = 1 << 20
_MOST_BAD: Final = 100
_LONGEST_REASON: Final = 1000


@dataclass(frozen=True, slots=True, kw_only=True)
class VersionState:
    """Rejected versions, and starts of one that has not proved itself."""

    bad: Mapping[str, str] = field(default_factory=dict)
    """Rejected version to the reason, the oldest first; at most 100."""
    starting: str = ""
    """The version whose starts are counted."""
    starts: int = 0
    """Its starts that have not ended well, yet."""

    def rejecting(self, name: str, reason: str) -> VersionState:
        """Return the state in which a version is rejected."""
        bad = {**self.without(name).bad, name: reason[:_LONGEST_REASON]}
        return replace(self, bad=dict([*bad.items()][-_MOST_BAD:]))

    def without(self, name: str) -> VersionState:
        """Return the state in which a version is not rejected."""
        return replace(self, bad={bad: why for bad, why in self.bad.items() if bad != name})

    def started(self, name: str, starts: int) -> VersionState:
        """Return the state after this many starts of a version."""
        return replace(self, starting=name, starts=starts)

    def save(self, folder: Path) -> None:
        """Replace the file in one step.

        Raises:
            OSError: it cannot be written.
        """
        value = {"bad": dict(self.bad), "starting": self.starting, "starts": self.starts}
        write_text(folder / _FILE, json.dumps(value, ensure_ascii=False, indent=1) + "\n")
        sync(folder)

    @classmethod
    def load(cls, folder: Path) -> VersionState:
        """Read the file; one that is missing or damaged remembers nothing, and keeps nobody out."""
        try:
            text = read_plain(folder / _FILE, largest_bytes=_LARGEST_BYTES).decode("utf-8")
            with StrictObject(parse_json(text, _FILE, ConfigError), _FILE, ConfigError) as item:
                return cls(
                    bad=item.text_mapping("bad"),
                    starting=item.text("starting"),
                    starts=item.integer("starts"),
                )
        except (OSError, UnicodeDecodeError, ConfigError):
            return cls()
