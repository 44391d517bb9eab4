"""Sizes: what is taken, what is refused, and that words come back as what they were."""

from __future__ import annotations

import copy
import pickle
from dataclasses import dataclass
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from runtime.errors import CheckpointError, ConfigError
from train.backbones import BACKBONES, resolve_sizes
from train.backbones.sizes import (
    BackboneConfig,
    Size,
    Sizes,
    bounded,
    one_of,
    parse_sizes,
    size_from_json,
    sizes_text,
    sizes_words,
)


@dataclass(frozen=True, slots=True, kw_only=True)
class Config(BackboneConfig):
    width: int = bounded(64, 8, 128)
    share: float = bounded(0.5, 0.0, 1.0)
    blocks: tuple[int, ...] = bounded((2, 2, 3), 1)
    kernels: tuple[int, ...] = bounded((3, 5), 1, 9, length=0, odd=True)
    activation: str = one_of("relu", ("relu", "silu"))


def test_values_within_bounds_are_taken() -> None:
    config = Config(width=8, share=1, blocks=(1, 9, 1), kernels=(9,), activation="silu")
    assert (config.width, config.share, config.last_stride) == (8, 1, (2, 1))


@pytest.mark.parametrize(
    ("wrong", "message"),
    [
        ({"width": 7}, "width must be a whole number >= 8 and <= 128, got 7"),
        ({"width": 129}, "width must be"),
        ({"width": 64.0}, "got 64.0"),
        ({"width": True}, "got True"),
        ({"width": "64"}, "got '64'"),
        ({"width": (64,)}, r"got \(64,\)"),
        ({"share": float("nan")}, "share must be a number >= 0.0 and <= 1.0, got nan"),
        ({"share": 1.5}, "got 1.5"),
        ({"blocks": (2, 2)}, r"blocks must be 3 whole numbers >= 1, got \(2, 2\)"),
        ({"blocks": (2, 2, 0)}, "blocks must be"),
        ({"blocks": 2}, "blocks must be"),
        ({"blocks": [2, 2, 3]}, "blocks must be"),
        ({"kernels": ()}, "kernels must be whole numbers >= 1 and <= 9, odd"),
        ({"kernels": (3, 4)}, "kernels must be"),
        ({"kernels": (3, True)}, "kernels must be"),
        ({"activation": "tanh"}, r"activation must be one of \('relu', 'silu'\), got 'tanh'"),
        ({"activation": 1}, "activation must be one of"),
        ({"stem_stride": 3}, "stem_stride must be a whole number >= 1 and <= 2"),
        ({"last_stride": (2, 4)}, "last_stride must be two whole numbers >= 1 and <= 2"),
        ({"last_stride": (2,)}, "last_stride must be"),
    ],
)
def test_other_values_are_refused(wrong: dict[str, Any], message: str) -> None:
    with pytest.raises(ConfigError, match=message):
        Config(**wrong)


@pytest.mark.parametrize("name", BACKBONES)
def test_wrong_sizes_are_told_with_all_sizes_and_defaults(name: str) -> None:
    with pytest.raises(ConfigError) as caught:
        resolve_sizes(name, {"depth": 3, "stem_stride": 2})
    expected = f"backbone {name}: it has no size 'depth'. Its sizes and their defaults: "
    assert str(caught.value).startswith(expected)
    assert "stem_stride=2 fourth_stride=2,2 last_stride=2,1 " in str(caught.value)
    with pytest.raises(ConfigError, match=f"backbone {name}: stem_stride must .* Its sizes and"):
        resolve_sizes(name, {"stem_stride": 0})


@pytest.mark.parametrize("name", BACKBONES)
def test_the_text_of_the_defaults_can_be_typed(name: str) -> None:
    words = sizes_text(BACKBONES[name].config).split()
    assert resolve_sizes(name, parse_sizes(words)) == resolve_sizes(name, {})


names = st.from_regex(r"[a-z][a-z_0-9]*", fullmatch=True)
sizes: st.SearchStrategy[Size] = st.one_of(
    st.integers(-(10**9), 10**9),
    st.floats(allow_nan=False, allow_infinity=False),
    st.lists(st.integers(-99, 99), min_size=1).map(tuple),
    st.from_regex(r"[a-z]{2,}", fullmatch=True).filter(lambda text: text not in ("inf", "nan")),
)


@given(st.dictionaries(names, sizes))
def test_words_come_back(given_sizes: dict[str, Size]) -> None:
    found = parse_sizes(sizes_words(given_sizes))
    assert found == given_sizes
    assert [type(value) for value in found.values()] == [type(v) for v in given_sizes.values()]


def test_hyphens_in_names_and_words_that_are_no_numbers() -> None:
    assert parse_sizes(["last-width=8", "a=nan", "b=1,x"]) == {
        "last_width": 8, "a": "nan", "b": "1,x",
    }  # fmt: skip


def test_sizes_are_a_fixed_mapping() -> None:
    first, second = Sizes("a", {"x": 1, "y": (1, 2)}), Sizes("a", {"y": (1, 2), "x": 1})
    assert first == second == {"x": 1, "y": (1, 2)}
    assert hash(first) == hash(second)
    assert pickle.loads(pickle.dumps(first)) == copy.deepcopy(first) == first
    assert eval(repr(first)) == first  # noqa: S307
    with pytest.raises(TypeError):
        first["x"] = 2  # type: ignore[index]


@pytest.mark.parametrize("value", [3, 0.5, "relu", [1, 2]])
def test_json_values(value: object) -> None:
    expected = tuple(value) if isinstance(value, list) else value
    assert size_from_json("a", value, CheckpointError) == expected


@pytest.mark.parametrize("value", [None, True, [1.5], [True], {}, float("inf")])
def test_json_values_that_are_no_sizes(value: object) -> None:
    with pytest.raises(CheckpointError, match="size 'a' must be"):
        size_from_json("a", value, CheckpointError)
