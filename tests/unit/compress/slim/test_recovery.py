from __future__ import annotations

import torch
from torch import nn

from compress.slim.recovery import match_mean_logits, mean_logits, reestimate_statistics
from tests.slimming import random_crops, tiny_network


def test_statistics_are_the_plain_average_over_batches() -> None:
    network = tiny_network()
    batches = [random_crops(8, seed) for seed in range(3)]
    reestimate_statistics(network, batches)
    stem, norm = network.backbone.stem[0], network.backbone.stem[1]
    with torch.no_grad():
        outputs = [
            stem((batch.permute(0, 3, 1, 2).float() - network.mean) / network.std)
            for batch in batches
        ]
    mean = torch.stack([output.mean((0, 2, 3)) for output in outputs]).mean(0)
    variance = torch.stack([output.var((0, 2, 3)) for output in outputs]).mean(0)
    torch.testing.assert_close(norm.running_mean, mean)
    torch.testing.assert_close(norm.running_var, variance)


def test_momentum_and_mode_are_as_for_use() -> None:
    network = tiny_network()
    reestimate_statistics(network, [random_crops(4)])
    assert not network.training
    norms = [layer for layer in network.modules() if isinstance(layer, nn.BatchNorm2d)]
    assert {layer.momentum for layer in norms} == {0.1}


def test_weights_are_left_alone() -> None:
    network = tiny_network()
    before = {name: value.clone() for name, value in network.named_parameters()}
    reestimate_statistics(network, [random_crops(4)])
    assert all(torch.equal(value, before[name]) for name, value in network.named_parameters())


def test_mean_logits_are_matched() -> None:
    network, batches = tiny_network(), [random_crops(8, seed) for seed in range(2)]
    wanted = {head: value + 3 for head, value in mean_logits(tiny_network(seed=1), batches).items()}
    match_mean_logits(network, batches, wanted)
    for head, value in mean_logits(network, batches).items():
        torch.testing.assert_close(value, wanted[head], rtol=1e-4, atol=1e-4)
