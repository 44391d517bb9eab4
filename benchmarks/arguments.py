"""What the commands' options share beyond ``command``: positional folders and their names."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from pathlib import Path
from typing import Final

from runtime.errors import ConfigError

__all__ = ["OUTPUT", "POSITIONAL", "artifact_names", "names_apart"]


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
    return names_apart(whole)


def names_apart(paths: Sequence[Path], *, least: int = 1) -> tuple[str, ...]:
    """Return the last parts of every path, so many that no two are alike.

    Args:
        paths: At least one; all parts are taken where two of them are the same.
        least: Parts to take at least.
    """
    most = max(least, *(len(path.parts) for path in paths))
    for depth in range(least, most + 1):
        names = tuple("/".join(path.parts[-depth:]) for path in paths)
        if len(set(names)) == len(names):
            break
    return names
