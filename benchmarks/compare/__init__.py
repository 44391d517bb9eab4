"""Old against new: the same crops, the same machine, the same time; pass, fail or inconclusive.

``pairing`` is the arithmetic of two engines on the same samples, which others use as well; the rest
is the command ``python -m benchmarks.compare OLD NEW`` (see ``cli``).
"""

from __future__ import annotations

from .pairing import (
    FEWEST_CROPS,
    INT8_FLIPS,
    Flips,
    Paired,
    allowed_flips,
    flips,
    mcnemar,
)

__all__ = ["FEWEST_CROPS", "INT8_FLIPS", "Flips", "Paired", "allowed_flips", "flips", "mcnemar"]
