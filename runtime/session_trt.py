"""Running engines of TensorRT 8.6 to 11 and of TensorRT-RTX on an NVIDIA GPU."""

from __future__ import annotations

import threading
from collections.abc import Collection, Mapping
from pathlib import Path
from typing import Any, Final

from .arrays import Images, Logits
from .errors import EngineError, EngineUnavailableError
from .gpu import cuda_devices
from .graph_contract import Port, Scores, check_graph, check_images, run_within
from .passport import QUANTISED_LAYERS, fallback, precisions_text
from .preprocess import InputSpec
from .schema import INPUT_NAME, Schema
from .session import SessionOptions
from .trt_lanes import TrtLanes, uses_graphs
from .trt_layers import count_precisions
from .trt_module import PACKAGES, import_tensorrt, new_log

__all__ = ["FALLBACK", "TrtSession", "host_facts"]

FALLBACK: Final = "dla_fallback"
"""Passport key: what an engine for a DLA runs on the GPU instead."""
_ERRORS: Final = (RuntimeError, ValueError, TypeError)
"""What the bindings raise beside returning None."""


def host_facts(engine: str = "trt") -> Mapping[str, str]:
    """Return the version of TensorRT, or of TensorRT-RTX for ``rtx``, and the first GPU.

    Raises:
        EngineUnavailableError: it is not installed.
    """
    facts = {PACKAGES[engine]: str(import_tensorrt(engine).__version__)}
    for gpu in cuda_devices()[:1]:
        facts |= {"compute_capability": gpu.compute_capability, "gpu": gpu.name}
    return facts


class TrtSession:
    """A deserialised engine; threads take turns.

    Args:
        path: The engine file.
        schema: Heads that the outputs must be.
        spec: Size that the input must have.
        options: The usual batch; threads and hints mean nothing to a GPU.
        engine: ``trt`` or ``rtx``.
        precision: What the artifact promises.
        passport: Of the artifact.

    Raises:
        EngineUnavailableError: TensorRT or cuda-python is not installed, or there is no GPU.
        EngineError: the file is no engine for this TensorRT and GPU, or not one for this schema.
        ConfigError: HEADLIGHT_CUDA_GRAPHS is set to something else than ``on`` and ``off``.
    """

    def __init__(
        self,
        path: Path,
        schema: Schema,
        spec: InputSpec,
        options: SessionOptions,
        *,
        engine: str,
        precision: str,
        passport: Mapping[str, str],
    ) -> None:
        trt = import_tensorrt(engine)
        gpus = cuda_devices()
        if not gpus:
            raise EngineUnavailableError(
                f"{path}: a {PACKAGES[engine]} engine needs an NVIDIA GPU and its driver, and this "
                "machine has none; run it where it was built"
            )
        self._path, self._spec = path, spec
        self._names = tuple(head.name for head in schema.heads)
        self._log = new_log(trt)
        try:
            self._runtime = trt.Runtime(self._log)  # must live as long as its engine
            loaded = self._runtime.deserialize_cuda_engine(path.read_bytes())
            if loaded is None:
                raise EngineError(self._told(f"{PACKAGES[engine]} cannot load {path}"))
            inputs, outputs = _ports(trt, loaded, self._names)
            fixed = check_graph(path, inputs, outputs, schema, spec)
            self._smallest, self._largest = (fixed, fixed) if fixed else _batches(loaded)
            layers = _layers(trt, loaded)
            sizes = _sizes_to_record(trt, loaded, self._smallest, self._largest, options.batch)
            self._lanes: TrtLanes | None = TrtLanes(
                trt, loaded, spec, schema.heads, largest=self._largest, recorded=sizes
            )
        except _ERRORS as error:
            raise EngineError(self._told(f"{PACKAGES[engine]} cannot load {path}: {error}")) from (
                error
            )
        self._lock = threading.Lock()
        self._facts = {
            "engine": PACKAGES[engine],
            "version": str(trt.__version__),
            "device": f"{gpus[0].name}, compute capability {gpus[0].compute_capability}",
            "precision": precisions_text(layers),
            "threads": "1",
            "batch": f"{self._smallest} to {self._largest}",
        }
        self._own_graphs = hasattr(trt, "CudaGraphStrategy") and uses_graphs()
        self._fallback = [
            _other_precision(precision, passport, layers),
            passport.get(FALLBACK, ""),
        ]

    def run(self, images: Images) -> Logits:
        """Score (N, height, width, 3) uint8 images; see ``Session.run``."""
        check_images(images, self._spec)
        with self._lock:
            scores = run_within(self._infer, images, self._smallest, self._largest)
        return dict(zip(self._names, scores, strict=True))

    def _infer(self, images: Images) -> Scores:
        if self._lanes is None:
            raise EngineError(f"the session of {self._path} was closed; open the artifact again")
        try:
            return self._lanes.infer(images)
        except EngineError as error:
            raise EngineError(self._told(f"{self._path}: {error}")) from error

    def _told(self, text: str) -> str:
        """Return ``text`` with what TensorRT said last."""
        return f"{text}: {self._log.errors[-1]}" if self._log.errors else text

    def close(self) -> None:
        """Free the engine and its memory once the call that is running has ended."""
        with self._lock:
            if self._lanes is not None:
                self._lanes.close()
                self._lanes = self._runtime = None

    @property
    def description(self) -> Mapping[str, str]:
        """Engine, version, GPU, precision of the layers, batches, CUDA graphs and fallbacks."""
        lanes = self._lanes
        sizes = sorted(lanes.graphs) if lanes is not None else []
        graphs = "by the engine" if self._own_graphs else "off"
        if sizes:
            graphs = f"for a batch of {' and '.join(map(str, sizes))}"
        told = [*self._fallback, lanes.problem if lanes is not None else ""]
        elsewhere = "; ".join(filter(None, told))
        return {
            **self._facts,
            "cuda_graphs": graphs,
            **({"fallback": elsewhere} if elsewhere else {}),
        }


