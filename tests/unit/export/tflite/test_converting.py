"""What is done to a network before it is converted; needs torch alone."""

from __future__ import annotations

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from torch import nn

from export.tflite.converting import StripConvolution, _prepared
from tests.slimming import tiny_network
from tests.tflite import OWN, network_of
from train.backbones.layers import MixedDepthwise

pytestmark = pytest.mark.usefixtures("one_thread")


@given(
    kernel=st.sampled_from([7, 9, 11]),
    stride=st.sampled_from([(1, 1), (2, 2), (2, 1)]),
    width=st.integers(1, 12),
    seed=st.integers(0, 99),
)
def test_strips_add_up_to_the_convolution(
    kernel: int, stride: tuple[int, int], width: int, seed: int
) -> None:
    torch.manual_seed(seed)
    conv = nn.Conv2d(3, 3, kernel, stride, kernel // 2, groups=3)
    features = torch.randn(2, 3, 6, width)
    with torch.no_grad():
        torch.testing.assert_close(
            StripConvolution(conv)(features), conv(features), rtol=1e-4, atol=1e-5
        )


def test_no_strip_has_more_taps_than_are_fast() -> None:
    for kernel in (7, 9, 11):
        conv = nn.Conv2d(2, 2, kernel, 1, kernel // 2, groups=2)
        strips = StripConvolution(conv).strips
        assert all(weight.shape[2] * weight.shape[3] <= 25 for weight in strips)
        assert sum(weight.shape[3] for weight in strips) == kernel


@pytest.mark.parametrize("integer", [False, True])
def test_a_prepared_network_answers_as_before(integer: bool) -> None:
    network = network_of(OWN)
    prepared = _prepared(network, integer=integer)
    crops = torch.randint(0, 256, (4, 16, 32, 3), dtype=torch.uint8)
    with torch.no_grad():
        before, after = network(crops), prepared(crops)
    for name in before:
        torch.testing.assert_close(after[name], before[name], rtol=1e-4, atol=1e-4)
    kinds = [type(layer) for layer in prepared.modules()]
    assert nn.BatchNorm2d not in kinds
    assert (nn.Hardswish in kinds) != integer
    assert StripConvolution in kinds
    assert kinds.count(MixedDepthwise) == 1  # that with one kernel is a plain sequence now


def test_weights_lie_as_the_converter_reads_them() -> None:
    network = tiny_network().to(memory_format=torch.channels_last)
    prepared = _prepared(network, integer=False)
    assert all(parameter.is_contiguous() for parameter in prepared.parameters())
    assert not all(parameter.is_contiguous() for parameter in network.parameters())
