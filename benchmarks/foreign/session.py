"""A bare graph as the runtime's sessions are: pixels in, logits by head out."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Final

import cv2
import numpy as np
import numpy.typing as npt

from runtime.arrays import Images, Logits
from runtime.errors import ConfigError
from runtime.graph_contract import Scores, check_images, run_within
from runtime.schema import HeadKind

from .alphabet import LEAST
from .description import Description, InputDescription
from .graphs import Array, Graph, Tensor
from .matching import check_input, check_outputs
from .spelled import spelled_output

__all__ = ["ForeignSession", "prepare"]

_PIXELS: Final = "uint8 NHWC BGR"
"""What sessions are given."""
_UNITY: Final = 1e-2
"""How far float16 may be from a sum of 1."""


class ForeignSession:
    """See ``runtime.session.Session``.

    What the graph wants of its input is done here, in numpy, and counts as the engine's time:
    an artifact's graph does it, too. ``conversion`` in the description says what it is. So does
    what becomes of its outputs, which is nothing where each head has one of its own.

    Args:
        description: What the model means.
        graph: The loaded model.

    Raises:
        ConfigError: the graph is not what the description says.
        EngineError: the engine cannot run it.
    """

    def __init__(self, description: Description, graph: Graph) -> None:
        self._given, self._graph = description, graph
        self._input = check_input(description, graph)
        self._sources = check_outputs(description, graph)
        self._spelled = spelled_output(description, graph)
        heads = description.schema.heads
        self._heads = {head.name: head for head in heads}
        self._unanswered = {
            head.name: np.zeros(head.size, np.float32)
            for head in heads
            if head.name in description.outputs.unanswered
        }
        self._places = [source.output for source in self._sources.values()]
        ports = [graph.outputs[place] for place in self._places]
        # As artifacts have them: nothing needs to be done, and nothing is paid for it.
        self._plain = (
            len({*self._places}) == len(ports) == len(heads)
            and description.outputs.scores == "logits"
            and all(
                len(port.shape) == 2 and (port.dtype == "float32" or port.grid) for port in ports
            )
        )
        self._check_scores()

    def run(self, images: Images) -> Logits:
        """Score (N, height, width, 3) uint8 images; see ``Session.run``."""
        check_images(images, self._given.input.size)
        limits = self._graph.batches
        scores = run_within(self._infer, images, *limits) if limits else self._infer(images)
        return dict(zip(self._heads, scores, strict=True))

    def _infer(self, images: Images) -> Scores:
        """Return (N, K) float32 logits per head, in schema order."""
        outputs = self._graph.run(prepare(images, self._given.input, self._input))
        if self._plain:
            return [outputs[place] for place in self._places]
        found = self._own(outputs, len(images))
        kinds = {name: self._heads[name].kind for name in found}
        told = self._given.outputs.scores
        logits = {name: _logits(each, told, kinds[name]) for name, each in found.items()}
        if self._spelled is not None:
            classes = self._spelled.classes(outputs[self._spelled.output], len(images))
            logits |= self._spelled.logits(classes)
        for name, zeros in self._unanswered.items():
            logits[name] = np.tile(zeros, (len(images), 1))
        return [logits[name] for name in self._heads]

    def _own(self, outputs: Sequence[Array], count: int) -> dict[str, npt.NDArray[np.float32]]:
        """Return (N, K) float32 of heads whose scores lie in their labels' order, as given."""
        return {
            name: self._scores_of(outputs[source.output], source.row, self._heads[name].size, count)
            for name, source in self._sources.items()
        }

    def _scores_of(
        self, output: Array, row: int | None, size: int, count: int
    ) -> npt.NDArray[np.float32]:
        if row is None:
            return output.reshape(count, -1).astype(np.float32, copy=False)
        if self._given.outputs.axes == "TK":
            found = output.reshape(count, -1, size)[:, row]
        else:
            found = output.reshape(count, size, -1)[:, :, row]
        return np.array(found, np.float32)  # not a view of what other heads' callers own

    def _check_scores(self) -> None:
        """Run noise through the graph: its scores must be what the description calls them."""
        smallest = (self._graph.batches or (1, 1))[0]
        images = np.random.default_rng(0).integers(
            0, 256, (1, *self._given.input.size.shape), np.uint8
        )
        images = np.repeat(images, smallest, axis=0)
        outputs = self._graph.run(prepare(images, self._given.input, self._input))
        told = self._given.outputs.scores
        choices = list[bool]()
        for name, found in self._own(outputs, smallest).items():
            head = self._heads[name]
            if found.shape[1] != head.size:
                raise ConfigError(
                    f"{self._given.path}: head {name!r} has {head.size} labels, its output gave "
                    f"{found.shape[1]} scores"
                )
            shares = self._check_kind(f"head {name!r}", found, sums=head.kind is HeadKind.CHOICE)
            choices += [shares] if head.kind is HeadKind.CHOICE else []
        if self._spelled is not None:
            classes = self._spelled.classes(outputs[self._spelled.output], smallest)
            choices.append(self._check_kind("the text", classes, sums=True))
        if told == "logits" and choices and all(choices):
            raise ConfigError(
                f"{self._given.path}: outputs.scores is 'logits', but the scores of every choice "
                "head are in 0 to 1 and sum to 1: softmax was applied; say scores = "
                '"probabilities"'
            )

    def _check_kind(self, what: str, found: Array, *, sums: bool) -> bool:
        """Return whether scores, (..., K), are probabilities; fail if they are not what is told."""
        path, told = self._given.path, self._given.outputs.scores
        if not np.isfinite(found).all():
            raise ConfigError(
                f"{path}: {what} gave NaN or infinity for a picture of noise; check input.scale, "
                "mean and std"
            )
        shares = _are_shares(found, sums=sums)
        right = _are_shares(np.exp(found), sums=sums) if told == "log-probabilities" else shares
        if told != "logits" and not right:
            raise ConfigError(
                f"{path}: outputs.scores is {told!r}, but {what} gave scores from "
                f"{found.min():.3g} to {found.max():.3g}, the first of which sum to "
                f'{found.reshape(-1, found.shape[-1])[0].sum():.3g}; say scores = "logits"'
            )
        return shares

    def close(self) -> None:
        """Free the graph; a second call does nothing."""
        self._graph.close()

    @property
    def description(self) -> Mapping[str, str]:
        """Engine, version, device, threads; precision as told; what is done to the input."""
        return {
            **self._graph.facts,
            "precision": self._given.precision,
            "conversion": "none"
            if str(self._given.input) == _PIXELS
            else f"{_PIXELS} to {self._given.input} outside the graph, timed with it",
            **({} if self._spelled is None else self._spelled.facts),
            **({"unanswered": ", ".join(self._unanswered)} if self._unanswered else {}),
        }


