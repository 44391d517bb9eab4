"""The engines that run bare graphs, each imported when one is opened for it."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Final

from runtime.errors import EngineError
from runtime.session import SessionOptions

from .graphs import Graph

__all__ = ["ENGINES", "open_graph"]


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
