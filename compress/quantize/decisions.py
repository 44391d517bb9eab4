"""The INT8 decisions of a network: its layers that can run in INT8, and the steps they would have.

Which of them do is decided later; ``graph`` writes any subset, so that layers can be tried alone
and taken back.
"""

from __future__ import annotations

from collections.abc import Collection, Iterator, Sequence
from contextlib import closing
from dataclasses import dataclass
from typing import Any, Final

import numpy as np
import torch

from runtime.arrays import Images, Logits
from runtime.preprocess import InputSpec
from runtime.schema import Schema
from runtime.session import Session, SessionOptions
from runtime.session_onnx import OnnxSession
from runtime.staging import scratch_folder
from train.data import CropSet
from train.graph import write_graph
from train.int8.placement import Layer, find_layers
from train.int8.qdq import place
from train.int8.ranges import layer_steps
from train.network import Network

__all__ = ["Decisions", "score_session"]

_BATCH: Final = 64


@dataclass(frozen=True, slots=True)
class Decisions:
    """A deployed float graph and what quantises it."""

    schema: Schema
    spec: InputSpec
    model: Any
    """``onnx.ModelProto`` of the float graph."""
    layers: Sequence[Layer]
    """What can run in INT8, in the graph's order."""
    steps: dict[str, float]
    """Activation to the step of its range."""

    @classmethod
    def measure(
        cls, network: Network, schema: Schema, spec: InputSpec, images: Images
    ) -> Decisions:
        """Find the layers of a network and measure the ranges of its activations.

        Args:
            network: Trained.
            schema: Its heads.
            spec: Its input.
            images: (N, height, width, 3) uint8 calibration crops.
        """
        import onnx

        with scratch_folder() as scratch:
            path = scratch / "float.onnx"
            write_graph(network, schema, spec, path)
            model = onnx.load(path)
        layers = find_layers(model)
        return cls(schema, spec, model, layers, layer_steps(model, layers, images))

    @property
    def names(self) -> tuple[str, ...]:
        """Layers that can run in INT8."""
        return tuple(layer.name for layer in self.layers)

    def graph(self, names: Collection[str]) -> Any:
        """Return the graph with the layers called ``names`` in INT8 and all others in float."""
        return place(
            self.model, [layer for layer in self.layers if layer.name in names], self.steps
        )

    def score(self, names: Collection[str], crops: CropSet | Images) -> Logits:
        """Score crops with the layers called ``names`` in INT8.

        Returns:
            Head name to (N, K) float32.
        """
        import onnx

        with scratch_folder() as scratch:
            path = scratch / "graph.onnx"
            onnx.save(self.graph(names), path)
            options = SessionOptions(threads=torch.get_num_threads())
            with closing(OnnxSession(path, self.schema, self.spec, options)) as session:
                return score_session(session, crops)


def score_session(session: Session, crops: CropSet | Images) -> Logits:
    """Score all crops in order and return head name to (N, K)."""
    parts = [session.run(images) for images in _batches(crops)]
    return {name: np.concatenate([part[name] for part in parts]) for name in parts[0]}


def _batches(crops: CropSet | Images) -> Iterator[Images]:
    if isinstance(crops, CropSet):
        return crops.image_batches(_BATCH)
    return (crops[start : start + _BATCH] for start in range(0, len(crops), _BATCH))
