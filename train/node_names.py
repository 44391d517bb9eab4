"""Names for the nodes of an exported graph: those of the modules in the checkpoint.

torch numbers nodes, and the numbers change with everything that is traced before. Here a layer's
node is called what the layer is called in the checkpoint (``backbone.stages.0.0.conv1``), and any
other node after the module that runs it and what it does (``backbone.stages.0.0/Add``), so that a
report about a graph can be read beside the network.
"""

from __future__ import annotations

import ast
import re
from collections import Counter
from typing import Any, Final

__all__ = ["LAYER_KINDS", "layer_of_weight", "name_nodes", "numbered"]

LAYER_KINDS: Final = frozenset({"Conv", "ConvTranspose", "Gemm", "MatMul"})
"""Operators that hold a layer's weight as their second input."""
_WEIGHT: Final = ".weight"
_SCOPES: Final = "pkg.torch.onnx.name_scopes"


def layer_of_weight(parameter: str) -> str | None:
    """Return the checkpoint's layer that a parameter of the deployed network is the weight of.

    The fused head stands for all linear layers: it is called after the module that holds these.
    """
    if not parameter.endswith(_WEIGHT):
        return None
    return _in_checkpoint(parameter.removesuffix(_WEIGHT))


def _in_checkpoint(module: str) -> str:
    """Turn a module path of ``DeployedNetwork`` into that of ``Network``."""
    if module.startswith("network."):
        return module.removeprefix("network.")
    if module == "heads.fused":
        return "heads.linear"
    return re.sub(r"^heads\.heads(?=\.|$)", "heads", module)


def name_nodes(model: Any) -> None:
    """Name all nodes of an ``onnx.ModelProto`` in place and drop what torch noted about them.

    Its notes hold stack traces, and so the paths of this machine.
    """
    constants = {entry.name for entry in model.graph.initializer}
    taken = Counter[str]()
    for node in model.graph.node:
        name = _name(node, constants)
        taken[name] += 1
        node.name = numbered(name, taken[name])
    graph = model.graph
    for noted in (*graph.node, *graph.value_info, *graph.initializer, *graph.input, *graph.output):
        del noted.metadata_props[:]
    del graph.metadata_props[:]


def numbered(name: str, use: int) -> str:
    """Return the name of a module's node in its first, second, ... use, counted from 1."""
    return name if use == 1 else f"{name}.{use}"


def _name(node: Any, constants: set[str]) -> str:
    weights = [name for name in node.input[1:2] if name in constants]
    notes = {note.key: note.value for note in node.metadata_props}
    # The last scope is the operation itself, the one before the module that runs it.
    scopes = ast.literal_eval(notes.get(_SCOPES, "[]"))
    module = _in_checkpoint(scopes[-2]) if len(scopes) > 1 else ""
    if weights and node.op_type in LAYER_KINDS:
        # By the weight, since torch notes the BatchNorm that it folded into a convolution. The
        # weight of a product over more than two dimensions was transposed and has no name left.
        return layer_of_weight(weights[0]) or module or node.op_type
    return f"{module}/{node.op_type}" if module else node.op_type
