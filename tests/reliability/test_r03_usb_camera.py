"""R3: a USB camera is unplugged, also while one of its pictures waits to be taken.

There is no device: FFmpeg's calls to the kernel are answered by fake_v4l2.c, which its loader puts
in front of libc. What real drivers do besides is not tested.
"""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

from tests.cameras import encode, moving_picture
from tests.engines import require
from tests.gateway import ROOT
from tests.reliability.conftest import Count

pytestmark = pytest.mark.reliability

_SOURCE = Path(__file__).with_name("fake_v4l2.c")
_DEVICE = "/dev/video42"
CHILD = """
import json, sys, time
from pathlib import Path
import cv2
import numpy as np
from runtime.gateway.cameras import Camera, CameraOptions
from tests.cameras import await_status

url, size, gone, jpeg, rounds = *sys.argv[1:5], int(sys.argv[5])
width, height = map(int, size.split("x"))
x, y, number = np.arange(width), np.arange(height)[:, None], np.arange(40)[:, None, None]
# As fake_v4l2.c paints; brightness 16 to 235 is black to white.
known = (x + y + 5 * number) % 200 * 255 / 219
if jpeg:
    known = cv2.imread(jpeg)[None, :, :, 0].astype(float)
taken = wrong = 0

def look(frame):
    global taken, wrong
    grey = frame.image[:, :, 0].astype(float)
    taken += 1
    wrong += bool(grey.shape != (height, width) or np.abs(known - grey).mean((1, 2)).min() > 2)

with Camera(CameraOptions(name="usb", url=url, size=size, retry_most_s=0.3)) as camera:
    reasons = set()
    for _ in range(rounds):
        for _ in range(10):
            look(camera.take(10))
        waiting = camera.status().frames + 3
        await_status(camera, lambda status: status.frames >= waiting)
        Path(gone).touch()
        reasons.add(await_status(camera, lambda status: status.state == "retrying").reason)
        await_status(camera, lambda status: "no such device" in status.reason)
        look(camera.take(0))  # it waited while its device was closed
        Path(gone).unlink()
        await_status(camera, lambda status: status.state == "running")
    status = camera.status()
print(json.dumps({"taken": taken, "wrong": wrong, "reasons": sorted(reasons),
                  "reconnects": status.reconnects, "decode_errors": status.decode_errors}))
"""


@pytest.fixture(scope="module")
def fake(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The compiled camera, or a skip where there is no compiler for it."""
    require("av")
    compiler = shutil.which("cc")
    if compiler is None or not Path("/usr/include/linux/videodev2.h").exists():
        pytest.skip("no C compiler, or no headers of Linux")
    path = tmp_path_factory.mktemp("fake") / "fake_v4l2.so"
    words = [compiler, "-O1", "-Wall", "-Werror", "-shared", "-fPIC", "-o", path, _SOURCE, "-ldl"]
    subprocess.run(words, check=True)
    return path


@pytest.mark.parametrize("format_name", ["YUYV", "MJPEG"])
def test_a_usb_camera_is_unplugged(
    fake: Path, tmp_path: Path, count: Count, full: bool, format_name: str
) -> None:
    jpeg = ""
    if format_name == "MJPEG":
        jpeg = str(tmp_path / "picture.jpg")
        Path(jpeg).write_bytes(encode(moving_picture(0)))
    rounds, size, gone = 10 if full else 2, "320x180" if jpeg else "640x360", tmp_path / "gone"
    done = subprocess.run(
        [sys.executable, "-c", CHILD, _DEVICE, size, str(gone), jpeg, str(rounds)],
        capture_output=True, text=True, timeout=120,
        env={
            **os.environ,
            "PYTHONPATH": str(ROOT),
            "LD_PRELOAD": str(fake),
            "FAKE_V4L2_DEVICE": _DEVICE,
            "FAKE_V4L2_GONE": str(gone),
            **({"FAKE_V4L2_JPEG": jpeg} if jpeg else {}),
        },
    )  # fmt: skip
    assert done.returncode == 0, done.stderr
    said = json.loads(done.stdout)
    count(f"R3 fake USB camera, {format_name}", unplugged=rounds, taken=said["taken"],
          wrong=said["wrong"], reconnects=said["reconnects"], exit_code=0)  # fmt: skip
    assert said["taken"] == 11 * rounds
    assert said["wrong"] == said["decode_errors"] == 0
    assert said["reconnects"] >= rounds
    assert said["reasons"][0] == "the device gives no video, or was unplugged"
