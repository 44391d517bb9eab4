"""Building an artifact: the steps that every exporter shares.

An exporter only writes its engine file into a staged folder. Here the engine is loaded as the
runtime will load it, compared with the checkpoint on real crops, given thresholds of its own, and
packed with golden vectors and a manifest. The folder appears only when all of that went well.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Final, Literal

import numpy as np
import tyro

from benchmarks.command import run_command, say
from benchmarks.environment import device
from benchmarks.operating_point import fit_operating_point
from runtime.arrays import Images, Logits
from runtime.errors import ConfigError, ParityError
from runtime.golden import check_golden, write_golden
from runtime.manifest import GOLDEN_FILE, MANIFEST_FILE, FileRecord, Manifest
from runtime.session import SessionOptions, open_session
from runtime.staging import check_free, new_folder
from train.checkpoint import Checkpoint, load_checkpoint
from train.data import CropSet, load_crops
from train.graph import write_graph
from train.lineage import lineage_entry
from train.scoring import score

from .parity import GateConfig, Parity, compare_answers

__all__ = ["ExportConfig", "export_artifact", "run_export"]

_GOLDEN_CROPS: Final = 16
_GOLDEN_TOLERANCE: Final = {"int8": 0.25}
"""Probability difference that a load accepts: integer kernels round differently on every
instruction set, float ones hardly."""
_FLOAT_TOLERANCE: Final = 0.02
_BATCH: Final = 32


@dataclass(frozen=True, slots=True, kw_only=True)
class ExportConfig:
    """Export a checkpoint; its precision was decided in compress."""

    checkpoint: tyro.conf.Positional[Path]
    """Checkpoint to export: float, or quantised by compress.quantize."""
    validation: tuple[Path, ...]
    """Labelled lists of real crops: the gate compares on them, thresholds are fitted on them."""
    output: Path
    """Artifact folder to make."""
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


EngineWriter = Callable[[Path, Path], Mapping[str, str]]
"""(deployed ONNX graph, staged folder) to the passport; writes the engine files."""


def run_export(
    argv: Sequence[str] | None, *, engine: str, engine_file: str, write_engine: EngineWriter
) -> int:
    """Run the command line of ``python -m export.ENGINE``; see ``export_artifact``."""

    def work(config: ExportConfig) -> int:
        manifest = export_artifact(
            config, engine=engine, engine_file=engine_file, write_engine=write_engine
        )
        print(
            f"wrote {config.output} ({manifest.id}); next: python -m runtime.show {config.output}"
        )
        return 0

    return run_command(argv, ExportConfig, work, prog=f"python -m export.{engine}")


def export_artifact(
    config: ExportConfig, *, engine: str, engine_file: str, write_engine: EngineWriter
) -> Manifest:
    """Export as ``config`` says.

    Args:
        config: What to export, and the gate.
        engine: Session that opens the result, a key of ``runtime.session.OPENERS``.
        engine_file: The file that ``write_engine`` makes for the session.
        write_engine: Translates the graph.

    Raises:
        ParityError: the engine disagrees with the checkpoint; nothing is left behind.
        HeadlightError: bad options, data or checkpoint, or the engine is not installed.
    """
    check_free(config.output, overwrite=config.overwrite)
    checkpoint = load_checkpoint(config.checkpoint)
    decided = _decisions(config, checkpoint, engine)
    crops = load_crops(
        config.validation, checkpoint.schema, checkpoint.input, skip_bad=config.skip_bad
    )
    network = checkpoint.build()
    precision = "int8" if checkpoint.quantised else "fp32"
    with new_folder(config.output, overwrite=config.overwrite) as folder:
        graph = decided or folder / "float.onnx.partial"
        if decided is None:
            write_graph(network, checkpoint.schema, checkpoint.input, graph)
        passport = write_engine(graph, folder)
        if decided is None:
            graph.unlink()
        draft = _draft(config, checkpoint, folder, engine, engine_file, precision, passport)
        manifest = _prove(config, draft, folder, crops, score(network, crops))
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
    config: ExportConfig,
    checkpoint: Checkpoint,
    folder: Path,
    engine: str,
    engine_file: str,
    precision: str,
    passport: Mapping[str, str],
) -> Manifest:
    """The manifest before the engine was proven; golden vectors are a placeholder record."""
    digest = FileRecord.of(folder / engine_file)
    files = {path.name: FileRecord.of(path) for path in folder.iterdir()}
    return Manifest(
        id=f"{checkpoint.schema.name}-{precision}-{engine}-{digest.sha256[:12]}",
        version=int(time.time()) if config.version is None else config.version,
        schema=checkpoint.schema,
        input=checkpoint.input,
        engine=engine,
        engine_file=engine_file,
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


def _prove(
    config: ExportConfig, draft: Manifest, folder: Path, crops: CropSet, expected: Logits
) -> Manifest:
    """Run the engine on all crops, judge it, and complete the manifest.

    Raises:
        ParityError: the engine disagrees with the checkpoint or with itself.
    """
    session = open_session(folder, draft, SessionOptions(threads=1))
    try:
        found = _run(session.run, crops)
        names = [f"crop {i} {text}" for i, text in enumerate(crops.texts)]
        parity = compare_answers(draft.schema, expected, found, draft.operating, names)
        parity.require(config.gate, draft.precision)
        golden = crops.images_at(np.arange(min(_GOLDEN_CROPS, len(crops))))
        write_golden(folder / GOLDEN_FILE, golden, session.run(golden))
        operating = fit_operating_point(
            draft.schema,
            found,
            crops.targets,
            precision_floor=config.precision_floor,
            fitted_on=f"{len(crops)} crops, sha256 {crops.digest[:12]}",
        )
        manifest = replace(
            draft,
            operating=operating,
            files={**draft.files, GOLDEN_FILE: FileRecord.of(folder / GOLDEN_FILE)},
            parity=_report(parity, draft, config),
        )
        check_golden(session, manifest, folder)
    finally:
        session.close()
    return manifest


def _report(parity: Parity, draft: Manifest, config: ExportConfig) -> Mapping[str, object]:
    flips_limit, score_limit = config.gate.limits(draft.precision)
    return {
        **parity.to_object(),
        "limits": {"flips": flips_limit, "score_difference": score_limit},
    }


def _run(run: Callable[[Images], Logits], crops: CropSet) -> Logits:
    """Score crops one by one, then in batches: both must give the same scores.

    Raises:
        ParityError: an answer depends on what else is in the batch.
    """
    alone, together = [], []
    for images in crops.image_batches(_BATCH):
        alone += [run(images[i : i + 1]) for i in range(len(images))]
        together.append(run(images))
    single = {name: np.concatenate([part[name] for part in alone]) for name in alone[0]}
    for name, values in single.items():
        other = np.concatenate([part[name] for part in together])
        apart = float(np.abs(values - other).max())
        # Kernels for other batch sizes may add in another order; an answer must not change.
        if not apart <= 0.05 * max(1.0, float(np.abs(values).max())):
            raise ParityError(
                f"head {name!r}: scores of a crop differ by {apart:.4f} between a batch of 1 and "
                f"of {_BATCH}; the engine is not batch-invariant"
            )
    return single
