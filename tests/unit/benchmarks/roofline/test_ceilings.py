from __future__ import annotations

from pathlib import Path

import pytest

from benchmarks.roofline import ceilings
from benchmarks.roofline.ceilings import _caches, _fastest_s, measure_ceilings
from tests.engines import require
from tests.unit.benchmarks.device.trees import plant

CACHE = "sys/devices/system/cpu/cpu0/cache/index"


def _cache(index: int, level: int, size: str, kind: str) -> dict[str, str]:
    return {
        f"{CACHE}{index}/level": str(level),
        f"{CACHE}{index}/size": size,
        f"{CACHE}{index}/type": kind,
    }


def _tree(root: Path) -> Path:
    files = {
        **_cache(0, 1, "32K", "Data"),
        **_cache(1, 1, "48K", "Instruction"),
        **_cache(2, 2, "256K", "Unified"),
        **_cache(3, 3, "1M", "Unified"),
    }
    return plant(root, files)


def test_caches_of_data_are_found(tmp_path: Path) -> None:
    sizes = {"L1": 32 * 1024, "L2": 256 * 1024, "L3": 1024**2}
    assert _caches(_tree(tmp_path)) == sizes
    assert _caches(tmp_path / "none") == {}


def test_one_call_at_least_is_timed() -> None:
    assert 0 < _fastest_s(lambda: None, seconds=0) < float("inf")


def test_limits_are_measured(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    require("openvino")
    monkeypatch.setattr(ceilings, "_SHAPES", ((32, 16),))  # to be quick
    monkeypatch.setattr(ceilings, "_SIZE", 256)
    found = measure_ceilings(threads=1, seconds=0.1, root=_tree(tmp_path))
    # Of the smallest cache numpy's own call takes too much.
    assert [each.level for each in found.bandwidths] == ["L2", "L3", "memory"]
    assert all(each.bytes_per_s > 1e7 for each in found.bandwidths)
    assert found.peaks["fp32"].used == "fp32"
    assert all(peak.used == name for name, peak in found.peaks.items())
    # Two independent measurements of the same limit; on a busy machine numpy's threads wait for
    # each other, and a small product takes fifty times as long.
    assert 0.002 < found.numpy_macs_per_s / found.macs_per_s("fp32") < 20
    assert found.macs_per_s("no such precision") == found.macs_per_s("fp32")
