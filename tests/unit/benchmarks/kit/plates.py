"""A small artifact, crops for it and a budget."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import cv2
import numpy as np

from benchmarks.kit.contents import Settings
from benchmarks.kit.packing import Parts
from tests.artifacts import TinyNetwork, write_artifact

__all__ = ["crops", "parts_of"]

BUDGET = """
schema = 1
limits = [
  { metric = "size.engine_mb", max = 1.0 },
  { metric = "accuracy.exact", min = 0.0 },
]
"""


def crops(folder: Path, labels: Sequence[str]) -> Path:
    """Write a picture of noise per label; return the list."""
    (folder / "images").mkdir(parents=True)
    random = np.random.default_rng(0)
    lines = []
    for number, label in enumerate(labels):
        name = f"images/{number}.png"
        cv2.imwrite(str(folder / name), random.integers(0, 256, (24, 40, 3)).astype(np.uint8))
        lines.append(f"{name}\t{label}\n")
    (folder / "test.tsv").write_text("".join(lines), encoding="utf-8")
    return folder / "test.tsv"


def parts_of(folder: Path) -> Parts:
    """Write everything that a kit of one artifact takes."""
    write_artifact(folder / "tiny", TinyNetwork(), engine="onnx")
    (folder / "budget.toml").write_text(BUDGET)
    return Parts(
        artifacts={"tiny": folder / "tiny"},
        data=crops(folder / "data", ["AB,blue"] * 6 + ["京01,green,-"] * 6),
        validation=None,
        budget=folder / "budget.toml",
        wheels=None,
        settings=Settings(duration=0.05, cold_starts=1),
    )
