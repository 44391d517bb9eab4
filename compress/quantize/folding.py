"""BatchNorm folded into the convolutions, as it is deployed, and back into a checkpoint's form."""

from __future__ import annotations

import copy
from collections import defaultdict
from collections.abc import Mapping
from typing import Any, Final

import torch
from torch import Tensor, nn
from torch.nn.utils import fuse_conv_bn_eval

from runtime.errors import ParityError
from runtime.preprocess import InputSpec
from train.network import Network

__all__ = ["fold_norms", "unfold_norms"]

_TOLERANCE: Final = 1e-3
"""Largest difference of a logit, as a share of the largest one, that rounding explains."""


def fold_norms(network: Network, spec: InputSpec) -> tuple[Network, Mapping[str, str]]:
    """Return a copy in which every BatchNorm right behind a convolution of its own is part of it.

    One that reads several convolutions, or has no scales or statistics of its own, stays.

    Args:
        network: Trained; it stays as it is.
        spec: Its input.

    Returns:
        The copy, in evaluation mode, and convolution to BatchNorm by their names.

    Raises:
        ParityError: the copy computes something else: a convolution's output is also read past its
            BatchNorm.
    """
    folded = copy.deepcopy(network).eval()
    generator = torch.Generator().manual_seed(0)
    crops = torch.randint(0, 256, (2, *spec.shape), dtype=torch.uint8, generator=generator)
    pairs, before = _follow(folded, crops)
    for conv, norm in pairs.items():
        fused = fuse_conv_bn_eval(_layer(folded, conv), _layer(folded, norm))
        _replace(folded, conv, fused.requires_grad_())  # its bias is new and would not be trained
        _replace(folded, norm, nn.Identity())
    with torch.no_grad():
        after = folded(crops)
    for head, logits in before.items():
        apart = float((logits - after[head]).abs().max())
        if not apart <= _TOLERANCE * max(1.0, float(logits.abs().max())):
            raise ParityError(
                f"folding BatchNorm changes head {head!r} by {apart:.4f}; the network reads a "
                "convolution's output past its BatchNorm and cannot be trained in INT8"
            )
    return folded, pairs


def unfold_norms(network: Network, folded: Network, pairs: Mapping[str, str]) -> None:
    """Fill ``network`` with the weights of its folded form, in place.

    The BatchNorms that were folded keep a shift and else do nothing.
    """
    weights = folded.state_dict()
    with torch.no_grad():
        for name, value in network.state_dict().items():
            if name in weights:
                value.copy_(weights[name])
        for conv, name in pairs.items():
            norm, layer = _layer(network, name), _layer(network, conv)
            if layer.bias is not None:
                layer.bias.zero_()
            norm.weight.fill_(1)
            norm.bias.copy_(weights[f"{conv}.bias"])
            norm.running_mean.zero_()
            norm.running_var.fill_(1 - norm.eps)


def _follow(network: Network, crops: Tensor) -> tuple[dict[str, str], dict[str, Tensor]]:
    """Return which convolution is read by a BatchNorm that reads nothing else, and the logits."""
    made: list[tuple[Tensor, str]] = []  # holds the tensors, so that no address is used twice
    readers: dict[str, set[str]] = defaultdict(set)
    sources: dict[str, set[str]] = defaultdict(set)

    def note(name: str) -> Any:
        def conv(_: nn.Module, __: Any, output: Tensor) -> None:
            made.append((output, name))

        return conv

    def match(name: str) -> Any:
        def norm(_: nn.Module, inputs: tuple[Tensor, ...], __: Any) -> None:
            conv = next((conv for output, conv in made if output is inputs[0]), "")
            readers[conv].add(name)
            sources[name].add(conv)

        return norm

    hooks = [
        layer.register_forward_hook((note if type(layer) is nn.Conv2d else match)(name))
        for name, layer in network.named_modules()
        if type(layer) is nn.Conv2d
        or (type(layer) is nn.BatchNorm2d and layer.affine and layer.track_running_stats)
    ]
    with torch.no_grad():
        logits = network(crops)
    for hook in hooks:
        hook.remove()
    pairs = {
        conv: norm
        for norm, convs in sources.items()
        for conv in convs
        if conv and len(convs) == len(readers[conv]) == 1
    }
    return pairs, logits


def _layer(network: nn.Module, name: str) -> Any:
    return network.get_submodule(name)


def _replace(network: nn.Module, name: str, layer: nn.Module) -> None:
    parent, _, leaf = name.rpartition(".")
    setattr(network.get_submodule(parent), leaf, layer)
