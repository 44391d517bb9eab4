from __future__ import annotations

import pytest

from benchmarks.scenarios import closed_loop, interleaved, open_loop, warming

from .fakes import Clock


@pytest.fixture
def clock(monkeypatch: pytest.MonkeyPatch) -> Clock:
    clock = Clock()
    for module in (closed_loop, interleaved, open_loop, warming):
        monkeypatch.setattr(module, "time", clock)
    return clock
