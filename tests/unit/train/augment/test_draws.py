"""Random numbers of a batch: the same however it is split."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from tests.unit.train.augment.crops import draws


@given(st.integers(1, 40), st.data())
def test_parts_of_a_batch_join_to_the_whole(batch: int, data: st.DataObject) -> None:
    cut = data.draw(st.integers(0, batch))
    whole, first, rest = (draws(batch, rows=rows) for rows in [(0, batch), (0, cut), (cut, batch)])
    torch.testing.assert_close(
        whole.uniform(2, 5, 3), torch.cat([first.uniform(2, 5, 3), rest.uniform(2, 5, 3)])
    )
    torch.testing.assert_close(whole.normal(2), torch.cat([first.normal(2), rest.normal(2)]))
    (hit,), (left,), (right,) = (part.chosen(0.5) for part in (whole, first, rest))
    assert hit.rows.tolist() == [*left.rows.tolist(), *(right.rows + cut).tolist()]
    torch.testing.assert_close(
        hit.uniform(0, 1), torch.cat([left.uniform(0, 1), right.uniform(0, 1)])
    )
    assert whole.one_of("abcdefgh") == rest.one_of("abcdefgh")
    torch.testing.assert_close(whole.field(4, 5), rest.field(4, 5))


def test_events_exclude_each_other_and_have_their_probabilities() -> None:
    often, seldom = draws(10_000).chosen(0.5, 0.1)
    assert not set(often.rows.tolist()) & set(seldom.rows.tolist())
    assert len(often) == pytest.approx(5000, abs=250)  # five standard deviations
    assert len(seldom) == pytest.approx(1000, abs=150)


def test_numbers_have_their_range_and_spread() -> None:
    numbers = draws(10_000)
    uniform, normal = numbers.uniform(2, 5).numpy(), numbers.normal(0.3).numpy()
    assert uniform.min() >= 2
    assert uniform.max() <= 5
    assert np.mean(uniform) == pytest.approx(3.5, abs=0.05)
    assert np.std(normal) == pytest.approx(0.3, abs=0.015)
    assert numbers.field(3, 2).dtype == torch.float32


def test_kinds_of_change_have_streams_of_their_own() -> None:
    assert (draws(50, change=0).uniform(0, 1) != draws(50, change=1).uniform(0, 1)).all()
