"""The deployed graph: one ONNX file with preprocessing inside and all heads fused.

Both quantisation and every exporter start from this file, so that there is one graph to check.
"""

from __future__ import annotations

import contextlib
import io
import logging
import warnings
from pathlib import Path
from typing import Final

import torch

from benchmarks.command import require_packages
from runtime.errors import EngineError
from runtime.preprocess import InputSpec
from runtime.schema import INPUT_NAME, Schema

from .network import DeployedNetwork, Network

__all__ = ["OPSET", "write_graph"]

OPSET: Final = 20
"""What torch 2.13 writes; asking for 17 silently gives 18, so the result is checked."""


def write_graph(network: Network, schema: Schema, spec: InputSpec, path: Path) -> None:
    """Write the deployed form of ``network`` to ``path``.

    The graph takes ``image``, uint8 (N, height, width, 3) with a free N, and gives one float32
    (N, K) output of logits per head, named and ordered as in ``schema``.

    Raises:
        MissingExtraError: a package that the exporter needs is not installed.
        EngineError: the written graph is not what was asked for.
    """
    require_packages("export", "onnx", "onnxscript")
    import onnx

    names = [head.name for head in schema.heads]
    deployed = DeployedNetwork(network).eval()
    example = torch.zeros((2, *spec.shape), dtype=torch.uint8)
    quiet = logging.getLogger("torch.onnx")
    level = quiet.level
    quiet.setLevel(logging.ERROR)
    try:
        # The exporter prints its progress; it is no part of our output.
        with warnings.catch_warnings(), contextlib.redirect_stdout(io.StringIO()):
            warnings.simplefilter("ignore")
            torch.onnx.export(
                deployed,
                (example,),
                path,
                input_names=[INPUT_NAME],
                output_names=names,
                opset_version=OPSET,
                dynamo=True,
                dynamic_shapes=({0: "batch"},),
                external_data=False,
                verbose=False,
            )
    finally:
        quiet.setLevel(level)
    model = onnx.load(path)
    onnx.checker.check_model(model, full_check=True)
    opset = next(entry.version for entry in model.opset_import if entry.domain in ("", "ai.onnx"))
    outputs = [output.name for output in model.graph.output]
    if opset != OPSET or outputs != names:
        raise EngineError(
            f"{path}: asked for opset {OPSET} and outputs {names}, torch wrote opset {opset} and "
            f"{outputs}; this torch version is not supported"
        )
    leftover = [node.op_type for node in model.graph.node if node.op_type == "BatchNormalization"]
    if leftover:
        raise EngineError(f"{path}: {len(leftover)} BatchNorm layers were not folded")
