"""Running ONNX graphs with ONNX Runtime on the CPU."""

from __future__ import annotations

import json
from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from contextlib import ExitStack, contextmanager
from pathlib import Path
from typing import Any, Final

import numpy as np

from .arrays import Images, Logits
from .engine_imports import import_onnxruntime
from .errors import EngineError
from .graph_contract import Port, Scores, check_graph, check_images, run_fixed
from .onnx_lanes import OnnxLanes
from .passport import fallback, precisions_text
from .preprocess import InputSpec
from .schema import INPUT_NAME, Schema
from .session import SessionOptions
from .staging import scratch_folder

__all__ = ["OnnxSession", "host_facts"]

_DTYPES: Final[Mapping[str, str]] = {"tensor(uint8)": "uint8", "tensor(float)": "float32"}
_FATAL_ONLY: Final = 4
"""Log level: errors are raised, and need not stand on stderr too."""
_INTEGER_KERNELS: Final = frozenset(
    {"QLinearConv", "QLinearMatMul", "QGemm", "MatMulIntegerToFloat", "MatMulInteger",
     "ConvInteger", "DynamicQuantizeMatMul"}
)  # fmt: skip
_FLOAT_KERNELS: Final = frozenset(
    {"Conv", "FusedConv", "NhwcFusedConv", "MatMul", "FusedMatMul", "Gemm", "FusedGemm"}
)
_FLOATS: Final[Mapping[str, str]] = {"float": "fp32", "float16": "fp16", "bfloat16": "bf16"}


def host_facts() -> Mapping[str, str]:
    """Return what this host has for ONNX Runtime.

    Raises:
        EngineUnavailableError: it is not installed.
    """
    return {"onnxruntime": str(import_onnxruntime().__version__)}


class OnnxSession:
    """One ``onnxruntime.InferenceSession``, which any number of threads may share.

    Args:
        path: The ``.onnx`` file.
        schema: Heads that the outputs must be.
        spec: Size that the input must have.
        options: Threads; ONNX Runtime has no latency or throughput hint.
        precision: The artifact's precision, which the graph is expected to compute in.
        passport: The artifact's passport.

    Raises:
        EngineUnavailableError: onnxruntime is not installed.
        EngineError: the file is no graph, or not one for this schema and input.
    """

    def __init__(
        self,
        path: Path,
        schema: Schema,
        spec: InputSpec,
        options: SessionOptions,
        *,
        precision: str = "fp32",
        passport: Mapping[str, str] | None = None,
    ) -> None:
        onnxruntime = import_onnxruntime()
        self._version = str(onnxruntime.__version__)
        self._errors = _errors(onnxruntime)
        self._path = path
        self._spec = spec
        settings = _settings(onnxruntime, options)
        with _recorded(settings):
            self._session = self._load(onnxruntime, settings)
            inputs = _ports(self._session.get_inputs())
            outputs = _ports(self._session.get_outputs())
            self._batch = check_graph(path, inputs, outputs, schema, spec)
            self._sizes = {head.name: head.size for head in schema.heads}
            # The first run shows which kernels ONNX Runtime chose; it tells nowhere else.
            self._run(np.zeros((self._batch or 1, *spec.shape), np.uint8))
            kernels = _kernels(self._session, settings)
        self._lanes: OnnxLanes | None = OnnxLanes(self._session, spec, self._sizes)
        self._description = {
            "engine": "onnxruntime",
            "version": self._version,
            "threads": str(options.threads),
            **_describe(kernels, precision, passport or {}),
        }

    def _load(self, onnxruntime: Any, settings: Any) -> Any:
        try:
            return onnxruntime.InferenceSession(
                str(self._path),
                settings,
                providers=["CPUExecutionProvider"],
                enable_fallback=0,  # it prints to stdout and loads a second time
            )
        except self._errors as error:
            raise EngineError(
                f"onnxruntime {self._version} cannot load {self._path}: {error}"
            ) from error

    def run(self, images: Images) -> Logits:
        """Score (N, height, width, 3) uint8 images; see ``Session.run``."""
        check_images(images, self._spec)
        if len(images) == 1 and self._batch in (None, 1):
            return self._run_one(images)
        scores = run_fixed(self._run, images, self._batch)
        return dict(zip(self._sizes, scores, strict=True))

    def _run_one(self, images: Images) -> Logits:
        lanes = self._lanes  # one read: close() may run in another thread
        if lanes is None:
            raise self._closed()
        try:
            return lanes.infer(images)
        except self._errors as error:
            raise self._failed(error) from error

    def _run(self, images: Images) -> Scores:
        session = self._session  # as above
        if session is None:
            raise self._closed()
        try:
            scores: Scores = session.run([*self._sizes], {INPUT_NAME: images})
        except self._errors as error:
            raise self._failed(error) from error
        return scores

    def _closed(self) -> EngineError:
        return EngineError(f"the session of {self._path} was closed; open the artifact again")

    def _failed(self, error: Exception) -> EngineError:
        return EngineError(f"onnxruntime {self._version} failed on {self._path}: {error}")

    def close(self) -> None:
        """Free the graph once the calls that are running have ended."""
        self._session = self._lanes = None

    @property
    def description(self) -> Mapping[str, str]:
        """Engine, version, threads, and the device and precisions of the kernels that ran."""
        return self._description


