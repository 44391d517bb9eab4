"""Building an artifact: the steps that every exporter shares.

An exporter only writes its engine file into a staged folder. Here it is given what it needs of the
checkpoint, and its engine is proven (``proof``): loaded as the runtime will load it, compared with
the checkpoint on real crops, given thresholds of its own, and packed with golden vectors and a
manifest. The folder appears only when all of that went well.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Final, Literal

import tyro

from benchmarks.command import run_command, say
from benchmarks.environment import device
from runtime.errors import ConfigError
from runtime.manifest import GOLDEN_FILE, MANIFEST_FILE, FileRecord, Manifest
from runtime.staging import check_free, new_folder
from train.checkpoint import Checkpoint, load_checkpoint
from train.data import CropSet, load_crops
from train.graph import write_graph
from train.lineage import lineage_entry
from train.network import Network
from train.scoring import score

from .parity import GateConfig
from .proof import prove

__all__ = [
    "EngineWriter",
    "ExportConfig",
    "ExportSource",
    "Exporter",
    "export_artifact",
    "run_export",
]

_GOLDEN_TOLERANCE: Final = {"int8": 0.25}
"""Probability difference that a load accepts: integer kernels round differently on every
instruction set, float ones hardly."""
_FLOAT_TOLERANCE: Final = 0.02


@dataclass(frozen=True, slots=True, kw_only=True)
class ExportConfig:
    """Export a checkpoint; its precision was decided in compress."""

    checkpoint: tyro.conf.Positional[Path]
    """Checkpoint to export: float, or quantised by compress.quantize."""
    validation: tuple[Path, ...]
    """Labelled lists of real crops: the gate compares on them, thresholds are fitted on them."""
    output: Path
    """Artifact folder to make."""
    precision: Literal["auto", "fp32", "fp16", "bf16"] = "auto"
    """``auto``: as decided in compress, FP32 or INT8. A float checkpoint may also be computed in
    half precision by an engine that can."""
    decisions: Literal["shared", "own"] = "shared"
    """INT8 decisions to export: those for every engine, or OpenVINO's own (compress.quantize
    --engine-best)."""
    gate: GateConfig = field(default_factory=GateConfig)
    precision_floor: float = 0.999
    """Precision that accepted answers must reach on validation."""
    version: int | None = None
    """Version number of the artifact; the time in seconds where not given."""
    skip_bad: bool = False
    """Leave bad rows out instead of failing."""
    overwrite: bool = False
    """Replace an existing OUTPUT."""


@dataclass(frozen=True, slots=True, kw_only=True)
class ExportSource:
    """What an exporter may build its engine from."""

    config: ExportConfig
    """The command line; of the exporter's own type where ``Exporter.config`` names one."""
    checkpoint: Checkpoint
    network: Network
    """The checkpoint's float network, ready to evaluate."""
    graph: Path
    """The deployed ONNX graph: float, or with INT8 decisions where ``precision`` is ``int8``."""
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


def run_export(argv: Sequence[str] | None, exporter: Exporter) -> int:
    """Run the command line of ``python -m export.ENGINE``; see ``export_artifact``."""

    def work(config: ExportConfig) -> int:
        manifest = export_artifact(config, exporter)
        print(
            f"wrote {config.output} ({manifest.id}); next: python -m runtime.show {config.output}"
        )
        return 0

    return run_command(argv, exporter.config, work, prog=f"python -m export.{exporter.engine}")


def export_artifact(config: ExportConfig, exporter: Exporter) -> Manifest:
    """Export as ``config`` says.

    Raises:
        ParityError: the engine disagrees with the checkpoint; nothing is left behind.
        HeadlightError: bad options, data or checkpoint, or the engine is not installed.
    """
    check_free(config.output, overwrite=config.overwrite)
    checkpoint = load_checkpoint(config.checkpoint)
    precision = exporter.precision(config, checkpoint)
    decided = _decisions(config, checkpoint, exporter.engine)
    crops = load_crops(
        config.validation, checkpoint.schema, checkpoint.input, skip_bad=config.skip_bad
    )
    network = checkpoint.build()
    with new_folder(config.output, overwrite=config.overwrite) as folder:
        graph = decided or folder / "float.onnx.partial"
        if decided is None:
            write_graph(network, checkpoint.schema, checkpoint.input, graph)
        source = ExportSource(
            config=config,
            checkpoint=checkpoint,
            network=network,
            graph=graph,
            precision=precision,
            crops=crops,
        )
        passport = exporter.write(source, folder)
        if decided is None:
            graph.unlink()
        manifest = prove(
            _draft(source, folder, exporter, passport),
            folder,
            crops,
            score(network, crops),
            gate=config.gate,
            precision_floor=config.precision_floor,
        )
        text = manifest.to_json()
        (folder / MANIFEST_FILE).write_text(text, encoding="utf-8")
    say(
        f"gate passed: {manifest.parity['flips']} of {manifest.parity['crops']} answers differ, "
        f"largest probability difference {manifest.parity['max_score_difference']:.4f}"
    )
    return manifest


def _decisions(config: ExportConfig, checkpoint: Checkpoint, engine: str) -> Path | None:
    """Return the graph with the INT8 decisions to export; None for a float checkpoint.

    Raises:
        ConfigError: another engine than OpenVINO was asked for decisions of its own.
        CheckpointError: there are none.
    """
    if config.decisions == "shared":
        return checkpoint.graph if checkpoint.quantised else None
    if engine != "openvino":
        raise ConfigError(f"--decisions own are OpenVINO's; {engine} has the shared ones")
    return checkpoint.own_graph


def _draft(
    source: ExportSource, folder: Path, exporter: Exporter, passport: Mapping[str, str]
) -> Manifest:
    """The manifest before the engine was proven; golden vectors are a placeholder record."""
    config, checkpoint, precision = source.config, source.checkpoint, source.precision
    digest = FileRecord.of(folder / exporter.engine_file)
    files = {path.name: FileRecord.of(path) for path in folder.iterdir()}
    return Manifest(
        id=f"{checkpoint.schema.name}-{precision}-{exporter.engine}-{digest.sha256[:12]}",
        version=int(time.time()) if config.version is None else config.version,
        schema=checkpoint.schema,
        input=checkpoint.input,
        engine=exporter.engine,
        engine_file=exporter.engine_file,
        precision=precision,
        operating=checkpoint.operating,
        golden_tolerance=_GOLDEN_TOLERANCE.get(precision, _FLOAT_TOLERANCE),
        files={**files, GOLDEN_FILE: digest},
        passport={**passport, **_device()},
        lineage={
            **checkpoint.lineage,
            "export": lineage_entry(config, {"checkpoint": checkpoint.digest}),
        },
    )


def _device() -> Mapping[str, str]:
    """Where the engine was made and proven."""
    here = device()
    return {
        key: " ".join(value) if isinstance(value, list) else str(value)
        for key, value in here.items()
        if key in ("arch", "cpu", "flags")
    }
