from __future__ import annotations

import cv2
import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from benchmarks.budget import Limit
from compress.search.picture import draw_search, pareto_front

from .cases import EXACT, LATENCY, SIZE, confirm, record

LIMITS = (EXACT, LATENCY, SIZE)
points = st.tuples(st.integers(1, 9).map(float), st.integers(0, 9).map(lambda n: n / 10))


def test_the_front_by_hand() -> None:
    given_points = [(2.0, 0.9), (1.0, 0.8), (3.0, 0.9), (1.0, 0.7), (4.0, 0.95)]
    assert pareto_front(given_points) == [(1.0, 0.8), (2.0, 0.9), (4.0, 0.95)]


@given(st.lists(points, max_size=12))
def test_the_front_is_what_nothing_beats(given_points: list[tuple[float, float]]) -> None:
    def beaten(point: tuple[float, float]) -> bool:
        return any(
            other[0] <= point[0] and other[1] >= point[1] and other != point
            for other in given_points
        )

    assert pareto_front(given_points) == sorted({p for p in given_points if not beaten(p)})


@pytest.mark.parametrize(
    "limits",
    [
        LIMITS,
        (SIZE,),
        (
            Limit(metric="speedup.engine", min=30),
            Limit(metric="versus.exact_drop", max=0.005),
        ),
    ],
    ids=["limits", "none of the axes", "against the checkpoint"],
)
@pytest.mark.parametrize("trained", [True, False])
def test_a_picture_is_drawn_whatever_is_known(limits: tuple[Limit, ...], trained: bool) -> None:
    records = [record(0.5, ms=0.5), record(0.9, ms=0.1, engine="onnx")]
    best = None
    if trained:
        records.append(record(0.7, ms=0.25, exact=0.96))
        best = confirm(record(0.8, ms=0.2, exact=0.95), limits, exact=0.975)
        records.append(best)
    png = draw_search(records, limits, reference_exact=0.98, best=best)
    image = cv2.imdecode(np.frombuffer(png, np.uint8), cv2.IMREAD_COLOR)
    assert image is not None
    assert image.std() > 1
