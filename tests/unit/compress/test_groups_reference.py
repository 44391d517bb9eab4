"""The groups against those of torch-pruning, an independent implementation.

Fang et al., "DepGraph: Towards Any Structural Pruning", CVPR 2023. Only networks that it follows
rightly: it lists a grouped convolution's inputs and outputs apart, and heads are unknown to it.
"""

from __future__ import annotations

import pytest
import torch
from torch import nn

from compress.slim.groups import find_groups
from tests.slimming import SPEC
from tests.unit.train.backbones.tiny import tiny_backbone_network

pruning = pytest.importorskip("torch_pruning", reason="torch-pruning is not installed")


@pytest.mark.parametrize(
    "backbone",
    ["resnet18", "resnet18_v2", "vgg16_bn", "mobilenet_v1", "mobilenet_v2", "mobilenet_v3_small"],
)
def test_the_same_layers_lose_a_channel_together(backbone: str) -> None:
    network = tiny_backbone_network(backbone)
    groups = find_groups(network, SPEC)
    names = {layer: name for name, layer in network.backbone.named_modules(prefix="backbone")}
    graph = pruning.DependencyGraph().build_dependency(
        network.backbone, torch.rand(1, 3, SPEC.height, SPEC.width)
    )
    assert groups
    for group in groups:
        first = network.get_submodule(group.name)
        assert isinstance(first, nn.Conv2d)
        found = graph.get_pruning_group(first, pruning.prune_conv_out_channels, idxs=[0])
        ties = {names[dep.target.module] for dep, _ in found if dep.target.module in names}
        ours = {*group.outputs, *group.norms, *group.inputs}
        assert ties == {name for name in ours if name.startswith("backbone")}
