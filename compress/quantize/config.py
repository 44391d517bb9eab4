"""The typed config of ``compress.quantize``."""

from __future__ import annotations

from dataclasses import dataclass, field
from importlib.util import find_spec
from pathlib import Path
from typing import Annotated, Literal

import tyro

from benchmarks.compare import INT8_FLIPS
from runtime.errors import ConfigError
from runtime.preprocess import InputSpec
from runtime.schema import Schema
from train.assignments import NamedNumbers

from .calibration import Calibration, check_samples, draw_calibration
from .qat import QatConfig

__all__ = ["QuantizeConfig"]


@dataclass(frozen=True, slots=True, kw_only=True)
class QuantizeConfig:
    """Decide the INT8 form of a checkpoint.

    Raises:
        ConfigError: a count or a drop out of range.
    """

    checkpoint: tyro.conf.Positional[Path]
    """Float checkpoint to quantise."""
    calibration: tuple[Path, ...]
    """Lists of real crops of the task; ranges are measured on these and nothing else."""
    validation: tuple[Path, ...]
    """Labelled lists on which the drop is measured."""
    output: Path
    """Checkpoint folder to make. An interrupted training waits in OUTPUT.run and goes on from
    there."""
    samples: int = 300
    """Calibration crops to draw, at least 32."""
    max_drop: Annotated[float | None, tyro.conf.arg(name="max-drop")] = None
    """Largest loss of exact answers, of every reading and of every head, as a share. Where it is
    not given, 0.01 for exact answers and readings, and for a head its own ``drop_budget``. A share
    above 0 that is less than one crop of --validation allows one. Layers go back to float until all
    hold."""
    max_drops: Annotated[NamedNumbers, tyro.conf.arg(name="max-drops")] = field(
        default_factory=dict
    )
    """Those of single heads and readings, or of ``exact``, for example ``colour=0.002``."""
    max_flips: Annotated[float, tyro.conf.arg(name="max-flips")] = INT8_FLIPS
    """Largest share of answers, right or wrong, that may differ from those of the same weights in
    float: what the exporters' gate allows. One of 50 or more crops may, unless it is 0. Layers go
    back to float until it holds; 1 for no such limit."""
    engine: Literal["auto", "onnxruntime", "openvino"] = "auto"
    """Where float and INT8 are timed; ``auto``: OpenVINO where it is installed."""
    engine_best: Annotated[bool, tyro.conf.arg(name="engine-best")] = False
    """Let NNCF decide for OpenVINO alone, too, and measure both; ``export.openvino --decisions
    own`` exports that. What it loses is told, but gives no layer back to float."""
    qat: QatConfig = field(default_factory=QatConfig)
    seed: int = 0
    """Of the draw, and of order and augmentation in training."""
    threads: int = 0
    """Threads of torch and of the measurements of accuracy; 0 for one per core."""
    skip_bad: bool = False
    """Leave bad rows out instead of failing."""
    overwrite: bool = False
    """Replace an existing OUTPUT."""

    def __post_init__(self) -> None:
        drops = [*self.max_drops.values(), *([] if self.max_drop is None else [self.max_drop])]
        check_samples(self.samples)
        if not all(0 <= drop <= 1 for drop in drops):
            raise ConfigError(f"--max-drop and --max-drops must be in [0, 1], got {drops}")
        if not 0 <= self.max_flips <= 1:
            raise ConfigError(f"--max-flips must be in [0, 1], got {self.max_flips}")
        if self.engine_best and self.timed_engine != "openvino":
            raise ConfigError("--engine-best is about OpenVINO: pass --engine openvino")

    def draw(self, schema: Schema, spec: InputSpec) -> Calibration:
        """Draw the calibration crops.

        Raises:
            DataError: as ``draw_calibration``.
        """
        return draw_calibration(
            self.calibration,
            schema,
            spec,
            count=self.samples,
            seed=self.seed,
            skip_bad=self.skip_bad,
        )

    @property
    def timed_engine(self) -> str:
        """The engine to time on."""
        if self.engine != "auto":
            return self.engine
        return "openvino" if find_spec("openvino") else "onnxruntime"
