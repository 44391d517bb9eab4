from __future__ import annotations

import logging
from collections.abc import Iterable, Sequence
from dataclasses import replace
from math import exp
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from runtime.arrays import Image
from runtime.errors import ConfigError
from runtime.gateway.announcing import LatestReads
from runtime.gateway.events.event import Event
from runtime.gateway.finding import FindingOptions, Region
from runtime.gateway.frames import Frame
from runtime.gateway.pictures import PictureOptions, Pictures
from runtime.gateway.pipeline import Pipeline, PipelineOptions
from runtime.gateway.privacy import Privacy, PrivacyOptions
from runtime.gateway.tracking import TrackingOptions
from runtime.regions import box_quads
from tests.artifacts import TinyNetwork
from tests.painted import (
    BEGIN,
    PLATES,
    FakeCamera,
    SwappedReader,
    blank,
    frame_of,
    paint,
    painted_reader,
)
from tests.sessions import FakeSession, fake_reader

BOX = (40, 60, 64, 32)
FIXED = PipelineOptions(regions=FindingOptions(boxes=(BOX,)), tracks=TrackingOptions(lost_s=1))


class Sky:
    """A camera, a pipeline and what it told."""

    def __init__(self, options: PipelineOptions = FIXED, **more: Any) -> None:
        self.camera = FakeCamera()
        self.events: list[Event] = []
        self.clock_ns = 0
        self.latest = LatestReads()
        self.reader = SwappedReader(more.pop("reader", None) or painted_reader())
        given = {"privacy": Privacy(PrivacyOptions()), "latest": self.latest, **more}
        self.pipeline = Pipeline(
            "gate",
            self.camera,
            self.reader,
            options=options,
            emit=self.events.append,
            clock_ns=lambda: self.clock_ns,
            **given,
        )

    def show(self, frames: Iterable[Frame]) -> None:
        """Take frames one by one, each 7 ms after it arrived."""
        for frame in frames:
            self.camera.frames.append(frame)
            self.clock_ns = frame.arrived_ns + 7_000_000
            self.pipeline.step(0)

    def pass_time(self, seconds: float) -> None:
        self.clock_ns += round(seconds * 1e9)
        self.pipeline.step(0)

    @property
    def told(self) -> list[tuple[str | None, bool, str]]:
        seen = [event.seen for event in self.events if event.seen is not None]
        return [(one.text, one.accepted, one.decided) for one in seen]


def plate(text: str | None, number: int, *, sure: float = 1.0, box: Any = BOX) -> Frame:
    image = blank()
    if text is not None:
        paint(image, box, text, sure)
    return frame_of(image, number)


def boxes_of(image: Image) -> Sequence[Region]:
    """A detector that finds what is painted, from left to right."""
    painted = (image[..., 2] == 100).any(axis=0)
    edges = np.flatnonzero(np.diff(np.r_[False, painted, False]))
    found = []
    for left, right in edges.reshape(-1, 2):
        rows = np.flatnonzero((image[:, left:right, 2] == 100).any(axis=1))
        box = np.asarray([[left, rows[0], right, rows[-1] + 1]], np.float32)
        found.append(Region(box_quads(box)[0], 0.9))
    return found


def test_one_event_as_soon_as_the_answer_is_stable() -> None:
    sky = Sky()
    sky.show(plate("BA", n) for n in range(2))
    assert sky.events == []
    sky.show(plate("BA", n) for n in range(2, 9))
    sky.pass_time(2)
    assert sky.told == [("BA", True, "stable")]
    (event,) = sky.events
    assert event.seen is not None
    assert (event.camera, event.kind, event.seen.frames) == ("gate", "reading", 3)
    assert (event.time - BEGIN).total_seconds() == pytest.approx(0.2)
    assert event.seen.began == BEGIN
    assert event.seen.latency_ms == pytest.approx(7)
    assert event.seen.quad == ((40, 60), (104, 60), (104, 92), (40, 92))
    assert event.seen.artifact == {"id": "painted", "version": 1}
    # Log odds of 6, with a doubt of 1e-4; three frames that agree to 0.9 count as 3 / 2.8.
    once = (1 - 1e-4) / (1 + exp(-6)) + 5e-5
    sure = 1 / (1 + (1 / once - 1) ** (3 / 2.8))
    green, tilted = event.seen.heads["colour"], event.seen.heads["extras"]
    assert (green["labels"], tilted["labels"]) == (["green"], ["tilted"])
    assert green["confidence"] == pytest.approx(sure, abs=2e-6)
    assert tilted["confidence"] == pytest.approx(sure**3, abs=2e-6)
    status = sky.pipeline.status()
    assert (status.frames, status.reads, status.events, status.accepted) == (10 - 1, 9, 1, 1)
    assert status.latency.count == 1
    assert status.latency.max_ns == 7_000_000


