"""R4: a real RTSP stream with flipped bits and lost pieces: no wrong picture leaves the camera.

Whole access units are lost in front of the packetiser, so that only time stamps tell; RTP packets
behind it, as on a network (UDP) or in a camera that cannot keep up (TCP).

Each picture that is handed out is compared with all that the undamaged stream holds: it must be one
of them. Beside it, on the same damage, a camera that keeps back only what the decoder flags shows
that the stream was damaged, and that the comparison finds it.
"""

from __future__ import annotations

import time
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import numpy.typing as npt
import pytest

from runtime.arrays import Image
from runtime.gateway.cameras import Camera, CameraOptions, CameraStatus
from tests.cameras import RtspCamera, require_rtsp, write_video
from tests.reliability.conftest import Count

pytestmark = pytest.mark.reliability

_STEP_PX = 4
_SAME = 2.0
"""Mean difference in grey levels; pictures of the stream differ by 20 from each other."""


@pytest.fixture(scope="module")
def stream(tmp_path_factory: pytest.TempPathFactory) -> Path:
    require_rtsp()
    return write_video(tmp_path_factory.mktemp("streams") / "stream.h264")


@pytest.fixture(scope="module")
def clean(stream: Path) -> npt.NDArray[np.int16]:
    """All pictures of the stream, thinned out: (N, H, W, 3)."""
    camera = Camera(CameraOptions(name="clean", url=str(stream), realtime=False))
    pictures = []
    with camera:
        while (frame := camera.take(10)) is not None:
            pictures.append(thinned(frame.image))
    assert len(pictures) == 100
    return np.stack(pictures)


def thinned(image: Image) -> npt.NDArray[np.int16]:
    return image[::_STEP_PX, ::_STEP_PX].astype(np.int16)


@dataclass(frozen=True)
class Outcome:
    """What came out of a camera."""

    status: CameraStatus
    taken: int
    wrong: int
    """Pictures that the undamaged stream does not hold."""
    sent: dict[str, int]


def watch(
    stream: Path,
    clean: npt.NDArray[np.int16],
    seconds: float,
    *words: str,
    hold: bool = True,
    transport: str = "tcp",
) -> Outcome:
    """Take pictures of a damaged stream for some seconds."""
    with RtspCamera(stream, *words) as server:
        options = CameraOptions(
            name="r4", url=server.url, hold_after_error=hold, transport=transport
        )
        with Camera(options) as camera:
            taken = wrong = 0
            until_s = time.monotonic() + seconds
            while time.monotonic() < until_s:
                frame = camera.take(0.1)
                if frame is None:
                    continue
                difference = np.abs(clean - thinned(frame.image)).mean((1, 2, 3))
                taken += 1
                wrong += bool(difference.min() > _SAME)
            return Outcome(camera.status(), taken, wrong, dict(server.sent))


def tell(count: Count, name: str, outcome: Outcome) -> None:
    """Count all that came out of a camera."""
    status = outcome.status
    count(
        name,
        **{f"sent_{key}": value for key, value in outcome.sent.items()},
        taken=outcome.taken,
        wrong=outcome.wrong,
        corrupt=status.corrupt,
        withheld=status.withheld,
        decode_errors=status.decode_errors,
        gaps=status.gaps,
        reconnects=status.reconnects,
    )


@pytest.mark.parametrize(
    ("name", "words"),
    [
        ("flipped", ["--corrupt", "0.3"]),
        ("lost", ["--drop", "0.2"]),
        ("both", ["--corrupt", "0.3", "--drop", "0.2"]),
    ],
)
def test_no_wrong_picture_leaves(
    stream: Path,
    clean: npt.NDArray[np.int16],
    full: bool,
    count: Count,
    name: str,
    words: list[str],
) -> None:
    if not full and name == "both":
        count(f"R4 {name}", skipped="in full size only")
        return
    outcome = watch(stream, clean, 30 if full else 3, *words)
    status = outcome.status
    tell(count, f"R4 {name}", outcome)
    assert outcome.wrong == 0
    assert outcome.taken > 0
    assert status.withheld > 0
    damage = status.corrupt + status.decode_errors
    assert damage > 0 or "--corrupt" not in words
    assert status.gaps > 0 or "--drop" not in words


@pytest.mark.parametrize("transport", ["tcp", "udp"])
@pytest.mark.parametrize("lost", [0.01, 0.05, 0.2])
def test_packets_are_lost(
    stream: Path,
    clean: npt.NDArray[np.int16],
    full: bool,
    count: Count,
    transport: str,
    lost: float,
) -> None:
    name = f"R4 {lost:.0%} of packets lost over {transport}"
    if not full and lost != 0.05:
        count(name, skipped="in full size only")
        return
    outcome = watch(stream, clean, 12 if full else 4, "--lose", str(lost), transport=transport)
    tell(count, name, outcome)
    assert outcome.wrong == 0
    assert outcome.sent["lost"] > 0
    # Each loss is noticed by itself, or with another in the same picture or queue.
    assert outcome.status.gaps > 0
    assert outcome.status.withheld > 0
    # Of 20 %, a keyframe of 15 packets is whole once in half a minute.
    assert outcome.taken > 0 or lost == 0.2


@pytest.mark.parametrize("words", [["--drop", "0.2"], ["--lose", "0.05"]])
def test_the_damage_is_real(
    stream: Path, clean: npt.NDArray[np.int16], full: bool, count: Count, words: list[str]
) -> None:
    outcome = watch(stream, clean, 10 if full else 2, *words, hold=False)
    name = f"R4 control: {' '.join(words)[2:]}, nothing held back"
    count(name, taken=outcome.taken, wrong=outcome.wrong)
    # A fifth to a half; less where the machine shows fewer pictures.
    assert outcome.wrong > 0.1 * outcome.taken > 0
