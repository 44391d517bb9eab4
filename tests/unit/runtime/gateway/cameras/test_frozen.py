from __future__ import annotations

import pytest

from runtime.gateway.cameras.frozen import FrozenWatch
from tests.unit.runtime.gateway.cameras.scripted import ScriptedPicture


def frozen_at(limit_s: float, values: list[int], fps: float = 10.0) -> float | None:
    watch = FrozenWatch(limit_s)
    for number, value in enumerate(values):
        if watch.frozen(ScriptedPicture(value), number / fps):
            return number / fps
    return None


@pytest.mark.parametrize("limit_s", [2.0, 5.0])
def test_same_pixels_for_the_limit(limit_s: float) -> None:
    assert frozen_at(limit_s, [7] * 200) == pytest.approx(limit_s, abs=1.0)
    moved = frozen_at(limit_s, [1] * 15 + [7] * 200)
    assert moved is not None
    assert 1.5 + limit_s <= moved <= 1.5 + limit_s + 2


def test_pictures_that_change_are_not_frozen() -> None:
    assert frozen_at(2.0, [n // 10 % 256 for n in range(400)]) is None


def test_another_size_is_a_change() -> None:
    watch = FrozenWatch(1.0)
    sizes = [(8, 6), (8, 6), (16, 6), (16, 6)]
    found = [watch.frozen(ScriptedPicture(size=s), n * 0.6) for n, s in enumerate(sizes)]
    assert not any(found)


def test_it_can_be_turned_off() -> None:
    assert frozen_at(0, [7] * 1000) is None
