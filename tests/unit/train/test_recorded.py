"""Configs from records, and back to command lines."""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from enum import Enum
from pathlib import Path
from typing import Annotated, Any, Literal

import pytest
import tyro
from hypothesis import given
from hypothesis import strategies as st

from runtime.errors import CheckpointError, ConfigError
from train.assignments import NamedNumbers
from train.config import FitConfig
from train.fit import _command_type
from train.lineage import plain
from train.network import NetworkConfig
from train.recipes import RECIPES
from train.recorded import from_plain, option_words, values_of


class Kind(Enum):
    FAST = "fast"
    SURE = "sure"


@dataclass(frozen=True, kw_only=True)
class Inner:
    rate: float = 0.5
    on: bool = False
    off: bool = True
    limit: float | None = None
    parts: NamedNumbers = field(default_factory=dict)

    def __post_init__(self) -> None:
        if not self.rate <= 1:
            raise ConfigError(f"rate is {self.rate}")


@dataclass(frozen=True, kw_only=True)
class Outer:
    path: tyro.conf.Positional[Path]
    kind: Kind = Kind.FAST
    mode: Literal["a", "b", 3] = "a"
    size: tuple[int, int] = (1, 2)
    names: tuple[str, ...] = ()
    weight: Literal["none"] | float = "none"
    long_name: Annotated[int, tyro.conf.arg(name="short")] = 0
    hidden: tyro.conf.Suppress[int] = 0
    inner: Inner = field(default_factory=Inner)


numbers = st.floats(0, 1).map(lambda value: round(value, 6))
inners = st.builds(
    Inner,
    rate=numbers,
    on=st.booleans(),
    off=st.booleans(),
    limit=st.none() | numbers,
    parts=st.dictionaries(st.sampled_from(["x", "y.z", "苏"]), numbers),
)
outers = st.builds(
    Outer,
    path=st.sampled_from([Path("a b"), Path("c/d")]),
    kind=st.sampled_from(Kind),
    mode=st.sampled_from(["a", "b", 3]),
    size=st.tuples(st.integers(0, 9), st.integers(0, 9)),
    names=st.lists(st.sampled_from(["p", "q r"]), max_size=3).map(tuple),
    weight=st.just("none") | numbers,
    long_name=st.integers(0, 9),
    inner=inners,
)


@given(outers)
def test_a_record_gives_the_config_back(config: Outer) -> None:
    record = json.loads(json.dumps(plain(config)))
    assert from_plain(Outer, record, "record") == config


@given(outers, inners)
def test_words_give_the_config_back(config: Outer, usual: Inner) -> None:
    assert tyro.cli(Outer, args=option_words(config)) == config

    def other(
        path: tyro.conf.Positional[Path], inner: Inner = usual, kind: Kind = Kind.SURE
    ) -> Any:
        return path, inner, kind

    @dataclass
    class Fewer:
        path: tyro.conf.Positional[Path]
        kind: Kind
        inner: Inner

    words = option_words(
        Fewer(config.path, config.kind, config.inner), {"inner": usual, "kind": Kind.SURE}
    )
    assert tyro.cli(other, args=words) == (config.path, config.inner, config.kind)


def test_what_is_usual_takes_no_words() -> None:
    assert option_words(Outer(path=Path("p"))) == ["p"]
    assert option_words(Outer(path=Path("p"), hidden=4)) == ["p"]
    assert option_words(Outer(path=Path("p"), names=("a", "b"), long_name=3)) == [
        *("p", "--names", "a", "b", "--short", "3"),
    ]  # fmt: skip
    on = Outer(path=Path("p"), inner=Inner(on=True, off=False))
    assert option_words(on) == ["p", "--inner.on", "--inner.no-off"]


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"speed": 1}, r"record: unknown keys \['speed'\]; known are \['path', 'kind'"),
        ({"inner": {"rate": "1"}}, r"record.inner.rate: expected float, got '1'"),
        ({"inner": {"rate": True}}, "record.inner.rate: expected float, got True"),
        ({"inner": {"limit": "x"}}, "record.inner.limit: expected float or null, got 'x'"),
        ({"inner": {"on": 1}}, "record.inner.on: expected bool, got 1"),
        ({"inner": {"parts": {"x": "1"}}}, r"record.inner.parts.x: expected float, got '1'"),
        ({"inner": {"parts": [1]}}, "record.inner.parts: expected"),
        ({"inner": 3}, "record.inner: expected a JSON object, got int"),
        ({"kind": "slow"}, "record.kind: expected Kind, got 'slow'"),
        ({"mode": "c"}, "record.mode: expected .*'a', 'b', 3"),
        ({"size": [1, 2, 3]}, "record.size: expected 2 values, got 3"),
        ({"size": "12"}, "record.size: expected"),
        ({"names": ["a", 1]}, r"record.names\[1\]: expected str, got 1"),
        ({"long_name": 1.0}, "record.long_name: expected int, got 1.0"),
        ({"path": None}, "record.path: expected Path, got None"),
    ],
)
def test_other_keys_and_types_are_refused(changes: Mapping[str, Any], message: str) -> None:
    with pytest.raises(CheckpointError, match=message):
        from_plain(Outer, {"path": "p", **changes}, "record")


def test_missing_keys_have_their_defaults_if_there_is_one() -> None:
    assert from_plain(Outer, {"path": "p"}, "record") == Outer(path=Path("p"))
    with pytest.raises(CheckpointError, match=r"record: keys \['path'\] are missing"):
        from_plain(Outer, {}, "record")
    with pytest.raises(CheckpointError, match=r"fit: keys \['data', 'validation', 'output'"):
        from_plain(FitConfig, {}, "fit")
    with pytest.raises(ConfigError, match="rate is 2"):
        from_plain(Outer, {"path": "p", "inner": {"rate": 2}}, "record")


@pytest.mark.parametrize("name", sorted(RECIPES))
def test_a_training_is_told_by_its_recipe_and_what_differs(name: str) -> None:
    recipe = RECIPES[name][1]
    given = {"data": (Path("a"), Path("b")), "validation": (Path("v"),), "output": Path("o")}
    loop = replace(recipe.loop, loss=replace(recipe.loop.loss, pos_weight=2.0), steps=7)
    network = NetworkConfig(backbone="mobilenet_v2", sizes={"multiplier": 0.5}, pool="global")
    for config in (replace(recipe, **given), replace(recipe, **given, loop=loop, network=network)):  # type: ignore[arg-type]
        record = json.loads(json.dumps(plain(config)))
        assert from_plain(FitConfig, record, "fit") == config
        words = option_words(config, values_of(recipe))
        assert tyro.cli(_command_type(), args=[name, *words]) == config
