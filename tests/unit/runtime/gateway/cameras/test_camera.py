from __future__ import annotations

import gc
import logging
import subprocess
import sys
import threading
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from runtime.errors import ConfigError, ImageError, MissingExtraError
from runtime.gateway.cameras import Camera, CameraOptions, source
from runtime.gateway.cameras.source import Arrival, Broken
from tests.cameras import await_state, await_status
from tests.unit.runtime.gateway.cameras.scripted import ScriptedPicture, Step, opener_of

URL = "rtsp://admin:geheim@cam/s"


def options(**more: Any) -> CameraOptions:
    return CameraOptions(**{"name": "gate", "url": URL, "frozen_s": 0, **more})


def pictures(count: int, pause_s: float = 0.01) -> Iterator[Step]:
    for number in range(count):
        yield lambda: time.sleep(pause_s)
        yield Arrival([ScriptedPicture(number)])


def forever(pause_s: float = 0.002) -> Iterator[Step]:
    return pictures(1 << 30, pause_s)


def test_the_newest_picture_is_handed_out_once() -> None:
    with Camera(options(), opener=opener_of(forever())) as camera:
        first = camera.take(5)
        await_status(camera, lambda status: status.frames >= 20)
        second = camera.take(5)
        third = camera.take(5)
    assert first is not None
    assert second is not None
    assert third is not None
    assert first.number < second.number < third.number
    assert second.number >= 18
    assert second.camera == camera.name == "gate"
    assert int(second.image[0, 0, 0]) == second.number
    assert second.image.flags.owndata
    assert 0 <= third.arrived_ns - second.arrived_ns < 5e9
    assert second.arrived.utcoffset() is not None
    status = camera.status()
    assert status.state == "stopped"
    assert (status.taken, status.skipped) == (3, status.frames - 3)


def test_a_file_that_waits_loses_nothing_and_ends() -> None:
    script = [Arrival([ScriptedPicture(n)]) for n in range(50)]
    camera = Camera(options(url="a.mp4", realtime=False), opener=opener_of(script))
    camera.start()
    numbers = []
    while (frame := camera.take(5)) is not None:
        numbers.append((frame.number, int(frame.image[0, 0, 0])))
    assert numbers == [(n, n) for n in range(50)]
    status = await_state(camera, "ended")
    assert (status.skipped, status.taken, camera.over) == (0, 50, True)
    began_s = time.monotonic()
    assert camera.take(30) is None
    assert time.monotonic() - began_s < 15
    assert camera.stop()


def test_a_file_in_a_loop_goes_on() -> None:
    def script() -> Iterator[Step]:
        for _ in range(1000):
            yield Arrival([ScriptedPicture(1)])

    loops = opener_of(*[list(script())[:3] for _ in range(40)])
    camera = Camera(options(url="a.mp4", realtime=False, loop=True), opener=loops)
    with camera:
        numbers = [frame.number for _ in range(30) if (frame := camera.take(5))]
        assert numbers == list(range(30))
        assert camera.status().reconnects == 0


def test_a_file_without_a_usable_picture_failed() -> None:
    script = [Arrival([ScriptedPicture(key=False)])]
    camera = Camera(options(url="a.mp4", loop=True), opener=opener_of(script))
    with camera:
        assert await_state(camera, "failed").reason == "it holds no usable picture"
        assert camera.take(30) is None


@pytest.mark.parametrize("problem", [ImageError("no such format"), MemoryError()])
def test_pictures_that_cannot_be_converted_are_skipped(problem: Exception) -> None:
    good, bad = ScriptedPicture(), ScriptedPicture(problem=problem)
    script = [Arrival([picture]) for picture in (good, bad, good)]
    with Camera(options(url="a.mp4", realtime=False), opener=opener_of(script)) as camera:
        frames = [camera.take(5) for _ in range(2)]
        assert [frame.number for frame in frames if frame] == [0, 2]
        status = await_state(camera, "ended")
        assert (status.decode_errors, status.taken, status.skipped) == (1, 2, 1)


