"""The latency of a network as a function of its channel plan.

Layers cost what a table says (``layer_table``). What a network costs is fitted on the network
itself, measured whole at several widths: a fixed part, a factor on the sum over the layers, and
parts that grow with its weights and with the values that it puts out.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from itertools import combinations
from typing import Final

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor, nn

from benchmarks.command import say
from compress.slim.surgery import ChannelGroup, shrunk_plan
from runtime.preprocess import InputSpec
from train.checkpoint import Checkpoint
from train.network import ChannelPlan, Network, build, channel_plan
from train.pooling import Attention

from .engine_timing import fastest_ms, time_networks
from .table import CostTable, LayerShape, TableFit
from .timing import Extent, measure_table

__all__ = ["LatencyModel", "TimedLayer", "layers_of", "measure_costs"]

_HEADS: Final = "heads.linear"
_ROUNDS: Final = 60
_BLOCK_S: Final = 0.001


@dataclass(frozen=True, slots=True, kw_only=True)
class TimedLayer:
    """One layer of a network as engines run it."""

    name: str
    shape: LayerShape
    reads: str
    """Layer of the channel plan with its inputs."""
    writes: tuple[str, ...]
    """Layers of the channel plan whose outputs it puts out: several where heads are fused."""
    positions: int
    """Outputs per channel."""

    def channels(self, plan: ChannelPlan) -> tuple[int, int]:
        """Return its inputs and outputs."""
        return plan[self.reads].inputs, sum(plan[name].outputs for name in self.writes)

    def weights(self, plan: ChannelPlan) -> int:
        """Return the number of its weights."""
        inputs, outputs = self.channels(plan)
        kernel = self.shape.kernel[0] * self.shape.kernel[1]
        return kernel * inputs * outputs // plan[self.reads].groups


def layers_of(network: Network, spec: InputSpec) -> list[TimedLayer]:
    """Return all convolutions and linear layers in the order in which they run.

    All heads are one linear layer, as in the exported graph.
    """
    seen: list[TimedLayer] = []

    def note(name: str, layer: nn.Module, read: Tensor, written: Tensor) -> None:
        shape = _shape(layer, read)
        positions = written.numel() // (
            written.shape[1] if written.ndim == 4 else written.shape[-1]
        )
        seen.append(
            TimedLayer(name=name, shape=shape, reads=name, writes=(name,), positions=positions)
        )

    hooks = [
        layer.register_forward_hook(
            lambda layer, read, written, name=name: note(name, layer, read[0], written)
        )
        for name, layer in network.named_modules()
        if type(layer) in (nn.Conv2d, nn.Linear)
    ]
    try:
        with torch.inference_mode():
            network.eval()(torch.zeros((1, *spec.shape), dtype=torch.uint8))
    finally:
        for hook in hooks:
            hook.remove()
    heads = [layer for layer in seen if layer.name.startswith(f"{_HEADS}.")]
    # Where every head looks at something of its own, the one layer answers for all of them.
    looks = len(heads) if isinstance(network.heads.pool, Attention) else 1
    fused = replace(
        heads[0],
        name=_HEADS,
        shape=replace(heads[0].shape, height=looks),
        writes=tuple(layer.name for layer in heads),
        positions=looks,
    )
    return [*(layer for layer in seen if layer not in heads), fused]


def _shape(layer: nn.Module, read: Tensor) -> LayerShape:
    if not isinstance(layer, nn.Conv2d):
        return LayerShape(kind="linear", height=read.numel() // read.shape[-1])
    each = layer.in_channels // layer.groups
    whole = 1 < layer.groups >= each  # as in ``tracing``
    return LayerShape(
        kind="conv",
        kernel=(layer.kernel_size[0], layer.kernel_size[1]),
        stride=(layer.stride[0], layer.stride[1]),
        padding=_padding(layer),
        dilation=(layer.dilation[0], layer.dilation[1]),
        height=read.shape[2],
        width=read.shape[3],
        groups=1 if whole else layer.groups,
        per_group=(each, layer.out_channels // layer.groups) if whole else (0, 0),
    )


def _padding(layer: nn.Conv2d) -> tuple[int, ...]:
    """Return what ``LayerShape.padding`` holds of a convolution."""
    if layer.padding == "valid":
        return 0, 0
    if not isinstance(layer.padding, str):
        return int(layer.padding[0]), int(layer.padding[1])
    # "same": all that the kernel reaches beyond its place, the smaller half before it.
    reach = [
        step * (side - 1) for side, step in zip(layer.kernel_size, layer.dilation, strict=True)
    ]
    before = tuple(total // 2 for total in reach)
    after = tuple(total - total // 2 for total in reach)
    return before if before == after else (*before, *after)


@dataclass(frozen=True, slots=True)
class LatencyModel:
    """Predicts one network's latency."""

    layers: Sequence[TimedLayer]
    table: CostTable

    def predict(self, plan: ChannelPlan) -> float:
        """Return the milliseconds that the network takes with the channels of ``plan``.

        Raises:
            ConfigError: the table lacks a layer.
        """
        fixed = self.table.fit.fixed_ms if self.table.fit else 0.0
        return fixed + sum(self.by_layer(plan).values())

    def by_layer(self, plan: ChannelPlan) -> dict[str, float]:
        """Return layer to its part of ``predict``, ms; what is fixed belongs to none."""
        fit = self.table.fit
        costs = dict[str, float]()
        for layer, (single, weights, values) in zip(self.layers, self._terms(plan), strict=True):
            ms = single
            if fit is not None:
                ms = fit.factor * single + fit.ms_per_weight * weights + fit.ms_per_value * values
            costs[layer.name] = costs.get(layer.name, 0.0) + ms
        return costs

    def _terms(self, plan: ChannelPlan) -> list[tuple[float, float, float]]:
        """Return for each layer its cost alone, ms, millions of weights, and of values put out."""
        terms = []
        for layer in self.layers:
            inputs, outputs = layer.channels(plan)
            single = self.table.cost_ms(layer.shape, inputs, outputs)
            terms.append((single, layer.weights(plan) / 1e6, layer.positions * outputs / 1e6))
        return terms

    def fitted(self, source: Checkpoint, groups: Sequence[ChannelGroup]) -> LatencyModel:
        """Return the model that fits ``source``, measured whole at several widths.

        Raises:
            EngineUnavailableError: the table's engine is not installed.
        """
        plans = _trial_plans(source, groups)
        say(f"timing the network at {len(plans)} widths in {self.table.engine}")
        networks = {
            str(number): build(source.schema, source.input, source.network, plan).eval()
            for number, plan in enumerate(plans)
        }
        timed = time_networks(
            self.table.engine,
            networks,
            source.schema,
            source.input,
            rounds=_ROUNDS,
            block_s=_BLOCK_S,
        )
        measured = np.array([*fastest_ms(timed).values()])
        terms = np.array([[1.0, *np.sum(self._terms(plan), axis=0)] for plan in plans])
        weights, error = _least_squares(terms, measured)
        fit = TableFit(
            checkpoint=source.digest,
            fixed_ms=weights[0],
            factor=weights[1],
            ms_per_weight=weights[2],
            ms_per_value=weights[3],
            error=error,
            measured_ms=float(measured[0]),
        )
        say(
            f"{self.table.engine}: the checkpoint takes {measured[0]:.3f} ms; from layers within "
            f"{error:.1%} on average, {fit.fixed_ms:.3f} ms of it fixed, factor {fit.factor:.2f}"
        )
        return replace(self, table=replace(self.table, fit=fit))


