"""Regions of a frame, turned upright and brought to the network's input size in one step.

Where the region is an upright box of whole pixels, this is the crop of that box brought to size by
``fit``, bit for bit. For any other quad every pixel of the input is where the perspective of the
four corners puts it; where the region is larger than the input on both sides, ``fit`` averages
areas, and here each pixel is the mean of as many samples, evenly spread over its area, as it takes
for none of the frame's pixels to be missed.
"""

from __future__ import annotations

from typing import Any, Final, TypeAlias

import cv2
import numpy as np
import numpy.typing as npt

from .arrays import Image
from .errors import ImageError
from .preprocess import MIN_SIDE_PX, InputSpec, check_image, fit, inner_size, pad

__all__ = ["Quads", "box_quads", "check_quads", "rectify"]

Quads: TypeAlias = npt.NDArray[Any]
"""(N, 4, 2) corners (x, y), clockwise from the top left, px; (0, 0) is the outer corner of the
frame's first pixel and (W, H) that of its last."""
_INSIDE: Final = 0.9
"""Share of a region that must lie in the frame; pixels at its edge fill what is outside."""
_LARGEST_PX: Final = 16_384
"""OpenCV addresses 32,767 px."""


def box_quads(boxes: Quads) -> Quads:
    """Return boxes as quads.

    Args:
        boxes: (N, 4) left, top, right, bottom.

    Returns:
        (N, 4, 2).
    """
    return np.asarray(boxes)[:, [0, 1, 2, 1, 2, 3, 0, 3]].reshape(-1, 4, 2)


def check_quads(quads: Quads) -> npt.NDArray[np.float64]:
    """Return ``quads`` as (N, 4, 2) float64; the quads themselves are not looked at.

    Raises:
        ImageError: another shape, or not numbers.
    """
    try:
        corners = np.asarray(quads, np.float64)
    except (TypeError, ValueError) as error:
        raise ImageError(f"quads must be (N, 4, 2) numbers: {error}") from error
    if corners.size == 0:
        return np.empty((0, 4, 2))
    if corners.ndim != 3 or corners.shape[1:] != (4, 2):
        raise ImageError(
            f"quads must be (N, 4, 2): N regions of 4 corners (x, y), got {corners.shape}; "
            "turn boxes into quads with runtime.box_quads"
        )
    return corners


def rectify(frame: Image, quad: Quads, spec: InputSpec) -> Image:
    """Cut one region out of a frame, turn it upright and bring it to the input size.

    Args:
        frame: (H, W, 3) uint8 BGR; not changed.
        quad: (4, 2) corners (x, y) in px, clockwise from the region's own top left, which is not
            the topmost one where the region lies turned in the frame.
        spec: The wanted size and resize rule.

    Returns:
        (spec.height, spec.width, 3) uint8, never a view of the frame.

    Raises:
        ImageError: ``frame`` is no image; the corners are not finite, not convex, not clockwise,
            closer than 4 px, or more than a tenth of the region is outside the frame.
    """
    frame = check_image(frame)
    corners = check_quads(np.asarray(quad)[None])[0]
    _check_quad(corners, frame.shape[1], frame.shape[0])
    box = _whole_box(corners, frame.shape[1], frame.shape[0])
    if box is not None:
        fitted = fit(frame[box], spec)
        return fitted.copy() if np.may_share_memory(fitted, frame) else fitted
    width, height = _size(corners)
    inner_height, inner_width = inner_size(height, width, spec)
    return pad(_warp(frame, corners, inner_height, inner_width), spec)


