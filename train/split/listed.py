"""Which parts lists that exist already give to the pictures in them."""

from __future__ import annotations

from collections.abc import Sequence
from itertools import combinations
from pathlib import Path
from typing import Final

import numpy as np
import numpy.typing as npt

from benchmarks.crops.pictures import Pictures
from benchmarks.crops.tables import find_header
from benchmarks.labelled import list_file, scan_rows
from runtime.errors import DataError
from runtime.schema import Schema
from train.overlap import picture_places

from .parts import UNLISTED

__all__ = ["listed_parts"]

_REPORTED: Final = 20


def listed_parts(
    pictures: Pictures, lists: Sequence[Path], schema: Schema
) -> npt.NDArray[np.int64]:
    """Return the part of each picture in lists of the same pictures, whatever labels these give.

    Args:
        pictures: N pictures of the data.
        lists: One source per part; none at all lists nothing.
        schema: Of the data; lists of label numbers are read with it.

    Returns:
        (N,) index of the list, or ``UNLISTED``.

    Raises:
        DataError: a list cannot be read, one picture stands in two of them, or they name none of
            the pictures of the data.
    """
    if not lists:
        return np.full(len(pictures), UNLISTED)
    places = [picture_places(_pictures_of(source, schema)) for source in lists]
    twice = sorted(
        place for one, other in combinations(places, 2) for place in set(one) & set(other)
    )
    if twice:
        shown = "\n  ".join(twice[:_REPORTED])
        raise DataError(
            f"{len(twice)} pictures stand in two of the lists of --like, which must be parts of "
            f"one set; take them out of one:\n  {shown}"
        )
    part = {place: index for index, inside in enumerate(places) for place in inside}
    found = np.array([part.get(place, UNLISTED) for place in picture_places(pictures)], np.int64)
    if (found == UNLISTED).all():
        raise DataError(
            f"none of the {len(pictures)} pictures of the data stands in a list of --like, such as "
            f"{next(iter(part))}; name lists of the same files"
        )
    return found


def _pictures_of(source: Path, schema: Schema) -> Pictures:
    # A table of other labels has none of the schema's columns; label numbers need its heads.
    file = list_file(source)
    table = file is not None and find_header(file) is not None
    return scan_rows(source, None if table else schema).pictures
