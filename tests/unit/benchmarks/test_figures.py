from __future__ import annotations

from pathlib import Path

import cv2
import numpy as np
import pytest

from benchmarks import figures
from benchmarks.calibration import reliability
from benchmarks.figures import draw_confusion, draw_latencies, draw_reliability
from benchmarks.metrics import evaluate
from runtime.decode import decode
from runtime.errors import MissingExtraError
from runtime.schema import Head, HeadKind, Schema
from runtime.scores import OperatingPoint
from tests.unit.benchmarks.cases import GARMENTS, logits_of, targets_of

pytest.importorskip("matplotlib")


def is_picture(path: Path) -> bool:
    image = cv2.imread(str(path))
    return image is not None and image.std() > 1


@pytest.mark.parametrize("known", [True, False])
def test_confusions_of_both_kinds_of_heads(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, known: bool
) -> None:
    if not known:  # a machine without Chinese fonts
        monkeypatch.setattr(figures, "_installed_fonts", lambda: ("DejaVu Sans",))
        monkeypatch.setattr(figures, "_characters", lambda: frozenset(map(ord, "redgnblu#012")))
    heads = (
        Head(name="colour", kind=HeadKind.CHOICE, labels=("red", "京", "沪")),
        GARMENTS.heads[1],
    )
    schema = Schema(name="s", heads=heads)
    answers = {"colour": [0, 1, 2, 1], "tags": [[0, 1], [1, 1], [0, 0], [0, 0]]}
    targets = targets_of(
        schema, {"colour": [0, 1, 1, 1], "tags": [[0, 1], [1, 0], [-1, 0], [0, 0]]}
    )
    metrics = evaluate(
        schema, decode(schema, logits_of(schema, answers), OperatingPoint()), targets
    )
    for head in heads:
        draw_confusion(tmp_path / f"{head.name}.png", head, metrics.heads[head.name])
        assert is_picture(tmp_path / f"{head.name}.png")


def test_head_without_a_single_label_can_be_drawn(tmp_path: Path) -> None:
    answers = {"colour": [0], "tags": [[0, 0]]}
    targets = targets_of(GARMENTS, {"colour": [-1], "tags": [[-1, -1]]})
    decoded = decode(GARMENTS, logits_of(GARMENTS, answers), OperatingPoint())
    metrics = evaluate(GARMENTS, decoded, targets)
    for head in GARMENTS.heads:
        draw_confusion(tmp_path / "a.png", head, metrics.heads[head.name])
    assert is_picture(tmp_path / "a.png")


def test_reliability_and_latency(tmp_path: Path) -> None:
    random = np.random.default_rng(0)
    confidence = random.random(50)
    found = reliability(confidence, random.random(50) < confidence)
    draw_reliability(tmp_path / "r.png", found, "name")
    draw_reliability(tmp_path / "e.png", reliability(np.zeros(0), np.zeros(0, np.bool_)), "none")
    times = {"a": random.integers(1000, 2000, 99), "same": np.full(9, 1500)}
    draw_latencies(tmp_path / "l.png", times)
    assert all(is_picture(tmp_path / f"{name}.png") for name in "rel")


def test_missing_matplotlib_is_told(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(__import__("sys").modules, "matplotlib", None)
    with pytest.raises(MissingExtraError, match=r"headlight\[bench\]"):
        figures.check_matplotlib()
