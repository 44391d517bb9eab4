from __future__ import annotations

import subprocess
import sys
import time
from dataclasses import dataclass
from pathlib import Path

import pytest

from benchmarks import noise
from benchmarks.noise import Noise, NoiseWatch, quietest

BUSY = "import time; e = time.time() + 20\nwhile time.time() < e: pass"


@dataclass
class Result:
    noise: Noise


def test_limit_of_quietness() -> None:
    assert not Noise(0.12).noisy
    assert Noise(0.13).noisy
    assert Noise(None).noisy
    assert Noise(float("nan")).noisy


@pytest.mark.skipif(not Path("/proc/stat").exists(), reason="needs /proc/stat")
def test_a_busy_neighbour_is_seen() -> None:
    child = subprocess.Popen([sys.executable, "-c", BUSY])
    try:
        time.sleep(0.2)
        watch = NoiseWatch()
        time.sleep(0.5)
        found = watch.read()
    finally:
        child.kill()
        child.wait()
    assert found.other_cores is not None
    assert found.other_cores > 0.3  # it may share its core with other tests
    assert found.noisy


@pytest.mark.skipif(not Path("/proc/stat").exists(), reason="needs /proc/stat")
def test_own_work_and_own_children_are_not_noise(monkeypatch: pytest.MonkeyPatch) -> None:
    # What the rest of the machine does meanwhile is not ours to say, so it is counted out.
    monkeypatch.setattr(noise, "_busy_s", noise._own_s)
    watch = NoiseWatch()
    subprocess.run([sys.executable, "-c", "sum(range(3_000_000))"], check=True)
    sum(range(3_000_000))
    assert watch.read().other_cores == pytest.approx(0, abs=0.01)


def test_unreadable_statistics_count_as_noisy(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(noise, "_STAT", Path("/nowhere"))
    assert NoiseWatch().read() == Noise(None)


def test_quietest_stops_at_the_first_quiet_one() -> None:
    shares = iter([0.9, 0.05, 0.0])
    found = quietest(lambda: Result(Noise(next(shares))), tries=3, pause_s=0)
    assert found.noise.other_cores == 0.05


def test_quietest_of_noisy_ones_is_kept_and_marked() -> None:
    shares = iter([0.9, 0.4, 0.6])
    found = quietest(lambda: Result(Noise(next(shares))), tries=3, pause_s=0)
    assert found.noise == Noise(0.4)
    assert found.noise.noisy


def test_quietest_does_not_repeat_what_cannot_be_known() -> None:
    results = iter([Noise(None)])
    assert quietest(lambda: Result(next(results)), tries=5, pause_s=0).noise == Noise(None)
