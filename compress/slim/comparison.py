"""A network before and after compression: cost, measured speed, accuracy."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import asdict, dataclass
from functools import partial
from math import isnan
from typing import Any

import torch

from benchmarks.report import Rows
from benchmarks.scenarios import Comparison, compare_interleaved
from runtime.preprocess import InputSpec
from train.cost import count_macs, count_parameters
from train.engines import one_thread, run_eager
from train.network import Network
from train.scoring import Evaluation

__all__ = ["Side", "comparison_rows", "measure_eager_latency"]


@dataclass(frozen=True, slots=True, kw_only=True)
class Side:
    """One network's numbers."""

    parameters: int
    macs: int
    """Multiply-accumulates for one image."""
    exact: float
    """Share of validation samples with every given head right."""
    heads: Mapping[str, float | None]
    """Head name to validation accuracy."""

    @classmethod
    def of(cls, network: Network, spec: InputSpec, evaluation: Evaluation) -> Side:
        """Count the network and take what was evaluated."""
        return cls(
            parameters=count_parameters(network),
            macs=count_macs(network, spec),
            exact=evaluation.exact,
            heads={
                name: None if isnan(value) else value
                for name, value in evaluation.head_accuracy.items()
            },
        )

    def to_object(self) -> dict[str, Any]:
        """Return plain JSON values."""
        return asdict(self)


def measure_eager_latency(before: Network, after: Network, spec: InputSpec) -> Comparison:
    """Time both by turns in torch: FP32, one image, one thread.

    Engines have other kernels and other ratios; ``benchmarks.latency`` measures those.
    """
    image = torch.randint(0, 256, (1, *spec.shape), dtype=torch.uint8)

    networks = {"before": before.eval(), "after": after.eval()}
    with one_thread():
        return compare_interleaved(
            {name: partial(run_eager, network, image) for name, network in networks.items()}
        )


def comparison_rows(
    before: Side,
    after: Side,
    latency: Mapping[str, Any],
    engine: Mapping[str, Any] | None = None,
) -> Rows:
    """Return table rows.

    Args:
        before: The network that was read.
        after: The network that was written.
        latency: ``Comparison.to_object`` of both in torch.
        engine: The same in an engine, and its ``name``.
    """
    rows = [
        _row(
            "parameters",
            f"{before.parameters:,}",
            f"{after.parameters:,}",
            _gone(before.parameters, after.parameters),
        ),
        _row("MACs", f"{before.macs:,}", f"{after.macs:,}", _gone(before.macs, after.macs)),
        _latency("torch", latency),
        *([_latency(engine["name"], engine)] if engine else []),
        _accuracy("exact", before.exact, after.exact),
    ]
    # A head without a label in the validation data has no accuracy.
    for name, accuracy in before.heads.items():
        then = after.heads[name]
        if accuracy is not None and then is not None and not isnan(accuracy):
            rows.append(_accuracy(name, accuracy, then))
    return rows


def _row(metric: str, before: str, after: str, change: str) -> Mapping[str, str]:
    return {"metric": metric, "before": before, "after": after, "change": change}


def _latency(where: str, found: Mapping[str, Any]) -> Mapping[str, str]:
    times, speedup = found["medians_ms"], found["speedups"]["after"]
    low, high = speedup["bounds"]
    return _row(
        f"latency, {where} FP32, batch 1, 1 thread",
        f"{times['before']:.3f} ms",
        f"{times['after']:.3f} ms",
        f"{speedup['value']:.2f}x [{low:.2f}, {high:.2f}]",
    )


def _gone(before: int, after: int) -> str:
    return f"{after / before - 1:+.1%}"


def _accuracy(name: str, before: float, after: float) -> Mapping[str, str]:
    return _row(name, f"{before:.4f}", f"{after:.4f}", f"{100 * (after - before):+.2f} points")
