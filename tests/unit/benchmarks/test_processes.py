"""Processor time and memory of another process."""

from __future__ import annotations

import os
import subprocess
import sys
import time

import pytest

from benchmarks.processes import cpu_s, pss_mb
from runtime.errors import ConfigError

pytestmark = pytest.mark.skipif(sys.platform != "linux", reason="reads /proc and Linux clocks")


def test_our_own_time_is_what_python_says() -> None:
    before = time.process_time()
    found = cpu_s(os.getpid())
    assert before <= found <= time.process_time()


def test_another_process_and_one_that_is_none() -> None:
    child = subprocess.Popen([sys.executable, "-c", "while True: pass"])
    try:
        time.sleep(0.3)
        first = cpu_s(child.pid)
        time.sleep(0.3)
        assert cpu_s(child.pid) > first
        assert 1 < (pss_mb(child.pid) or 0) < 200
    finally:
        child.kill()
        child.wait()
    with pytest.raises(ConfigError, match="process"):
        cpu_s(child.pid)
    assert pss_mb(child.pid) is None
