"""Losses of single elements against formulas written anew in numpy, and at their extremes."""

from __future__ import annotations

from collections.abc import Callable
from functools import partial
from math import log

import numpy as np
import numpy.typing as npt
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from scipy.special import expit, log_softmax
from torch import Tensor

from train.losses.elements import (
    asymmetric,
    binary_cross_entropy,
    cross_entropy,
    sigmoid_focal,
    smoothed,
    softmax_focal,
)

Floats = npt.NDArray[np.float64]
ROWS, LABELS = 6, 4
scores = st.lists(st.floats(-8, 8, width=32), min_size=ROWS * LABELS, max_size=ROWS * LABELS).map(
    lambda values: np.array(values).reshape(ROWS, LABELS)
)
classes = st.lists(st.integers(0, LABELS - 1), min_size=ROWS, max_size=ROWS).map(np.array)
flags = st.lists(st.integers(0, 1), min_size=ROWS * LABELS, max_size=ROWS * LABELS).map(
    lambda values: np.array(values).reshape(ROWS, LABELS)
)


def tensor(values: Floats) -> Tensor:
    return torch.tensor(values, dtype=torch.float32)


def assert_close(found: Tensor, expected: Floats) -> None:
    np.testing.assert_allclose(found.numpy(), expected, rtol=2e-4, atol=1e-5)


def spread(truth: npt.NDArray[np.int64], smoothing: float) -> Floats:
    return np.eye(LABELS)[truth] * (1 - smoothing) + smoothing / LABELS


# ---- choice heads -----------------------------------------------------------------------------


def test_focal_worked_by_hand() -> None:
    # softmax(0, 0, ln 2) = (1/4, 1/4, 1/2): (1 - 1/2)^2 ln 2 and (3/4)^2 ln 4.
    logits = torch.tensor([[0.0, 0.0, log(2)]] * 2)
    found = softmax_focal(logits, torch.tensor([2, 0]), gamma=2.0)
    assert found.flatten().tolist() == pytest.approx([log(2) / 4, 9 / 16 * log(4)])


def test_smoothing_worked_by_hand() -> None:
    assert smoothed(torch.tensor([2, 0]), 4, 0.2).tolist() == [
        pytest.approx([0.05, 0.05, 0.85, 0.05]),
        pytest.approx([0.85, 0.05, 0.05, 0.05]),
    ]


@given(scores, classes, st.floats(0, 0.9), st.floats(0, 5))
def test_choice_elements_follow_their_formulas(
    values: Floats, truth: npt.NDArray[np.int64], smoothing: float, gamma: float
) -> None:
    log_p = log_softmax(values, 1)
    surprise = -spread(truth, smoothing) * log_p
    target = torch.from_numpy(truth)
    assert_close(cross_entropy(tensor(values), target, smoothing), surprise.sum(1, keepdims=True))
    focused = (surprise * (1 - np.exp(log_p)) ** gamma).sum(1, keepdims=True)
    found = softmax_focal(tensor(values), target, gamma=gamma, smoothing=smoothing)
    assert_close(found, focused)


@given(scores, classes, st.floats(0, 0.9))
def test_focal_with_gamma_0_is_cross_entropy(
    values: Floats, truth: npt.NDArray[np.int64], smoothing: float
) -> None:
    logits, target = tensor(values), torch.from_numpy(truth)
    found = softmax_focal(logits, target, gamma=0.0, smoothing=smoothing)
    torch.testing.assert_close(found, cross_entropy(logits, target, smoothing))


# ---- labels heads -----------------------------------------------------------------------------


