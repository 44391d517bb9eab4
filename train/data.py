"""Training batches: a pure function of (seed, step), so that a resumed run sees the same ones."""

from __future__ import annotations

import hashlib
import itertools
from collections import deque
from collections.abc import Callable, Generator, Iterable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path
from typing import Protocol, TypeVar

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor

from benchmarks.command import say
from benchmarks.crops.pictures import Pictures
from benchmarks.crops.texts import Texts
from benchmarks.labelled import LabelledCrops, Targets, shorten_digest
from runtime.arrays import Images
from runtime.errors import ConfigError, DataError
from runtime.preprocess import InputSpec
from runtime.schema import Schema

from .crop_store import MIB, read_sources
from .sampling import EpochOrders, SamplingConfig

__all__ = [
    "CACHE_MB",
    "Batch",
    "CropSet",
    "as_tensors",
    "load_crops",
    "load_sets",
    "training_batches",
]

CACHE_MB = 2048
"""Memory for crops where nothing else is asked for, MiB."""
_AHEAD = 3
"""Batches prepared while the network works on one."""
ResultT = TypeVar("ResultT")


@dataclass(frozen=True, slots=True)
class Batch:
    """One training step's samples, not augmented."""

    images: Tensor
    """(N, H, W, 3) uint8 BGR."""
    targets: dict[str, Tensor]
    """Choice head to (N,) int64, labels head to (N, K) int64; -1 where missing."""


class Store(Protocol):
    """Where a ``CropSet`` has its pictures from."""

    @property
    def cached_bytes(self) -> int:
        """Memory that crops are kept in."""
        ...

    def images_at(self, index: npt.NDArray[np.int64]) -> Images:
        """Return the crops at ``index`` at the input size."""
        ...


@dataclass(frozen=True, slots=True, eq=False)
class CropSet:
    """N checked crops with their truth; pictures are read when they are needed."""

    store: Store
    targets: Targets
    texts: Sequence[str]
    """N label columns."""
    paths: Pictures
    """N pictures; one in a tar shard is called by the shard's path and the member's name."""
    order: npt.NDArray[np.int64]
    """Sample indices of one epoch; a sample stands in it as often as its source is repeated."""
    origin: str
    """What to write down as the data that something was fitted on: the sources' names, how many
    crops, and the digest of each source, by which ``benchmarks.accuracy`` knows it again."""
    digest: str
    """SHA-256 over the sources' pictures, their names, labels and repeats."""

    def __len__(self) -> int:
        return len(self.texts)

    def images_at(self, index: npt.NDArray[np.int64]) -> Images:
        """Return the crops at ``index``: (len(index), height, width, 3) uint8, at the input size.

        Raises:
            DataError: a picture vanished or changed since it was checked.
        """
        return self.store.images_at(index)

    def image_batches(self, batch: int) -> Iterator[Images]:
        """Yield all crops in order, ``batch`` at a time, the next ones read meanwhile."""

        def read(start: int) -> Images:
            return self.images_at(np.arange(start, min(start + batch, len(self))))

        return _prepared(read, range(0, len(self), batch), ahead=2)


def load_crops(
    sources: Sequence[Path],
    schema: Schema,
    spec: InputSpec,
    *,
    unlabelled: Sequence[Path] = (),
    repeats: Sequence[int] = (),
    skip_bad: bool = False,
    cache_mb: int = CACHE_MB,
) -> CropSet:
    """Read and check sources of crops.

    Args:
        sources: Lists, tables, trees or tar shards (``benchmarks.labelled``).
        schema: What their labels must fit.
        spec: Size to bring the crops to.
        unlabelled: Lists or folders of pictures without labels (``benchmarks.crops.unlabelled``);
            all their labels are missing.
        repeats: How often an epoch shows each source's samples, the labelled ones' first; once
            where not given.
        skip_bad: Leave bad rows out, told on stderr, instead of failing.
        cache_mb: Memory for crops, MiB; those beyond it are decoded whenever they are needed.

    Raises:
        DataError: no source, or one without samples or with bad rows.
        ConfigError: there are neither as many repeats as sources nor as sources and unlabelled ones
            together, a repeat is below 1 or the cache below 0.
    """
    if not sources and not unlabelled:
        raise DataError("no labelled lists or trees were given")
    repeats = repeats or [1] * len(sources)
    every = len(sources) + len(unlabelled)
    if len(repeats) not in (len(sources), every) or min(repeats, default=1) < 1:
        more = f", or for these and the {len(unlabelled)} unlabelled ones" if unlabelled else ""
        raise ConfigError(
            f"expected one repeat >= 1 for each of the {len(sources)} sources{more}, "
            f"got {list(repeats)}"
        )
    if cache_mb < 0:
        raise ConfigError(f"--cache-mb must be >= 0, got {cache_mb}")
    repeats = [*repeats, *[1] * (every - len(repeats))]
    parts, store = read_sources(
        sources,
        schema,
        spec,
        first=sorted(range(len(repeats)), key=lambda number: -repeats[number]),
        cache_mb=cache_mb,
        unlabelled=unlabelled,
        skip_bad=skip_bad,
    )
    for part in parts:
        _tell(part)
    starts = np.cumsum([0, *map(len, parts)])
    order = [
        np.tile(np.arange(start, start + len(part)), count)
        for start, part, count in zip(starts, parts, repeats, strict=False)
    ]
    texts = Texts()
    for part in parts:
        texts.extend(part.texts)
    names = ", ".join(map(str, [*sources, *unlabelled]))
    digests = [part.digest for part in parts]
    return CropSet(
        store=store,
        targets=Targets.joined([part.targets for part in parts]),
        texts=texts,
        paths=store.pictures,
        order=np.concatenate(order),
        origin=f"{names}: {len(texts)} crops, sha256 " + ", ".join(map(shorten_digest, digests)),
        digest=_digest(digests, repeats),
    )


