"""Old against new: the same crops, the same machine, the same time; pass, fail or inconclusive.

``pairing`` is the arithmetic of two engines on the same samples, which others use as well; the rest
is the command ``python -m benchmarks.compare OLD NEW`` (see ``cli``).
"""

from __future__ import annotations

from .pairing import Flips, Paired, flips, mcnemar

__all__ = ["Flips", "Paired", "flips", "mcnemar"]