def test_heads_of_the_text_are_never_told() -> None:
    sky = Sky()
    sky.show(plate("京01", n) for n in range(4))
    value = sky.events[0].to_object()
    assert not {"first", "second", "third"} & set(value["heads"])
    (read,) = sky.latest.read()
    assert read.text == "京01"
    assert dict(read.heads) == {"colour": "green", "extras": "tilted"}


def test_what_is_never_sure_is_told_when_it_is_gone() -> None:
    sky = Sky(replace(FIXED, tracks=TrackingOptions(lost_s=1, presence=0.05)))
    sky.show(plate("BB", n, sure=0.15) for n in range(4))
    assert sky.told == []
    sky.pass_time(0.5)
    assert sky.told == []
    sky.pass_time(0.6)
    ((_, accepted, decided),) = sky.told
    assert (accepted, decided) == (False, "ended")
    assert sky.pipeline.status().abstained == 1
    assert sky.pipeline.status().latency.count == 0


def test_what_is_never_sure_need_not_be_told() -> None:
    sky = Sky(replace(FIXED, tracks=TrackingOptions(lost_s=1, presence=0.05), unsure=False))
    sky.show(plate("BB", n, sure=0.15) for n in range(4))
    sky.pass_time(2)
    assert sky.told == []


def test_an_empty_region_says_nothing() -> None:
    sky = Sky()
    sky.show(plate(None, n) for n in range(5))
    sky.pass_time(2)
    assert sky.told == []
    assert sky.pipeline.status().reads == 5


def test_the_next_vehicle_is_told_by_its_reading() -> None:
    sky = Sky()
    sky.show(plate("BA", n) for n in range(5))
    sky.show(plate("京01", n) for n in range(5, 10))
    sky.show(plate("BA", n) for n in range(10, 15))
    assert [text for text, _, _ in sky.told] == ["BA", "京01", "BA"]
    assert len({event.id for event in sky.events}) == 3
    # The second began with its first frame, although that one alone was no proof.
    second = sky.events[1].seen
    assert second is not None
    assert (second.began - BEGIN).total_seconds() == pytest.approx(0.5)
    assert sky.pipeline.status().outliers == 0


@pytest.mark.parametrize(
    ("texts", "outliers"),
    [("BA BA AA BA AB AA BA BA", 3), ("BA BA AA BA AA BA AA BA BA", 3), ("BA BA BA AB BA AB", 2)],
)
def test_single_misreadings_are_left_out(texts: str, outliers: int) -> None:
    sky = Sky()
    sky.show(plate(text, n) for n, text in enumerate(texts.split()))
    sky.pass_time(2)
    assert [text for text, _, _ in sky.told] == ["BA"]
    assert sky.pipeline.status().outliers == outliers


def test_an_answer_that_changes_is_not_stable() -> None:
    sky = Sky(replace(FIXED, tracks=TrackingOptions(lost_s=1, presence=0.05)))
    sky.show(plate("AB", n, sure=0.15) for n in range(2))
    sky.show(plate("BA", n) for n in range(2, 4))
    assert sky.told == []
    sky.show([plate("BA", 4)])
    assert sky.told == [("BA", True, "stable")]


def test_nothing_is_added_up_for_a_vehicle_that_was_told() -> None:
    sky = Sky()
    sky.show(plate("BA", n) for n in range(20))
    (passage,) = sky.pipeline._tracker.end_all()
    assert (passage.frames, passage.announced) == (3, True)


def test_moving_vehicles_are_told_apart_by_a_detector() -> None:
    sky = Sky(PipelineOptions(), detector=boxes_of)
    frames = []
    for n in range(12):
        image = blank()
        paint(image, (10 + 18 * n, 30, 48, 24), "AA")
        paint(image, (250 - 18 * n, 150, 48, 24), "京10")
        frames.append(frame_of(image, n))
    # A vertical band holds one painted thing only while they do not pass each other.
    sky.show(frames[:5])
    sky.pass_time(2)
    assert sorted(str(text) for text, _, _ in sky.told) == ["AA", "京10"]


