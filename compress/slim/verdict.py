"""Whether slimming was worth it, in one plain sentence."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, Final

from .comparison import Side

__all__ = ["foreseen", "latency_verdict"]

_WORTH: Final = 0.05
"""Share of the latency that has to be gone, surely, for a network that was trained anew."""
_TORCH: Final = "torch"


def latency_verdict(
    before: Side,
    after: Side,
    eager: Mapping[str, Any],
    engine: Mapping[str, Any] | None = None,
    predicted: Mapping[str, Any] | None = None,
) -> str:
    """Say what slimming saved in time, and whether that is worth it.

    Args:
        before: The network that was read.
        after: The network that was written.
        eager: ``Comparison.to_object`` of both in torch.
        engine: The same in an engine, and its ``name``.
        predicted: ``LatencyGoal.foresight``.
    """
    timed = engine or eager
    name = str(timed.get("name", _TORCH))
    speedup = timed["speedups"]["after"]
    low = float(speedup["bounds"][0])
    saved, macs = 1 - 1 / float(speedup["value"]), 1 - after.macs / before.macs
    changes = f"{-macs:+.0%} MACs, {-saved:+.0%} latency in {name}"
    reason = _reason(saved, macs, timed, predicted)
    # Written as "not above" so that a NaN also fails.
    if not 1 - 1 / low > _WORTH:
        verdict = f"{changes}: not worth it, because {reason}"
    elif saved < macs / 2:
        verdict = f"{changes}: worth it, but far from what the MACs promise, because {reason}"
    else:
        verdict = f"{changes}: worth it"
    if engine is None:
        verdict += (
            "; engines differ: give --engine, or export both checkpoints and run "
            "python -m benchmarks.latency"
        )
    return verdict + (" (NOISY: others used the machine meanwhile)" if timed.get("noisy") else "")


def _reason(
    saved: float, macs: float, timed: Mapping[str, Any], predicted: Mapping[str, Any] | None
) -> str:
    """Say where the time is that is left."""
    if predicted is None:
        before = float(timed["medians_ms"]["before"])
        # If time fell as MACs do, so much would be gone; the rest does not depend on them.
        rest = max(0.0, 1 - saved / macs) if macs > 0 else 1.0
        return (
            f"about {rest * before:.2f} of {before:.2f} ms do not shrink with the channels: calls, "
            "copies, small and unpruned layers"
        )
    total = float(predicted["after_ms"])
    layers = sorted(predicted["layers_ms"].items(), key=lambda entry: -entry[1])
    named = ", ".join(f"{layer} {ms / total:.0%}" for layer, ms in layers[:3])
    return (
        f"{float(predicted['fixed_ms']) / total:.0%} of the time left is fixed for every call, and "
        f"most of the rest is in {named}"
    )


def foreseen(predicted: Mapping[str, Any]) -> str:
    """Say what the costs foretold, for a device that is not this one."""
    cpu = predicted["device"].get("cpu", "the device of the costs")
    before, after = float(predicted["before_ms"]), float(predicted["after_ms"])
    return (
        f"foreseen in {predicted['engine']} on {cpu}: {before:.3f} -> {after:.3f} ms "
        f"({before / after:.2f}x); measure it there"
    )
