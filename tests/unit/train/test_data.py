"""Training batches are a function of (seed, step), and targets follow their pictures."""

from __future__ import annotations

from itertools import islice
from pathlib import Path

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from benchmarks.labelled import Targets
from runtime.errors import ConfigError, DataError
from runtime.preprocess import InputSpec
from tests.slimming import SCHEMA, SPEC
from tests.training import NO_CHANGES
from train.augment import AugmentConfig
from train.data import Batch, CropSet, as_tensors, load_crops, training_batches


def numbered(count: int, order: list[int] | None = None) -> CropSet:
    """Crops whose every pixel, and label, is their index."""
    numbers = np.arange(count)
    images = np.empty((count, 8, 8, 3), np.uint8)
    images[:] = numbers[:, None, None, None]
    labels = np.stack([numbers % 2, numbers // 2 % 2], 1).astype(np.int8)
    return CropSet(
        images=images,
        targets=Targets({"index": numbers}, {"bits": labels}),
        texts=[str(n) for n in numbers],
        order=np.array(order if order is not None else range(count)),
        digest="",
    )


def take(crops: CropSet, count: int, *, start: int = 0, **changes: object) -> list[Batch]:
    settings = {"batch": 4, "seed": 3} | changes
    batches = training_batches(crops, NO_CHANGES, start=start, **settings)  # type: ignore[arg-type]
    found = list(islice(batches, count))
    batches.close()
    return found


def same(first: Batch, second: Batch) -> bool:
    return (
        torch.equal(first.images, second.images)
        and first.targets.keys() == second.targets.keys()
        and all(torch.equal(first.targets[name], second.targets[name]) for name in first.targets)
    )


@given(start=st.integers(0, 12), size=st.integers(1, 9), batch=st.integers(1, 7))
def test_starting_later_gives_the_same_batches(start: int, size: int, batch: int) -> None:
    crops = numbered(size)
    whole = take(crops, start + 3, batch=batch)
    late = take(crops, 3, start=start, batch=batch)
    assert all(same(a, b) for a, b in zip(whole[start:], late, strict=True))


def test_augmented_batches_are_a_function_of_the_step_too(lamps: Path) -> None:
    crops = load_crops([lamps / "val"], SCHEMA, SPEC)
    config = AugmentConfig()
    whole = list(islice(training_batches(crops, config, batch=5, seed=1, start=0), 30))
    late = list(islice(training_batches(crops, config, batch=5, seed=1, start=25), 5))
    assert all(same(a, b) for a, b in zip(whole[25:], late, strict=True))
    other = next(iter(training_batches(crops, config, batch=5, seed=2, start=0)))
    assert not same(whole[0], other)


@given(size=st.integers(1, 9), batch=st.integers(1, 7), seed=st.integers(0, 9))
def test_every_epoch_shows_every_sample_once_in_another_order(
    size: int, batch: int, seed: int
) -> None:
    epochs = 3
    steps = -(-epochs * size // batch)
    shown = torch.cat(
        [b.targets["index"] for b in take(numbered(size), steps, batch=batch, seed=seed)]
    )
    for epoch in range(epochs):
        assert sorted(shown[epoch * size : (epoch + 1) * size].tolist()) == list(range(size))


def test_orders_differ_between_epochs_and_seeds() -> None:
    crops = numbered(50)
    orders = [
        tuple(take(crops, 1, batch=50, start=epoch, seed=seed)[0].targets["index"].tolist())
        for epoch in range(3)
        for seed in range(3)
    ]
    assert len(set(orders)) == 9


def test_one_sample_is_changed_otherwise_every_time(lamps: Path) -> None:
    crops = load_crops([lamps / "val"], SCHEMA, SPEC)
    alone = CropSet(crops.images, crops.targets, crops.texts, np.zeros(1, np.int64), "")
    batches = islice(training_batches(alone, AugmentConfig(), batch=12, seed=0, start=0), 3)
    images = [image.numpy().tobytes() for batch in batches for image in batch.images]
    assert len(set(images)) == 36


def test_targets_follow_their_pictures() -> None:
    for batch in take(numbered(13), 20):
        index = batch.images[:, 0, 0, 0].long()
        assert torch.equal(batch.targets["index"], index)
        assert torch.equal(batch.targets["bits"], torch.stack([index % 2, index // 2 % 2], 1))
        assert batch.images.dtype == torch.uint8
        assert {value.dtype for value in batch.targets.values()} == {torch.int64}


def test_missing_labels_stay_missing() -> None:
    targets = Targets({"a": np.array([0, -1])}, {"b": np.array([[1, 0], [-1, -1]], np.int8)})
    tensors = as_tensors(targets)
    assert tensors["a"].tolist() == [0, -1]
    assert tensors["b"].tolist() == [[1, 0], [-1, -1]]


def test_repeats_show_a_source_more_often(lamps: Path) -> None:
    crops = load_crops([lamps / "val", lamps / "train"], SCHEMA, SPEC, repeats=(3, 1))
    assert len(crops) == 96 + 256
    assert len(crops.order) == 3 * 96 + 256
    counts = np.bincount(crops.order)
    assert counts[:96].tolist() == [3] * 96
    assert counts[96:].tolist() == [1] * 256
    plain = load_crops([lamps / "val", lamps / "train"], SCHEMA, SPEC)
    assert plain.digest != crops.digest
    assert plain.order.tolist() == list(range(96 + 256))


def test_crops_are_brought_to_the_input_size(lamps: Path) -> None:
    crops = load_crops([lamps / "val"], SCHEMA, InputSpec(height=8, width=24))
    assert crops.images.shape == (96, 8, 24, 3)
    assert len(crops.texts) == 96
    assert crops.targets.choices["colour"].shape == (96,)


@pytest.mark.parametrize("repeats", [(1,), (1, 2, 3), (0, 1), (-1, 1)])
def test_wrong_repeats_are_refused(lamps: Path, repeats: tuple[int, ...]) -> None:
    with pytest.raises(ConfigError, match="expected one repeat >= 1 for each of the 2 sources"):
        load_crops([lamps / "val", lamps / "train"], SCHEMA, SPEC, repeats=repeats)


def test_no_source_is_an_error() -> None:
    with pytest.raises(DataError, match="no labelled lists or trees were given"):
        load_crops([], SCHEMA, SPEC)


def test_rows_left_out_are_told(
    lamps: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    path = tmp_path / "list.tsv"
    path.write_text(
        f"{lamps / 'val' / '0.png'}\tred,left\nnowhere.png\tred,left\n", encoding="utf-8"
    )
    with pytest.raises(DataError, match="1 of 2 rows"):
        load_crops([path], SCHEMA, SPEC)
    assert len(load_crops([path], SCHEMA, SPEC, skip_bad=True)) == 1
    assert f"{path}: left out 1 bad rows; the first: {path}:2: " in capsys.readouterr().err
