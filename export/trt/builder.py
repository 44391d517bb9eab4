"""One way to build an engine with TensorRT 8.6, 10, 11 and TensorRT-RTX 1.7.

What a version can do is asked of its module, not read off its number. Up to 9 a network is typed
by builder flags, 10 can take the types from the graph instead, and 11 and RTX do nothing else; so
the graph carries the precision (FP16 types, INT8 quantisers), and flags are set only where they
are needed. Imports neither torch nor onnx.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

from runtime.errors import EngineError

from .options import BuildOptions

__all__ = ["Built", "build_engine"]

_MISREAD: Final = re.compile(r"uint8 zero.?point|zero.?point with type", re.IGNORECASE)
"""The parser only warns of these, and then reads another grid than the graph means."""
_SHOWN: Final = 3


@dataclass(frozen=True, slots=True)
class Built:
    """What came out of a build."""

    plan: bytes
    """The engine."""
    timing_cache: bytes
    """Timings of the kernels that were tried, for the next build on this GPU; may be empty."""
    facts: Mapping[str, str]
    """What the passport should say."""


def build_engine(
    trt: Any, graph: Path, options: BuildOptions, log: Any, timing_cache: bytes | None = None
) -> Built:
    """Build an engine.

    Args:
        trt: TensorRT's module.
        graph: ONNX file, in the precision of ``options``.
        options: How.
        log: Of ``runtime.trt_module.new_log``.
        timing_cache: Of an earlier build, empty for the first; None for no cache.

    Raises:
        EngineError: TensorRT refuses or misreads the graph, or cannot build; with its reason.
    """
    try:
        builder = trt.Builder(log)
    except TypeError as error:  # what its bindings raise where CUDA cannot start
        raise _failed("TensorRT cannot start", log) from error
    network = builder.create_network(_network_flags(trt))
    # The network and the config point into what these two names hold until the engine is built.
    parser = _parse(trt, graph, network, log)
    config = builder.create_builder_config()
    _configure(trt, config, options)
    facts = _use_dla(trt, builder, network, config, options.dla)
    _add_profile(builder, network, config, options.profile, log)
    timings = None if timing_cache is None else _use_timings(config, timing_cache)
    plan = builder.build_serialized_network(network, config)
    if plan is None:
        raise _failed("TensorRT cannot build the engine", log)
    cache = config.get_timing_cache() if timings is not None else None
    del parser
    return Built(bytes(plan), b"" if cache is None else bytes(cache.serialize()), facts)


def _typed_by_flags(trt: Any) -> bool:
    """Whether only builder flags say in what precision to compute: TensorRT 8 and 9."""
    return hasattr(trt.BuilderFlag, "FP16") and not hasattr(
        trt.NetworkDefinitionCreationFlag, "STRONGLY_TYPED"
    )


def _network_flags(trt: Any) -> int:
    if _typed_by_flags(trt):
        return 1 << int(trt.NetworkDefinitionCreationFlag.EXPLICIT_BATCH)
    if hasattr(trt.BuilderFlag, "FP16"):  # 10 knows both ways
        return 1 << int(trt.NetworkDefinitionCreationFlag.STRONGLY_TYPED)
    return 0


def _parse(trt: Any, graph: Path, network: Any, log: Any) -> Any:
    parser = trt.OnnxParser(network, log)
    if not parser.parse_from_file(str(graph)):
        errors = [parser.get_error(i).desc() for i in range(min(parser.num_errors, _SHOWN))]
        raise EngineError(
            f"TensorRT cannot read {graph.name}: {'; '.join(errors) or log.errors}; check it with "
            "python -m export.readiness"
        )
    misread = [text for text in log.warnings if _MISREAD.search(text)]
    if misread:
        raise EngineError(
            f"TensorRT would misread {len(misread)} quantisers of {graph.name}: {misread[0]}; "
            "check it with python -m export.readiness"
        )
    return parser


def _configure(trt: Any, config: Any, options: BuildOptions) -> None:
    config.set_memory_pool_limit(trt.MemoryPoolType.WORKSPACE, options.workspace_mb << 20)
    # So that the session can tell what the layers really compute in.
    config.profiling_verbosity = trt.ProfilingVerbosity.DETAILED
    if options.opt_level is not None:
        config.builder_optimization_level = options.opt_level
    # TF32 drops 13 bits of every factor, by default; layers that stay in FP32 of INT8 and FP16
    # engines do so to be exact.
    config.clear_flag(trt.BuilderFlag.TF32)
    if _typed_by_flags(trt) and options.precision == "fp16":
        config.set_flag(trt.BuilderFlag.FP16)
    if _typed_by_flags(trt) and options.precision == "int8":
        config.set_flag(trt.BuilderFlag.INT8)


def _use_dla(
    trt: Any, builder: Any, network: Any, config: Any, core: int | None
) -> Mapping[str, str]:
    """Put the network on a DLA and return how much of it has to stay on the GPU.

    Raises:
        EngineError: there is no such DLA.
    """
    if core is None:
        return {}
    if core >= builder.num_DLA_cores:
        raise EngineError(
            f"there is no DLA {core}: this device, with this TensorRT, has "
            f"{builder.num_DLA_cores}; leave --dla out"
        )
    config.default_device_type = trt.DeviceType.DLA
    config.DLA_core = core
    config.set_flag(trt.BuilderFlag.GPU_FALLBACK)
    layers = [network.get_layer(i) for i in range(network.num_layers)]
    outside = sum(not config.can_run_on_DLA(layer) for layer in layers)
    text = f"{outside} of {len(layers)} layers run on the GPU, not the DLA"
    return {"dla": str(core), **({"dla_fallback": text} if outside else {})}


def _add_profile(
    builder: Any, network: Any, config: Any, sizes: tuple[int, int, int], log: Any
) -> None:
    image = network.get_input(0)
    free, *rest = tuple(image.shape)
    if free >= 0:
        return
    profile = builder.create_optimization_profile()
    profile.set_shape(image.name, *((size, *rest) for size in sizes))
    # It returns -1 and the build goes on without the profile.
    if config.add_optimization_profile(profile) < 0:
        raise _failed(f"TensorRT refuses the profile {sizes}", log)


def _use_timings(config: Any, content: bytes) -> Any:
    """Let the build start from timings, or from none where they are another GPU's or version's."""
    cache = config.create_timing_cache(content)
    if not config.set_timing_cache(cache, False):
        cache = config.create_timing_cache(b"")
        config.set_timing_cache(cache, False)
    return cache


def _failed(what: str, log: Any) -> EngineError:
    said = "; ".join(log.errors[-_SHOWN:]) or "it gave no reason"
    return EngineError(f"{what}: {said}")
