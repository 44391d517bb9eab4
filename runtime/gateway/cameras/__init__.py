"""Cameras, videos and folders of pictures, each as its newest undamaged picture; docs/cameras.md.

Everything but pictures in files needs the extra ``video``; it is imported when a camera needs it.
"""

from .addresses import redacted
from .camera import Camera
from .options import CameraOptions
from .status import STATES, CameraStatus

__all__ = ["STATES", "Camera", "CameraOptions", "CameraStatus", "redacted"]
