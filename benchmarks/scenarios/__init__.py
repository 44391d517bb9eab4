"""How time is measured, in the words of MLPerf's LoadGen.

A *sample* is one image; a *query* is what is asked at once: one sample or several. A query counts
as answered only when its result is on the host. The scenarios of MLPerf Inference (Reddi et al.,
ISCA 2020, section IV-B; LoadGen's ``test_settings.h``):

- **SingleStream**: the next query starts when the one before has ended. Result: percentiles of
  query latency. "How long does one crop take?" It says nothing about queues.
- **MultiStream**: the same with several samples a query, 8 unless told. Result: as SingleStream.
- **Server**: queries of one sample arrive at random (Poisson) at a target rate, whether those
  before are answered or not. The rate *holds* if 99 % are answered within a bound. Result: the
  highest rate that holds.
- **Offline**: all samples are there at the start and go in batches. Result: samples per second.

And ours:

- **Camera**: N cameras send frames at a fixed rate with jitter; a camera's waiting frame is
  replaced by its next one. Result: frames that were dropped or late, and latency.
- **Interleaved**: several callables take turns in one process, in random order every round, so
  that a drift of the machine hits all alike. Result: medians and speedups.

Where queries arrive by themselves, latency counts from the *intended* arrival: a stall makes all
that wait for it late, not only the query that it hit ("coordinated omission" leaves these out).

Every scenario first warms up until the timing is stable, runs at least the given time and number
of queries, and watches what other processes use (see ``noise``). The caller fixes the number of
threads when it opens the engine. A percentile of a latency is reported only from as many queries
on as prove it with 99 % confidence: 64 for p90, 662 for p99 (``intervals.min_queries``); the proof
takes queries for independent, as LoadGen's does. Answers of a ``System`` are compared with known
ones within the timed run (interleaved: the first and the last of each block), and a wrong one voids
it.
"""

from __future__ import annotations

from .camera import CameraRun, camera
from .closed_loop import Throughput, multi_stream, offline, single_stream
from .interleaved import Comparison, Speedup, compare_interleaved
from .latencies import Latency
from .rate_search import RateSearch, highest_rate
from .server import ServerRun, server
from .turns import System, Turns
from .warming import Query, WarmUp, warm_up

__all__ = [
    "CameraRun",
    "Comparison",
    "Latency",
    "Query",
    "RateSearch",
    "ServerRun",
    "Speedup",
    "System",
    "Throughput",
    "Turns",
    "WarmUp",
    "camera",
    "compare_interleaved",
    "highest_rate",
    "multi_stream",
    "offline",
    "server",
    "single_stream",
    "warm_up",
]
