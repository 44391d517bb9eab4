"""MLPerf's own LoadGen on the same systems: the same rule, the same verdicts, the same latencies.

LoadGen is an oracle here, not a dependency: its wheel exists for some platforms only.
"""

from __future__ import annotations

import re
import threading
import time
from collections.abc import Callable, Sequence
from pathlib import Path
from queue import SimpleQueue
from typing import Any

import numpy as np
import pytest

from benchmarks.budget import Outcome
from benchmarks.intervals import min_queries, quantile_bounds, within
from benchmarks.noise import Noise
from benchmarks.scenarios import Latency, Turns, server, single_stream

lg = pytest.importorskip("mlperf_loadgen", reason="mlcommons-loadgen is not installed")

SERVICE_S = 0.002
BOUND_MS = 600.0
"""Far above what other processes on the machine delay a query by, and below what half of the
queries are late by that come twice as fast as they are answered."""
TRIES = 4


class Napping:
    """A system with one worker: every query takes two milliseconds or a little more."""

    crops = 50

    def __init__(self) -> None:
        self.taken_ns: list[int] = []

    def answer(self, samples: Sequence[int]) -> None:
        began = time.perf_counter_ns()
        time.sleep(SERVICE_S + 2e-5 * samples[0])
        self.taken_ns.append(time.perf_counter_ns() - began)

    def check(self, samples: Sequence[int], answers: object) -> None:
        """Naps are never wrong."""


def loadgen(folder: Path, issue: Callable[[Any], None], **settings: object) -> str:
    """Run LoadGen and return its summary."""
    chosen = lg.TestSettings()
    chosen.mode = lg.TestMode.PerformanceOnly
    for name, value in settings.items():
        setattr(chosen, name, value)
    log = lg.LogSettings()
    log.log_output.outdir = str(folder)
    log.log_output.copy_summary_to_stdout = False
    log.enable_trace = False
    system = lg.ConstructSUT(issue, lambda: None)
    library = lg.ConstructQSL(50, 50, lambda _: None, lambda _: None)
    try:
        lg.StartTestWithLogSettings(system, library, chosen, log, "")
    finally:
        lg.DestroyQSL(library)
        lg.DestroySUT(system)
    return (folder / "mlperf_log_summary.txt").read_text(encoding="utf-8")


def number(pattern: str, summary: str) -> int:
    found = re.search(pattern, summary)
    assert found is not None, summary
    return int(found[1])


def test_single_stream_and_early_stopping(tmp_path: Path) -> None:
    system = Napping()

    def issue(samples: Any) -> None:
        for sample in samples:
            system.answer([sample.index])
            lg.QuerySamplesComplete([lg.QuerySampleResponse(sample.id, 0, 0)])

    summary = loadgen(
        tmp_path,
        issue,
        scenario=lg.TestScenario.SingleStream,
        min_duration_ms=1000,
        min_query_count=700,
        single_stream_expected_latency_ns=round(SERVICE_S * 1e9),
    )
    queries = number(r"queries \((\d+)\)", summary)
    discarded = number(r"discard (\d+) highest", summary)
    assert number(r"at least (\d+) queries", summary) == min_queries(0.9)
    # The estimate is the smallest of the most queries that may lie over a limit and still prove
    # it, so one fewer lies over the estimate itself.
    assert within(discarded + 1, queries, 0.9) is True
    assert within(discarded + 2, queries, 0.9) is None
    assert quantile_bounds(np.arange(queries), 0.9)[1] == queries - (discarded + 1)
    # LoadGen's clock starts a little earlier and stops a little later than the system's own: its
    # estimates are never smaller, and larger where another process came between the two clocks,
    # which among the slowest of a hundred is common on a busy machine.
    own = Latency(np.array(system.taken_ns, np.int64), Noise(0.0))
    assert own.count == queries
    estimate_ms = {
        percent: number(rf"{percent}\.0th percentile estimate: (\d+)", summary) / 1e6
        for percent in (90, 99)
    }
    assert own.bounds_ms(0.9)[1] <= estimate_ms[90] <= 1.25 * own.bounds_ms(0.9)[1]
    assert own.bounds_ms(0.99)[1] <= estimate_ms[99]
    ours = single_stream(Turns(system), min_queries=500, min_duration_s=1)
    theirs = number(r"50\.00 percentile latency \(ns\)\s+: (\d+)", summary) / 1e6
    assert ours.percentile_ms(0.5) == pytest.approx(theirs, rel=0.25)


def loadgen_server(folder: Path, rate: int) -> str:
    """LoadGen's server scenario with a worker that takes one query after the other."""
    system, waiting = Napping(), SimpleQueue[Any]()

    def work() -> None:
        while (sample := waiting.get()) is not None:
            system.answer([sample.index])
            lg.QuerySamplesComplete([lg.QuerySampleResponse(sample.id, 0, 0)])

    def issue(samples: Any) -> None:
        for sample in samples:
            waiting.put(sample)

    worker = threading.Thread(target=work)
    worker.start()
    try:
        return loadgen(
            folder,
            issue,
            scenario=lg.TestScenario.Server,
            min_duration_ms=1000,
            min_query_count=662,
            server_target_qps=rate,
            server_target_latency_ns=round(BOUND_MS * 1e6),
            server_target_latency_percentile=0.99,
        )
    finally:
        waiting.put(None)
        worker.join()


@pytest.mark.parametrize(("rate", "outcome"), [(250, Outcome.PASS), (900, Outcome.FAIL)])
def test_server(tmp_path: Path, rate: int, outcome: Outcome) -> None:
    # A machine that stalls for a moment fails a system that keeps its bound, and never passes one
    # that does not: the latter fails at once, the former has some tries.
    valid, tries = outcome is Outcome.PASS, TRIES if outcome is Outcome.PASS else 1
    summaries = (loadgen_server(tmp_path, rate) for _ in range(tries))
    summary = next((s for s in summaries if ("Result is : VALID" in s) == valid), None)
    assert summary is not None
    runs = (server(Napping(), rate=rate, bound_ms=BOUND_MS, min_duration_s=1) for _ in range(tries))
    ours = next((run for run in runs if run.outcome is outcome), None)
    assert ours is not None
    if outcome is Outcome.PASS:
        theirs = number(r"50\.00 percentile latency \(ns\)\s+: (\d+)", summary) / 1e6
        assert ours.latency.percentile_ms(0.5) == pytest.approx(theirs, rel=0.4)
