"""Export for TensorRT: ``python -m export.trt CHECKPOINT --validation LIST --output DIR``.

An engine fits the GPU and the TensorRT that built it, and is proven by running it. Where that
cannot be done here, OUTPUT becomes a build kit for the device instead of an artifact.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Annotated, Final, cast

import tyro

from benchmarks.command import run_command, say
from export.artifact import export_artifact, new_source
from export.drafts import draft_manifest, source_facts
from export.exporter import ExportConfig, Exporter, ExportSource
from runtime.errors import ConfigError, EngineUnavailableError
from runtime.gpu import cuda_devices
from runtime.trt_module import import_tensorrt
from train.readiness import TARGETS, Target, require_ready
from train.scoring import score
from train.tensorrt_form import in_half_precision, lower_opset

from .building import ENGINE_FILE, build_here
from .kit_files import GRAPH_FILE, SCRIPT_FILE, Kit, write_kit
from .options import BuildOptions
from .targets import target_of
from .worker import build_apart

__all__ = ["EXPORTERS", "PROOF_ENGINE", "TrtConfig", "export_kit", "main", "why_not_here"]

PROG: Final = "python -m export.trt"
PROOF_ENGINE: Final = "proof.engine"
PROOF_LOG: Final = "proof.log"
_KIT_TARGET: Final[Target] = "10.3"
"""What kits are for where nothing else is asked: JetPack 6.1 and 6.2."""


@dataclass(frozen=True, slots=True, kw_only=True)
class TrtConfig(ExportConfig):
    """Export a checkpoint for TensorRT, or make a build kit where its engine cannot run.

    Raises:
        ConfigError: options that cannot work.
    """

    rtx: bool = False
    """For TensorRT-RTX, an engine of its own for RTX cards."""
    profile: tuple[int, int, int] = (1, 8, 32)
    """Smallest batch, the one to be fastest at, and largest, where --batch fixes none."""
    timing_cache: Annotated[Path | None, tyro.conf.arg(name="timing-cache")] = None
    """File of kernel timings to start from and to add to: later builds on this GPU are faster."""
    workspace_mb: Annotated[int, tyro.conf.arg(name="workspace-mb")] = 1024
    """GPU memory that a layer may use while it computes, MiB."""
    opt_level: Annotated[int | None, tyro.conf.arg(name="opt-level")] = None
    """How long to look for fast kernels, 0 to 5."""
    dla: int | None = None
    """Deep learning accelerator (Jetson) to run on, with --precision fp16; what it cannot run
    falls back to the GPU."""
    target: Target | None = None
    """TensorRT to check the graph for; the one here or, for a kit, 10.3 where not given."""
    kit: bool = False
    """Make a build kit even where the engine could be built."""

    def __post_init__(self) -> None:
        # Not super(): a dataclass with slots is another class than the one that is written here.
        ExportConfig.__post_init__(self)
        if self.rtx and (self.timing_cache or self.dla is not None or self.target):
            raise ConfigError(
                "TensorRT-RTX has no timing cache, no DLA and one version: leave --timing-cache, "
                "--dla and --target out with --rtx"
            )
        self.options("fp32" if self.dla is None else self.precision)

    @property
    def engine(self) -> str:
        """``trt`` or ``rtx``."""
        return "rtx" if self.rtx else "trt"

    def options(self, precision: str) -> BuildOptions:
        """Return what to tell the builder."""
        return BuildOptions(
            engine=self.engine,
            precision=precision,
            profile=self.profile if self.batch is None else (self.batch,) * 3,
            workspace_mb=self.workspace_mb,
            opt_level=self.opt_level,
            dla=self.dla,
        )


def why_not_here(config: TrtConfig) -> str | None:
    """Return why the engine cannot be built and run on this machine, or None."""
    if config.kit:
        return "--kit was given"
    if not cuda_devices():
        return "this machine has no NVIDIA GPU that its driver knows of"
    try:
        import_tensorrt(config.engine)
    except EngineUnavailableError as error:
        return str(error)
    return None


def target_here(engine: str) -> Target:
    """Return the rules that the TensorRT of this machine is checked by.

    Raises:
        EngineUnavailableError: it is not installed.
        ConfigError: it is older than all of them.
    """
    version = str(import_tensorrt(engine).__version__)
    if engine == "rtx":
        return "rtx"
    target = target_of(version)
    if target is None:
        raise ConfigError(f"TensorRT {version} is too old; Headlight builds with 8.6 and newer")
    return cast(Target, target)  # targets.py must not import the type


def prepare_graph(source: ExportSource, target: Target, path: Path) -> None:
    """Write the graph in its precision and as TensorRT ``target`` reads it.

    Raises:
        EngineError: TensorRT would reject or misread it.
        ConfigError: it has no form for this version.
    """
    import onnx

    model = onnx.load(source.graph)
    if TARGETS[target] < next(e.version for e in model.opset_import if e.domain in ("", "ai.onnx")):
        model = lower_opset(model, TARGETS[target])
    if source.precision == "fp16":
        model = in_half_precision(model)
    require_ready(model, target, "the graph")
    onnx.checker.check_model(model, full_check=True)
    onnx.save(model, path)


def _write(source: ExportSource, folder: Path) -> Mapping[str, str]:
    """Build the engine here; for ``Exporter.write``."""
    config = cast(TrtConfig, source.config)  # Exporter.config says so
    graph = folder / GRAPH_FILE
    prepare_graph(source, config.target or target_here(config.engine), graph)
    options = config.options(source.precision)
    passport = build_here(graph, folder, options, timing_cache=config.timing_cache)
    graph.unlink()
    return passport


EXPORTERS: Final[Mapping[str, Exporter]] = {
    engine: Exporter(
        engine=engine,
        engine_file=ENGINE_FILE,
        write=_write,
        precisions=("fp32", "fp16", "int8"),
        config=TrtConfig,
    )
    for engine in ("trt", "rtx")
}


def export_kit(config: TrtConfig) -> BuildOptions:
    """Write a build kit to OUTPUT and return what it will be built with.

    TensorRT-RTX, where it is installed, builds the engine even without a GPU: its parser and its
    compiler have then accepted the graph before it goes to a device.

    Raises:
        HeadlightError: bad options, data or checkpoint, or a graph that TensorRT cannot read.
    """
    if config.report is not None:
        raise ConfigError("--report shows what the gate saw; a kit's gate is on the device")
    if config.timing_cache is not None:
        raise ConfigError(
            "--timing-cache is of the device that builds; give it to the command that the kit "
            "prints for there"
        )
    exporter = replace(EXPORTERS[config.engine], engine_file=GRAPH_FILE)
    target: Target = "rtx" if config.rtx else config.target or _KIT_TARGET
    with new_source(config, exporter) as (source, folder):
        options = config.options(source.precision)
        prepare_graph(source, target, folder / GRAPH_FILE)
        draft = draft_manifest(source, folder, exporter, source_facts(source))
        if config.rtx:
            _prove_buildable(options, folder)
        kit = Kit(
            draft=draft,
            options=options,
            target=target,
            gate=config.gate,
            precision_floor=config.precision_floor,
            crops=source.crops,
            expected=score(source.network, source.crops),
        )
        write_kit(folder, kit)
    return options


def _prove_buildable(options: BuildOptions, folder: Path) -> None:
    try:
        import_tensorrt(options.engine)
    except EngineUnavailableError as error:
        say(f"note: the kit holds no proof that its engine can be built: {error}")
        return
    report = build_apart(folder / GRAPH_FILE, folder / PROOF_ENGINE, options)
    (folder / PROOF_LOG).write_text(report.log, encoding="utf-8")
    size = (folder / PROOF_ENGINE).stat().st_size
    say(f"TensorRT-RTX {report.version} built the engine ({size:,} bytes); it has not run yet")


def _work(config: TrtConfig) -> int:
    reason = why_not_here(config)
    if reason is None:
        manifest = export_artifact(config, EXPORTERS[config.engine])
        print(f"wrote {config.output} ({manifest.id}); next: python -m runtime.show", config.output)
        return 0
    options = export_kit(config)
    print(
        f"wrote a build kit, not an artifact, to {config.output}: {reason}. Engines are built and "
        f"proven where they run. Copy it to the device, with Headlight, TensorRT"
        f"{'-RTX' if config.rtx else ''} and cuda-python on it, and run there:\n"
        f"  sh {config.output.name}/{SCRIPT_FILE} --output ARTIFACT"
        f"   # {options.precision}, batch {options.profile[0]} to {options.profile[2]}"
    )
    return 0


def main(argv: Sequence[str] | None = None) -> int:
    """Run the command line."""
    return run_command(argv, TrtConfig, _work, prog=PROG)
