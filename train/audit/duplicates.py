"""The same picture twice, or nearly so: within a split, across splits, with different labels.

Exactly the same is the same pixels. Nearly the same is a perceptual hash (pHash: Zauner,
"Implementation and Benchmarking of Perceptual Image Hash Functions", 2010, as the library
ImageHash computes it) that differs in few bits, and the same colours on a coarse grid: the hash
sees shapes alone, and catalogues show one article in many colours.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from itertools import combinations
from typing import Any, Final

import numpy as np
import numpy.typing as npt

from benchmarks.labelled import Targets
from runtime.arrays import Bools
from runtime.errors import ConfigError
from runtime.schema import Schema
from train.progress import progress

from .hamming import close_pairs
from .pictures import HASH_BITS, PictureFacts
from .survey import Survey

__all__ = [
    "KINDS",
    "Duplicates",
    "Nearness",
    "check_near",
    "find_duplicates",
    "shared_readings",
]

KINDS: Final = ("same file", "same pixels", "nearly the same")
_NEAR: Final = 2
_MOST_PAIRS: Final = 1_000_000
"""Near pairs that are kept; films of standing cars make more than anybody would look at."""


def check_near(bits: int | None) -> None:
    """Fail on a ``--near`` that cannot be.

    Raises:
        ConfigError: it is given and outside -1 to a quarter of ``HASH_BITS``.
    """
    if bits is not None and not -1 <= bits <= HASH_BITS // 4:
        raise ConfigError(f"--near must lie in -1 .. {HASH_BITS // 4} bits, got {bits}")


@dataclass(frozen=True, slots=True)
class Nearness:
    """How much two pictures that count as nearly the same may differ."""

    bits: int
    """Of the ``HASH_BITS`` of the perceptual hash; -1 where only exact duplicates count."""
    colour: int
    """Difference of a* or b* in any cell, of 255."""

    @classmethod
    def usual(cls, schema: Schema) -> Nearness:
        """Return what suits the labels.

        Texts differ in shape, so the hash tells them apart: none of the pairs among 60,000 rendered
        plates, nor among 1,306 real ones of different texts, is within these limits, while JPEG at
        quality 50, noise, exposure and halving move the hash of 95 % of the real ones by less.
        Things of one kind look alike: from 10 bits on, catalogue photos are of different shoes in
        one pose, and one article comes in many colours.
        """
        return cls(18, 24) if schema.readings else cls(8, 8)

    @classmethod
    def chosen(cls, schema: Schema, bits: int | None) -> Nearness:
        """Return the usual nearness, with other ``bits`` where they are given."""
        usual = cls.usual(schema)
        return usual if bits is None else cls(bits, usual.colour)


@dataclass(frozen=True, slots=True, eq=False)
class Duplicates:
    """M pairs of crops, worst first: exact ones, then by distance."""

    first: npt.NDArray[np.int64]
    """(M,) index of the crop that comes first."""
    second: npt.NDArray[np.int64]
    """(M,) index of its duplicate."""
    kind: npt.NDArray[np.int64]
    """(M,) index into ``KINDS``."""
    distance: npt.NDArray[np.int64]
    """(M,) bits of the perceptual hash that differ."""
    crosses: Bools
    """(M,) whether the two are in different splits: leakage."""
    conflicts: Bools
    """(M,) whether some label that both give differs."""
    cut_off: bool
    """Whether there are more near pairs than were kept."""

    def __len__(self) -> int:
        return len(self.first)

    def take(self, which: npt.NDArray[Any]) -> Duplicates:
        """Return the pairs at an index or mask."""
        return Duplicates(
            self.first[which],
            self.second[which],
            self.kind[which],
            self.distance[which],
            self.crosses[which],
            self.conflicts[which],
            self.cut_off,
        )

    @property
    def redundant(self) -> npt.NDArray[np.int64]:
        """Crops that are exactly another crop, in order."""
        return np.unique(self.second[self.kind < _NEAR])


def find_duplicates(survey: Survey, nearness: Nearness) -> Duplicates:
    """Find the pairs of crops that show the same.

    Of k exact duplicates the first is paired with each of the others, and stands for them all among
    the near ones. Blank pictures have no shape: they are compared exactly alone.

    Args:
        survey: The crops.
        nearness: How much near duplicates may differ.
    """
    first, second = _exact_pairs(survey.facts)
    same_file = (survey.facts.files[first] == survey.facts.files[second]).all(axis=1)
    distinct = np.setdiff1d(np.arange(len(survey)), second)
    distinct = distinct[~survey.facts.blank[distinct]]
    near, cut_off = _near_pairs(survey.facts, distinct, nearness)
    first, second = np.concatenate([first, near[0]]), np.concatenate([second, near[1]])
    kind = np.concatenate([np.where(same_file, 0, 1), np.full(len(near[0]), _NEAR)])
    distance = np.concatenate([np.zeros(len(same_file), np.int64), near[2]])
    crosses = survey.split[first] != survey.split[second]
    conflicts = _conflicts(_led(survey.targets, first, second, kind), survey.targets, first, second)
    order = np.lexsort((second, first, distance, kind))
    found = Duplicates(first, second, kind, distance, crosses, conflicts, cut_off)
    return found.take(order)


def _exact_pairs(facts: PictureFacts) -> tuple[npt.NDArray[np.int64], npt.NDArray[np.int64]]:
    digests = np.ascontiguousarray(facts.pixels).view("V16").ravel()
    _, first, inverse = np.unique(digests, return_index=True, return_inverse=True)
    leaders = first[inverse]
    second = np.flatnonzero(leaders != np.arange(len(facts)))
    return leaders[second], second


def _near_pairs(
    facts: PictureFacts, among: npt.NDArray[np.int64], nearness: Nearness
) -> tuple[Sequence[npt.NDArray[np.int64]], bool]:
    parts: list[Sequence[npt.NDArray[np.int64]]] = [(np.empty(0, np.int64),) * 3]
    kept = 0
    if nearness.bits >= 0:
        hashes, colours = facts.hashes[among], facts.colours[among].astype(np.int16)
        with progress("near duplicates", len(among)) as watch:
            for first, second, distance in close_pairs(
                hashes, nearness.bits, lambda n: watch(n, "")
            ):
                apart = np.abs(colours[first] - colours[second]).max(axis=1)
                alike = apart <= nearness.colour
                parts.append((among[first[alike]], among[second[alike]], distance[alike]))
                kept += int(alike.sum())
                if kept >= _MOST_PAIRS:
                    break
    columns = [np.concatenate(column) for column in zip(*parts, strict=True)]
    return columns, kept >= _MOST_PAIRS


def _led(
    targets: Targets,
    first: npt.NDArray[np.int64],
    second: npt.NDArray[np.int64],
    kind: npt.NDArray[np.int64],
) -> Targets:
    """Return the targets with what the first of exact duplicates does not say said for it.

    Each label is that of the first copy that gives it.
    """
    exact = kind < _NEAR
    leaders, copies = first[exact][::-1], second[exact][::-1]  # of many writes the last one stays

    def filled(values: npt.NDArray[Any]) -> npt.NDArray[Any]:
        found = values.copy()
        for column in found.reshape(len(found), -1).T:
            missing = (column[leaders] < 0) & (column[copies] >= 0)
            column[leaders[missing]] = column[copies[missing]]
        return found

    return Targets(
        {name: filled(values) for name, values in targets.choices.items()},
        {name: filled(values) for name, values in targets.labels.items()},
    )


def _conflicts(
    led: Targets, targets: Targets, first: npt.NDArray[np.int64], second: npt.NDArray[np.int64]
) -> Bools:
    found = np.zeros(len(first), np.bool_)
    for name, choice in targets.choices.items():
        a, b = led.choices[name][first], choice[second]
        found |= (a >= 0) & (b >= 0) & (a != b)
    for name, labels in targets.labels.items():
        one, other = led.labels[name][first], labels[second]
        found |= ((one >= 0) & (other >= 0) & (one != other)).any(axis=1)
    return found


def shared_readings(survey: Survey) -> Sequence[Mapping[str, Any]]:
    """Return the texts that stand in more than one split: not leakage, but worth knowing.

    A reading that was seen in training is easier in the test; another picture of the same plate is
    still another picture.

    Returns:
        One entry per reading and pair of splits: their names, the texts in order, and how many
        crops of the second split have one of them.
    """
    found: list[Mapping[str, Any]] = []
    for place, reading in enumerate(survey.schema.readings):
        texts = np.array([_field(text, place) for text in survey.texts], np.object_)
        for one, other in combinations(survey.splits, 2):
            inside = set(texts[survey.of_split(one)]) - {""}
            again = [text for text in texts[survey.of_split(other)] if text in inside]
            found.append(
                {
                    "reading": reading.name,
                    "splits": [one, other],
                    "texts": sorted(set(again)),
                    "crops": len(again),
                }
            )
    return found


def _field(text: str, place: int) -> str:
    fields = text.split(",")
    return fields[place].strip() if place < len(fields) else ""
