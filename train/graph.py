"""The deployed graph: one ONNX file with preprocessing inside and all heads fused.

Both quantisation and every exporter start from this file, so that there is one graph to check.
"""

from __future__ import annotations

import contextlib
import io
import logging
import textwrap
import traceback
import warnings
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, Final

import torch
from torch import nn

from benchmarks.command import require_packages
from runtime.errors import EngineError
from runtime.preprocess import InputSpec
from runtime.schema import INPUT_NAME, Schema

from .graph_memory import GraphMemory
from .network import DeployedNetwork, Network
from .node_names import name_nodes

__all__ = ["OPSET", "export_refused", "replace_constants", "write_graph", "write_onnx"]

OPSET: Final = 20
"""What torch 2.13 writes; asking for 17 silently gives 18, so the result is checked."""
_TORCH: Final = str(Path(torch.__file__).parent)
_REASON: Final = 200
"""Most letters of torch's own reason; it can go on for pages."""
_written: Final = GraphMemory()


def write_onnx(
    module: nn.Module, example: torch.Tensor, path: Path, name: str, outputs: Sequence[str]
) -> None:
    """Write any module of one input as ONNX, its first dimension free, without torch's talk.

    The same module is exported once in a process; then its file is copied.

    Args:
        module: In evaluation mode.
        example: An input, at least two samples.
        path: The file.
        name: Of the input.
        outputs: Names of the outputs, in order.

    Raises:
        EngineError: torch cannot export the module.
    """

    def export() -> bytes:
        _export(module, example, path, name, outputs)
        return path.read_bytes()

    made_from = (module, example.shape, example.dtype, name, tuple(outputs))
    path.write_bytes(_written.recall(export, *made_from))


def _export(
    module: nn.Module, example: torch.Tensor, path: Path, name: str, outputs: Sequence[str]
) -> None:
    quiet = logging.getLogger("torch.onnx")
    level = quiet.level
    quiet.setLevel(logging.ERROR)
    try:
        # The exporter prints its progress, and what it could not export; neither is our output.
        talk = io.StringIO()
        with (
            warnings.catch_warnings(),
            contextlib.redirect_stdout(talk),
            contextlib.redirect_stderr(talk),
        ):
            warnings.simplefilter("ignore")
            torch.onnx.export(
                module,
                (example,),
                path,
                input_names=[name],
                output_names=[*outputs],
                opset_version=OPSET,
                dynamo=True,
                dynamic_shapes=({0: "batch"},),
                external_data=False,
                verbose=False,
            )
    except torch.onnx.OnnxExporterError as error:
        raise export_refused(error) from error
    finally:
        quiet.setLevel(level)


def export_refused(error: RuntimeError) -> EngineError:
    """Return what to raise where torch cannot trace or export a network: its reason, in short."""
    cause: BaseException = error
    while cause.__cause__ is not None:
        cause = cause.__cause__
    frames = traceback.extract_tb(cause.__traceback__)
    calls = [f for f in frames if f.name == "forward" and not f.filename.startswith(_TORCH)]
    place = f" ({calls[-1].filename}, line {calls[-1].lineno})" if calls else ""
    reason = textwrap.shorten(f"{cause}".strip().partition("\n")[0], _REASON)
    return EngineError(
        f"torch cannot write the network as a graph: {reason}{place}; let it not depend on the "
        "values of tensors in Python, and use operators that ONNX has"
    )


def write_graph(network: Network, schema: Schema, spec: InputSpec, path: Path) -> None:
    """Write the deployed form of ``network`` to ``path``.

    The graph takes ``image``, uint8 (N, height, width, 3) with a free N, and gives one float32
    (N, K) output of logits per head, named and ordered as in ``schema``. Its layers are called as
    in the checkpoint (``node_names``).

    Raises:
        MissingExtraError: a package that the exporter needs is not installed.
        EngineError: torch cannot export the network, or the graph is not what was asked for.
    """
    require_packages("export", "onnx", "onnxscript")
    import onnx

    names = [head.name for head in schema.heads]
    example = torch.zeros((2, *spec.shape), dtype=torch.uint8)
    write_onnx(DeployedNetwork(network).eval(), example, path, INPUT_NAME, names)
    model = onnx.load(path)
    name_nodes(model)
    _unfold_normalisations(model)
    onnx.save(model, path)
    onnx.checker.check_model(model, full_check=True)
    opset = next(entry.version for entry in model.opset_import if entry.domain in ("", "ai.onnx"))
    outputs = [output.name for output in model.graph.output]
    if opset != OPSET or outputs != names:
        raise EngineError(
            f"{path}: asked for opset {OPSET} and outputs {names}, torch wrote opset {opset} and "
            f"{outputs}; this torch version is not supported"
        )
    foreign = {node.op_type for node in model.graph.node if node.domain not in ("", "ai.onnx")}
    if foreign or model.functions:
        names = sorted(foreign | {function.name for function in model.functions})
        raise EngineError(f"{path}: the operators {names} are not standard; no engine knows them")


def _unfold_normalisations(model: Any) -> None:
    """Write every BatchNorm that torch could not fold as a product and a sum.

    A BatchNorm right behind a convolution was folded into it. Others, behind an addition in a
    pre-activation network, stay: y = (x - mean) / sqrt(var + epsilon) * scale + shift is one
    factor and one term per channel, which every engine fuses and quantises.
    """
    import numpy as np
    from onnx import helper, numpy_helper

    graph = model.graph
    constants = {entry.name: entry for entry in graph.initializer}
    nodes = list(graph.node)
    found = [node for node in nodes if node.op_type == "BatchNormalization"]
    if not found:
        return
    made = {}
    for node in found:
        source, *names = node.input
        scale, shift, mean, variance = (
            numpy_helper.to_array(constants[name]).astype(np.float64) for name in names
        )
        epsilon = next((a.f for a in node.attribute if a.name == "epsilon"), 1e-5)
        factor = scale / np.sqrt(variance + epsilon)
        product = f"{node.output[0]}/scaled"
        new = []
        for kind, values, inputs, output in (
            ("Mul", factor, source, product),
            ("Add", shift - mean * factor, product, node.output[0]),
        ):
            # (C, 1, 1) spreads over a feature map (N, C, h, w).
            array = values.astype(np.float32).reshape(-1, 1, 1)
            name = f"{output}/{kind.lower()}"
            made[name] = numpy_helper.from_array(array, name)
            new.append(helper.make_node(kind, [inputs, name], [output], name=f"{node.name}/{kind}"))
        place = nodes.index(node)
        nodes[place : place + 1] = new
    del graph.node[:]
    graph.node.extend(nodes)
    replace_constants(model, made)


def replace_constants(model: Any, made: Mapping[str, Any]) -> None:
    """Give an ONNX model the initialisers ``made`` and drop what no node reads, in place."""
    graph = model.graph
    used = {name for node in graph.node for name in node.input}
    kept = [entry for entry in graph.initializer if entry.name in used]
    del graph.initializer[:]
    graph.initializer.extend([*kept, *made.values()])
    del graph.value_info[:]  # holds the old types
