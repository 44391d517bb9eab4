"""The moving average of a network's weights, which is validated and kept in place of the last ones.

Polyak & Juditsky, "Acceleration of Stochastic Approximation by Averaging", 1992; exponential, with
the usual warm-up: after t steps the old average keeps the share min(decay, (1 + t) / (10 + t)), so
that the random first weights are soon forgotten. BatchNorm's running means and variances are
averaged like weights: the last ones would describe features of other weights.
"""

from __future__ import annotations

import copy

import torch

from .network import Network

__all__ = ["WeightAverage"]


class WeightAverage:
    """An averaged copy of ``network``, from its weights of now on.

    Args:
        network: Stays as it is; the copy lives on its device.
        decay: Share of the old average that stays in every step, in (0, 1).

    Attributes:
        network: The copy; its state dict is all there is to save.
    """

    def __init__(self, network: Network, decay: float) -> None:
        self._decay = decay
        self.network = copy.deepcopy(network).requires_grad_(requires_grad=False)

    @torch.no_grad()
    def update(self, network: Network, step: int) -> None:
        """Take in ``network`` after ``step`` steps, counted from 1."""
        share = 1 - min(self._decay, (1 + step) / (10 + step))
        state, new = self.network.state_dict(), network.state_dict()
        floats = [name for name, value in state.items() if value.is_floating_point()]
        torch._foreach_lerp_([state[n] for n in floats], [new[n] for n in floats], share)
        for name in state.keys() - set(floats):  # counts of batches
            state[name].copy_(new[name])
