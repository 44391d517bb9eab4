"""From a model's own classes, in its own order, to the heads of a schema."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Final

import numpy as np
import numpy.typing as npt

from runtime.arrays import Floats, Logits
from runtime.errors import ConfigError
from runtime.schema import Head, HeadKind, Schema

__all__ = ["LEAST", "Alphabet"]

LEAST: Final = 1e-7
"""Probabilities are kept this far from 0 and 1, where their logits would be infinite."""


class Alphabet:
    """Gives each head its share of a model's classes.

    A head's label gets the probability of the class that is called like it, so the confidence of
    an answer is the model's own. What is left, of classes that the head has no label for, is
    spread evenly over its labels: it says that none of them is right.

    Args:
        schema: Heads and readings.
        heads: Names of the P heads that the model answers, in its order.
        labels: What the model's classes stand for, without CTC's blank.
        blank: Index of CTC's blank among the classes; it counts as the label that a reading calls
            its blank. None: the model has none.

    Raises:
        ConfigError: a head of several labels at a time, or without any class, a ``blank`` beyond
            the classes, or no class for the label that means "no character".
    """

    def __init__(
        self, schema: Schema, heads: Sequence[str], labels: Sequence[str], blank: int | None = None
    ) -> None:
        self._heads = [schema.head(name) for name in heads]
        sets = [head.name for head in self._heads if head.kind is not HeadKind.CHOICE]
        if sets:
            raise ConfigError(
                f"outputs.labels is about heads that choose one label; {sets} may give several: "
                "name their outputs in [outputs.heads], or list them in unanswered"
            )
        classes: list[str | None] = [*labels]
        if blank is not None:
            if blank > len(labels):
                raise ConfigError(
                    f"outputs.ctc.blank is {blank}, but {len(labels)} labels and the blank are the "
                    f"classes 0 to {len(labels)}"
                )
            classes.insert(blank, None)
        self.size = len(classes)
        """Number C of classes."""
        self._places = {label: place for place, label in enumerate(classes) if label is not None}
        absent = {name: reading.blank for reading in schema.readings for name in reading.heads}
        last = absent.get(heads[-1])
        self.absent = blank if blank is not None or last is None else self._places.get(last)
        """Index of the class that says "no character" of the last head; None: there is none."""
        columns = [self._columns(head, absent.get(head.name), blank) for head in self._heads]
        # A row of P x (C + 1) probabilities to all labels side by side; column C is always 0.
        self._take = np.concatenate(
            [place * (self.size + 1) + found for place, found in enumerate(columns)]
        )
        self._sizes = np.array([head.size for head in self._heads])
        self._ends = np.cumsum(self._sizes)
        known = {label for head in self._heads for label in head.labels}
        self.facts: Mapping[str, str] = _facts(
            [label for label in labels if label not in known],
            sorted(known - {*labels} - (set() if blank is None else {*absent.values()})),
        )
        """Which classes no head has, and which labels the model lacks; only what there is."""

    def _columns(self, head: Head, absent: str | None, blank: int | None) -> npt.NDArray[np.int64]:
        places = dict(self._places)
        if blank is not None and absent is not None:
            places[absent] = blank
        found = [places.get(label, self.size) for label in head.labels]
        if min(found) == self.size:
            raise ConfigError(
                f"outputs.labels {[*self._places]} has none of the labels of head {head.name!r}, "
                f"{[*head.labels]}; write the model's characters as the schema does"
            )
        if absent in head.labels and absent not in places:
            raise ConfigError(
                f"outputs.labels lacks {absent!r}, which stands for 'no character' in the schema; "
                "write it in the place of the model's own character for that (its pad)"
            )
        return np.array(found)

    def logits(self, shares: Floats) -> Logits:
        """Return the heads' logits.

        Args:
            shares: (N, P, C + 1) probabilities of the classes at each head's position; the last
                column is 0. A row of zeros says that nothing is known.

        Returns:
            Head name to (N, K) float32, whose softmax are the probabilities.
        """
        found = shares.reshape(len(shares), -1).take(self._take, axis=1)  # (N, all labels)
        sums = np.add.reduceat(found, self._ends - self._sizes, axis=1)  # (N, P)
        found += np.repeat(np.maximum(1 - sums, 0) / self._sizes, self._sizes, axis=1)
        scores = np.log(np.maximum(found, LEAST)).astype(np.float32, copy=False)
        parts = np.split(scores, self._ends[:-1], axis=1)
        return {head.name: part for head, part in zip(self._heads, parts, strict=True)}


def _facts(unheard: Sequence[str], unknown: Sequence[str]) -> Mapping[str, str]:
    facts = {"classes without a label": unheard, "labels without a class": unknown}
    return {name: " ".join(found) for name, found in facts.items() if found}
