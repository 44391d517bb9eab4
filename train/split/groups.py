"""Groups of crops that must stay together: the same text, or pictures that show the same."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import TypeAlias

import numpy as np
import numpy.typing as npt
from scipy.sparse import coo_array
from scipy.sparse.csgraph import connected_components

from benchmarks.crops.pictures import DIGEST_BYTES, content_digest
from runtime.arrays import Bools
from runtime.schema import Reading
from train.audit.duplicates import Duplicates
from train.audit.survey import Survey

__all__ = ["Groups", "Pairs", "connected", "group_crops", "smallest_keys"]

Pairs: TypeAlias = tuple[npt.NDArray[np.int64], npt.NDArray[np.int64]]
"""M first and M second crops that must stay together."""


@dataclass(frozen=True, slots=True, eq=False)
class Groups:
    """N crops in G groups."""

    of: npt.NDArray[np.int64]
    """(N,) the group of each crop, from 0."""
    keys: npt.NDArray[np.uint8]
    """(G, 16) what a group is known by, whatever else the data holds."""

    def __len__(self) -> int:
        return len(self.keys)


def group_crops(survey: Survey, duplicates: Duplicates) -> Groups:
    """Put crops together that share a text or are duplicates, directly or through others.

    The key of a group is the smallest digest of the texts in it, or, where it has none, of its
    pictures' files: neither order, names, folders nor crops of other groups change it.

    Args:
        survey: N crops.
        duplicates: Pairs of them.
    """
    pairs: list[Pairs] = [(duplicates.first, duplicates.second)]
    digests, texted = survey.facts.files.copy(), np.zeros(len(survey), np.bool_)
    for reading in survey.schema.readings:
        same, spelled = _texts(survey, reading)
        known = np.flatnonzero(same >= 0)
        pairs.append((same[known], known))
        new = known[~texted[known]]  # of several readings the first that is given counts
        digests[new], texted[new] = spelled[new], True
    of = connected(len(survey), pairs)
    return Groups(of, smallest_keys(of, digests, texted))


def _texts(survey: Survey, reading: Reading) -> tuple[npt.NDArray[np.int64], npt.NDArray[np.uint8]]:
    """Return (N,) the first crop with the same text, -1 without one, and (N, 16) its digest.

    What counts is how the text was encoded: O and 0 are one where the schema says so.
    """
    heads = [survey.schema.head(name) for name in reading.heads]
    indices = np.stack([survey.targets.choices[head.name] for head in heads], axis=1)
    texts, first, which = np.unique(indices, axis=0, return_index=True, return_inverse=True)
    which = which.reshape(-1)  # numpy 2.0 gives (N, 1)
    digests = np.zeros((len(texts), DIGEST_BYTES), np.uint8)
    for row, text in enumerate(texts.tolist()):
        letters = [
            head.labels[index] if index >= 0 else ""
            for head, index in zip(heads, text, strict=True)
        ]
        digests[row] = content_digest("\n".join([reading.name, *letters]).encode())
    given = (texts >= 0).any(axis=1)
    return np.where(given, first, -1)[which], digests[which]


def connected(count: int, pairs: Sequence[Pairs]) -> npt.NDArray[np.int64]:
    """Return the group of each of ``count`` crops, from 0: the connected components of the pairs.

    Args:
        count: N.
        pairs: Which crops must stay together.

    Returns:
        (N,); a crop in no pair is a group of its own.
    """
    first, second = (np.concatenate(column) for column in zip(*pairs, strict=True))
    graph = coo_array((np.ones(len(first), np.bool_), (first, second)), shape=(count, count))
    _, groups = connected_components(graph, directed=False)
    return np.asarray(groups, np.int64)


def smallest_keys(
    groups: npt.NDArray[np.int64], digests: npt.NDArray[np.uint8], preferred: Bools
) -> npt.NDArray[np.uint8]:
    """Return the smallest digest of each group, of the preferred crops where it has any: (G, 16).

    Args:
        groups: (N,) from 0, none left out.
        digests: (N, 16).
        preferred: (N,) which crops count before all others.
    """
    words = np.ascontiguousarray(digests).view(">u8")  # (N, 2)
    order = np.lexsort((words[:, 1], words[:, 0], ~preferred, groups))
    begins = np.flatnonzero(np.diff(groups[order], prepend=-1))
    return np.asarray(digests[order[begins]])
