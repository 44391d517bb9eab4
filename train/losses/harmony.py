"""GHM-C: the gradient harmonising mechanism for classification.

Li et al., "Gradient Harmonized Single-stage Detector", AAAI 2019. An element's gradient norm is
g = |p - y| (equation 6 ff.). Elements are weighted with the inverse of how many others have a
norm like theirs, so that neither the mass of easy ones nor a few outliers lead the training.

With R_b elements of a batch in bin b, N of them in all and n bins that are not empty, an element
in b weighs N / (S_b n). The paper divides by the number of all bins; by n, as its authors' code
does, the weights' mean is 1 whatever the network has learnt. S_b is the moving average of R_b
(equation 10), moved only where R_b > 0: an empty bin says nothing about the density there. It
starts with the first count of its bin; started at 0, the first weights would be 1 / (1 - momentum)
times too large.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence

import torch
from torch import Tensor, nn

from .config import HarmonyConfig

__all__ = ["GradientHistograms"]


class GradientHistograms(nn.Module):
    """Moving averages of how many elements have which gradient norm.

    Attributes:
        averages: (rows, bins) S_b; part of the state dict, so that a resumed run goes on the same.
    """

    averages: Tensor

    def __init__(self, rows: int, config: HarmonyConfig) -> None:
        super().__init__()
        self._momentum = config.momentum
        self.register_buffer("averages", torch.zeros(rows, config.bins))

    @torch.no_grad()
    def weigh(
        self,
        rows: Sequence[int],
        norms: Sequence[Tensor],
        counts: Sequence[Tensor],
        add: Callable[[Tensor], Tensor],
    ) -> list[Tensor]:
        """Count a batch and return the weight of its every element.

        Args:
            rows: The histogram that each head counts in.
            norms: Each head's gradient norms in [0, 1], (N, E).
            counts: For how much each element counts, (N, E): 0 where its label is missing.
            add: Sums a tensor over all processes, so that each weighs as one that saw all.

        Returns:
            One (N, E) per head.
        """
        total, bins = self.averages.shape
        # A norm of 1 belongs into the last bin.
        places = [
            (norm * bins).long().clamp(0, bins - 1) + row * bins
            for row, norm in zip(rows, norms, strict=True)
        ]
        found = torch.zeros(total * bins, device=self.averages.device)
        for place, count in zip(places, counts, strict=True):
            found.index_add_(0, place.flatten(), count.flatten())
        found = add(found).view(total, bins)
        filled = found > 0
        moved = torch.lerp(found, self.averages, self._momentum)
        moved = torch.where(self.averages > 0, moved, found)
        self.averages.copy_(torch.where(filled, moved, self.averages))
        share = found.sum(1, keepdim=True) / filled.sum(1, keepdim=True).clamp(min=1)
        table = torch.where(filled, share / self.averages, 0.0).flatten()
        return [table[place] for place in places]
