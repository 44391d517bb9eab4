"""A model as one list of nodes, in which every tensor has a name of its own.

In ONNX a name holds within its graph and the graphs inside: the two branches of an If may call
different tensors alike.
"""

from __future__ import annotations

from collections import ChainMap
from collections.abc import Iterator
from typing import Any

from runtime.errors import DataError

__all__ = ["FlatGraph", "name_of"]


class FlatGraph:
    """The nodes and stored tensors of a graph, the bodies of its control flow included.

    Args:
        graph: ``onnx.GraphProto``.

    Raises:
        DataError: a tensor is read before it is made, or made twice, or a name is no text. So what
            this holds has no cycles.
    """

    def __init__(self, graph: Any) -> None:
        self.nodes: list[Any] = []
        self.tensors: dict[str, Any] = {}
        self.types: dict[str, int] = {}
        """Tensor to the type of its elements, where the graph's notes say it."""
        self.outputs: set[str] = set()
        """Outputs of the graph and of those inside."""
        self._taken: set[str] = set()
        self._add(graph, ChainMap())

    def _add(self, graph: Any, names: ChainMap[str, str]) -> None:
        """Add a graph; ``names`` maps what is called so around here to its own name."""
        stored = {tensor.name: tensor for tensor in graph.initializer}
        # Old files list their initialisers as inputs, so a name may stand in both.
        given = [value.name for value in graph.input]
        sparse = [tensor.values.name for tensor in graph.sparse_initializer]
        for name in dict.fromkeys([*given, *stored, *sparse]):
            self._name(name, names)
        self.tensors |= {names[name]: tensor for name, tensor in stored.items()}
        for node in graph.node:
            _require_text(node.op_type)
            for name in node.input:
                if name and name not in names:
                    raise DataError(
                        f"{name_of(node)} reads {name}, which nothing before it makes: the graph "
                        "has a cycle, or its nodes are out of order"
                    )
            inputs = [names[name] if name else "" for name in node.input]
            for body in _bodies(node):
                self._add(body, names.new_child())
            outputs = [self._name(name, names) if name else "" for name in node.output]
            self.nodes.append(_renamed(node, inputs, outputs))
        self.outputs |= {names[value.name] for value in graph.output if value.name in names}
        for value in graph.value_info:
            if value.name in names.maps[0] and value.type.HasField("tensor_type"):
                self.types[names[value.name]] = value.type.tensor_type.elem_type

    def _name(self, name: str, names: ChainMap[str, str]) -> str:
        """Note a new tensor and return its own name."""
        _require_text(name)
        if name in names.maps[0]:
            raise DataError(f"tensor {name} is made twice")
        own, count = name, 1
        while own in self._taken:
            count += 1
            own = f"{name}@{count}"
        self._taken.add(own)
        names[name] = own
        return own


def name_of(node: Any) -> str:
    """Return what to call a node: its name, or its output or operator where it has none."""
    return str(node.name or next(iter(node.output), "") or node.op_type)


def _require_text(name: Any) -> None:
    # What protobuf cannot decode as UTF-8, it gives as bytes.
    if not isinstance(name, str):
        raise DataError(f"the name {name!r} is not UTF-8")


def _bodies(node: Any) -> Iterator[Any]:
    """Yield the graphs in a node (If, Loop, Scan)."""
    from onnx import AttributeProto

    for entry in node.attribute:
        if entry.type == AttributeProto.GRAPH:
            yield entry.g
        yield from entry.graphs


def _renamed(node: Any, inputs: list[str], outputs: list[str]) -> Any:
    from onnx import NodeProto

    if (inputs, outputs) == (list(node.input), list(node.output)):
        return node
    # Messages go on calling it what the file calls it.
    return NodeProto(
        op_type=node.op_type,
        domain=node.domain,
        name=name_of(node),
        input=inputs,
        output=outputs,
        attribute=node.attribute,
    )
