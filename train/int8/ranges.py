"""The ranges of a network's activations on the calibration crops."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from copy import deepcopy
from typing import Any, Final

import numpy as np
import torch

from runtime.arrays import Images
from runtime.engine_imports import import_onnxruntime
from runtime.schema import INPUT_NAME

from .placement import STEPS, Layer

__all__ = ["activation_steps", "layer_steps"]

_BATCH: Final = 32
_ERRORS_ONLY: Final = 3
_WHOLE_CROPS: Final = 0.9
"""Share of the crops whose every value lies within the range."""


def layer_steps(model: Any, layers: Sequence[Layer], images: Images) -> dict[str, float]:
    """Return the step of every tensor that ``layers`` need; see ``activation_steps``."""
    tensors = [tensor for layer in layers for tensor in layer.tensors]
    return activation_steps(model, tensors, images)


def activation_steps(model: Any, tensors: Iterable[str], images: Images) -> dict[str, float]:
    """Return the step of every tensor's signed 8-bit range.

    The range is symmetric and holds every value of nine crops out of ten. The mean over crops of
    the largest value, NNCF's rule, cuts half of them; the largest of all is set by one odd crop.
    Measured on two plate networks (docs/adr/0006), this rule halved the divergence of the mean.

    Args:
        model: ``onnx.ModelProto`` of the deployed float graph.
        tensors: Float activations in it.
        images: (N, height, width, 3) uint8 calibration crops.
    """
    from onnx import TensorProto, helper

    names = sorted(set(tensors))
    probe = deepcopy(model)
    del probe.graph.output[:]
    probe.graph.output.extend(
        helper.make_tensor_value_info(name, TensorProto.FLOAT, None) for name in names
    )
    engine = import_onnxruntime()
    settings = engine.SessionOptions()
    settings.intra_op_num_threads = torch.get_num_threads()
    settings.log_severity_level = _ERRORS_ONLY  # it warns of weights that these outputs do not need
    session = engine.InferenceSession(
        probe.SerializeToString(), settings, providers=["CPUExecutionProvider"]
    )
    largest = np.empty((len(names), len(images)))
    for start in range(0, len(images), _BATCH):
        batch = images[start : start + _BATCH]
        for index, values in enumerate(session.run(names, {INPUT_NAME: batch})):
            found = np.abs(values).reshape(len(batch), -1).max(axis=1)
            largest[index, start : start + len(batch)] = found
    ends = np.quantile(largest, _WHOLE_CROPS, axis=1)
    # A tensor that is always zero has no range; any step holds it.
    return dict(zip(names, (np.where(ends > 0, ends, 1.0) / STEPS).tolist(), strict=True))