def _ports(trt: Any, engine: Any, heads: Collection[str]) -> tuple[list[Port], list[Port]]:
    """Return the engine's inputs and outputs; heads in their order, because they go by name."""
    types = {trt.DataType.UINT8: "uint8", trt.DataType.FLOAT: "float32"}
    inputs, outputs = list[Port](), list[Port]()
    for index in range(engine.num_io_tensors):
        name = engine.get_tensor_name(index)
        kind = engine.get_tensor_dtype(name)
        shape = tuple(None if size < 0 else int(size) for size in engine.get_tensor_shape(name))
        is_input = engine.get_tensor_mode(name) == trt.TensorIOMode.INPUT
        port = Port(name, types.get(kind, str(kind)), shape)
        (inputs if is_input else outputs).append(port)
    order = {name: place for place, name in enumerate(heads)}
    return inputs, sorted(outputs, key=lambda port: order.get(port.name, len(order)))


def _batches(engine: Any) -> tuple[int, int]:
    """Return the smallest and the largest batch of the engine's profile."""
    smallest, _, largest = engine.get_tensor_profile_shape(INPUT_NAME, 0)
    return int(smallest[0]), int(largest[0])


def _sizes_to_record(
    trt: Any, engine: Any, smallest: int, largest: int, usual: int
) -> Collection[int]:
    """Return the batch sizes to record CUDA graphs of.

    Every graph needs a context of its own, and TensorRT 8 gives a profile to one context only.
    """
    if hasattr(trt, "CudaGraphStrategy") or not uses_graphs():
        return ()
    if hasattr(engine, "num_bindings") and smallest != largest:
        return ()
    return {min(max(size, smallest), largest) for size in (1, usual)}


def _layers(trt: Any, engine: Any) -> Mapping[str, int]:
    inspector = engine.create_engine_inspector()
    return count_precisions(inspector.get_engine_information(trt.LayerInformationFormat.JSON))


def _other_precision(precision: str, passport: Mapping[str, str], layers: Mapping[str, int]) -> str:
    """Say which layers compute otherwise than asked.

    Layers that were compiled together are not told one by one; what is not told is not judged.
    """
    decided = passport.get(QUANTISED_LAYERS, "")
    hidden = decided.isdecimal() and sum(layers.values()) < int(decided)
    return fallback(precision, {} if hidden else passport, layers)
