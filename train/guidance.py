"""What a training follows beside its labels: the hook for distillation."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from torch import Tensor, nn

__all__ = ["Guidance", "trained_modules"]


class Guidance(nn.Module):
    """Base of what adds to the heads' own losses.

    Parameters of its own are trained together with the network and kept in the run's state; what
    must not be trained, it may not register.

    Attributes:
        identity: JSON values that tell it from others; a run goes on under the same one only.
        own_shares: Head name to the factor on the head's own loss; 1 where not named.
    """

    identity: Mapping[str, Any]
    own_shares: Mapping[str, float]

    def forward(self, network: nn.Module, images: Tensor) -> tuple[dict[str, Tensor], Tensor]:
        """Run the network in training.

        Args:
            network: In training mode.
            images: (N, H, W, 3) uint8, augmented and mixed.

        Returns:
            Its logits, head name to (N, K), and what to add to the heads' own losses: a scalar,
            a mean over the N rows.
        """
        raise NotImplementedError


def trained_modules(network: nn.Module, guidance: Guidance | None) -> nn.Module:
    """Return one module with all parameters that a step changes."""
    return network if guidance is None else nn.ModuleList([network, guidance])
