"""Vehicles that pass a fake camera, one after the other, and a real pipeline that reads them."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from datetime import timedelta

from runtime.gateway.events.event import Event
from runtime.gateway.finding import FindingOptions
from runtime.gateway.frames import Frame
from runtime.gateway.pipeline import Pipeline, PipelineOptions
from runtime.gateway.privacy import Privacy, PrivacyOptions
from runtime.gateway.tracking import TrackingOptions
from tests.painted import FakeCamera, blank, frame_of, paint, painted_reader

__all__ = ["Road"]

_BOX = (40, 60, 64, 32)


class Road:
    """One camera whose frames come when a test says so; ``plates`` are what passed."""

    def __init__(self, emit: Callable[[Event], None]) -> None:
        self.camera, self.number, self.plates = FakeCamera(), 0, list[str]()
        self.clock_ns = 0
        self.pipeline = Pipeline(
            "gate",
            self.camera,
            painted_reader(),
            options=PipelineOptions(
                regions=FindingOptions(boxes=(_BOX,)), tracks=TrackingOptions(lost_s=1)
            ),
            emit=emit,
            privacy=Privacy(PrivacyOptions()),
            clock_ns=lambda: self.clock_ns,
        )

    def show(self, frame: Frame) -> None:
        self.camera.frames.append(frame)
        self.clock_ns = frame.arrived_ns
        self.pipeline.step(0)
        self.number += 1

    def vehicle(self, plate: str, *, clock: timedelta = timedelta()) -> None:
        """Four frames of a vehicle and none for 1.2 s, with a system clock that is off."""
        for shown in [plate] * 4 + [None] * 12:
            image = blank()
            if shown is not None:
                paint(image, _BOX, shown)
            frame = frame_of(image, self.number)
            self.show(replace(frame, arrived=frame.arrived + clock))
        self.plates.append(plate)
