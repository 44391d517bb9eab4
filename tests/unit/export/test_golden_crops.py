from __future__ import annotations

import numpy as np

from export.golden_crops import choose_golden
from runtime.arrays import Logits
from runtime.schema import Head, HeadKind, Schema

SCHEMA = Schema(
    name="two",
    heads=(
        Head(name="colour", kind=HeadKind.CHOICE, labels=("blue", "green", "white")),
        Head(name="extras", kind=HeadKind.LABELS, labels=("dirty", "night")),
    ),
)


def scores(*crops: tuple[int, float, bool]) -> Logits:
    """Crops by colour, how far it is ahead of the others, and whether they are dirty."""
    return {
        "colour": np.asarray([np.eye(3)[colour] * ahead for colour, ahead, _ in crops], np.float32),
        "extras": np.asarray([[9 if dirty else -9, -9] for *_, dirty in crops], np.float32),
    }


def chosen(logits: Logits, count: int, tolerance: float = 0.25) -> list[int]:
    return choose_golden(SCHEMA, logits, count=count, tolerance=tolerance).tolist()


def test_together_they_show_as_many_labels_as_they_can() -> None:
    logits = scores((0, 9, False), (0, 8, False), (1, 7, False), (1, 6, True), (2, 5, False))
    assert chosen(logits, 1) == [3]  # green and dirty
    assert chosen(logits, 2) == [0, 3]
    assert chosen(logits, 3) == [0, 3, 4]
    assert chosen(logits, 4) == [0, 1, 3, 4]  # nothing new: the surest


def test_unsure_ones_come_last() -> None:
    logits = scores((0, 9, False), (1, 1, True), (0, 8, False))
    assert chosen(logits, 2) == [0, 2]
    assert chosen(logits, 2, tolerance=0.1) == [0, 1]
    assert chosen(logits, 3) == [0, 1, 2]


def test_there_are_fewer_than_asked_for() -> None:
    assert chosen(scores((0, 9, False), (1, 0, False)), 16) == [0, 1]
