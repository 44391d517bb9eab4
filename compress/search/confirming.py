"""Full trainings of the best networks, and the budget's verdict on what they become."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path

from benchmarks.budget import Limit, Measurement, judge
from benchmarks.command import say
from benchmarks.scenarios import Comparison
from benchmarks.speed import speedup_measurement
from runtime.errors import ParityError

from .exploring import Maker
from .exports import CommandError
from .ranking import Confirmed, Record, next_network
from .space import NetworkChoice

__all__ = ["Confirmer"]


@dataclass(frozen=True, slots=True, kw_only=True)
class Confirmer:
    """Judges candidates."""

    maker: Maker
    measure: Callable[[Path], Sequence[Measurement]]
    """Artifact folder to what a budget may limit, but for the speedup."""
    race: Callable[[Mapping[str, Path]], Comparison]
    """Times artifacts by turns, by name, after the reference."""
    limits: Sequence[Limit]
    records: Sequence[Record]
    """Those with the results of short trainings; filled in."""
    measured: dict[str, Sequence[Measurement]] = field(default_factory=dict)
    """Candidate to its measurements."""

    def confirm(self) -> None:
        """Train fully what promises most, until nothing promises to be better.

        Raises:
            HeadlightError: a training cannot be done.
            KeyboardInterrupt: interrupted; the same call goes on.
        """
        config = self.maker.config
        for number in range(config.confirm):
            network = next_network(self.records, self.limits, config.prefer)
            if network is None:
                return
            say(f"full training {number + 1} of at most {config.confirm}: {network.name}")
            self.maker.checkpoint(network)
            self._judge(network)

    def _judge(self, network: NetworkChoice) -> None:
        """Measure all variants of a network, and time all that were confirmed so far by turns."""
        for record in self.records:
            if record.candidate.network == network and not record.failure:
                self._measure(record)
        ready = [record for record in self.records if record.candidate.name in self.measured]
        if not ready:
            return
        compared = self.race({r.candidate.name: self.maker.artifact(r.candidate) for r in ready})
        for record in ready:
            name = record.candidate.name
            measured = [*self.measured[name], speedup_measurement(compared.speedups[name])]
            verdicts = judge(measured, self.limits)
            record.confirmed = Confirmed(measured, verdicts, compared.medians_ms[name])
            if record.candidate.network == network:
                say(f"{name}: {record.confirmed.outcome}")

    def _measure(self, record: Record) -> None:
        try:
            folder = self.maker.artifact(record.candidate)
        except (ParityError, CommandError) as error:
            record.failure = str(error)
            say(f"{record.candidate.name}: {error}")
            return
        self.measured[record.candidate.name] = self.measure(folder)
