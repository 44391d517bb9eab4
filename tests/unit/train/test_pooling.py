"""Pools: what the heads see of a feature map."""

from __future__ import annotations

import pytest
import torch

from runtime.errors import ConfigError
from runtime.schema import Head, HeadKind, Reading, Schema
from tests.slimming import SCHEMA
from train.pooling import Attention, build_pool

TEXT = Schema(
    name="text",
    heads=tuple(
        Head(name=name, kind=HeadKind.CHOICE, labels=("a", "b"))
        for name in ("colour", "first", "second", "third")
    ),
    readings=(Reading(name="word", heads=("first", "second", "third")),),
)


def test_columns_keep_the_place_and_average_over_the_height() -> None:
    features = torch.arange(2 * 3 * 4 * 5, dtype=torch.float32).reshape(2, 3, 4, 5)
    pooled = build_pool("columns", SCHEMA, features)(features)
    assert pooled.shape == (2, 15)
    for channel in range(3):
        for column in range(5):
            expected = features[:, channel, :, column].mean(1)
            assert torch.equal(pooled[:, 5 * channel + column], expected)


def test_global_averages_over_both_sides() -> None:
    features = torch.rand(2, 3, 4, 5)
    pooled = build_pool("global", SCHEMA, features)(features)
    assert pooled.shape == (2, 3)
    torch.testing.assert_close(pooled, features.flatten(2).mean(2))


def test_attention_is_a_weighted_mean_with_weights_of_each_head() -> None:
    torch.manual_seed(0)
    features = torch.rand(2, 6, 3, 5)
    pool = build_pool("attention", TEXT, features)
    assert isinstance(pool, Attention)
    torch.nn.init.normal_(pool.score.weight)
    torch.nn.init.normal_(pool.place)
    pooled = pool(features)
    assert pooled.shape == (2, 4, 6)
    for head in range(4):
        flat = features.flatten(2)  # (2, 6, 15)
        logits = (pool.score.weight[head, :, 0, 0, None] * flat).sum(1)
        weights = torch.softmax(logits + pool.place[head], 1)
        expected = (flat * weights[:, None]).sum(2)
        torch.testing.assert_close(pool.of_head(pooled, head), expected)


def test_attention_starts_at_each_characters_share_of_the_width() -> None:
    pool = build_pool("attention", TEXT, torch.zeros(1, 4, 2, 12))
    assert isinstance(pool, Attention)
    weights = pool.place.detach().softmax(1).view(4, 2, 12)
    assert torch.equal(weights[0], torch.full((2, 12), 1 / 24))
    centres = (weights[1:].sum(1) * (torch.arange(12) + 0.5)).sum(1)
    # Shares of 4 columns each; the bells of the outer ones are cut at the border.
    torch.testing.assert_close(centres, torch.tensor([3.0, 6.0, 9.0]), rtol=0, atol=1.2)
    assert centres[1] == pytest.approx(6.0)
    assert weights[1].sum(0).argmax() in (1, 2)
    assert weights[3].sum(0).argmax() in (9, 10)


@pytest.mark.parametrize("pool", ["columns", "attention"])
def test_a_pool_over_places_needs_a_feature_map(pool: str) -> None:
    with pytest.raises(ConfigError, match="needs a feature map"):
        build_pool(pool, SCHEMA, torch.rand(1, 7))


@pytest.mark.parametrize("features", [torch.rand(1, 2, 3), None])
def test_what_is_no_feature_map_is_refused(features: object) -> None:
    with pytest.raises(ConfigError, match="a backbone must return a feature map"):
        build_pool("global", SCHEMA, features)


def test_an_unknown_pool_is_refused() -> None:
    with pytest.raises(ConfigError, match="pool 'max' is unknown; use one of"):
        build_pool("max", SCHEMA, torch.rand(1, 1, 2, 2))