def prepare(images: Images, given: InputDescription, tensor: Tensor) -> Array:
    """Return the graph's input for (N, height, width, 3) uint8 BGR images, C-contiguous."""
    pixels: Array = images
    if given.colour == "RGB":
        pixels = images[..., ::-1]
    elif given.colour == "GREY":
        count, height, width, _ = images.shape
        tall = images.reshape(count * height, width, 3)
        pixels = cv2.cvtColor(tall, cv2.COLOR_BGR2GRAY).reshape(count, height, width, 1)
    if given.layout == "NCHW":
        pixels = pixels.transpose(0, 3, 1, 2)
    if given.normalised:
        pixels = _normalise(pixels, given)
    if tensor.grid not in (None, (1.0, 0)) or (tensor.grid and given.normalised):
        return _quantise(pixels, tensor)
    return np.ascontiguousarray(pixels, np.dtype(tensor.dtype))


def _normalise(pixels: Array, given: InputDescription) -> npt.NDArray[np.float32]:
    """Return ``(pixels * scale - mean) / std`` as one multiplication and one subtraction."""
    std = np.asarray(given.std or (1.0,), np.float64)
    factor = ((given.scale if given.scale is not None else 1.0) / std).astype(np.float32)
    offset = (np.asarray(given.mean or (0.0,), np.float64) / std).astype(np.float32)
    if given.layout == "NCHW":
        factor, offset = factor[:, None, None], offset[:, None, None]
    # Made in the graph's order: numpy's default would keep that of the pixels.
    found = np.empty(pixels.shape, np.float32)
    np.multiply(pixels, factor, out=found)
    if offset.any():
        found -= offset
    return found


def _quantise(values: Array, tensor: Tensor) -> Array:
    scale, zero = tensor.grid or (1.0, 0)
    limits = np.iinfo(tensor.dtype)
    steps = np.rint(values * np.float32(1 / scale)) + zero
    return np.ascontiguousarray(np.clip(steps, limits.min, limits.max), np.dtype(tensor.dtype))


def _are_shares(found: Array, *, sums: bool) -> bool:
    """Whether (..., K) lie in 0 to 1 and, if ``sums``, add up to 1."""
    inside = (found >= -_UNITY).all() and (found <= 1 + _UNITY).all()
    return bool(inside and (not sums or np.abs(found.sum(axis=-1) - 1).max() <= _UNITY))


def _logits(scores: npt.NDArray[np.float32], told: str, kind: HeadKind) -> npt.NDArray[np.float32]:
    if told == "logits" or (told == "log-probabilities" and kind is HeadKind.CHOICE):
        return scores
    shares = np.exp(scores) if told == "log-probabilities" else scores
    kept: npt.NDArray[np.float32] = np.clip(shares, LEAST, 1 - LEAST)
    return np.log(kept) if kind is HeadKind.CHOICE else np.log(kept) - np.log1p(-kept)
