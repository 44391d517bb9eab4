"""What removed channels leave behind, and how data brings it back without training.

A channel whose scale is 0 still puts out relu(shift), a constant that the next layer has learnt to
live with. Where a BatchNorm follows, the constant only moved the mean, and statistics measured
again absorb it; behind the last features, the heads' biases do.
"""

from __future__ import annotations

from collections.abc import Sequence
from contextlib import closing
from itertools import islice
from typing import Final

import torch
from torch import Tensor, nn

from train.augment import augment_batch
from train.data import CropSet, training_batches
from train.loop_config import LoopConfig
from train.network import Network

__all__ = ["match_mean_logits", "mean_logits", "reestimate_statistics", "training_images"]

_FAR: Final = 1_000_000
"""Step whose batches measure statistics: no phase trains on it."""


def training_images(crops: CropSet, loop: LoopConfig, number: int) -> list[Tensor]:
    """Return batches (N, H, W, 3) uint8 as a training by ``loop`` would see them.

    Args:
        crops: Training crops.
        loop: Its sampling, augmentation, batch and seed.
        number: How many batches.
    """
    count, seed = loop.batch, loop.seed
    batches = training_batches(crops, loop.sampling, batch=count, seed=seed, start=_FAR)
    with closing(batches):
        return [
            augment_batch(
                batch.images, loop.augment, seed=seed, step=step, rows=(0, count), batch=count
            )
            for step, batch in enumerate(islice(batches, number), start=_FAR)
        ]


def reestimate_statistics(network: Network, images: Sequence[Tensor]) -> None:
    """Measure the BatchNorm statistics of ``network`` anew, in place.

    The plain average over all batches (Wu & Johnson, "Rethinking 'Batch' in BatchNorm", 2021,
    section 3), because moving averages still remember the removed channels. Worth tens of points
    after pruning.

    Args:
        network: Left in evaluation mode.
        images: Batches (N, H, W, 3) uint8 as in training.
    """
    layers = [layer for layer in network.modules() if isinstance(layer, nn.BatchNorm2d)]
    momenta = [layer.momentum for layer in layers]
    for layer in layers:
        layer.reset_running_stats()
        layer.momentum = None  # torch's way to say: cumulative average
    network.train()
    with torch.no_grad():
        for batch in images:
            network(batch)
    for layer, momentum in zip(layers, momenta, strict=True):
        layer.momentum = momentum
    network.eval()


def mean_logits(network: Network, images: Sequence[Tensor]) -> dict[str, Tensor]:
    """Return head name to the mean logits (K,) over all ``images``, in evaluation mode."""
    network.eval()
    with torch.inference_mode():
        outputs = [network(batch) for batch in images]
    return {head: torch.cat([output[head] for output in outputs]).mean(0) for head in outputs[0]}


def match_mean_logits(
    network: Network, images: Sequence[Tensor], wanted: dict[str, Tensor]
) -> None:
    """Move the heads' biases so that the mean logits are ``wanted``, in place.

    Bias correction (Nagel et al., "Data-Free Quantization through Weight Equalization and Bias
    Correction", ICCV 2019, section 4.2), here for pruning.
    """
    found = mean_logits(network, images)
    with torch.no_grad():
        for head, layer in network.heads.layers().items():
            layer.bias.add_(wanted[head] - found[head])
