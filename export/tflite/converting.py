"""From a network to a float TFLite file, by litert-torch.

The converter is given a network that it converts well: BatchNorm folded where the layers stand side
by side, weights laid out as NCHW, and large depthwise kernels cut into strips.
"""

from __future__ import annotations

import contextlib
import copy
import logging
import os
import sys
import tempfile
import warnings
from collections.abc import Iterator, Sequence
from functools import reduce
from pathlib import Path
from typing import Any, Final

import torch
from torch import Tensor, nn
from torch.nn import functional
from torch.nn.utils import fuse_conv_bn_eval

from benchmarks.command import require_packages
from runtime.errors import EngineError
from runtime.preprocess import InputSpec
from runtime.schema import INPUT_NAME, Schema
from train.backbones.layers import MixedDepthwise
from train.graph_memory import GraphMemory
from train.heads import FusedHeads
from train.network import Network

from .flatfile import FlatFile

__all__ = ["EXTRA", "StripConvolution", "convert", "quiet"]

EXTRA: Final = "export-tflite"
_FAST_TAPS: Final = 25
"""Taps of a depthwise kernel up to which XNNPACK has fast kernels; 49 are 18 times slower."""
_ERRORS: Final = (RuntimeError, ValueError, TypeError, KeyError, AttributeError, AssertionError)
"""What torch.export and litert-torch raise for a network that they cannot convert."""
_converted: Final = GraphMemory()


class StripConvolution(nn.Module):
    """A depthwise convolution as a sum of narrower ones that XNNPACK runs fast.

    A 7x7 kernel becomes strips of 7x3, 7x3 and 7x1 columns, each over its part of the padded map:
    the same products, added in another order.
    """

    def __init__(self, conv: nn.Conv2d) -> None:
        super().__init__()
        self.in_channels = conv.in_channels  # networks ask their layers
        self.kernel = conv.kernel_size
        self.padding = _pair(conv.padding)
        self.stride = _pair(conv.stride)
        columns = _FAST_TAPS // self.kernel[0]
        self.starts = range(0, self.kernel[1], columns)
        self.strips = nn.ParameterList(
            conv.weight.detach()[..., start : start + columns].clone() for start in self.starts
        )
        self.bias = conv.bias

    def forward(self, features: Tensor) -> Tensor:
        """(N, C, H, W) to what the convolution gives."""
        (vertical, horizontal), width = self.padding, self.kernel[1]
        parts = list[Tensor]()
        for start, weight in zip(self.starts, self.strips, strict=True):
            left, right = horizontal - start, horizontal - (width - start - weight.shape[3])
            if min(left, right) <= -features.shape[3]:
                continue  # a narrow map: this strip lies in the padding only
            part = functional.pad(features, (left, right, vertical, vertical))  # negative crops
            bias = None if parts else self.bias
            parts.append(
                functional.conv2d(part, weight, bias, self.stride, groups=features.shape[1])
            )
        return reduce(torch.add, parts)


class _IntegerHardswish(nn.Module):
    """Hard-swish as products and a sum that XNNPACK has in INT8; HARD_SWISH it has in float."""

    def forward(self, features: Tensor) -> Tensor:
        """Any shape to the same."""
        return (features * (1 / 6)) * functional.relu6(features + 3.0)


class _Deployed(nn.Module):
    """What is converted: named outputs, and a normalisation of one product and one sum."""

    gain: Tensor
    offset: Tensor

    def __init__(self, network: Network, names: tuple[str, ...]) -> None:
        super().__init__()
        self.backbone, self.heads, self.names = network.backbone, FusedHeads(network.heads), names
        # Integer kernels exist for products and sums, not for divisions.
        self.register_buffer("gain", 1 / network.std)
        self.register_buffer("offset", -network.mean / network.std)

    def forward(self, image: Tensor) -> dict[str, Tensor]:
        """(N, H, W, 3) BGR to head name: (N, K) logits."""
        features = self.backbone((image.float() * self.gain + self.offset).permute(0, 3, 1, 2))
        if len(self.names) == 1:  # litert-torch 0.10 cannot split into one piece
            return {self.names[0]: self.heads.fused(self.heads.heads.pool(features)).flatten(1)}
        return dict(zip(self.names, self.heads(features), strict=True))


