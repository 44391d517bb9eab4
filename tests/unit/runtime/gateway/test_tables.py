from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

import pytest

from runtime.errors import ConfigError
from runtime.gateway.tables import options_of, read_table


@dataclass(frozen=True, slots=True, kw_only=True)
class Inner:
    rate_fps: float = 15.0
    box: tuple[float, ...] = ()
    title: str | None = None

    def __post_init__(self) -> None:
        if self.rate_fps <= 0:
            raise ConfigError(f"rate_fps must be > 0, got {self.rate_fps}")


@dataclass(frozen=True, slots=True, kw_only=True)
class Outer:
    name: str
    camera: tuple[Inner, ...] = ()
    extra: Inner | None = None
    count: int = 3
    loud: bool = False


def test_types_and_defaults() -> None:
    table = {"name": "gate", "camera": [{"rate_fps": 5, "box": [0, 0.5]}, {}], "extra": {}}
    found = options_of(Outer, table, "gateway.toml")
    assert found == Outer(
        name="gate", camera=(Inner(rate_fps=5.0, box=(0.0, 0.5)), Inner()), extra=Inner()
    )
    assert isinstance(found.camera[0].rate_fps, float)


@pytest.mark.parametrize(
    ("table", "complaint"),
    [
        ({}, "x.toml: Object missing required field `name`"),
        ({"name": "a", "cuont": 1}, "x.toml: cuont is not known; did you mean count?"),
        ({"name": "a", "zzz": 1}, "x.toml: zzz is not known; known are name, camera, extra,"),
        (
            {"name": "a", "camera": [{}, {"rate": 1}]},
            "x.toml: camera[1].rate is not known; did you mean rate_fps?",
        ),
        ({"name": "a", "extra": {"boxes": []}}, "x.toml: extra.boxes is not known; did you mean"),
        (
            {"name": "a", "camera": [{}, {"rate_fps": "5"}]},
            "x.toml: camera[1].rate_fps: Expected `float`, got `str`",
        ),
        ({"name": "a", "camera": [{"rate_fps": True}]}, "Expected `float`, got `bool`"),
        ({"name": "a", "count": True}, "x.toml: count: Expected `int`, got `bool`"),
        ({"name": "a", "count": 2.5}, "x.toml: count: Expected `int`, got `float`"),
        ({"name": "a", "loud": 1}, "x.toml: loud: Expected `bool`, got `int`"),
        ({"name": "a", "camera": {}}, "x.toml: camera: Expected `array`, got `object`"),
        ({"name": "a", "camera": [{"rate_fps": 0}]}, "x.toml: rate_fps must be > 0, got 0.0"),
    ],
)
def test_what_is_wrong_and_where(table: dict[str, object], complaint: str) -> None:
    with pytest.raises(ConfigError) as caught:
        options_of(Outer, table, "x.toml")
    assert complaint in str(caught.value)


def test_files(tmp_path: Path) -> None:
    path = tmp_path / "gateway.toml"
    with pytest.raises(ConfigError, match="cannot be read as TOML"):
        read_table(path)
    path.write_text("a = [1, ", encoding="utf-8")
    with pytest.raises(ConfigError, match="cannot be read as TOML"):
        read_table(path)
    path.write_text('a = 1\n[b]\nc = "d"\n', encoding="utf-8")
    assert read_table(path) == {"a": 1, "b": {"c": "d"}}
