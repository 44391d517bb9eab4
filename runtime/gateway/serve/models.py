"""The two models that a gateway serves: scores for pixels, and answers for pictures.

``NAME`` takes pixels at the network's size and gives its logits, as the engine behind it does:
what ``runtime.kserve_client`` reads with. ``NAME-answers`` takes JPEG or PNG files of any size and
gives decoded answers as JSON.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from functools import partial
from typing import Any, Final, cast

import msgspec
import numpy as np

from runtime.arrays import Image, Images
from runtime.errors import OverloadError
from runtime.kserve import DATATYPES
from runtime.manifest import Manifest
from runtime.results import Result
from runtime.schema import INPUT_NAME

from .crops import are_quick, decode_crop
from .tensors import BYTES, TensorSpec, Values

__all__ = ["ANSWERS_SUFFIX", "Model", "answer_json", "models_of"]

ANSWERS_SUFFIX: Final = "-answers"
_ANSWER: Final = "answer"
_DATATYPES: Final = {dtype: name for name, dtype in DATATYPES.items()}
_DIGITS: Final = 6
_QUICK_IMAGES: Final = 16
_NS_PER_MS: Final = 1e6


@dataclass(frozen=True, slots=True)
class Model:
    """A model as clients see it."""

    name: str
    version: str
    platform: str
    input: TensorSpec
    outputs: Mapping[str, TensorSpec]
    quick: Callable[[Values], bool]
    """Whether to prepare an input takes less than to wake another thread."""
    prepare: Callable[[Values], Sequence[Image]]
    """From the input to images for the reader."""
    answer: Callable[[Sequence[Result]], Mapping[str, Values]]
    """From the reader's results to outputs."""

    def metadata(self) -> dict[str, object]:
        """Return what ``GET /v2/models/NAME`` says."""
        return {
            "name": self.name,
            "versions": [self.version],
            "platform": self.platform,
            "inputs": [self.input.to_object()],
            "outputs": [spec.to_object() for spec in self.outputs.values()],
        }


def models_of(manifest: Manifest, *, name: str, largest_px: float) -> Mapping[str, Model]:
    """Return the models by name.

    Args:
        manifest: Of the artifact in use.
        name: Of the model; the schema's where empty.
        largest_px: Pixels that a picture may have.
    """
    name = name or manifest.schema.name
    models = (
        _score_model(name, manifest),
        _answer_model(name + ANSWERS_SUFFIX, manifest, largest_px),
    )
    return {model.name: model for model in models}


def _score_model(name: str, manifest: Manifest) -> Model:
    return Model(
        name=name,
        version=str(manifest.version),
        platform=f"headlight_{manifest.engine}",
        input=TensorSpec(INPUT_NAME, _DATATYPES["uint8"], (-1, *manifest.input.shape)),
        outputs={
            head.name: TensorSpec(head.name, _DATATYPES["float32"], (-1, head.size))
            for head in manifest.schema.heads
        },
        quick=lambda values: len(values) <= _QUICK_IMAGES,
        prepare=_pixels,
        answer=partial(_scores, [head.name for head in manifest.schema.heads]),
    )


def _pixels(values: Values) -> Sequence[Image]:
    return [*cast(Images, values)]


def _scores(heads: Sequence[str], results: Sequence[Result]) -> Mapping[str, Values]:
    try:
        rows = [result.scores or {} for result in results]
        if len(rows) == 1:  # views cost a tenth of stacking
            return {head: rows[0][head][None] for head in heads}
        return {head: np.stack([row[head] for row in rows]) for head in heads}
    except KeyError as error:
        raise OverloadError(
            "an artifact with other heads serves now; ask for the model's metadata again"
        ) from error


def _answer_model(name: str, manifest: Manifest, largest_px: float) -> Model:
    return Model(
        name=name,
        version=str(manifest.version),
        platform=f"headlight_{manifest.engine}",
        input=TensorSpec(INPUT_NAME, BYTES, (-1,)),
        outputs={_ANSWER: TensorSpec(_ANSWER, BYTES, (-1,))},
        quick=lambda values: are_quick(cast(Sequence[bytes], values)),
        prepare=partial(_decode, largest_px),
        answer=_answers,
    )


def _decode(largest_px: float, values: Values) -> Sequence[Image]:
    return [
        decode_crop(data, f"element {index}", largest_px=largest_px)
        for index, data in enumerate(cast(Sequence[bytes], values))
    ]


def _answers(results: Sequence[Result]) -> Mapping[str, Values]:
    return {_ANSWER: [answer_json(result) for result in results]}


def answer_json(result: Result) -> bytes:
    """Return a result as JSON: what ``/v1/read`` and ``NAME-answers`` say of a picture."""
    answer = _answer_object(result)
    try:
        return msgspec.json.encode(answer)
    except UnicodeEncodeError:  # an artifact's id that UTF-8 cannot spell
        return json.dumps(answer).encode()


def _answer_object(result: Result) -> dict[str, Any]:
    timings, name = result.timings_ns, result.artifact
    return {
        "text": result.text,
        "confidence": round(result.confidence, _DIGITS),
        "accepted": result.accepted,
        "heads": {
            name: {
                "label": head.label,
                "labels": head.labels,
                "confidence": round(head.confidence, _DIGITS),
                "accepted": head.accepted,
            }
            for name, head in result.heads.items()
        },
        "readings": {
            name: {
                "text": reading.text,
                "raw_text": reading.raw_text,
                "confidence": round(reading.confidence, _DIGITS),
            }
            for name, reading in result.readings.items()
        },
        "artifact": None if name is None else {"id": name.id, "version": name.version},
        "timings_ms": {
            "prepare": timings.prepare / _NS_PER_MS,
            "queue": timings.queue / _NS_PER_MS,
            "engine": timings.engine / _NS_PER_MS,
            "decode": timings.decode / _NS_PER_MS,
        },
    }
