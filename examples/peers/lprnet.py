"""LPRNet, written from its paper: Zherzdev & Gruzdev 2018, arXiv 1806.10447.

The network without its optional spatial transformer (section 3.2, tables 2 and 3). What the paper
leaves open is as in the configuration that its authors published later for Chinese plates
(openvinotoolkit/training_extensions, tensorflow_toolkit/lpr): the width of the context embedding,
which layers pad, and no scaling of inputs beyond [0, 1].
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Final

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor, nn

from benchmarks.foreign.ctc import best_path
from runtime.arrays import Floats
from runtime.errors import DataError, SchemaError
from runtime.preprocess import InputSpec
from runtime.schema import Schema

__all__ = ["CONTEXT", "INPUT", "LPRNet", "Vocabulary", "spelled"]

INPUT: Final = InputSpec(height=24, width=94)
"""Section 3.2: a plate is squeezed to 94x24 px."""
CONTEXT: Final = 128
"""Width of the global context embedding; the authors' configuration, the paper gives none."""
_LEAST_SIDE: Final = 24


@dataclass(frozen=True, slots=True)
class Vocabulary:
    """The classes of a CTC output: every label of a reading once, then the CTC blank."""

    labels: tuple[str, ...]
    table: Tensor
    """(heads, K) int64: class of each label of each head; -1 for the reading's own blank and
    beyond a head's labels."""
    heads: tuple[str, ...]
    """Heads of the reading, in its order."""

    @classmethod
    def of(cls, schema: Schema) -> Vocabulary:
        """Return the classes of the one reading of ``schema``.

        Raises:
            SchemaError: it has no reading or several.
        """
        if len(schema.readings) != 1:
            raise SchemaError(
                f"schema {schema.name!r} has {len(schema.readings)} readings; a CTC output spells "
                "exactly one"
            )
        reading = schema.readings[0]
        positions = [schema.head(name).labels for name in reading.heads]
        spoken = [label for labels in positions for label in labels if label != reading.blank]
        labels = tuple(dict.fromkeys(spoken))
        classes = {label: index for index, label in enumerate(labels)}
        table = torch.full((len(positions), max(map(len, positions))), -1)
        for row, known in zip(table, positions, strict=True):
            row[: len(known)] = torch.tensor([classes.get(label, -1) for label in known])
        return cls(labels, table, reading.heads)

    @property
    def blank(self) -> int:
        """Class of the CTC blank: the last."""
        return len(self.labels)

    def __len__(self) -> int:
        return len(self.labels) + 1

    def sequences(self, targets: Sequence[Tensor]) -> tuple[Tensor, Tensor]:
        """Return texts as sequences of classes.

        Args:
            targets: Of every head of the reading, (N,) int64 label indices.

        Returns:
            (N, heads) int64, classes first and -1 behind them, and (N,) their number.

        Raises:
            DataError: a label is missing.
        """
        places = torch.stack(list(targets))  # (heads, N)
        if places.min() < 0:
            raise DataError("a crop has no text; leave it out of the lists")
        classes = self.table.gather(1, places).T  # (N, heads)
        spoken = classes >= 0
        # A stable sort brings the blank positions behind the others and keeps their order.
        order = torch.argsort((~spoken).to(torch.uint8), dim=1, stable=True)
        return classes.gather(1, order), spoken.sum(dim=1)


def spelled(scores: Floats, blank: int) -> npt.NDArray[np.int64]:
    """Decode the best path of every sample (``benchmarks.foreign.ctc``).

    Args:
        scores: (N, T, K) logits or probabilities.
        blank: Class of the CTC blank.

    Returns:
        (N, T) int64: the classes of the text first, -1 behind them.
    """
    found = best_path(scores, blank)
    texts = np.full(scores.shape[:2], -1, np.int64)
    texts[found.rows, found.places] = scores[found.rows, found.steps].argmax(axis=1)
    return texts


def _convolution(
    inputs: int, outputs: int, kernel: tuple[int, int], padding: tuple[int, int]
) -> nn.Sequential:
    """Convolution, BatchNorm and ReLU, which follow each other everywhere (section 3.2)."""
    return nn.Sequential(
        nn.Conv2d(inputs, outputs, kernel, padding=padding, bias=False),
        nn.BatchNorm2d(outputs),
        nn.ReLU(inplace=True),
    )


def _small_basic_block(inputs: int, outputs: int) -> nn.Sequential:
    """Table 2: squeeze to a quarter, 3x1, 1x3, expand."""
    inner = outputs // 4
    return nn.Sequential(
        _convolution(inputs, inner, (1, 1), (0, 0)),
        _convolution(inner, inner, (3, 1), (1, 0)),
        _convolution(inner, inner, (1, 3), (0, 1)),
        _convolution(inner, outputs, (1, 1), (0, 0)),
    )


class LPRNet(nn.Module):
    """Table 3, the wide convolution and the global context embedding.

    Args:
        classes: With the blank.
        spec: Size of the input; 24 px high.
        dropout: Share of features dropped in training, twice.

    Raises:
        SchemaError: fewer than two classes, or another height.
    """

    def __init__(self, classes: int, spec: InputSpec = INPUT, dropout: float = 0.5) -> None:
        super().__init__()
        if classes < 2 or spec.height != INPUT.height or spec.width < _LEAST_SIDE:
            raise SchemaError(
                f"LPRNet needs two classes and crops of {INPUT.height} px by {_LEAST_SIDE} or "
                f"more, got {classes} and {spec.height}x{spec.width}"
            )
        self.backbone = nn.Sequential(
            _convolution(3, 64, (3, 3), (1, 1)),
            nn.MaxPool2d(3, stride=1),
            _small_basic_block(64, 128),
            nn.MaxPool2d(3, stride=(2, 1)),
            _small_basic_block(128, 256),
            _small_basic_block(256, 256),
            nn.MaxPool2d(3, stride=(2, 1)),
            nn.Dropout(dropout),
            _convolution(256, 256, (4, 1), (0, 0)),
            nn.Dropout(dropout),
            _convolution(256, classes, (1, 13), (0, 6)),
        )
        self.steps = spec.width - 6
        """T: each of the three poolings takes two columns."""
        self.context = nn.Sequential(
            nn.Flatten(),
            nn.Linear(classes * self.steps, CONTEXT, bias=False),
            nn.BatchNorm1d(CONTEXT),
            nn.ReLU(inplace=True),
        )
        self.answer = nn.Conv2d(classes + CONTEXT, classes, 1)

    def forward(self, images: Tensor) -> Tensor:
        """Return the scores of every step.

        Args:
            images: (N, 3, 24, W) RGB in [0, 1].

        Returns:
            (N, T, classes) logits, T = W - 6.
        """
        features = self.backbone(images)  # (N, classes, 1, T)
        pattern = self.context(features)[:, :, None, None].expand(-1, -1, 1, self.steps)
        logits: Tensor = self.answer(torch.cat([features, pattern], dim=1))
        return logits.squeeze(2).transpose(1, 2)
