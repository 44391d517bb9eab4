"""What the commands' options share beyond ``command``: positional folders and their names."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from pathlib import Path
from typing import Final

from runtime.errors import ConfigError

__all__ = ["OUTPUT", "POSITIONAL", "artifact_names"]


def _positional() -> object:
    """Return tyro's marker; without tyro any object will do, ``run_command`` tells what to install.

    Option classes are read by tyro only when a command runs, so they must not need it before.
    """
    try:
        from tyro.conf import Positional
    except ImportError:
        return None
    return Positional


def _output() -> object:
    try:
        from tyro.conf import arg
    except ImportError:
        return None
    return arg(aliases=("-o",))


POSITIONAL: Final = _positional()
"""For ``Annotated[tuple[Path, ...], POSITIONAL]``."""
OUTPUT: Final = _output()
"""For ``Annotated[Path, OUTPUT]``, an ``--output`` that ``-o`` names as well."""


def artifact_names(folders: Sequence[Path]) -> tuple[str, ...]:
    """Return a short name for every folder, none twice: its own, longer only where two share it.

    Raises:
        ConfigError: no folder, or the same one twice.
    """
    if not folders:
        raise ConfigError(
            "name at least one artifact folder, as written by `python -m export.onnx`"
        )
    whole = [folder.resolve() for folder in folders]
    twice = sorted(str(folder) for folder, count in Counter(whole).items() if count > 1)
    if twice:
        raise ConfigError(f"artifacts named twice: {twice}")
    for depth in range(1, max(len(folder.parts) for folder in whole) + 1):
        names = tuple("/".join(folder.parts[-depth:]) for folder in whole)
        if len(set(names)) == len(names):
            return names
    raise AssertionError("distinct resolved paths differ in some part")
