"""Building an engine for this machine, with its passport; imports neither torch nor onnx."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Final

from benchmarks.command import say
from runtime.errors import EngineError
from runtime.gpu import cuda_devices
from runtime.passport import REQUIRES
from runtime.staging import file_digest
from runtime.trt_module import PACKAGES

from .options import BuildOptions
from .worker import build_apart

__all__ = ["ENGINE_FILE", "build_here"]

ENGINE_FILE: Final = "model.engine"


def build_here(
    graph: Path, folder: Path, options: BuildOptions, *, timing_cache: Path | None
) -> Mapping[str, str]:
    """Build ``model.engine`` into ``folder`` and return its passport.

    Raises:
        EngineError: there is no GPU, or TensorRT is missing, refuses the graph or fails.
    """
    gpus = cuda_devices()
    if not gpus:
        raise EngineError(
            "this machine has no NVIDIA GPU that its driver knows of; build on the device that "
            "shall run the engine"
        )
    package, gpu = PACKAGES[options.engine], gpus[0]
    say(f"building with {package} for {gpu.name} ({gpu.compute_capability})")
    report = build_apart(graph, folder / ENGINE_FILE, options, timing_cache=timing_cache)
    capability = "compute_capability"
    # An RTX engine is finished by each GPU that loads it; any other fits its own kind of GPU only.
    bound = f"{REQUIRES}{capability}" if options.engine == "trt" else capability
    return {
        "engine": f"{package} {report.version}",
        f"{REQUIRES}{package}": report.version,
        bound: gpu.compute_capability,
        "gpu": gpu.name,
        "onnx_sha256": file_digest(graph),
        "profile": " ".join(map(str, options.profile)),
        "workspace_mb": str(options.workspace_mb),
        **({} if options.opt_level is None else {"opt_level": str(options.opt_level)}),
        **report.facts,
    }
