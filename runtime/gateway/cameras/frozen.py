"""Cameras whose picture stands still although pictures arrive."""

from __future__ import annotations

from typing import Final

import numpy as np
import numpy.typing as npt

from .source import Picture

__all__ = ["FrozenWatch"]

_LOOK_EVERY_S: Final = 1.0
"""Also the usual time between keyframes: what a frozen sensor shows differs a little from picture
to picture once it was encoded, but not from keyframe to keyframe."""


class FrozenWatch:
    """Compares a picture per second with the first that looked like it, pixel by pixel.

    Args:
        limit_s: Same pixels for that long count as frozen; 0: never.
    """

    def __init__(self, limit_s: float) -> None:
        self._limit_s = limit_s
        self._since_s = 0.0
        self._looked_s: float | None = None
        self._pixels: npt.NDArray[np.uint8] | None = None

    def frozen(self, picture: Picture, now_s: float) -> bool:
        """Return whether pictures have been the same for the limit."""
        if not self._limit_s:
            return False
        if self._looked_s is not None and now_s - self._looked_s < _LOOK_EVERY_S:
            return False
        self._looked_s = now_s
        pixels = picture.pixels()
        if self._pixels is None or not np.array_equal(pixels, self._pixels):
            self._pixels, self._since_s = pixels.copy(), now_s
        return now_s - self._since_s >= self._limit_s
