"""What is computed otherwise in bfloat16 against torch's own in float32."""

from __future__ import annotations

from collections.abc import Callable
from contextlib import nullcontext
from typing import Any

import pytest
import torch
from torch import Tensor, nn

from train.fast_kernels import FastKernels, products
from train.fast_kernels.convolution import Convolution, Kernels
from train.fast_kernels.depthwise import DEPTHWISE
from train.fast_kernels.means import MeanOverPlaces
from train.fast_kernels.products import MANY_CHANNELS, POINTWISE, SMALL_MAP

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
        with FastKernels(), torch.autocast("cpu", torch.bfloat16):
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
    ("conv", "size"),
    [
        (nn.Conv2d(64, 64, 3, padding=1), (2, 6)),
        (
            nn.Conv2d(80, 128, 3, stride=2, padding=1),
            (5, 8),
        ),  # the last row is seen, not the column
        (nn.Conv2d(96, 64, (3, 1), stride=(2, 1), padding=(0, 0)), (5, 7)),
        (nn.Conv2d(48, 72, (2, 5), padding=(1, 2)), (1, 5)),
    ],
)
def test_small_maps(conv: nn.Conv2d, size: tuple[int, int]) -> None:
    check_product(conv, size)


def check_product(conv: nn.Conv2d, size: tuple[int, int]) -> None:
    torch.manual_seed(3)
    image = torch.randn(4, conv.in_channels, *size)
    exact = gradients(conv, image, fast=False)
    for layout in (torch.channels_last, torch.contiguous_format):
        found = gradients(conv, image.contiguous(memory_format=layout), fast=True)
        for own, told in zip(found, exact, strict=True):
            assert own.shape == told.shape
            assert float((own - told).norm() / told.norm()) < 6e-3


