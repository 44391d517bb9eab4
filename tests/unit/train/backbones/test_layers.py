"""Parts of architectures."""

from __future__ import annotations

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from torch import nn

from train.backbones.layers import MixedDepthwise, SqueezeExcite, divisible, stack_stages


@given(st.floats(1, 10_000))
def test_divisible_rounds_to_eights_and_never_far_down(channels: float) -> None:
    found = divisible(channels)
    assert found % 8 == 0
    assert found >= 8
    assert found >= 0.9 * channels
    assert found <= max(8, 1.1 * channels + 8)


@pytest.mark.parametrize(("channels", "expected"), [(3, 8), (12, 16), (11, 16), (88, 88), (18, 24)])
def test_divisible_as_the_authors_round(channels: float, expected: int) -> None:
    assert divisible(channels) == expected


def test_mixed_kernels_are_convolutions_of_their_share_with_one_norm_over_all() -> None:
    torch.manual_seed(0)
    mixed = MixedDepthwise(11, (3, 5, 7), "relu", (2, 1))
    features = torch.randn(4, 11, 9, 10)
    assert [part[0].in_channels for part in mixed.parts] == [5, 3, 3]  # type: ignore[index]
    norm = nn.BatchNorm2d(11)
    parts = zip(mixed.parts, features.split([5, 3, 3], 1), strict=True)
    together = torch.cat([part[0](piece) for part, piece in parts], 1)  # type: ignore[index]
    expected = norm(together).relu()
    torch.testing.assert_close(mixed(features), expected)
    assert expected.shape == (4, 11, 5, 10)


def test_the_squeeze_weighs_each_channel_by_the_whole_map() -> None:
    torch.manual_seed(0)
    squeeze = SqueezeExcite(6, 2)
    features = torch.randn(3, 6, 4, 5)
    scale = squeeze(features) / features
    assert torch.allclose(scale, scale[..., :1, :1].expand_as(scale), atol=1e-5)
    assert ((scale >= 0) & (scale <= 1)).all()


def test_stages_change_width_and_stride_in_their_first_block() -> None:
    made: list[tuple[object, ...]] = []

    def block(*place: object) -> nn.Module:
        made.append(place)
        return nn.Identity()

    stack_stages(4, (8, 16), (1, 2), ((2, 2), (2, 1)), block)
    assert made == [
        (4, 8, (2, 2), (0, 0)),
        (8, 16, (2, 1), (1, 0)),
        (16, 16, (1, 1), (1, 1)),
    ]
