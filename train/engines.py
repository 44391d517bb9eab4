"""Running a network to time it: in torch on one thread, or as a graph in an engine."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import torch

from runtime.preprocess import InputSpec
from runtime.schema import Schema
from runtime.session import Session, SessionOptions

from .network import Network

__all__ = ["one_thread", "open_graph_file", "run_eager"]


@contextmanager
def one_thread() -> Iterator[None]:
    """Let torch compute on one thread meanwhile."""
    threads = torch.get_num_threads()
    torch.set_num_threads(1)
    try:
        yield
    finally:
        torch.set_num_threads(threads)


def run_eager(network: Network, image: torch.Tensor) -> Any:
    """Return the logits of (N, H, W, 3) uint8 crops, without gradients."""
    with torch.inference_mode():
        return network(image)


def open_graph_file(
    engine: str, path: Path, schema: Schema, spec: InputSpec, precision: str
) -> Session:
    """Load an ONNX file in an engine, one thread.

    Args:
        engine: ``onnxruntime`` or ``openvino``.
        path: The file.
        schema: Its heads.
        spec: Its input.
        precision: ``fp32`` or ``int8``.

    Raises:
        EngineError: the engine is not installed or refuses the graph.
    """
    # Here, so that a machine with one engine loads that one alone.
    from runtime.session_onnx import OnnxSession
    from runtime.session_openvino import OpenVinoSession

    options = SessionOptions(threads=1)
    if engine == "openvino":
        return OpenVinoSession(path, schema, spec, options, precision)
    return OnnxSession(path, schema, spec, options)
