"""Running TFLite graphs with ai-edge-litert on the CPU."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping
from pathlib import Path
from queue import Empty, SimpleQueue
from typing import Any, Final

import numpy as np
import numpy.typing as npt

from .arrays import Images, Logits
from .cores import own_cores
from .engine_imports import import_litert
from .errors import EngineError
from .graph_contract import Port, Scores, check_graph, check_images, run_fixed
from .passport import fallback, precisions_text
from .preprocess import InputSpec
from .schema import INPUT_NAME, Schema
from .session import SessionOptions

__all__ = ["TfliteSession", "host_facts"]

_ERRORS: Final = (RuntimeError, ValueError, TypeError, KeyError)
"""What the interpreter raises."""
_SIGNATURE: Final = "serving_default"
_DELEGATE: Final = "DELEGATE"
_LAYERS: Final = frozenset(
    {"CONV_2D", "DEPTHWISE_CONV_2D", "FULLY_CONNECTED", "TRANSPOSE_CONV", "BATCH_MATMUL"}
)
_LARGEST_BYTES: Final = 1 << 31
_FLATBUFFER: Final = b"TFL3"
"""At byte 4 of every TFLite file."""


def host_facts() -> Mapping[str, str]:
    """Return what this host has for TFLite.

    Raises:
        EngineUnavailableError: ai-edge-litert is not installed.
    """
    import_litert()
    return {"ai-edge-litert": _version()}


class TfliteSession:
    """A graph of fixed batch, and an interpreter for every caller at a time.

    An interpreter serves one thread; others are made when they are first needed, as many as can
    run at once. Graphs with integer inputs and outputs are read and answered like all others: what
    an int8 input holds is the pixel value less 128, and scores are scaled back.

    Args:
        path: The ``.tflite`` file.
        schema: Heads that the outputs must be.
        spec: Size that the input must have.
        options: Threads; there is no latency or throughput hint.
        precision: The artifact's precision.
        passport: The artifact's passport.

    Raises:
        EngineUnavailableError: ai-edge-litert is not installed.
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
        self._litert = import_litert()
        self._path, self._spec, self._schema = path, spec, schema
        self._threads = options.threads
        try:
            content = path.read_bytes()
        except OSError as error:
            raise EngineError(f"ai-edge-litert cannot load {path}: {error}") from error
        # The interpreter would copy the bytes and say no more than "model is invalid".
        if content[4:8] != _FLATBUFFER or len(content) > _LARGEST_BYTES:
            raise EngineError(f"ai-edge-litert cannot load {path}: it is no TFLite file")
        self._content = content
        first = self._new_lane()
        self._batch = first.batch
        self._description = _describe(first.interpreter, options, precision, passport or {})
        self._names = tuple(head.name for head in schema.heads)
        self._free: SimpleQueue[_Lane] | None = SimpleQueue()
        self._free.put(first)
        # An entry for each interpreter that may still be made.
        self._unmade = [None] * (len(own_cores()) // options.threads - 1)

    def run(self, images: Images) -> Logits:
        """Score (N, height, width, 3) uint8 images; see ``Session.run``."""
        check_images(images, self._spec)
        free = self._free  # one read: close() may run in another thread
        lane = None if free is None else self._take(free)
        if free is None or lane is None:
            raise EngineError(f"the session of {self._path} was closed; open the artifact again")
        try:
            scores = run_fixed(lane.infer, images, self._batch)
        except _ERRORS as error:
            raise EngineError(f"ai-edge-litert failed on {self._path}: {error}") from error
        finally:
            free.put(lane)
        return dict(zip(self._names, scores, strict=True))

    def _take(self, free: SimpleQueue[_Lane]) -> _Lane | None:
        """Return a lane that is free, a new one, or whichever is free next; None once closed."""
        try:
            return free.get_nowait()
        except Empty:
            pass
        try:
            self._unmade.pop()
        except IndexError:
            lane = free.get()
            if self._free is None:
                free.put(lane)  # for others that wait
                return None
            return lane
        try:
            return self._new_lane()
        except BaseException:
            self._unmade.append(None)
            raise

    def _new_lane(self) -> _Lane:
        try:
            interpreter = self._litert.Interpreter(
                model_content=self._content, num_threads=self._threads
            )
            interpreter.allocate_tensors()
            return _Lane(self._path, interpreter, self._schema, self._spec)
        except _ERRORS as error:
            raise EngineError(f"ai-edge-litert cannot load {self._path}: {error}") from error

    def close(self) -> None:
        """Free the graph once the calls that are running have ended."""
        self._free = None

    @property
    def description(self) -> Mapping[str, str]:
        """Engine, version, threads, what layers compute in, and what XNNPACK does not run."""
        return self._description


class _Lane:
    """An interpreter; one thread at a time."""

    def __init__(self, path: Path, interpreter: Any, schema: Schema, spec: InputSpec) -> None:
        self.interpreter = interpreter
        # By name: the order of get_output_details() is not that of the signature.
        runner = interpreter.get_signature_runner(_SIGNATURE)
        sources, found = runner.get_input_details(), runner.get_output_details()
        order = [head.name for head in schema.heads if head.name in found]
        order += [name for name in found if name not in order]
        outputs = [found[name] for name in order]
        inputs = [_port(name, details) for name, details in sources.items()]
        batch = check_graph(
            path, inputs, [_port(n, d) for n, d in zip(order, outputs, strict=True)], schema, spec
        )
        assert batch is not None  # TFLite shapes have no free sizes
        self.batch = batch
        self._signed = sources[INPUT_NAME]["dtype"] is np.int8
        self._source = sources[INPUT_NAME]["index"]
        self._outputs = [(d["index"], *_grid(d)) for d in outputs]

    def infer(self, images: Images) -> Scores:
        """Run exactly one batch."""
        pixels: npt.NDArray[Any] = images
        if self._signed:
            pixels = (images ^ np.uint8(128)).view(np.int8)  # the pixel value less 128
        self.interpreter.set_tensor(self._source, pixels)
        self.interpreter.invoke()
        return [
            _scaled(self.interpreter.get_tensor(index), scale, zero)
            for index, scale, zero in self._outputs
        ]


def _grid(details: Mapping[str, Any]) -> tuple[float, int]:
    """Return scale and zero point of a tensor; 0 and 0 for floats."""
    scale, zero = details["quantization"]
    return float(scale), int(zero)


def _scaled(values: npt.NDArray[Any], scale: float, zero: int) -> npt.NDArray[np.float32]:
    if not scale:
        return values
    return (values.astype(np.float32) - np.float32(zero)) * np.float32(scale)


def _port(name: str, details: Mapping[str, Any]) -> Port:
    """Describe an input or output as what ``run`` makes of it."""
    dtype = np.dtype(details["dtype"])
    scale, zero = _grid(details)
    shown = dtype.name
    if name == INPUT_NAME and (shown, scale, zero) in (("int8", 1.0, -128), ("uint8", 1.0, 0)):
        shown = "uint8"  # both are pixel values
    elif name == INPUT_NAME and scale:
        shown = f"{shown} of scale {scale}"
    elif scale and dtype in (np.int8, np.uint8):
        shown = "float32"
    return Port(name, shown, tuple(int(size) for size in details["shape"]))


def _version() -> str:
    from importlib.metadata import version

    return version("ai-edge-litert")


def _describe(
    interpreter: Any, options: SessionOptions, precision: str, passport: Mapping[str, str]
) -> Mapping[str, str]:
    layers, outside, total = _coverage(interpreter)
    told = [] if precision == "dynamic" else [fallback(precision, passport, layers)]
    if outside:
        kinds = ", ".join(f"{count} {kind}" for kind, count in sorted(outside.items()))
        told.append(f"{outside.total()} of {total} nodes outside the XNNPACK delegate ({kinds})")
    text = "; ".join(filter(None, told))
    return {
        "engine": "tflite",
        "version": _version(),
        "device": "cpu",
        "precision": precisions_text(layers),
        "threads": str(options.threads),
        **({"fallback": text} if text else {}),
    }


def _coverage(interpreter: Any) -> tuple[Counter[str], Counter[str], int]:
    """Return layers by precision, the operators that XNNPACK does not run, and how many there are.

    The interpreter lists the operators of the file and, behind them, the delegates that it put in
    their places, but not what it runs. Walking back from the outputs shows it: a tensor that a
    delegate puts out is the delegate's, any other is its operator's.
    """
    nodes = interpreter._get_ops_details()
    own = [node for node in nodes if node["op_name"] != _DELEGATE]
    makers = {out: node for node in own for out in node["outputs"]}
    for node in nodes:
        if node["op_name"] == _DELEGATE:
            makers |= dict.fromkeys(node["outputs"], node)
    waiting = [details["index"] for details in interpreter.get_output_details()]
    run: dict[int, Any] = {}
    while waiting:
        node = makers.get(waiting.pop())
        if node is not None and node["index"] not in run:
            run[node["index"]] = node
            waiting += [index for index in node["inputs"] if index >= 0]
    outside = Counter(n["op_name"] for n in run.values() if n["op_name"] != _DELEGATE)
    types = {d["index"]: np.dtype(d["dtype"]).name for d in interpreter.get_tensor_details()}
    layers = Counter(_precision(node, types) for node in own if node["op_name"] in _LAYERS)
    return layers, outside, len(own)


def _precision(node: Mapping[str, Any], types: Mapping[int, str]) -> str:
    """Return what a layer computes in, by the types of its two operands."""
    kind = node["op_name"]
    place = 2 if kind == "TRANSPOSE_CONV" else 0
    source, weight = types[node["inputs"][place]], types[node["inputs"][1]]
    return "int8" if weight == "int8" else {"float32": "fp32"}.get(source, source)
