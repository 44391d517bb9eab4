"""What a camera's thread reads from, whatever stands behind the address."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from enum import Enum
from typing import Any, Protocol, TypeAlias

import numpy as np
import numpy.typing as npt

from runtime.arrays import Image
from runtime.errors import MissingExtraError

from .options import CameraOptions

__all__ = [
    "Arrival",
    "Broken",
    "End",
    "Opener",
    "Picture",
    "Recovery",
    "Source",
    "import_av",
]


class Recovery(Enum):
    """What may help after a source broke."""

    SOON = "soon"
    """A new connection."""
    LATER = "later"
    """A new connection, once a person may have changed something."""
    NEVER = "never"


class Broken(Exception):  # noqa: N818
    """A source that gives no more pictures.

    Args:
        reason: For people; holds no login.
        recovery: What may help.
    """

    def __init__(self, reason: str, recovery: Recovery = Recovery.SOON) -> None:
        super().__init__(reason)
        self.reason = reason
        self.recovery = recovery


class End(Exception):  # noqa: N818
    """A source that came to its end: a file was played, or a camera hung up."""


class Picture(Protocol):
    """A decoded picture; turning it into an image is put off until somebody wants it."""

    @property
    def key(self) -> bool:
        """Whether it needs no other picture."""
        ...

    @property
    def corrupt(self) -> bool:
        """Whether the decoder saw damage."""
        ...

    @property
    def waits(self) -> bool:
        """Whether it may be built on a picture that is shown after it."""
        ...

    @property
    def time_s(self) -> float | None:
        """Its place in the stream."""
        ...

    @property
    def size(self) -> tuple[int, int]:
        """Width and height, px."""
        ...

    def pixels(self) -> npt.NDArray[np.uint8]:
        """Return what to compare with other pictures: (H, W) or more, valid for the moment."""
        ...

    def image(self) -> Image:
        """Return (H, W, 3) uint8 BGR, the caller's own."""
        ...


@dataclass(frozen=True, slots=True)
class Arrival:
    """What one piece of a stream gave."""

    pictures: Sequence[Picture] = ()
    decode_errors: int = 0
    losses: int = 0
    """Packets or pieces known to be missing before it or the next one."""
    time_s: float | None = None
    """Place of the piece in the stream; its pictures may come later, and with other pieces."""


class Source(Protocol):
    """An open stream; one thread calls it."""

    @property
    def description(self) -> str:
        """What it is, such as ``h264``; holds no login."""
        ...

    def read(self) -> Arrival:
        """Wait for the next piece.

        Raises:
            End: there are no more.
            Broken: it failed, or took too long.
        """
        ...

    def close(self) -> None:
        """Free everything."""
        ...


Opener: TypeAlias = Callable[[CameraOptions], Source]


def import_av() -> Any:
    """Return the ``av`` module.

    Raises:
        MissingExtraError: it is not installed.
    """
    try:
        import av
    except ImportError as error:
        raise MissingExtraError(
            "cameras and videos need the package 'av'; run: pip install 'headlight[video]' "
            "(its wheels hold GPL code, see docs/cameras.md)"
        ) from error
    return av
