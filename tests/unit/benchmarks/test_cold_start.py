from __future__ import annotations

import os
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from benchmarks.cold_start import cold_starts
from runtime.errors import EngineError

FAKE_NVML = """
import os
class NVMLError(Exception):
    pass
class Memory:
    # As if every process but the first took 250 MB.
    used = 10**9 + 250 * 10**6 * (os.environ["FIRST_PROCESS"] != str(os.getpid()))
nvmlInit = lambda: None
nvmlDeviceGetCount = lambda: 1
nvmlDeviceGetHandleByIndex = lambda index: index
nvmlDeviceGetMemoryInfo = lambda device: Memory
"""


@pytest.fixture
def fake_nvml(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    """Cards whose memory fills, for this process and its children."""
    (tmp_path / "pynvml.py").write_text(FAKE_NVML)
    monkeypatch.syspath_prepend(tmp_path)
    monkeypatch.delitem(sys.modules, "pynvml", raising=False)
    yield
    sys.modules.pop("pynvml", None)


@pytest.mark.usefixtures("fake_nvml")
@pytest.mark.parametrize("engine", ["onnx"], indirect=True)
def test_memory_of_fresh_processes(
    tiny_artifact: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("PYTHONPATH", str(tmp_path))
    monkeypatch.setenv("FIRST_PROCESS", str(os.getpid()))
    found = cold_starts(tiny_artifact, runs=2, threads=1, image_shape=(16, 32), gpu=True)
    assert found.latency.count == 2
    assert found.gpu_mb == 250.0
    assert found.no_gpu is None
    assert found.pss_mb is not None
    assert found.peak_mb is not None
    assert 5 < found.pss_mb <= found.peak_mb * 1.05


@pytest.mark.parametrize("engine", ["onnx"], indirect=True)
def test_no_gpu_memory_where_none_is_used(tiny_artifact: Path) -> None:
    found = cold_starts(tiny_artifact, runs=1, threads=1, image_shape=(16, 32))
    assert (found.gpu_mb, found.no_gpu) == (None, "the engine runs on the CPU")


def test_the_peak_is_the_childs_own(tiny_artifact: Path) -> None:
    # ru_maxrss of a child begins with what its parent held when it was started.
    ballast = bytearray(os.urandom(1)) * (600 * 10**6)
    found = cold_starts(tiny_artifact, runs=1, threads=1, image_shape=(16, 32))
    assert len(ballast) == 600 * 10**6
    assert found.peak_mb is not None
    assert found.peak_mb < 400


def test_a_process_that_fails_is_told(tmp_path: Path) -> None:
    with pytest.raises(EngineError, match="a fresh process could not read"):
        cold_starts(tmp_path, runs=1, threads=1, image_shape=(16, 32))
