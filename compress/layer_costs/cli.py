"""Measure what layers cost: ``python -m compress.layer_costs CHECKPOINT --engine E --output F``.

The file is for ``python -m compress.slim --costs``, on this machine or on another one. It may also
be made with another engine's own tools: docs/layer-costs.md.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, Final, Literal

import tyro

from benchmarks.arguments import POSITIONAL
from benchmarks.command import run_command
from benchmarks.report import show_table
from compress.slim.groups import find_groups
from runtime.errors import ConfigError
from train.checkpoint import load_checkpoint
from train.network import channel_plan

from .latency import LatencyModel, measure_costs

__all__ = ["LayerCostsConfig", "main", "measure"]

PROG: Final = "python -m compress.layer_costs"
_SHOWN: Final = 12


@dataclass(frozen=True, slots=True, kw_only=True)
class LayerCostsConfig:
    """Time a network's layers at several widths, and the whole network."""

    checkpoint: Annotated[Path, POSITIONAL]
    """Checkpoint folder: its layers, at its input size, are what is timed."""
    engine: Literal["onnxruntime", "openvino"]
    """Engine of this machine; one crop, one thread, FP32."""
    output: Annotated[Path, tyro.conf.arg(aliases=("-o",))]
    """JSON file to write; its folder is made."""
    round_to: int = 8
    """Multiples of channels to measure at: as --round-to of slimming."""
    overwrite: bool = False
    """Replace an existing file."""

    def __post_init__(self) -> None:
        if self.round_to < 1:
            raise ConfigError(f"--round-to must be >= 1, got {self.round_to}")


def measure(config: LayerCostsConfig) -> LatencyModel:
    """Measure and write the file.

    Raises:
        HeadlightError: the file exists or cannot be made, or the checkpoint or engine cannot be
            used.
    """
    if config.output.is_dir() or (config.output.exists() and not config.overwrite):
        raise ConfigError(f"{config.output} exists; give --overwrite or another --output")
    source = load_checkpoint(config.checkpoint)
    try:  # before minutes of timing
        config.output.parent.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise ConfigError(f"{config.output} cannot be made: {error}; choose another") from error
    groups = find_groups(source.build(), source.input)
    model = measure_costs(source, groups, config.engine, round_to=config.round_to)
    model.table.write(config.output)
    return model


def main(argv: Sequence[str] | None = None) -> int:
    """Run the command line."""
    return run_command(argv, LayerCostsConfig, _work, prog=PROG)


def _work(config: LayerCostsConfig) -> int:
    model = measure(config)
    plan = channel_plan(load_checkpoint(config.checkpoint).build())
    costs = sorted(model.by_layer(plan).items(), key=lambda entry: -entry[1])
    total = model.predict(plan)
    show_table(
        f"Where {total:.3f} ms go",
        [
            {"layer": name, "ms": f"{ms:.3f}", "share": f"{ms / total:.1%}"}
            for name, ms in costs[:_SHOWN]
        ],
    )
    print(
        f"wrote {config.output}; next: python -m compress.slim {config.checkpoint} "
        f"--costs {config.output} --speedup 2 --help"
    )
    return 0
