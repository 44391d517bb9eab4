"""A detector for the gateway in a few lines: blue plates, by their colour and shape.

In gateway.toml, with this folder on PYTHONPATH::

    [camera.reading.regions]
    detector = "blue_plate_detector:make"

It is an example of the interface, not a detector to rely on; yours is probably a network.
"""

from collections.abc import Sequence

import cv2
import numpy as np

from runtime.arrays import Image
from runtime.gateway.finding import Finder, Region

LOWEST, HIGHEST = (100, 110, 60), (130, 255, 255)
"""Hue (0 to 179), saturation, value of the paint."""


def make() -> Finder:
    """Called once per camera."""
    return find


def find(image: Image) -> Sequence[Region]:
    """Return plates in (H, W, 3) uint8 BGR; most confident is what fills its rectangle best."""
    paint = cv2.inRange(cv2.cvtColor(image, cv2.COLOR_BGR2HSV), LOWEST, HIGHEST)
    # Characters are holes in the paint; a plate is wider than high.
    paint = cv2.morphologyEx(paint, cv2.MORPH_CLOSE, np.ones((5, 17), np.uint8))
    regions = []
    for outline in cv2.findContours(paint, cv2.RETR_EXTERNAL, cv2.CHAIN_APPROX_SIMPLE)[0]:
        x, y, width, height = cv2.boundingRect(outline)
        filled = cv2.contourArea(outline) / (width * height)
        if width >= 60 and 1.8 <= width / height <= 5 and filled > 0.6:
            corners = [[x, y], [x + width, y], [x + width, y + height], [x, y + height]]
            regions.append(Region(np.asarray(corners, np.float32), filled))
    return regions
