"""The loads against servers whose pace is known."""

from __future__ import annotations

import os
import threading
import time
from collections import Counter
from typing import Any

import numpy as np
import pytest

from benchmarks.serving.loads import closed_loop, open_loop
from benchmarks.serving.subject import Server, Subject
from runtime.errors import EngineError
from tests.unit.benchmarks.serving.fakes import peer, plate


def subject(name: str, url: str, *, pid: int | None = None) -> Subject:
    requests = [b"POST / HTTP/1.1\r\nContent-Length: 1\r\n\r\n" + text.encode() for text in "ABCD"]
    return Subject(Server(name, "jpeg", url), requests, [*"ABCD"], pid, None)


def test_a_server_that_sleeps_five_times_as_long_reaches_a_fifth_of_the_rate() -> None:
    crops: Counter[bytes] = Counter()
    threads: set[int] = set()

    def quick(_: str, body: bytes, __: Any) -> bytes:
        time.sleep(0.01)
        crops[body] += 1
        threads.add(threading.get_ident())
        return plate(body.decode())

    def slow(_: str, body: bytes, __: Any) -> bytes:
        time.sleep(0.05)
        return plate(body.decode())

    with peer(quick) as one, peer(slow) as two:
        found = closed_loop(
            [subject("quick", one, pid=os.getpid()), subject("slow", two)],
            connections=2, rounds=4, turn_s=0.2,
        )  # fmt: skip
    # What a busy machine adds to every request brings the two nearer to each other.
    assert 0.1 < found.rates.ratio("slow", "quick").value < 0.7
    assert found.rates.median("quick") < 2 / 0.01
    assert found.rates.median("slow") < 2 / 0.05
    assert np.median(found.latency_ns["quick"]) >= 10e6
    assert len(found.latency_ns["quick"]) == sum(crops.values())
    assert set(crops) == {b"A", b"B", b"C", b"D"}
    assert len(threads) == 2
    # The process is this one: it does something, and is not told of for the other server.
    assert found.cpu_us["quick"].shape == (4,)
    assert (found.cpu_us["quick"] > 0).all()
    assert found.cpu_ratio("slow", "quick") is None


def test_a_wrong_answer_under_load_is_found() -> None:
    count = 0

    def answer(_: str, body: bytes, __: Any) -> bytes:
        nonlocal count
        count += 1
        return plate("X" if count == 25 else body.decode())

    with peer(answer) as url, pytest.raises(EngineError, match="void"):
        closed_loop([subject("a", url)], connections=1, rounds=3, turn_s=0.2)


def test_latency_counts_from_the_intended_arrival() -> None:
    """One connection and 20 ms an answer serve 50 requests/s; of 200/s most have to wait."""

    def answer(_: str, body: bytes, __: Any) -> bytes:
        time.sleep(0.02)
        return plate(body.decode())

    with peer(answer) as url:
        run = open_loop([subject("a", url)], rate=200.0, connections=1, rounds=1, block_s=0.5)
    assert run.unanswered["a"] > 0
    assert np.median(run.latency_ns["a"]) > 100e6
    assert run.ratio("a", "a").value == 1


def test_at_a_rate_all_get_the_same_arrivals() -> None:
    def answer(_: str, body: bytes, __: Any) -> bytes:
        return plate(body.decode())

    with peer(answer) as one, peer(answer) as two:
        run = open_loop(
            [subject("a", one), subject("b", two)],
            rate=100.0, connections=4, rounds=2, block_s=0.3,
        )  # fmt: skip
    assert run.unanswered == {"a": 0, "b": 0}
    assert len(run.latency_ns["a"]) == len(run.latency_ns["b"])
    assert run.medians_ns["a"].shape == (2,)
    # The machine may stall in one of the rounds.
    assert run.medians_ns["a"].min() < 100e6