@settings(max_examples=15)
@given(st.data())
def test_exactly_one_event_per_vehicle(data: st.DataObject) -> None:
    """Vehicles come one after the other, with gaps, blurred frames and frames that fail."""
    texts = data.draw(st.lists(st.sampled_from(PLATES), min_size=1, max_size=4))
    sky, number = Sky(), 0
    for text in texts:
        for _ in range(data.draw(st.integers(3, 8))):
            sure = data.draw(st.sampled_from([1.0, 0.9, 0.2]))
            sky.show([plate(text, number, sure=sure)])
            number += 1
        # Longer than ``lost_s``: 1.1 s at 10 frames per second.
        sky.show(plate(None, n) for n in range(number, number + 12))
        number += 12
    sky.pass_time(2)
    assert len(sky.told) == len(texts) == len({event.id for event in sky.events})
    for text, (told, accepted, _) in zip(texts, sky.told, strict=True):
        assert told == text or not accepted


def test_a_reload_begins_evidence_anew_and_tells_nothing_twice() -> None:
    sky = Sky()
    sky.show(plate("BA", n) for n in range(4))
    sky.reader.reader = painted_reader(artifact="second", version=2)
    sky.show(plate("BA", n) for n in range(4, 9))
    sky.pass_time(2)
    assert sky.told == [("BA", True, "stable")]
    sky.show(plate("AB", n) for n in range(40, 42))
    sky.reader.reader = painted_reader(artifact="third", version=3)
    sky.show([plate("AB", 42)])
    sky.pass_time(2)
    # Two frames of the second artifact and one of the third: only the latter count together.
    assert sky.told[1:] == [("AB", True, "ended")]
    seen = sky.events[1].seen
    assert seen is not None
    assert seen.artifact == {"id": "third", "version": 3}
    assert sky.pipeline.status().step_errors == 0


def test_a_frame_that_was_read_during_a_reload_is_left_out() -> None:
    class Swapping(SwappedReader):
        def read_regions(self, frame: Any, quads: Any) -> Any:
            answers = super().read_regions(frame, quads)
            self.reader = painted_reader(artifact="second", version=2)
            return answers

    sky = Sky()
    sky.pipeline._reader = Swapping(sky.reader.reader)
    sky.show(plate("BA", n) for n in range(5))
    assert sky.told == [("BA", True, "stable")]
    status = sky.pipeline.status()
    assert (status.read_errors, status.step_errors, status.reads) == (0, 0, 5)
    assert sky.events[0].seen is not None
    assert sky.events[0].seen.frames == 3


def test_what_only_the_earlier_artifact_read_is_told_all_the_same() -> None:
    sky = Sky()
    sky.show(plate("AB", n) for n in range(2))
    sky.reader.reader = painted_reader(artifact="second", version=2)
    sky.show([plate(None, 2)])
    sky.pass_time(2)
    assert sky.told == [("AB", True, "ended")]
    seen = sky.events[0].seen
    assert seen is not None
    assert seen.artifact == {"id": "painted", "version": 1}


class Wild:
    """A detector that does what it is told, frame by frame."""

    def __init__(self, *outputs: Any) -> None:
        self.outputs = list(outputs)

    def __call__(self, image: Image) -> Any:
        output = self.outputs.pop(0)
        if isinstance(output, BaseException):
            raise output
        return output


def test_a_detector_that_fails_costs_frames_only(caplog: pytest.LogCaptureFixture) -> None:
    good = [Region(box_quads(np.asarray([[40, 60, 104, 92]], np.float32))[0])]
    wild = Wild(ValueError("plate BA at 7 Elm Street"), None, [object()], 7, good, good, good)
    sky = Sky(PipelineOptions(), detector=wild)
    with caplog.at_level(logging.DEBUG, "headlight"):
        sky.show(plate("BA", n) for n in range(7))
    assert [text for text, _, _ in sky.told] == ["BA"]
    status = sky.pipeline.status()
    assert (status.find_errors, status.step_errors, status.frames) == (4, 0, 7)
    assert "Elm" not in caplog.text
    assert "ValueError" in caplog.text


def test_slow_detectors_are_counted() -> None:
    options = PipelineOptions(regions=FindingOptions(detector="", budget_ms=1e-6))
    sky = Sky(options, detector=boxes_of)
    sky.show(plate("BA", n) for n in range(3))
    assert sky.pipeline.status().find_late == 3
    assert sky.pipeline.status().find.count == 3


def test_a_region_outside_of_the_frame_is_an_error_of_its_own() -> None:
    sky = Sky(PipelineOptions(regions=FindingOptions(boxes=((1000, 0, 64, 32), BOX))))
    sky.show(plate("BA", n) for n in range(3))
    assert [text for text, _, _ in sky.told] == ["BA"]
    status = sky.pipeline.status()
    assert (status.read_errors, status.reads) == (3, 3)
    assert "frame" in str(status.last_error)


