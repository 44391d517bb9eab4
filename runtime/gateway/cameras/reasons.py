"""What FFmpeg's and the kernel's errors mean to whoever set up a camera."""

from __future__ import annotations

import errno
from collections.abc import Mapping
from typing import Any, Final

from .addresses import Kind
from .source import Recovery

__all__ = ["reason_of"]

_DEVICE_ERRORS: Final[Mapping[int, tuple[str, Recovery]]] = {
    errno.ENOENT: ("there is no such device; is the camera plugged in?", Recovery.SOON),
    errno.ENODEV: ("the device gives no video, or was unplugged", Recovery.SOON),
    errno.EBUSY: ("another program uses the device", Recovery.SOON),
    errno.EACCES: ("the device may not be opened; is the user in group video?", Recovery.LATER),
    # It knows no question of V4L2's.
    errno.ENOTTY: ("the device is no camera", Recovery.LATER),
}
_UNKNOWN: Final = ("", Recovery.SOON)


def reason_of(av: Any, error: Exception, kind: Kind) -> tuple[str, Recovery]:
    """Return what an error means, "" if nobody knows, and what may help.

    Args:
        av: The module.
        error: Of opening or reading.
        kind: What was opened or read.
    """
    if kind is Kind.DEVICE:
        return _DEVICE_ERRORS.get(getattr(error, "errno", None) or 0, _UNKNOWN)
    known: Mapping[type[Exception], tuple[str, Recovery]] = {
        av.error.HTTPUnauthorizedError: ("the login was refused (401)", Recovery.LATER),
        av.error.HTTPForbiddenError: ("the login was refused (403)", Recovery.LATER),
        av.error.HTTPNotFoundError: ("the camera has no such stream (404)", Recovery.LATER),
        av.error.ConnectionRefusedError: ("the connection was refused", Recovery.SOON),
    }
    return known.get(type(error), _UNKNOWN)
