from __future__ import annotations

from collections.abc import Callable

import numpy as np
import pytest

from benchmarks.budget import Outcome
from benchmarks.compare import racing
from benchmarks.compare.racing import LOOKS, Race, Track, noise_floor, race, slowdown_limit
from benchmarks.noise import Noise
from benchmarks.report import to_json
from benchmarks.scenarios import Comparison

LIMIT = slowdown_limit("engine", 0.05, 0.95)


def part(rng: np.random.Generator, slower: float, spread: float, rounds: int = 60) -> Comparison:
    """Two callables whose blocks differ by ``slower`` and scatter by ``spread``."""
    old = np.exp(rng.normal(0, spread, rounds))
    new = (1 + slower) * np.exp(rng.normal(0, spread, rounds))
    return Comparison({"OLD": old, "NEW": new}, Noise(0.0))


def raced(
    monkeypatch: pytest.MonkeyPatch, slower: float, *, spread: float, bias: float = 0.0, seed: int
) -> Race:
    rng = np.random.default_rng(seed)
    floor = part(rng, bias, spread)

    def compare(_: object, *, rounds: int, **__: object) -> Comparison:
        return part(rng, slower, spread, rounds)

    monkeypatch.setattr(racing, "compare_interleaved", compare)
    return race("engine", lambda: None, lambda: None, floor, LIMIT, Track())


def outcomes(monkeypatch: pytest.MonkeyPatch, slower: float, spread: float) -> list[Outcome]:
    found = [raced(monkeypatch, slower, spread=spread, seed=seed) for seed in range(20)]
    return [each.verdict(LIMIT).outcome for each in found]


def test_equals_are_not_accused_and_a_planted_slowdown_is_found(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    # 6 % scatter of blocks is twice what a shared two-core host showed.
    assert outcomes(monkeypatch, 0.0, 0.06).count(Outcome.FAIL) == 0
    assert outcomes(monkeypatch, 0.10, 0.06).count(Outcome.FAIL) >= 19
    assert outcomes(monkeypatch, 0.10, 0.3).count(Outcome.PASS) <= 1


def test_at_the_limit_itself_few_verdicts_are_wrong(monkeypatch: pytest.MonkeyPatch) -> None:
    # 5 % each way are allowed, of 20.
    found = outcomes(monkeypatch, 0.05, 0.05)
    assert found.count(Outcome.PASS) <= 4
    assert found.count(Outcome.FAIL) <= 4


def test_a_clear_race_ends_at_the_first_look_and_a_close_one_goes_on(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    assert len(raced(monkeypatch, 0.5, spread=0.05, seed=1).parts) == 1
    close = raced(monkeypatch, 0.05, spread=0.05, seed=1)
    assert len(close.parts) == LOOKS
    assert len(close.speedup.rounds) == 60 + 60 + 120


def test_what_the_machine_does_to_old_itself_widens_the_bounds(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    fair = raced(monkeypatch, 0.07, spread=0.002, seed=2)
    assert fair.bias == 1.0
    assert fair.verdict(LIMIT).outcome is Outcome.FAIL
    for bias in (0.03, -0.03):
        biased = raced(monkeypatch, 0.07, spread=0.002, bias=bias, seed=2)
        assert biased.bias == pytest.approx(1.03, abs=0.003)
        assert biased.verdict(LIMIT).outcome is Outcome.INCONCLUSIVE
    assert '"bias"' in to_json(biased.to_object())
    assert "engine: OLD against itself" in biased.rows()


def test_slowdowns_are_told_as_limits_are_given(monkeypatch: pytest.MonkeyPatch) -> None:
    rows = raced(monkeypatch, 0.25, spread=1e-6, seed=0).rows()
    assert rows["engine: slower by"] == "+25.00%"
    assert slowdown_limit("read", 0.25, 0.9).min == pytest.approx(0.8)


@pytest.mark.parametrize("busy", [0.5, None])
def test_noise_of_any_part_counts(busy: float | None) -> None:
    quiet = part(np.random.default_rng(0), 0, 0.01)
    loud = Comparison(quiet.blocks_ms, Noise(busy))
    found = Race(of="read", floor=quiet, parts=(quiet, loud))
    assert found.noise.noisy


def test_the_real_thing_on_two_equal_queries() -> None:
    def query() -> Callable[[], object]:
        return lambda: sum(range(2000))

    track = Track(rounds=6, block_s=0.001)
    floor = noise_floor(query(), query(), track)
    found = race("engine", query(), lambda: sum(range(20_000)), floor, LIMIT, track)
    assert found.verdict(LIMIT).outcome is Outcome.FAIL
    assert found.speedup.value < 0.3
