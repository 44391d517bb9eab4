"""Rules about operators, the opset and the inputs: R01, R09 to R12, W01 and W04."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

from .findings import TARGETS, Finding, Target
from .scopes import name_of
from .support import NARROWED, input_types, rejects, types
from .view import DEQUANTISE, LAYERS, QUANTISE, GraphView, attribute, type_name

__all__ = ["check_input", "check_operator", "check_opset", "check_plugin", "check_tensors"]


def check_opset(view: GraphView, target: Target) -> Iterator[Finding]:
    """R11: parsing does not enforce it, newer operators are read by their old meaning."""
    newest = TARGETS[target]
    if view.opset > newest:
        what = f"opset {view.opset}, TensorRT {target} knows up to {newest}"
        yield Finding("R11", "opset", what)


def check_operator(view: GraphView, node: Any, target: Target) -> Iterator[Finding]:
    """R01, R10 and W04 of an operator of ONNX."""
    if rejects(target, node.op_type):
        yield Finding("R01", name_of(node), f"TensorRT {target} has no {node.op_type}")
    elif node.op_type == "BatchNormalization":
        maker = view.makers.get(node.input[0])
        if attribute(node, "training_mode", 0):
            yield Finding("R10", name_of(node), "training_mode is 1")
        elif view.quantised and maker is not None and maker.op_type in LAYERS:
            yield Finding("W04", name_of(node), f"BatchNormalization behind {name_of(maker)}")


def check_plugin(node: Any) -> Iterator[Finding]:
    """R09 of an operator that is none of ONNX."""
    yield Finding("R09", name_of(node), f"{node.domain}::{node.op_type} needs a plugin")


def check_input(view: GraphView, value: Any, target: Target) -> Iterator[Finding]:
    """R12 and W01 of one input."""
    if view.tensor(value.name) is not None:  # old files list their initialisers as inputs
        return
    kind = type_name(value.type.tensor_type.elem_type)
    readers = view.readers[value.name]
    if kind == "UINT8":
        # Only a type conversion may touch it: everything else is rejected.
        wrong = sorted({reader.op_type for reader, _ in readers} - {"Cast"})
        if wrong:
            yield Finding("R12", value.name, f"UINT8 input is read by {', '.join(wrong)}")
    elif kind not in input_types(target):
        yield Finding("R12", value.name, f"input is {kind}")
    for axis, size in enumerate(value.type.tensor_type.shape.dim):
        if axis and not size.HasField("dim_value"):
            yield Finding("W01", value.name, f"axis {axis} ({size.dim_param or '?'}) is free")


def check_tensors(view: GraphView, target: Target) -> Iterator[Finding]:
    """R12 of what nodes put out and of what is stored in the graph."""
    known = types(target) | NARROWED
    for tensor, kind in view.types.items():
        name, stored = type_name(kind), view.tensor(tensor) is not None
        if name in known or (name == "UINT8" and (stored or tensor in view.outputs)):
            continue
        # The rules about quantisers say what theirs are read as.
        if {reader.op_type for reader, _ in view.readers[tensor]} & {QUANTISE, DEQUANTISE}:
            continue
        if stored:
            yield Finding("R12", tensor, f"tensor is stored as {name}")
        elif _arises(view, tensor, kind):
            yield Finding("R12", tensor, f"tensor is made as {name}")


def _arises(view: GraphView, tensor: str, kind: int) -> bool:
    """Return whether a tensor that is used is the first of its type on its way.

    One finding is enough for all that only hand a type on.
    """
    maker = view.makers.get(tensor)
    if maker is None or maker.op_type == QUANTISE:
        return False
    handed = any(
        view.types.get(name) == kind and view.tensor(name) is None and name not in view.outputs
        for name in maker.input
    )
    return not handed and bool(view.readers[tensor] or tensor in view.outputs)
