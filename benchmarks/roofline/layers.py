"""What the layers of an engine's graph compute and move, counted through OpenVINO's readers.

OpenVINO reads its own IR, ONNX and TFLite, so that the engines of all three are counted alike. Only
layers with multiply-accumulates count; engines join the others with these. Products with the zeros
around a picture do not count: engines leave them out, and on the small maps at a network's end they
are a third of all.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from math import prod
from pathlib import Path
from typing import Any, Final

import numpy as np

from benchmarks.foreign import find_description
from runtime.engine_imports import openvino_core
from runtime.errors import ConfigError, EngineError
from runtime.manifest import Manifest

__all__ = ["PRECISION_BYTES", "Layer", "products_along", "read_layers", "working_set_bytes"]

PRECISION_BYTES: Final[Mapping[str, int]] = {"int8": 1, "bf16": 2, "fp16": 2, "fp32": 4}
_READABLE: Final = frozenset({".xml", ".onnx", ".tflite"})
_PASSED: Final = frozenset(
    {"Convert", "Multiply", "Subtract", "Reshape", "Transpose", "MaxPool", "Squeeze", "Unsqueeze"}
)
"""What may stand between a layer and the place where its input was quantised."""
_EIGHT_BIT: Final = frozenset({"i8", "u8"})


@dataclass(frozen=True, slots=True, kw_only=True)
class Layer:
    """One convolution or matrix product, for a whole batch."""

    name: str
    macs: int
    """Multiply-accumulates."""
    weights: int
    """Numbers that do not depend on the input."""
    activations: int
    """Numbers that are read and written besides."""
    precision: str
    """A key of ``PRECISION_BYTES``."""

    @property
    def bytes(self) -> int:
        """What is read and written at least, if nothing stays in registers between layers."""
        return (self.weights + self.activations) * PRECISION_BYTES[self.precision]


def working_set_bytes(layers: Sequence[Layer]) -> int:
    """Return what a call touches again and again: all weights, and the largest layer's rest."""
    size = PRECISION_BYTES
    weights = sum(layer.weights * size[layer.precision] for layer in layers)
    return weights + max(layer.activations * size[layer.precision] for layer in layers)


def read_layers(folder: Path, manifest: Manifest, batch: int) -> Sequence[Layer]:
    """Return the layers of an artifact's graph.

    Args:
        folder: The artifact, or the description of a bare model.
        manifest: Of the artifact.
        batch: Samples of a call.

    Raises:
        ConfigError: the engine has no graph that can be read, or takes no such batch.
        EngineError: OpenVINO cannot read it.
        EngineUnavailableError: OpenVINO is not installed.
    """
    described = find_description(folder)
    path = (folder if described is None else described.parent) / manifest.engine_file
    if path.suffix not in _READABLE:
        raise ConfigError(
            f"{path} is no graph that layers can be counted in; expected {sorted(_READABLE)}: "
            "count those of the ONNX artifact of the same checkpoint"
        )
    try:
        model = openvino_core().read_model(path)
        shape = model.inputs[0].get_partial_shape()
        shape[0] = batch
        model.reshape(shape)
        ops = model.get_ordered_ops()
        found = [layer for op in ops if (layer := _layer(op, manifest.precision)) is not None]
    except RuntimeError as error:
        raise EngineError(f"openvino cannot read {path} for batch {batch}: {error}") from error
    if not found:
        raise ConfigError(f"{path} has no convolution and no matrix product")
    return found


def _layer(op: Any, precision: str) -> Layer | None:
    kind = op.get_type_name()
    if kind not in ("Convolution", "GroupConvolution", "MatMul"):
        return None
    first, second = _shape(op.input(0)), _shape(op.input(1))
    output = _shape(op.output(0))
    if kind == "MatMul":
        macs = prod(output) * (first[-2] if op.get_attributes()["transpose_a"] else first[-1])
    else:
        macs = _convolution_macs(op.get_attributes(), first, second, output)
    fixed = _constant(op.input(1).get_source_output().get_node())
    quantised = precision == "int8" and all(
        _quantised(op.input(place).get_source_output().get_node()) for place in (0, 1)
    )
    floats = precision if precision in PRECISION_BYTES and precision != "int8" else "fp32"
    return Layer(
        name=op.get_friendly_name(),
        macs=macs,
        weights=prod(second) if fixed else 0,
        activations=prod(first) + prod(output) + (0 if fixed else prod(second)),
        precision="int8" if quantised else floats,
    )


def _convolution_macs(
    how: Mapping[str, Any], first: Sequence[int], weights: Sequence[int], output: Sequence[int]
) -> int:
    axes = range(len(output) - 2)
    inputs, *kernel = weights[-1 - len(axes) :]  # (O, I, kh, kw), or (groups, O, I, kh, kw)
    places = prod(
        products_along(
            first[2 + axis],
            output[2 + axis],
            kernel[axis],
            stride=how["strides"][axis],
            pad=how["pads_begin"][axis],
            dilation=how["dilations"][axis],
        )
        for axis in axes
    )
    return output[0] * output[1] * inputs * places


def products_along(
    size: int, outputs: int, kernel: int, *, stride: int = 1, pad: int = 0, dilation: int = 1
) -> int:
    """Return how often a convolution along one axis meets a place that is not padding.

    Args:
        size: Of the input.
        outputs: Places of the output.
        kernel: Places of the kernel.
        stride: Of the kernel.
        pad: Places before the input.
        dilation: Distance between places of the kernel.
    """
    begins = np.arange(outputs)[:, None] * stride - pad
    places = begins + np.arange(kernel) * dilation
    return int(((places >= 0) & (places < size)).sum())


def _shape(port: Any) -> Sequence[int]:
    return [int(size) for size in port.get_shape()]


def _constant(node: Any) -> bool:
    """Whether nothing of the input reaches a node."""
    kind = node.get_type_name()
    if kind in ("Constant", "Parameter"):
        return bool(kind == "Constant")
    return all(_constant(value.get_source_output().get_node()) for value in node.inputs())


def _quantised(node: Any) -> bool:
    """Whether a layer's input is of 8-bit numbers: those of a constant, or rounded to a grid."""
    kind = node.get_type_name()
    if kind == "FakeQuantize":
        return True
    if kind == "Constant":
        return node.output(0).get_element_type().get_type_name() in _EIGHT_BIT
    # Scales and offsets are second inputs.
    return kind in _PASSED and _quantised(node.input(0).get_source_output().get_node())
