"""What every engine's graph must look like, whoever made it.

One input ``image``, uint8 (N, height, width, 3); one output per head, named after it and in schema
order, float32 (N, K) logits. N is free or fixed. Everything else (type conversion, normalisation,
layout) happens inside the graph.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import numpy.typing as npt

from .arrays import Images
from .errors import EngineError
from .preprocess import InputSpec
from .schema import INPUT_NAME, Schema

__all__ = ["Port", "Scores", "check_graph", "check_images", "run_fixed", "run_within"]

Scores = Sequence[npt.NDArray[np.float32]]
"""One (N, K) array per head, in schema order."""


@dataclass(frozen=True, slots=True)
class Port:
    """An input or output of a graph."""

    name: str
    dtype: str
    """As numpy spells it: ``uint8``, ``float32``."""
    shape: tuple[int | None, ...]
    """None where a size is free."""

    def __str__(self) -> str:
        sizes = ", ".join("N" if size is None else str(size) for size in self.shape)
        return f"{self.name!r} {self.dtype} ({sizes})"


def check_graph(
    path: Path, inputs: Sequence[Port], outputs: Sequence[Port], schema: Schema, spec: InputSpec
) -> int | None:
    """Return the graph's fixed batch size, or None if it takes any.

    Raises:
        EngineError: a name, order, type or shape is not what schema and input spec say.
    """
    batch = inputs[0].shape[0] if inputs and inputs[0].shape else None
    expected_inputs = [Port(INPUT_NAME, "uint8", (batch, *spec.shape))]
    # Shape inference may lose a fixed N on the way to an output, but must not invent one.
    allowed_batches = (batch, None)
    expected_outputs = [Port(head.name, "float32", (batch, head.size)) for head in schema.heads]
    found = [
        Port(port.name, port.dtype, (batch, *port.shape[1:]))
        if port.shape and port.shape[0] in allowed_batches
        else port
        for port in outputs
    ]
    _compare(path, "input", expected_inputs, inputs)
    _compare(path, "outputs", expected_outputs, found)
    return batch


def _compare(path: Path, what: str, expected: Sequence[Port], found: Sequence[Port]) -> None:
    if list(expected) != list(found):
        raise EngineError(
            f"{path}: the graph's {what} must be [{'; '.join(map(str, expected))}], got "
            f"[{'; '.join(map(str, found))}]; export the checkpoint again with this schema"
        )


def check_images(images: Images, spec: InputSpec) -> None:
    """Fail unless ``images`` is a batch that the graph can take.

    Raises:
        EngineError: not (N >= 1, height, width, 3) uint8.
    """
    if (
        images.dtype != np.uint8
        or images.ndim != 4
        or images.shape[1:] != spec.shape
        or not len(images)
    ):
        raise EngineError(
            f"expected images (N >= 1, {spec.height}, {spec.width}, 3) uint8, got {images.shape} "
            f"{images.dtype}; prepare them with runtime.preprocess.fit_many"
        )


def run_fixed(run: Callable[[Images], Scores], images: Images, batch: int | None) -> Scores:
    """Run any number of images through a graph that takes exactly ``batch`` at a time, or any."""
    if batch is None or batch == len(images):
        return run(images)
    return run_within(run, images, batch, batch)


def run_within(
    run: Callable[[Images], Scores], images: Images, smallest: int, largest: int
) -> Scores:
    """Run any number of images through a graph that takes ``smallest`` to ``largest`` at a time."""
    parts = []
    for start in range(0, len(images), largest):
        part = images[start : start + largest]
        count = len(part)
        if count < smallest:
            padding = np.zeros((smallest - count, *images.shape[1:]), np.uint8)
            part = np.concatenate([part, padding])
        parts.append([scores[:count] for scores in run(part)])
    return [np.concatenate(heads) for heads in zip(*parts, strict=True)]
