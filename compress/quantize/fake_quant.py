"""A network that computes in training what its INT8 graph will compute.

The folded network is traced with torch.export, the front end of the ONNX exporter, and quantisers
stand in the trace exactly where ``placement`` puts them in the ONNX graph. Rounding lets gradients
pass as if it were not there (Bengio et al., "Estimating or Propagating Gradients Through Stochastic
Neurons", 2013). Steps of activations are learnt (Esser et al., "Learned Step Size Quantization",
ICLR 2020, section 2.1), steps of weights follow the largest weight of their channel as at export.
"""

from __future__ import annotations

import warnings
from collections import Counter
from collections.abc import Collection, Mapping
from math import sqrt
from typing import Any

import torch
from torch import Tensor, fx, nn

from runtime.errors import EngineError
from runtime.preprocess import InputSpec
from train.graph import export_refused
from train.int8.placement import STEPS, Layer
from train.network import Network
from train.node_names import layer_of_weight, numbered

__all__ = ["FakeQuantised", "StepQuantiser", "WeightQuantiser"]


def _rounded(values: Tensor) -> Tensor:
    """Round half to even, as engines do; gradients pass."""
    return values + (values.round() - values).detach()


class StepQuantiser(nn.Module):
    """Round an activation to a signed 8-bit grid whose step is learnt.

    The step is ``first * exp(change)``: optimisers whose steps do not depend on the size of a
    gradient then change it by shares of itself.
    """

    first: Tensor

    def __init__(self, step: float) -> None:
        super().__init__()
        self.register_buffer("first", torch.tensor(step, dtype=torch.float32))
        self.change = nn.Parameter(torch.zeros(()))

    def step(self) -> Tensor:
        """Return the step of now, a scalar."""
        step: Tensor = self.first * self.change.exp()
        return step

    def forward(self, values: Tensor) -> Tensor:
        """Return values of the same shape on the grid."""
        step = self.step()
        # Section 2.2: so that its gradient is of the size of a weight's.
        share = 1 / sqrt(values[0].numel() * STEPS)
        step = step * share + (step - step * share).detach()
        return _rounded((values / step).clamp(-STEPS - 1, STEPS)) * step


class WeightQuantiser(nn.Module):
    """Round a weight to signed 8-bit grids, one step per output channel (its first axis)."""

    def forward(self, weight: Tensor) -> Tensor:
        """Return a weight of the same shape on the grid."""
        largest = weight.detach().abs().amax(tuple(range(1, weight.ndim)), keepdim=True)
        steps = torch.where(largest > 0, largest / STEPS, 1.0)
        return _rounded(weight / steps) * steps


class FakeQuantised(nn.Module):
    """A folded network with quantisers inside; takes and returns what a ``Network`` does.

    Args:
        folded: From ``fold_norms``; it stays as it is, see ``write_back``.
        spec: Its input.
        layers: Those to run in INT8.
        steps: Activation to the step of its range.

    Raises:
        EngineError: torch cannot trace the network, or the trace has no layer of a name, or no
            addition behind one.
    """

    def __init__(
        self,
        folded: Network,
        spec: InputSpec,
        layers: Collection[Layer],
        steps: Mapping[str, float],
    ) -> None:
        super().__init__()
        self.traced = _trace(folded, spec)
        tensors = dict.fromkeys(
            tensor for layer in layers for tensor in (layer.input, layer.shortcut) if tensor
        )
        self._places = {tensor: f"quantiser_{place}" for place, tensor in enumerate(tensors)}
        for tensor, name in self._places.items():
            self.traced.add_submodule(name, StepQuantiser(steps[tensor]))
        self.traced.add_submodule("weight_quantiser", WeightQuantiser())
        nodes = _layer_nodes(self.traced.graph)
        for layer in layers:
            # The fused head of the deployed graph is still one layer per head.
            heads = [node for name, node in nodes.items() if name.startswith(f"{layer.name}.")]
            found = [nodes[layer.name]] if layer.name in nodes else heads
            if not found:
                raise EngineError(f"torch's trace of the network has no layer {layer.name}")
            for node in found:
                self._quantise(node, layer)
        self.traced.recompile()

    def _quantise(self, node: fx.Node, layer: Layer) -> None:
        self._insert(node, 0, self._places[layer.input])
        self._insert(node, 1, "weight_quantiser")
        if layer.addition:
            addition, side = _shortcut(node, layer.name)
            self._insert(addition, side, self._places[layer.shortcut])

    def _insert(self, node: fx.Node, argument: int, quantiser: str) -> None:
        with self.traced.graph.inserting_before(node):
            made = self.traced.graph.call_module(quantiser, (node.args[argument],))
        node.update_arg(argument, made)

    def forward(self, images: Tensor) -> dict[str, Tensor]:
        """(N, H, W, 3) uint8 BGR to head name: (N, K) logits."""
        logits: dict[str, Tensor] = self.traced(images)
        return logits

    def train(self, mode: bool = True) -> FakeQuantised:  # noqa: FBT001, FBT002 (as nn.Module)
        """Set the mode of this module alone: the trace is that of evaluation in either."""
        self.training = mode
        return self

    def steps(self) -> dict[str, float]:
        """Return activation to the step that was learnt."""
        return {
            tensor: float(self._quantiser(name).step().detach())
            for tensor, name in self._places.items()
        }

    def _quantiser(self, name: str) -> StepQuantiser:
        found = self.traced.get_submodule(name)
        assert isinstance(found, StepQuantiser)  # put there by __init__
        return found

    def write_back(self, folded: Network) -> None:
        """Fill the network that was traced, or a copy of it, with the weights of now."""
        own = dict(folded.named_parameters())
        with torch.no_grad():
            for name, value in self.traced.named_parameters():
                if name in own:  # else it is a step
                    own[name].copy_(value)


def _trace(folded: Network, spec: InputSpec) -> Any:
    """Return the network as one graph of ATen operators for any number of crops."""
    example = torch.zeros((2, *spec.shape), dtype=torch.uint8)
    sizes = ({0: torch.export.Dim("batch")},)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # torch warns of deprecated calls of its own
        try:
            program = torch.export.export(folded, (example,), dynamic_shapes=sizes)
            return program.run_decompositions({}).module()
        except RuntimeError as error:  # the root of what it raises
            raise export_refused(error) from error


def _shortcut(node: fx.Node, layer: str) -> tuple[fx.Node, int]:
    """Return the residual addition behind a layer, and which argument of it is the shortcut.

    In between may stand what exporters fold or leave out: a BatchNorm, the copy of a dropout.
    """
    while len(node.users) == 1:
        reader = next(iter(node.users))
        tensors = [a for a in reader.args if isinstance(a, fx.Node) and a.op != "get_attr"]
        if reader.target is torch.ops.aten.add.Tensor and len(tensors) == 2:
            return reader, 1 - reader.args.index(node)
        node = reader
    raise EngineError(
        f"torch's trace of the network has no residual addition behind {layer}, as the "
        "ONNX graph has; quantise without --qat-steps"
    )


def _layer_nodes(graph: fx.Graph) -> dict[str, fx.Node]:
    """Return the nodes that hold layers by the names that they have in the ONNX graph."""
    found = {}
    taken = Counter[str]()
    for node in graph.nodes:
        weight = node.args[1] if node.op == "call_function" and len(node.args) > 1 else None
        if isinstance(weight, fx.Node) and weight.op == "get_attr":
            layer = layer_of_weight(str(weight.target))
            if layer is not None:
                taken[layer] += 1
                found[numbered(layer, taken[layer])] = node
    return found
