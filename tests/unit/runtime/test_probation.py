from __future__ import annotations

from dataclasses import replace
from typing import Any

import pytest

from runtime import ConfigError, Health, Stats
from runtime.probation import CONFIRMED, Probation, ProbationOptions

READY = Health("ready")
MS = 1_000_000
OPTIONS = ProbationOptions(watch_s=10, min_images=20, max_failed=0.1, max_slowdown=10)
BEFORE = Stats(images=500, answered=400, engine_failures=100, accepted=50, engine_ns=10**12)
"""What artifacts before did is not held against this one."""


def after(**more: Any) -> Stats:
    """``BEFORE`` with more of some counts."""
    return replace(BEFORE, **{name: getattr(BEFORE, name) + value for name, value in more.items()})


def called(stats: Stats, images: int, ms: float) -> Stats:
    """After one more call for so many images, each of which took ``ms``."""
    sizes = {**stats.batch_sizes, images: stats.batch_sizes.get(images, 0) + 1}
    spent_ns = stats.engine_ns + int(images * ms * MS)
    return replace(stats, batch_sizes=sizes, engine_ns=spent_ns)


def begin(**changes: Any) -> Probation:
    return Probation(replace(OPTIONS, **changes), BEFORE, usual_ns=5 * MS, now_s=100.0)


def test_it_is_confirmed_after_the_time_and_the_images() -> None:
    probation = begin()
    assert probation.look(READY, after(answered=1000), 109.9) is None
    assert probation.look(READY, after(answered=19), 999.0) is None
    assert probation.look(READY, after(answered=20), 110.0) == CONFIRMED


def test_a_reader_that_failed_goes_at_once() -> None:
    assert begin().look(Health("failed", "3 engine calls failed"), BEFORE, 100.1) == (
        "3 engine calls failed"
    )
    assert begin().look(Health("overloaded", "the queue is full"), BEFORE, 100.1) is None


@pytest.mark.parametrize(
    ("answered", "failed", "goes"), [(17, 2, False), (18, 2, False), (17, 3, True), (0, 20, True)]
)
def test_the_share_of_failed_images(answered: int, failed: int, goes: bool) -> None:
    verdict = begin().look(READY, after(answered=answered, engine_failures=failed), 101.0)
    expected = f"the engine failed on {failed} of {answered + failed} images" if goes else None
    assert verdict == expected


@pytest.mark.parametrize(("accepted", "goes"), [(10, False), (9, True)])
def test_the_share_of_answers_that_are_not_accepted(accepted: int, goes: bool) -> None:
    stats = after(answered=20, accepted=accepted)
    verdict = begin(max_abstained=0.5).look(READY, stats, 101.0)
    assert verdict == ("11 of 20 answers were not accepted" if goes else None)
    assert begin().look(READY, stats, 101.0) is None  # any share is allowed by default


def test_three_slow_looks_in_a_row() -> None:
    probation, stats = begin(), BEFORE
    # Batches of 4, to be compared per image; 50 ms are allowed. A look without calls is none.
    for ms, verdict in [(51, 0), (51, 0), (49, 0), (51, 0), (None, 0), (51, 0), (60, 1)]:
        stats = stats if ms is None else called(stats, 4, ms)
        found = probation.look(READY, stats, 101.0)
        assert (found is not None) == verdict
    assert found is not None
    assert "60.0 ms per image, more than 50.0 ms" in found


def test_fast_engines_have_room_for_a_busy_machine() -> None:
    probation = Probation(OPTIONS, BEFORE, usual_ns=MS // 10, now_s=0.0)
    stats = BEFORE
    for _ in range(5):
        stats = called(stats, 1, 19)
        assert probation.look(READY, stats, 1.0) is None


@pytest.mark.parametrize(
    "options",
    [
        {"watch_s": 0},
        {"watch_s": float("nan")},
        {"min_images": 0},
        {"max_failed": 1.1},
        {"max_abstained": -0.1},
        {"max_slowdown": 1.0},
    ],
)
def test_options_that_cannot_work(options: dict[str, Any]) -> None:
    with pytest.raises(ConfigError):
        ProbationOptions(**options)
