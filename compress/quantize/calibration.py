"""The calibration set: which crops the INT8 ranges are measured on.

Only the user's own crops will do: ranges of other pictures are ranges of another task. And every
class has to be among them, because the range of a channel that only one class lights up would be
measured as almost nothing.
"""

from __future__ import annotations

import hashlib
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

import numpy as np
import numpy.typing as npt

from benchmarks.labelled import Targets, read_labelled
from runtime.arrays import Images
from runtime.errors import ConfigError, DataError
from runtime.preprocess import InputSpec
from runtime.schema import Head, HeadKind, Schema

__all__ = [
    "MINIMUM",
    "PER_CLASS",
    "Calibration",
    "check_samples",
    "draw_calibration",
    "shares",
]

MINIMUM: Final = 32
"""Fewer crops than this do not show the range of a network's activations."""
PER_CLASS: Final = 4
"""Crops to draw of every class before the lists are drawn from evenly."""
Index = npt.NDArray[np.int64]


@dataclass(frozen=True, slots=True)
class Calibration:
    """The crops that were drawn."""

    images: Images
    """(N, height, width, 3) uint8."""
    digest: str
    """SHA-256 of the pixels drawn."""
    missing: Mapping[str, Sequence[str]]
    """Head name to its labels that no drawn crop shows; heads that show all are left out."""

    def to_object(self) -> Mapping[str, Any]:
        """Return plain JSON values."""
        return {"crops": len(self.images), "sha256": self.digest, "missing": dict(self.missing)}


def check_samples(count: int) -> None:
    """Fail on a number of crops to draw that is too small, whatever the lists hold.

    Raises:
        ConfigError: it is below ``MINIMUM``.
    """
    if count < MINIMUM:
        raise ConfigError(
            f"--samples {count} is too few: INT8 ranges need at least {MINIMUM} crops, better 300"
        )


def draw_calibration(
    sources: Sequence[Path],
    schema: Schema,
    spec: InputSpec,
    *,
    count: int,
    seed: int,
    skip_bad: bool = False,
) -> Calibration:
    """Draw calibration crops from the user's own lists, and from nowhere else.

    First comes every class of every head that the lists have, rare ones before frequent ones; the
    rest is drawn so that the lists give equally many.

    Args:
        sources: Labelled lists or trees.
        schema: What their labels must fit.
        spec: Size to bring the crops to.
        count: Crops to draw, >= ``MINIMUM``.
        seed: Of the draw.
        skip_bad: Leave bad rows out instead of failing.

    Raises:
        ConfigError: as ``check_samples``.
        DataError: a source is empty or out of the schema, there are fewer than ``MINIMUM`` crops,
            or all of them have the same labels.
    """
    check_samples(count)
    parts = [read_labelled(source, schema, skip_bad=skip_bad) for source in sources]
    sizes = [len(part) for part in parts]
    names = ", ".join(map(str, sources)) or "no list"
    if sum(sizes) < MINIMUM:
        raise DataError(
            f"{sum(sizes)} calibration crops in {names}; INT8 ranges need at least {MINIMUM} real "
            "crops of your task, better 300"
        )
    targets = Targets.joined([part.targets for part in parts])
    if not any(_varies(targets, head) for head in schema.heads):
        raise DataError(
            f"the calibration crops in {names} show at most one class in every head (of a yes or "
            "no, one of both); ranges measured on them cut what other classes need: pass labelled "
            "crops of all classes"
        )
    chosen = _draw(targets, schema, sizes, count, np.random.default_rng(seed))
    owners = np.repeat(np.arange(len(parts)), sizes)
    starts = np.cumsum([0, *sizes])
    drawn = [
        part.take(chosen[owners[chosen] == number] - starts[number]).fitted(spec)
        for number, part in enumerate(parts)
    ]
    images = np.concatenate(drawn)
    digest = hashlib.sha256(images.tobytes()).hexdigest()
    return Calibration(images, digest, _missing(targets.take(chosen), schema))


def _members(targets: Targets, head: Head) -> dict[int, Index]:
    """Return label index to the samples that show it, for the labels that occur."""
    if head.kind is HeadKind.CHOICE:
        found = {k: np.flatnonzero(targets.choices[head.name] == k) for k in range(head.size)}
    else:
        found = {k: np.flatnonzero(targets.labels[head.name][:, k] == 1) for k in range(head.size)}
    return {k: members for k, members in found.items() if len(members)}


def _varies(targets: Targets, head: Head) -> bool:
    """Whether samples differ in their class, or in whether they show a label."""
    if head.kind is HeadKind.CHOICE:
        return len(_members(targets, head)) > 1
    return any({0, 1} <= {*values.tolist()} for values in targets.labels[head.name].T)


def _classes(targets: Targets, head: Head) -> list[Index]:
    """Return the samples of each class that occurs: of labels, with each and without it."""
    found = [*_members(targets, head).values()]
    if head.kind is HeadKind.LABELS:
        without = [np.flatnonzero(values == 0) for values in targets.labels[head.name].T]
        found += [members for members in without if len(members)]
    return found


def _missing(targets: Targets, schema: Schema) -> dict[str, list[str]]:
    """Return head name to the labels that none of the samples shows."""
    missing = {}
    for head in schema.heads:
        shown = _members(targets, head)
        labels = [label for k, label in enumerate(head.labels) if k not in shown]
        if labels:
            missing[head.name] = labels
    return missing


def _draw(
    targets: Targets,
    schema: Schema,
    sizes: Sequence[int],
    count: int,
    random: np.random.Generator,
) -> Index:
    """Return the samples to draw, ascending, of all sources one after the other."""
    total = sum(sizes)
    rank = random.permutation(total)  # who comes first where several would do
    classes = [
        members[np.argsort(rank[members])]
        for head in schema.heads
        for members in _classes(targets, head)
    ]
    classes.sort(key=len)
    chosen = np.zeros(total, np.bool_)
    for wanted in range(1, PER_CLASS + 1):
        for members in classes:
            drawn = chosen[members]
            if drawn.sum() < min(wanted, len(members)) and chosen.sum() < count:
                chosen[members[~drawn][0]] = True
    owners = np.repeat(np.arange(len(sizes)), sizes)
    taken = np.bincount(owners[chosen], minlength=len(sizes)).tolist()
    for number, share in enumerate(shares(sizes, count, taken)):
        open_ = np.flatnonzero((owners == number) & ~chosen)
        chosen[open_[np.argsort(rank[open_])][: share - taken[number]]] = True
    return np.flatnonzero(chosen)


def shares(sizes: Sequence[int], count: int, taken: Sequence[int] = ()) -> list[int]:
    """Return how many of ``count`` each source gives, as evenly as their sizes let it.

    Args:
        sizes: Crops of each source.
        count: Crops to draw.
        taken: What was drawn of each source already; it stays.
    """
    given = list(taken) or [0] * len(sizes)
    for _ in range(min(count, sum(sizes)) - sum(given)):
        open_ = [number for number, size in enumerate(sizes) if given[number] < size]
        given[min(open_, key=given.__getitem__)] += 1
    return given