def measure_costs(
    source: Checkpoint, groups: Sequence[ChannelGroup], engine: str, *, round_to: int = 8
) -> LatencyModel:
    """Time all layers of a checkpoint, and the whole, in an engine of this machine.

    Raises:
        EngineUnavailableError: the engine's package is not installed.
        MissingExtraError: a package that the ONNX exporter needs is not installed.
    """
    network = source.build()
    layers, plan = layers_of(network, source.input), channel_plan(network)
    reading = {name for group in groups for name in group.inputs}
    writing = {name for group in groups for name in group.outputs}
    extents: dict[LayerShape, list[tuple[Extent, Extent]]] = {}
    for layer in layers:
        inputs, outputs = layer.channels(plan)
        extent = ((inputs, layer.reads in reading), (outputs, layer.writes[0] in writing))
        extents.setdefault(layer.shape, []).append(extent)
    table = measure_table(engine, extents, round_to=round_to)
    return LatencyModel(layers, table).fitted(source, groups)


def _trial_plans(source: Checkpoint, groups: Sequence[ChannelGroup]) -> list[ChannelPlan]:
    """Return the plan as it is, and with all, the early and the late groups narrower."""
    plan = channel_plan(source.build())
    middle = len(groups) // 2
    early = {group.name for group in groups[:middle]}
    late = {group.name for group in groups[middle:]}
    trials: list[tuple[set[str], float]] = [
        *((early | late, share) for share in (0.75, 0.5, 0.25)),
        *((part, 0.25) for part in (early, late)),
    ]
    narrowed = [
        {
            group.name: max(1, round(group.width * share)) if group.name in part else group.width
            for group in groups
        }
        for part, share in trials
    ]
    return [plan, *(shrunk_plan(plan, groups, kept) for kept in narrowed)]


def _least_squares(
    terms: npt.NDArray[np.float64], measured: npt.NDArray[np.float64]
) -> tuple[list[float], float]:
    """Fit non-negative weights of ``terms`` (N, 4) to ``measured`` (N,), by relative errors.

    Tries all choices of terms beside the second, the sum over the layers, and takes the best that
    has no negative weight: with four terms that is exact and needs no iteration.

    Returns:
        The weights, and the mean relative error.
    """
    best, least = np.array([0.0, 1.0, 0.0, 0.0]), np.inf
    for others in [c for size in range(4) for c in combinations((0, 2, 3), size)]:
        chosen = [1, *others]
        found = np.linalg.lstsq(
            terms[:, chosen] / measured[:, None], np.ones(len(measured)), rcond=None
        )[0]
        weights = np.zeros(4)
        weights[chosen] = found
        left = float(np.square(terms @ weights / measured - 1).sum())
        if (found >= 0).all() and left < least:
            best, least = weights, left
    return best.tolist(), float(np.abs(terms @ best / measured - 1).mean())
