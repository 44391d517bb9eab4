"""GHM-C against a slow reference, and its moving average worked by hand."""

from __future__ import annotations

from itertools import pairwise

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from torch import Tensor

from train.losses.config import HarmonyConfig
from train.losses.harmony import GradientHistograms


def same(tensor: Tensor) -> Tensor:
    return tensor


def reference(
    averages: np.ndarray, norms: np.ndarray, counts: np.ndarray, momentum: float
) -> np.ndarray:
    """The authors' loop over bins, with edges; changes ``averages``; weights of all elements."""
    bins = len(averages)
    edges = np.arange(bins + 1) / bins
    edges[0] -= 1e-6
    edges[-1] += 1e-6
    inside = [(norms >= low) & (norms < high) for low, high in pairwise(edges)]
    found = [counts[place].sum() for place in inside]
    filled = sum(count > 0 for count in found)
    weights = np.zeros_like(norms)
    for b, (place, count) in enumerate(zip(inside, found, strict=True)):
        if count > 0:
            old = averages[b]
            averages[b] = momentum * old + (1 - momentum) * count if old > 0 else count
            weights[place] = counts.sum() / averages[b] / filled
    return weights


def test_the_moving_average_worked_by_hand() -> None:
    histograms = GradientHistograms(1, HarmonyConfig(bins=4, momentum=0.75))

    def step(*norms: float) -> list[float]:
        norm = torch.tensor(norms).unsqueeze(1)
        return histograms.weigh([0], [norm], [torch.ones_like(norm)], same)[0].flatten().tolist()

    # Bins 0, 0, 0 and 3: 4 / (3 * 2) and 4 / (1 * 2). The mean weight is 1.
    assert step(0.0, 0.1, 0.2, 1.0) == pytest.approx([2 / 3, 2 / 3, 2 / 3, 2])
    assert histograms.averages.tolist() == [[3, 0, 0, 1]]
    # Bin 0 falls to 0.75 * 3 + 0.25 * 1, bin 1 starts with its first count, bin 3 stays.
    assert step(0.0, 0.3, 0.3) == pytest.approx([3 / (2.5 * 2), 3 / (2 * 2), 3 / (2 * 2)])
    assert histograms.averages.tolist() == [[2.5, 2, 0, 1]]
    assert step(0.75) == pytest.approx([1.0])
    assert step(0.76, 0.9) == pytest.approx([2 / 1.25] * 2)
    assert histograms.averages.tolist() == [[2.5, 2, 0, 1.25]]


batches = st.lists(
    st.lists(st.tuples(st.floats(0, 1), st.sampled_from([0, 0.25, 1])), min_size=1, max_size=12),
    min_size=1,
    max_size=5,
)


@given(batches, st.integers(2, 30), st.floats(0, 0.99))
def test_several_steps_follow_the_reference(
    steps: list[list[tuple[float, float]]], bins: int, momentum: float
) -> None:
    histograms = GradientHistograms(1, HarmonyConfig(bins=bins, momentum=momentum))
    averages = np.zeros(bins)
    for batch in steps:
        # In the middle of bins: at edges, rounding decides.
        places = np.array([min(int(norm * bins), bins - 1) for norm, _ in batch])
        norms, counts = (places + 0.5) / bins, np.array([count for _, count in batch], float)
        given_norms = torch.tensor(norms, dtype=torch.float32).unsqueeze(1)
        given_counts = torch.tensor(counts, dtype=torch.float32).unsqueeze(1)
        found = histograms.weigh([0], [given_norms], [given_counts], same)[0].flatten().numpy()
        expected = reference(averages, norms, counts, momentum)
        counted = counts > 0
        np.testing.assert_allclose(found[counted], expected[counted], rtol=1e-4)
        np.testing.assert_allclose(histograms.averages[0].numpy(), averages, rtol=1e-4)


def test_without_average_the_mean_weight_is_1() -> None:
    histograms = GradientHistograms(1, HarmonyConfig(momentum=0))
    norms = torch.rand(200, 1, generator=torch.Generator().manual_seed(0)) ** 3
    for _ in range(2):
        weights = histograms.weigh([0], [norms], [torch.ones_like(norms)], same)[0]
        assert weights.mean().item() == pytest.approx(1, rel=1e-4)
        assert weights.min() < 0.2 < 1.5 < weights.max()


def test_rows_are_apart_and_pooled_ones_are_not() -> None:
    config = HarmonyConfig(bins=2)
    first, second = torch.tensor([[0.1], [0.1], [0.9]]), torch.tensor([[0.9, 0.9]])
    counts = [torch.ones_like(first), torch.ones_like(second)]
    apart = GradientHistograms(2, config)
    found = [w.flatten().tolist() for w in apart.weigh([0, 1], [first, second], counts, same)]
    assert found == [pytest.approx([3 / 4, 3 / 4, 3 / 2]), pytest.approx([1, 1])]
    pooled = GradientHistograms(1, config)
    found = [w.flatten().tolist() for w in pooled.weigh([0, 0], [first, second], counts, same)]
    assert found == [pytest.approx([5 / 4, 5 / 4, 5 / 6]), pytest.approx([5 / 6, 5 / 6])]
    assert pooled.averages.tolist() == [[2, 3]]


def test_two_processes_weigh_as_one() -> None:
    config = HarmonyConfig(bins=5)
    norms = torch.rand(40, 1, generator=torch.Generator().manual_seed(1))
    ones = torch.ones_like(norms)
    whole = GradientHistograms(1, config).weigh([0], [norms], [ones], same)[0]
    # The other half's counts are added to what each half finds.
    found = []
    for mine, other in ((norms[:20], norms[20:]), (norms[20:], norms[:20])):
        theirs = torch.histc(other, 5, 0, 1)
        half = GradientHistograms(1, config)
        found += half.weigh([0], [mine], [ones[:20]], lambda counts, t=theirs: counts + t)
    torch.testing.assert_close(torch.cat(found), whole)
