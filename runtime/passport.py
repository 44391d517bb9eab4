"""The passport of an engine: whether it may be loaded here, and whether it does what it promised.

Some engines run only where they were built: on that GPU, with that version. Their exporters write
conditions into ``passport``, keys that begin with ``requires_``; the loader compares these with the
facts of the host before the engine sees the file. Other engines load anywhere and may then quietly
compute in another precision than asked: ``fallback`` puts that into words.
"""

from __future__ import annotations

import shlex
from collections.abc import Iterator, Mapping, Sequence
from typing import Any, Final

from .errors import EngineError
from .manifest import Manifest

__all__ = [
    "KIT",
    "OPTIONS",
    "QUANTISED_LAYERS",
    "REQUIRES",
    "check_passport",
    "fallback",
    "precisions_text",
    "rebuild_command",
]

REQUIRES: Final = "requires_"
"""Prefix of the passport's conditions; the rest is a key of the host's facts."""
QUANTISED_LAYERS: Final = "quantised_layers"
"""Passport key: how many layers the decisions of compress quantise, as a decimal number."""
KIT: Final = "kit_sha256"
"""Passport key: digest of the ``kit.json`` of the build kit that the engine was built from."""
_COMMANDS: Final[Mapping[str, tuple[str, ...]]] = {"rtx": ("export.trt", "--rtx")}
"""What builds an engine, where it is not ``export.ENGINE``."""
_EXPECTED: Final[Mapping[str, tuple[str, ...]]] = {"int8": ("int8", "fp32")}
"""Precisions that layers may have, where these are more than the artifact's own."""
OPTIONS: Final[Mapping[str, object]] = {
    "precision": "auto",
    "decisions": "shared",
    "batch": None,
    "gate.max_flips": None,
    "gate.max_score_difference": None,
    "precision_floor": 0.999,
    "skip_bad": False,
    "profile": [1, 8, 32],
    "workspace_mb": 1024,
    "opt_level": None,
    "dla": None,
    "io": "float",
    "calibration": [],
}
"""Options of the exporters that decide what an engine is, and their defaults. Without ``target``:
who builds anew has another TensorRT, whose rules shall hold."""


def check_passport(manifest: Manifest, facts: Mapping[str, str]) -> None:
    """Fail unless the host is one that the engine was built for.

    Args:
        manifest: Its passport holds the conditions.
        facts: What this host has for the engine, as its session module's ``host_facts`` tells.

    Raises:
        EngineError: a condition is not met; the message says how to build the engine here.
    """
    wanted = {
        key.removeprefix(REQUIRES): value
        for key, value in manifest.passport.items()
        if key.startswith(REQUIRES)
    }
    differ = [
        f"{name} {value} (this host: {facts.get(name, 'none')})"
        for name, value in wanted.items()
        if facts.get(name) != value
    ]
    if differ:
        raise EngineError(
            f"{manifest.id}: the {manifest.engine} engine runs only with {' and '.join(differ)}; "
            f"build it here: {rebuild_command(manifest)}"
        )


def rebuild_command(manifest: Manifest) -> str:
    """Return the command that builds the artifact's engine again, as its lineage tells."""
    if KIT in manifest.passport:
        return "python -m export.trt.kit KIT --output NEW"
    module, *words = _COMMANDS.get(manifest.engine, (f"export.{manifest.engine}",))
    words += _export_options(manifest.lineage)
    return shlex.join(["python", "-m", module, *words]) + " --output NEW"


def _export_options(lineage: Mapping[str, Any]) -> Iterator[str]:
    # The lineage is free form and somebody else's: whatever is not as we write it is left out.
    entry = lineage.get("export")
    config = entry.get("config") if isinstance(entry, dict) else None
    config = config if isinstance(config, dict) else {}
    checkpoint, lists = config.get("checkpoint"), config.get("validation")
    yield _word(checkpoint) or "CHECKPOINT"
    yield "--validation"
    known = [_word(item) for item in lists] if isinstance(lists, list) else []
    yield from [word for word in known if word] or ["LIST"]
    for name, default in OPTIONS.items():
        value = _option(config, name, default)
        flag = f"--{name.replace('_', '-')}"
        if default is False:
            yield from [flag] if value is True else []
        elif value != default and (words := _words(value)):
            yield from (flag, *words)


def _option(config: Mapping[str, Any], name: str, default: object) -> object:
    first, _, second = name.partition(".")
    value = config.get(first, default)
    if second:
        return value.get(second, default) if isinstance(value, dict) else default
    return value


def _words(value: object) -> Sequence[str]:
    values = value if isinstance(value, list) else [value]
    words = [str(item) if type(item) is float else _word(item) for item in values]
    return words if all(words) else []


def _word(value: object) -> str:
    text = str(value) if type(value) in (str, int) else ""
    return text if text.isprintable() else ""


def precisions_text(layers: Mapping[str, int]) -> str:
    """Return what the layers of a loaded graph compute in: ``int8``, or ``20 int8, 2 fp32``.

    Args:
        layers: Precision to the number of convolutions and matrix products computed in it.
    """
    if len(layers) == 1:
        return next(iter(layers))
    return ", ".join(f"{count} {name}" for name, count in sorted(layers.items())) or "unknown"


def fallback(precision: str, passport: Mapping[str, str], layers: Mapping[str, int]) -> str:
    """Say which layers compute in another precision than asked; empty where none does.

    An INT8 graph has float layers on purpose; that it has more than decided is what is told.

    Args:
        precision: What the artifact promises, one of ``runtime.manifest.PRECISIONS``.
        passport: Of the artifact; ``quantised_layers`` counts the layers decided to be INT8.
        layers: Precision to the number of convolutions and matrix products computed in it; empty
            where the engine does not tell.
    """
    total = sum(layers.values())
    counted = passport.get(QUANTISED_LAYERS, "")
    decided = int(counted) if counted.isdecimal() and len(counted) < 7 else 0
    found = []
    missing = decided - layers.get("int8", 0)
    if precision == "int8" and layers and missing > 0:
        found.append(f"{missing} of {decided} quantised layers run in float")
    for name, count in sorted(layers.items()):
        if name not in _EXPECTED.get(precision, (precision,)):
            found.append(f"{count} of {total} layers run in {name}, not {precision}")
    return "; ".join(found)
