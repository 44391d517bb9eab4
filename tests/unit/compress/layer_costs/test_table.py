"""Tables of layer costs: interpolation, and the file."""

from __future__ import annotations

import json
from dataclasses import fields
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from compress.layer_costs.table import CostTable, LayerShape, PointGrid, TableFit
from runtime.errors import ConfigError

CONV = LayerShape(kind="conv", kernel=(3, 3), padding=(1, 1), height=6, width=18)
SIDED = LayerShape(kind="conv", kernel=(2, 2), padding=(0, 0, 1, 1), height=6, width=18)
DEPTHWISE = LayerShape(kind="conv", height=6, width=18, per_group=(1, 1))
GRID = PointGrid(inputs=(8, 16, 32), outputs=(8, 24), ms=((1.0, 2.0), (2.0, 4.0), (4.0, 8.0)))
TABLE = CostTable(
    engine="onnxruntime",
    environment={"device": {"cpu": "a board"}},
    layers={
        CONV: GRID,
        SIDED: GRID,
        DEPTHWISE: PointGrid(inputs=(8, 16), outputs=(), ms=((0.5,), (0.7,))),
    },
)
FIT = TableFit(
    checkpoint="ab", fixed_ms=0.1, factor=1.1, ms_per_weight=0.2, ms_per_value=0.3, error=0.02,
    measured_ms=3.0,
)  # fmt: skip


def test_measured_points_are_given_back() -> None:
    for row, inputs in enumerate(GRID.inputs):
        for column, outputs in enumerate(GRID.outputs):
            assert TABLE.cost_ms(CONV, inputs, outputs) == GRID.ms[row][column]
    assert TABLE.cost_ms(DEPTHWISE, 16, 16) == 0.7


def test_points_between_are_interpolated_and_beyond_go_on() -> None:
    assert GRID.at(12, 8) == pytest.approx(1.5)
    assert GRID.at(8, 16) == pytest.approx(1.5)
    assert GRID.at(24, 16) == pytest.approx((2 + 4 + 4 + 8) / 4)
    assert GRID.at(48, 8) == pytest.approx(6)
    assert TABLE.cost_ms(DEPTHWISE, 12, 12) == pytest.approx(0.6)


def test_less_than_the_smallest_block_saves_nothing() -> None:
    assert GRID.at(1, 1) == GRID.at(8, 8)


@given(inputs=st.integers(1, 64), outputs=st.integers(1, 64), step=st.integers(0, 16))
def test_more_channels_never_cost_less_where_the_points_rise(
    inputs: int, outputs: int, step: int
) -> None:
    assert GRID.at(inputs + step, outputs) >= GRID.at(inputs, outputs)
    assert GRID.at(inputs, outputs + step) >= GRID.at(inputs, outputs)


@pytest.mark.parametrize("fit", [None, FIT])
def test_a_table_is_read_as_it_was_written(tmp_path: Path, fit: TableFit | None) -> None:
    table = CostTable(
        engine=TABLE.engine, environment=TABLE.environment, layers=TABLE.layers, fit=fit
    )
    table.write(tmp_path / "costs.json")
    assert CostTable.read(tmp_path / "costs.json") == table


def test_a_shape_that_was_not_measured_is_named() -> None:
    other = LayerShape(kind="conv", kernel=(5, 5), height=6, width=18)
    with pytest.raises(ConfigError, match=r"no layer of the shape .*\(5, 5\).*layer_costs"):
        TABLE.cost_ms(other, 8, 8)


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (lambda v: v.update(format_version=2), "format version 2 is not 1"),
        (lambda v: v.update(unit="s"), "unknown keys"),
        (lambda v: v.pop("engine"), "'engine' is missing"),
        (lambda v: v["layers"][0].update(inputs=[8, 8, 32]), "each rising"),
        (lambda v: v["layers"][0].update(ms=[[1, 2]]), "as many rows"),
        (lambda v: v["layers"][0]["ms"][0].__setitem__(0, "1"), "must hold only int or float"),
        (lambda v: v["layers"][0]["shape"].update(kernel=[3]), "two numbers"),
        (lambda v: v["layers"][0]["shape"].update(padding=[1, 1, 1]), "two or four numbers"),
    ],
)
def test_a_changed_file_is_refused(tmp_path: Path, change: object, message: str) -> None:
    TABLE.write(tmp_path / "costs.json")
    value = json.loads((tmp_path / "costs.json").read_text(encoding="utf-8"))
    change(value)  # type: ignore[operator]
    (tmp_path / "costs.json").write_text(json.dumps(value), encoding="utf-8")
    with pytest.raises(ConfigError, match=message):
        CostTable.read(tmp_path / "costs.json")


def test_the_file_of_the_page_is_one(tmp_path: Path) -> None:
    page = Path(__file__).parents[4] / "docs" / "layer-costs.md"
    text = page.read_text(encoding="utf-8")
    (tmp_path / "costs.json").write_text(text.split("```json")[1].split("```")[0], encoding="utf-8")
    table = CostTable.read(tmp_path / "costs.json")
    ((_, grid),) = table.layers.items()
    assert (table.engine, table.fit, grid.at(32, 64)) == ("tensorrt", None, 0.031)
    for name in (
        each.name for kind in (CostTable, LayerShape, PointGrid, TableFit) for each in fields(kind)
    ):
        assert f"`{name}`" in text or f"`shape.{name}`" in text


def test_what_is_no_table_is_told(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match=r"cannot be read.*compress\.layer_costs"):
        CostTable.read(tmp_path / "nothing.json")
    (tmp_path / "text.json").write_text("ms", encoding="utf-8")
    with pytest.raises(ConfigError, match="is not JSON"):
        CostTable.read(tmp_path / "text.json")
