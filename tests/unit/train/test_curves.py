"""Training curves."""

from __future__ import annotations

import cv2
import numpy as np
import pytest

from train.curves import draw_curves


def row(step: int, loss: float) -> dict[str, object]:
    return {
        "step": step,
        "seconds": 1.0,
        "lr": 1e-3,
        "loss": loss,
        "validation_loss": loss,
        "exact": 0.5,
        "heads": {"colour": 0.5, "side": float("nan")},
    }


@pytest.mark.parametrize("history", [[], [row(1, 2.0)], [row(1, 2.0), row(2, 1.0), row(3, 0.5)]])
def test_curves_are_a_picture(history: list[dict[str, object]]) -> None:
    image = cv2.imdecode(np.frombuffer(draw_curves(history), np.uint8), cv2.IMREAD_COLOR)
    assert image is not None
    assert image.shape == (450, 1000, 3)
