from __future__ import annotations

import os

import pytest

from runtime.cores import own_cores


def test_those_that_the_process_may_run_on(monkeypatch: pytest.MonkeyPatch) -> None:
    assert len(own_cores()) >= 1
    monkeypatch.setattr(os, "sched_getaffinity", lambda _pid: {6, 2}, raising=False)
    assert own_cores() == [2, 6]


def test_all_where_the_system_tells_no_more(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delattr(os, "sched_getaffinity", raising=False)
    monkeypatch.setattr(os, "cpu_count", lambda: 3)
    assert list(own_cores()) == [0, 1, 2]
    monkeypatch.setattr(os, "cpu_count", lambda: None)
    assert list(own_cores()) == [0]
