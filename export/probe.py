"""A probe network: proof that every output of an engine is the head that it says it is.

Comparing answers on real crops does not show two heads of the same size swapped if they happen to
answer alike there, such as two attributes that no crop has. A probe does: a tiny network of the
same schema, input and pool, written and built by the same code as the real one, whose heads answer
whatever they see with a pattern that no other head has, and no other order of its labels.
"""

from __future__ import annotations

import tempfile
from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path
from typing import Final

import numpy as np
import torch
from torch import Tensor, nn

from runtime.arrays import Floats, Logits
from runtime.errors import ParityError
from runtime.preprocess import InputSpec
from runtime.schema import Schema
from runtime.session import Session
from train.graph import write_graph
from train.network import Network, NetworkConfig, build

__all__ = ["Probe", "ProbeBackbone", "check_probe", "make_probe", "probe_logits"]

_MODULUS: Final = 257
_STRIDE: Final = 31
"""Between labels: they and the modulus have no common factor, so no pattern repeats within one
head, and two heads (of up to 257) differ at every label."""
_TOLERANCE: Final = 0.4
"""Less than half of the least difference, 1; whole numbers up to 128 are exact in every precision,
and the weights add less than 0.1."""


class ProbeBackbone(nn.Module):
    """One convolution of a few channels."""

    def __init__(self) -> None:
        super().__init__()
        self.conv = nn.Conv2d(3, 8, 3, stride=2, padding=1)

    def forward(self, image: Tensor) -> Tensor:
        """(N, 3, H, W) to (N, 8, H / 2, W / 2) in [0, 1]."""
        features: Tensor = self.conv(image)
        return features.relu().clamp(max=1.0)


def probe_logits(schema: Schema) -> Logits:
    """Return the pattern of every head, (1, K) of whole numbers in [-128, 128]."""
    return {
        head.name: ((place + _STRIDE * np.arange(head.size)) % _MODULUS - _MODULUS // 2)
        .astype(np.float32)
        .reshape(1, -1)
        for place, head in enumerate(schema.heads)
    }


@dataclass(frozen=True, slots=True)
class Probe:
    """A network whose head h always answers ``probe_logits(schema)[h]``."""

    network: Network
    graph: bytes
    """Its deployed ONNX graph."""


@lru_cache(maxsize=8)
def make_probe(schema: Schema, spec: InputSpec, pool: str) -> Probe:
    """Make a probe, once for the same arguments: writing its graph takes a second or more.

    Args:
        schema: Its heads.
        spec: Its input.
        pool: That of the network which it stands for: exporters lay heads out by it.
    """
    config = NetworkConfig(backbone=f"{__name__}:{ProbeBackbone.__name__}", pool=pool)
    network = build(schema, spec, config).eval()
    patterns = probe_logits(schema)
    with torch.no_grad():
        for name, layer in network.heads.layers().items():
            layer.bias.copy_(torch.from_numpy(patterns[name][0]))
            # Not zero, which an engine may fold away; small, so that the bias decides.
            nn.init.constant_(layer.weight, 0.05 / layer.in_features)
    with tempfile.TemporaryDirectory() as scratch:
        graph = Path(scratch) / "probe.onnx"
        write_graph(network, schema, spec, graph)
        return Probe(network, graph.read_bytes())


def check_probe(session: Session, schema: Schema, spec: InputSpec) -> None:
    """Fail unless every output of a probe's engine is the pattern of its head.

    Raises:
        ParityError: an output is missing, of another order, or another head's.
    """
    random = np.random.default_rng(0)
    images = random.integers(0, 256, (3, *spec.shape)).astype(np.uint8)
    found, expected = session.run(images), probe_logits(schema)
    if list(found) != list(expected):
        raise ParityError(f"the engine's outputs are {list(found)}, expected {list(expected)}")
    for name, scores in found.items():
        if scores.shape[1:] == expected[name].shape[1:] and _same(scores, expected[name]):
            continue
        like = [other for other, values in expected.items() if _same(scores, values)]
        raise ParityError(
            f"the engine's output {name!r} is not this head: a probe network should answer "
            f"{expected[name][0, :4].tolist()}... and gave {scores[0, :4].round(2).tolist()}..."
            + (f", which is head {like[0]!r}" if like else "")
            + "; the exporter or the engine mixes outputs up"
        )


def _same(scores: Floats, values: Floats) -> bool:
    if scores.shape[1] != values.shape[1]:
        return False
    return bool((np.abs(scores - values) <= _TOLERANCE).all())
