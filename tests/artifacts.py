"""Tiny networks and whole artifact folders for tests, made without torch.

``TinyNetwork`` is one convolution and one matrix product with random weights. It is written as a
real ONNX graph and also computed by hand in numpy, which is the oracle for every engine::

    network = TinyNetwork(SMALL_SCHEMA, SMALL_INPUT)
    manifest = write_artifact(tmp_path / "tiny", network)                       # ONNX Runtime
    manifest = write_artifact(tmp_path / "tiny", network, engine="openvino")
    network.logits(images)                                                      # by hand
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any, Final

import numpy as np
import numpy.typing as npt
import onnx
from onnx import TensorProto, helper, numpy_helper

from runtime.arrays import Images
from runtime.engine_imports import import_openvino
from runtime.golden import write_golden
from runtime.manifest import GOLDEN_FILE, MANIFEST_FILE, FileRecord, Manifest
from runtime.preprocess import InputSpec
from runtime.schema import INPUT_NAME, Format, Head, HeadKind, Reading, Schema
from runtime.scores import OperatingPoint
from runtime.staging import new_folder, write_text

__all__ = ["SMALL_INPUT", "SMALL_SCHEMA", "TinyNetwork", "random_images", "write_artifact"]

_CELL: Final = 8
_CHANNELS: Final = 8

SMALL_INPUT: Final = InputSpec(height=16, width=32)
SMALL_SCHEMA: Final = Schema(
    name="small",
    heads=(
        Head(name="first", kind=HeadKind.CHOICE, labels=("A", "B", "京")),
        Head(name="second", kind=HeadKind.CHOICE, labels=("0", "1", "A", "B")),
        Head(name="third", kind=HeadKind.CHOICE, labels=("_", "0", "1")),
        Head(name="colour", kind=HeadKind.CHOICE, labels=("blue", "green")),
        Head(name="extras", kind=HeadKind.LABELS, labels=("dirty", "tilted", "night")),
    ),
    readings=(
        Reading(
            name="code",
            heads=("first", "second", "third"),
            blank="_",
            formats=(
                Format("letters", (("A", "B"), ("A", "B"), ("_",))),
                Format("province", (("京",), ("0", "1"), ("0", "1"))),
            ),
        ),
    ),
)
"""Two kinds of heads, a reading with a blank and two formats: every path of the decoder."""


def random_images(count: int, spec: InputSpec = SMALL_INPUT, *, seed: int = 0) -> Images:
    """Return (count, height, width, 3) uint8 noise, darker or lighter from image to image."""
    random = np.random.default_rng(seed)
    level = random.uniform(0.2, 1.0, size=(count, 1, 1, 3))
    return (random.integers(0, 256, size=(count, *spec.shape)) * level).astype(np.uint8)


class TinyNetwork:
    """A network of one convolution (8x8, stride 8, ReLU) and one matrix product.

    Args:
        schema: Heads to put out.
        spec: Input size; sides are multiples of 8.
        seed: Of the random weights.
        scale: Spread of the logits.
    """

    def __init__(
        self,
        schema: Schema = SMALL_SCHEMA,
        spec: InputSpec = SMALL_INPUT,
        *,
        seed: int = 0,
        scale: float = 1.0,
    ) -> None:
        random = np.random.default_rng(seed)
        features = _CHANNELS * (spec.height // _CELL) * (spec.width // _CELL)
        total = sum(head.size for head in schema.heads)
        self.schema = schema
        self.spec = spec
        fan_in = 3 * _CELL * _CELL
        self.kernel = random.normal(0, 4 / fan_in**0.5, (_CHANNELS, 3, _CELL, _CELL))
        self.kernel = self.kernel.astype(np.float32)
        self.weight = random.normal(0, scale / features**0.5, (features, total)).astype(np.float32)
        self.bias = random.normal(0, scale, total).astype(np.float32)

    def logits(self, images: Images) -> dict[str, npt.NDArray[np.float32]]:
        """Compute the network in numpy: head name to (N, K)."""
        rows, columns = self.spec.height // _CELL, self.spec.width // _CELL
        scaled = images.astype(np.float32) / 255 - 0.5
        cells = scaled.reshape(len(images), rows, _CELL, columns, _CELL, 3)
        maps = np.einsum("nrhcwi,oihw->norc", cells, self.kernel)
        flat = np.maximum(maps, 0).reshape(len(images), -1)
        scores = (flat @ self.weight + self.bias).astype(np.float32)
        ends = np.cumsum([head.size for head in self.schema.heads])[:-1]
        parts = np.split(scores, ends, axis=1)
        return {h.name: part for h, part in zip(self.schema.heads, parts, strict=True)}

    def to_onnx(self, *, batch: int | None = None) -> onnx.ModelProto:
        """Return the graph as the artifact format wants it; ``batch`` fixes its N."""
        size = "batch" if batch is None else batch
        heads = self.schema.heads
        arrays: Mapping[str, npt.NDArray[Any]] = {
            "kernel": self.kernel,
            "weight": self.weight,
            "bias": self.bias,
            "unit": np.asarray(1 / 255, np.float32),
            "half": np.asarray(0.5, np.float32),
            "sizes": np.asarray([head.size for head in heads], np.int64),
        }
        nodes = [
            helper.make_node("Cast", [INPUT_NAME], ["float"], to=TensorProto.FLOAT),
            helper.make_node("Mul", ["float", "unit"], ["unscaled"]),
            helper.make_node("Sub", ["unscaled", "half"], ["centred"]),
            helper.make_node("Transpose", ["centred"], ["nchw"], perm=[0, 3, 1, 2]),
            helper.make_node("Conv", ["nchw", "kernel"], ["maps"], strides=[_CELL, _CELL]),
            helper.make_node("Relu", ["maps"], ["active"]),
            helper.make_node("Flatten", ["active"], ["flat"]),
            helper.make_node("Gemm", ["flat", "weight", "bias"], ["scores"]),
            helper.make_node("Split", ["scores", "sizes"], [head.name for head in heads], axis=1),
        ]
        graph = helper.make_graph(
            nodes,
            "tiny",
            [
                helper.make_tensor_value_info(
                    INPUT_NAME, TensorProto.UINT8, [size, *self.spec.shape]
                )
            ],
            [
                helper.make_tensor_value_info(head.name, TensorProto.FLOAT, [size, head.size])
                for head in heads
            ],
            [numpy_helper.from_array(array, name) for name, array in arrays.items()],
        )
        model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)], ir_version=8)
        onnx.checker.check_model(model, full_check=True)
        return model


def write_artifact(
    folder: Path,
    network: TinyNetwork,
    *,
    engine: str = "onnx",
    batch: int | None = None,
    precision: str = "fp32",
    golden: int = 3,
    operating: OperatingPoint | None = None,
    version: int = 1,
    change: Callable[[onnx.ModelProto], object] | None = None,
) -> Manifest:
    """Write a complete artifact and return its manifest.

    Args:
        folder: Must not exist.
        network: Whose graph to write; its numpy scores become the golden vectors.
        engine: ``onnx`` or ``openvino``.
        batch: Fixes the graph's batch size.
        precision: What the manifest says.
        golden: Number of golden vectors.
        operating: Default: temperatures of 1, no thresholds.
        version: What the manifest says.
        change: Called with the graph before it is written, for broken artifacts.
    """
    images = random_images(golden, network.spec, seed=99)
    model = network.to_onnx(batch=batch)
    if change is not None:
        change(model)
    with new_folder(folder) as staged:
        engine_file = _WRITERS[engine](staged, model)
        write_golden(staged / GOLDEN_FILE, images, network.logits(images))
        manifest = Manifest(
            id=f"{network.schema.name}-{engine}-{precision}-test",
            version=version,
            schema=network.schema,
            input=network.spec,
            engine=engine,
            engine_file=engine_file,
            precision=precision,
            operating=operating or OperatingPoint(),
            golden_tolerance=0.01,
            files={path.name: FileRecord.of(path) for path in sorted(staged.iterdir())},
        )
        write_text(staged / MANIFEST_FILE, manifest.to_json())
    return manifest


def _write_onnx(folder: Path, model: onnx.ModelProto) -> str:
    onnx.save_model(model, folder / "model.onnx")
    return "model.onnx"


def _write_openvino(folder: Path, model: onnx.ModelProto) -> str:
    openvino = import_openvino()
    converted = openvino.Core().read_model(model.SerializeToString())
    openvino.save_model(converted, folder / "model.xml", compress_to_fp16=False)
    return "model.xml"


_WRITERS: Final[Mapping[str, Callable[[Path, onnx.ModelProto], str]]] = {
    "onnx": _write_onnx,
    "openvino": _write_openvino,
}
