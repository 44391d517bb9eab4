"""Server: random arrivals at a target rate, which holds if 99 % are answered within a bound."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from functools import partial
from typing import Any, Final

from benchmarks.budget import Outcome
from benchmarks.intervals import min_queries, within
from benchmarks.noise import Noise
from runtime.errors import ConfigError

from .arrivals import poisson_arrivals
from .latencies import NS_PER_MS, Latency, stages_of
from .open_loop import Fifo, Served, serve
from .turns import System

__all__ = ["BOUND_MS", "ServerRun", "server"]

QUANTILE: Final = 0.99
BOUND_MS: Final = 15.0
"""MLPerf's bound for image classification."""
_LONGEST_S: Final = 120.0
_SETTLED: Final = 40.0
"""A run lasts so many bounds at least: at 1/40 above what a system can serve, the last queries of
so long a run wait for a whole bound."""


@dataclass(frozen=True, slots=True, kw_only=True)
class ServerRun:
    """One rate."""

    rate: float
    """Target, queries per second."""
    bound_ms: float
    served: Served
    latency: Latency
    """From the intended arrival; what was never answered counts with the time that it waited."""

    @classmethod
    def of(cls, served: Served, *, rate: float, bound_ms: float) -> ServerRun:
        """Judge what became of the queries."""
        latency = Latency(served.latency_ns, served.noise)
        return cls(rate=rate, bound_ms=bound_ms, served=served, latency=latency)

    @property
    def noise(self) -> Noise:
        """What others used meanwhile."""
        return self.served.noise

    @property
    def over(self) -> int:
        """Queries that took longer than the bound."""
        latency = self.served.latency_ns
        return int(((latency > self.bound_ms * NS_PER_MS) | ~self.served.answered).sum())

    @property
    def outcome(self) -> Outcome:
        """Whether the rate holds, with 99 % confidence: LoadGen's early-stopping rule."""
        proven = within(self.over, self.latency.count, QUANTILE)
        if proven is None:
            return Outcome.INCONCLUSIVE
        return Outcome.PASS if proven else Outcome.FAIL

    @property
    def stages(self) -> Mapping[str, Latency]:
        """Waiting, and the stages of the engine calls."""
        queue = Latency(self.served.queue_ns, self.noise)
        return {"queue": queue, **stages_of(self.served.timings, self.noise)}

    def to_object(self) -> Mapping[str, Any]:
        """Return everything for a report."""
        sizes = self.served.sizes
        return {
            "scenario": "server",
            "queries_per_s": self.rate,
            "bound_ms": self.bound_ms,
            "over_bound": self.over,
            "unanswered": int((~self.served.answered).sum()),
            "holds": str(self.outcome),
            "samples_per_call": sum(sizes) / max(1, len(sizes)),
            "stages": {name: stage.to_object() for name, stage in self.stages.items()},
            **self.latency.to_object(),
        }


def server(
    system: System,
    *,
    rate: float,
    bound_ms: float = BOUND_MS,
    min_duration_s: float = 5.0,
    batch: int = 1,
    workers: int = 1,
    seed: int = 0,
) -> ServerRun:
    """Send queries of one sample at ``rate``, and see whether 99 % are answered in time.

    The run lasts ``min_duration_s``, or longer: until 662 queries can prove a p99, and 40 bounds,
    after which a queue that grows shows; but 2 minutes at most. The system must be warm.

    Args:
        system: What answers.
        rate: Queries per second, > 0.
        bound_ms: Bound of the p99, > 0.
        min_duration_s: Length of the run.
        batch: Most waiting queries that one call takes.
        workers: Threads that serve.
        seed: Of the arrivals.

    Raises:
        ConfigError: a rate or bound that cannot be.
        EngineError: an answer was wrong, so that the run is void.
    """
    if not (0 < rate < float("inf") and 0 < bound_ms < float("inf")):
        raise ConfigError(f"rate and bound must be above 0, got {rate} and {bound_ms} ms")
    needed_s = max(min_queries(QUANTILE) / rate, _SETTLED * bound_ms / 1e3)
    duration_s = max(min_duration_s, min(_LONGEST_S, needed_s))
    arrivals_ns = poisson_arrivals(rate, max(1, round(rate * duration_s)), seed=seed)
    run = partial(serve, system, Fifo(arrivals_ns), arrivals_ns, batch=batch, workers=workers)
    # Whatever is left by then has waited too long, and the rate does not hold.
    served = run(patience_s=2 * bound_ms / 1e3)
    return ServerRun.of(served, rate=rate, bound_ms=bound_ms)
