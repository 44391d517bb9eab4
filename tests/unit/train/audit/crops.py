"""Small labelled pictures for tests of the audit."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path

import cv2
import numpy as np

from runtime.arrays import Image
from runtime.schema import Head, HeadKind, Schema
from train.audit.survey import Survey, take_survey

SCHEMA = Schema(
    name="gate",
    heads=(
        Head(name="colour", kind=HeadKind.CHOICE, labels=("blue", "red")),
        Head(name="extras", kind=HeadKind.LABELS, labels=("dirty", "night")),
    ),
)


def scene(seed: int, *, height: int = 40, width: int = 80) -> Image:
    """A picture of soft, coloured spots; no two seeds look alike."""
    coarse = np.random.default_rng(seed).integers(40, 200, (9, 17, 3), dtype=np.uint8)
    smooth = cv2.resize(coarse, (width, height), interpolation=cv2.INTER_CUBIC)
    return np.asarray(smooth, np.uint8)


def write_list(
    folder: Path, name: str, rows: Sequence[tuple[Image | str, str]], suffix: str = ".png"
) -> Path:
    """Write pictures and their list; a row with a name instead of a picture points there."""
    folder.mkdir(parents=True, exist_ok=True)
    lines = []
    for index, (image, label) in enumerate(rows):
        path = image if isinstance(image, str) else f"{name}-{index}{suffix}"
        if not isinstance(image, str):
            assert cv2.imwrite(str(folder / path), image)
        lines.append(f"{path}\t{label}\n")
    target = folder / f"{name}.tsv"
    target.write_text("".join(lines), encoding="utf-8")
    return target


def survey_of(
    folder: Path, schema: Schema = SCHEMA, **splits: Sequence[tuple[Image | str, str]]
) -> Survey:
    """The survey of splits given as rows, ``train`` first."""
    sources: Mapping[str, Sequence[Path]] = {
        name: [write_list(folder, name, rows)] for name, rows in splits.items()
    }
    return take_survey(sources, schema)
