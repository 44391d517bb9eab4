"""A source that does what a test wrote down."""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from runtime.arrays import Image
from runtime.gateway.cameras.options import CameraOptions
from runtime.gateway.cameras.source import Arrival, End

__all__ = ["ScriptedPicture", "ScriptedSource", "opener_of"]


@dataclass(frozen=True)
class ScriptedPicture:
    """A grey picture."""

    value: int = 0
    key: bool = True
    corrupt: bool = False
    waits: bool = False
    time_s: float | None = None
    size: tuple[int, int] = (8, 6)
    problem: Exception | None = None
    """Raised instead of an image."""

    def pixels(self) -> npt.NDArray[np.uint8]:
        return np.full(self.size[::-1], self.value % 256, np.uint8)

    def image(self) -> Image:
        if self.problem is not None:
            raise self.problem
        return np.full((*self.size[::-1], 3), self.value % 256, np.uint8)


Step = Arrival | Exception | Callable[[], None]


class ScriptedSource:
    """Gives one step after the other, and ends."""

    description = "scripted"

    def __init__(self, steps: Iterable[Step]) -> None:
        self._steps: Iterator[Step] = iter(steps)
        self.closed = threading.Event()

    def read(self) -> Arrival:
        for step in self._steps:
            if isinstance(step, Exception):
                raise step
            if isinstance(step, Arrival):
                return step
            step()
        raise End

    def close(self) -> None:
        self.closed.set()


def opener_of(*scripts: Iterable[Step] | Exception) -> Callable[[CameraOptions], ScriptedSource]:
    """Return an opener whose connections follow one script each; the last one again and again."""
    left = list(scripts)

    def open_source(_: CameraOptions) -> ScriptedSource:
        script = left.pop(0) if len(left) > 1 else left[0]
        if isinstance(script, Exception):
            raise script
        return ScriptedSource(script)

    return open_source
