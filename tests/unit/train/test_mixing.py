"""Mixup and CutMix: what becomes of pixels and shares, in one process and in several."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from torch import Tensor

from runtime.errors import ConfigError
from train.losses import Truth
from train.mixing import MixingConfig, mix

HEIGHT, WIDTH = 10, 20


def pictures(count: int) -> Tensor:
    """Row i is grey level 10 * i throughout."""
    return (
        (10 * torch.arange(count, dtype=torch.uint8)).view(-1, 1, 1, 1).repeat(1, HEIGHT, WIDTH, 3)
    )


def targets(count: int) -> dict[str, Tensor]:
    return {"one": torch.arange(count), "some": torch.arange(2 * count).view(-1, 2)}


def mixed(
    config: MixingConfig, count: int = 8, *, step: int = 0, seed: int = 0
) -> tuple[Tensor, tuple[Truth, ...]]:
    place = {"rows": (0, count), "batch": count}
    return mix(pictures(count), targets(count), config, seed=seed, step=step, **place)  # type: ignore[arg-type]


def test_off_changes_nothing() -> None:
    for config in (MixingConfig(), MixingConfig(mixup=1, probability=0)):
        images, truths = mixed(config)
        assert torch.equal(images, pictures(8))
        assert len(truths) == 1
        assert truths[0].share.tolist() == [1.0] * 8


def test_partners_are_neighbours_and_shares_add_up_to_1() -> None:
    _, (own, other) = mixed(MixingConfig(mixup=1), 7)
    assert own.targets["one"].tolist() == [0, 1, 2, 3, 4, 5, 6]
    assert other.targets["one"].tolist() == [1, 0, 3, 2, 5, 4, 6]
    assert other.targets["some"][0].tolist() == [2, 3]
    torch.testing.assert_close(own.share + other.share, torch.ones(7))
    assert own.share[0] == own.share[1] != own.share[2]


def test_mixup_weighs_every_pixel_with_the_share() -> None:
    images, (own, _) = mixed(MixingConfig(mixup=1))
    for row in range(8):
        partner = row ^ 1
        level = 10 * (own.share[row] * row + (1 - own.share[row]) * partner)
        assert (images[row] == level.round()).all()


@given(st.integers(0, 1000), st.sampled_from([0.3, 1, 4]))
def test_cutmix_gives_a_box_its_share_of_the_area(step: int, alpha: float) -> None:
    images, (own, _) = mixed(MixingConfig(cutmix=alpha), step=step)
    for row in range(8):
        theirs = (images[row, :, :, 0] == 10 * (row ^ 1)).numpy()
        assert (theirs | (images[row, :, :, 0] == 10 * row).numpy()).all()
        assert own.share[row].item() == pytest.approx(1 - theirs.mean())
        rows, columns = np.flatnonzero(theirs.any(1)), np.flatnonzero(theirs.any(0))
        if theirs.any():  # one box
            assert theirs[rows[0] : rows[-1] + 1, columns[0] : columns[-1] + 1].all()


def test_shares_are_drawn_from_their_distributions() -> None:
    # Beta(0.4, 0.4) has the variance 1 / (4 * 1.8); of a uniform centre CutMix loses the borders.
    def shares(config: MixingConfig) -> Any:
        parts = [mixed(config, 64, step=step)[1][0].share[::2] for step in range(60)]
        return torch.cat(parts).numpy()

    mixup = shares(MixingConfig(mixup=0.4))
    assert mixup.mean() == pytest.approx(0.5, abs=0.03)
    assert mixup.var() == pytest.approx(1 / 7.2, rel=0.1)
    assert 0.5 < shares(MixingConfig(cutmix=1)).mean() < 0.75
    half = shares(MixingConfig(mixup=0.4, probability=0.5))
    assert (half == 1).mean() == pytest.approx(0.5, abs=0.05)


def test_both_take_turns() -> None:
    images, _ = mixed(MixingConfig(mixup=1, cutmix=1), 64)
    plain = [len(np.unique(image)) == 1 for image in images.numpy()]
    assert 10 < sum(plain) < 54


@pytest.mark.parametrize("config", [MixingConfig(mixup=1, cutmix=1, probability=0.8)])
def test_a_rank_mixes_as_one_process_does(config: MixingConfig) -> None:
    whole, (own, other) = mixed(config, 16, step=5)
    images, labels = pictures(16), targets(16)
    for first, last in ((0, 8), (8, 16), (4, 8), (12, 14)):
        part = {name: value[first:last] for name, value in labels.items()}
        found, (mine, theirs) = mix(
            images[first:last], part, config, seed=0, step=5, rows=(first, last), batch=16
        )
        assert torch.equal(found, whole[first:last])
        assert torch.equal(mine.share, own.share[first:last])
        assert torch.equal(theirs.targets["one"], other.targets["one"][first:last])


def test_steps_and_seeds_mix_differently_and_repeatably() -> None:
    config = MixingConfig(mixup=1)
    shares = [
        mixed(config, step=s, seed=d)[1][0].share.tolist() for s, d in ((0, 0), (1, 0), (0, 1))
    ]
    assert shares[0] != shares[1] != shares[2] != shares[0]
    assert mixed(config)[1][0].share.tolist() == shares[0]


@pytest.mark.parametrize(
    "wrong",
    [{"mixup": -1.0}, {"cutmix": float("nan")}, {"mixup": float("inf")}, {"probability": 1.1}],
)
def test_settings_that_make_no_sense_are_refused(wrong: dict[str, float]) -> None:
    with pytest.raises(ConfigError, match="need mixup and cutmix >= 0 and probability"):
        MixingConfig(**wrong)
