"""R5: damaged JPEGs and arrays that are no pictures: a typed error or an answer, soon, always."""

from __future__ import annotations

import json
import subprocess
import sys
import time
from collections import Counter
from pathlib import Path

import pytest

from runtime.gateway.cameras import Camera, CameraOptions
from tests.artifacts import TinyNetwork, write_artifact
from tests.cameras import MjpegCamera, await_status, encode, moving_picture
from tests.engines import require
from tests.reliability.bad_images import ABUSES, BOMBS, VALID, jpegs
from tests.reliability.conftest import Count
from tests.reliability.mutants import mutate

pytestmark = pytest.mark.reliability

_LIMIT_S = 1.0


def test_the_decoder_and_the_reader(tmp_path: Path, full: bool, count: Count) -> None:
    require("onnxruntime")
    mutants = 2000 if full else 400
    artifact = tmp_path / "artifact"
    write_artifact(artifact, TinyNetwork(), engine="onnx")
    child = subprocess.run(
        [sys.executable, "-m", "tests.reliability.bad_images", str(artifact), str(mutants)],
        capture_output=True,
        text=True,
        check=False,
        timeout=600,
    )
    cases = [json.loads(line) for line in child.stdout.splitlines()]
    ends = Counter((name.partition("_")[0], end) for name, end, _ in cases)
    slowest_s = max(seconds for _, _, seconds in cases)
    count(
        "R5 bad images",
        mutants=mutants,
        answered=ends["mutant", "answered"],
        refused=ends["mutant", "refused"],
        bombs_refused=ends["bomb", "refused"],
        abuses_refused=ends["abuse", "refused"],
        odd_arrays_answered=ends["valid", "answered"],
        crashes=int(child.returncode < 0),
        slowest_s=round(slowest_s, 3),
    )
    assert child.returncode == 0, child.stderr[-2000:]
    assert len(cases) == 2 * mutants + len(BOMBS) + len(ABUSES) + len(VALID)
    assert {end for _, end, _ in cases} == {"answered", "refused"}
    assert ends["bomb", "refused"] == len(BOMBS)
    assert ends["abuse", "refused"] == len(ABUSES) == 11
    assert ends["valid", "answered"] == len(VALID)
    assert slowest_s <= _LIMIT_S


def test_a_camera_that_sends_damaged_pictures(full: bool, count: Count) -> None:
    require("av")
    mutants = 1000 if full else 200
    originals = jpegs()
    sent = []

    def picture(number: int) -> bytes:
        sent.append(number)
        if number >= mutants:
            return encode(moving_picture(number))
        return mutate(originals[number % len(originals)], number)

    with MjpegCamera(picture, fps=200) as server:
        options = CameraOptions(name="r5", url=server.url, retry_first_s=0.05, connect_s=1.0)
        with Camera(options) as camera:
            slowest_s, began_s = 0.0, time.monotonic()
            while len(sent) < mutants and time.monotonic() - began_s < 120:
                before_s = time.monotonic()
                camera.take(0.05)
                slowest_s = max(slowest_s, time.monotonic() - before_s)
            # Undamaged ones come through again.
            server.picture = lambda number: encode(moving_picture(number))
            frames = camera.status().frames
            status = await_status(camera, lambda status: status.frames >= frames + 20)
    count(
        "R5 damaged MJPEG",
        sent=len(sent),
        frames=frames,
        corrupt=status.corrupt,
        decode_errors=status.decode_errors,
        reconnects=status.reconnects,
        slowest_s=round(slowest_s, 3),
    )
    assert len(sent) >= mutants
    assert status.corrupt + status.decode_errors > 0
    assert slowest_s <= _LIMIT_S
