"""Heads: one linear layer each in training, one for all of them when deployed."""

from __future__ import annotations

import pytest
import torch
from torch import nn

from runtime.errors import ConfigError
from runtime.schema import Head, HeadKind, Schema
from tests.slimming import SCHEMA
from train.heads import Heads, pool_features


def test_columns_keep_the_place_and_average_over_the_height() -> None:
    features = torch.arange(2 * 3 * 4 * 5, dtype=torch.float32).reshape(2, 3, 4, 5)
    pooled = pool_features(features, "columns")
    assert pooled.shape == (2, 15)
    for channel in range(3):
        for column in range(5):
            expected = features[:, channel, :, column].mean(1)
            assert torch.equal(pooled[:, 5 * channel + column], expected)


def test_global_averages_over_both_sides() -> None:
    features = torch.rand(2, 3, 4, 5)
    pooled = pool_features(features, "global")
    assert pooled.shape == (2, 3)
    torch.testing.assert_close(pooled, features.flatten(2).mean(2))


def test_an_unknown_pool_is_refused() -> None:
    with pytest.raises(ConfigError, match="pool 'max' is unknown; use one of"):
        pool_features(torch.rand(1, 1, 2, 2), "max")


def test_the_fused_layer_computes_what_the_heads_do() -> None:
    torch.manual_seed(0)
    heads = Heads(SCHEMA, 40)
    for layer in heads.layers().values():
        nn.init.normal_(layer.weight)
        nn.init.normal_(layer.bias)
    pooled = torch.randn(9, 40)
    separate = heads(pooled)
    assert list(separate) == ["colour", "side"]
    fused, sizes = heads.fused()
    assert sizes == [3, 2]
    parts = torch.split(fused(pooled), sizes, dim=1)
    for found, expected in zip(parts, separate.values(), strict=True):
        torch.testing.assert_close(found, expected, rtol=1e-6, atol=1e-5)


def test_fusing_is_a_copy() -> None:
    heads = Heads(SCHEMA, 4)
    fused, _ = heads.fused()
    before = fused.weight.clone()
    with torch.no_grad():
        for layer in heads.layers().values():
            layer.weight.add_(1)
    assert torch.equal(fused.weight, before)


# Attributes and methods of torch's modules; "type" is what many would call a head.
TAKEN = ("type", "keys", "items", "pop", "training", "forward", "float", "half", "eval", "linear")


def test_heads_may_have_names_that_torch_uses_itself() -> None:
    schema = Schema(
        name="taken",
        heads=tuple(Head(name=n, kind=HeadKind.CHOICE, labels=("a", "b")) for n in TAKEN),
    )
    heads = Heads(schema, 4)
    assert list(heads.layers()) == list(TAKEN)
    assert list(heads(torch.rand(2, 4))) == list(TAKEN)
    again = Heads(schema, 4)
    again.load_state_dict(heads.state_dict())
    for name, layer in again.layers().items():
        assert torch.equal(layer.weight, heads.layers()[name].weight)


def test_other_names_stand_as_they_are_in_weights() -> None:
    assert list(Heads(SCHEMA, 4).state_dict()) == [
        "linear.colour.weight",
        "linear.colour.bias",
        "linear.side.weight",
        "linear.side.bias",
    ]
