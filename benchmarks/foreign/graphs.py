"""Bare graphs behind one Protocol: what goes in and out, as the file says it."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final, Protocol, TypeAlias

import numpy as np
import numpy.typing as npt

from runtime.errors import EngineError
from runtime.session import SessionOptions

__all__ = ["ENGINES", "Array", "Graph", "Tensor", "open_graph"]

Array: TypeAlias = npt.NDArray[Any]


@dataclass(frozen=True, slots=True)
class Tensor:
    """An input or output of a graph, as the file has it."""

    name: str
    dtype: str
    """As numpy spells it."""
    shape: tuple[int | None, ...]
    """None where a size is free."""
    grid: tuple[float, int] | None = None
    """Scale and zero point of a TFLite tensor of integers: what it means is ``(q - zero) * scale``.
    """

    def __str__(self) -> str:
        sizes = ", ".join("?" if size is None else str(size) for size in self.shape)
        return f"{self.name!r} {self.dtype} ({sizes})"


class Graph(Protocol):
    """A loaded graph. Any thread may call ``run``."""

    @property
    def inputs(self) -> Sequence[Tensor]:
        """In the order of the file."""

    @property
    def outputs(self) -> Sequence[Tensor]:
        """In the order of the file."""

    @property
    def batches(self) -> tuple[int, int] | None:
        """Fewest and most samples that a call takes; None where any number goes."""

    @property
    def facts(self) -> Mapping[str, str]:
        """``engine``, ``version``, ``device`` and ``threads``."""

    def run(self, feed: Array) -> Sequence[Array]:
        """Run the graph on its one input; return all outputs in the order of ``outputs``.

        Raises:
            EngineError: the engine failed or was closed.
        """

    def close(self) -> None:
        """Free the graph; a second call does nothing."""


def fixed_batch(shape: Sequence[int | None]) -> tuple[int, int] | None:
    """Return the one batch size of an input's shape as a range; None where it is free."""
    first = shape[0] if shape else None
    return None if first is None else (first, first)


def _onnx(path: Path, options: SessionOptions) -> Graph:
    from .graph_onnx import OnnxGraph

    return OnnxGraph(path, options)


def _openvino(path: Path, options: SessionOptions) -> Graph:
    from .graph_openvino import OpenVinoGraph

    return OpenVinoGraph(path, options)


def _tflite(path: Path, options: SessionOptions) -> Graph:
    from .graph_tflite import TfliteGraph

    return TfliteGraph(path, options)


def _trt(path: Path, _: SessionOptions, engine: str = "trt") -> Graph:
    from .graph_trt import TrtGraph

    return TrtGraph(path, engine=engine)


def _torch(path: Path, options: SessionOptions, *, compiled: bool = False) -> Graph:
    from .graph_torch import TorchGraph

    return TorchGraph(path, options, compiled=compiled)


def _rtx(path: Path, options: SessionOptions) -> Graph:
    return _trt(path, options, "rtx")


_OPENERS: Final[Mapping[str, Callable[[Path, SessionOptions], Graph]]] = {
    "onnx": _onnx,
    "openvino": _openvino,
    "tflite": _tflite,
    "trt": _trt,
    "rtx": _rtx,
    "torch": _torch,
}
ENGINES: Final = tuple(_OPENERS)
"""What runs bare graphs."""


def open_graph(
    engine: str, path: Path, options: SessionOptions, *, compiled: bool = False
) -> Graph:
    """Load a bare graph.

    Args:
        engine: One of ``ENGINES``.
        path: The model.
        options: Threads and hints.
        compiled: Whether torch compiles it; other engines always do what they can.

    Raises:
        EngineUnavailableError: the engine's package is not installed.
        EngineError: the file is not there, or the engine refuses it.
    """
    if not path.is_file():
        raise EngineError(f"there is no model {path}; the description's file is beside it")
    if engine == "torch":
        return _torch(path, options, compiled=compiled)
    return _OPENERS[engine](path, options)


def numpy_name(name: str) -> str:
    """Return numpy's spelling of a type as ONNX or OpenVINO spell it, or the name as it is."""
    return _NAMES.get(name, name)


_NAMES: Final[Mapping[str, str]] = {
    **{f"tensor({name})": name for name in ("uint8", "int8", "float16", "int64", "int32")},
    "tensor(float)": np.dtype(np.float32).name,
    "u8": "uint8",
    "i8": "int8",
    "f32": "float32",
    "f16": "float16",
}
