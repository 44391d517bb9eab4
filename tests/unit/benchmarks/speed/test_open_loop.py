from __future__ import annotations

from functools import partial

import numpy as np
import pytest

from benchmarks.budget import Limit, Outcome, judge
from benchmarks.noise import Noise
from benchmarks.scenarios import CameraRun, RateSearch, camera, highest_rate
from benchmarks.speed.open_loop import CameraFinding, ServerFinding
from tests.unit.benchmarks.scenarios.conftest import clock
from tests.unit.benchmarks.scenarios.fakes import Clock, Fixed
from tests.unit.benchmarks.scenarios.test_rate_search import run

__all__ = ["clock"]

RATE = "throughput.samples_per_s"


def search(capacity: float, noise: Noise) -> RateSearch:
    def trial(rate: float) -> object:
        return run(rate, 0 if rate <= capacity else 500, noise)

    return highest_rate(trial, trial, start=100)  # type: ignore[arg-type]


@pytest.mark.parametrize(
    ("least", "quiet", "noisy"),
    [
        (900, Outcome.PASS, Outcome.PASS),
        (1000, Outcome.INCONCLUSIVE, Outcome.INCONCLUSIVE),
        (1200, Outcome.FAIL, Outcome.INCONCLUSIVE),
    ],
)
def test_the_highest_rate_is_judged_by_what_was_proven(
    least: float, quiet: Outcome, noisy: Outcome
) -> None:
    for noise, expected in ((Noise(0.0), quiet), (Noise(1.0), noisy)):
        found = search(1000, noise)
        assert found.held <= 1000 < found.failed
        finding = ServerFinding(found.told, 10, found)
        limit = Limit(metric=RATE, scenario="server", min=least)
        (verdict,) = judge(finding.measurements(), [limit])
        assert verdict.outcome is expected
        assert f"{found.held:.5g} (< " in finding.rows()["server: queries/s, 99 % within 10 ms"]


def test_a_given_rate_has_latencies_but_is_no_throughput() -> None:
    finding = ServerFinding(run(200, 0), 10, None)
    metrics = {item.metric for item in finding.measurements()}
    assert metrics == {"latency.read_ms", "latency.queue_ms"}
    assert finding.rows()["server at 200/s: 99 % within 10 ms"] == "pass"
    assert finding.to_object()["server"]["search"] is None


def filmed(clock: Clock, call_s: float) -> CameraRun:
    quick = partial(camera, cameras=2, fps=50, jitter_ms=0, min_duration_s=20)
    return quick(Fixed(clock, call_s=call_s))


def test_frames_are_judged_by_their_shares(clock: Clock) -> None:
    limits = [
        Limit(metric="frames.dropped", max=0.01),
        Limit(metric="latency.queue_ms", scenario="camera", stat="p50", max=15),
    ]
    fast, slow = (CameraFinding(filmed(clock, call_s)) for call_s in (0.001, 0.02))
    # Whatever else the machine does in real time meanwhile only makes a failure a doubt.
    assert [v.outcome for v in judge(fast.measurements(), limits)] == [Outcome.PASS] * 2
    verdict = judge(slow.measurements(), limits)[0]
    assert verdict.outcome in (Outcome.FAIL, Outcome.INCONCLUSIVE)
    assert verdict.measured is not None
    assert verdict.measured.value == pytest.approx(0.5, abs=0.02)
    served, limit_ms = slow.timeline or (None, None)
    assert limit_ms == 20.0
    assert served is not None
    assert np.count_nonzero(~served.answered) == slow.run.dropped.hits
