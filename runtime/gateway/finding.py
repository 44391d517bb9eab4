"""Where in a frame to read: fixed regions, the whole frame, or what the user's detector finds.

A detector is anybody's code and is not trusted: whatever it raises or returns, the camera goes on,
and what was wrong is counted. It cannot be interrupted, either; a call over the budget of time is
counted, and newer frames take the place of those that it was too slow for.
"""

from __future__ import annotations

import importlib
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from math import isfinite
from time import perf_counter_ns
from typing import Final, NamedTuple, TypeAlias

import numpy as np
import numpy.typing as npt

from runtime.arrays import Image
from runtime.errors import ConfigError
from runtime.regions import box_quads

__all__ = ["Finder", "Finding", "FindingOptions", "Found", "Region", "load_detector"]

_UNITS: Final = ("px", "share")
_MOST_REGIONS: Final = 1024
_FARTHEST_PX: Final = 1e6


class Region(NamedTuple):
    """One place to read."""

    quad: npt.NDArray[np.float32]
    """(4, 2) corners (x, y), clockwise from the region's own top left, px."""
    confidence: float = 1.0
    """How sure the finder is that there is something, in [0, 1]."""


Finder: TypeAlias = Callable[[Image], Sequence[Region]]
"""From a frame, (H, W, 3) uint8 BGR, not to be changed, to its regions."""


@dataclass(frozen=True, slots=True, kw_only=True)
class FindingOptions:
    """Where to read; without boxes, quads and detector: the whole frame.

    Raises:
        ConfigError: regions that cannot be, a detector besides regions, a value out of range.
    """

    boxes: tuple[tuple[float, ...], ...] = ()
    """Upright regions: x and y of the left top corner, width, height."""
    quads: tuple[tuple[tuple[float, ...], ...], ...] = ()
    """Regions of four corners (x, y), clockwise from the top left as the text is read."""
    unit: str = "px"
    """Of boxes and quads: ``px``, or ``share`` of the frame's width and height, in [0, 1]."""
    detector: str = ""
    """``package.module:factory``; ``factory()`` returns a ``Finder``."""
    budget_ms: float = 100.0
    """A detector's call that takes longer is counted as over budget, > 0, ms."""
    max_regions: int = 32
    """Of a detector's regions, those with the most confidence are read; 1 to 1024."""

    def __post_init__(self) -> None:
        if self.unit not in _UNITS:
            raise ConfigError(f"regions: unit must be one of {_UNITS}, got {self.unit!r}")
        if self.detector and (self.boxes or self.quads):
            raise ConfigError("regions: name a detector, or boxes and quads, not both")
        if not (self.budget_ms > 0 and 1 <= self.max_regions <= _MOST_REGIONS):
            raise ConfigError(
                f"regions: budget_ms must be > 0 and max_regions 1 to {_MOST_REGIONS}, got "
                f"{self.budget_ms} and {self.max_regions}"
            )
        for box in self.boxes:
            if len(box) != 4 or not all(map(isfinite, box)) or min(box[2:]) <= 0:
                raise ConfigError(f"regions: a box is x, y, width > 0, height > 0, got {box}")
        for quad in self.quads:
            if len(quad) != 4 or any(len(corner) != 2 for corner in quad):
                raise ConfigError(f"regions: a quad is four corners [x, y], got {quad}")
        corners = _corners(self)
        if self.unit == "share" and not ((corners >= 0) & (corners <= 1)).all():
            raise ConfigError("regions: with unit = 'share' all corners must lie in [0, 1]")

    @property
    def fixed(self) -> bool:
        """Whether regions are the same in every frame."""
        return not self.detector


class Found(NamedTuple):
    """What was found in one frame."""

    regions: list[Region]
    errors: int
    """Of the detector: 1 if it failed, or the number of regions that were none."""
    problem: str | None
    """What the first of these was, without words of the detector's own."""
    duration_ns: int


