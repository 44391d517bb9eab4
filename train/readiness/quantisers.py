"""Rules about every QuantizeLinear and DequantizeLinear: R02 to R08, W05; and R13 about layers."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import numpy as np
import numpy.typing as npt

from .findings import Finding, Target
from .scopes import name_of
from .support import grids
from .view import DEQUANTISE, LAYERS, QUANTISE, GraphView, attribute, type_name

__all__ = ["check_quantiser", "check_types"]


def check_quantiser(view: GraphView, node: Any, target: Target) -> Iterator[Finding]:
    """R02 to R08 and W05 of one Q or DQ node."""
    if node.op_type not in (QUANTISE, DEQUANTISE):
        return
    scale = view.array(node.input[1])
    yield from _check_zero(view, node, target)
    yield from _check_scale(node, scale)
    if scale is None or not scale.size:
        return
    weight = view.weight(node.input[0])
    if scale.size > 1 and weight is None:
        yield Finding("R05", name_of(node), f"{scale.size} scales on an activation")
    if scale.size > 1 and weight is not None and node.op_type == DEQUANTISE:
        yield from _check_axis(view, node, len(weight.dims))
    if node.op_type == QUANTISE:
        yield from _check_pair(view, node, scale)


def _check_zero(view: GraphView, node: Any, target: Target) -> Iterator[Finding]:
    given = len(node.input) > 2 and bool(node.input[2])
    zero = view.tensor(node.input[2]) if given else None
    grid = type_name(zero.data_type) if zero is not None else _grid(view, node)
    if given and zero is None:
        yield Finding("R02", name_of(node), "zero point is no constant")
    elif zero is not None:
        values = np.asarray(view.array(node.input[2])).astype(np.float32)
        if values.any():
            worst = float(values.flat[np.abs(values).argmax()])
            yield Finding("R02", name_of(node), f"zero point {worst:g}")
    if grid == "INT32":
        yield Finding("R04", name_of(node), "INT32 values")
    elif grid is not None and grid not in grids(target):
        without = "" if given else "no zero point, so that ONNX means "
        fate = "reads as INT8" if grid == "UINT8" else f"{target} does not quantise to"
        yield Finding("R03", name_of(node), f"{without}{grid}, which TensorRT {fate}")


def _grid(view: GraphView, node: Any) -> str | None:
    """Return the type that a node without a zero point works on; None where it does not say."""
    if node.op_type == QUANTISE:
        kind = attribute(node, "output_dtype", 0)
        return type_name(kind) if kind else "UINT8"
    stored = view.tensor(node.input[0])
    return None if stored is None else type_name(stored.data_type)


def _check_scale(node: Any, scale: npt.NDArray[Any] | None) -> Iterator[Finding]:
    if scale is None:
        yield Finding("R07", name_of(node), "scale is no constant")
        return
    if not scale.size:
        yield Finding("R07", name_of(node), "scale is empty")
        return
    values = scale.astype(np.float64)
    if not (np.isfinite(values).all() and (values > 0).all()):
        yield Finding("R07", name_of(node), f"scale from {values.min():g} to {values.max():g}")
    elif values.min() < np.finfo(np.float32).tiny:
        yield Finding("W05", name_of(node), f"scale {values.min():g}")


def _check_axis(view: GraphView, node: Any, rank: int) -> Iterator[Finding]:
    axis = attribute(node, "axis", 1)
    axis += rank if axis < 0 else 0
    for layer, place, found in view.readers_behind(node.output[0], rank=rank, axis=axis):
        if place != 1 or layer.op_type not in LAYERS or found is None:
            continue
        expected = _output_axis(layer, rank)
        if found != expected:
            what = f"scales along axis {found} of {layer.op_type}'s weight, expected {expected}"
            yield Finding("R06", name_of(node), what)


def _output_axis(layer: Any, rank: int) -> int:
    """Return the axis of a weight that holds its layer's outputs."""
    if layer.op_type == "Conv" or (layer.op_type == "Gemm" and attribute(layer, "transB", 0)):
        return 0
    return 1 if layer.op_type == "ConvTranspose" else rank - 1


def _check_pair(view: GraphView, node: Any, scale: npt.NDArray[Any]) -> Iterator[Finding]:
    for reader, place, _ in view.readers_behind(node.output[0]):
        paired = reader.op_type == DEQUANTISE and place == 0
        other = view.array(reader.input[1]) if paired else None
        if other is not None and other.size and not np.array_equal(scale, other, equal_nan=True):
            what = f"scale {scale.flat[0]:g}, but {other.flat[0]:g} in {name_of(reader)}"
            yield Finding("R08", name_of(node), what)


def check_types(view: GraphView, layer: Any) -> Iterator[Finding]:
    """R13: the float types of a layer's input and weight."""
    if layer.op_type not in LAYERS or len(layer.input) < 2:
        return
    kinds = [_float_type(view, name) for name in layer.input[:2]]
    if None not in kinds and kinds[0] != kinds[1]:
        yield Finding("R13", name_of(layer), f"input is {kinds[0]}, weight is {kinds[1]}")


def _float_type(view: GraphView, tensor: str) -> str | None:
    """Return the type that a constant or a DequantizeLinear puts out; None for anything else."""
    dequantiser = view.maker_of(tensor, DEQUANTISE)
    constant = view.tensor(tensor if dequantiser is None else dequantiser.input[1])
    return None if constant is None else type_name(constant.data_type)
