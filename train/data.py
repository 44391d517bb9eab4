"""Training batches: a pure function of (seed, step), so that a resumed run sees the same ones."""

from __future__ import annotations

import hashlib
from collections.abc import Generator, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor

from benchmarks.command import say
from benchmarks.labelled import LabelledCrops, Targets, read_labelled
from runtime.arrays import Images
from runtime.errors import ConfigError, DataError
from runtime.preprocess import InputSpec
from runtime.schema import Schema

from .augment import AugmentConfig, augment

__all__ = ["Batch", "CropSet", "as_tensors", "load_crops", "training_batches"]

_AHEAD = 3
"""Batches prepared while the network works on one."""


@dataclass(frozen=True, slots=True)
class Batch:
    """One training step's samples."""

    images: Tensor
    """(N, H, W, 3) uint8 BGR."""
    targets: dict[str, Tensor]
    """Choice head to (N,) int64, labels head to (N, K) int64; -1 where missing."""


@dataclass(frozen=True, slots=True, eq=False)
class CropSet:
    """Crops in memory at the input size, with their truth."""

    images: Images
    targets: Targets
    texts: Sequence[str]
    order: npt.NDArray[np.int64]
    """Sample indices of one epoch; a sample stands in it as often as its source is repeated."""
    digest: str
    """SHA-256 over the sources' names, labels and repeats."""

    def __len__(self) -> int:
        return len(self.images)


def load_crops(
    sources: Sequence[Path],
    schema: Schema,
    spec: InputSpec,
    *,
    repeats: Sequence[int] = (),
    skip_bad: bool = False,
) -> CropSet:
    """Read labelled sources into memory.

    Args:
        sources: Lists or trees (``benchmarks.labelled``).
        schema: What their labels must fit.
        spec: Size to bring the crops to.
        repeats: How often an epoch shows each source's samples; once where not given.
        skip_bad: Leave bad rows out, told on stderr, instead of failing.

    Raises:
        DataError: no source, or one without samples or with bad rows.
        ConfigError: repeats and sources differ in number, or a repeat is below 1.
    """
    if not sources:
        raise DataError("no labelled lists or trees were given; name at least one")
    repeats = repeats or [1] * len(sources)
    if len(repeats) != len(sources) or any(count < 1 for count in repeats):
        raise ConfigError(
            f"expected one repeat >= 1 for each of the {len(sources)} sources, got {list(repeats)}"
        )
    parts = [read_labelled(source, schema, skip_bad=skip_bad) for source in sources]
    for part in parts:
        if part.bad_rows:
            count, first = len(part.bad_rows), part.bad_rows[0]
            say(f"{part.source}: left out {count} bad rows; the first: {first}")
    starts = np.cumsum([0, *map(len, parts)])
    order = [
        np.tile(np.arange(start, start + len(part)), count)
        for start, part, count in zip(starts, parts, repeats, strict=False)
    ]
    return CropSet(
        images=np.concatenate([part.fitted(spec) for part in parts]),
        targets=_joined([part.targets for part in parts]),
        texts=[text for part in parts for text in part.texts],
        order=np.concatenate(order),
        digest=_digest(parts, repeats),
    )


def _digest(parts: Sequence[LabelledCrops], repeats: Sequence[int]) -> str:
    text = "\n".join(f"{part.digest} x{count}" for part, count in zip(parts, repeats, strict=True))
    return hashlib.sha256(text.encode()).hexdigest()


def _joined(parts: Sequence[Targets]) -> Targets:
    return Targets(
        {name: np.concatenate([p.choices[name] for p in parts]) for name in parts[0].choices},
        {name: np.concatenate([p.labels[name] for p in parts]) for name in parts[0].labels},
    )


def training_batches(
    crops: CropSet, config: AugmentConfig, *, batch: int, seed: int, start: int
) -> Generator[Batch, None, None]:
    """Yield the batches of steps ``start``, ``start + 1``, ... without end.

    Every epoch is a fresh permutation drawn from (seed, epoch), and every sample is changed by a
    generator of its own drawn from (seed, epoch, place): a batch depends on its step alone.
    """
    with ThreadPoolExecutor(1) as pool:  # OpenCV and numpy leave the interpreter lock
        step = start
        waiting = [
            pool.submit(_prepare, crops, config, batch, seed, step + i) for i in range(_AHEAD)
        ]
        try:
            while True:
                yield waiting.pop(0).result()
                waiting.append(pool.submit(_prepare, crops, config, batch, seed, step + _AHEAD))
                step += 1
        finally:
            for future in waiting:
                future.cancel()


def _prepare(crops: CropSet, config: AugmentConfig, batch: int, seed: int, step: int) -> Batch:
    size = len(crops.order)
    places = np.arange(step * batch, (step + 1) * batch)
    index = np.empty(batch, np.int64)
    for epoch in np.unique(places // size):
        inside = places // size == epoch
        order = _epoch_order(crops, seed, int(epoch))
        index[inside] = order[places[inside] % size]
    images = np.stack(
        [
            augment(crops.images[i], config, np.random.default_rng((seed, 1, int(place))))
            for i, place in zip(index, places, strict=True)
        ]
    )
    return Batch(torch.from_numpy(images), as_tensors(crops.targets.take(index)))


@lru_cache(maxsize=2)
def _epoch_order(crops: CropSet, seed: int, epoch: int) -> npt.NDArray[np.int64]:
    return np.random.default_rng((seed, epoch)).permutation(crops.order)


def as_tensors(targets: Targets) -> dict[str, Tensor]:
    """Return the targets as tensors, head name to (N,) or (N, K) int64."""
    choices = {name: torch.from_numpy(value) for name, value in targets.choices.items()}
    labels = {
        name: torch.from_numpy(value.astype(np.int64)) for name, value in targets.labels.items()
    }
    return {**choices, **labels}
