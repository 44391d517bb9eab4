"""Pictures that stand in two lists: told by where they are, so that none need be opened."""

from __future__ import annotations

import os
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from typing import Any, Final

from benchmarks.crops.pictures import Pictures
from benchmarks.labelled import scan_rows
from runtime.errors import DataError
from runtime.schema import Schema

from .lineage import digests_named, sources_named

__all__ = ["SeenData", "overlap_warnings", "picture_places", "seen_in_training"]

_VALIDATION: Final = "the data that the operating point was fitted on"


def picture_places(pictures: Pictures) -> list[str]:
    """Return where each picture is: its folder without symbolic links, its name and region.

    The same picture has the same place in every list that names it; a copy has another.
    """

    @cache  # there are few folders, and many pictures in each
    def whole(home: int, folder: str) -> str:
        return os.path.realpath(pictures.homes[home] / folder)

    def place(index: int) -> str:
        folder = "".join(pictures.names[index].rpartition("/")[:2])  # "/" where it is the root
        return f"{whole(int(pictures.home[index]), folder)}{os.sep}{pictures.identity(index)}"

    return [place(index) for index in range(len(pictures))]


@dataclass(frozen=True, slots=True, kw_only=True)
class SeenData:
    """Data that had a part in a result, and so is no fair test of it."""

    role: str
    """What it did, to end the sentence "these crops are also in ..."."""
    digests: frozenset[str]
    """Digests of pictures and labels (``CropSet.digest``): they know copies, too, but only as a
    whole."""
    places: frozenset[str]
    """Of its pictures, as far as they can be found on this machine."""

    @classmethod
    def of_validation(cls, pictures: Pictures, digest: str) -> SeenData:
        """Return the data that the operating point was fitted on.

        Args:
            pictures: Its pictures.
            digest: Of its pictures and labels.
        """
        return cls(
            role=_VALIDATION,
            digests=frozenset({digest}),
            places=frozenset(picture_places(pictures)),
        )


def seen_in_training(
    lineage: Mapping[str, Any], schema: Schema, *, validation: bool
) -> Sequence[SeenData]:
    """Return the data that a checkpoint has seen, as far as its lineage says.

    Lists that are no longer where they were are known by their digest alone.

    Args:
        lineage: The checkpoint's.
        schema: Its schema.
        validation: Whether the operating point is still the one of the checkpoint's own validation
            data.
    """
    roles = {"data": "the training data"}
    if validation:
        roles["validation"] = _VALIDATION
    return [
        SeenData(
            role=role,
            digests=digests_named(lineage, option),
            places=frozenset().union(
                *(_places_in(source, schema) for source in sources_named(lineage, option))
            ),
        )
        for option, role in roles.items()
    ]


def _places_in(source: Path, schema: Schema) -> Sequence[str]:
    try:
        return picture_places(scan_rows(source, schema).pictures)
    except (DataError, OSError):
        return ()  # moved, or changed since: what remains is its digest


def overlap_warnings(
    source: Path | str, pictures: Pictures, digest: str, seen: Sequence[SeenData]
) -> Sequence[str]:
    """Return a sentence for each of ``seen`` that shares pictures with a test set.

    Args:
        source: What the test set is called.
        pictures: Its N pictures.
        digest: Of its pictures and labels.
        seen: What it must not share pictures with.
    """
    places = picture_places(pictures)
    told = []
    for data in seen:
        count = len(places) if digest in data.digests else sum(p in data.places for p in places)
        if count:
            told.append(
                f"warning: {source}: {count} of {len(places)} crops are also in {data.role}; "
                "these results are better than on crops that the network has not seen"
            )
    return told
