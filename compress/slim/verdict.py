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

    Where the costs are another device's, it is their milliseconds that are judged: what this
    machine measures says nothing of that one.

    Args:
        before: The network that was read.
        after: The network that was written.
        eager: ``Comparison.to_object`` of both in torch.
        engine: The same in an engine, and its ``name``.
        predicted: ``LatencyGoal.foresight``.
    """
    macs = 1 - after.macs / before.macs
    if predicted is not None and not predicted["here"]:
        saved = 1 - float(predicted["after_ms"]) / float(predicted["before_ms"])
        return _judged(macs, saved, saved, f"foreseen {_where(predicted)}", _left(predicted))
    timed = engine or eager
    speedup, times = timed["speedups"]["after"], timed["medians_ms"]
    saved, surely = (1 - 1 / float(each) for each in (speedup["value"], speedup["bounds"][0]))
    if saved < 0:
        # Two timings of one network differ, too: slower is what is so for sure.
        change = "became slower" if speedup["bounds"][1] < 1 else "is no faster"
        reason = f"it {change}, {times['before']:.2f} -> {times['after']:.2f} ms"
    elif predicted is not None:
        reason = _left(predicted)
    else:
        reason = _unshrunk(saved, macs, float(times["before"]))
    verdict = _judged(macs, saved, surely, f"in {timed.get('name', _TORCH)}", reason)
    if engine is None:
        verdict += (
            "; engines differ: give --engine, or export both checkpoints and run "
            "python -m benchmarks.latency"
        )
    return verdict + (" (NOISY: others used the machine meanwhile)" if timed.get("noisy") else "")


def _judged(macs: float, saved: float, surely: float, where: str, reason: str) -> str:
    """Return the verdict on shares that are gone; ``surely`` is the lower bound of ``saved``."""
    changes = f"{-macs:+.0%} MACs, {-saved:+.0%} latency {where}"
    # Written as "not above" so that a NaN also fails.
    if not surely > _WORTH:
        return f"{changes}: not worth it, because {reason}"
    if saved < macs / 2:
        return f"{changes}: worth it, but far from what the MACs promise, because {reason}"
    return f"{changes}: worth it"


def _unshrunk(saved: float, macs: float, before: float) -> str:
    """Say how much of the time, ms, is left whatever the channels are."""
    # If time fell as MACs do, so much would be gone; the rest does not depend on them.
    rest = max(0.0, 1 - saved / macs) if macs > 0 else 1.0
    return (
        f"about {rest * before:.2f} of {before:.2f} ms do not shrink with the channels: calls, "
        "copies, small and unpruned layers"
    )


def _left(predicted: Mapping[str, Any]) -> str:
    """Say where the time is that is left by the costs of layers."""
    total = float(predicted["after_ms"])
    layers = sorted(predicted["layers_ms"].items(), key=lambda entry: -entry[1])
    named = ", ".join(f"{layer} {ms / total:.0%}" for layer, ms in layers[:3])
    return (
        f"{float(predicted['fixed_ms']) / total:.0%} of the time left is fixed for every call, and "
        f"most of the rest is in {named}"
    )


def foreseen(predicted: Mapping[str, Any]) -> str:
    """Say what the costs foretold, for a device that is not this one."""
    before, after = float(predicted["before_ms"]), float(predicted["after_ms"])
    return (
        f"foreseen {_where(predicted)}: {before:.3f} -> {after:.3f} ms "
        f"({before / after:.2f}x); measure it there"
    )


def _where(predicted: Mapping[str, Any]) -> str:
    return (
        f"in {predicted['engine']} on {predicted['device'].get('cpu', 'the device of the costs')}"
    )
