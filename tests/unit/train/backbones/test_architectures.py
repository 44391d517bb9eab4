"""The architectures are those of their papers: known parameter counts and structure.

Published counts are those of torchvision 0.28 and timm 1.0 without classifiers.
"""

from __future__ import annotations

import pytest
import torch
from torch import nn

from train.backbones import build_backbone, resolve_sizes
from train.backbones.sizes import Size


def make(name: str, **sizes: Size) -> nn.Module:
    return build_backbone(name, resolve_sizes(name, sizes))


def count(module: nn.Module) -> int:
    return sum(parameter.numel() for parameter in module.parameters())


def convolutions(module: nn.Module) -> list[nn.Conv2d]:
    return [layer for layer in module.modules() if isinstance(layer, nn.Conv2d)]


# torchvision's 7x7 stem, ours is 3x3.
STEM = 64 * 3 * (7 * 7 - 3 * 3)


@pytest.mark.parametrize(
    ("name", "sizes", "published"),
    [
        ("resnet18", {}, 11_176_512 - STEM),
        ("resnet18", {"blocks": (3, 4, 6, 3)}, 21_284_672 - STEM),
        ("mobilenet_v1", {}, 3_206_976),
        ("mobilenet_v2", {}, 2_223_872),
        ("mobilenet_v3_small", {}, 927_008),
        ("mobilenet_v3_large", {}, 2_971_952),
        # vgg16_bn and vgg19_bn with a bias on each convolution: one per channel.
        ("vgg16_bn", {}, 14_723_136 - 2 * 64 - 2 * 128 - 3 * 256 - 6 * 512),
        (
            "vgg16_bn",
            {"blocks": (2, 2, 4, 4, 4)},
            20_035_392 - 2 * 64 - 2 * 128 - 4 * 256 - 8 * 512,
        ),
        ("mixnet", {"kernels": (3, 5, 7, 9, 11), "pointwise_groups": 2}, 2_597_606),
    ],
)
def test_published_counts(name: str, sizes: dict[str, Size], published: int) -> None:
    assert count(make(name, **sizes)) == published


def test_resnet_18_has_17_convolutions_and_3_projections() -> None:
    kernels = [layer.kernel_size for layer in convolutions(make("resnet18"))]
    assert (kernels.count((3, 3)), kernels.count((1, 1))) == (17, 3)


def test_pre_activation_moves_normalisations_and_nothing_else() -> None:
    """Shortcuts lose theirs, the first block its first; others' have the inputs' width."""
    shortcuts = 2 * (128 + 256 + 512)
    before = 2 * (64 + 64 + 128 + 128 + 256 + 256 + 512)  # bn1 of all blocks but the first
    bn1, tail = 2 * (2 * 64 + 2 * 128 + 2 * 256 + 2 * 512), 2 * 512
    # ResNet-18 has bn1 and bn2 of the outputs' width; v2 has bn2 of that width, too.
    expected = count(make("resnet18")) - shortcuts - bn1 + before + tail
    assert count(make("resnet18_v2")) == expected


def test_pre_activation_leaves_the_way_of_the_identity_clear() -> None:
    """With silent blocks the last stages' maps are the projected stem, never cut by a ReLU."""
    network = make("resnet18_v2", width=8, last_width=8, blocks=(3, 1, 1, 1)).eval()
    for name, layer in network.named_modules():
        if name.endswith("conv2"):
            nn.init.zeros_(layer.weight)
    stem = network.get_submodule("stem")
    first = network.get_submodule("stages.0")
    image = torch.randn(1, 3, 16, 32)
    with torch.inference_mode():
        assert torch.equal(first(stem(image)), stem(image))


def test_resnext_18_by_hand() -> None:
    """32 groups of 4 channels, doubled; 1x1 in, grouped 3x3, 1x1 out, as in figure 3c."""
    total, inputs = 3 * 9 * 64 + 2 * 64, 64
    for stage, outputs in enumerate((64, 128, 256, 512)):
        inner, group = 128 << stage, 4 << stage
        for index in range(2):
            total += inputs * inner + 9 * group * inner + inner * outputs
            total += 2 * (inner + inner + outputs)
            if index == 0 and inputs != outputs:
                total += inputs * outputs + 2 * outputs
            inputs = outputs
    network = make("resnext18")
    assert count(network) == total == 3_419_456
    grouped = [layer.groups for layer in convolutions(network) if layer.groups > 1]
    assert grouped == [32] * 8


@pytest.mark.parametrize(
    ("name", "strides"),
    [("mobilenet_v3_small", (2, 2, 2, 2, 2)), ("mobilenet_v3_large", (2, 2, 2, 2, 2))],
)
def test_mobilenet_v3_halves_where_its_tables_say(name: str, strides: tuple[int, ...]) -> None:
    layers = convolutions(make(name, last_stride=(2, 2)))
    assert tuple(layer.stride[0] for layer in layers if layer.stride != (1, 1)) == strides
    small = name.endswith("small")
    squeezes = [n for n, _ in make(name).named_modules() if n.endswith("squeeze.reduce")]
    rows = (0, 3, 4, 5, 6, 7, 8, 9, 10) if small else (3, 4, 5, 10, 11, 12, 13, 14)
    assert squeezes == [f"blocks.{row}.squeeze.reduce" for row in rows]
    first = min(
        int(n.split(".")[1])
        for n, layer in make(name).named_modules()
        if isinstance(layer, nn.Hardswish) and n.startswith("blocks.")
    )
    assert first == (3 if small else 6)


def test_mixnet_mixes_real_kernels() -> None:
    layers = [layer for layer in convolutions(make("mixnet")) if layer.groups > 1]
    assert {layer.kernel_size[0] for layer in layers} == {3, 5, 7, 9}
    assert all(layer.groups == layer.in_channels == layer.out_channels for layer in layers)