@contextmanager
def _recorded(settings: Any) -> Iterator[None]:
    """Have a session write down the kernels that it runs, if there is a place to write to."""
    with ExitStack() as stack:
        try:
            folder = stack.enter_context(scratch_folder())
        except OSError:  # a device without a writable folder; only the description is poorer
            yield
            return
        settings.enable_profiling = True
        settings.profile_file_prefix = f"{folder}/kernels"
        yield


def _kernels(session: Any, settings: Any) -> Sequence[Mapping[str, Any]]:
    """Return the nodes of the optimised graph that were recorded, each with operator and types."""
    if not settings.enable_profiling:
        return []
    try:
        events = json.loads(Path(session.end_profiling()).read_text(encoding="utf-8"))
    except (OSError, ValueError):  # ONNX Runtime writes names of nodes as they are, quotes and all
        return []
    return [
        event["args"]
        for event in events
        if event.get("cat") == "Node" and event["name"].endswith("_kernel_time")
    ]


def _describe(
    kernels: Sequence[Mapping[str, Any]], precision: str, passport: Mapping[str, str]
) -> Mapping[str, str]:
    layers: Counter[str] = Counter()
    for kernel in kernels:
        if kernel["op_name"] in _INTEGER_KERNELS:
            layers["int8"] += 1
        elif kernel["op_name"] in _FLOAT_KERNELS:
            (dtype,) = kernel["input_type_shape"][0]
            layers[_FLOATS.get(dtype, dtype)] += 1
    devices = {kernel["provider"].removesuffix("ExecutionProvider").lower() for kernel in kernels}
    elsewhere = fallback(precision, passport, layers)
    return {
        "device": ", ".join(sorted(devices)) or "cpu",
        "precision": precisions_text(layers),
        **({"fallback": elsewhere} if elsewhere else {}),
    }


def _settings(onnxruntime: Any, options: SessionOptions) -> Any:
    settings = onnxruntime.SessionOptions()
    settings.intra_op_num_threads = options.threads
    settings.inter_op_num_threads = 1
    settings.log_severity_level = _FATAL_ONLY
    # Idle worker threads that spin take the cores which decode video in the same process.
    settings.add_session_config_entry("session.intra_op.allow_spinning", "0")
    return settings


def _ports(values: Sequence[Any]) -> list[Port]:
    return [
        Port(
            value.name,
            _DTYPES.get(value.type, value.type),
            tuple(size if isinstance(size, int) else None for size in value.shape),
        )
        for value in values
    ]


def _errors(onnxruntime: Any) -> tuple[type[Exception], ...]:
    """Everything that ONNX Runtime raises; its C++ errors share no base but ``Exception``."""
    state = onnxruntime.capi.onnxruntime_pybind11_state
    own = [v for v in vars(state).values() if isinstance(v, type) and issubclass(v, Exception)]
    return (*own, RuntimeError, ValueError, TypeError)
