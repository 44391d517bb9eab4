"""How well confidence ranks answers: the risk among those accepted, at every share accepted.

After Geifman and El-Yaniv, "Selective Classification for Deep Neural Networks", NeurIPS 2017,
section 2: coverage is the share of samples that a threshold accepts, selective risk the share of
wrong ones among them. The area under the curve (AURC) is the mean risk over all N coverages. It
needs no threshold and no calibration, only the order. The excess over the area that a perfect order
of the same answers has (E-AURC; Geifman et al., "Bias-Reduced Uncertainty Estimation for Deep
Neural Classifiers", ICLR 2019, section 3) takes the accuracy out of it.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Final

import numpy as np
import numpy.typing as npt

from runtime.arrays import Bools
from runtime.errors import DataError

__all__ = ["RiskCoverage", "risk_coverage"]

_SHOWN: Final = 200
"""Points of the curve in a report."""


@dataclass(frozen=True, slots=True)
class RiskCoverage:
    """The curve over N samples, most confident first; all (N,)."""

    coverage: npt.NDArray[np.float64]
    """1/N, 2/N, ... 1."""
    risk: npt.NDArray[np.float64]
    """Expected share of wrong ones, equally confident samples being accepted in any order."""
    threshold: npt.NDArray[np.float64]
    """Confidence of the last sample accepted."""

    @property
    def area(self) -> float:
        """AURC, in [0, 1]; NaN without samples."""
        return float(self.risk.mean()) if len(self.risk) else float("nan")

    @property
    def excess(self) -> float:
        """E-AURC: the area over that of a perfect order; NaN without samples."""
        count = len(self.risk)
        if not count:
            return float("nan")
        wrong = round(float(self.risk[-1]) * count)
        accepted = np.arange(1, count + 1)
        perfect = np.maximum(accepted - (count - wrong), 0) / accepted
        return self.area - float(perfect.mean())

    def to_object(self) -> Mapping[str, Any]:
        """Return the areas and some points of the curve for a report."""
        count = len(self.risk)
        shown = np.unique(np.linspace(0, count - 1, min(count, _SHOWN)).astype(np.int64))
        return {
            "area": self.area,
            "excess": self.excess,
            "coverage": self.coverage[shown],
            "risk": self.risk[shown],
            "threshold": self.threshold[shown],
        }


def risk_coverage(confidence: npt.NDArray[np.float64], right: Bools) -> RiskCoverage:
    """Return the risk-coverage curve of N answers.

    Args:
        confidence: (N,); only its order counts.
        right: (N,).

    Raises:
        DataError: a confidence is NaN or infinite.
    """
    if not np.isfinite(confidence).all():
        raise DataError("answers cannot be ranked: a confidence is NaN or infinite")
    order = np.argsort(-confidence, kind="stable")
    ranked = confidence[order]
    _, group, sizes = np.unique(-ranked, return_inverse=True, return_counts=True)
    # Every sample of equal confidence counts as the mean of its group: the expectation over all
    # orders within it.
    wrong = np.bincount(group, weights=~right[order]) / sizes
    accepted = np.arange(1, len(ranked) + 1)
    return RiskCoverage(
        coverage=accepted / max(len(ranked), 1),
        risk=np.cumsum(wrong[group]) / accepted,
        threshold=ranked,
    )
