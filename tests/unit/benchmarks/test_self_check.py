from __future__ import annotations

import time
from collections import Counter

import pytest

from benchmarks.budget import Outcome
from benchmarks.self_check import LOSS, Planted, Slowed, planted_loss

from .scenarios.fakes import Clock, Fixed


@pytest.mark.parametrize(
    ("wrong", "least", "share", "trusted"),
    [
        (Outcome.FAIL, False, 2, True),  # two of forty equals accused
        (Outcome.FAIL, False, 3, False),
        (Outcome.FAIL, True, 38, True),  # 38 of forty slowdowns found
        (Outcome.FAIL, True, 37, False),
        (Outcome.PASS, False, 0, True),
        (Outcome.PASS, False, 1, False),  # a loss that passed once
    ],
)
def test_how_many_wrong_verdicts_are_too_many(
    wrong: Outcome, *, least: bool, share: int, trusted: bool
) -> None:
    outcomes = Counter({wrong: share, Outcome.INCONCLUSIVE: 40 - share})
    assert Planted(what="x", outcomes=outcomes, wrong=wrong, least=least).trusted is trusted


def test_a_lost_point_never_passes_and_equals_never_fail() -> None:
    lost, kept = planted_loss(LOSS, seed=0), planted_loss(0.0, seed=0)
    assert lost.runs == kept.runs == 400
    assert lost.outcomes[Outcome.PASS] == kept.outcomes[Outcome.FAIL] == 0
    assert lost.outcomes[Outcome.FAIL] > 0
    assert kept.outcomes[Outcome.PASS] > 0


def test_a_planted_slowdown_is_as_long_as_it_says() -> None:
    class Spinning(Fixed):
        def answer(self, samples: object) -> list[int]:
            until = time.perf_counter_ns() + 2_000_000
            while time.perf_counter_ns() < until:
                pass
            return [0]

    slowed = Slowed(Spinning(Clock(), call_s=0.0, crops=1))
    slowed.share = 0.5
    times = []
    for _ in range(30):
        began = time.perf_counter_ns()
        slowed.check(slowed())
        times.append(time.perf_counter_ns() - began)
    assert min(times) == pytest.approx(3e6, rel=0.05)
