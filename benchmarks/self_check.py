"""Whether the verdicts of ``benchmarks.compare`` can be trusted on this machine.

An artifact is compared with itself: no verdict may accuse it. Then a slowdown is planted, a pause
after every query in proportion to it: it must be found. Last, answers are made wrong: a loss of one
point on 2,000 crops may be found or be inconclusive, but never pass. Run it on a quiet machine; 40
runs of each take less than ten minutes.

Exit codes: 0 the verdicts can be trusted, 1 error or they cannot, 2 usage.
"""

from __future__ import annotations

import time
from collections import Counter
from collections.abc import Mapping, Sequence
from contextlib import ExitStack
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Annotated, Any, Final

import numpy as np

from runtime.errors import ConfigError
from runtime.staging import check_free

from .arguments import POSITIONAL
from .assessment import drop_measurement
from .budget import Limit, Outcome, judge
from .command import run_command, say
from .compare import Paired
from .compare.racing import ROUNDS, Track, noise_floor, race, slowdown_limit
from .environment import environment
from .report import Report
from .scenarios import Turns
from .speed import open_subject

__all__ = ["Planted", "SelfCheckConfig", "main", "self_check"]

PROG: Final = "python -m benchmarks.self_check"
CROPS: Final = 2000
LOSS: Final = 0.01
MAX_DROP: Final = 0.005
_ALLOWED: Final = 0.05
"""Share of verdicts that may be wrong."""
_DRAWS: Final = 400
_LEAD: Final = (
    "An artifact is compared with itself, which no verdict may call slower; then it is slowed down "
    "on purpose, and answers are made wrong on purpose, which verdicts must find or leave open."
)


@dataclass(frozen=True, slots=True, kw_only=True)
class SelfCheckConfig:
    """Check whether verdicts on regressions can be trusted on this machine."""

    artifact: Annotated[Path, POSITIONAL]
    """Artifact to compare with itself."""
    runs: int = 40
    """Comparisons without and with a planted slowdown, each."""
    slowdown: float = 0.10
    """Share by which the planted one is slower."""
    max_slowdown: float = 0.05
    """What the comparison allows."""
    threads: int = 1
    """Threads of the engine."""
    rounds: int = ROUNDS
    """Rounds of a comparison."""
    seed: int = 0
    """Of orders and planted losses."""
    output: Path | None = None
    """New folder for result.json and report.md."""
    overwrite: bool = False
    """Replace the output folder."""

    def __post_init__(self) -> None:
        if self.runs < 1 or self.rounds < 5 or self.threads < 1:
            raise ConfigError(
                f"--runs and --threads must be >= 1 and --rounds >= 5, got {self.runs}, "
                f"{self.threads} and {self.rounds}"
            )
        if not 0 < self.max_slowdown < self.slowdown < 10:
            raise ConfigError(
                f"--slowdown must be above --max-slowdown to be found, got {self.slowdown} and "
                f"{self.max_slowdown}"
            )


class Slowed(Turns):
    """Turns that take longer by a share of their own time, as a slower engine would."""

    share = 0.0

    def __call__(self) -> Any:
        """Ask the next crops, and wait."""
        began = time.perf_counter_ns()
        answer = super().__call__()
        until = began + (time.perf_counter_ns() - began) * (1 + self.share)
        while time.perf_counter_ns() < until:
            pass
        return answer


@dataclass(frozen=True, slots=True, kw_only=True)
class Planted:
    """How often each verdict was given on what was planted."""

    what: str
    outcomes: Counter[Outcome]
    wrong: Outcome
    """The verdict that must not be given, or with ``least`` the one that must."""
    least: bool = False
    noisy: int = 0
    """Runs that other processes disturbed."""

    @property
    def runs(self) -> int:
        """Number of verdicts."""
        return self.outcomes.total()

    @property
    def trusted(self) -> bool:
        """Whether at most 5 % of the verdicts are wrong; of a loss, none may pass."""
        share = self.outcomes[self.wrong] / self.runs
        if self.least:
            return share >= 1 - _ALLOWED
        return share <= (0 if self.wrong is Outcome.PASS else _ALLOWED)

    def row(self) -> Mapping[str, str]:
        """Return a table row."""
        counts = {str(outcome): str(self.outcomes[outcome]) for outcome in Outcome}
        told = "yes" if self.trusted else "NO"
        return {"planted": self.what, **counts, "disturbed": str(self.noisy), "as it must be": told}


def self_check(config: SelfCheckConfig) -> int:
    """Run the command.

    Returns:
        The exit code.

    Raises:
        HeadlightError: anything that a user can mend.
    """
    if config.output is not None:
        check_free(config.output, overwrite=config.overwrite)
    found = [
        planted_slowdown(config, 0.0),
        planted_slowdown(config, config.slowdown),
        planted_loss(0.0, seed=config.seed),
        planted_loss(LOSS, seed=config.seed),
    ]
    title = f"Verdicts of benchmarks.compare, {config.artifact}"
    report = Report(
        title=title,
        lead=_LEAD,
        tables={title: [each.row() for each in found]},
        data={
            "command": "benchmarks.self_check",
            "config": asdict(config),
            "environment": environment(),
            "planted": [each.row() for each in found],
        },
    )
    report.publish(config.output, overwrite=config.overwrite)
    return 0 if all(each.trusted for each in found) else 1


def planted_slowdown(config: SelfCheckConfig, share: float) -> Planted:
    """Compare the artifact's engine with itself, made slower by ``share``, again and again.

    Every run opens its sessions anew: where a session's memory lies may make it slower for life.
    """
    outcomes, noisy = Counter[Outcome](), 0
    limit = slowdown_limit("engine", config.max_slowdown, 0.95)
    for run in range(config.runs):
        track = Track(threads=config.threads, rounds=config.rounds, seed=config.seed + 10 * run)
        with ExitStack() as stack:

            def opened() -> Slowed:
                each = open_subject(config.artifact, threads=config.threads, max_batch=1)
                return Slowed(stack.enter_context(each).engine(1))

            old, again, new = opened(), opened(), opened()
            new.share = share
            found = race("engine", old, new, noise_floor(old, again, track), limit, track)
        outcomes[found.verdict(limit).outcome] += 1
        noisy += found.noise.noisy
        if (run + 1) % 10 == 0:
            say(f"slower by {share:.0%}: {run + 1} of {config.runs} runs")
    return Planted(
        what=f"slower by {share:.0%}",
        outcomes=outcomes,
        wrong=Outcome.FAIL,
        least=share > 0,
        noisy=noisy,
    )


def planted_loss(share: float, *, seed: int) -> Planted:
    """Judge answers to 2,000 crops of which NEW loses ``share``, and as many more as it gains."""
    limit = Limit(metric="versus.exact_drop", max=MAX_DROP)
    random = np.random.default_rng(seed)
    lost, outcomes = round(share * CROPS), Counter[Outcome]()
    for churn in random.integers(0, CROPS // 20, _DRAWS).tolist():
        found = Paired(only_first=lost + churn, only_second=churn, total=CROPS)
        outcomes[judge([drop_measurement(found)], [limit])[0].outcome] += 1
    wrong = Outcome.PASS if share else Outcome.FAIL
    what = f"{share:.1%} of the answers to {CROPS} crops lost"
    return Planted(what=what, outcomes=outcomes, wrong=wrong)


def main(argv: Sequence[str] | None = None) -> int:
    """Parse the command line and check; return the exit code."""
    return run_command(argv, SelfCheckConfig, self_check, prog=PROG)


if __name__ == "__main__":
    raise SystemExit(main())