class Finding:
    """Finds the regions of frames of one camera; one thread at a time.

    Args:
        options: Where.
        detector: Instead of the one that the options name.

    Raises:
        ConfigError: the detector cannot be had.
    """

    def __init__(self, options: FindingOptions, *, detector: Finder | None = None) -> None:
        self._options = options
        self._corners = _corners(options)
        if detector is None and options.detector:
            detector = load_detector(options.detector)
        self._detector = detector

    @property
    def fixed(self) -> bool:
        """Whether regions are the same in every frame, so that only readings tell vehicles."""
        return self._detector is None

    def __call__(self, image: Image) -> Found:
        """Return the regions of a frame; never fails."""
        began = perf_counter_ns()
        if self._detector is None:
            regions, errors, problem = self._fixed(image), 0, None
        else:
            try:
                raw = self._detector(image)
                regions, errors, problem = self._checked(raw)
            except Exception as error:  # noqa: BLE001 - anybody's code; its words may be private
                regions, errors, problem = [], 1, f"the detector raised {type(error).__name__}"
        return Found(regions, errors, problem, perf_counter_ns() - began)

    def _fixed(self, image: Image) -> list[Region]:
        height, width = image.shape[:2]
        if not len(self._corners):
            whole = box_quads(np.asarray([[0, 0, width, height]], np.float32))
            return [Region(whole[0])]
        scale = (width, height) if self._options.unit == "share" else (1, 1)
        return [Region(quad) for quad in self._corners * np.asarray(scale, np.float32)]

    def _checked(self, raw: object) -> tuple[list[Region], int, str | None]:
        """Return the regions that are regions, how many are not, and what the first lacks."""
        if not isinstance(raw, Sequence):
            return [], 1, f"the detector returned {type(raw).__name__}, not a sequence of Region"
        regions: list[Region] = []
        errors, problem = 0, None
        for item in raw[:_MOST_REGIONS]:
            region = _region(item)
            if isinstance(region, str):
                errors, problem = errors + 1, problem or region
            else:
                regions.append(region)
        if len(raw) > _MOST_REGIONS:
            errors, problem = errors + 1, problem or f"the detector returned {len(raw)} regions"
        regions.sort(key=lambda region: -region.confidence)
        return regions[: self._options.max_regions], errors, problem


def _region(item: object) -> Region | str:
    """Return a region of plain numbers, or what is wrong with it."""
    quad, confidence = getattr(item, "quad", None), getattr(item, "confidence", None)
    try:
        corners = np.asarray(quad, np.float32)
        sure = float(confidence)  # type: ignore[arg-type]
    except (TypeError, ValueError, OverflowError):
        return f"a region of the detector is a {type(item).__name__} without quad and confidence"
    if corners.shape != (4, 2):
        return f"a quad of the detector has shape {corners.shape}, not (4, 2)"
    if not (np.isfinite(corners).all() and np.abs(corners).max() <= _FARTHEST_PX):
        return "a quad of the detector is not finite or far outside of the frame"
    if not 0 <= sure <= 1:
        return f"a confidence of the detector is {sure}, not in [0, 1]"
    return Region(corners, sure)


def _corners(options: FindingOptions) -> npt.NDArray[np.float32]:
    """Return the configured regions, (N, 4, 2)."""
    boxes = np.asarray(options.boxes, np.float32).reshape(-1, 4)
    boxes = np.concatenate([boxes[:, :2], boxes[:, :2] + boxes[:, 2:]], axis=1)
    quads = np.asarray(options.quads, np.float32).reshape(-1, 4, 2)
    corners: npt.NDArray[np.float32] = np.concatenate([box_quads(boxes), quads])
    if not np.isfinite(corners).all():
        raise ConfigError("regions: corners must be finite")
    return corners


def load_detector(name: str) -> Finder:
    """Make the detector called ``package.module:factory``.

    Raises:
        ConfigError: there is no such module or factory, or it fails.
    """
    module_name, colon, factory_name = name.partition(":")
    if not (module_name and colon and factory_name):
        raise ConfigError(f"expected a detector as package.module:factory, got {name!r}")
    try:
        factory = getattr(importlib.import_module(module_name), factory_name)
        finder: Finder = factory()
    except Exception as error:
        raise ConfigError(
            f"the detector {name!r} cannot be made: {type(error).__name__}: {error}"
        ) from error
    if not callable(finder):
        raise ConfigError(f"{name}() returned {type(finder).__name__}, which cannot be called")
    return finder
