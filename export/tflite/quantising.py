"""Storing and computing a float TFLite graph in fewer bits, by ai-edge-quantizer.

Its only user. Calibration is not left to it: ranges come from the decisions of compress, and for
graphs without any float, where the decisions have none, from the crops that the user gives.
"""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from typing import Any, Final

import numpy as np
import numpy.typing as npt

from runtime.arrays import Images
from runtime.errors import EngineError
from runtime.staging import scratch_folder

from .carrying import Carried
from .converting import quiet
from .flatfile import FlatFile, Operator
from .running import tensor_values

__all__ = ["store_dynamic", "store_half", "to_integer", "with_decisions"]

_BITS: Final = 8
_UINT8: Final = 3
"""TensorType.UINT8 of the format."""
Ranges = Mapping[str, tuple[float, float]]


def store_half(graph: FlatFile) -> bytes:
    """Return a graph whose weights are stored in FP16; engines read them back to FP32 at load."""
    from ai_edge_quantizer import algorithm_manager, qtyping

    weights = qtyping.TensorQuantizationConfig(num_bits=16, dtype=qtyping.TensorDataType.FLOAT)
    config = qtyping.OpQuantizationConfig(
        weight_tensor_config=weights, compute_precision=qtyping.ComputePrecision.FLOAT
    )
    quantizer = _quantizer(graph)
    quantizer.update_quantization_recipe(
        ".*",
        qtyping.TFLOperationName.ALL_SUPPORTED,
        config,
        algorithm_manager.AlgorithmName.FLOAT_CASTING,
    )
    return _finish(quantizer, None)


def store_dynamic(graph: FlatFile) -> bytes:
    """Return a graph with INT8 weights in its larger layers, which round their inputs as they come.

    Layers of fewer than 1024 weights stay in float: they gain nothing and cost most (measured on a
    MobileNet v3: 24.6 against 17.9 dB).
    """
    from ai_edge_quantizer import recipe

    quantizer = _quantizer(graph)
    quantizer.load_quantization_recipe(recipe.dynamic_legacy_wi8_afp32())
    return _finish(quantizer, None)


def with_decisions(graph: FlatFile, carried: Carried) -> bytes:
    """Return a graph in which what was decided to be INT8 is, and nothing else."""
    quantizer = _quantizer(graph)
    for operator in carried.integer:
        quantizer.add_static_config(_scope(operator), _name(operator), _BITS, _BITS)
    for operator in carried.dynamic:
        quantizer.add_dynamic_config(_scope(operator), _name(operator), _BITS)
    return _finish(quantizer, carried.ranges)


def to_integer(graph: FlatFile, carried: Carried, crops: Images | None, io: str) -> bytes:
    """Return a graph without any float, input and outputs included, but for layers kept in float.

    Args:
        graph: Converted for integers.
        carried: Its decisions.
        crops: (N, height, width, 3) uint8 calibration crops, for the tensors that have none.
        io: Type of the input and of the outputs: ``int8`` or ``uint8``.

    Raises:
        EngineError: tensors have no range, and there are no crops to find it on.
    """
    from ai_edge_quantizer import algorithm_manager, qtyping

    computed = {t.name for operator in graph.operators for t in operator.outputs}
    ranges = {**carried.ranges, graph.tensors[graph.input].name: (0.0, 255.0)}
    missing = sorted(computed - ranges.keys())
    if missing and crops is None:
        raise EngineError(
            f"a graph without float needs the ranges of all its {len(computed)} activations, and "
            f"{len(missing)} of them were never decided, such as the logits; pass labelled crops "
            "with --calibration, or leave --io out"
        )
    if missing and crops is not None:
        ranges |= _measured(graph, crops, missing)
    quantizer = _quantizer(graph)
    everything = qtyping.TFLOperationName.ALL_SUPPORTED
    quantizer.add_static_config(".*", everything, _BITS, _BITS)
    for operator in carried.kept:
        quantizer.update_quantization_recipe(
            _scope(operator), _name(operator), None, algorithm_manager.AlgorithmName.NO_QUANTIZE
        )
    if io == "int8":
        return _finish(quantizer, ranges)
    for kind in (qtyping.TFLOperationName.INPUT, qtyping.TFLOperationName.OUTPUT):
        # Float ends, which LiteRT's own tool then makes uint8.
        quantizer.update_quantization_recipe(
            ".*", kind, None, algorithm_manager.AlgorithmName.NO_QUANTIZE
        )
    return _unsigned(_finish(quantizer, ranges))


def _measured(graph: FlatFile, crops: Images, names: Sequence[str]) -> Ranges:
    """Return the smallest and the largest value of every tensor over all crops, 0 included."""
    size = graph.tensors[graph.input].shape[0]
    low = dict.fromkeys(names, 0.0)
    high = dict.fromkeys(names, 0.0)
    for start in range(0, len(crops), size):
        part = crops[start : start + size]
        full = np.resize(part, (size, *part.shape[1:]))  # the last ones again to fill the batch
        for name, values in tensor_values(graph, [full]).items():
            if name in low:
                low[name] = min(low[name], float(values.min()))
                high[name] = max(high[name], float(values.max()))
    return {name: (low[name], high[name]) for name in names}


def _unsigned(content: bytes) -> bytes:
    """Return an integer graph with float ends as one with uint8 ends.

    Raises:
        EngineError: the tool did not do it.
    """
    from ai_edge_litert import _pywrap_modify_model_interface as interface

    with scratch_folder() as scratch:
        source, target = scratch / "float", scratch / "uint8"
        source.write_bytes(content)
        failed = interface.modify_model_interface(str(source), str(target), _UINT8, _UINT8)
        if failed:
            raise EngineError("ai-edge-litert cannot make the ends of the graph uint8; use int8")
        return target.read_bytes()


def _quantizer(graph: FlatFile) -> Any:
    from ai_edge_quantizer import quantizer

    return quantizer.Quantizer(bytearray(graph.content))


def _name(operator: Operator) -> Any:
    from ai_edge_quantizer import qtyping

    names = {"TRANSPOSE_CONV": "CONV_2D_TRANSPOSE"}
    return qtyping.TFLOperationName(names.get(operator.kind, operator.kind))


def _scope(operator: Operator) -> str:
    """Return the pattern of one operator: the quantizer knows operators by their outputs."""
    return "^" + ";".join(re.escape(tensor.name) for tensor in operator.outputs) + ";?$"


def _finish(quantizer: Any, ranges: Ranges | None) -> bytes:
    values = None
    if ranges is not None:
        values = {name: {"min": _array(low), "max": _array(high)}
                  for name, (low, high) in ranges.items()}  # fmt: skip
    with quiet():
        result = quantizer.quantize(values, enable_progress_bar=False, enable_progress_report=False)
    return FlatFile(bytes(result.quantized_model)).inlined()


def _array(value: float) -> npt.NDArray[np.float32]:
    return np.array([[value]], np.float32)
