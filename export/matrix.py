"""Checkpoints x engines x precisions on real crops: ``python -m export.matrix CHECKPOINT...``.

Every checkpoint is exported to every engine in every precision that both have, without a limit at
the gate: what would have failed it is told, not left out. All engines are timed by turns in one
process, one crop a call on one thread. TensorRT's engines run on a GPU only; without one they
become build kits, and TensorRT-RTX still shows that it can build them.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import ExitStack
from dataclasses import asdict, dataclass, replace
from importlib import import_module
from pathlib import Path
from typing import Annotated, Any, Final

import torch

from benchmarks.arguments import POSITIONAL, artifact_names
from benchmarks.command import run_command, say
from benchmarks.environment import environment
from benchmarks.metrics import evaluate
from benchmarks.report import Rows, markdown_table, show_table, to_json
from benchmarks.scenarios import compare_interleaved
from benchmarks.scoring import open_engine
from runtime.arrays import Images, Logits
from runtime.decode import decode
from runtime.errors import ConfigError, HeadlightError
from runtime.manifest import GOLDEN_FILE, Manifest
from runtime.session import Session
from runtime.staging import check_free, new_folder
from train.checkpoint import Checkpoint, load_checkpoint
from train.data import CropSet, load_crops
from train.scoring import score

from .artifact import export_artifact
from .exporter import Exporter
from .parity import GateConfig, compare_answers
from .scoreboard import run_alone
from .trt.cli import EXPORTERS as TENSORRT
from .trt.cli import PROOF_ENGINE, TrtConfig, export_kit, why_not_here
from .trt.kit_files import load_kit

__all__ = ["Cell", "MatrixConfig", "main"]

EXPORTERS: Final[Mapping[str, str]] = {
    "onnx": "export.onnx",
    "openvino": "export.openvino",
    "tflite": "export.tflite.cli",
}
"""Engine to the module with its ``EXPORTER``, for engines that run on any machine."""
ENGINES: Final = (*EXPORTERS, *TENSORRT)


@dataclass(frozen=True, slots=True, kw_only=True)
class MatrixConfig:
    """Export checkpoints to every engine in every precision, and measure what came of it.

    Raises:
        ConfigError: no checkpoint, an unknown engine, or fewer than five rounds.
    """

    checkpoints: Annotated[tuple[Path, ...], POSITIONAL]
    """Float and quantised checkpoints."""
    validation: tuple[Path, ...]
    """Labelled lists: the gate compares on them, thresholds are fitted on them."""
    data: tuple[Path, ...]
    """Test lists; exact answers and flips are counted over all of them together."""
    output: Path
    """Folder to make: matrix.md and matrix.json. The artifacts stay in OUTPUT.artifacts, and those
    that were made of the same checkpoint and validation lists are not exported again."""
    engines: tuple[str, ...] = tuple(EXPORTERS)
    """Engines to export to; also trt and rtx, for TensorRT and TensorRT-RTX."""
    rounds: int = 20
    """Turns of the interleaved timing."""
    overwrite: bool = False
    """Replace an existing OUTPUT."""

    def __post_init__(self) -> None:
        unknown = set(self.engines) - set(ENGINES)
        if not self.checkpoints or unknown or not self.engines or self.rounds < 5:
            raise ConfigError(
                f"need checkpoints, engines among {list(ENGINES)} and at least 5 rounds, got "
                f"{len(self.checkpoints)}, {list(self.engines)} and {self.rounds}"
            )


@dataclass(slots=True, kw_only=True)
class Cell:
    """One checkpoint in one engine and precision, or in torch."""

    checkpoint: str
    engine: str
    precision: str
    problem: str | None = None
    """Why there is no artifact; then nothing below was measured."""
    unproven: str | None = None
    """Why there is a build kit in place of an artifact; then ``engine_bytes`` at most is known."""
    samples: int = 0
    """Crops of the test lists."""
    exact: int = 0
    """Of these, those answered exactly."""
    flips: int = 0
    """Of these, those answered otherwise than by the float checkpoint in torch."""
    max_score_difference: float = 0.0
    """Largest difference of any probability from the float checkpoint in torch."""
    passes: bool = True
    """Whether the gate's usual limits hold on the test lists."""
    engine_bytes: int = 0
    p50_ms: float | None = None
    fallback: str | None = None
    """What the engine runs elsewhere, or in another precision, than asked."""

    @property
    def name(self) -> str:
        """Of its artifact's folder."""
        return f"{self.checkpoint}-{self.engine}-{self.precision}"


