"""Heads: one linear layer each in training, one for all of them when deployed."""

from __future__ import annotations

import pytest
import torch
from torch import nn

from runtime.schema import Head, HeadKind, Schema
from tests.slimming import SCHEMA
from train.heads import FusedHeads, Heads
from train.pooling import POOLS, build_pool


def heads_on(shape: tuple[int, ...], pool: str, schema: Schema = SCHEMA) -> Heads:
    heads = Heads(schema, build_pool(pool, schema, torch.zeros(1, *shape)))
    for layer in heads.layers().values():
        nn.init.normal_(layer.weight)
        nn.init.normal_(layer.bias)
    return heads


@pytest.mark.parametrize("pool", list(POOLS))
def test_the_deployed_form_computes_what_the_heads_do(pool: str) -> None:
    torch.manual_seed(0)
    heads = heads_on((8, 3, 5), pool)
    features = torch.randn(9, 8, 3, 5)
    separate = heads(features)
    assert list(separate) == ["colour", "side"]
    parts = FusedHeads(heads)(features)
    for found, expected in zip(parts, separate.values(), strict=True):
        torch.testing.assert_close(found, expected, rtol=1e-6, atol=1e-5)


def test_fusing_is_a_copy() -> None:
    heads = heads_on((4, 1, 1), "global")
    fused = FusedHeads(heads).fused
    assert fused is not None
    before = fused.weight.clone()
    with torch.no_grad():
        for layer in heads.layers().values():
            layer.weight.add_(1)
    assert torch.equal(fused.weight, before)


@pytest.mark.parametrize(("pool", "each"), [("columns", 5), ("global", 1), ("attention", 1)])
def test_readers_are_the_layers_whose_inputs_follow_the_channels(pool: str, each: int) -> None:
    heads = heads_on((8, 3, 5), pool)
    readers = dict(heads.readers())
    extra = {"pool.score": 1} if pool == "attention" else {}
    assert readers == {**extra, "linear.colour": each, "linear.side": each}
    for name, count in readers.items():
        weight = heads.get_submodule(name).weight
        assert isinstance(weight, torch.Tensor)
        assert weight.shape[1] == 8 * count


# Attributes and methods of torch's modules; "type" is what many would call a head.
TAKEN = ("type", "keys", "items", "pop", "training", "forward", "float", "half", "eval", "linear")


def test_heads_may_have_names_that_torch_uses_itself() -> None:
    schema = Schema(
        name="taken",
        heads=tuple(Head(name=n, kind=HeadKind.CHOICE, labels=("a", "b")) for n in TAKEN),
    )
    heads = heads_on((4,), "global", schema)
    assert list(heads.layers()) == list(TAKEN)
    assert list(heads(torch.rand(2, 4))) == list(TAKEN)
    again = heads_on((4,), "global", schema)
    again.load_state_dict(heads.state_dict())
    for name, layer in again.layers().items():
        assert torch.equal(layer.weight, heads.layers()[name].weight)


def test_other_names_stand_as_they_are_in_weights() -> None:
    assert list(heads_on((4,), "global").state_dict()) == [
        "linear.colour.weight",
        "linear.colour.bias",
        "linear.side.weight",
        "linear.side.bias",
    ]
