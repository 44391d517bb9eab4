"""Nodes are called as the modules of the checkpoint."""

from __future__ import annotations

import numpy as np
import onnx
import pytest
from onnx import TensorProto, helper, numpy_helper

from train.node_names import layer_of_weight, name_nodes


@pytest.mark.parametrize(
    ("parameter", "layer"),
    [
        ("network.backbone.stem.0.weight", "backbone.stem.0"),
        ("heads.heads.linear.colour.weight", "heads.linear.colour"),
        ("heads.heads.pool.score.weight", "heads.pool.score"),
        ("heads.fused.weight", "heads.linear"),
        ("backbone.heads.heads.weight", "backbone.heads.heads"),
        ("network.backbone.stem.0.bias", None),
    ],
)
def test_layers_of_parameters(parameter: str, layer: str | None) -> None:
    assert layer_of_weight(parameter) == layer


def note(node: onnx.NodeProto, *scopes: str) -> onnx.NodeProto:
    node.metadata_props.add(key="pkg.torch.onnx.name_scopes", value=repr(["", *scopes]))
    node.metadata_props.add(key="pkg.torch.onnx.stack_trace", value='File "/home/me/net.py"')
    return node


def test_layers_by_their_weights_and_others_by_their_module() -> None:
    nodes = [
        note(helper.make_node("Transpose", ["x"], ["t"], name="node_permute"), "permute"),
        # torch calls it after the BatchNorm that it folded into it.
        note(
            helper.make_node(
                "Gemm", ["t", "network.backbone.fc.weight"], ["a"], name="node_Gemm_7"
            ),
            *("network.backbone", "network.backbone.bn", "batch_norm"),
        ),
        # Transposed weights have lost their names.
        note(
            helper.make_node("MatMul", ["a", "val_1"], ["a2"], name="node_MatMul_9"),
            *("heads", "heads.fused", "linear"),
        ),
        note(helper.make_node("Relu", ["a2"], ["b"], name="r"), "network.backbone", "relu"),
        note(helper.make_node("Relu", ["b"], ["c"], name="s"), "network.backbone", "relu_1"),
        note(helper.make_node("Softmax", ["c"], ["d"], name="n"), "heads.heads.pool", "softmax"),
        helper.make_node("Identity", ["d"], ["y"], name=""),
    ]
    weights = [
        numpy_helper.from_array(np.eye(2, dtype=np.float32), name)
        for name in ("network.backbone.fc.weight", "val_1")
    ]
    ports = [helper.make_tensor_value_info(n, TensorProto.FLOAT, [2, 2]) for n in ("x", "y")]
    model = helper.make_model(helper.make_graph(nodes, "g", ports[:1], ports[1:], weights))
    name_nodes(model)
    assert [node.name for node in model.graph.node] == [
        "Transpose",
        "backbone.fc",
        "heads.linear",
        "backbone/Relu",
        "backbone/Relu.2",
        "heads.pool/Softmax",
        "Identity",
    ]
    assert b"/home/me" not in model.SerializeToString()
