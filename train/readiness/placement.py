"""Rules about where quantisers stand: W02, W03 and W06."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any, Final

from .findings import Finding
from .scopes import name_of
from .view import DEQUANTISE, LAYERS, QUANTISE, GraphView

__all__ = ["check_activation", "check_addition", "check_half_quantised"]

_ACTIVATIONS: Final = frozenset({"Relu", "Clip", "LeakyRelu", "HardSwish", "PRelu"})
_FUSES: Final = LAYERS | {"BatchNormalization"}


def check_addition(view: GraphView, node: Any) -> Iterator[Finding]:
    """W02: an Add whose both sides are quantised, one of them right behind a layer."""
    if node.op_type != "Add":
        return
    behind = [_quantised_layer(view, name) for name in node.input]
    quantised = [view.maker_of(name, DEQUANTISE) for name in node.input]
    if None not in quantised and any(behind):
        yield Finding("W02", name_of(node), f"quantised behind {next(filter(None, behind))}")


def check_activation(view: GraphView, node: Any) -> Iterator[Finding]:
    """W03: a layer, a pair of quantisers and then the activation function."""
    if node.op_type in _ACTIVATIONS and (layer := _quantised_layer(view, node.input[0])):
        yield Finding("W03", name_of(node), f"quantised between {layer} and {node.op_type}")


def _quantised_layer(view: GraphView, tensor: str) -> str | None:
    """Return the layer whose quantised output a tensor is, or None."""
    dequantiser = view.maker_of(tensor, DEQUANTISE)
    quantiser = view.maker_of(dequantiser.input[0], QUANTISE) if dequantiser else None
    maker = view.makers.get(quantiser.input[0]) if quantiser else None
    return name_of(maker) if maker is not None and maker.op_type in _FUSES else None


def check_half_quantised(view: GraphView, layer: Any) -> Iterator[Finding]:
    """W06: a layer with a quantised weight that reads a float activation."""
    if layer.op_type not in LAYERS or len(layer.input) < 2:
        return
    activation, weight = (view.root(name) for name in layer.input[:2])
    dequantiser = view.maker_of(weight, DEQUANTISE)
    stored = None if dequantiser is None else view.weight(dequantiser.input[0])
    if stored is not None and view.maker_of(activation, DEQUANTISE) is None:
        yield Finding("W06", name_of(layer), f"{layer.op_type} reads a float activation")