def main(argv: Sequence[str] | None = None) -> int:
    """Run the command line."""
    return run_command(argv, MatrixConfig, _work, prog="python -m export.matrix")


def _work(config: MatrixConfig) -> int:
    check_free(config.output, overwrite=config.overwrite)
    torch.set_num_threads(1)
    began = time.strftime("%Y-%m-%d %H:%M UTC", time.gmtime())
    exporters = {engine: _exporter(engine) for engine in config.engines}
    cells, queries = list[Cell](), dict[str, Callable[[], object]]()
    with ExitStack() as engines:
        names = artifact_names(config.checkpoints)
        for name, path in zip(names, config.checkpoints, strict=True):
            reference = _Reference.of(name, load_checkpoint(path), config)
            cells.append(reference.cell)
            queries[reference.cell.name] = reference.query(reference.run)
            for cell, exporter in _kinds(reference, exporters):
                cells.append(cell)
                folder = config.output.with_name(f"{config.output.name}.artifacts") / cell.name
                say(cell.name)
                _export(config, reference, cell, exporter, folder)
                if cell.problem is None and cell.unproven is None:
                    manifest, session = engines.enter_context(open_engine(folder))
                    reference.measure(cell, manifest, session)
                    queries[cell.name] = reference.query(session.run)
        timing: Mapping[str, Any] = {"medians_ms": {}}
        if len(queries) > 1:  # one alone has no turns to take
            say(f"timing {len(queries)} networks")
            timing = compare_interleaved(queries, rounds=config.rounds).to_object()
    for cell in cells:
        cell.p50_ms = timing["medians_ms"].get(cell.name)
    rows = [_row(cell) for cell in cells]
    _write(config, began, rows, {"cells": [asdict(cell) for cell in cells], "timing": timing})
    show_table(f"batch 1, one thread, {began}", rows)
    print(f"wrote {config.output}")
    return 0


@dataclass(frozen=True, slots=True)
class _Reference:
    """A checkpoint in torch: what its engines are compared with."""

    cell: Cell
    checkpoint: Checkpoint
    crops: CropSet
    run: Callable[[Images], Logits]
    logits: Logits
    """Of all ``crops``."""
    proven_on: str
    """Origin of the validation crops."""

    @classmethod
    def of(cls, name: str, checkpoint: Checkpoint, config: MatrixConfig) -> _Reference:
        crops = load_crops(config.data, checkpoint.schema, checkpoint.input)
        network = checkpoint.build()

        def run(images: Images) -> Logits:
            return score(network, images)

        cell = Cell(checkpoint=name, engine="torch", precision="fp32")
        cell.engine_bytes = 4 * sum(parameter.numel() for parameter in network.parameters())
        proven_on = load_crops(config.validation, checkpoint.schema, checkpoint.input).origin
        reference = cls(cell, checkpoint, crops, run, run_alone(run, crops), proven_on)
        reference.count(cell, reference.logits)
        return reference

    def query(self, run: Callable[[Images], Logits]) -> Callable[[], object]:
        """Return a call that answers one crop."""
        image = next(self.crops.image_batches(1))
        return lambda: run(image)

    def measure(self, cell: Cell, manifest: Manifest, session: Session) -> None:
        """Note how an engine answers the test lists."""
        logits = run_alone(session.run, self.crops)
        self.count(cell, logits)
        schema, operating = self.checkpoint.schema, self.checkpoint.operating
        parity = compare_answers(schema, self.logits, logits, operating, self.crops.texts)
        cell.flips = len(parity.flipped)
        cell.max_score_difference = parity.max_score_difference
        cell.passes = parity.within(*GateConfig().limits(cell.precision))
        cell.engine_bytes = sum(
            record.size_bytes for name, record in manifest.files.items() if name != GOLDEN_FILE
        )
        cell.fallback = session.description.get("fallback")

    def count(self, cell: Cell, logits: Logits) -> None:
        """Note how many answers are exact."""
        schema = self.checkpoint.schema
        decoded = decode(schema, logits, self.checkpoint.operating)
        exact = evaluate(schema, decoded, self.crops.targets).exact
        cell.samples, cell.exact = exact.total, exact.hits


def _kinds(
    reference: _Reference, exporters: Mapping[str, Exporter]
) -> Iterator[tuple[Cell, Exporter]]:
    """Yield what a checkpoint can become."""
    for engine, exporter in exporters.items():
        for precision in exporter.precisions:
            if (precision == "int8") == reference.checkpoint.quantised:
                name = reference.cell.checkpoint
                yield Cell(checkpoint=name, engine=engine, precision=precision), exporter


