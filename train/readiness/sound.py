"""Is an ONNX node written as its operator wants it, so that rules may rely on that.

``onnx.checker`` asks for more than TensorRT does, such as a shape of every output.
"""

from __future__ import annotations

from typing import Any, Final

from runtime.errors import DataError

from .scopes import name_of

__all__ = ["is_standard", "require_sound"]

_STANDARD: Final = ("", "ai.onnx")


def is_standard(node: Any) -> bool:
    """Return whether a node's operator is one of ONNX; others may share a name with one."""
    return node.domain in _STANDARD


def require_sound(node: Any, opset: int) -> None:
    """Fail on a node of ONNX with too few inputs or outputs, or attributes of a wrong type.

    Raises:
        DataError: it is no node of its operator.
    """
    schema = _schema(node.op_type, opset)
    if schema is None:
        return
    for what, given, least in (
        ("inputs", node.input, schema.min_input),
        ("outputs", node.output, schema.min_output),
    ):
        if len(given) < least:
            raise DataError(
                f"{name_of(node)} has {len(given)} {what}, expected {node.op_type} with {least} "
                "or more"
            )
    for entry in node.attribute:
        known = schema.attributes.get(entry.name)
        if known is not None and known.type.value != entry.type:
            raise DataError(
                f"{name_of(node)} has the attribute {entry.name} of another type than "
                f"{node.op_type}, expected {known.type.name}"
            )


def _schema(operator: str, opset: int) -> Any:
    """Return how an operator is defined; None for one that ONNX never had.

    TensorRT has some of those, and takes operators that are newer than the graph's opset.
    """
    from onnx import defs

    # An opset of any number may stand in a file; defs takes those of a C int.
    opset = max(1, min(opset, defs.onnx_opset_version()))
    if defs.has(operator, opset, ""):
        return defs.get_schema(operator, opset, "")
    return defs.get_schema(operator) if defs.has(operator) else None
