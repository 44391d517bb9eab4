"""From the face to the light that reaches the camera: car, pose, crop, shadows, illumination.

Light is multiplied onto reflectance and then clipped, as a sensor does: the same blue paint turns
cyan when over-exposed, navy in shade and brown under sodium lamps, without a rule for each.
"""

from __future__ import annotations

from typing import Final

import cv2
import numpy as np

from .arrays import Picture, as_picture, blend, chance, flat, shade
from .layout import Layout

__all__ = ["corners", "light", "photograph", "surroundings", "wear"]

_CASTS: Final = (
    (1.0, 1.0, 1.0),
    (1.15, 1.0, 0.9),  # overcast, bluish
    (1.05, 0.95, 1.05),  # violet tint of surveillance cameras
    (0.72, 0.95, 1.1),  # afternoon
    (0.4, 0.72, 1.1),  # sodium lamps
    (0.7, 1.15, 0.75),  # green of mis-set white balance
    (1.0, 1.15, 0.85),  # cyan
)
"""Illuminants as gains for blue, green, red."""


def photograph(
    face: Picture, layout: Layout, rng: np.random.Generator, *, strength: float
) -> Picture:
    """Place the plate before a car, crop it, light it: (h, w, 3) in [0, 1], twice the final size.

    Args:
        face: Reflectance of the plate.
        layout: Its size in millimetres.
        rng: Source of all chance.
        strength: 0 clean to 1 worst.
    """
    width, height = _output_size(layout, rng)
    work = (width * 2, height * 2)
    quad = _pose(work, layout, rng, strength)
    worn = wear(face, rng, strength)
    matrix = cv2.getPerspectiveTransform(corners(face.shape[1], face.shape[0]), quad)
    ground = surroundings(work, quad, rng)
    scene = as_picture(
        cv2.warpPerspective(
            worn,
            matrix,
            work,
            dst=ground,
            flags=cv2.INTER_LINEAR,
            borderMode=cv2.BORDER_TRANSPARENT,
        )
    )
    return light(scene, rng, strength)


def _output_size(layout: Layout, rng: np.random.Generator) -> tuple[int, int]:
    """Draw the size of the crop; detectors and data sets stretch plates, so the aspect varies."""
    true_aspect = layout.width_mm / layout.height_mm
    aspect = true_aspect * float(np.exp(rng.uniform(-0.12, 0.35)))
    width = float(np.exp(rng.uniform(np.log(80), np.log(190))))
    if true_aspect < 2.5:
        # Two rows, or the large characters of US plates: as legible at fewer pixels.
        width = max(64.0, width * 0.8)
    return round(width), max(20, round(width / aspect))


def corners(width: float, height: float) -> Picture:
    """Corners of a rectangle at the origin, (4, 2), clockwise from top left."""
    return as_picture(np.array([(0, 0), (width, 0), (width, height), (0, height)], np.float32))


def _pose(
    work: tuple[int, int], layout: Layout, rng: np.random.Generator, strength: float
) -> Picture:
    """Corners of the plate in the crop, (4, 2) pixels, clockwise from top left.

    Three kinds of detector: tight boxes that may cut the border off, loose ones with a margin, and
    upright boxes round a tilted plate.
    """
    span = np.array([1.0, 1.0], np.float32)
    quad = corners(1, 1) - 0.5
    draw = rng.random()
    if draw < _upright_share(strength):
        slope, lean = rng.normal(0, 0.3) * strength, rng.normal(0, 0.5) * strength
        # Shear in units of the plate: a drop over the width, and a lean of the uprights, both in
        # heights; an upright box round the result is what a detector gives.
        quad = quad @ np.array([[1, slope * 2.2], [lean * 0.35, 1]], np.float32)
        span = quad.max(0) - quad.min(0)
        margin = rng.normal(0.0, 0.025, 4)
    elif draw < 0.7:
        # Tight boxes cut into the border, hardly into the characters.
        free_x = min(cell.x_mm for cell in layout.cells) / layout.width_mm
        free_y = min(cell.y_mm for cell in layout.cells) / layout.height_mm
        across = rng.uniform(-0.9 * min(free_x, 0.1), 0.02, 2)
        margin = np.concatenate([across, rng.uniform(-0.75 * min(free_y, 0.25), 0.04, 2)])
    else:
        margin = np.concatenate([rng.uniform(-0.01, 0.1, 2), rng.uniform(-0.06, 0.22, 2)])
    if draw >= _upright_share(strength):
        angle = rng.normal(0, 0.05) * strength
        quad = quad @ np.array([[1, angle * 3], [-angle / 3, 1]], np.float32)
    quad = quad + rng.normal(0, 0.018 * strength, (4, 2))
    low = -span / 2 - margin[[0, 2]]
    high = span / 2 + margin[[1, 3]]
    return as_picture((quad - low) / (high - low) * work)


