"""OpenVINO's own INT8 decisions, by NNCF: the only module that imports it.

NNCF places quantisers by OpenVINO's rules and gives activations that may be negative a zero point,
which uses the whole range of 8 bits. No other engine reads that. ``compress.quantize`` measures it
beside the shared decisions; it is an option, not the default, because it did no better (ADR 0002).
"""

from __future__ import annotations

import contextlib
import io
import logging
from collections.abc import Sequence
from typing import Any

from benchmarks.command import missing_extra
from runtime.arrays import Images
from runtime.engine_imports import forbid_telemetry
from runtime.errors import MissingExtraError
from runtime.schema import INPUT_NAME

__all__ = ["decide_for_openvino"]


def decide_for_openvino(model: Any, images: Images, kept: Sequence[str]) -> Any:
    """Return the Q/DQ form of a float graph that NNCF prefers for OpenVINO.

    Args:
        model: ``onnx.ModelProto`` of the deployed float graph; it stays as it is.
        images: (N, height, width, 3) uint8 calibration crops.
        kept: Layers that stay in float.

    Raises:
        MissingExtraError: NNCF is not installed.
    """
    forbid_telemetry()
    try:
        import nncf
        import onnx
    except ImportError as error:
        raise MissingExtraError(missing_extra(error.name or "nncf", "compress")) from error
    nncf.set_log_level(logging.ERROR)
    dataset = nncf.Dataset([{INPUT_NAME: image[None]} for image in images])
    with contextlib.redirect_stdout(io.StringIO()):  # its progress bars know no terminal
        decided = nncf.quantize(
            model,
            dataset,
            preset=nncf.QuantizationPreset.MIXED,  # symmetric weights, asymmetric activations
            target_device=nncf.TargetDevice.CPU,
            subset_size=len(images),
            ignored_scope=nncf.IgnoredScope(names=list(kept)),
            # Corrected biases made the error of the logits larger (docs/adr/0006).
            advanced_parameters=nncf.AdvancedQuantizationParameters(disable_bias_correction=True),
        )
    onnx.checker.check_model(decided, full_check=True)
    return decided
