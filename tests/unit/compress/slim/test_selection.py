from __future__ import annotations

from collections.abc import Mapping

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from compress.slim.selection import Candidates, Limits, select_channels
from runtime.errors import ConfigError

WIDTHS = {"a": 16, "b": 64, "c": 40}


def removed_share(kept: Mapping[str, int]) -> float:
    return 1 - sum(kept.values()) / sum(WIDTHS.values())


def scores(seed: int) -> dict[str, np.ndarray]:
    random = np.random.default_rng(seed)
    return {name: random.random(width) for name, width in WIDTHS.items()}


@given(
    width=st.integers(1, 600),
    lost=st.integers(0, 600),
    round_to=st.integers(1, 32),
    least=st.integers(1, 32),
    ratio=st.floats(0.05, 1.0),
)
def test_limits_hold(width: int, lost: int, round_to: int, least: int, ratio: float) -> None:
    lost = min(width, lost)
    limits = Limits(round_to=round_to, min_channels=least, max_ratio=ratio)
    kept = limits.kept(width, lost)
    assert 1 <= kept <= width
    assert kept >= min(width, least)
    assert kept >= width - lost
    assert width - kept <= ratio * width + 1e-6
    assert kept == width or kept % round_to == 0
    assert limits.kept(width, max(0, lost - 1)) >= kept


@given(seed=st.integers(0, 1000), target=st.floats(0.05, 0.7))
def test_the_target_is_reached_with_the_fewest(seed: int, target: float) -> None:
    values = scores(seed)
    limits = Limits(round_to=4, min_channels=4)
    removed = select_channels(Candidates(values), limits, removed_share, target)
    kept = {name: width - len(removed[name]) for name, width in WIDTHS.items()}
    share = removed_share(kept)
    # One more step of rounding in one group would fall short.
    assert target <= share <= target + 4 / sum(WIDTHS.values())
    for name, channels in removed.items():
        gone = values[name][channels]
        rest = np.delete(values[name], channels)
        assert not len(gone) or gone.max() <= rest.min()


def test_a_dead_group_keeps_its_floor() -> None:
    values = scores(0) | {"b": np.zeros(64)}
    removed = select_channels(Candidates(values), Limits(), removed_share, 0.46)
    assert len(removed["b"]) == 64 - 8
    assert removed["a"] == []


def test_equal_scores_are_shared_out() -> None:
    values = {name: np.zeros(width) for name, width in WIDTHS.items()}
    removed = select_channels(
        Candidates(values), Limits(round_to=1, min_channels=1), removed_share, 0.5
    )
    shares = [len(removed[name]) / width for name, width in WIDTHS.items()]
    assert shares == pytest.approx([0.5] * 3, abs=0.07)


def test_a_target_beyond_the_floors_names_the_largest() -> None:
    with pytest.raises(ConfigError, match=r"largest reachable is 0\.800"):
        select_channels(Candidates(scores(0)), Limits(), removed_share, 0.9)


def test_a_share_that_is_not_a_number_fails() -> None:
    with pytest.raises(ConfigError, match="cannot be removed"):
        select_channels(Candidates(scores(0)), Limits(), lambda _: float("nan"), 0.5)


@pytest.mark.parametrize("wrong", [{"round_to": 0}, {"min_channels": 0}, {"max_ratio": 0.0}])
def test_impossible_limits_are_refused(wrong: dict[str, float]) -> None:
    with pytest.raises(ConfigError, match="--round-to"):
        Limits(**wrong)


@given(width=st.integers(2, 64), lost=st.integers(0, 64), channels=st.sampled_from([2, 4, 8, 32]))
def test_units_of_several_channels_keep_the_limits_in_channels(
    width: int, lost: int, channels: int
) -> None:
    lost = min(width, lost)
    kept = Limits(round_to=16, min_channels=24).kept(width, lost, channels=channels)
    assert width - lost <= kept <= width
    assert kept * channels >= min(24, width * channels)
    assert kept == width or kept * channels % 16 == 0


def test_what_went_before_counts_towards_the_largest_share() -> None:
    limits = Limits(round_to=1, min_channels=1, max_ratio=0.75)
    assert limits.kept(100, 100) == 25
    assert limits.kept(40, 40, whole=100) == 25
    assert limits.kept(40, 40) == 10


@given(seed=st.integers(0, 1000), target=st.floats(0.05, 0.7))
def test_local_selection_takes_the_same_share_of_every_group(seed: int, target: float) -> None:
    values = scores(seed)
    values["b"] *= 1000  # no ranking over groups would touch it
    limits = Limits(round_to=1, min_channels=1)
    removed = select_channels(Candidates(values), limits, removed_share, target, local=True)
    for name, channels in removed.items():
        assert len(channels) / WIDTHS[name] == pytest.approx(target, abs=1 / 16)
        rest = np.delete(values[name], channels)
        assert not channels or values[name][channels].max() <= rest.min()