def _upright_share(strength: float) -> float:
    """Share of plates whose crop is an upright box round a tilted plate."""
    return 0.45 * strength + 0.15


def _noise(size: tuple[int, int], cells: int, rng: np.random.Generator) -> Picture:
    """Smooth noise in about [-1, 1], (h, w)."""
    seeds = rng.uniform(-1, 1, (max(2, cells // 2), cells)).astype(np.float32)
    return as_picture(cv2.resize(seeds, size, interpolation=cv2.INTER_CUBIC))


def surroundings(work: tuple[int, int], quad: Picture, rng: np.random.Generator) -> Picture:
    """Bumper, grille and plate frame, (h, w, 3)."""
    tone = float(rng.choice((0.04, 0.1, 0.2, 0.45, 0.8)))
    tint = 1 + rng.normal(0, 0.06, 3)
    if chance(rng, 0.12):
        tint = rng.uniform(0.2, 1.6, 3)  # painted car
    grain = as_picture(1 + np.float32(0.35) * _noise(work, 6, rng))
    scene = shade(flat(np.clip(tone * tint, 0, 1), work), grain)
    for _ in range(int(rng.integers(0, 4))):
        tone = float(rng.choice((0.03, 0.1, 0.3, 0.7, 0.95)))
        y = rng.uniform(0, work[1], 2)
        ends = [(-5, round(float(y[0]))), (work[0] + 5, round(float(y[0] + (y[1] - y[0]) * 0.3)))]
        cv2.line(scene, ends[0], ends[1], (tone, tone, tone), int(rng.integers(2, 12)))
    if chance(rng, 0.45):
        rim = float(rng.choice((0.05, 0.12, 0.5, 0.85)))
        thick = max(2, round(work[1] * rng.uniform(0.03, 0.14)))
        cv2.polylines(
            scene,
            [np.round(quad).astype(np.int32)],
            isClosed=True,
            color=(rim, rim, rim),
            thickness=thick * 2,
        )
    return scene


def wear(face: Picture, rng: np.random.Generator, strength: float) -> Picture:
    """Mud, scratches and bleached patches."""
    size = (face.shape[1], face.shape[0])
    if chance(rng, 0.22 * strength):
        mud = np.clip(_noise(size, int(rng.integers(5, 20)), rng) - rng.uniform(0.25, 0.7), 0, 1)
        cover = as_picture(np.clip(mud * 2.5, 0, rng.uniform(0.3, 0.8)))
        tone = rng.uniform(0.15, 0.5)
        face = blend(face, np.array([0.75, 0.9, 1.0]) * tone, cover)
    if chance(rng, 0.2 * strength):
        face = face.copy()
        for _ in range(int(rng.integers(1, 5))):
            centre = (int(rng.integers(size[0])), int(rng.integers(size[1])))
            axes = (int(rng.integers(1, 6)), int(rng.integers(1, 5)))
            tone = rng.uniform(0, 1)
            cv2.ellipse(face, centre, axes, rng.uniform(0, 180), 0, 360, (tone, tone, tone), -1)
    return face


def light(scene: Picture, rng: np.random.Generator, strength: float) -> Picture:
    """Light a scene of reflectances, (h, w, 3), as lamps, sun, shadows and haze do."""
    size = (scene.shape[1], scene.shape[0])
    gain = np.array(_CASTS[_cast(rng, strength)]) ** rng.uniform(0.4, 1.0)
    exposure = float(np.exp(rng.normal(0.0, 0.45 * strength)))
    if chance(rng, 0.12 * strength):
        exposure *= rng.uniform(1.3, 2.2)  # headlights, flash, low sun
    elif chance(rng, 0.2 * strength):
        exposure *= rng.uniform(0.3, 0.65)  # dusk
    level = np.full((size[1], size[0]), exposure, np.float32)
    level *= _ramp(size, rng, 0.35 * strength)
    if chance(rng, 0.18 * strength):
        level *= _shadow(size, rng)
    scene = shade(scene, level, gain)
    if chance(rng, 0.1 * strength):
        spot = _glare(size, rng) * np.float32(rng.uniform(0.2, 0.7))
        scene = as_picture(scene + cv2.merge([spot] * 3))
    # A shoulder instead of a hard clip, as camera tone curves have.
    scene = as_picture(np.where(scene > 0.8, 1 - 0.04 / np.maximum(scene - 0.6, 0.2), scene))
    if chance(rng, 0.45 * strength + 0.05):
        # Haze and cheap optics lift black towards grey: text only slightly brighter than ground.
        veil, share = rng.uniform(0.15, 0.55), rng.uniform(0.1, 0.6) * strength
        scene = scene * (1 - share) + veil * share
    if chance(rng, 0.4 * strength):
        grey = scene.mean(axis=2, keepdims=True)
        scene = grey + (scene - grey) * rng.uniform(0.45, 1.5)
    return as_picture(np.clip(scene, 0, 1))


def _cast(rng: np.random.Generator, strength: float) -> int:
    return int(rng.integers(len(_CASTS))) if chance(rng, 0.6 * strength) else 0


def _ramp(size: tuple[int, int], rng: np.random.Generator, depth: float) -> Picture:
    """Brightness that changes evenly across the crop, around 1."""
    ends = (1 + rng.uniform(-depth, depth, (2, 2))).astype(np.float32)
    return as_picture(cv2.resize(ends, size, interpolation=cv2.INTER_LINEAR))


def _shadow(size: tuple[int, int], rng: np.random.Generator) -> Picture:
    """A shadow edge that crosses the plate, 1 in light."""
    x, y = rng.uniform(0.1, 0.9), rng.uniform(0.2, 0.8)
    angle = rng.uniform(0, 2 * np.pi)
    columns = np.linspace(0, 1, size[0], dtype=np.float32)[None, :] - x
    rows = np.linspace(0, 1, size[1], dtype=np.float32)[:, None] - y
    distance = np.cos(angle) * columns * 3 + np.sin(angle) * rows
    softness = rng.uniform(0.02, 0.3)
    inside = 1 / (1 + np.exp(np.clip(-distance / softness, -30, 30)))
    return as_picture(1 - inside * rng.uniform(0.3, 0.65))


def _glare(size: tuple[int, int], rng: np.random.Generator) -> Picture:
    """One specular spot, 1 at its centre."""
    x, y = rng.uniform(0, 1), rng.uniform(0, 1)
    radius = rng.uniform(0.05, 0.35)
    columns = (np.linspace(0, 1, size[0], dtype=np.float32)[None, :] - x) / radius
    rows = (np.linspace(0, 1, size[1], dtype=np.float32)[:, None] - y) / (radius * 2.5)
    return as_picture(np.exp(-(columns**2 + rows**2)))
