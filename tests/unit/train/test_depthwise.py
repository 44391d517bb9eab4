"""Gradients of depthwise convolutions in bfloat16 against torch's own in float32."""

from __future__ import annotations

import pytest
import torch
from torch import Tensor, nn

from train.depthwise import FastDepthwise, _Depthwise

Grads = tuple[Tensor, Tensor, Tensor]


def depthwise(
    kernel: tuple[int, int], stride: tuple[int, int], padding: tuple[int, int], channels: int = 6
) -> nn.Conv2d:
    return nn.Conv2d(channels, channels, kernel, stride, padding, groups=channels)


def gradients(conv: nn.Conv2d, image: Tensor, *, fast: bool) -> Grads:
    """Return the output's, the picture's and the weights' values of one training step."""
    image = image.detach().requires_grad_()
    conv.zero_grad()
    if fast:
        with FastDepthwise(), torch.autocast("cpu", torch.bfloat16):
            found = conv(image)
    else:
        found = conv(image)
    weights = torch.linspace(-1, 1, found.numel()).reshape(found.shape).sin()
    (found.float() * weights).sum().backward()
    assert conv.bias is not None
    assert conv.bias.grad is not None
    assert conv.weight.grad is not None
    assert image.grad is not None
    return found.float().detach(), image.grad, conv.weight.grad


@pytest.mark.parametrize(
    ("kernel", "stride", "padding", "size"),
    [
        ((3, 3), (2, 2), (1, 1), (12, 36)),
        ((3, 3), (2, 2), (1, 1), (11, 7)),  # the last row and column of places are cut off
        ((5, 5), (1, 1), (2, 2), (6, 18)),
        ((5, 5), (2, 2), (2, 2), (9, 10)),
        ((3, 7), (2, 1), (1, 3), (8, 16)),
        ((9, 9), (1, 1), (4, 4), (9, 9)),
        ((7, 7), (3, 2), (0, 5), (17, 12)),
    ],
)
def test_gradients_are_those_of_float32(
    kernel: tuple[int, int],
    stride: tuple[int, int],
    padding: tuple[int, int],
    size: tuple[int, int],
) -> None:
    torch.manual_seed(3)
    conv = depthwise(kernel, stride, padding)
    image = torch.randn(4, 6, *size).to(memory_format=torch.channels_last)
    exact = gradients(conv, image, fast=False)
    for own, told in zip(gradients(conv, image, fast=True), exact, strict=True):
        assert own.shape == told.shape
        # bfloat16 keeps 8 bits: 0.4 % a value, less over many.
        assert float((own - told).norm() / told.norm()) < 6e-3


@pytest.mark.parametrize(
    ("conv", "taken"),
    [
        (depthwise((3, 3), (2, 2), (1, 1)), True),
        (depthwise((5, 5), (1, 1), (2, 2)), True),
        (depthwise((3, 3), (1, 1), (1, 1)), False),  # fast by itself
        (depthwise((4, 4), (2, 2), (1, 1)), False),  # not made of 3x3
        (depthwise((5, 1), (1, 1), (2, 0)), False),
        (nn.Conv2d(6, 12, 5, groups=6), False),
        (nn.Conv2d(6, 6, 5, groups=3), False),
        (nn.Conv2d(6, 6, 5, dilation=2, groups=6), False),
        (nn.Conv2d(6, 6, 5, padding="same", groups=6), False),
        (nn.Conv2d(1, 1, 5), False),
    ],
)
def test_only_slow_ones_are_taken(
    conv: nn.Conv2d, taken: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    calls = []
    apply = _Depthwise.apply
    monkeypatch.setattr(_Depthwise, "apply", lambda *args: calls.append(1) or apply(*args))
    image = torch.randn(2, conv.in_channels, 12, 12)
    with FastDepthwise(), torch.autocast("cpu", torch.bfloat16):
        found = conv(image)
    with torch.autocast("cpu", torch.bfloat16):
        assert torch.equal(found, conv(image))
    assert bool(calls) == taken


def test_float32_and_evaluation_stay_as_they_are(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(_Depthwise, "apply", None)  # any call would fail
    conv, image = depthwise((5, 5), (2, 2), (2, 2)), torch.randn(2, 6, 12, 12)
    with FastDepthwise():
        conv(image).sum().backward()
        with torch.no_grad(), torch.autocast("cpu", torch.bfloat16):
            conv(image)


def test_frozen_weights_get_no_gradient() -> None:
    conv, image = depthwise((5, 5), (2, 2), (2, 2)), torch.randn(2, 6, 12, 12, requires_grad=True)
    conv.requires_grad_(False)
    with FastDepthwise(), torch.autocast("cpu", torch.bfloat16):
        conv(image).sum().backward()
    assert conv.weight.grad is None
    assert image.grad is not None
