"""Augmentation of a batch: random, but a function of (seed, step, row), and of nothing else."""

from __future__ import annotations

from dataclasses import fields, replace
from itertools import pairwise

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import Tensor

from runtime.errors import ConfigError
from tests.training import NO_CHANGES
from tests.unit.train.augment.crops import chequered
from train.augment import PHOTOS, PLATES, AugmentConfig, augment_batch

NAMES = [field.name for field in fields(AugmentConfig)]
EVERYTHING = AugmentConfig(**{name: 1.0 if name != "erase_area" else 0.1 for name in NAMES})


def changed(
    images: Tensor, config: AugmentConfig, *, seed: int = 0, step: int = 0, start: int = 0
) -> Tensor:
    """Augment ``images`` as the rows from ``start`` of a batch of 64."""
    rows = (start, start + len(images))
    return augment_batch(images, config, seed=seed, step=step, rows=rows, batch=64)


@settings(max_examples=25)
@given(
    strengths=st.lists(st.floats(0, 1), min_size=len(NAMES), max_size=len(NAMES)),
    height=st.integers(2, 16).map(lambda n: 4 * n),
    width=st.integers(2, 40).map(lambda n: 4 * n),
    seed=st.integers(0, 2**32),
)
def test_size_and_type_stay_and_the_crops_are_not_touched(
    strengths: list[float], height: int, width: int, seed: int
) -> None:
    config = AugmentConfig(**dict(zip(NAMES, strengths, strict=True)))
    images = chequered(8, height, width)
    kept = images.clone()
    result = changed(images, config, seed=seed)
    assert result.shape == images.shape
    assert result.dtype == torch.uint8
    assert result.is_contiguous()
    assert torch.equal(images, kept)


def test_strength_zero_changes_nothing() -> None:
    images = chequered(64)
    assert torch.equal(changed(images, NO_CHANGES), images)


def test_seed_and_step_decide() -> None:
    images = chequered(16)
    first, again = changed(images, EVERYTHING), changed(images, EVERYTHING)
    assert torch.equal(first, again)
    for other in (changed(images, EVERYTHING, seed=1), changed(images, EVERYTHING, step=1)):
        assert (first != other).flatten(1).any(1).all()


@pytest.mark.parametrize("config", [PLATES, PHOTOS, EVERYTHING])
@pytest.mark.parametrize("size", [(48, 144), (20, 36)])
def test_a_split_batch_is_the_whole_batch(config: AugmentConfig, size: tuple[int, int]) -> None:
    images = chequered(64, *size)
    for step in range(2):
        whole = changed(images, config, step=step)
        for cuts in ([0, 32, 64], [0, 1, 3, 20, 37, 64]):
            parts = [
                changed(images[start:stop], config, step=step, start=start)
                for start, stop in pairwise(cuts)
            ]
            assert torch.equal(torch.cat(parts), whole)


def test_threads_and_the_other_crops_make_no_difference() -> None:
    images = chequered(64)
    threads = torch.get_num_threads()
    results = []
    try:
        for count in (1, 2):
            torch.set_num_threads(count)
            results.append(changed(images, PLATES))
    finally:
        torch.set_num_threads(threads)
    assert torch.equal(*results)
    others = images.clone()
    others[:32] = 0
    assert torch.equal(changed(others, PLATES)[32:], results[0][32:])


def test_global_generators_and_autocast_are_left_alone() -> None:
    images = chequered(16)
    torch.manual_seed(3)
    torch_state, numpy_state = torch.get_rng_state(), str(np.random.get_state())
    first = changed(images, EVERYTHING)
    assert torch.equal(torch.get_rng_state(), torch_state)
    assert str(np.random.get_state()) == numpy_state
    with torch.autocast("cpu", torch.bfloat16):
        assert torch.equal(changed(images, EVERYTHING), first)


@pytest.mark.parametrize("name", [name for name in NAMES if name != "erase_area"])
def test_each_strength_changes_crops_by_itself(name: str) -> None:
    config = replace(NO_CHANGES, erase_area=0.05, **{name: 1.0})
    images = chequered(64)
    share = (changed(images, config) != images).flatten(1).any(1).float().mean()
    assert share >= {"geometry": 0.75, "erase": 0.95}.get(name, 1.0)


def test_a_strength_leaves_the_numbers_of_the_others_alone() -> None:
    images = chequered(64)
    flipped = changed(images, replace(NO_CHANGES, flip=0.5))
    both = changed(images, replace(NO_CHANGES, flip=0.5, noise=0.3))
    alike = (flipped == both).flatten(1).all(1)
    assert alike.float().mean() == pytest.approx(0.7, abs=0.2)


def test_what_cannot_be_rows_of_a_batch_is_refused() -> None:
    images = chequered(4)
    for rows, batch in (((0, 3), 8), ((6, 10), 8), ((-2, 2), 8)):
        with pytest.raises(ConfigError, match="cannot be rows"):
            augment_batch(images, PLATES, seed=0, step=0, rows=rows, batch=batch)
    for wrong in (images.float(), images[0], images.permute(0, 3, 1, 2)):
        with pytest.raises(ConfigError, match=r"\(N, H, W, 3\) uint8"):
            augment_batch(wrong, PLATES, seed=0, step=0, rows=(0, 4), batch=4)


@pytest.mark.gpu
@pytest.mark.skipif(not torch.cuda.is_available(), reason="no NVIDIA GPU on this machine")
def test_a_gpu_changes_crops_as_the_processor_does() -> None:
    images = chequered(64, 48, 144)
    for config in (PLATES, PHOTOS):
        here, there = changed(images, config), changed(images.cuda(), config)
        assert there.is_cuda
        assert (here.int() - there.cpu().int()).abs().float().mean() < 0.5
        parts = [changed(images[k : k + 32].cuda(), config, start=k) for k in (0, 32)]
        assert torch.equal(torch.cat(parts), there)
