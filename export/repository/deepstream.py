"""Secondary classifiers for DeepStream's nvinfer: graph, labels and config for each artifact.

nvinfer feeds float planes, not bytes, and its own parser reads probabilities, one output an
attribute ("Gst-nvinfer" in the DeepStream manual; ``parseAttributesFromSoftmaxLayers``). So the
graph is rewritten around the network: planes in, softmax or sigmoid at the head's temperature out.
What was rewritten must give the artifact's own probabilities of its golden images. What nvinfer
cannot say of several heads stands in docs/serving.md.
"""

from __future__ import annotations

import shutil
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any, Final

import numpy as np

from benchmarks.command import say
from runtime.arrays import Logits
from runtime.engine_imports import import_onnxruntime
from runtime.errors import ConfigError, ParityError
from runtime.golden import load_golden
from runtime.graph_contract import Scores
from runtime.manifest import GOLDEN_FILE, MANIFEST_FILE, Manifest
from runtime.schema import INPUT_NAME, Head, HeadKind
from runtime.scores import probabilities
from runtime.session import SessionOptions, open_session
from train.readiness import require_ready

from .config import RepositoryConfig
from .models import Model, check_engines

__all__ = ["write_deepstream"]

_GRAPH: Final = "nvinfer.onnx"
_LABELS: Final = "labels.txt"
_CONFIG: Final = "config_infer.txt"
_TOLERANCE: Final = 1e-4
"""Between two runs of one network, one of them behind a transposition."""


def write_deepstream(models: Sequence[Model], config: RepositoryConfig, folder: Path) -> None:
    """Write a folder per model into ``folder``.

    Raises:
        ConfigError: an artifact that nvinfer cannot run as it was proven.
        EngineError: TensorRT would misread the graph.
        ParityError: the rewritten graph computes something else.
    """
    check_engines(models, ("onnx",), "nvinfer (which builds its own engine from ONNX)")
    for model in models:
        (artifact,) = _only_version(model)
        _check_fits(model)
        place = folder / model.name
        place.mkdir()
        _write_graph(artifact, model, place / _GRAPH, config)
        labels = "".join(f"{';'.join(head.labels)}\n" for head in model.manifest.schema.heads)
        (place / _LABELS).write_text(labels, encoding="utf-8")
        text = "\n".join(_config(model, config)) + "\n"
        (place / _CONFIG).write_text(text, encoding="utf-8")
        shutil.copyfile(artifact / MANIFEST_FILE, place / MANIFEST_FILE)
        _tell_limits(model)


def _only_version(model: Model) -> Sequence[Path]:
    if len(model.versions) != 1:
        raise ConfigError(f"{model.name}: nvinfer knows no versions; export one artifact a name")
    return [*model.versions.values()]


def _check_fits(model: Model) -> None:
    manifest = model.manifest
    if manifest.precision != "fp32":
        raise ConfigError(
            f"{model.name} is {manifest.precision}; nvinfer takes INT8 ranges from calibration "
            "files of its own, not from the graph: export in FP32, or serve with Triton"
        )
    if manifest.input.resize != "stretch":
        raise ConfigError(
            f"{model.name}: nvinfer pads with black, this network was trained with grey "
            "(letterbox); train it with stretch"
        )
    for head in manifest.schema.heads:
        if any(";" in label for label in head.labels):
            raise ConfigError(
                f"{model.name}: head {head.name!r} has a label with a semicolon, which ends a "
                "label in nvinfer's file"
            )


def _config(model: Model, config: RepositoryConfig) -> Iterator[str]:
    manifest = model.manifest
    spec, batch = manifest.input, model.batch or config.max_batch
    outputs = ";".join(head.name for head in manifest.schema.heads)
    yield f"# {manifest.id}, version {manifest.version}; paths are relative to this file"
    yield "[property]"
    yield f"onnx-file={_GRAPH}"
    yield f"model-engine-file={_GRAPH}_b{batch}_gpu0_fp32.engine"
    yield f"labelfile-path={_LABELS}"
    yield f"output-blob-names={outputs}"
    yield f"batch-size={batch}"
    yield "network-mode=0"  # FP32, as proven
    yield "network-type=1"  # classifier
    yield "process-mode=2"  # on what a detector found
    yield "gpu-id=0"
    yield "gie-unique-id=2"
    yield "operate-on-gie-id=1"
    yield f"infer-dims=3;{spec.height};{spec.width}"
    yield "network-input-order=0"  # NCHW
    yield "model-color-format=1"  # BGR
    yield "net-scale-factor=1.0"  # normalisation is in the graph
    yield "offsets=0;0;0"
    yield "maintain-aspect-ratio=0"
    yield "scaling-filter=1"  # bilinear
    yield "input-object-min-width=4"
    yield "input-object-min-height=4"
    # One threshold for all heads: 0 reports each head's best label with its probability.
    yield "classifier-threshold=0.0"
    yield "classifier-async-mode=0"
    yield "output-tensor-meta=1"  # all probabilities, for whoever decodes readings


