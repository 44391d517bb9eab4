"""An output that spells a text in the model's own alphabet: a row per position, or CTC steps."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Final

import numpy as np
import numpy.typing as npt

from runtime.arrays import Logits
from runtime.errors import ConfigError
from runtime.scores import softmax

from .alphabet import Alphabet
from .ctc import best_path
from .description import Description
from .graphs import Array, Graph, Tensor
from .matching import check_axes, check_count, output_index

__all__ = ["SpelledOutput", "spelled_output"]

_ORDERS: Final[Mapping[str, tuple[int, int, int]]] = {
    "TK": (0, 1, 2), "KT": (0, 2, 1), "TNK": (1, 0, 2)
}  # fmt: skip
"""Where samples, positions and classes lie in an output."""


class SpelledOutput:
    """Turns one output into the logits of the heads that it spells.

    Args:
        description: What the model means; with ``outputs.labels``.
        graph: The loaded model.

    Raises:
        ConfigError: the output is not there or not of that shape, or its labels are not the heads'.
    """

    def __init__(self, description: Description, graph: Graph) -> None:
        given, self._path = description.outputs, description.path
        self._ctc, self._axes = given.ctc, given.axes if given.ctc is None else given.ctc.axes
        self._scores = given.scores
        self.heads = given.spelled(description.schema)
        """Names of the heads, in the order of the text."""
        blank = None if self._ctc is None else self._ctc.blank
        try:
            self._alphabet = Alphabet(description.schema, self.heads, given.labels, blank)
        except ConfigError as error:
            raise ConfigError(f"{description.path}: {error}") from error
        self.facts = self._alphabet.facts
        wanted = given.rows if self._ctc is None else self._ctc.output
        self.output = output_index(description, graph, 0 if wanted is None else wanted)
        """Index of the output."""
        tensor = graph.outputs[self.output]
        self._slots = len(self.heads)
        """Positions of ``rows``."""
        if self._ctc is None:
            self._slots, size = self._count_slots(tensor), self._alphabet.size
            what = f"{self._slots} heads of {size} labels"
            check_count(description, tensor, self._slots * size, what)
            check_axes(description, tensor, self._slots, size)
        else:
            self._check_steps(description, tensor)

    def _count_slots(self, tensor: Tensor) -> int:
        """Return how many positions an output has: fewer than heads, if these can be left empty."""
        sizes, size = tensor.shape[1:], self._alphabet.size
        if len(sizes) == 2:
            slots, classes = sizes if self._axes == "TK" else sizes[::-1]
            slots = slots if classes == size else None
        else:
            whole = sizes[0] if len(sizes) == 1 else None
            slots = whole // size if whole is not None and whole % size == 0 else None
        if slots and slots < len(self.heads) and self._alphabet.absent is not None:
            return slots
        return len(self.heads)

    def _check_steps(self, description: Description, tensor: Tensor) -> None:
        size, shape = self._alphabet.size, tensor.shape
        axis = "TNK".index("K") if self._axes != "KT" else 1
        if len(shape) == 3 and shape[axis] in (None, size):
            return
        hint = ""
        if len(shape) == 3 and shape[1 if axis == 2 else 2] == size:
            hint = f'; did you mean axes = "{"KT" if axis == 2 else "TK"}"?'
        elif len(shape) == 3 and shape[axis] == size - 1:
            hint = "; is the blank among the labels? leave it out, blank says where it is"
        raise ConfigError(
            f"{description.path}: outputs.labels and the blank are {size} classes on axis {axis} "
            f"of {self._axes}, but the output is {tensor}{hint}"
        )

    def classes(self, output: Array, count: int) -> npt.NDArray[np.float64]:
        """Return (N, positions or steps, C) scores as the model gives them.

        Args:
            output: What the graph gave.
            count: Number N of samples.

        Raises:
            ConfigError: an output whose sizes the file left open has other ones than it should.
        """
        size, slots = self._alphabet.size, self._slots
        if self._ctc is None and output.size == count * slots * size:  # it may lie there flat
            output = output.reshape(
                (count, slots, size) if self._axes == "TK" else (count, size, slots)
            )
        if output.ndim == 3:
            output = output.transpose(_ORDERS[self._axes])
        if output.ndim != 3 or (output.shape[0], output.shape[2]) != (count, size):
            raise ConfigError(
                f"{self._path}: outputs.axes {self._axes!r} and {size} classes do not fit the "
                f"output of {count} samples, whose shape as (samples, steps, classes) is "
                f"{output.shape}; see also outputs.labels and ctc.blank"
            )
        return output.astype(np.float64)

    def logits(self, scores: npt.NDArray[np.float64]) -> Logits:
        """Return head name to (N, K) float32 for what ``classes`` returned."""
        # Logarithms of probabilities are logits: softmax gives back what they are logarithms of.
        shares = scores if self._scores == "probabilities" else softmax(scores)
        table = np.zeros((len(shares), len(self.heads), self._alphabet.size + 1))
        if self._alphabet.absent is not None:
            table[:, :, self._alphabet.absent] = 1.0  # behind the end of the text
        if self._ctc is None:
            table[:, : self._slots, :-1] = shares
            return self._alphabet.logits(table)
        most = len(self.heads)
        found = best_path(shares, self._ctc.blank)
        kept = found.places < most
        rows, places, steps = found.rows[kept], found.places[kept], found.steps[kept]
        table[rows, places, :-1] = shares[rows, steps]
        # No head can say that the text goes on: nothing is known of its last position then.
        table[found.lengths > most, -1] = 0.0
        return self._alphabet.logits(table)


def spelled_output(description: Description, graph: Graph) -> SpelledOutput | None:
    """Return the output that spells in the model's own alphabet; None where there is none.

    Raises:
        ConfigError: see ``SpelledOutput``.
    """
    return SpelledOutput(description, graph) if description.outputs.labels else None
