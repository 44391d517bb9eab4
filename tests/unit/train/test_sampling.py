"""Epochs: a function of (seed, epoch), of one length, and balanced as the method says."""

from __future__ import annotations

import numpy as np
import numpy.typing as npt
import pytest
from hypothesis import given
from hypothesis import strategies as st

from benchmarks.labelled import Targets
from runtime.errors import ConfigError
from train.sampling import EpochOrders, SamplingConfig, repeat_factors

PLAIN = SamplingConfig()


def choices(**columns: list[int]) -> Targets:
    return Targets({name: np.array(column) for name, column in columns.items()}, {})


def factors(targets: Targets, config: SamplingConfig, order: list[int]) -> list[float]:
    return repeat_factors(targets, np.array(order), config).tolist()


@st.composite
def sets(draw: st.DrawFn) -> tuple[Targets, npt.NDArray[np.int64]]:
    """Up to 12 samples of a choice head and a labels head, some shown several times."""
    count = draw(st.integers(1, 12))
    column = draw(st.lists(st.integers(-1, 3), min_size=count, max_size=count))
    bits = draw(st.lists(st.integers(-1, 1), min_size=2 * count, max_size=2 * count))
    repeats = draw(st.lists(st.integers(1, 3), min_size=count, max_size=count))
    labels = np.array(bits, np.int8).reshape(count, 2)
    order = np.repeat(np.arange(count), repeats)
    return Targets({"kind": np.array(column)}, {"tags": labels}), order


CONFIGS = st.builds(
    SamplingConfig,
    balance=st.sampled_from([0.0, 0.3, 0.5, 1.0]),
    max_repeats=st.sampled_from([1.0, 2.5, 20.0]),
)


# ---- factors ----------------------------------------------------------------------------------


def test_factors_by_hand() -> None:
    targets = choices(kind=[0, 0, 0, 0, 1, 1, 2, -1])
    order = [*range(8)]
    full = SamplingConfig(balance=1)
    assert factors(targets, full, order) == [1, 1, 1, 1, 2, 2, 4, 1]
    root = SamplingConfig(balance=0.5)
    assert factors(targets, root, order) == pytest.approx([1] * 4 + [2**0.5] * 2 + [2, 1])
    assert factors(targets, SamplingConfig(balance=1, max_repeats=3), order)[6] == 3
    assert factors(targets, PLAIN, order) == [1] * 8
    # Repeats count: class 2 shown four times is as frequent as class 0.
    assert factors(targets, full, [*order, 6, 6, 6])[6] == 1


def test_a_sample_follows_its_rarest_class_in_any_head() -> None:
    targets = Targets(
        {"kind": np.array([0, 0, 0, 1])},
        {"tags": np.array([[1, 0], [1, 1], [1, 0], [-1, -1]], np.int8)},
    )
    order = [0, 1, 2, 3]
    assert factors(targets, SamplingConfig(balance=1), order) == [1, 3, 1, 3]
    assert factors(targets, SamplingConfig(balance=1, heads=("tags",)), order) == [1, 3, 1, 1]
    assert factors(targets, SamplingConfig(balance=1, heads=("kind",)), order) == [1, 1, 1, 3]
    with pytest.raises(ConfigError, match=r"heads \['size'\] are not in the schema"):
        factors(targets, SamplingConfig(balance=1, heads=("size",)), order)


@pytest.mark.parametrize(
    "wrong", [{"balance": -0.1}, {"balance": 1.1}, {"balance": float("nan")}, {"max_repeats": 0.5}]
)
def test_settings_out_of_range(wrong: dict[str, float]) -> None:
    with pytest.raises(ConfigError, match="balance must lie in"):
        SamplingConfig(**wrong)


# ---- epochs -----------------------------------------------------------------------------------


@given(sets(), CONFIGS, st.integers(0, 5))
def test_every_epoch_has_one_length_and_every_sample_its_share(
    drawn: tuple[Targets, npt.NDArray[np.int64]], config: SamplingConfig, seed: int
) -> None:
    targets, order = drawn
    orders = EpochOrders(targets, order, config, seed=seed)
    base = np.bincount(order)
    expected = repeat_factors(targets, order, config) * base
    assert expected.sum() - 1e-6 <= orders.size < expected.sum() + 1
    stretched = expected * orders.size / expected.sum()
    for epoch in range(3):
        shown = np.bincount(orders.epoch(epoch), minlength=len(base))
        assert shown.sum() == orders.size
        assert (shown >= base).all()
        # An entry of the order is shown its share of times, rounded down or up.
        assert (np.abs(shown - stretched) < base + 1e-9).all()


@given(sets(), CONFIGS, st.integers(0, 30), st.integers(1, 9))
def test_the_sequence_does_not_depend_on_where_it_is_entered(
    drawn: tuple[Targets, npt.NDArray[np.int64]], config: SamplingConfig, start: int, count: int
) -> None:
    whole = EpochOrders(*drawn, config, seed=3).samples(0, start + count)
    late = EpochOrders(*drawn, config, seed=3).samples(start, start + count)
    assert whole[start:].tolist() == late.tolist()


def test_without_balance_an_epoch_is_a_permutation_of_the_order() -> None:
    order = np.array([0, 1, 1, 2, 2, 2])
    orders = EpochOrders(choices(kind=[0, 0, 1]), order, PLAIN, seed=1)
    for epoch in range(4):
        expected = np.random.default_rng((1, epoch)).permutation(order)
        assert orders.epoch(epoch).tolist() == expected.tolist()


def test_full_balance_shows_all_classes_equally_often() -> None:
    kinds = [0] * 700 + [1] * 200 + [2] * 93 + [-1] * 7
    config = SamplingConfig(balance=1, max_repeats=50)
    targets = choices(kind=kinds)
    orders = EpochOrders(targets, np.arange(1000), config, seed=0)
    shown = np.concatenate([orders.epoch(epoch) for epoch in range(20)])
    counts = np.bincount(np.array(kinds)[shown] + 1)[1:] / 20
    assert counts == pytest.approx([700, 700, 700], rel=0.01)


def test_on_average_a_sample_is_shown_as_often_as_its_factor_says() -> None:
    kinds = [0] * 10 + [1] * 7 + [2] * 4
    config = SamplingConfig(balance=0.5)
    orders = EpochOrders(choices(kind=kinds), np.arange(21), config, seed=5)
    epochs = 1000
    shown = np.zeros(21)
    for epoch in range(epochs):
        shown += np.bincount(orders.epoch(epoch), minlength=21)
    expected = repeat_factors(choices(kind=kinds), np.arange(21), config)
    expected *= orders.size / expected.sum()
    # The remainder r of a factor is a coin of that chance: its mean strays by sqrt(r(1-r)/n).
    assert shown / epochs == pytest.approx(expected, abs=5 * 0.5 / epochs**0.5)