def test_stop_ends_in_time_although_a_call_hangs() -> None:
    release = threading.Event()
    camera = Camera(options(), opener=opener_of([Arrival([ScriptedPicture()]), release.wait]))
    camera.start()
    assert camera.take(5) is not None
    began_s = time.monotonic()
    assert camera.stop(0.2) is False
    assert time.monotonic() - began_s < 4  # and not what it waits by default
    status = camera.status()
    assert (status.state, status.left_behind) == ("stopped", True)
    assert "left behind" in status.reason
    release.set()
    assert camera.stop(5) is True
    assert camera.status().left_behind is False
    assert camera.take(0) is None


def test_stopping_wakes_whoever_takes() -> None:
    release = threading.Event()
    camera = Camera(options(), opener=opener_of([release.wait]))
    camera.start()
    threading.Timer(0.1, camera.stop, [0.1]).start()
    began_s = time.monotonic()
    assert camera.take(30) is None
    assert time.monotonic() - began_s < 15
    release.set()


def test_starting_twice_or_after_the_end_is_a_mistake() -> None:
    camera = Camera(options(), opener=opener_of(forever()))
    camera.start()
    with pytest.raises(ConfigError, match="started before"):
        camera.start()
    assert camera.stop()
    assert camera.stop()
    with pytest.raises(ConfigError, match="started before"):
        camera.start()
    unstarted = Camera(options(), opener=opener_of(forever()))
    assert unstarted.stop()
    with pytest.raises(ConfigError):
        unstarted.start()


def test_a_forgotten_camera_ends_its_thread() -> None:
    camera = Camera(options(name="forgotten"), opener=opener_of(forever()))
    camera.start()
    assert camera.take(5) is not None
    del camera
    gc.collect()
    until_s = time.monotonic() + 5
    while any(thread.name == "camera-forgotten" for thread in threading.enumerate()):
        assert time.monotonic() < until_s
        time.sleep(0.01)


def test_a_process_ends_although_a_camera_runs(tmp_path: Path) -> None:
    program = tmp_path / "program.py"
    program.write_text(
        "import time\n"
        "from runtime.gateway.cameras import Camera, CameraOptions\n"
        "def opener(options): time.sleep(3600)\n"
        "camera = Camera(CameraOptions(name='x', url='rtsp://cam/s'), opener=opener)\n"
        "camera.start()\n"
    )
    done = subprocess.run(
        [sys.executable, str(program)],
        cwd=Path(source.__file__).parents[3],
        env={"PYTHONPATH": str(Path(source.__file__).parents[3])},
        timeout=30,
        capture_output=True,
        check=False,
    )
    assert (done.returncode, done.stderr) == (0, b"")


def test_a_missing_password_is_an_error_at_once() -> None:
    wrong = options(url="rtsp://cam/s", username="a", password_variable="NO_SUCH_VARIABLE")
    with pytest.raises(ConfigError, match="NO_SUCH_VARIABLE"):
        Camera(wrong)


def test_a_missing_library_is_an_error_at_once(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "av", None)
    with pytest.raises(MissingExtraError, match=r"headlight\[video\]"):
        Camera(options())


def test_importing_loads_no_video_library() -> None:
    program = "import sys, runtime.gateway.cameras; print('av' in sys.modules)"
    done = subprocess.run(
        [sys.executable, "-c", program], capture_output=True, text=True, check=True
    )
    assert done.stdout.strip() == "False"


def test_no_login_in_status_logs_or_threads(caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level(logging.DEBUG)
    scripts = opener_of([], Broken("away"), ValueError(f"cannot open {URL}"), forever())
    more = {"retry_first_s": 0.01, "refused_retry_s": 0.02}
    with Camera(options(**more), opener=scripts) as camera:
        assert camera.take(5) is not None
        told = f"{camera.status()} {camera} {threading.enumerate()}"
    assert "unexpected ValueError" in caplog.text
    assert "geheim" not in caplog.text
    assert "geheim" not in told
