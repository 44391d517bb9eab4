"""Random changes to a batch of training crops: scene, view, camera, file, in the order of nature.

Pixels are changed by kornia, PyTorch and OpenCV (docs/adr); the numbers are drawn here, so that a
training stays a pure function of its seed.
"""

from .batch import augment_batch
from .config import PHOTOS, PLATES, AugmentConfig

__all__ = ["PHOTOS", "PLATES", "AugmentConfig", "augment_batch"]
