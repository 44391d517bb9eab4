from __future__ import annotations

import errno

import pytest

from runtime.gateway.cameras.addresses import Kind
from runtime.gateway.cameras.reasons import reason_of
from runtime.gateway.cameras.source import Recovery

av = pytest.importorskip("av")


@pytest.mark.parametrize(
    ("number", "words", "recovery"),
    [
        (errno.ENOENT, "plugged in", Recovery.SOON),
        (errno.ENODEV, "unplugged", Recovery.SOON),
        (errno.EBUSY, "another program", Recovery.SOON),
        (errno.EACCES, "group video", Recovery.LATER),
        (errno.ENOTTY, "no camera", Recovery.LATER),
        (errno.EIO, "", Recovery.SOON),
    ],
)
def test_what_a_device_says(number: int, words: str, recovery: Recovery) -> None:
    error = av.error.OSError(number, "as the kernel words it", "/dev/video0")
    reason, then = reason_of(av, error, Kind.DEVICE)
    assert words in reason
    assert bool(words) == bool(reason)
    assert then is recovery


def test_what_a_server_says() -> None:
    refused = av.error.HTTPUnauthorizedError(1, "as FFmpeg words it", "rtsp://cam/s")
    assert reason_of(av, refused, Kind.RTSP) == ("the login was refused (401)", Recovery.LATER)
    # A file that is missing is no device that was not plugged in.
    missing = av.error.FileNotFoundError(errno.ENOENT, "No such file", "a.mp4")
    assert reason_of(av, missing, Kind.FILE) == ("", Recovery.SOON)
    assert reason_of(av, ValueError("odd"), Kind.DEVICE) == ("", Recovery.SOON)