@pytest.mark.parametrize(
    ("conv", "size"),
    [
        (nn.Conv2d(64, 80, 3, padding=1), (2, 3)),
        (nn.Conv2d(96, 64, (3, 1)), (4, 3)),
        (nn.Conv2d(80, 72, (2, 5), padding=(1, 2)), (1, 2)),
        (nn.Conv2d(64, 64, 3, padding=(0, 2)), (3, 4)),
    ],
)
def test_many_channels(
    conv: nn.Conv2d, size: tuple[int, int], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(products, "_MANY_WEIGHTS", 0)
    monkeypatch.setattr(products, "_multiplies_tiles", lambda: True)
    calls = noted(monkeypatch, Convolution)
    check_product(conv, size)
    assert calls == [MANY_CHANNELS, MANY_CHANNELS]


@pytest.mark.parametrize(("into", "out"), [(24, 24), (8, 24), (24, 8)])
@pytest.mark.parametrize("size", [(1, 1), (6, 18)])
def test_one_place(into: int, out: int, size: tuple[int, int]) -> None:
    check_product(nn.Conv2d(into, out, 1), size)


@pytest.mark.parametrize("axes", [(2, 3), [2, 3]])
def test_the_gradient_of_a_mean_lies_as_the_picture(
    axes: tuple[int, int] | list[int], monkeypatch: pytest.MonkeyPatch
) -> None:
    calls = noted(monkeypatch, MeanOverPlaces)
    torch.manual_seed(3)
    picture = torch.randn(2, 5, 3, 4).to(memory_format=torch.channels_last)
    weights = torch.randn(2, 5, 1, 1)
    found = []
    for context in (FastKernels(), nullcontext()):
        with context, torch.autocast("cpu", torch.bfloat16):
            image = picture.clone().requires_grad_()
            pooled = image.mean(axes, keepdim=True)
            (pooled * weights).sum().backward()
        assert image.grad is not None
        found.append((pooled.detach(), image.grad))
    assert len(calls) == 1
    assert torch.equal(found[0][0], found[1][0])
    torch.testing.assert_close(found[0][1], found[1][1])
    assert found[0][1].is_contiguous(memory_format=torch.channels_last)
    with FastKernels(), torch.autocast("cpu", torch.bfloat16):
        for other in (image.mean(axes), image.mean((1, 2), keepdim=True), image.mean()):
            assert other.requires_grad
        torch.randn(2, 5, 3, 4, requires_grad=True).mean(axes, keepdim=True)
    assert len(calls) == 1


@pytest.mark.parametrize(
    ("conv", "taken"),
    [
        (depthwise((3, 3), (2, 2), (1, 1)), DEPTHWISE),
        (depthwise((5, 5), (1, 1), (2, 2)), DEPTHWISE),
        (depthwise((3, 3), (1, 1), (1, 1)), None),  # fast by itself
        (depthwise((4, 4), (2, 2), (1, 1)), None),  # not made of 3x3
        (depthwise((5, 1), (1, 1), (2, 0)), None),
        (nn.Conv2d(6, 12, 5, groups=6), None),
        (nn.Conv2d(6, 6, 5, groups=3), None),
        (nn.Conv2d(6, 6, 5, dilation=2, groups=6), None),
        (nn.Conv2d(6, 6, 5, padding="same", groups=6), None),
        (nn.Conv2d(1, 1, 5), None),
        (nn.Conv2d(64, 64, 3, stride=3), SMALL_MAP),  # 16 places
        (nn.Conv2d(64, 63, 3, stride=3), None),
        (nn.Conv2d(64, 64, 3, stride=3, dilation=2), None),
        (nn.Conv2d(64, 64, 1, stride=3), None),
        (nn.Conv2d(64, 64, 1), POINTWISE),
        (nn.Conv2d(4, 4, 1, padding=2), None),
        (nn.Conv2d(4, 4, 1, padding=1), None),
        (nn.Conv2d(320, 320, 3, stride=3), SMALL_MAP),
        (nn.Conv2d(320, 320, (12, 9)), MANY_CHANNELS),  # 4 places
        (nn.Conv2d(64, 64, (12, 9)), SMALL_MAP),  # few weights
        (nn.Conv2d(128, 128, 3, stride=3, groups=2), None),
    ],
)
def test_only_slow_ones_are_taken(
    conv: nn.Conv2d, taken: Kernels | None, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(products, "_multiplies_tiles", lambda: True)
    calls = noted(monkeypatch, Convolution)
    image = torch.randn(2, conv.in_channels, 12, 12)
    with FastKernels(), torch.autocast("cpu", torch.bfloat16):
        found = conv(image)
    with torch.autocast("cpu", torch.bfloat16):
        torch.testing.assert_close(found, conv(image), rtol=2e-2, atol=2e-2)
    assert calls == ([] if taken is None else [taken])


@pytest.mark.parametrize(
    ("stride", "padding", "dilation", "taken"),
    [
        (1, 2, 1, DEPTHWISE),
        ((2,), [2], (1,), DEPTHWISE),
        ([2, 2], (2, 2), [1, 1], DEPTHWISE),
        (1, 2, 2, None),
        (1, "same", 1, None),
        ((1, 1), "valid", (1, 1), None),
    ],
)
def test_sizes_are_written_as_torch_takes_them(
    stride: Any, padding: Any, dilation: Any, taken: Kernels | None, monkeypatch: pytest.MonkeyPatch
) -> None:
    calls = noted(monkeypatch, Convolution)
    weight = torch.randn(6, 1, 5, 5, requires_grad=True)
    options = (torch.randn(2, 6, 12, 9), weight, None, stride, padding, dilation, 6)
    with FastKernels(), torch.autocast("cpu", torch.bfloat16):
        found = torch.conv2d(*options)
    found.sum().backward()
    with torch.autocast("cpu", torch.bfloat16):
        torch.testing.assert_close(found, torch.conv2d(*options), rtol=2e-2, atol=2e-2)
    assert calls == ([] if taken is None else [taken])


def test_without_tiles_only_the_weights_gradient_is_a_product(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(products, "_multiplies_tiles", lambda: False)
    calls = noted(monkeypatch, Convolution)
    conv = nn.Conv2d(320, 320, (12, 9))
    with FastKernels(), torch.autocast("cpu", torch.bfloat16):
        conv(torch.randn(2, 320, 12, 12))
    assert calls == [SMALL_MAP]


def noted(monkeypatch: pytest.MonkeyPatch, kind: type[torch.autograd.Function]) -> list[object]:
    """Return a list that gets the first argument of every call from now on."""
    calls: list[object] = []
    apply: Callable[..., Tensor] = kind.apply

    def noting(*args: object) -> Tensor:
        calls.append(args[0])
        return apply(*args)

    monkeypatch.setattr(kind, "apply", noting)
    return calls


def test_float32_and_evaluation_stay_as_they_are(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(Convolution, "apply", None)  # any call would fail
    for conv in (depthwise((5, 5), (2, 2), (2, 2)), nn.Conv2d(64, 64, 3), nn.Conv2d(6, 6, 1)):
        image = torch.randn(2, conv.in_channels, 6, 6)
        with FastKernels():
            conv(image).sum().backward()
            with torch.no_grad(), torch.autocast("cpu", torch.bfloat16):
                conv(image)


@pytest.mark.parametrize(
    "conv", [depthwise((5, 5), (2, 2), (2, 2)), nn.Conv2d(64, 64, 3), nn.Conv2d(6, 6, 1)]
)
def test_frozen_weights_get_no_gradient(conv: nn.Conv2d) -> None:
    image = torch.randn(2, conv.in_channels, 6, 6, requires_grad=True)
    conv.requires_grad_(False)
    with FastKernels(), torch.autocast("cpu", torch.bfloat16):
        conv(image).sum().backward()
    assert conv.weight.grad is None
    assert image.grad is not None
