"""Draft a description of a bare model: what its file tells, with marks where a person must say.

The draft goes to stdout. Complete it beside the model; then commands take it like an artifact::

    python -m benchmarks.foreign plates.onnx --schema latin-plate > plates.toml
    python -m benchmarks.accuracy plates.toml --data test.tsv

Given a description, it is checked against its model instead.

Exit codes: 0 done, 1 error, 2 usage.
"""

from __future__ import annotations

import sys
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, Final

from benchmarks.arguments import POSITIONAL
from benchmarks.command import run_command, say
from runtime.errors import ConfigError
from runtime.schema import load_schema
from runtime.session import SessionOptions

from .description import ENGINES_BY_SUFFIX
from .drafting import draft
from .graph_opening import open_graph
from .opening import open_foreign

__all__ = ["ForeignConfig", "describe", "main"]

PROG: Final = "python -m benchmarks.foreign"


@dataclass(frozen=True, slots=True, kw_only=True)
class ForeignConfig:
    """Draft a description of a bare model, or check one."""

    model: Annotated[Path, POSITIONAL]
    """ONNX, OpenVINO IR (.xml), TFLite or TensorRT engine; or a description (.toml, .json)."""
    schema: str | None = None
    """Its heads and labels: a built-in name or a JSON file; needed for a model."""
    engine: str | None = None
    """Engine to open it with; told by the suffix if not given."""


def describe(config: ForeignConfig) -> int:
    """Run the command.

    Returns:
        The exit code.

    Raises:
        HeadlightError: anything that a user can mend.
    """
    if config.model.suffix in (".toml", ".json"):
        manifest, session = open_foreign(config.model, SessionOptions())
        facts = session.description
        session.close()
        say(f"{config.model} fits its model: {manifest.id}")
        sys.stdout.write("".join(f"{name}: {text}\n" for name, text in facts.items()))
        return 0
    engine = config.engine or ENGINES_BY_SUFFIX.get(config.model.suffix)
    if engine is None:
        raise ConfigError(
            f"{config.model}: the suffix does not tell the engine; known are "
            f"{', '.join(ENGINES_BY_SUFFIX)}; pass --engine"
        )
    if config.schema is None:
        raise ConfigError(
            "--schema is needed: no model tells its labels; a built-in name, or a JSON file with "
            "heads and labels in the order that the model was trained with"
        )
    schema = load_schema(config.schema)
    graph = open_graph(engine, config.model, SessionOptions())
    try:
        sys.stdout.write(draft(config.model, engine, graph, schema, config.schema))
    finally:
        graph.close()
    say(f"complete every TODO, keep it as {config.model.with_suffix('.toml')}")
    return 0


def main(argv: Sequence[str] | None = None) -> int:
    """Parse the command line and describe; return the exit code."""
    return run_command(argv, ForeignConfig, describe, prog=PROG)
