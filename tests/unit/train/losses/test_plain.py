"""Plain losses against values worked by hand and against formulas written anew in numpy."""

from __future__ import annotations

from math import exp, log

import numpy as np
import numpy.typing as npt
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from runtime.schema import Head, HeadKind, Schema
from train.losses import head_losses, total_loss

SCHEMA = Schema(
    name="two",
    heads=(
        Head(name="one", kind=HeadKind.CHOICE, labels=("a", "b", "c")),
        Head(name="some", kind=HeadKind.LABELS, labels=("x", "y"), loss_weight=0.25),
    ),
)


def losses(
    one: list[list[float]],
    some: list[list[float]],
    truth: list[int],
    flags: list[list[int]],
) -> dict[str, torch.Tensor]:
    logits = {
        "one": torch.tensor(one, requires_grad=True),
        "some": torch.tensor(some, requires_grad=True),
    }
    targets = {"one": torch.tensor(truth), "some": torch.tensor(flags)}
    found = head_losses(SCHEMA, logits, targets)
    total_loss(SCHEMA, found).backward()
    for value in logits.values():
        assert value.grad is not None
        assert torch.isfinite(value.grad).all()
    return found | {f"{name} gradient": value.grad for name, value in logits.items()}


def test_values_worked_by_hand() -> None:
    found = losses([[0.0, 0.0, log(2)], [0.0, 0.0, 0.0]], [[0.0, log(3)], [0.0, 0.0]], [2, 0],
                   [[1, 1], [0, 0]])  # fmt: skip
    # softmax(0, 0, ln 2) = (1/4, 1/4, 1/2); of zeros 1/3 each.
    assert found["one"].item() == pytest.approx((log(2) + log(3)) / 2)
    # sigmoid(0) = 1/2, sigmoid(ln 3) = 3/4: -ln of 1/2, 3/4, 1/2, 1/2.
    assert found["some"].item() == pytest.approx((3 * log(2) + log(4 / 3)) / 4)


def test_the_total_is_weighted() -> None:
    found = losses([[0.0, 0.0, 0.0]], [[0.0, 0.0]], [0], [[0, 0]])
    assert total_loss(SCHEMA, found).item() == pytest.approx(log(3) + 0.25 * log(2))


def test_missing_labels_count_for_nothing() -> None:
    known = losses([[1.0, 2.0, 3.0]], [[1.0, -2.0]], [1], [[1, 0]])
    masked = losses(
        [[1.0, 2.0, 3.0], [9.0, -9.0, 0.0]], [[1.0, -2.0], [5.0, 5.0]], [1, -1], [[1, 0], [-1, -1]]
    )
    for name in ("one", "some"):
        assert masked[name].item() == pytest.approx(known[name].item())
        assert masked[f"{name} gradient"][1].abs().max() == 0


def test_single_labels_of_a_set_may_be_missing() -> None:
    found = losses([[0.0, 0.0, 0.0]], [[0.0, 7.0]], [0], [[1, -1]])
    assert found["some"].item() == pytest.approx(log(2))
    assert found["some gradient"].tolist() == [[pytest.approx(-0.125), 0.0]]


def test_a_batch_without_any_label_of_a_head_costs_nothing() -> None:
    found = losses([[1.0, 2.0, 3.0]] * 2, [[1.0, -2.0]] * 2, [-1, -1], [[-1, -1]] * 2)
    assert found["one"].item() == 0
    assert found["some"].item() == 0
    for name in ("one", "some"):
        assert found[f"{name} gradient"].abs().max() == 0


def test_confident_mistakes_stay_finite() -> None:
    found = losses([[100.0, -100.0, 0.0]], [[200.0, -200.0]], [1], [[0, 1]])
    assert found["one"].item() == pytest.approx(200.0)
    assert found["some"].item() == pytest.approx(200.0)


@given(
    logits=st.lists(st.lists(st.floats(-20, 20), min_size=3, max_size=3), min_size=1, max_size=5),
    data=st.data(),
)
def test_choice_loss_follows_its_formula(logits: list[list[float]], data: st.DataObject) -> None:
    truth = data.draw(st.lists(st.integers(-1, 2), min_size=len(logits), max_size=len(logits)))
    found = losses(logits, [[0.0, 0.0]] * len(logits), truth, [[-1, -1]] * len(logits))
    each = []
    for row, label in zip(logits, truth, strict=True):
        probability = [exp(value - max(row)) for value in row]
        surprise = [-(value - max(row) - log(sum(probability))) for value in row]
        if label >= 0:
            each.append(surprise[label])
    expected = sum(each) / max(1, len(each))
    assert found["one"].item() == pytest.approx(expected, rel=1e-4, abs=1e-5)


@given(
    logits=st.lists(st.lists(st.floats(-15, 15), min_size=2, max_size=2), min_size=1, max_size=5),
    data=st.data(),
)
def test_labels_loss_follows_its_formula(logits: list[list[float]], data: st.DataObject) -> None:
    row = st.lists(st.integers(-1, 1), min_size=2, max_size=2)
    flags = data.draw(st.lists(row, min_size=len(logits), max_size=len(logits)))
    found = losses([[0.0] * 3] * len(logits), logits, [-1] * len(logits), flags)
    scores, truth = np.array(logits), np.array(flags)
    probability: npt.NDArray[np.float64] = 1 / (1 + np.exp(-scores))
    each = np.where(truth == 1, -np.log(probability), -np.log1p(-probability))[truth >= 0]
    expected = each.mean() if each.size else 0.0
    assert found["some"].item() == pytest.approx(expected, rel=1e-4, abs=1e-5)


def test_half_precision_logits_are_summed_in_full() -> None:
    logits = {"one": torch.full((2048, 3), 0.1, dtype=torch.bfloat16), "some": torch.zeros(2048, 2)}
    targets = {"one": torch.zeros(2048, dtype=torch.int64), "some": torch.zeros(2048, 2).long()}
    found = head_losses(SCHEMA, logits, targets)
    assert found["one"].dtype == torch.float32
    assert found["one"].item() == pytest.approx(log(3), rel=1e-6)
