"""BatchNorm over the rows of all ranks, on any device: torch's own wants GPUs."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn import functional

from runtime.errors import ConfigError

from .parallel import Ranks

__all__ = ["synced_norms"]


class _Sum(torch.autograd.Function):
    """The sum over all ranks; its gradient is the sum of theirs."""

    @staticmethod
    def forward(ctx: Any, tensor: Tensor, ranks: Ranks) -> Tensor:
        ctx.ranks = ranks
        return ranks.add(tensor.clone())

    @staticmethod
    def backward(ctx: Any, gradient: Tensor) -> tuple[Tensor, None]:
        return ctx.ranks.add(gradient.clone()), None


class SyncedBatchNorm2d(nn.BatchNorm2d):
    """Like ``original`` and with its very parameters, but for the statistics of all ranks."""

    # Of every BatchNorm in the project; torch's may lack them.
    running_mean: Tensor
    running_var: Tensor
    num_batches_tracked: Tensor
    momentum: float

    def __init__(self, original: nn.BatchNorm2d, ranks: Ranks) -> None:
        super().__init__(original.num_features, original.eps, original.momentum)
        self._parameters, self._buffers = original._parameters, original._buffers
        self._ranks = ranks

    def forward(self, features: Tensor) -> Tensor:
        """(N, C, H, W) to the same, normalised over all ranks' N, H and W."""
        if not self.training:
            return super().forward(features)
        values = features.float()
        rows = values.new_full((1,), values.numel() / values.shape[1])
        variance, mean = torch.var_mean(values, (0, 2, 3), correction=0)
        # Each rank fills its own line of the sum. Moments about each rank's own mean, put together
        # as by Chan, Golub & LeVeque, "Updating Formulae", 1979: sums of plain squares would
        # swallow a variance that is small beside its mean.
        own = torch.cat([mean, variance, rows])
        lines = functional.one_hot(torch.tensor(self._ranks.rank), self._ranks.count)
        every: Tensor = _Sum.apply(torch.outer(lines.to(own), own), self._ranks)  # type: ignore[no-untyped-call]
        means, variances, counts = torch.split(every, [*[self.num_features] * 2, 1], 1)
        share = counts / counts.sum()
        mean = (share * means).sum(0)
        variance = (share * (variances + (means - mean).square())).sum(0)
        self._remember(mean, variance, counts.sum())
        scale = self.weight * torch.rsqrt(variance + self.eps)
        normal: Tensor = (values - mean[:, None, None]) * scale[:, None, None]
        normal = normal + self.bias[:, None, None]
        return normal.to(features.dtype)

    @torch.no_grad()
    def _remember(self, mean: Tensor, variance: Tensor, count: Tensor) -> None:
        self.running_mean.lerp_(mean, self.momentum)
        self.running_var.lerp_(variance * count / (count - 1), self.momentum)
        self.num_batches_tracked.add_(1)


@contextmanager
def synced_norms(network: nn.Module, ranks: Ranks) -> Iterator[None]:
    """Let the BatchNorms of ``network`` see the rows of all ranks inside.

    Layers are exchanged for ones with the same names, parameters and buffers, and back at the end.

    Raises:
        ConfigError: a normalisation over the batch of another kind.
    """
    found = {
        name: layer
        for name, layer in network.named_modules()
        if isinstance(layer, nn.modules.batchnorm._BatchNorm)
    }
    other = sorted({type(layer).__name__ for layer in found.values()} - {"BatchNorm2d"})
    if ranks.count > 1 and other:
        raise ConfigError(f"layers of {other} cannot be trained in several processes; use one")
    exchanged = found if ranks.count > 1 else {}
    for name, layer in exchanged.items():
        assert isinstance(layer, nn.BatchNorm2d)
        network.set_submodule(name, SyncedBatchNorm2d(layer, ranks))
    try:
        yield
    finally:
        for name, layer in exchanged.items():
            network.set_submodule(name, layer)