def test_the_thread_outlives_a_reader_that_fails(caplog: pytest.LogCaptureFixture) -> None:
    class Broken(SwappedReader):
        def read_regions(self, frame: Any, quads: Any) -> Any:
            if len(sky.camera.frames) > 5:
                raise RuntimeError("plate BA")
            return super().read_regions(frame, quads)

    sky = Sky()
    broken = Broken(sky.reader.reader)
    sky.pipeline._reader = broken
    sky.camera.frames.extend(plate("BA", n) for n in range(9))
    sky.pipeline.start()
    assert sky.camera.emptied.wait(10)
    assert sky.pipeline.stop()
    assert [text for text, _, _ in sky.told] == ["BA"]
    status = sky.pipeline.status()
    assert (status.step_errors, status.frames) == (3, 9)
    assert "RuntimeError" in str(status.last_error)
    assert "plate BA" not in caplog.text


def test_vehicles_are_told_although_the_reader_fails_from_then_on() -> None:
    class Broken(SwappedReader):
        def read_regions(self, frame: Any, quads: Any) -> Any:
            raise RuntimeError

    sky = Sky()
    sky.show(plate("BA", n) for n in range(2))
    sky.pipeline._reader = Broken(sky.reader.reader)
    for n in range(2, 14):
        with pytest.raises(RuntimeError):
            sky.show([plate("BA", n)])
    assert sky.told == [("BA", True, "ended")]


def test_stopping_tells_of_vehicles_that_are_still_there() -> None:
    sky = Sky()
    sky.camera.frames.extend(plate("BA", n) for n in range(2))
    sky.pipeline.start()
    assert sky.camera.emptied.wait(10)
    assert sky.pipeline.stop()
    assert sky.told == [("BA", True, "ended")]


def test_a_reader_without_scores_is_refused_at_once() -> None:
    reader = fake_reader(FakeSession(TinyNetwork().logits))
    with pytest.raises(ConfigError, match="keep_scores"):
        Sky(reader=reader)


def test_pictures_are_kept_of_the_best_frame(tmp_path: Path) -> None:
    pictures = Pictures(PictureOptions(folder=str(tmp_path), margin=0.25), now=lambda: BEGIN)
    sky = Sky(pictures=pictures)
    sky.show(plate("BA", n, sure=sure) for n, sure in enumerate([0.9, 1.0, 0.8, 0.9]))
    (event,) = sky.events
    assert event.seen is not None
    assert event.seen.picture is not None
    import cv2

    image = cv2.imread(str(tmp_path / event.seen.picture))
    assert image.shape == (48, 96, 3)  # 32 and 64 px, a quarter more on each side
    assert abs(int(image[24, 48, 1]) - 200) < 4  # the surest frame
    (read,) = sky.latest.read()
    assert read.thumbnail is not None
    assert read.thumbnail[:2] == b"\xff\xd8"


@pytest.mark.parametrize("way", ["masked", "hashed"])
def test_no_picture_shows_what_the_text_hides(way: str, tmp_path: Path) -> None:
    key = tmp_path / "key"
    key.write_bytes(b"k" * 32)
    options = PrivacyOptions(text=way, key_file=str(key) if way == "hashed" else "")
    pictures = Pictures(PictureOptions(folder=str(tmp_path / "pictures")), now=lambda: BEGIN)
    sky = Sky(pictures=pictures, privacy=Privacy(options))
    sky.show(plate("京01", n) for n in range(4))
    (event,) = sky.events
    assert event.seen is not None
    assert event.seen.picture is None
    assert "京01" not in event.to_json().decode()
    assert not (tmp_path / "pictures").exists()
    (read,) = sky.latest.read()
    assert read.thumbnail is None
    assert read.text == event.seen.text


def test_latest_is_a_ring() -> None:
    sky = Sky(latest=LatestReads(2))
    for n, text in enumerate(["AA", "AB", "BA"]):
        sky.show(plate(text, 100 * n + k) for k in range(4))
    latest = sky.pipeline._announcer._latest
    assert latest is not None
    assert [read.text for read in latest.read()] == ["BA", "AB"]


def test_many_vehicles_at_once_are_bounded() -> None:
    def crowd(image: Image) -> Sequence[Region]:
        boxes = [[x, y, x + 20, y + 10] for x in range(0, 300, 60) for y in range(0, 200, 40)]
        return [Region(quad) for quad in box_quads(np.asarray(boxes, np.float32))]

    sky = Sky(PipelineOptions(tracks=TrackingOptions(max_tracks=4)), detector=crowd)
    sky.show(plate("AA", n) for n in range(2))
    status = sky.pipeline.status()
    assert (status.tracks, status.reads, status.regions) == (4, 8, 50)
    assert status.overflows == 42


def test_stable_frames_must_be_possible() -> None:
    with pytest.raises(ConfigError, match="stable_frames"):
        PipelineOptions(stable_frames=0)
