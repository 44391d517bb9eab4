"""Loss curves of groups and what they say about single channels."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from compress.slim.groups import find_groups
from compress.slim.loss_curves import SHARES, loss_curves, marginal_losses
from compress.slim.scales import channel_scores
from tests.slimming import SCHEMA, SPEC, random_crops, tiny_network, write_lamps
from train.data import load_crops


def test_marginals_add_up_to_a_convex_curve() -> None:
    # Slopes 4, 8 and 16 per share: the middle of the last segment is at 5/8 of the width.
    marginals = marginal_losses([1.0, 2.0, 4.0, 8.0], 1000)
    assert marginals[125] * 1000 == pytest.approx(4, rel=0.01)
    assert marginals[375] * 1000 == pytest.approx(8, rel=0.01)
    assert marginals[625] * 1000 == pytest.approx(16, rel=0.01)
    assert marginals[-1] * 1000 == pytest.approx(16 + 1.5 * 8, rel=0.01)


def test_a_loss_that_falls_is_noise() -> None:
    # Slopes 8, -4 and 8: the first two are pooled to 2.
    marginals = marginal_losses([0.0, 2.0, 1.0, 3.0], 800)
    assert marginals[[100, 300, 500]] * 800 == pytest.approx([2, 2, 8], rel=0.02)
    assert marginal_losses([3.0, 2.0, 1.0, 0.5], 16).tolist() == [0.0] * 16


@given(
    losses=st.lists(st.floats(0, 100), min_size=len(SHARES), max_size=len(SHARES)),
    width=st.integers(1, 200),
)
def test_no_unit_is_worth_less_than_one_that_went_before(losses: list[float], width: int) -> None:
    marginals = marginal_losses(losses, width)
    assert marginals.shape == (width,)
    assert (marginals >= 0).all()
    assert (np.diff(marginals) >= -1e-12).all()


def test_a_group_that_does_nothing_costs_nothing(tmp_path: Path) -> None:
    network = tiny_network()
    groups = find_groups(network, SPEC)[:2]
    idle = groups[1]
    for name in idle.norms:
        layer = network.get_submodule(name)
        layer.weight.data.zero_()
        layer.bias.data.zero_()
    scores = channel_scores(network, groups, {})
    crops = load_crops([write_lamps(tmp_path / "lamps", 40, seed=0)], SCHEMA, SPEC)
    before = {name: value.clone() for name, value in network.state_dict().items()}
    found = loss_curves(network, groups, scores, SCHEMA, [random_crops(16)], crops)
    assert found[idle.name] == pytest.approx([found[idle.name][0]] * len(SHARES), rel=1e-4)
    assert found[groups[0].name][0] == found[idle.name][0]
    assert abs(found[groups[0].name][-1] - found[idle.name][0]) > 0.01
    assert all(value.equal(before[name]) for name, value in network.state_dict().items())
