"""Scores of a network in training."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import torch

from tests.slimming import SCHEMA, SPEC, random_crops, tiny_network
from train.data import load_crops
from train.scoring import evaluate_network, score

pytestmark = pytest.mark.usefixtures("one_thread")


def test_scores_do_not_depend_on_how_crops_are_batched() -> None:
    network, images = tiny_network(), random_crops(70).numpy()
    together = score(network, images)
    parts = [score(network, images[:3]), score(network, images[3:])]
    for name, values in together.items():
        assert values.dtype == np.float32
        joined = np.concatenate([part[name] for part in parts])
        np.testing.assert_allclose(joined, values, rtol=1e-4, atol=1e-4)


def test_crops_are_scored_like_their_pictures(lamps: Path) -> None:
    crops = load_crops([lamps / "train"], SCHEMA, SPEC, cache_mb=0)
    network = tiny_network()
    found = score(network, crops)
    for name, values in score(network, crops.images_at(np.arange(256))).items():
        np.testing.assert_array_equal(found[name], values)


@pytest.mark.parametrize("training", [True, False])
def test_scoring_changes_nothing(training: bool) -> None:
    network = tiny_network().train(training)
    before = {name: value.clone() for name, value in network.state_dict().items()}
    score(network, random_crops(3).numpy())
    assert network.training is training
    after = network.state_dict()
    assert all(torch.equal(value, after[name]) for name, value in before.items())


def test_evaluation_is_in_fp32_and_evaluation_mode(lamps: Path) -> None:
    crops = load_crops([lamps / "val"], SCHEMA, SPEC)
    network = tiny_network().train()
    first, again = (evaluate_network(network, crops, SCHEMA) for _ in range(2))
    assert first.loss == again.loss
    for name, values in first.logits.items():
        np.testing.assert_array_equal(values, again.logits[name])
        truth = crops.targets.choices[name]
        assert first.head_accuracy[name] == pytest.approx((values.argmax(1) == truth).mean())
    right = [values.argmax(1) == crops.targets.choices[n] for n, values in first.logits.items()]
    assert first.exact == pytest.approx(np.all(right, axis=0).mean())