def _check_quad(corners: npt.NDArray[np.float64], width: int, height: int) -> None:
    if not np.isfinite(corners).all() or np.abs(corners).max() > 1e6:
        raise ImageError(f"region {corners.tolist()}: corners must be finite and near the frame")
    sides = np.roll(corners, -1, axis=0) - corners
    after = np.roll(sides, -1, axis=0)
    # y grows downwards, so that right turns, which clockwise quads make only, are positive.
    turns = sides[:, 0] * after[:, 1] - sides[:, 1] * after[:, 0]
    lengths = np.hypot(sides[:, 0], sides[:, 1])
    if not (turns > 0).all():
        raise ImageError(
            f"region {corners.tolist()}: the corners must go clockwise around a convex region, "
            "from its top left; these cross, turn inwards, lie on a line or go the other way"
        )
    area = (turns[0] + turns[2]) / 2  # two triangles
    # As in fit: of fewer pixels nothing can be told. Slivers have sides that are long enough.
    if lengths.min() < MIN_SIDE_PX or area < MIN_SIDE_PX * lengths.max() / 2:
        raise ImageError(
            f"region {corners.tolist()}: expected at least {MIN_SIDE_PX} px on each side, got "
            f"{lengths.min():.1f} px and an area of {area:.1f} px"
        )
    edge = np.asarray([(0, 0), (width, 0), (width, height), (0, height)], np.float32)
    inside, _ = cv2.intersectConvexConvex(corners.astype(np.float32), edge)
    if inside < _INSIDE * area:
        raise ImageError(
            f"region {corners.tolist()}: {max(0.0, inside) / area:.0%} of it lie in the frame of "
            f"{width}x{height} px, expected {_INSIDE:.0%} or more"
        )
    if lengths.max() > _LARGEST_PX:
        raise ImageError(f"region {corners.tolist()}: larger than {_LARGEST_PX} px; scale down")


def _whole_box(
    corners: npt.NDArray[np.float64], width: int, height: int
) -> tuple[slice, slice] | None:
    """Return rows and columns of an upright box of whole pixels inside the frame, or None."""
    (left, top), (right, bottom) = corners[0], corners[2]
    upright = [(left, top), (right, top), (right, bottom), (left, bottom)]
    if (corners != upright).any() or (corners != np.rint(corners)).any():
        return None
    if left < 0 or top < 0 or right > width or bottom > height:
        return None
    return slice(int(top), int(bottom)), slice(int(left), int(right))


def _size(corners: npt.NDArray[np.float64]) -> tuple[float, float]:
    """Return width and height of a region: the means of its opposite sides."""
    sides = np.roll(corners, -1, axis=0) - corners
    top, right, bottom, left = np.hypot(sides[:, 0], sides[:, 1])
    return float(top + bottom) / 2, float(left + right) / 2


def _warp(frame: Image, corners: npt.NDArray[np.float64], height: int, width: int) -> Image:
    region_width, region_height = _size(corners)
    across = down = 1
    if region_width > width and region_height > height:
        across, down = int(np.ceil(region_width / width)), int(np.ceil(region_height / height))
    samples_wide, samples_high = width * across, height * down
    # Only the part of the frame that is looked at: OpenCV addresses no larger pictures, and a
    # frame that is not contiguous is copied.
    least = np.maximum(np.floor(corners.min(axis=0)).astype(int) - 2, 0)
    most = np.maximum(np.ceil(corners.max(axis=0)).astype(int) + 2, 1)
    part = frame[least[1] : most[1], least[0] : most[0]]
    # From the edges of pixels, as corners are given, to their middles, as OpenCV counts.
    source = (corners - least - 0.5).astype(np.float32)
    right, bottom = samples_wide - 0.5, samples_high - 0.5
    target = np.asarray([(-0.5, -0.5), (right, -0.5), (right, bottom), (-0.5, bottom)], np.float32)
    matrix = cv2.getPerspectiveTransform(target, source)
    flags = cv2.INTER_LINEAR | cv2.WARP_INVERSE_MAP
    size = (samples_wide, samples_high)
    warped = cv2.warpPerspective(part, matrix, size, flags=flags, borderMode=cv2.BORDER_REPLICATE)
    if across > 1 or down > 1:
        warped = cv2.resize(warped, (width, height), interpolation=cv2.INTER_AREA)
    return np.asarray(warped, np.uint8)