def load_sets(
    data: Sequence[Path],
    validation: Sequence[Path],
    schema: Schema,
    spec: InputSpec,
    *,
    unlabelled: Sequence[Path] = (),
    repeats: Sequence[int] = (),
    skip_bad: bool = False,
    cache_mb: int = CACHE_MB,
) -> tuple[CropSet, CropSet]:
    """Read training and validation sources as ``load_crops`` does; both share one cache.

    The training crops, which are needed more often, fill it first.
    """
    crops = load_crops(
        data,
        schema,
        spec,
        unlabelled=unlabelled,
        repeats=repeats,
        skip_bad=skip_bad,
        cache_mb=cache_mb,
    )
    left = cache_mb - -(-crops.store.cached_bytes // MIB)
    return crops, load_crops(validation, schema, spec, skip_bad=skip_bad, cache_mb=left)


def _tell(part: LabelledCrops) -> None:
    if part.note:
        say(f"{part.source}: {part.note}")
    if part.bad_rows:
        count, first = len(part.bad_rows), part.bad_rows[0]
        say(f"{part.source}: left out {count} bad rows; the first: {first}")


def _digest(digests: Sequence[str], repeats: Sequence[int]) -> str:
    text = "\n".join(f"{digest} x{count}" for digest, count in zip(digests, repeats, strict=True))
    return hashlib.sha256(text.encode()).hexdigest()


def training_batches(
    crops: CropSet,
    sampling: SamplingConfig,
    *,
    batch: int,
    seed: int,
    start: int,
    rank: int = 0,
    ranks: int = 1,
) -> Generator[Batch, None, None]:
    """Yield the batches of steps ``start``, ``start + 1``, ... without end.

    The samples of all epochs form one sequence, of which step s takes the places from s * batch;
    a process takes its share of these. So a batch depends on its step alone, and several
    processes together see what one would.

    Args:
        crops: What to draw from.
        sampling: How often rare classes are shown.
        batch: Samples per step of all processes together.
        seed: Of the order.
        start: First step.
        rank: This process, from 0.
        ranks: Number of processes.

    Raises:
        ConfigError: ``sampling`` names heads that do not exist, or there are more processes than
            samples in a batch.
    """
    if not 0 <= rank < ranks <= batch:
        raise ConfigError(f"a batch of {batch} cannot be shared among {ranks} processes ({rank=})")
    orders = EpochOrders(crops.targets, crops.order, sampling, seed=seed)

    def prepare(step: int) -> Batch:
        first, last = (step * batch + part * batch // ranks for part in (rank, rank + 1))
        index = orders.samples(first, last)
        images = torch.from_numpy(crops.images_at(index))
        return Batch(images, as_tensors(crops.targets.take(index)))

    return _prepared(prepare, itertools.count(start), ahead=_AHEAD)


def first_epoch(crops: CropSet, sampling: SamplingConfig, *, seed: int) -> Targets:
    """Return the labels of the first epoch, as often as ``training_batches`` shows them."""
    orders = EpochOrders(crops.targets, crops.order, sampling, seed=seed)
    return crops.targets.take(orders.samples(0, orders.size))


def _prepared(
    work: Callable[[int], ResultT], numbers: Iterable[int], *, ahead: int
) -> Generator[ResultT, None, None]:
    """Yield ``work`` of each number in order, some of them done in advance by a thread."""
    coming = iter(numbers)
    with ThreadPoolExecutor(1) as pool:
        waiting = deque(pool.submit(work, number) for number in itertools.islice(coming, ahead))
        try:
            while waiting:
                yield waiting.popleft().result()
                waiting.extend(pool.submit(work, number) for number in itertools.islice(coming, 1))
        finally:
            for future in waiting:
                future.cancel()


def as_tensors(targets: Targets) -> dict[str, Tensor]:
    """Return the targets as tensors, head name to (N,) or (N, K) int64."""
    choices = {name: torch.from_numpy(value) for name, value in targets.choices.items()}
    labels = {
        name: torch.from_numpy(value.astype(np.int64)) for name, value in targets.labels.items()
    }
    return {**choices, **labels}
