from __future__ import annotations

import threading
import time
from typing import Any

import pytest

from runtime.gateway.cameras.gate import DamageGate
from runtime.gateway.cameras.options import CameraOptions
from runtime.gateway.cameras.play import Play
from runtime.gateway.cameras.slot import Slot
from runtime.gateway.cameras.source import Arrival, End
from runtime.gateway.cameras.status import Tally
from tests.unit.runtime.gateway.cameras.scripted import ScriptedPicture, ScriptedSource


def play(arrivals: list[Arrival], **more: Any) -> tuple[list[float], Tally]:
    """Play arrivals to their end; return when each usable picture came, from the first on."""
    options = CameraOptions(**{"name": "gate", "url": "a.mp4", **more})
    tally = Tally("gate", "a.mp4", quiet_s=0)
    times: list[float] = []
    gate = DamageGate(tally, hold=True, gaps=options.kind.live)
    gate.restart()
    playing = Play(options, ScriptedSource(arrivals), gate, tally, Slot(tally))
    with pytest.raises(End):
        playing.run(threading.Event(), lambda *_: times.append(time.monotonic()))
    return [at - times[0] for at in times], tally


def test_a_file_of_varying_rate_plays_as_it_was_taken() -> None:
    wanted = [0.0, 0.02, 0.1, 0.12, 0.3, 0.32]
    pictures = [Arrival([ScriptedPicture(time_s=9 + time_s)]) for time_s in wanted]
    came, tally = play(pictures)
    assert came == pytest.approx(wanted, abs=0.04)
    assert tally.read().gaps == 0


def test_streams_are_not_held_up() -> None:
    pictures = [Arrival([ScriptedPicture(n, time_s=n * 10.0)]) for n in range(20)]
    came, _ = play(pictures, url="rtsp://cam/s")
    assert came[-1] < 1


def test_the_rate_is_limited_before_anybody_pays_for_pictures() -> None:
    pictures = [Arrival([ScriptedPicture(n, time_s=n / 100)]) for n in range(50)]
    _, tally = play(pictures, fps=10)
    status = tally.read()
    assert (status.frames, status.taken) == (50, 0)
    assert status.skipped in (49, 50)  # one may wait
