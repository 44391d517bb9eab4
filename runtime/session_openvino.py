"""Running OpenVINO and ONNX graphs with OpenVINO on the CPU."""

from __future__ import annotations

import threading
from collections import Counter
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, Final

from .arrays import Images, Logits
from .engine_imports import import_openvino, openvino_core
from .errors import EngineError
from .graph_contract import Port, Scores, check_graph, check_images, run_fixed
from .openvino_lanes import Lane, joined_heads
from .passport import fallback, precisions_text
from .preprocess import InputSpec
from .schema import Schema
from .session import SessionOptions

__all__ = ["OpenVinoSession", "host_facts", "precision_hint"]

_ERRORS: Final = (RuntimeError, ValueError, TypeError)
"""What OpenVINO's Python bindings raise."""
_DTYPES: Final[Mapping[str, str]] = {"u8": "uint8", "f32": "float32"}
_HINTS: Final[Mapping[str, str]] = {"latency": "LATENCY", "throughput": "THROUGHPUT"}
_PRECISIONS: Final[Mapping[str, str]] = {
    "f32": "fp32", "f16": "fp16", "bf16": "bf16", "u8": "int8", "i8": "int8"
}  # fmt: skip
_LAYERS: Final = frozenset({"Convolution", "Deconvolution", "FullyConnected", "MatMul"})
"""What the CPU plugin calls convolutions, grouped ones too, and matrix products."""


def host_facts() -> Mapping[str, str]:
    """Return what this host has for OpenVINO.

    Raises:
        EngineUnavailableError: it is not installed.
    """
    return {"openvino": _version(import_openvino())}


class OpenVinoSession:
    """A graph compiled for one image and, when they first come, for ``options.batch`` and for any.

    A fixed batch saves 60 to 90 us a call, which for one image is up to half of it (measured: 54
    against 136 us on a tiny network, 235 against 425 us on a slimmed one). Requests are pooled:
    one request shared by two threads returns wrong results without an error.

    Args:
        path: The ``.xml`` (its ``.bin`` beside it) or ``.onnx`` file.
        schema: Heads that the outputs must be.
        spec: Size that the input must have.
        options: Threads, usual batch, and whether to favour latency or throughput.
        precision: The artifact's precision. ``bf16`` lets float layers be rounded to bfloat16, and
            ``fp16`` to float16 where the CPU has it; all others compute floats in float32.
        passport: The artifact's passport.

    Raises:
        EngineUnavailableError: openvino is not installed.
        EngineError: the file is no graph, or not one for this schema and input.
    """

    def __init__(
        self,
        path: Path,
        schema: Schema,
        spec: InputSpec,
        options: SessionOptions,
        precision: str,
        *,
        passport: Mapping[str, str] | None = None,
    ) -> None:
        self._openvino = import_openvino()
        self._path = path
        self._spec = spec
        self._sizes = {head.name: head.size for head in schema.heads}
        self._settings = {
            "PERFORMANCE_HINT": _HINTS[options.hint],
            "INFERENCE_NUM_THREADS": options.threads,
            "INFERENCE_PRECISION_HINT": precision_hint(precision),
        }
        if options.cache_dir is not None:
            self._settings["CACHE_DIR"] = str(options.cache_dir)
        _refuse_entities(path)
        try:
            self._model = openvino_core().read_model(path)
            inputs, outputs = _ports(self._model.inputs), _ports(self._model.outputs)
            self._batch = check_graph(path, inputs, outputs, schema, spec)
            self._model = joined_heads(self._openvino, self._model)
            single = self._compile(self._batch or 1)
            self._description = {
                **_describe(self._openvino, single.compiled),
                **_precision(single.compiled, precision, passport or {}),
            }
        except _ERRORS as error:
            raise EngineError(f"openvino cannot load {path}: {error}") from error
        self._prepared = {1, options.batch} if self._batch is None else {self._batch}
        # By batch size; None takes any. Replaced as a whole, and None once closed.
        self._lanes: Mapping[int | None, Lane] | None = {self._batch or 1: single}
        self._lock = threading.Lock()

    def run(self, images: Images) -> Logits:
        """Score (N, height, width, 3) uint8 images; see ``Session.run``."""
        check_images(images, self._spec)
        try:
            if self._batch is None or self._batch == len(images):
                return self._infer(images)
            scores = run_fixed(self._infer_parts, images, self._batch)
        except _ERRORS as error:
            raise EngineError(f"openvino failed on {self._path}: {error}") from error
        return dict(zip(self._sizes, scores, strict=True))

    def _infer_parts(self, images: Images) -> Scores:
        return [*self._infer(images).values()]

    def _infer(self, images: Images) -> Logits:
        batch = len(images) if len(images) in self._prepared else None
        lanes = self._lanes  # one read: close() may run in another thread
        lane = None if lanes is None else lanes.get(batch)
        return (lane or self._new_lane(batch)).infer(images)

    def _new_lane(self, batch: int | None) -> Lane:
        with self._lock:
            if self._lanes is None:
                raise EngineError(
                    f"the session of {self._path} was closed; open the artifact again"
                )
            if batch not in self._lanes:  # another thread may have been first
                self._lanes = {**self._lanes, batch: self._compile(batch)}
            return self._lanes[batch]

    def _compile(self, batch: int | None) -> Lane:
        model = self._model.clone()
        model.reshape([-1 if batch is None else batch, *self._spec.shape])
        compiled = openvino_core().compile_model(model, "CPU", self._settings)
        return Lane(self._openvino, compiled, self._spec, self._sizes)

    def close(self) -> None:
        """Free the graph once the calls that are running have ended."""
        with self._lock:
            self._lanes = self._model = None

    @property
    def description(self) -> Mapping[str, str]:
        """Engine, version, and the device, precisions, threads and streams that it chose."""
        return self._description


