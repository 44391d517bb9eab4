"""How large the pictures are, and how that fits the network's input."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Final

import numpy as np

from .survey import Survey

__all__ = ["SplitSizes", "measure_sizes"]

_QUANTILES: Final = {"min": 0.0, "1 %": 0.01, "median": 0.5, "99 %": 0.99, "max": 1.0}


@dataclass(frozen=True, slots=True)
class SplitSizes:
    """The pictures of one split."""

    split: str
    crops: int
    quantiles: Mapping[str, Mapping[str, float]]
    """``height``, ``width`` (px) and ``aspect`` (width / height) to name of quantile to value."""
    smaller: float | None
    """Share of pictures that must be scaled up: a side is shorter than the input's."""
    squeezed: float | None
    """Share of pictures whose aspect ratio is more than twice or less than half the input's."""

    def to_object(self) -> Mapping[str, Any]:
        """Return everything for the report."""
        return {
            "crops": self.crops,
            **self.quantiles,
            "smaller_than_input": self.smaller,
            "squeezed": self.squeezed,
        }


def measure_sizes(survey: Survey, imgsz: tuple[int, int] | None) -> Sequence[SplitSizes]:
    """Measure every split.

    Args:
        survey: The crops.
        imgsz: Height and width of the network's input, px; None where it is not known yet.
    """
    found = []
    for name in survey.splits:
        size = survey.facts.size[survey.of_split(name)]
        aspect = size[:, 1] / size[:, 0]
        columns = {"height": size[:, 0], "width": size[:, 1], "aspect": aspect}
        smaller = squeezed = None
        if imgsz is not None and len(size):
            smaller = float((size < np.asarray(imgsz)).any(axis=1).mean())
            stretch = np.abs(np.log2(aspect * imgsz[0] / imgsz[1]))
            squeezed = float((stretch > 1).mean())
        quantiles = {
            what: {label: float(np.quantile(values, q)) for label, q in _QUANTILES.items()}
            for what, values in columns.items()
            if len(values)
        }
        found.append(SplitSizes(name, len(size), quantiles, smaller, squeezed))
    return found
