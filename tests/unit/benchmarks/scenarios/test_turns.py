from __future__ import annotations

from math import lcm

import pytest
from hypothesis import given
from hypothesis import strategies as st

from benchmarks.scenarios import Turns
from runtime.errors import EngineError
from runtime.results import Timings

from .fakes import Clock, Fixed


@given(st.integers(1, 12), st.integers(1, 12))
def test_all_crops_take_turns_equally_often(crops: int, samples: int) -> None:
    system = Fixed(Clock(), call_s=0.0, crops=crops)
    turns = Turns(system, samples)
    for _ in range(2 * lcm(crops, samples) // samples):
        turns.check(turns())
    asked = [crop for call in system.calls for crop in call]
    assert asked == [place % crops for place in range(len(asked))]
    assert {len(call) for call in system.calls} == {samples}


def test_checks_collect_stages_and_refuse_wrong_answers() -> None:
    turns = Turns(Fixed(Clock(), call_s=0.0, wrong_at=2))
    turns.check(turns())
    assert turns.timings == [Timings(1, 2, 3)]
    with pytest.raises(EngineError, match="void"):
        turns.check(turns())