def convert(
    network: Network,
    schema: Schema,
    spec: InputSpec,
    *,
    batch: int,
    integer: bool = False,
) -> FlatFile:
    """Return a network as a float TFLite graph with the signature ``serving_default``.

    The same network is converted once in a process.

    Args:
        network: Trained; it stays as it is.
        schema: Its heads, whose names the outputs get.
        spec: Its input.
        batch: Images that the graph takes at once.
        integer: Prepare for a graph without any float: the input is float32 (0 to 255) until it is
            quantised, and hard-swish is taken apart. Else the input is uint8.

    Raises:
        MissingExtraError: litert-torch is not installed.
        EngineError: an operator of the network has no TFLite form.
    """
    require_packages(EXTRA, "litert_torch", "ai_edge_quantizer")
    deployed = _Deployed(_prepared(network, integer=integer), tuple(h.name for h in schema.heads))
    dtype = torch.float32 if integer else torch.uint8
    example = {INPUT_NAME: torch.zeros((batch, *spec.shape), dtype=dtype)}
    made_from = (deployed.eval(), example)
    found = FlatFile(_converted.recall(lambda: _convert(*made_from), *made_from))
    custom = sorted({op.kind for op in found.operators if not op.builtin})
    if custom:
        raise EngineError(
            f"the network needs the operators {custom}, which TFLite has not built in; replace them"
        )
    return found


def _convert(deployed: nn.Module, example: dict[str, Tensor]) -> bytes:
    with quiet() as told:
        try:
            import litert_torch

            return bytes(litert_torch.convert(deployed, sample_kwargs=example).model_content())
        except _ERRORS as error:
            raise EngineError(
                f"litert-torch cannot convert the network: {_reason(error, told())}; replace the "
                "operator, or export for another engine"
            ) from error


def _prepared(network: Network, *, integer: bool) -> Network:
    """Return a copy with folded BatchNorms, strips, and weights as the converter reads them."""
    # litert-torch 0.10 ignores the order of dimensions in memory: weights laid out as NHWC come
    # out scrambled, without an error.
    copied = copy.deepcopy(network).eval().to(memory_format=torch.contiguous_format)  # type: ignore[call-overload]
    _fold_sequences(copied)
    for name, layer in reversed(list(copied.named_modules())):  # parts before what holds them
        if isinstance(layer, nn.Conv2d) and _is_large_depthwise(layer):
            _replace(copied, name, StripConvolution(layer))
        elif isinstance(layer, nn.Hardswish) and integer:
            _replace(copied, name, _IntegerHardswish())
        elif isinstance(layer, MixedDepthwise) and len(layer.parts) == 1:
            # litert-torch 0.10 cannot split into one piece.
            _replace(copied, name, nn.Sequential(layer.parts[0], layer.activation))
    prepared: Network = copied
    return prepared


def _fold_sequences(network: nn.Module) -> None:
    """Fold every BatchNorm that follows a convolution in a sequence; the converter does the rest.

    It cannot do those behind strips, whose sum is no convolution.
    """
    for sequence in network.modules():
        if not isinstance(sequence, nn.Sequential):
            continue
        for place in range(1, len(sequence)):
            conv, norm = sequence[place - 1], sequence[place]
            if type(conv) is nn.Conv2d and type(norm) is nn.BatchNorm2d:
                sequence[place - 1] = fuse_conv_bn_eval(conv, norm)
                sequence[place] = nn.Identity()


def _is_large_depthwise(conv: nn.Conv2d) -> bool:
    rows, columns = conv.kernel_size
    return (
        conv.groups == conv.in_channels == conv.out_channels
        and rows * columns > _FAST_TAPS >= rows
        and conv.dilation == (1, 1)
        and conv.padding_mode == "zeros"
        and not isinstance(conv.padding, str)
    )


def _pair(value: Any) -> tuple[int, int]:
    return (value[0], value[1])


def _replace(network: nn.Module, name: str, layer: nn.Module) -> None:
    parent, _, leaf = name.rpartition(".")
    setattr(network.get_submodule(parent), leaf, layer)


@contextlib.contextmanager
def quiet() -> Iterator[Any]:
    """Keep what the converters print away from the terminal, and yield a function that returns it.

    They write to the process's stderr from C++ and from progress bars, log, and warn.
    """
    os.environ.setdefault("LITERT_TORCH_SHOW_PROGRESS", "n")
    level = logging.root.manager.disable
    sys.stderr.flush()
    with tempfile.NamedTemporaryFile() as log, warnings.catch_warnings():
        warnings.simplefilter("ignore")
        kept = os.dup(2)
        os.dup2(log.fileno(), 2)
        logging.disable(logging.CRITICAL)
        try:
            with Path(os.devnull).open("w") as nowhere, contextlib.redirect_stderr(nowhere):
                yield lambda: _lines(Path(log.name))
        finally:
            logging.disable(level)
            os.dup2(kept, 2)
            os.close(kept)


def _lines(log: Path) -> list[str]:
    return log.read_text(encoding="utf-8", errors="replace").splitlines()


def _reason(error: Exception, log: Sequence[str]) -> str:
    """Say in one line what a converter did not like; its own words run over a hundred."""
    first, *rest = str(error).strip().splitlines() or [""]
    where = [line for line in rest if line.startswith("While executing")]
    found = [line for line in log if " error: " in line]
    words = " ".join([first, *where[:1], *found[:1]])
    return f"{type(error).__name__}: {words}"[:500].rstrip(" ;.")
