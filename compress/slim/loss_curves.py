"""What each group of channels is worth: how the loss rises as it alone is narrowed.

BatchNorm scales rank the channels of one layer, but say little about layers against each other:
three quarters of a stem are worth more than three quarters of a wide late layer at the same
scales. So every group is cut alone, to a few widths, statistics are measured anew, and the loss on
validation crops is read (as the sensitivity analysis of Li et al., "Pruning Filters for Efficient
ConvNets", ICLR 2017, section 3.2).
"""

from __future__ import annotations

import copy
from collections.abc import Mapping, Sequence
from typing import Final

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor

from benchmarks.command import say
from runtime.schema import Schema
from train.data import CropSet, as_tensors
from train.losses import head_losses, total_loss
from train.network import Network
from train.progress import progress
from train.scoring import score

from .recovery import reestimate_statistics
from .selection import Scores
from .surgery import ChannelGroup, remove_channels

__all__ = ["SHARES", "loss_curves", "marginal_losses"]

SHARES: Final = (0.0, 0.25, 0.5, 0.75)
"""Shares of a group that are removed."""
_CROPS: Final = 256


def loss_curves(
    network: Network,
    groups: Sequence[ChannelGroup],
    scores: Scores,
    schema: Schema,
    images: Sequence[Tensor],
    validation: CropSet,
) -> dict[str, list[float]]:
    """Return group name to the losses with ``SHARES`` of it removed, lowest scores first.

    Args:
        network: On the CPU; stays as it is.
        groups: Of ``network``.
        scores: Of all units.
        schema: Heads of ``network``.
        images: Training batches (N, H, W, 3) uint8 to measure BatchNorm statistics on.
        validation: The loss is read on at most 256 crops of these, evenly drawn.
    """
    index = np.unique(np.linspace(0, len(validation) - 1, _CROPS).astype(np.int64))
    crops, targets = validation.images_at(index), as_tensors(validation.targets.take(index))

    def loss(removed: Mapping[str, Sequence[int]]) -> float:
        cut = copy.deepcopy(network)
        remove_channels(cut, groups, removed)
        reestimate_statistics(cut, images)
        logits = {name: torch.from_numpy(values) for name, values in score(cut, crops).items()}
        return total_loss(schema, head_losses(schema, logits, targets)).item()

    say(f"reading the loss without parts of each of {len(groups)} groups of channels")
    whole, curves = loss({}), dict[str, list[float]]()
    with progress("loss curves", len(groups), 0) as bar:
        for number, group in enumerate(groups, start=1):
            order = np.argsort(scores[group.name], kind="stable")
            removed = [sorted(order[: round(group.width * s)].tolist()) for s in SHARES[1:]]
            curves[group.name] = [whole, *(loss({group.name: units}) for units in removed)]
            bar(number, group.name)
    return curves


def marginal_losses(losses: Sequence[float], width: int) -> npt.NDArray[np.float64]:
    """Return what each unit costs when those of lower score are gone already: (width,), rising.

    Args:
        losses: At ``SHARES``.
        width: Units of the group.
    """
    slopes = np.diff(losses) / np.diff(SHARES)
    # Isotonic regression (max-min formula): the slopes of the greatest convex curve below the
    # losses. A loss that falls is noise, and no unit is worth less than one that went before it.
    size = len(slopes)
    rising = [
        max(0.0, *(min(slopes[i:j].mean() for j in range(k + 1, size + 1)) for i in range(k + 1)))
        for k in range(size)
    ]
    middles = [0.0, *(np.add(SHARES[1:], SHARES[:-1]) / 2), 1.0]
    last = rising[-1] + 1.5 * (rising[-1] - rising[-2])
    places = (np.arange(width) + 0.5) / width
    curve: npt.NDArray[np.float64] = np.interp(places, middles, [0.0, *rising, last]) / width
    return curve
