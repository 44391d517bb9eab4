"""How strongly training crops are changed, and the two mixtures to start from."""

from __future__ import annotations

from dataclasses import astuple, dataclass
from typing import Final

from runtime.errors import ConfigError

__all__ = ["PHOTOS", "PLATES", "AugmentConfig"]


@dataclass(frozen=True, slots=True, kw_only=True)
class AugmentConfig:
    """How strongly crops are changed; 0 everywhere leaves them as they are.

    The defaults suit texts on small, wide crops; lengths grow with the crop.

    Raises:
        ConfigError: a value outside [0, 1].
    """

    geometry: float = 0.6
    """Perspective, shift, scale and rotation: 1 moves each corner by up to 12 % of the side."""
    tilt: float = 0.35
    """Probability of a slanted crop: a text seen from the side, in an upright box round it."""
    crop: float = 0.0
    """Cutting out and enlarging: 1 keeps boxes of down to 30 % of the area; 0 for texts."""
    flip: float = 0.0
    """Probability of a horizontal flip; 0 for texts."""
    colour: float = 0.6
    """Brightness, contrast, gamma, saturation and colour cast."""
    light: float = 0.2
    """Probability of a shadow, half of the time with a glare."""
    erase: float = 0.15
    """Probability of a patch painted over, as by dirt or a thing in front."""
    erase_area: float = 0.02
    """Largest share of the crop that the patch covers."""
    blur: float = 0.25
    """Probability of defocus or motion blur."""
    noise: float = 0.3
    """Probability of sensor noise."""
    resolution: float = 0.15
    """Probability of a coarser resolution, 40 to 80 % of the input's."""
    jpeg: float = 0.2
    """Probability of JPEG artefacts, quality 30 to 90, at the coarser resolution if both fall."""

    def __post_init__(self) -> None:
        values = astuple(self)
        if not all(0 <= value <= 1 for value in values):
            raise ConfigError(f"augmentation strengths must lie in [0, 1], got {list(values)}")


PLATES: Final = AugmentConfig()
"""Number plates and other texts: all characters stay in the crop."""

PHOTOS: Final = AugmentConfig(
    geometry=0.5,
    tilt=0.0,
    crop=0.6,
    flip=0.5,
    colour=0.25,
    light=0.15,
    erase=0.25,
    erase_area=0.1,
    blur=0.1,
    noise=0.15,
    resolution=0.15,
    jpeg=0.2,
)
"""Things and people: parts may be missing, colours stay what they are called."""
