"""Records and limits for tests of the search."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from pathlib import Path

from benchmarks.budget import Limit, Measurement, judge
from compress.search.config import SearchConfig
from compress.search.exports import CommandError
from compress.search.measuring import fact
from compress.search.ranking import Confirmed, Record
from compress.search.space import Candidate, NetworkChoice

__all__ = ["EXACT", "LATENCY", "SIZE", "FakeMaker", "confirm", "record"]

EXACT = Limit(metric="accuracy.exact", min=0.97)
LATENCY = Limit(metric="latency.engine_ms", stat="p50", max=0.3)
SIZE = Limit(metric="size.engine_mb", max=1.2)


def record(
    target: float,
    *,
    ms: float,
    exact: float | None = None,
    mb: float = 1.0,
    width: float = 1.0,
    precision: str = "int8",
    engine: str = "openvino",
) -> Record:
    """A candidate that was screened and, with ``exact``, trained shortly."""
    found = Record(
        candidate=Candidate(NetworkChoice(width, target), precision, engine),
        speed=(
            fact("latency.engine_ms", ms, stat="p50", scenario="single-stream"),
            fact("size.engine_mb", mb),
        ),
    )
    if exact is not None:
        found.accuracy = (fact("accuracy.exact", exact, stat="mean"),)
    return found


def confirm(
    found: Record, limits: tuple[Limit, ...], *, exact: float, spread: float = 0.0
) -> Record:
    """Give a record what a full training reached; bounds lie ``spread`` on both sides."""
    measured = [
        Measurement(
            metric="accuracy.exact",
            value=exact,
            samples=100,
            stat="mean",
            bounds=lambda _: (exact - spread, exact + spread),
        ),
        *found.speed,
    ]
    found.confirmed = Confirmed(measured, judge(measured, limits), found.latency_ms or 0.0)
    return found


@dataclass(slots=True)
class FakeMaker:
    """Writes folders in place of training networks, which is all that takes time in exploring."""

    config: SearchConfig
    made: list[str] = field(default_factory=list)
    before: Callable[[NetworkChoice], None] = lambda network: None
    broken: Sequence[str] = ()
    """Names of candidates that cannot be made."""

    def folder(self, network: NetworkChoice) -> Path:
        return self.config.run / "proxies" / network.name

    def checkpoint(self, network: NetworkChoice) -> Path:
        output = self.folder(network) / "float"
        if not output.exists():
            output.parent.mkdir(parents=True, exist_ok=True)
            self.before(network)
            self.made.append(network.name)
            output.mkdir()
        return output

    def artifact(self, candidate: Candidate) -> Path:
        self.checkpoint(candidate.network)
        if candidate.name in self.broken:
            raise CommandError(f"{candidate.name} is broken")
        return self.folder(candidate.network) / candidate.variant