def _write_graph(artifact: Path, model: Model, target: Path, config: RepositoryConfig) -> None:
    import onnx

    manifest = model.manifest
    graph = onnx.load(artifact / manifest.engine_file)
    _planes_in(graph)
    for head in manifest.schema.heads:
        temperature = manifest.operating.temperatures.get(head.name, 1.0)
        _probabilities_out(graph, head, temperature)
    onnx.checker.check_model(graph, full_check=True)
    require_ready(graph, config.tensorrt, manifest.id)
    onnx.save(graph, target)
    _check_same(artifact, model, target)


def _planes_in(model: Any) -> None:
    """Let a graph take float (N, 3, height, width), 0 to 255, instead of uint8 NHWC."""
    from onnx import TensorProto, helper

    (image,) = model.graph.input
    pixels = f"{INPUT_NAME}_nhwc"
    for node in model.graph.node:
        node.input[:] = [pixels if name == INPUT_NAME else name for name in node.input]
    batch, height, width, channels = (
        size.dim_param or size.dim_value for size in image.type.tensor_type.shape.dim
    )
    image.CopyFrom(
        helper.make_tensor_value_info(
            INPUT_NAME, TensorProto.FLOAT, [batch, channels, height, width]
        )
    )
    model.graph.node.insert(
        0, helper.make_node("Transpose", [INPUT_NAME], [pixels], perm=[0, 2, 3, 1])
    )
    # Types further on were inferred for bytes; the checker infers them anew.
    del model.graph.value_info[:]


def _probabilities_out(model: Any, head: Head, temperature: float) -> None:
    """Put softmax or sigmoid behind the logits of a head; the output keeps its name."""
    from onnx import helper, numpy_helper

    logits, scaled, divisor = (
        f"{head.name}_{part}" for part in ("logits", "scaled", "temperature")
    )
    for node in model.graph.node:
        node.input[:] = [logits if name == head.name else name for name in node.input]
        node.output[:] = [logits if name == head.name else name for name in node.output]
    model.graph.initializer.append(
        numpy_helper.from_array(np.asarray(temperature, np.float32), divisor)
    )
    model.graph.node.append(helper.make_node("Div", [logits, divisor], [scaled]))
    model.graph.node.append(
        helper.make_node("Sigmoid", [scaled], [head.name])
        if head.kind is HeadKind.LABELS
        else helper.make_node("Softmax", [scaled], [head.name], axis=1)
    )


def _check_same(artifact: Path, model: Model, target: Path) -> None:
    """Compare the rewritten graph with the artifact's own engine on its golden images.

    Raises:
        ParityError: a probability differs.
    """
    manifest = model.manifest
    golden = load_golden(artifact / GOLDEN_FILE, manifest.schema, manifest.input).images
    batch = model.batch or len(golden)
    padded = -(-len(golden) // batch) * batch
    images = np.resize(golden, (padded, *manifest.input.shape))  # begins anew at the end
    rewritten = import_onnxruntime().InferenceSession(
        str(target), providers=["CPUExecutionProvider"]
    )
    own = open_session(artifact, manifest, SessionOptions())
    try:
        for part in np.split(images, padded // batch):
            planes = np.ascontiguousarray(part.transpose(0, 3, 1, 2), np.float32)
            found = rewritten.run([*manifest.outputs], {INPUT_NAME: planes})
            _compare(artifact, manifest, own.run(part), found)
    finally:
        own.close()


def _compare(artifact: Path, manifest: Manifest, logits: Logits, found: Scores) -> None:
    for head, values in zip(manifest.schema.heads, found, strict=True):
        temperature = manifest.operating.temperatures.get(head.name, 1.0)
        expected = probabilities(head, logits[head.name], temperature)
        apart = float(np.abs(values - expected).max())
        if not apart <= _TOLERANCE:
            raise ParityError(
                f"{artifact}: head {head.name!r} differs by {apart:.2g} once nvinfer's input and "
                "output are put around the graph; serve it with Triton"
            )


def _tell_limits(model: Model) -> None:
    """Tell what this schema loses in nvinfer."""
    schema = model.manifest.schema
    several = [head.name for head in schema.heads if head.kind is HeadKind.LABELS and head.size > 1]
    if several:
        say(f"{model.name}: nvinfer tells only the most probable label of {', '.join(several)}")
    if schema.readings:
        names = ", ".join(reading.name for reading in schema.readings)
        say(
            f"{model.name}: nvinfer does not decode {names}: formats, blanks and thresholds are "
            "left to whoever reads its tensors"
        )
