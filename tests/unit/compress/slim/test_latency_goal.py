"""Slimming to a latency: where the costs come from, and what measuring corrects."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

import compress.layer_costs.latency
import compress.slim.latency_goal
from benchmarks.environment import device
from benchmarks.noise import Noise
from benchmarks.scenarios import Comparison
from compress.layer_costs.latency import LatencyModel, layers_of
from compress.layer_costs.table import CostTable, PointGrid, TableFit
from compress.slim.latency_goal import LatencyGoal
from compress.slim.pruning import ChannelChooser, PruningGoal
from compress.slim.selection import Limits
from runtime.errors import ConfigError
from tests.slimming import SPEC, tiny_config, tiny_network, write_checkpoint
from train.checkpoint import Checkpoint
from train.network import ChannelPlan, Network, channel_plan

LIMITS = Limits(round_to=2, min_channels=2)


@pytest.fixture
def source(tmp_path: Path) -> Checkpoint:
    return write_checkpoint(tmp_path / "base", tiny_network(), tiny_config())


def fit(source: Checkpoint, **more: float) -> TableFit:
    values = {
        "fixed_ms": 0.0, "factor": 1.0, "ms_per_weight": 0.0, "ms_per_value": 0.0, "error": 0.1,
        "measured_ms": 1.0,
    }  # fmt: skip
    return TableFit(checkpoint=source.digest, **{**values, **more})


def table(source: Checkpoint, **more: object) -> CostTable:
    """A microsecond for each output channel."""
    shapes = {layer.shape for layer in layers_of(source.build(), SPEC)}
    grid = PointGrid(inputs=(1,), outputs=(0, 1000), ms=((0.0, 1.0),))
    values = {"environment": {"device": dict(device())}, "fit": fit(source), **more}
    return CostTable(engine="onnxruntime", layers=dict.fromkeys(shapes, grid), **values)


def outputs(plan: ChannelPlan, source: Checkpoint) -> int:
    return sum(layer.channels(plan)[1] for layer in layers_of(source.build(), SPEC))


def chooser(source: Checkpoint, goal: LatencyGoal, share: float) -> ChannelChooser:
    return ChannelChooser.of(
        source.build(),
        source,
        PruningGoal(share=share, of="latency", limits=LIMITS),
        latency=goal.predict,
        curves=lambda *_: {},
    )


def test_costs_of_this_checkpoint_are_taken_as_they_are(source: Checkpoint, tmp_path: Path) -> None:
    table(source, fit=fit(source, fixed_ms=0.5)).write(tmp_path / "costs.json")
    goal = LatencyGoal.open(source, "onnxruntime", tmp_path / "costs.json", tmp_path / "run")
    plan = channel_plan(source.build())
    assert goal.engine == "onnxruntime"
    assert goal.whole_ms == pytest.approx(0.5 + outputs(plan, source) / 1000)
    # An interrupted run goes on with the same numbers, whatever became of the machine.
    kept = list((tmp_path / "run").iterdir())
    assert len(kept) == 1
    assert CostTable.read(kept[0]) == goal.model.table


def test_costs_of_another_device_only_foretell(
    source: Checkpoint, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    there = {"device": {**device(), "cpu": "a board"}}
    table(source, environment=there, fit=None).write(tmp_path / "costs.json")
    goal = LatencyGoal.open(source, None, tmp_path / "costs.json", tmp_path / "run")
    assert goal.engine is None
    assert "added up as they are" in capsys.readouterr().err
    network = source.build()
    choice = chooser(source, goal, 0.4)
    assert goal.choose(choice, network, source, tmp_path / "run") == choice.choose(network)
    found = goal.foresight(channel_plan(network))
    assert (found["here"], found["device"]["cpu"]) == (False, "a board")
    assert found["after_ms"] == pytest.approx(goal.whole_ms)


def test_the_engine_that_measures_may_be_another_than_that_of_foreign_costs(
    source: Checkpoint, tmp_path: Path
) -> None:
    there = {"device": {"cpu": "a board"}}
    table(source, environment=there).write(tmp_path / "costs.json")
    goal = LatencyGoal.open(source, "openvino", tmp_path / "costs.json", tmp_path / "run")
    assert goal.engine is None
    assert goal.foresight(channel_plan(source.build()))["engine"] == "onnxruntime"


def test_costs_fitted_on_another_network_are_fitted_anew(
    source: Checkpoint, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    table(source, fit=replace(fit(source), checkpoint="other")).write(tmp_path / "costs.json")
    monkeypatch.setattr(LatencyModel, "fitted", lambda self, *_: replace(
        self, table=replace(self.table, fit=fit(source, factor=3.0))
    ))  # fmt: skip
    goal = LatencyGoal.open(source, None, tmp_path / "costs.json", tmp_path / "run")
    assert goal.model.table.fit == fit(source, factor=3.0)


@pytest.mark.parametrize(
    ("engine", "name", "message"),
    [("openvino", "costs.json", "are of onnxruntime"), (None, "none.json", "is no file")],
)
def test_costs_that_do_not_suit(
    source: Checkpoint, tmp_path: Path, engine: str | None, name: str, message: str
) -> None:
    table(source).write(tmp_path / "costs.json")
    with pytest.raises(ConfigError, match=message):
        LatencyGoal.open(source, engine, tmp_path / name, tmp_path / "run")


@pytest.mark.parametrize("fixed", [0.0, 0.15, -0.2])
def test_what_was_foreseen_wrongly_is_corrected(
    source: Checkpoint, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, fixed: float
) -> None:
    """The engine has a fixed part that the costs know nothing of, or less than nothing."""
    table(source).write(tmp_path / "costs.json")
    goal = LatencyGoal.open(source, None, tmp_path / "costs.json", tmp_path / "run")

    def fake(engine: str, networks: Mapping[str, Network], *_: object, **__: object) -> Comparison:
        whole = outputs(channel_plan(source.build()), source) / 1000
        ms = {
            name: np.full(5, fixed * whole + outputs(channel_plan(each), source) / 1000)
            for name, each in networks.items()
        }
        timed.append({name: float(values[0]) for name, values in ms.items()})
        return Comparison(ms, Noise(0.0))

    timed: list[Mapping[str, float]] = []
    monkeypatch.setattr(compress.slim.latency_goal, "time_networks", fake)
    network, choice = source.build(), chooser(source, goal, 0.4)
    removed = goal.choose(choice, network, source, tmp_path / "run")
    assert (len(timed) == 1) == (fixed == 0.0)
    kept = {name: n._replace(outputs=n.outputs) for name, n in choice.plan.items()}
    assert kept == choice.plan
    left = choice._cost({g.name: g.width - len(removed[g.name]) for g in choice.groups})
    whole = goal.whole_ms
    gone = 1 - (fixed * whole + left) / (fixed * whole + whole)
    assert 0.38 <= gone <= 0.45
    # The choice is kept: times are never the same twice.
    monkeypatch.setattr(compress.slim.latency_goal, "time_networks", None)
    assert goal.choose(choice, network, source, tmp_path / "run") == removed


def test_times_on_a_busy_machine_correct_nothing(
    source: Checkpoint, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    table(source).write(tmp_path / "costs.json")
    goal = LatencyGoal.open(source, None, tmp_path / "costs.json", tmp_path / "run")
    busy = Comparison({"before": np.full(5, 9.0), "after": np.full(5, 1.0)}, Noise(1.5))
    monkeypatch.setattr(compress.slim.latency_goal, "time_networks", lambda *_, **__: busy)
    network, choice = source.build(), chooser(source, goal, 0.4)
    assert goal.choose(choice, network, source, tmp_path / "run") == choice.choose(network)
