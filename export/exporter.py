"""What an exporter is, what it is asked for, and what it builds its engine from."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Literal

import tyro

from runtime.errors import ConfigError
from train.checkpoint import Checkpoint
from train.data import CropSet
from train.network import Network

from .parity import GateConfig

__all__ = ["EngineWriter", "ExportConfig", "ExportSource", "Exporter"]


@dataclass(frozen=True, slots=True, kw_only=True)
class ExportConfig:
    """Export a checkpoint; its INT8 form was decided in compress.

    Raises:
        ConfigError: a batch below 1, a version below 0, or a precision outside (0, 1].
    """

    checkpoint: tyro.conf.Positional[Path]
    """Checkpoint to export: float, or quantised by compress.quantize."""
    validation: tuple[Path, ...]
    """Labelled lists of real crops: the gate compares on them, thresholds are fitted on them."""
    output: Path
    """Artifact folder to make."""
    precision: Literal["auto", "fp32", "fp16", "bf16", "dynamic"] = "auto"
    """``auto``: as decided in compress, FP32 or INT8. A float checkpoint may also be computed in
    half precision by an engine that can."""
    decisions: Literal["shared", "own"] = "shared"
    """INT8 decisions to export: those for every engine, or OpenVINO's own (compress.quantize
    --engine-best)."""
    batch: int | None = None
    """Images that the graph takes at once; readers pad to it. Any number where not given."""
    gate: GateConfig = field(default_factory=GateConfig)
    precision_floor: float = 0.999
    """Precision that accepted answers must reach on validation."""
    report: Path | None = None
    """Folder to make for what the gate saw, with a picture of every crop that flipped; also when
    the gate fails."""
    version: int | None = None
    """Version number of the artifact; the time in seconds where not given."""
    skip_bad: bool = False
    """Leave bad rows out instead of failing."""
    overwrite: bool = False
    """Replace an existing OUTPUT and report."""

    def __post_init__(self) -> None:
        if self.batch is not None and self.batch < 1:
            raise ConfigError(f"--batch must be at least 1, got {self.batch}")
        if not 0 < self.precision_floor <= 1:
            raise ConfigError(f"--precision-floor must be in (0, 1], got {self.precision_floor}")
        if self.version is not None and self.version < 0:
            raise ConfigError(f"--version must be >= 0, got {self.version}")


@dataclass(frozen=True, slots=True, kw_only=True)
class ExportSource:
    """What an exporter may build its engine from."""

    config: ExportConfig
    """The command line; of the exporter's own type where ``Exporter.config`` names one."""
    checkpoint: Checkpoint
    network: Network
    """The checkpoint's float network, ready to evaluate."""
    graph: Path
    """The deployed ONNX graph: float, or with INT8 decisions where ``precision`` is ``int8``; of
    fixed batch where ``config`` says so."""
    precision: str
    """What the engine shall compute in, one of ``runtime.manifest.PRECISIONS``."""
    crops: CropSet
    """The crops that the engine will be proven on."""


EngineWriter = Callable[[ExportSource, Path], Mapping[str, str]]
"""(source, staged folder) to the passport; writes the engine files and nothing else."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Exporter:
    """One target of ``python -m export.ENGINE``."""

    engine: str
    """Session that opens the result, a key of ``runtime.session.OPENERS``."""
    engine_file: str
    """The file that ``write`` makes for the session."""
    write: EngineWriter
    precisions: tuple[str, ...] = ("fp32", "int8")
    """What the engine can be built in."""
    config: type[ExportConfig] = ExportConfig
    """Type of the command line."""

    def precision(self, config: ExportConfig, checkpoint: Checkpoint) -> str:
        """Return what the engine shall compute in.

        Raises:
            ConfigError: half precision of a quantised checkpoint, or one that this engine has not.
        """
        decided = "int8" if checkpoint.quantised else "fp32"
        asked = decided if config.precision == "auto" else config.precision
        if checkpoint.quantised and asked != decided:
            raise ConfigError(
                f"{checkpoint.folder} holds INT8 decisions, asked for --precision {asked}; export "
                "the checkpoint that it was quantised from, or leave --precision out"
            )
        if asked not in self.precisions:
            raise ConfigError(
                f"export.{self.engine} builds engines in {', '.join(self.precisions)}, asked for "
                f"{asked}"
            )
        return asked
