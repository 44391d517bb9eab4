"""Scores and accuracies of a network in training, by the same decoding as everywhere else."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt
import torch
from torch import nn

from benchmarks.metrics import evaluate
from runtime.arrays import Images
from runtime.decode import decode
from runtime.schema import Schema
from runtime.scores import OperatingPoint

from .data import CropSet, as_tensors
from .losses import head_losses, total_loss

__all__ = ["Evaluation", "evaluate_network", "score"]

_BATCH = 64


@dataclass(frozen=True, slots=True)
class Evaluation:
    """A network on validation crops."""

    loss: float
    exact: float
    head_accuracy: Mapping[str, float]
    logits: Mapping[str, npt.NDArray[np.float32]]


def score(network: nn.Module, crops: CropSet | Images) -> dict[str, npt.NDArray[np.float32]]:
    """Run the network in FP32 and evaluation mode; only some batches of pictures are in memory.

    Args:
        network: Takes (N, H, W, 3) uint8.
        crops: N crops, or (N, H, W, 3) uint8.

    Returns:
        Head name to (N, K) logits.
    """
    device = next(network.parameters()).device
    training = network.training
    network.eval()
    parts: list[dict[str, npt.NDArray[np.float32]]] = []
    with torch.inference_mode():
        for images in _batches(crops):
            batch = torch.from_numpy(images).to(device)
            parts.append({name: value.cpu().numpy() for name, value in network(batch).items()})
    network.train(training)
    return {name: np.concatenate([part[name] for part in parts]) for name in parts[0]}


def _batches(crops: CropSet | Images) -> Iterator[Images]:
    if isinstance(crops, CropSet):
        return crops.image_batches(_BATCH)
    return (crops[start : start + _BATCH] for start in range(0, len(crops), _BATCH))


def evaluate_network(network: nn.Module, crops: CropSet, schema: Schema) -> Evaluation:
    """Return loss and accuracies on ``crops`` at temperature 1."""
    logits = score(network, crops)
    tensors = {name: torch.from_numpy(value) for name, value in logits.items()}
    loss = total_loss(schema, head_losses(schema, tensors, as_tensors(crops.targets)))
    metrics = evaluate(schema, decode(schema, logits, OperatingPoint()), crops.targets)
    heads = {name: head.accuracy.value for name, head in metrics.heads.items()}
    return Evaluation(loss.item(), metrics.exact.value, heads, logits)
