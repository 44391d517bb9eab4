from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from compress.search.space import Candidate, NetworkChoice, candidates, narrowed
from runtime.errors import ConfigError
from train.network import NetworkConfig


def test_the_space_is_every_combination_the_largest_network_first() -> None:
    space = candidates((0.5, 1.0), (0.7, 0.0), ("int8", "fp32"), ("onnx", "openvino"))
    assert len(set(space)) == 16
    networks = list(dict.fromkeys(candidate.network for candidate in space))
    assert networks == [
        NetworkChoice(1.0, 0.0),
        NetworkChoice(1.0, 0.7),
        NetworkChoice(0.5, 0.0),
        NetworkChoice(0.5, 0.7),
    ]
    assert [candidate.variant for candidate in space[:4]] == [
        "int8-onnx",
        "int8-openvino",
        "fp32-onnx",
        "fp32-openvino",
    ]
    assert space[-1].name == "w0.5-t0.7-fp32-openvino"


@given(
    st.builds(
        Candidate,
        st.builds(NetworkChoice, st.floats(0.01, 1), st.floats(0, 0.99)),
        st.sampled_from(["int8", "fp32"]),
        st.sampled_from(["onnx", "openvino"]),
    )
)
def test_a_candidate_is_its_coordinates(candidate: Candidate) -> None:
    assert Candidate.of(candidate.params()) == candidate


@pytest.mark.parametrize(
    ("axis", "values", "message"),
    [
        (0, (), "--widths needs values"),
        (0, (1.0, 1.0), "none of them twice"),
        (0, (1.5,), r"in \(0, 1\]"),
        (1, (1.0,), r"in \[0, 1\)"),
        (1, (float("nan"),), r"in \[0, 1\)"),
        (2, ("int4",), "--precisions must be of"),
        (3, (), "--engines needs values"),
    ],
)
def test_an_axis_that_cannot_be_is_named(
    axis: int, values: tuple[object, ...], message: str
) -> None:
    axes: list[object] = [(1.0,), (0.5,), ("int8",), ("onnx",)]
    axes[axis] = values
    with pytest.raises(ConfigError, match=message):
        candidates(*axes)  # type: ignore[arg-type]


def test_a_narrower_resnet_has_all_widths_scaled_to_multiples_of_8() -> None:
    config = NetworkConfig(sizes={"width": 48, "last_width": 384})
    sizes = narrowed(config, 0.75).sizes
    # 36 lies half-way between 32 and 40.
    assert (sizes["width"], sizes["last_width"], sizes["blocks"]) == (32, 288, (2, 2, 2, 2))
    assert narrowed(config, 1.0) is config
    assert narrowed(config, 0.01).sizes["width"] == 8


def test_a_backbone_with_a_multiplier_is_narrowed_by_it_and_lists_of_widths_one_by_one() -> None:
    mobile = narrowed(NetworkConfig(backbone="mobilenet_v2"), 0.5)
    assert (mobile.sizes["multiplier"], mobile.sizes["last_width"]) == (0.5, 1280)
    vgg = narrowed(NetworkConfig(backbone="vgg16_bn"), 0.25)
    assert vgg.sizes["widths"] == (16, 32, 64, 128, 128)


def test_a_backbone_without_widths_cannot_be_narrowed() -> None:
    own = NetworkConfig(backbone="tests.unit.train.own:factory", sizes={"depth": 3})
    with pytest.raises(ConfigError, match=r"no size that a width could scale .*--widths 1"):
        narrowed(own, 0.5)
