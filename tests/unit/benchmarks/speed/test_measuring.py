from __future__ import annotations

import pytest

from benchmarks.budget import Limit
from benchmarks.metric_kinds import METRICS
from benchmarks.speed import SCENARIOS, scenarios_for
from runtime.errors import ConfigError


def test_metrics_know_the_scenarios_that_there_are() -> None:
    known = {scenario for kind in METRICS.values() for scenario in kind.scenarios}
    assert {*SCENARIOS, "interleaved", "cold-start"} == known


def test_what_a_budget_limits_is_measured() -> None:
    assert scenarios_for([]) == ["single-stream", "offline"]
    frames = Limit(metric="frames.late", max=0.1)
    server = Limit(metric="latency.read_ms", scenario="server", stat="p99", max=10)
    cold = Limit(metric="latency.cold_start_ms", scenario="cold-start", stat="p50", max=300)
    assert scenarios_for([frames, cold]) == ["single-stream", "offline", "camera"]
    assert scenarios_for([server]) == ["single-stream", "server", "offline"]


def test_a_limit_must_say_which_of_several_scenarios_it_means() -> None:
    read = Limit(metric="latency.read_ms", stat="p99", max=10)
    queue = Limit(metric="latency.queue_ms", stat="p99", max=10)
    frames = Limit(metric="frames.late", max=0.1)
    assert scenarios_for([read]) == ["single-stream", "offline"]
    assert scenarios_for([read, frames], ["camera"]) == ["camera"]
    assert scenarios_for([queue], ["offline"]) == ["offline"]  # not measured, which fails
    for limits, only, named in [
        ([read, frames], (), "add scenario, one of single-stream, camera"),
        ([queue], (), "add scenario, one of server, camera"),
        ([read], ["server", "camera"], "add scenario, one of server, camera"),
    ]:
        with pytest.raises(ConfigError, match=named):
            scenarios_for(limits, only)
