"""Timing graphs in the engines of this machine: one crop, one thread, FP32."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from contextlib import ExitStack
from functools import partial
from typing import Any, Final

import numpy as np
import numpy.typing as npt

from benchmarks.scenarios import Comparison, Query, compare_interleaved
from runtime.engine_imports import import_onnxruntime, import_openvino, openvino_core
from runtime.preprocess import InputSpec
from runtime.schema import Schema
from runtime.staging import scratch_folder
from train.engines import open_graph_file
from train.graph import write_graph
from train.network import Network

__all__ = ["ENGINES", "fastest_ms", "open_graph", "require_engine", "time_networks"]

Values = npt.NDArray[np.float32]
_ERRORS_ONLY: Final = 3
_FASTEST: Final = 0.1


def _onnx_graph(graph: bytes, values: Values) -> Query:
    onnxruntime: Any = import_onnxruntime()
    settings = onnxruntime.SessionOptions()
    settings.intra_op_num_threads = settings.inter_op_num_threads = 1
    settings.log_severity_level = _ERRORS_ONLY
    session = onnxruntime.InferenceSession(graph, settings, providers=["CPUExecutionProvider"])
    return partial(session.run, None, {session.get_inputs()[0].name: values})


def _openvino_graph(graph: bytes, values: Values) -> Query:
    openvino, core = import_openvino(), openvino_core()
    settings = {
        "PERFORMANCE_HINT": "LATENCY",
        "INFERENCE_NUM_THREADS": 1,
        "INFERENCE_PRECISION_HINT": "f32",
    }
    compiled = core.compile_model(core.read_model(model=graph, weights=b""), "CPU", settings)
    request = compiled.create_infer_request()
    request.set_input_tensor(openvino.Tensor(values))
    infer: Query = request.infer
    return infer


_GRAPHS: Final[Mapping[str, Callable[[bytes, Values], Query]]] = {
    "onnxruntime": _onnx_graph,
    "openvino": _openvino_graph,
}
_IMPORTS: Final[Mapping[str, Callable[[], Any]]] = {
    "onnxruntime": import_onnxruntime,
    "openvino": import_openvino,
}
ENGINES: Final = tuple(_GRAPHS)


def require_engine(engine: str) -> None:
    """Fail unless ``engine`` can be used here.

    Raises:
        EngineUnavailableError: its package is not installed.
    """
    _IMPORTS[engine]()


def open_graph(engine: str, graph: bytes, values: Values) -> Query:
    """Return a query that runs an ONNX graph of one input on ``values``.

    Raises:
        EngineUnavailableError: the engine's package is not installed.
    """
    return _GRAPHS[engine](graph, values)


def time_networks(
    engine: str,
    networks: Mapping[str, Network],
    schema: Schema,
    spec: InputSpec,
    *,
    rounds: int = 40,
    block_s: float = 0.02,
) -> Comparison:
    """Time networks by turns in one process, in the form that is exported.

    Args:
        engine: One of ``ENGINES``.
        networks: At least two; the first is what the others are compared with.
        schema: Heads of all of them.
        spec: Their input.
        rounds: Turns of each.
        block_s: Length of a turn.

    Raises:
        EngineUnavailableError: the engine's package is not installed.
        MissingExtraError: a package that the ONNX exporter needs is not installed.
    """
    require_engine(engine)
    image = np.random.default_rng(0).integers(0, 256, (1, *spec.shape), np.uint8)
    queries: dict[str, Query] = {}
    with ExitStack() as stack:
        scratch = stack.enter_context(scratch_folder())
        for index, (name, network) in enumerate(networks.items()):
            path = scratch / f"{index}.onnx"
            write_graph(network, schema, spec, path)
            session = open_graph_file(engine, path, schema, spec, "fp32")
            stack.callback(session.close)
            queries[name] = partial(session.run, image)
        return compare_interleaved(queries, rounds=rounds, block_s=block_s)


def fastest_ms(timed: Comparison) -> Mapping[str, float]:
    """Return name to the tenth percentile over turns.

    Other processes only ever make a query slower, and a long one more surely than a short one. So
    where long and short ones are to be added up, their fast turns have to be taken.
    """
    return {name: float(np.quantile(ms, _FASTEST)) for name, ms in timed.blocks_ms.items()}
