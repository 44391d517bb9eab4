from __future__ import annotations

import numpy as np
import pytest
import torch

from compress.slim.groups import find_groups
from compress.slim.scales import channel_scores, mean_scales
from tests.slimming import SPEC, tiny_network


def test_scores_average_tied_scales() -> None:
    network = tiny_network()
    group = find_groups(network, SPEC)[0]
    parts = [network.get_submodule(name).weight.detach().abs().numpy() for name in group.scales]
    raw = channel_scores(network, [group], {})[group.name]
    assert raw == pytest.approx(np.mean(parts, axis=0), rel=1e-6)
    units = mean_scales(network, [group])
    assert channel_scores(network, [group], units)[group.name].mean() == pytest.approx(1)


def test_a_dead_group_has_a_unit() -> None:
    network = tiny_network()
    group = find_groups(network, SPEC)[1]
    with torch.no_grad():
        network.get_submodule(group.scales[0]).weight.zero_()
    assert mean_scales(network, [group]) == {group.name: 1.0}
