"""Crops at the input size: from memory as far as the user's budget reaches, else decoded anew."""

from __future__ import annotations

import itertools
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Final

import numpy as np
import numpy.typing as npt

from benchmarks.crops.pictures import Pictures, for_each
from benchmarks.crops.unlabelled import unlabelled_rows
from benchmarks.labelled import LabelledCrops, check_rows, scan_rows
from runtime.arrays import Image, Images
from runtime.preprocess import InputSpec, fit
from runtime.schema import Schema

from .progress import progress

__all__ = ["MIB", "CropStore", "read_sources"]

MIB: Final = 2**20
_BAR_STEP: Final = 64


@dataclass(frozen=True, slots=True, eq=False, kw_only=True)
class CropStore:
    """N checked pictures; those that are not in the cache stay on disk."""

    pictures: Pictures
    spec: InputSpec
    cache: Images
    """(C, height, width, 3) uint8 crops at the input size."""
    slots: npt.NDArray[np.int64]
    """(N,) place in the cache; at or beyond its end for pictures that are not in it."""

    def __len__(self) -> int:
        return len(self.pictures)

    @property
    def cached_bytes(self) -> int:
        """Memory that the cache takes."""
        return self.cache.nbytes

    def images_at(self, index: npt.NDArray[np.int64]) -> Images:
        """Return the crops at ``index``, (len(index), height, width, 3) uint8.

        Raises:
            DataError: a picture vanished or changed since it was checked.
        """
        images = np.empty((len(index), *self.spec.shape), np.uint8)
        slots = self.slots[index]
        cached = slots < len(self.cache)
        images[cached] = self.cache[slots[cached]]
        missing = np.flatnonzero(~cached)

        def load(number: int) -> None:
            place = missing[number]
            images[place] = fit(self.pictures.read(int(index[place])), self.spec)

        for_each(len(missing), load)
        return images


def read_sources(
    sources: Sequence[Path],
    schema: Schema,
    spec: InputSpec,
    *,
    first: Sequence[int],
    cache_mb: int,
    unlabelled: Sequence[Path] = (),
    skip_bad: bool = False,
) -> tuple[Sequence[LabelledCrops], CropStore]:
    """Read and check labelled sources, and keep what fits the cache as it comes by.

    Args:
        sources: What ``read_labelled`` takes.
        schema: What their labels must fit.
        spec: Size to bring the crops to.
        first: Indices of the sources and then of ``unlabelled``, all of them, in the order in
            which they fill the cache.
        cache_mb: Memory for crops, MiB.
        unlabelled: Lists or folders of pictures without labels; at least one source in all.
        skip_bad: Leave bad rows out instead of failing.

    Returns:
        The crops of each source, those of ``unlabelled`` last, and the store of all of them in
        this order.

    Raises:
        DataError: a source cannot be read or has bad rows.
    """
    scans = [scan_rows(source, schema) for source in sources]
    scans += [unlabelled_rows(source) for source in unlabelled]
    total = sum(map(len, scans))
    room = cache_mb * MIB // int(np.prod(spec.shape))
    cache = np.empty((min(total, room), *spec.shape), np.uint8)
    begins = np.zeros(len(scans), np.int64)
    begins[[*first]] = np.cumsum([0, *(len(scans[number]) for number in first)])[:-1]
    with progress("checking crops", total) as bar:
        parts = [
            check_rows(
                source, rows, schema, skip_bad=skip_bad, show=_keep(cache, spec, int(begin), bar)
            )
            for source, rows, begin in zip((*sources, *unlabelled), scans, begins, strict=True)
        ]
    store = CropStore(
        pictures=Pictures.joined([part.paths for part in parts]),
        spec=spec,
        cache=cache,
        slots=np.concatenate(
            [begin + part.rows for begin, part in zip(begins, parts, strict=True)]
        ),
    )
    return parts, store


def _keep(
    cache: Images, spec: InputSpec, begin: int, bar: Callable[[int, str], None]
) -> Callable[[int, Image], None]:
    """Return what puts the picture of a row into the cache, if it has a place there."""
    seen = itertools.count(begin + 1)

    def keep(row: int, image: Image) -> None:
        if begin + row < len(cache):
            cache[begin + row] = fit(image, spec)
        if (done := next(seen)) % _BAR_STEP == 0:
            bar(done, "")

    return keep