@given(scores, flags, st.floats(0, 5), st.floats(0.05, 0.95), st.floats(0, 0.5))
def test_label_elements_follow_their_formulas(
    values: Floats, truth: npt.NDArray[np.int64], gamma: float, alpha: float, clip: float
) -> None:
    logits, target = tensor(values), torch.from_numpy(truth)
    p, yes = expit(values), truth == 1
    surprise = np.where(yes, -np.log(p), -np.log1p(-p))
    assert_close(binary_cross_entropy(logits, target), surprise)
    factor = np.linspace(0.5, 4, LABELS)
    weighted = np.where(yes, factor * surprise, surprise)
    assert_close(binary_cross_entropy(logits, target, tensor(factor)), weighted)
    focused = np.where(yes, alpha * (1 - p) ** gamma, (1 - alpha) * p**gamma) * surprise
    assert_close(sigmoid_focal(logits, target, gamma=gamma, alpha=alpha), focused)
    shifted = np.maximum(p - clip, 0)
    negative = shifted**gamma * -np.log1p(-shifted)
    expected = np.where(yes, (1 - p) ** 1.5 * surprise, negative)
    found = asymmetric(logits, target, gamma_neg=gamma, gamma_pos=1.5, clip=clip)
    assert_close(found, expected)


@given(scores, flags)
def test_without_focus_all_are_binary_cross_entropy(
    values: Floats, truth: npt.NDArray[np.int64]
) -> None:
    logits, target = tensor(values), torch.from_numpy(truth)
    plain = binary_cross_entropy(logits, target)
    torch.testing.assert_close(sigmoid_focal(logits, target, gamma=0.0), plain)
    halved = sigmoid_focal(logits, target, gamma=0.0, alpha=0.5)
    torch.testing.assert_close(halved, plain / 2)
    found = asymmetric(logits, target, gamma_neg=0, gamma_pos=0, clip=0)
    torch.testing.assert_close(found, plain)


def test_easy_negatives_are_dropped_below_the_clip() -> None:
    logits = torch.tensor([[-4.0, -2.0]], requires_grad=True)  # p = 0.018 and 0.119
    found = asymmetric(logits, torch.zeros(1, 2), gamma_neg=4, gamma_pos=0, clip=0.05)
    found.sum().backward()
    assert logits.grad is not None
    assert found[0, 0] == 0
    assert logits.grad[0, 0] == 0
    assert found[0, 1] > 0
    assert logits.grad[0, 1] > 0


# ---- extremes ---------------------------------------------------------------------------------

ELEMENTS: dict[str, Callable[[Tensor, Tensor], Tensor]] = {
    "ce": partial(cross_entropy, smoothing=0.1),
    "focal": partial(softmax_focal, gamma=2.0, smoothing=0.1),
    "focal, gamma below 1": partial(softmax_focal, gamma=0.5),
    "bce": binary_cross_entropy,
    "sigmoid focal": partial(sigmoid_focal, gamma=2.0, alpha=0.25),
    "sigmoid focal, gamma below 1": partial(sigmoid_focal, gamma=0.5),
    "asymmetric": partial(asymmetric, gamma_neg=4.0, gamma_pos=1.0, clip=0.05),
    "asymmetric, gammas below 1": partial(asymmetric, gamma_neg=0.5, gamma_pos=0.5, clip=0.05),
    "asymmetric without clip": partial(asymmetric, gamma_neg=0.5, gamma_pos=0.5, clip=0.0),
}


@pytest.mark.parametrize("name", ELEMENTS)
@pytest.mark.parametrize("size", [0.0, 1.0, 30.0, 300.0])
def test_bf16_logits_of_any_size_give_finite_losses_and_gradients(name: str, size: float) -> None:
    signs = torch.tensor([[1.0, -1.0, 0.0], [-1.0, 1.0, 0.5]])
    half = (size * signs).to(torch.bfloat16).requires_grad_()
    choice = name.startswith(("ce", "focal"))
    for truth in (0, 1, -1):
        target = torch.full((2,) if choice else (2, 3), truth)
        half.grad = None
        each = ELEMENTS[name](half.float(), target)
        each.sum().backward()
        assert half.grad is not None
        assert torch.isfinite(each).all()
        assert torch.isfinite(half.grad).all()
