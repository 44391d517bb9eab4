"""Hypothesis strategies for the contract's values."""

from __future__ import annotations

from typing import Any

import numpy as np
import numpy.typing as npt
from hypothesis import strategies as st

from runtime.schema import INPUT_NAME, Format, Head, HeadKind, Reading, Schema
from runtime.scores import OperatingPoint

LABELS = st.text(
    st.characters(exclude_categories=("C", "Z"), exclude_characters=",|"), min_size=1, max_size=3
)
Scores = dict[str, npt.NDArray[np.float32]]
NAMES = st.from_regex(r"[a-z][a-z0-9_]{0,5}", fullmatch=True).filter(lambda n: n != INPUT_NAME)


@st.composite
def heads(draw: st.DrawFn, name: str, kind: HeadKind | None = None, most: int = 4) -> Head:
    """One head of up to ``most`` labels."""
    kind = draw(st.sampled_from(HeadKind)) if kind is None else kind
    least = 2 if kind is HeadKind.CHOICE else 1
    labels = draw(st.lists(LABELS, min_size=least, max_size=most, unique=True))
    return Head(
        name=name,
        kind=kind,
        labels=tuple(labels),
        loss_weight=draw(st.floats(0.01, 10)),
        drop_budget=draw(st.floats(0, 1)),
    )


@st.composite
def schemas(draw: st.DrawFn, *, formats: bool | None = None) -> Schema:
    """A schema of free heads and at most one reading of up to three positions."""
    names = draw(st.lists(NAMES, min_size=1, max_size=6, unique=True))
    read = draw(st.integers(1 if formats else 0, min(3, len(names))))
    reading_heads = [draw(heads(name, HeadKind.CHOICE)) for name in names[:read]]
    free = [draw(heads(name)) for name in names[read:]]
    readings: tuple[Reading, ...] = ()
    if read:
        blank = draw(
            st.none() | st.sampled_from([label for h in reading_heads for label in h.labels])
        )
        wanted = draw(st.integers(1 if formats else 0, 0 if formats is False else 3))
        rows = [
            Format(f"format {row}", tuple(draw(_subset(head.labels)) for head in reading_heads))
            for row in range(wanted)
        ]
        # A reading's name must differ from every head's; no head has a capital letter.
        readings = (
            Reading(
                name="READING",
                heads=tuple(head.name for head in reading_heads),
                blank=blank,
                formats=tuple(rows),
            ),
        )
    order = draw(st.permutations([*reading_heads, *free]))
    return Schema(name=draw(st.text(max_size=5)), heads=tuple(order), readings=readings)


def _subset(labels: tuple[str, ...]) -> st.SearchStrategy[tuple[str, ...]]:
    return st.lists(st.sampled_from(labels), min_size=1, unique=True).map(tuple)


@st.composite
def operating_points(draw: st.DrawFn, schema: Schema) -> OperatingPoint:
    """An operating point that fits ``schema``, some heads left at their defaults."""
    chosen = [h.name for h in schema.heads if h.kind is HeadKind.CHOICE and draw(st.booleans())]
    labelled = [h for h in schema.heads if h.kind is HeadKind.LABELS and draw(st.booleans())]
    share = st.floats(0, 1)
    return OperatingPoint(
        temperatures={
            h.name: draw(st.floats(0.25, 4)) for h in schema.heads if draw(st.booleans())
        },
        choice_thresholds={name: draw(share) for name in chosen},
        label_thresholds={h.name: tuple(draw(share) for _ in h.labels) for h in labelled},
        answer_threshold=draw(st.none() | share),
        precision_floor=draw(st.none() | st.floats(0.5, 1)),
        fitted_on=draw(st.none() | st.text(max_size=5)),
    )


@st.composite
def logits(draw: st.DrawFn, schema: Schema, count: int) -> dict[str, npt.NDArray[np.float32]]:
    """Random (count, K) scores of every head, without ties."""
    random = np.random.default_rng(draw(st.integers(0, 2**32 - 1)))
    spread = draw(st.sampled_from([0.1, 3.0, 60.0]))
    return {
        head.name: random.normal(0, spread, (count, head.size)).astype(np.float32)
        for head in schema.heads
    }


@st.composite
def tied_logits(draw: st.DrawFn, schema: Schema, count: int) -> Scores:
    """Scores of every head on a coarse grid, as INT8 engines give them: many are equal."""
    random = np.random.default_rng(draw(st.integers(0, 2**32 - 1)))
    step = draw(st.sampled_from([0.0625, 1.0, 8.0]))
    return {
        head.name: (step * random.integers(-2, 3, (count, head.size))).astype(np.float32)
        for head in schema.heads
    }


JSON_VALUES: st.SearchStrategy[Any] = st.recursive(
    st.none()
    | st.booleans()
    | st.integers()
    | st.floats(allow_nan=False, allow_infinity=False)
    | st.text(max_size=5),
    lambda inner: (
        st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=5), inner, max_size=3)
    ),
    max_leaves=6,
)
