"""Slimming to a latency: choose by a table of costs, check with the engine, choose again."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, Final

from benchmarks.command import say
from benchmarks.environment import device
from benchmarks.report import to_json
from compress.layer_costs.engine_timing import ENGINES, fastest_ms, time_networks
from compress.layer_costs.latency import LatencyModel, layers_of, measure_costs
from compress.layer_costs.table import CostTable
from runtime.errors import ConfigError
from runtime.staging import write_text
from train.checkpoint import Checkpoint
from train.network import ChannelPlan, Network, build, channel_plan

from .groups import find_groups
from .pruning import ChannelChooser
from .surgery import shrunk_plan

__all__ = ["LatencyGoal"]

_TRIES: Final = 3
_ROUNDS: Final = 60
_BLOCK_S: Final = 0.001
_SHORT: Final = 0.01
"""Share of the latency by which the measured one may miss the wanted one."""
_BEYOND: Final = 0.04
"""Share by which it may be faster than wanted, at the price of accuracy."""


@dataclass(frozen=True, slots=True)
class LatencyGoal:
    """A latency to reach, in an engine here or by costs that another device measured."""

    model: LatencyModel
    engine: str | None
    """Engine of this machine that the costs are of; None: they were measured elsewhere."""
    whole_ms: float
    """Of the checkpoint: measured, or added up."""

    @classmethod
    def open(
        cls, source: Checkpoint, engine: str | None, costs: Path | None, run: Path
    ) -> LatencyGoal:
        """Read the costs of the checkpoint's layers, or measure them.

        Measured costs wait in ``run``: an interrupted slimming goes on with the same numbers.

        Raises:
            ConfigError: the costs cannot be read, lack layers, or are of this machine but of
                another engine.
            EngineUnavailableError: the engine is not installed.
        """
        if costs is not None and not costs.is_file():
            raise ConfigError(f"--costs {costs} is no file")
        read = b"" if costs is None else costs.read_bytes()
        key = hashlib.sha256(f"{engine} {source.digest}".encode() + read).hexdigest()[:12]
        kept = run / f"costs-{key}.json"
        network = source.build()
        if kept.is_file():
            model = LatencyModel(layers_of(network, source.input), CostTable.read(kept))
        elif costs is None:
            assert engine is not None  # SlimConfig asks for one of both
            model = measure_costs(source, find_groups(network, source.input), engine)
        else:
            model = _read_model(source, network, costs)
        table, here = model.table, _is_here(model.table)
        if here and engine not in (None, table.engine):
            raise ConfigError(f"--costs {costs} are of {table.engine}, --engine is {engine}")
        run.mkdir(parents=True, exist_ok=True)
        table.write(kept)
        whole = model.predict(channel_plan(network))
        return cls(model, table.engine if here else None, whole)

    def predict(self, plan: ChannelPlan) -> float:
        """Return the milliseconds that are foreseen for a plan."""
        return self.model.predict(plan)

    def choose(
        self, chooser: ChannelChooser, network: Network, source: Checkpoint, run: Path
    ) -> dict[str, list[int]]:
        """Choose what to remove, and where the engine is here make sure that it is enough.

        The choice waits in ``run``, because times are never the same twice.
        """
        if self.engine is None:
            return chooser.choose(network)
        key = hashlib.sha256(f"{chooser.goal} {self.whole_ms}".encode()).hexdigest()[:12]
        kept = run / f"removed-{key}.json"
        if kept.is_file():
            removed: dict[str, list[int]] = json.loads(kept.read_text(encoding="utf-8"))
            return removed
        removed = self._measured_choice(self.engine, chooser, network, source)
        write_text(kept, to_json(removed))
        return removed

    def _measured_choice(
        self, engine: str, chooser: ChannelChooser, network: Network, source: Checkpoint
    ) -> dict[str, list[int]]:
        wanted = chooser.goal.share
        removed = chooser.choose(network)
        for _ in range(_TRIES):
            gone, noisy = _measured_share(engine, chooser, removed, source)
            say(f"{engine}: {gone:.1%} of the latency gone, {wanted:.1%} wanted")
            if noisy:
                say("others use this machine: the choice stays with what the layer costs say")
                break
            # Ask for as much more, or less, of what is left as was missed.
            share = 1 - (1 - chooser.goal.share) * (1 - wanted) / (1 - gone)
            if wanted - _SHORT <= gone <= wanted + _BEYOND or not share > 0:
                break
            try:
                chooser = replace(chooser, goal=replace(chooser.goal, share=share))
                removed = chooser.choose(network)
            except ConfigError as error:
                say(f"the latency is out of reach: {error}")
                break
        return removed

    def foresight(self, plan: ChannelPlan) -> Mapping[str, Any]:
        """Return the prediction for a plan and what it is made of."""
        fit, table = self.model.table.fit, self.model.table
        return {
            "engine": table.engine,
            "device": table.environment.get("device", {}),
            "here": self.engine is not None,
            "before_ms": self.whole_ms,
            "after_ms": self.model.predict(plan),
            "fixed_ms": fit.fixed_ms if fit else 0.0,
            "fit_error": fit.error if fit else None,
            "layers_ms": self.model.by_layer(plan),
        }


def _read_model(source: Checkpoint, network: Network, costs: Path) -> LatencyModel:
    table = CostTable.read(costs)
    model = LatencyModel(layers_of(network, source.input), table)
    if table.fit is not None and table.fit.checkpoint == source.digest:
        return model
    if _is_here(table):
        return model.fitted(source, find_groups(network, source.input))
    say(
        f"{costs}: its sums were fitted on another network or on none; the milliseconds of layers "
        "are added up as they are"
    )
    return replace(model, table=replace(table, fit=None))


def _is_here(table: CostTable) -> bool:
    """Whether the table was measured on a device like this one, in an engine that is here."""
    there, here = table.environment.get("device"), device()
    same = isinstance(there, Mapping) and all(
        there.get(key) == here[key] for key in ("arch", "cpu", "soc")
    )
    return same and table.engine in ENGINES


def _measured_share(
    engine: str, chooser: ChannelChooser, removed: Mapping[str, list[int]], source: Checkpoint
) -> tuple[float, bool]:
    """Return which share of the checkpoint's latency is gone, and whether others disturbed.

    Weights do not matter for that, so a network with fresh ones is timed.
    """
    kept = {group.name: group.width - len(removed[group.name]) for group in chooser.groups}
    plan = shrunk_plan(chooser.plan, chooser.groups, kept)
    smaller = build(source.schema, source.input, source.network, plan).eval()
    networks = {"before": source.build(), "after": smaller}
    timed = time_networks(
        engine, networks, source.schema, source.input, rounds=_ROUNDS, block_s=_BLOCK_S
    )
    times = fastest_ms(timed)
    return 1 - times["after"] / times["before"], timed.noise.noisy
