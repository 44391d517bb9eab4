"""Names for the arrays that cross module borders; shapes stand in the docstrings that use them."""

from __future__ import annotations

from collections.abc import Mapping
from typing import TypeAlias

import numpy as np
import numpy.typing as npt

__all__ = ["Bools", "Floats", "Image", "Images", "Integers", "Logits"]

# TypeAlias, not the ``type`` statement: JetPack 6 has Python 3.10.
Image: TypeAlias = npt.NDArray[np.uint8]
"""(H, W, 3) uint8, blue first as OpenCV reads it."""
Images: TypeAlias = npt.NDArray[np.uint8]
"""(N, H, W, 3) uint8 at the network's input size."""
Floats: TypeAlias = npt.NDArray[np.floating]
Integers: TypeAlias = npt.NDArray[np.integer]
Bools: TypeAlias = npt.NDArray[np.bool_]
Logits: TypeAlias = Mapping[str, npt.NDArray[np.float32]]
"""Head name to (N, K) scores before softmax or sigmoid, in schema order."""
