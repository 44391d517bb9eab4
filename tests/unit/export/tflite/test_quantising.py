"""What ranges are measured from; needs no converter."""

from __future__ import annotations

from collections.abc import Sequence
from types import SimpleNamespace
from typing import Any

import numpy as np
import numpy.typing as npt
import pytest

from export.tflite import quantising
from export.tflite.quantising import _measured


@pytest.mark.parametrize("crops", [3, 8, 15, 16])
def test_all_crops_are_measured_in_batches_of_the_graphs_size(
    monkeypatch: pytest.MonkeyPatch, crops: int
) -> None:
    seen: list[int] = []

    def values(_: object, batches: Sequence[npt.NDArray[np.uint8]]) -> dict[str, Any]:
        (batch,) = batches
        assert batch.shape == (8, 2, 2, 3)
        seen.extend(batch[:, 0, 0, 0].tolist())
        return {"layer": batch.astype(np.float32), "other": batch.astype(np.float32)}

    monkeypatch.setattr(quantising, "tensor_values", values)
    graph: Any = SimpleNamespace(tensors=[SimpleNamespace(shape=(8, 2, 2, 3))], input=0)
    images = np.broadcast_to(
        np.arange(crops, dtype=np.uint8)[:, None, None, None], (crops, 2, 2, 3)
    )
    assert _measured(graph, images, ["layer"]) == {"layer": (0.0, crops - 1.0)}
    assert set(seen) == set(range(crops))
