"""Bare graphs behind one Protocol: what goes in and out, as the file says it."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Final, Protocol, TypeAlias

import numpy as np
import numpy.typing as npt

__all__ = ["Array", "Graph", "Tensor", "fixed_batch", "numpy_name"]

Array: TypeAlias = npt.NDArray[Any]


@dataclass(frozen=True, slots=True)
class Tensor:
    """An input or output of a graph, as the file has it."""

    name: str
    dtype: str
    """As numpy spells it."""
    shape: tuple[int | None, ...]
    """None where a size is free."""
    grid: tuple[float, int] | None = None
    """Scale and zero point of a TFLite tensor of integers: what it means is ``(q - zero) * scale``.
    """

    def __str__(self) -> str:
        sizes = ", ".join("?" if size is None else str(size) for size in self.shape)
        return f"{self.name!r} {self.dtype} ({sizes})"


class Graph(Protocol):
    """A loaded graph. Any thread may call ``run``."""

    @property
    def inputs(self) -> Sequence[Tensor]:
        """In the order of the file."""

    @property
    def outputs(self) -> Sequence[Tensor]:
        """In the order of the file."""

    @property
    def batches(self) -> tuple[int, int] | None:
        """Fewest and most samples that a call takes; None where any number goes."""

    @property
    def facts(self) -> Mapping[str, str]:
        """``engine``, ``version``, ``device`` and ``threads``."""

    def run(self, feed: Array) -> Sequence[Array]:
        """Run the graph on its one input; return all outputs in the order of ``outputs``.

        Raises:
            EngineError: the engine failed or was closed.
        """

    def close(self) -> None:
        """Free the graph; a second call does nothing."""


def fixed_batch(shape: Sequence[int | None]) -> tuple[int, int] | None:
    """Return the one batch size of an input's shape as a range; None where it is free."""
    first = shape[0] if shape else None
    return None if first is None else (first, first)


def numpy_name(name: str) -> str:
    """Return numpy's spelling of a type as ONNX or OpenVINO spell it, or the name as it is."""
    return _NAMES.get(name, name)


_NAMES: Final[Mapping[str, str]] = {
    **{f"tensor({name})": name for name in ("uint8", "int8", "float16", "int64", "int32")},
    "tensor(float)": np.dtype(np.float32).name,
    "u8": "uint8",
    "i8": "int8",
    "f32": "float32",
    "f16": "float16",
}
