"""Labels of channels: where they start, where they meet, and what pins them."""

from __future__ import annotations

from collections.abc import Callable

import pytest
import torch
from torch import Tensor, nn

from compress.slim.tracing import Trace, trace_channels


class Two(nn.Module):
    """Two convolutions to put together in any way."""

    def __init__(self) -> None:
        super().__init__()
        self.a, self.b = nn.Conv2d(3, 4, 3, padding=1), nn.Conv2d(3, 4, 3, padding=1)
        self.last = nn.Conv2d(4, 2, 1)


def trace(join: Callable[[Tensor, Tensor], Tensor]) -> Trace:
    network = Two().eval()
    return trace_channels(
        network,
        lambda image: network.last(join(network.a(image), network.b(image))),
        torch.zeros(1, 3, 6, 6),
    )


@pytest.mark.parametrize(
    "join",
    [
        torch.add,
        torch.mul,
        torch.maximum,
        lambda a, b: a * b.mean((2, 3), keepdim=True),
        lambda a, b: a + nn.functional.max_pool2d(b, 3, 1, 1),
        lambda a, b: a.add_(torch.sigmoid(b)),
        lambda a, b: (a.permute(0, 2, 3, 1) + b.permute(0, 2, 3, 1)).permute(0, 3, 1, 2),
        lambda a, b: (a.flatten(2) - b.flatten(2)).view(1, 4, 6, 6),
        lambda a, b: torch.where(a > 0, a, b),
        lambda a, b: a + nn.functional.pad(b[:, :, 1:], (0, 0, 1, 0)),
    ],
)
def test_values_that_meet_tie_their_channels(join: Callable[[Tensor, Tensor], Tensor]) -> None:
    found = trace(join)
    assert found.outputs["a"].tolist() == found.outputs["b"].tolist()
    assert found.inputs["last"].tolist() == found.outputs["a"].tolist()
    assert not found.pinned
    assert found.features.tolist() == found.outputs["last"].tolist()


def test_channels_keep_their_labels_wherever_they_go() -> None:
    found = trace(lambda a, b: torch.cat([b[:, 2:], a.flip(1)[:, :2]], 1))
    a, b = found.outputs["a"].tolist(), found.outputs["b"].tolist()
    assert not set(a) & set(b)
    assert found.inputs["last"].tolist() == [b[2], b[3], a[3], a[2]]


def test_one_value_for_all_channels_ties_none() -> None:
    """A map of places, as attention has, multiplies every channel alike."""
    found = trace(lambda a, b: a * b.mean(1, keepdim=True) + 1.0)
    assert found.inputs["last"].tolist() == found.outputs["a"].tolist()
    assert not set(found.outputs["a"].tolist()) & set(found.pinned)
    # All of b is mixed into that map.
    assert set(found.outputs["b"].tolist()) <= set(found.pinned)


@pytest.mark.parametrize(
    ("join", "reason"),
    [
        (lambda a, b: a.softmax(1) + b, "aten._softmax.default cannot be followed"),
        (lambda a, b: a + b + torch.ones(1, 4, 1, 1), "joined with values of no layer"),
        (lambda a, b: a.view(1, 2, 2, 6, 6).sum(2).repeat(1, 2, 1, 1) + b, "mixed with others"),
    ],
)
def test_what_cannot_be_taken_apart_is_pinned(
    join: Callable[[Tensor, Tensor], Tensor], reason: str
) -> None:
    found = trace(join)
    assert set(found.outputs["a"].tolist()) <= set(found.pinned)
    assert any(reason in text for text in found.pinned.values())


def test_a_subclass_of_a_convolution_is_not_touched() -> None:
    class Scaled(nn.Conv2d):
        """Does more than its parent."""

    network = nn.Sequential(nn.Conv2d(3, 4, 1), Scaled(4, 4, 1), nn.Conv2d(4, 2, 1)).eval()
    found = trace_channels(network, network, torch.zeros(1, 3, 2, 2))
    assert list(found.outputs) == ["0", "2"]
    assert set(found.outputs["0"].tolist()) <= set(found.pinned)
    assert found.inputs["2"].tolist() == [-1] * 4
    assert "aten.convolution.default of 1 (Scaled)" in next(iter(found.pinned.values()))