def _exporter(engine: str) -> Exporter:
    if engine in TENSORRT:
        return TENSORRT[engine]
    exporter: Exporter = import_module(EXPORTERS[engine]).EXPORTER
    return exporter


def _export(
    config: MatrixConfig, reference: _Reference, cell: Cell, exporter: Exporter, folder: Path
) -> None:
    """Make an artifact or a build kit unless it is there; note what stood in the way."""
    checkpoint = reference.checkpoint
    if _is_of(lambda: _whole(folder), reference):
        return
    folder.parent.mkdir(parents=True, exist_ok=True)
    wanted: Any = "auto" if cell.precision == "int8" else cell.precision
    asked = exporter.config(
        checkpoint=checkpoint.folder,
        validation=config.validation,
        output=folder,
        precision=wanted,
        gate=GateConfig(max_flips=1.0, max_score_difference=1.0),
        overwrite=True,
    )
    try:
        if isinstance(asked, TrtConfig):
            asked = replace(asked, rtx=cell.engine == "rtx")
            cell.unproven = why_not_here(asked)
            if cell.unproven is not None:
                cell.engine_bytes = _build_only(asked, reference)
                return
        export_artifact(asked, exporter)
    except HeadlightError as error:
        cell.problem = str(error).splitlines()[0]


def _whole(folder: Path) -> tuple[Manifest, str | None]:
    manifest = Manifest.load(folder)
    manifest.check_files(folder)
    return manifest, manifest.operating.fitted_on


def _packed(folder: Path) -> tuple[Manifest, str | None]:
    kit = load_kit(folder)
    return kit.draft, kit.crops.origin


def _is_of(load: Callable[[], tuple[Manifest, str | None]], reference: _Reference) -> bool:
    """Whether there is one of this checkpoint and these crops; what does not load is none."""
    checkpoint = reference.checkpoint
    try:
        made, origin = load()
    except HeadlightError:
        return False
    before = {name: step for name, step in made.lineage.items() if name != "export"}
    export = made.lineage["export"]
    return (
        before == checkpoint.lineage
        and export["inputs"]["checkpoint"] == checkpoint.digest
        and origin == reference.proven_on
    )


def _build_only(asked: TrtConfig, reference: _Reference) -> int:
    """Make a build kit unless it is there; return the bytes of the engine that it could build."""
    if not _is_of(lambda: _packed(asked.output), reference):
        export_kit(asked)
    proof = asked.output / PROOF_ENGINE
    return proof.stat().st_size if proof.is_file() else 0


def _row(cell: Cell) -> Mapping[str, str]:
    row = {"checkpoint": cell.checkpoint, "engine": cell.engine, "precision": cell.precision}
    if cell.problem is not None:
        return {**row, "note": f"no artifact: {cell.problem}"}
    if cell.unproven is not None:
        built = "built, not run" if cell.engine_bytes else "a build kit"
        size = {"MB": f"{cell.engine_bytes / 1e6:.2f}"} if cell.engine_bytes else {}
        return {**row, **size, "note": f"{built}: {cell.unproven}"}
    return {
        **row,
        "exact": f"{cell.exact / cell.samples:.4f}",
        "flips": str(cell.flips),
        "max difference": f"{cell.max_score_difference:.4f}",
        "MB": f"{cell.engine_bytes / 1e6:.2f}",
        "p50 ms": "-" if cell.p50_ms is None else f"{cell.p50_ms:.3f}",
        "note": "; ".join(
            filter(None, ["" if cell.passes else "would fail the gate", cell.fallback])
        ),
    }


def _write(config: MatrixConfig, began: str, rows: Rows, record: Mapping[str, Any]) -> None:
    here = environment()
    device, lists = here["device"], ", ".join("/".join(path.parts[-2:]) for path in config.data)
    text = (
        f"Measured {began} on {device['cpu']}, {device['cores']} cores; batch 1, one thread, "
        f"median of interleaved turns. Exact answers and flips on {lists} together; flips and the "
        "largest difference of a probability are against the same checkpoint's float weights in "
        f"torch.\n\n{markdown_table(rows)}"
    )
    with new_folder(config.output, overwrite=config.overwrite) as folder:
        (folder / "matrix.md").write_text(text, encoding="utf-8")
        written = to_json({"measured": began, "environment": here, **record})
        (folder / "matrix.json").write_text(written, encoding="utf-8")


if __name__ == "__main__":
    raise SystemExit(main())
