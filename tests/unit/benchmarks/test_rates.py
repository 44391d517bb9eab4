from __future__ import annotations

import threading
from time import perf_counter, sleep

import numpy as np
import pytest

from benchmarks import rates as rates_module
from benchmarks.noise import Noise
from benchmarks.rates import Rates, Way, Worker, calls_until, interleaved_rates
from runtime.errors import ConfigError, EngineError


def idle(_until_s: float) -> int:
    return 1


class Clock:
    """Goes on only when somebody works."""

    def __init__(self) -> None:
        self.now_s = 0.0

    def worker(self, call_s: float, images: int = 1) -> Worker:
        def work(until_s: float) -> int:
            count = 0
            while self.now_s < until_s:
                self.now_s += call_s
                count += images
            return count

        return work


@pytest.fixture
def clock(monkeypatch: pytest.MonkeyPatch) -> Clock:
    made = Clock()
    monkeypatch.setattr(rates_module, "perf_counter", lambda: made.now_s)
    return made


def test_rates_are_images_per_second(clock: Clock) -> None:
    ways = {
        "slow": Way(workers=[clock.worker(0.25)]),
        "batch": Way(workers=[clock.worker(0.5, images=8)]),
        "late": Way(workers=[clock.worker(4.0)]),  # a call that is longer than the turn
    }
    rates = interleaved_rates(ways, rounds=5, turn_s=1.0)
    assert {name: values.tolist() for name, values in rates.per_s.items()} == {
        "slow": [4.0] * 5,
        "batch": [16.0] * 5,
        "late": [0.25] * 5,
    }


def test_the_images_of_all_threads_count(clock: Clock) -> None:
    def work(until_s: float) -> int:
        clock.now_s = until_s
        return 10

    ways = {"one": Way(workers=[work]), "three": Way(workers=[work] * 3)}
    rates = interleaved_rates(ways, rounds=3, turn_s=0.125)
    assert rates.median("one") == 80
    assert rates.median("three") == 240


def test_calls_go_on_until_then_and_there_is_one_where_that_is_over(clock: Clock) -> None:
    found = []
    for until_s in (1.0, 1.0):
        calls = []
        for call in calls_until(until_s):
            clock.now_s += 0.25
            calls.append(call)
        found.append(calls)
    assert found == [[0, 1, 2, 3], [0]]


def test_ratios_and_differences_are_taken_round_by_round() -> None:
    rates = Rates(
        {"a": np.array([100.0, 200.0, 400.0]), "b": np.array([50.0, 160.0, 360.0])}, Noise(0.0)
    )
    ratio = rates.ratio("b", "a")
    assert ratio.rounds.tolist() == [0.5, 0.8, 0.9]
    assert ratio.value == 0.8
    # 10, 1.25 and 0.278 ms more
    assert rates.extra_us("b", "a") == pytest.approx(1250)


def test_each_thread_has_a_worker_of_its_own_and_answers_are_checked() -> None:
    seen: list[threading.Thread] = []
    checked: list[int] = []

    def work(until_s: float) -> int:
        seen.append(threading.current_thread())
        sleep(max(0.0, until_s - perf_counter()))
        return 1

    ways = {"way": Way(workers=[work, work], checks=[lambda: checked.append(len(seen))])}
    interleaved_rates(ways, rounds=3, turn_s=0.02)
    assert checked == [2, 4, 6, 8]  # after warming up and after every turn
    assert len(set(seen)) == 2


def test_a_wrong_answer_ends_the_measurement() -> None:
    def wrong() -> None:
        raise EngineError("void")

    with pytest.raises(EngineError, match="void"):
        interleaved_rates({"way": Way(workers=[idle], checks=[wrong])}, rounds=3, turn_s=0.01)


@pytest.mark.parametrize(("rounds", "turn_s"), [(2, 0.1), (3, 0.0), (3, float("nan"))])
def test_what_tells_nothing_is_refused(rounds: int, turn_s: float) -> None:
    with pytest.raises(ConfigError, match="rounds"):
        interleaved_rates({"way": Way(workers=[idle])}, rounds=rounds, turn_s=turn_s)
