"""A probe network: proof that every output of an engine is the head that it says it is.

Comparing answers on real crops does not show two heads of the same size swapped if they happen to
answer alike there, such as two attributes that no crop has. A probe does: a tiny network of the
same schema, input and pool, written and built by the same code as the real one, whose heads answer
whatever they see with a pattern that no other head has, and no other order of its labels. For an
INT8 engine the probe is quantised by the same rules, all its layers.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from functools import lru_cache
from typing import Final

import numpy as np
import torch
from torch import Tensor, nn

from runtime.arrays import Floats, Images, Logits
from runtime.errors import ParityError
from runtime.preprocess import InputSpec
from runtime.schema import Schema
from runtime.session import Session
from runtime.staging import scratch_folder
from train.graph import write_graph
from train.int8.placement import find_layers
from train.int8.qdq import place
from train.int8.ranges import layer_steps
from train.network import Network, NetworkConfig, build

__all__ = ["Probe", "ProbeBackbone", "check_probe", "make_probe", "probe_logits", "tells_in_8_bits"]

_MODULI: Final = (127, 257)
"""Primes: a pattern has as many values as the least of these that the schema's heads and labels let
it. Of 127, from -63 to 63, an 8-bit output tells all: its steps are half."""
_STRIDE: Final = 31
"""Between labels: it and a modulus have no common factor, so no pattern repeats within one head of
up to that many labels, and as many heads differ at every label."""
_TOLERANCE: Final = 0.4
"""Less than half of the least difference, 1; whole numbers up to 128 are exact in every precision
but 8-bit outputs, which are 0.25 off, and the weights add less than 0.1."""


class ProbeBackbone(nn.Module):
    """One convolution of a few channels."""

    def __init__(self) -> None:
        super().__init__()
        self.conv = nn.Conv2d(3, 8, 3, stride=2, padding=1)

    def forward(self, image: Tensor) -> Tensor:
        """(N, 3, H, W) to (N, 8, H / 2, W / 2), not negative, seldom above 3."""
        features: Tensor = self.conv(image)
        return features.relu()


def probe_logits(schema: Schema) -> Logits:
    """Return the pattern of every head, (1, K) of whole numbers in [-128, 128]."""
    modulus = _modulus(schema)
    return {
        head.name: ((place + _STRIDE * np.arange(head.size)) % modulus - modulus // 2)
        .astype(np.float32)
        .reshape(1, -1)
        for place, head in enumerate(schema.heads)
    }


def tells_in_8_bits(schema: Schema) -> bool:
    """Whether patterns stay apart in an engine whose outputs are 8-bit integers."""
    return _modulus(schema) == _MODULI[0]


def _modulus(schema: Schema) -> int:
    most = max(len(schema.heads), *(head.size for head in schema.heads))
    return next((modulus for modulus in _MODULI if modulus >= most), _MODULI[-1])


@dataclass(frozen=True, slots=True)
class Probe:
    """A network whose head h always answers ``probe_logits(schema)[h]``."""

    network: Network
    graph: bytes
    """Its deployed ONNX graph; with INT8 decisions where these were asked for."""


@lru_cache(maxsize=8)
def make_probe(schema: Schema, spec: InputSpec, pool: str, *, int8: bool = False) -> Probe:
    """Make a probe, once for the same arguments: writing its graph takes a second or more.

    Args:
        schema: Its heads.
        spec: Its input.
        pool: That of the network which it stands for: exporters lay heads out by it.
        int8: Let all layers that can run in INT8 do so (see ``tells_in_8_bits``).
    """
    if int8:
        plain = make_probe(schema, spec, pool)
        return replace(plain, graph=_quantised(plain.graph, _images(spec)))
    config = NetworkConfig(backbone=f"{__name__}:{ProbeBackbone.__name__}", pool=pool)
    network = build(schema, spec, config).eval()
    patterns = probe_logits(schema)
    with torch.no_grad():
        for name, layer in network.heads.layers().items():
            layer.bias.copy_(torch.from_numpy(patterns[name][0]))
            # Not zero, which an engine may fold away; small, so that the bias decides; one input
            # each, since the steps of weights smaller still would make biases too many steps.
            layer.weight.zero_()[:, 0] = 0.02
    with scratch_folder() as scratch:
        graph = scratch / "probe.onnx"
        write_graph(network, schema, spec, graph)
        return Probe(network, graph.read_bytes())


def _images(spec: InputSpec) -> Images:
    return np.random.default_rng(0).integers(0, 256, (3, *spec.shape)).astype(np.uint8)


def _quantised(graph: bytes, images: Images) -> bytes:
    """Return a float graph with all layers in INT8 that can be."""
    import onnx

    model = onnx.load_from_string(graph)
    layers = find_layers(model)
    decided: bytes = place(model, layers, layer_steps(model, layers, images)).SerializeToString()
    return decided


def check_probe(session: Session, schema: Schema, spec: InputSpec) -> None:
    """Fail unless every output of a probe's engine is the pattern of its head.

    Raises:
        ParityError: an output is missing, of another order, or another head's.
    """
    found, expected = session.run(_images(spec)), probe_logits(schema)
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
