from __future__ import annotations

from pathlib import Path
from typing import Any

import cv2
import numpy as np
import pytest

from benchmarks.track_voting import best_frame, main, majority, seen_frames
from runtime.results import ReadingAnswer, Result, Timings
from tests.artifacts import TinyNetwork, random_images, write_artifact

CROP = np.random.default_rng(0).integers(0, 256, (36, 136, 3), np.uint8)


def result(text: str, confidence: float) -> Result:
    answer = ReadingAnswer(text, text, confidence)
    return Result(text, confidence, True, {}, {"code": answer}, Timings(1, 1, 1))


FRAMES = [result("A", 0.4), result("B", 0.9), result("A", 0.3), result("C", 0.5), result("C", 0.6)]


def test_ways_to_answer() -> None:
    assert best_frame(FRAMES, "code") == ("B", 0.9)
    # A and C have two votes each, C the surer ones.
    assert majority(FRAMES, "code") == ("C", 0.4)
    assert majority(FRAMES[:3], "code") == ("A", pytest.approx(2 / 3))


def test_frames_are_a_function_of_the_seed() -> None:
    long, short = seen_frames(CROP, 6, 1.0, (3, 1)), seen_frames(CROP, 2, 1.0, (3, 1))
    assert all((one == other).all() for one, other in zip(long, short, strict=False))
    other = seen_frames(CROP, 2, 1.0, (3, 2))
    assert any(a.shape != b.shape or (a != b).any() for a, b in zip(short, other, strict=True))
    assert len({frame.shape for frame in long}) > 1
    assert all(frame.dtype == np.uint8 and min(frame.shape[:2]) >= 8 for frame in long)


def test_without_severity_only_sizes_change() -> None:
    smooth = cv2.GaussianBlur(CROP, (0, 0), 4)
    for frame in seen_frames(smooth, 4, 0.0, (0,)):
        assert frame.shape == smooth.shape
        assert np.abs(frame.astype(int) - smooth).max() <= 1


@pytest.fixture
def data(tmp_path: Path, network: TinyNetwork) -> Path:
    lines = []
    for index, image in enumerate(random_images(4, seed=5)):
        (tmp_path / f"{index}.png").write_bytes(cv2.imencode(".png", image)[1].tobytes())
        lines.append(f"{index}.png\t京01,blue,-")
    (tmp_path / "labels.tsv").write_text("\n".join(lines) + "\n", encoding="utf-8")
    return tmp_path / "labels.tsv"


def test_command(data: Path, tmp_path: Path, network: TinyNetwork, capsys: Any) -> None:
    write_artifact(tmp_path / "tiny", network)
    command = [str(tmp_path / "tiny"), "--data", str(data), "--frames", "1", "3"]
    assert main(command) == 0
    rows = [line.split("|")[1:-1] for line in capsys.readouterr().out.splitlines() if "|" in line]
    titles = [cell.strip() for cell in rows[0]]
    assert titles[:5] == ["frames", "any frame", "best frame", "majority", "fused"]
    one = [cell.strip() for cell in rows[2]]
    assert one[0] == "1"
    assert len(set(one[1:5])) == 1  # of one frame, all ways say the same


@pytest.mark.parametrize("option", [["--frames", "0"], ["--severity", "-1"], ["--doubt", "0"]])
def test_options_that_cannot_work(option: list[str], data: Path, capsys: Any) -> None:
    assert main(["nowhere", "--data", str(data), *option]) == 1
    message = capsys.readouterr().err
    assert message.startswith("error: ")
    assert "nowhere" not in message
