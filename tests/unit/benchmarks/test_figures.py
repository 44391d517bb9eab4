from __future__ import annotations

from pathlib import Path

import cv2
import numpy as np
import pytest

from benchmarks import figures
from benchmarks.calibration import reliability
from benchmarks.figures import (
    draw_latencies,
    draw_reliability,
    draw_risk_coverage,
    draw_timeline,
)
from benchmarks.noise import Noise
from benchmarks.operating_point import recall_at_precision
from benchmarks.risk_coverage import risk_coverage
from benchmarks.scenarios.open_loop import Served
from runtime.errors import MissingExtraError

pytest.importorskip("matplotlib")


def is_picture(path: Path) -> bool:
    image = cv2.imread(str(path))
    return image is not None and image.std() > 1


def test_reliability_and_latency(tmp_path: Path) -> None:
    random = np.random.default_rng(0)
    confidence = random.random(50)
    found = reliability(confidence, random.random(50) < confidence)
    draw_reliability(tmp_path / "r.png", found, "name")
    draw_reliability(tmp_path / "e.png", reliability(np.zeros(0), np.zeros(0, np.bool_)), "none")
    assert all(is_picture(tmp_path / f"{name}.png") for name in "re")


def test_every_model_has_a_row_of_latencies(tmp_path: Path) -> None:
    random = np.random.default_rng(0)
    times = {"engine": random.integers(1000, 2000, 99), "read": np.full(9, 1500)}
    heights = []
    for count in (1, 13):
        path = tmp_path / f"{count}.png"
        draw_latencies(path, {f"model {place}": times for place in range(count)})
        assert is_picture(path)
        heights.append(cv2.imread(str(path)).shape[0])
    assert heights[1] > 5 * heights[0]


def test_risk_over_coverage_with_and_without_a_threshold(tmp_path: Path) -> None:
    random = np.random.default_rng(0)
    confidence = random.random(50)
    right = random.random(50) < confidence
    found = risk_coverage(confidence, right)
    draw_risk_coverage(tmp_path / "plain.png", found, "answers")
    marked = recall_at_precision(confidence, right, 0.8)
    draw_risk_coverage(tmp_path / "marked.png", found, "answers", marked)
    nothing = recall_at_precision(confidence, right, 2.0)
    draw_risk_coverage(tmp_path / "nothing.png", found, "answers", nothing)
    empty = np.zeros(0)
    draw_risk_coverage(tmp_path / "e.png", risk_coverage(empty, empty > 0), "none")
    pictures = {name: cv2.imread(str(tmp_path / f"{name}.png")) for name in ("plain", "marked")}
    assert all(is_picture(path) for path in tmp_path.iterdir())
    assert (pictures["plain"] != pictures["marked"]).any()
    assert (tmp_path / "nothing.png").read_bytes() == (tmp_path / "plain.png").read_bytes()


@pytest.mark.parametrize("answered", [0, 60, 99])
def test_a_run_over_time(tmp_path: Path, answered: int) -> None:
    arrivals = np.arange(99) * 10**7
    done = np.where(np.arange(99) < answered, arrivals + 10**6, -1)
    served = Served(
        arrivals_ns=arrivals,
        started_ns=arrivals,
        done_ns=done,
        end_ns=10**9,
        timings=(),
        sizes=(),
        noise=Noise(0.0),
    )
    draw_timeline(tmp_path / "run.png", served, "camera", limit_ms=66.0)
    assert is_picture(tmp_path / "run.png")


def test_missing_matplotlib_is_told(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(__import__("sys").modules, "matplotlib", None)
    with pytest.raises(MissingExtraError, match=r"headlight\[bench\]"):
        figures.check_matplotlib()
