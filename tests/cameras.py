"""Real cameras for tests: an RTSP server of GStreamer's, and MJPEG over HTTP in a thread."""

from __future__ import annotations

import json
import os
import signal
import ssl
import subprocess
import threading
import time
from base64 import b64encode
from collections.abc import Callable, Sequence
from contextlib import suppress
from fractions import Fraction
from functools import cache
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import IO

import cv2
import numpy as np
import pytest

from runtime.arrays import Image
from runtime.gateway.cameras import Camera, CameraStatus
from tests.engines import require

__all__ = [
    "MjpegCamera",
    "RtspCamera",
    "await_state",
    "await_status",
    "encode",
    "moving_picture",
    "require_rtsp",
    "write_video",
]

_PYTHON = "/usr/bin/python3"
_SCRIPT = Path(__file__).with_name("rtsp_camera.py")
_GSTREAMER = "import gi; gi.require_version('GstRtspServer', '1.0'); from gi.repository import Gst"


@cache
def _has_gstreamer() -> bool:
    if not Path(_PYTHON).exists():
        return False
    words = [_PYTHON, "-W", "ignore", "-c", _GSTREAMER]
    return subprocess.run(words, capture_output=True, check=False).returncode == 0


def require_rtsp() -> None:
    """Skip where PyAV or GStreamer's RTSP server is missing; fail where it was promised.

    A CI job that installs the Debian packages names ``gstreamer`` in HEADLIGHT_INSTALLED.
    """
    require("av")
    if _has_gstreamer():
        return
    reason = "Debian's gir1.2-gst-rtsp-server-1.0 and python3-gi are not installed"
    if "gstreamer" in os.environ.get("HEADLIGHT_INSTALLED", "").split():
        pytest.fail(f"{reason}, but HEADLIGHT_INSTALLED names gstreamer")
    pytest.skip(reason)


