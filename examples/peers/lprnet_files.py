"""What a training of LPRNet leaves: weights, an ONNX file, and its description for benchmarks."""

from __future__ import annotations

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any, Final

import numpy as np
import torch
from safetensors.torch import save_file
from torch import Tensor

from runtime.builtin_schemas import BUILTIN
from runtime.errors import EngineError
from runtime.schema import Schema
from runtime.staging import new_folder, write_text
from train.data import CropSet
from train.graph import write_onnx

from .lprnet import INPUT, LPRNet, Vocabulary, spelled

__all__ = ["EXTRA_PACKAGES", "as_input", "write_files"]

EXTRA_PACKAGES: Final = ("onnx", "onnxscript", "onnxruntime")
_CHECKED: Final = 64
_TOLERANCE: Final = 1e-3


def as_input(images: Tensor) -> Tensor:
    """Return crops as the network takes them.

    Args:
        images: (N, 24, W, 3) uint8 BGR.

    Returns:
        (N, 3, 24, W) RGB in [0, 1], channels last in memory.
    """
    # The view keeps the crops' own order in memory: channels last.
    return images.flip(3).permute(0, 3, 1, 2).float() / 255


def write_files(
    network: LPRNet,
    schema: Schema,
    vocabulary: Vocabulary,
    crops: CropSet,
    folder: Path,
    *,
    record: Mapping[str, Any],
) -> None:
    """Write ``folder``: lprnet.onnx, lprnet.toml, weights.safetensors, training.json.

    Args:
        network: Trained.
        schema: Whose reading it spells.
        vocabulary: Its classes.
        crops: On which the ONNX file must answer as ``network`` does.
        folder: Must be free.
        record: How the weights came to be, plain JSON values.

    Raises:
        EngineError: the ONNX file gives other scores or another text.
        ConfigError: ``folder`` is taken.
    """
    images = as_input(torch.from_numpy(crops.images_at(np.arange(min(_CHECKED, len(crops))))))
    network.eval()
    with new_folder(folder) as staged:
        example = images[:2].contiguous()
        write_onnx(network, example, staged / "lprnet.onnx", "images", ["logits"])
        _check(network, images, staged / "lprnet.onnx", vocabulary.blank)
        weights = {name: value.contiguous() for name, value in network.state_dict().items()}
        save_file(weights, staged / "weights.safetensors")
        told = {**record, "classes": [*vocabulary.labels, "(blank)"]}
        write_text(staged / "training.json", json.dumps(told, ensure_ascii=False, indent=1))
        known = schema.name in BUILTIN and BUILTIN[schema.name]() == schema
        if not known:
            write_text(staged / "schema.json", json.dumps(schema.to_object(), ensure_ascii=False))
        source = schema.name if known else "schema.json"
        write_text(staged / "lprnet.toml", _description(schema, vocabulary, source))


def _check(network: LPRNet, images: Tensor, path: Path, blank: int) -> None:
    """Compare scores and texts of ``images`` in ONNX Runtime with the network's."""
    import onnxruntime

    session = onnxruntime.InferenceSession(path, providers=["CPUExecutionProvider"])
    (answer,) = session.run(["logits"], {"images": images.contiguous().numpy()})
    with torch.inference_mode():
        expected = network(images).numpy()
    difference = float(np.abs(answer - expected).max())
    same = np.array_equal(spelled(answer, blank), spelled(expected, blank))
    if not (same and difference <= _TOLERANCE):
        raise EngineError(
            f"{path}: scores differ from torch's by up to {difference:.2g} (at most {_TOLERANCE} "
            f"allowed), texts are {'the same' if same else 'others'}"
        )


def _description(schema: Schema, vocabulary: Vocabulary, source: str) -> str:
    """Return the description of the file (docs/foreign-models.md)."""
    others = [head.name for head in schema.heads if head.name not in vocabulary.heads]
    return f"""\
# LPRNet (arXiv 1806.10447), trained here: training.json.
format = 1
engine = "onnx"
file = "lprnet.onnx"
schema = {json.dumps(source)}
precision = "fp32"

[input]
name = "images"
layout = "NCHW"
dtype = "float32"
colour = "RGB"
height = {INPUT.height}
width = {INPUT.width}
resize = "{INPUT.resize}"
scale = {1 / 255}

[outputs]
scores = "logits"
labels = {json.dumps(vocabulary.labels, ensure_ascii=False)}
unanswered = {json.dumps(others)}

[outputs.ctc]
output = "logits"
axes = "TK"
blank = {vocabulary.blank}
"""
