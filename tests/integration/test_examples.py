"""The examples do what they say."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path

import cv2
import numpy as np
import pytest

from tests.artifacts import TinyNetwork, random_images

EXAMPLES = Path(__file__).parents[2] / "examples"


def test_embedding(tiny_artifact: Path, network: TinyNetwork, tmp_path: Path) -> None:
    picture, broken = tmp_path / "crop.png", tmp_path / "broken.png"
    cv2.imwrite(str(picture), random_images(1)[0])
    broken.write_bytes(b"no picture")
    done = subprocess.run(
        [sys.executable, str(EXAMPLES / "embed_reader.py"), str(tiny_artifact)],
        input=f"{picture}\n" * 8 + f"{broken}\n",
        capture_output=True, text=True, check=True, cwd=EXAMPLES.parent, timeout=60,
        env={"PYTHONPATH": str(EXAMPLES.parent)},
    )  # fmt: skip
    *said, last = (json.loads(line) for line in done.stdout.splitlines())
    assert [each["picture"] for each in said] == [str(picture)] * 8
    # An answer has 200 ms; a machine that stalls may miss that, but not each time.
    assert any({"text", "accepted"} <= set(each) for each in said)
    assert "broken.png" in last["error"]


def test_the_detector_finds_a_blue_plate(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.syspath_prepend(str(EXAMPLES))
    from blue_plate_detector import make

    scene = np.full((400, 600, 3), (90, 110, 120), np.uint8)
    scene[200:250, 300:460] = (170, 60, 10)
    cv2.putText(scene, "A12345", (310, 240), cv2.FONT_HERSHEY_SIMPLEX, 1.2, (250, 250, 250), 3)
    scene[10:300, 20:60] = (170, 60, 10)  # as blue, but no plate's shape
    (region,) = make()(scene)
    assert np.abs(region.quad - [[300, 200], [460, 200], [460, 250], [300, 250]]).max() <= 2
    assert 0.6 < region.confidence <= 1
    assert make()(np.zeros((100, 100, 3), np.uint8)) == []
