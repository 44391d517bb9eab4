"""Training batches are a function of (seed, step), and targets follow their pictures."""

from __future__ import annotations

from dataclasses import replace
from itertools import islice
from pathlib import Path

import numpy as np
import numpy.typing as npt
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from benchmarks.labelled import Targets
from runtime.arrays import Images
from runtime.errors import ConfigError, DataError
from runtime.preprocess import InputSpec
from tests.slimming import SCHEMA, SPEC
from train.data import (
    Batch,
    CropSet,
    as_tensors,
    first_epoch,
    load_crops,
    load_sets,
    training_batches,
)
from train.sampling import SamplingConfig

PLAIN = SamplingConfig()


class Numbers:
    """A store in which every pixel of a crop is its index."""

    cached_bytes = 0

    def images_at(self, index: npt.NDArray[np.int64]) -> Images:
        images = np.empty((len(index), 8, 8, 3), np.uint8)
        images[:] = index[:, None, None, None]
        return images


def numbered(count: int, order: list[int] | None = None) -> CropSet:
    """Crops whose every pixel, and label, is their index."""
    numbers = np.arange(count)
    labels = np.stack([numbers % 2, numbers // 2 % 2], 1).astype(np.int8)
    return CropSet(
        store=Numbers(),
        targets=Targets({"index": numbers}, {"bits": labels}),
        texts=[str(n) for n in numbers],
        paths=[Path(f"{n}.png") for n in numbers],
        order=np.array(order if order is not None else range(count)),
        origin="",
        digest="",
    )


def take(
    crops: CropSet, count: int, *, start: int = 0, sampling: SamplingConfig = PLAIN, **changes: int
) -> list[Batch]:
    settings = {"batch": 4, "seed": 3} | changes
    batches = training_batches(crops, sampling, start=start, **settings)
    found = list(islice(batches, count))
    batches.close()
    return found


def same(first: Batch, second: Batch) -> bool:
    return (
        torch.equal(first.images, second.images)
        and first.targets.keys() == second.targets.keys()
        and all(torch.equal(first.targets[name], second.targets[name]) for name in first.targets)
    )


@given(
    start=st.integers(0, 12),
    size=st.integers(1, 9),
    batch=st.integers(1, 7),
    balance=st.sampled_from([0, 0.5]),
)
def test_starting_later_gives_the_same_batches(
    start: int, size: int, batch: int, balance: float
) -> None:
    crops, sampling = numbered(size), SamplingConfig(balance=balance)
    whole = take(crops, start + 3, batch=batch, sampling=sampling)
    late = take(crops, 3, start=start, batch=batch, sampling=sampling)
    assert all(same(a, b) for a, b in zip(whole[start:], late, strict=True))


@given(size=st.integers(1, 9), batch=st.integers(1, 7), ranks=st.integers(1, 7))
def test_several_processes_together_see_what_one_sees(size: int, batch: int, ranks: int) -> None:
    crops = numbered(size)
    if ranks > batch:
        with pytest.raises(ConfigError, match=f"a batch of {batch} cannot be shared among {ranks}"):
            training_batches(crops, PLAIN, batch=batch, seed=3, start=0, ranks=ranks)
        return
    whole = take(crops, 3, batch=batch)
    parts = [take(crops, 3, batch=batch, rank=rank, ranks=ranks) for rank in range(ranks)]
    for step, expected in enumerate(whole):
        shares = [part[step] for part in parts]
        assert torch.equal(torch.cat([share.images for share in shares]), expected.images)
        for name, values in expected.targets.items():
            assert torch.equal(torch.cat([share.targets[name] for share in shares]), values)
        sizes = [len(share.images) for share in shares]
        assert max(sizes) - min(sizes) <= 1


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


def test_batches_are_the_crops_as_they_are(lamps: Path) -> None:
    crops = load_crops([lamps / "val"], SCHEMA, SPEC)
    (batch,) = take(replace(crops, order=np.array([7])), 1, batch=2)
    expected = crops.images_at(np.array([7, 7]))
    assert torch.equal(batch.images, torch.from_numpy(expected))


def test_rare_classes_come_more_often_where_asked_for() -> None:
    crops = numbered(40)
    rare = replace(crops, targets=Targets({"kind": np.array([1, *[0] * 39])}, {}))
    balanced = SamplingConfig(balance=1, max_repeats=39)
    for sampling, ones in ((PLAIN, 1), (balanced, 39)):
        size = 39 + ones
        (epoch,) = take(rare, 1, batch=size, sampling=sampling)
        assert int(epoch.targets["kind"].sum()) == ones
        # What weights are computed from is what is shown.
        told = first_epoch(rare, sampling, seed=3).choices["kind"]
        assert sorted(told.tolist()) == sorted(epoch.targets["kind"].tolist())
    with pytest.raises(ConfigError, match="sampling heads"):
        take(rare, 1, sampling=SamplingConfig(balance=1, heads=("size",)))


def test_targets_follow_their_pictures() -> None:
    for batch in take(numbered(13), 20):
        index = batch.images[:, 0, 0, 0].long()
        assert torch.equal(batch.targets["index"], index)
        assert torch.equal(batch.targets["bits"], torch.stack([index % 2, index // 2 % 2], 1))
        assert batch.images.dtype == torch.uint8
        assert {value.dtype for value in batch.targets.values()} == {torch.int64}


@given(size=st.integers(1, 9), batch=st.integers(1, 10))
def test_all_crops_come_in_order(size: int, batch: int) -> None:
    batches = list(numbered(size).image_batches(batch))
    assert [len(images) for images in batches[:-1]] == [batch] * (len(batches) - 1)
    assert np.concatenate(batches)[:, 0, 0, 0].tolist() == list(range(size))


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
    assert crops.images_at(np.arange(96)).shape == (96, 8, 24, 3)
    assert len(crops.texts) == len(crops.paths) == 96
    assert crops.targets.choices["colour"].shape == (96,)
    assert crops.paths[3] == lamps / "val" / "3.png"


@pytest.mark.parametrize("repeats", [(1,), (1, 2, 3), (0, 1), (-1, 1)])
def test_wrong_repeats_are_refused(lamps: Path, repeats: tuple[int, ...]) -> None:
    with pytest.raises(ConfigError, match="expected one repeat >= 1 for each of the 2 sources"):
        load_crops([lamps / "val", lamps / "train"], SCHEMA, SPEC, repeats=repeats)


def test_unlabelled_crops_may_be_repeated_too(lamps: Path) -> None:
    sources = {"sources": [lamps / "val"], "unlabelled": [lamps / "train"]}
    for repeats, shown in {(): (1, 1), (2,): (2, 1), (2, 3): (2, 3)}.items():
        crops = load_crops(**sources, schema=SCHEMA, spec=SPEC, repeats=repeats)
        counts = np.bincount(crops.order, minlength=96 + 256)
        assert (set(counts[:96].tolist()), set(counts[96:].tolist())) == ({shown[0]}, {shown[1]})
    with pytest.raises(ConfigError, match="1 sources, or for these and the 1 unlabelled ones, got"):
        load_crops(**sources, schema=SCHEMA, spec=SPEC, repeats=(1, 1, 1))


def test_training_and_validation_share_one_cache(lamps: Path) -> None:
    spec = InputSpec(height=64, width=128)  # 24 KiB a crop
    for cache_mb, expected in {0: (0, 0), 3: (128, 0), 8: (256, 85), 64: (256, 96)}.items():
        sets = load_sets([lamps / "train"], [lamps / "val"], SCHEMA, spec, cache_mb=cache_mb)
        assert tuple(part.store.cached_bytes / (24 * 1024) for part in sets) == expected


def test_wrong_sources_and_caches_are_refused(lamps: Path) -> None:
    with pytest.raises(DataError, match="no labelled lists or trees were given"):
        load_crops([], SCHEMA, SPEC)
    with pytest.raises(ConfigError, match="--cache-mb must be >= 0, got -1"):
        load_crops([lamps / "val"], SCHEMA, SPEC, cache_mb=-1)


def test_rows_left_out_and_columns_read_are_told(
    lamps: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    path = tmp_path / "list.tsv"
    path.write_text(
        f"path\tcolour\tage\n{lamps / 'val' / '0.png'}\tred\t3\nnowhere.png\tred\t4\n",
        encoding="utf-8",
    )
    with pytest.raises(DataError, match="1 of 2 rows"):
        load_crops([path], SCHEMA, SPEC)
    assert len(load_crops([path], SCHEMA, SPEC, skip_bad=True)) == 1
    told = capsys.readouterr().err
    assert f"{path}: left out 1 bad rows; the first: {path}:3: " in told
    assert f"{path}: labels from the columns colour; not used: age" in told