def _refuse_entities(path: Path) -> None:
    """Refuse XML that declares a document type: no graph does, and entities may grow without end.

    Raises:
        EngineError: it does, or cannot be read.
    """
    if path.suffix == ".onnx":
        return
    try:
        text = path.read_bytes()
    except OSError as error:
        raise EngineError(f"openvino cannot load {path}: {error.strerror or error}") from error
    # In UTF-16, which no exporter writes, every second byte of these is 0.
    if b"<!DOCTYPE" in text or b"<!ENTITY" in text or b"\0" in text:
        raise EngineError(
            f"openvino cannot load {path}: it declares a document type or entities, or is no "
            "UTF-8; export the checkpoint again"
        )


def _ports(values: Sequence[Any]) -> list[Port]:
    return [
        Port(
            # A tensor may carry several names; ours has one, and any other is then no match.
            " = ".join(sorted(value.get_names())),
            _DTYPES.get(value.get_element_type().get_type_name(), str(value.get_element_type())),
            _shape(value.get_partial_shape()),
        )
        for value in values
    ]


def _shape(value: Any) -> tuple[int | None, ...]:
    if value.rank.is_dynamic:
        return ()
    return tuple(None if size.is_dynamic else size.get_length() for size in value)


def _version(openvino: Any) -> str:
    return str(openvino.__version__).split("-")[0]


def precision_hint(precision: str) -> str:
    """Return the type that float layers may be computed in, of an artifact of ``precision``.

    By default a CPU with AMX or AVX512-BF16 rounds a float32 graph to bfloat16, and so it does when
    asked for float16 without having it.
    """
    if precision == "fp16":
        able = "FP16" in openvino_core().get_property("CPU", "OPTIMIZATION_CAPABILITIES")
        return "f16" if able else "f32"
    return "bf16" if precision == "bf16" else "f32"


def _describe(openvino: Any, compiled: Any) -> Mapping[str, str]:
    return {
        "engine": "openvino",
        "version": _version(openvino),
        "device": ", ".join(compiled.get_property("EXECUTION_DEVICES")).lower(),
        "threads": str(compiled.get_property("INFERENCE_NUM_THREADS")),
        "streams": str(compiled.get_property("NUM_STREAMS")),
    }


def _precision(compiled: Any, precision: str, passport: Mapping[str, str]) -> Mapping[str, str]:
    """Return what the layers of the compiled graph really compute in, and where that was not asked.

    The hint that was set says nothing of layers that have no kernel for it, and the layer's own
    "runtimePrecision" is that of its weights where these are stored in float16. The name of the
    kernel ends with the type that it computes in.
    """
    layers: Counter[str] = Counter()
    for node in compiled.get_runtime_model().get_ordered_ops():
        facts = node.get_rt_info()
        if "layerType" in facts and facts["layerType"].astype(str) in _LAYERS:
            used = facts["primitiveType"].astype(str).rpartition("_")[2].lower()
            layers[_PRECISIONS.get(used, used)] += 1
    elsewhere = fallback(precision, passport, layers)
    return {
        "precision": precisions_text(layers),
        **({"fallback": elsewhere} if elsewhere else {}),
    }
