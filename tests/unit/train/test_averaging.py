"""The moving average of weights, against the recursion worked by hand."""

from __future__ import annotations

import pytest
import torch

from tests.slimming import random_crops, tiny_network
from train.averaging import WeightAverage


def test_the_average_follows_its_recursion() -> None:
    network = tiny_network()
    average = WeightAverage(network, 0.25)
    weight, scale = "heads.linear.side.bias", "backbone.stem.1.running_var"
    expected = {name: network.state_dict()[name].clone() for name in (weight, scale)}
    for step in range(1, 6):
        with torch.no_grad():
            for value in network.state_dict().values():
                value.add_(1)
        average.update(network, step)
        # The warm-up gives (1 + 1) / (10 + 1) = 0.18 at first, then 0.25.
        stays = [2 / 11, 3 / 12, 0.25, 0.25, 0.25][step - 1]
        for name, value in expected.items():
            expected[name] = stays * value + (1 - stays) * network.state_dict()[name]
    for name, value in expected.items():
        torch.testing.assert_close(average.network.state_dict()[name], value)
    counts = "backbone.stem.1.num_batches_tracked"
    assert average.network.state_dict()[counts] == network.state_dict()[counts]


def test_the_network_is_not_touched_and_the_copy_needs_no_gradient() -> None:
    network = tiny_network()
    average = WeightAverage(network, 0.5)
    before = {name: value.clone() for name, value in network.state_dict().items()}
    average.update(network, 1)
    assert all(torch.equal(value, before[name]) for name, value in network.state_dict().items())
    assert all(parameter.requires_grad for parameter in network.parameters())
    assert not any(parameter.requires_grad for parameter in average.network.parameters())
    # Of a network that stands still, the average is that network.
    found, wanted = (n.eval()(random_crops(2))["colour"] for n in (average.network, network))
    assert found.tolist() == [pytest.approx(row, rel=1e-4) for row in wanted.tolist()]