def moving_picture(number: int, *, width: int = 320, height: int = 180) -> Image:
    """Return picture ``number`` of a scene in which everything moves; each differs from all."""
    x = np.arange(width, dtype=np.int64)[None, :, None]
    y = np.arange(height, dtype=np.int64)[:, None, None]
    speed = np.array([1, 2, 3])
    wave = (x * 2 + y + number * 5 * speed) // 4 % 64 * 3 + 30
    picture = wave.astype(np.uint8)
    left = number * 7 % (width - 24)
    picture[height // 3 : height // 3 + 24, left : left + 24] = (number * 37 % 256, 255, 0)
    return picture


def write_video(
    path: Path,
    *,
    pictures: Sequence[Image] | None = None,
    count: int = 100,
    fps: int = 25,
    keyframe_every: int = 25,
    bframes: int = 0,
    times_s: Sequence[float] | None = None,
) -> Path:
    """Write an H.264 video, or a bare stream with access-unit delimiters if so named (.h264).

    Args:
        path: ``.mp4`` or ``.h264``.
        pictures: What to show; ``moving_picture`` 0 to ``count`` - 1 if not given.
        count: How many.
        fps: Pictures per second.
        keyframe_every: Pictures.
        bframes: Pictures in a row that are built on later ones.
        times_s: When each is shown; evenly if not given.
    """
    av = pytest.importorskip("av")
    if "libx264" not in av.codecs_available:
        pytest.skip("this build of PyAV has no encoder for H.264")
    shown = pictures if pictures is not None else [moving_picture(i) for i in range(count)]
    with av.open(str(path), "w", format="h264" if path.suffix == ".h264" else None) as container:
        stream = container.add_stream("libx264", rate=fps)
        stream.height, stream.width = shown[0].shape[:2]
        stream.pix_fmt = "yuv420p"
        stream.codec_context.time_base = stream.time_base = Fraction(1, 1000)
        stream.codec_context.thread_count = 1
        stream.options = {
            "preset": "ultrafast",
            "x264-params": f"aud=1:keyint={keyframe_every}:scenecut=0:bframes={bframes}",
        }
        for index, picture in enumerate(shown):
            frame = av.VideoFrame.from_ndarray(picture, format="bgr24")
            time_s = index / fps if times_s is None else times_s[index]
            frame.pts, frame.time_base = round(time_s * 1000), Fraction(1, 1000)
            container.mux(stream.encode(frame))
        container.mux(stream.encode(None))
    return path


def await_state(camera: Camera, *states: str, within_s: float = 10.0) -> CameraStatus:
    """Wait until a camera is in one of ``states``; fail after ``within_s``."""
    return await_status(camera, lambda status: status.state in states, within_s=within_s)


def await_status(
    camera: Camera, test: Callable[[CameraStatus], bool], *, within_s: float = 10.0
) -> CameraStatus:
    """Wait until a camera's status is as wanted; fail after ``within_s``."""
    until_s = time.monotonic() + within_s
    while time.monotonic() < until_s:
        status = camera.status()
        if test(status):
            return status
        time.sleep(0.01)
    pytest.fail(f"not within {within_s} s: {camera.status()}")


class RtspCamera:
    """An RTSP camera in a process of its own; keeps its port when it is killed and started again.

    Args:
        stream: Bare H.264, as ``write_video`` makes it.
        words: More options of ``rtsp_camera.py``.
    """

    def __init__(self, stream: Path, *words: str) -> None:
        require_rtsp()
        self._words = [str(stream), *words]
        self._child: subprocess.Popen[str] | None = None
        self._listener = threading.Thread()
        self._port = "0"
        self.sent: dict[str, int] = {}
        """What the last process has sent, as of its last report: units, corrupted, dropped."""

    @property
    def url(self) -> str:
        """Where it is."""
        return f"rtsp://127.0.0.1:{self._port}/cam"

    def start(self) -> None:
        """Run, and return once it listens."""
        words = [_PYTHON, "-W", "ignore", str(_SCRIPT), *self._words, "--port", self._port]
        child = subprocess.Popen(
            words, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL, text=True
        )
        self._child, lines = child, child.stdout
        assert lines is not None
        ready = lines.readline().split()
        assert ready[:1] == ["ready"], f"the RTSP camera did not start: {ready}"
        self._port = ready[1]
        self._listener = threading.Thread(target=self._listen, args=[lines])
        self._listener.start()

    def _listen(self, lines: IO[str]) -> None:
        with lines:
            for line in lines:
                with suppress(json.JSONDecodeError):  # killed while it wrote
                    self.sent = json.loads(line)

    def signal(self, number: signal.Signals) -> None:
        """Send it a signal: SIGUSR1 silences it, SIGSTOP leaves its connections half open."""
        assert self._child is not None
        self._child.send_signal(number)

    def kill(self) -> None:
        """End it as a power cut would, connections and all."""
        if self._child is None:
            return
        self._child.kill()
        self._child.wait()
        self._listener.join()
        self._child = None

    def __enter__(self) -> RtspCamera:
        self.start()
        return self

    def __exit__(self, *_: object) -> None:
        self.kill()


class MjpegCamera:
    """An HTTP camera in a thread; its attributes may be changed while it runs.

    Args:
        picture: Gives the JPEG with a number; of ``moving_picture`` if not given.
        fps: Pictures per second.
        login: ``user:password`` that is asked for.
        tls: Makes it an https camera.
    """

    def __init__(
        self,
        picture: Callable[[int], bytes] | None = None,
        *,
        fps: float = 25.0,
        login: str = "",
        tls: ssl.SSLContext | None = None,
    ) -> None:
        self._tls = tls
        self.picture = picture or (lambda number: encode(moving_picture(number)))
        self.fps = fps
        self.login = login
        self.status = 200
        self.content_type = "multipart/x-mixed-replace; boundary=frame"
        self.silent = False
        self.limit = 1 << 30
        """Pictures after which it hangs up."""
        self.requests = 0
        self._server: ThreadingHTTPServer | None = None

    @property
    def url(self) -> str:
        """Where it is."""
        assert self._server is not None
        scheme = "http" if self._tls is None else "https"
        return f"{scheme}://127.0.0.1:{self._server.server_address[1]}/video"

    def __enter__(self) -> MjpegCamera:
        camera = self

        class Handler(BaseHTTPRequestHandler):
            def log_message(self, *_: object) -> None:
                pass

            def do_GET(self) -> None:
                camera.requests += 1
                with suppress(OSError):
                    camera.answer(self)

        self._server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        self._server.daemon_threads = True
        if self._tls is not None:
            self._server.socket = self._tls.wrap_socket(self._server.socket, server_side=True)
        threading.Thread(target=self._server.serve_forever, args=[0.05], daemon=True).start()
        return self

    def answer(self, handler: BaseHTTPRequestHandler) -> None:
        """Send pictures until told otherwise."""
        wanted = f"Basic {b64encode(self.login.encode()).decode()}"
        if self.login and handler.headers["Authorization"] != wanted:
            handler.send_response(401)
            handler.send_header("WWW-Authenticate", 'Basic realm="camera"')
            handler.end_headers()
            return
        handler.send_response(self.status)
        handler.send_header("Content-Type", self.content_type)
        handler.end_headers()
        for number in range(self.limit):
            while self.silent and self._server is not None:
                time.sleep(0.01)
            if self._server is None:
                return
            data = self.picture(number)
            head = f"--frame\r\nContent-Type: image/jpeg\r\nContent-Length: {len(data)}\r\n\r\n"
            handler.wfile.write(head.encode() + data + b"\r\n")
            time.sleep(1 / self.fps)

    def __exit__(self, *_: object) -> None:
        server, self._server = self._server, None
        if server is not None:
            server.shutdown()
            server.server_close()


def encode(picture: Image) -> bytes:
    """Return a picture as JPEG."""
    return cv2.imencode(".jpg", picture)[1].tobytes()
