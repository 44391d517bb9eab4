"""The deployed graph in other forms that TensorRT asks for.

Since version 10 TensorRT has its precision from the types in the graph, and before 10 it knows
operators up to opset 17.
"""

from __future__ import annotations

import logging
import warnings
from collections.abc import Mapping
from typing import Any, Final

from runtime.engine_imports import import_onnxruntime
from runtime.errors import ConfigError

from .graph import replace_constants

__all__ = ["in_half_precision", "lower_opset"]

_SPLIT_SIZES: Final = 2
"""Inputs of a Split that is told its sizes; opset 18 added a way to leave them out."""
_SINCE_18: Final = frozenset({"num_outputs", "noop_with_empty_axes"})
"""Attributes that say how inputs are meant which are left out."""


def in_half_precision(model: Any) -> Any:
    """Return a float graph that computes in FP16, with the same uint8 input and float32 outputs.

    Raises:
        EngineUnavailableError: ONNX Runtime, which converts it, is not installed.
    """
    import_onnxruntime()  # first: switches its telemetry off
    from onnxruntime.transformers.float16 import convert_float_to_float16

    quiet = logging.getLogger("onnxruntime.transformers.float16")
    level = quiet.level
    quiet.setLevel(logging.ERROR)
    try:
        with warnings.catch_warnings():
            # It warns of every weight that FP16 rounds to its smallest number; the gate judges.
            warnings.simplefilter("ignore")
            return convert_float_to_float16(model, keep_io_types=True)
    finally:
        quiet.setLevel(level)


def lower_opset(model: Any, opset: int) -> Any:
    """Return the graph at an older opset.

    onnx's own converter goes down to 18 and has no way from there: what changed then in operators
    of ours is how they are told axes and sizes.

    Raises:
        ConfigError: an operator has no form of that opset.
    """
    from onnx import shape_inference, version_converter

    try:
        lowered = version_converter.convert_version(model, max(opset, 18))
        if opset < 18:
            _below_18(lowered, opset)
    except (
        RuntimeError,
        shape_inference.InferenceError,
        version_converter.ConvertError,
    ) as error:
        raise ConfigError(
            f"the graph cannot be written at opset {opset} ({error}); choose a newer TensorRT"
        ) from error
    return lowered


def _below_18(model: Any, opset: int) -> None:
    from onnx import defs, helper, numpy_helper

    constants = {
        entry.name: numpy_helper.to_array(entry).tolist()
        for entry in model.graph.initializer
        if len(entry.dims) <= 1
    }
    for node in model.graph.node:
        if defs.get_schema(node.op_type, 18).since_version <= opset:
            continue
        if node.op_type == "Split" and len(node.input) == _SPLIT_SIZES:
            new = []
        elif node.op_type.startswith("Reduce") and _has_axes(node, constants):
            new = [helper.make_attribute("axes", constants[node.input.pop()])]
        else:
            raise ConfigError(
                f"{node.name}: {node.op_type} has no form of opset {opset}; choose a newer TensorRT"
            )
        kept = [entry for entry in node.attribute if entry.name not in _SINCE_18]
        del node.attribute[:]
        node.attribute.extend([*kept, *new])
    replace_constants(model, {})  # drops axes that became attributes
    for entry in model.opset_import:
        if entry.domain in ("", "ai.onnx"):
            entry.version = opset


def _has_axes(node: Any, constants: Mapping[str, Any]) -> bool:
    return len(node.input) > 1 and node.input[1] in constants
