"""Building an artifact: the steps that every exporter shares.

An exporter only writes its engine file into a staged folder. Here it is given what it needs of the
checkpoint, and its engine is proven: first that its outputs are the right heads (``probe``), then
(``proof``), loaded as the runtime will load it, that it gives the answers of the checkpoint on real
crops; it gets thresholds of its own, golden vectors and a manifest. The folder appears only when
all of that went well.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import closing, contextmanager
from dataclasses import replace
from pathlib import Path

from benchmarks.command import run_command, say
from benchmarks.operating_point import unfittable
from benchmarks.page import check_jinja
from runtime.errors import ConfigError, HeadlightError
from runtime.manifest import MANIFEST_FILE, Manifest
from runtime.session import SessionOptions, open_session
from runtime.staging import check_free, holds, new_folder, scratch_folder
from train.checkpoint import Checkpoint, load_checkpoint
from train.data import load_crops
from train.graph import write_graph
from train.network import Network
from train.scoring import score

from .drafts import draft_manifest, source_facts
from .exporter import EngineWriter, ExportConfig, Exporter, ExportSource
from .fixed_batch import fix_batch
from .gate_report import write_gate_report
from .parity import Parity
from .probe import check_probe, make_probe, tells_in_8_bits
from .proof import prove

__all__ = [
    "EngineWriter",
    "ExportConfig",
    "ExportSource",
    "Exporter",
    "export_artifact",
    "new_source",
    "run_export",
]


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
        ParityError: the engine disagrees with the checkpoint; nothing is left behind but the
            report that was asked for.
        HeadlightError: bad options, data or checkpoint, or the engine is not installed.
    """
    if config.report is not None:
        _check_apart(config.output, config.report)
        check_free(config.report, overwrite=config.overwrite)
        check_jinja()
    with new_source(config, exporter) as (source, folder):
        _check_outputs(source, exporter)
        passport = {**exporter.write(source, folder), **source_facts(source)}
        manifest = _prove(draft_manifest(source, folder, exporter, passport), source, folder)
        (folder / MANIFEST_FILE).write_text(manifest.to_json(), encoding="utf-8")
    say(
        f"gate passed: {manifest.parity['flips']} of {manifest.parity['crops']} answers differ, "
        f"largest probability difference {manifest.parity['max_score_difference']:.4f}"
    )
    if "fallback" in manifest.passport:
        say(f"note: {manifest.passport['fallback']}")
    return manifest


def _check_apart(output: Path, report: Path) -> None:
    """Fail where one folder is in the other, which would be replaced with all that is in it."""
    if holds(output, report) or holds(report, output):
        raise ConfigError(
            f"--report {report} and --output {output} must be apart: an artifact holds nothing but "
            "its own files; choose another report"
        )


@contextmanager
def new_source(config: ExportConfig, exporter: Exporter) -> Iterator[tuple[ExportSource, Path]]:
    """Yield what to build from, and a staged folder that becomes ``config.output`` at the end.

    Raises:
        HeadlightError: bad options, data or checkpoint.
    """
    check_free(config.output, overwrite=config.overwrite)
    checkpoint = load_checkpoint(config.checkpoint)
    precision = exporter.precision(config, checkpoint)
    decided = _decisions(config, checkpoint, exporter.engine)
    crops = load_crops(
        config.validation, checkpoint.schema, checkpoint.input, skip_bad=config.skip_bad
    )
    for note in unfittable(checkpoint.schema, crops.targets):
        say(f"note: {note}")
    network = checkpoint.build()
    with (
        new_folder(config.output, overwrite=config.overwrite) as folder,
        scratch_folder() as scratch,
    ):
        source = ExportSource(
            config=config,
            checkpoint=checkpoint,
            network=network,
            graph=_graph(config, checkpoint, network, decided, scratch),
            precision=precision,
            crops=crops,
        )
        yield source, folder


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


def _graph(
    config: ExportConfig,
    checkpoint: Checkpoint,
    network: Network,
    decided: Path | None,
    scratch: Path,
) -> Path:
    """Return the ONNX graph to export, of fixed batch where that was asked for."""
    graph = decided or scratch / "float.onnx"
    if decided is None:
        write_graph(network, checkpoint.schema, checkpoint.input, graph)
    return _of_batch(config.batch, graph, scratch)


def _of_batch(batch: int | None, graph: Path, scratch: Path) -> Path:
    if batch is None:
        return graph
    fix_batch(graph, scratch / "fixed.onnx", batch)
    return scratch / "fixed.onnx"


def _check_outputs(source: ExportSource, exporter: Exporter) -> None:
    """Fail unless the exporter, given a probe network, builds an engine with the right outputs.

    The probe is of the same precision, except for INT8 with more labels than 8 bits tell apart.

    Raises:
        ParityError: outputs are mixed up.
    """
    checkpoint = source.checkpoint
    schema, spec = checkpoint.schema, checkpoint.input
    precision = source.precision
    if precision == "int8" and not tells_in_8_bits(schema):
        precision = exporter.precisions[0]
    made = make_probe(schema, spec, checkpoint.network.pool, int8=precision == "int8")
    with scratch_folder() as scratch:
        folder = scratch / "probe"
        folder.mkdir()
        graph = scratch / "probe.onnx"
        graph.write_bytes(made.graph)
        probe = replace(
            source,
            network=made.network,
            graph=_of_batch(source.config.batch, graph, scratch),
            precision=precision,
        )
        passport = exporter.write(probe, folder)
        draft = draft_manifest(probe, folder, exporter, passport)
        with closing(open_session(folder, draft, SessionOptions())) as session:
            check_probe(session, schema, spec)


def _prove(draft: Manifest, source: ExportSource, folder: Path) -> Manifest:
    """Prove the engine, and write the report that was asked for, whether it passes or not."""
    config, crops = source.config, source.crops
    seen: list[Parity] = []

    def report(failure: str | None) -> None:
        if config.report is None or not seen:
            return
        write_gate_report(
            config.report,
            draft,
            seen[0],
            crops,
            gate=config.gate,
            failure=failure,
            overwrite=config.overwrite,
        )
        say(f"wrote {config.report}")

    try:
        manifest = prove(
            draft,
            folder,
            crops,
            score(source.network, crops),
            gate=config.gate,
            precision_floor=config.precision_floor,
            observe=seen.append,
        )
    except HeadlightError as error:
        report(str(error))
        raise
    report(None)
    return manifest
