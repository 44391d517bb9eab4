"""From light to stored pixels: blur, resolution, noise, sharpening, compression."""

from __future__ import annotations

import cv2
import numpy as np

from .arrays import Image, Picture, as_image, as_picture, chance

__all__ = ["record"]


def record(scene: Picture, rng: np.random.Generator, *, strength: float) -> Image:
    """Photograph ``scene`` (2h, 2w, 3) in [0, 1] as an image (h, w, 3) uint8 BGR.

    Args:
        scene: What reaches the lens, at twice the final resolution.
        rng: Source of all chance.
        strength: 0 clean to 1 worst.
    """
    height, width = scene.shape[0] // 2, scene.shape[1] // 2
    scene = _blur(scene, rng, strength)
    # The plate was this wide on the sensor; what the crop has beyond is interpolation.
    seen = width * (1 - 0.55 * strength * rng.random())
    seen = max(min(58.0, float(width)), seen)
    low = (round(seen), max(14, round(height * seen / width)))
    small = as_picture(cv2.resize(scene, low, interpolation=cv2.INTER_AREA))
    small = _expose(small, rng, strength)
    if chance(rng, 0.6):
        small = _sharpen(small, rng)
    if chance(rng, 0.35):
        # Video and stills were compressed before the crop was scaled to its final size.
        small = as_picture(_compress(_quantize(small), rng, strength) / np.float32(255))
    if low != (width, height):
        method = cv2.INTER_LINEAR if chance(rng, 0.5) else cv2.INTER_CUBIC
        small = as_picture(cv2.resize(small, (width, height), interpolation=method))
    image = _quantize(small)
    return _compress(image, rng, strength) if chance(rng, 0.6) else image


def _quantize(picture: Picture) -> Image:
    return as_image(np.clip(picture * 255 + 0.5, 0, 255).astype(np.uint8))


def _blur(scene: Picture, rng: np.random.Generator, strength: float) -> Picture:
    # Sizes follow the height: a plate twice as large is blurred twice as wide.
    height = scene.shape[0]
    sigma = height * (0.007 + 0.024 * strength * rng.random() ** 2)
    scene = as_picture(cv2.GaussianBlur(scene, (0, 0), sigma))
    if chance(rng, 0.25 * strength):
        length = max(3, round(height * rng.uniform(0.03, 0.14) * strength))
        scene = as_picture(cv2.filter2D(scene, -1, _motion(length, rng)))
    return scene


def _motion(length: int, rng: np.random.Generator) -> Picture:
    """Kernel of a straight movement of ``length`` pixels, mostly along the road."""
    angle = rng.normal(0, 0.5) if chance(rng, 0.6) else rng.uniform(0, np.pi)
    side = length | 1
    kernel = np.zeros((side, side), np.float32)
    reach = np.array([np.cos(angle), np.sin(angle)]) * (length - 1) / 2
    centre = side // 2
    start = tuple(int(v) for v in np.round(centre - reach))
    stop = tuple(int(v) for v in np.round(centre + reach))
    cv2.line(kernel, start, stop, (1.0,), 1)
    return as_picture(kernel / kernel.sum())


def _expose(picture: Picture, rng: np.random.Generator, strength: float) -> Picture:
    """Add shot and read noise: sometimes fine, sometimes in blotches of several pixels."""
    level = 0.004 + 0.04 * strength * rng.random() ** 2.5
    noise = rng.standard_normal(picture.shape, dtype=np.float32)
    if chance(rng, 0.4):
        noise = as_picture(cv2.GaussianBlur(noise, (0, 0), 0.8) * 2.0)
    if chance(rng, 0.5):
        noise[..., 1:] = noise[..., :1]  # luminance noise only
    return as_picture(picture + noise * level * np.sqrt(0.08 + picture))


def _sharpen(picture: Picture, rng: np.random.Generator) -> Picture:
    """Unsharp mask: the dark halo that cameras draw round characters."""
    soft = cv2.GaussianBlur(picture, (0, 0), rng.uniform(0.8, 1.8))
    return as_picture(picture + (picture - soft) * rng.uniform(0.4, 2.2))


def _compress(image: Image, rng: np.random.Generator, strength: float) -> Image:
    quality = int(95 - 60 * strength * rng.random())
    _, coded = cv2.imencode(".jpg", image, [cv2.IMWRITE_JPEG_QUALITY, quality])
    decoded = cv2.imdecode(coded, cv2.IMREAD_COLOR)
    return image if decoded is None else as_image(decoded)
