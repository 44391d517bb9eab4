"""R9: hundreds of reloads and thousands of images, and no memory is lost; a leak would be seen.

What counts is the second half: caches and arenas fill in the first. The slope is that of anonymous
memory, where leaks are: how much of a library's pages counts for a process changes with others that
load it, too. Memory moves in steps, so the slope is judged as the mean of the changes between
blocks (a random walk with a drift), which no single step makes significant.
"""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path
from typing import NamedTuple

import numpy as np
import pytest
from scipy.stats import t as student_t

from tests.engines import ENGINES, require
from tests.reliability.conftest import Count
from tests.reliability.swapping import Oracle

pytestmark = [
    pytest.mark.reliability,
    pytest.mark.timeout(900),
    pytest.mark.skipif(sys.platform != "linux", reason="reads /proc/self/smaps_rollup"),
]

ROOT = Path(__file__).parents[2]
BLOCKS = 15
MOST_KIB = 5 * 1024
RESOLUTION_KIB = 1.0
"""Per reload; less than a page in four reloads is how an allocator's arenas fill. Measured with
ONNX Runtime over 1,200 reloads: 0.2 from the 200th to the last."""


class Slope(NamedTuple):
    """Growth over the second half of a run, in KiB per reload, with its 99 % interval."""

    mean: float
    low: float
    high: float


class Memory(NamedTuple):
    """After each reload, in KiB."""

    total: list[int]
    anonymous: list[int]


def slope(anonymous_kib: list[int]) -> Slope:
    half = np.asarray(anonymous_kib[len(anonymous_kib) // 2 :], float)
    size = len(half) // BLOCKS
    blocks = half[len(half) - size * BLOCKS :].reshape(BLOCKS, size).mean(axis=1)
    steps = np.diff(blocks) / size
    reach = student_t.ppf(0.995, len(steps) - 1) * steps.std(ddof=1) / len(steps) ** 0.5
    mean = float(steps.mean())
    return Slope(mean, float(mean - reach), float(mean + reach))


def run(tmp_path: Path, engine: str, *, reloads: int, images: int, keep: int) -> Memory:
    oracle = Oracle()
    folders = [oracle.write(tmp_path / f"{engine}-{v}", v, engine=engine) for v in (1, 2)]
    done = subprocess.run(
        [sys.executable, "-m", "tests.reliability.leaking", str(reloads), str(images), str(keep),
         *map(str, folders)],
        cwd=ROOT, capture_output=True, text=True, check=False,
    )  # fmt: skip
    assert done.returncode == 0, done.stderr
    found = json.loads(done.stdout)
    assert found["answered"] >= images * 0.9
    total, anonymous = zip(*found["kib"], strict=True)
    return Memory([*total], [*anonymous])


@pytest.mark.parametrize("engine", ENGINES)
def test_memory_stays(tmp_path: Path, engine: str, count: Count, full: bool) -> None:
    require(ENGINES[engine])
    # A short run is too short for a slope: its second half still fills caches.
    reloads, images = (300, 20_000) if full else (12, 480)
    memory = run(tmp_path, engine, reloads=reloads, images=images, keep=0)
    half, end = reloads // 2, -1
    found = slope(memory.anonymous)._asdict() if full else {}
    count(
        f"R9 {engine}",
        reloads=reloads,
        images=images,
        pss_start_mib=round(memory.total[0] / 1024, 1),
        pss_half_mib=round(memory.total[half] / 1024, 1),
        pss_end_mib=round(memory.total[end] / 1024, 1),
        anonymous_half_mib=round(memory.anonymous[half] / 1024, 1),
        anonymous_end_mib=round(memory.anonymous[end] / 1024, 1),
        **{f"kib_per_reload_{name}": round(value, 2) for name, value in found.items()},
    )
    assert memory.anonymous[end] - memory.anonymous[half] <= MOST_KIB
    if full:
        assert found["low"] <= RESOLUTION_KIB


def test_a_leak_is_seen(tmp_path: Path, count: Count, full: bool) -> None:
    require(ENGINES["onnx"])
    reloads, leak_bytes = (300, 64 << 10) if full else (30, 256 << 10)
    memory = run(tmp_path, "onnx", reloads=reloads, images=reloads * 8, keep=leak_bytes).anonymous
    found = slope(memory)
    count(
        "R9 negative control",
        reloads=reloads,
        leaked_kib_per_reload=leak_bytes >> 10,
        kib_per_reload=round(found.mean, 2),
        low=round(found.low, 2),
        high=round(found.high, 2),
    )
    assert found.low > RESOLUTION_KIB
    assert memory[-1] - memory[reloads // 2] > (MOST_KIB if full else 0)
