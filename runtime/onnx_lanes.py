"""Single images for ONNX Runtime without its conversions: bound once, pooled for any thread."""

from __future__ import annotations

from collections import deque
from collections.abc import Mapping
from typing import Any

import numpy as np

from .arrays import Images, Logits
from .joined import ScoreBlock
from .preprocess import InputSpec
from .schema import INPUT_NAME

__all__ = ["OnnxLanes"]


class OnnxLanes:
    """As many lanes of a session as threads ever asked at a time; any thread may call.

    ``InferenceSession.run`` makes an array for every output and a value for the input at each call:
    30 us of 510 with ten heads, more than a lane takes for everything around the graph.

    Args:
        session: The ``onnxruntime.InferenceSession``.
        spec: Size of its input.
        sizes: Head name to its number of labels.
    """

    def __init__(self, session: Any, spec: InputSpec, sizes: Mapping[str, int]) -> None:
        self._session, self._spec, self._sizes = session, spec, sizes
        self._free: deque[_Lane] = deque()

    def infer(self, images: Images) -> Logits:
        """Score one image, (1, height, width, 3) uint8."""
        try:
            lane = self._free.pop()  # the one used last: its memory is still in the caches
        except IndexError:
            lane = _Lane(self._session, self._spec, self._sizes)
        try:
            return lane.infer(images)
        finally:
            self._free.append(lane)


class _Lane:
    """A binding of a session to buffers; one thread at a time."""

    def __init__(self, session: Any, spec: InputSpec, sizes: Mapping[str, int]) -> None:
        self._block = ScoreBlock(sizes)
        self._image = np.empty((1, *spec.shape), np.uint8)
        self._session = session
        self._binding = binding = session.io_binding()
        binding.bind_input(
            INPUT_NAME, "cpu", 0, np.uint8, self._image.shape, self._image.ctypes.data
        )
        for name, part in zip(sizes, self._block.parts, strict=True):
            binding.bind_output(name, "cpu", 0, np.float32, part.shape, part.ctypes.data)

    def infer(self, images: Images) -> Logits:
        np.copyto(self._image, images)
        self._session.run_with_iobinding(self._binding)
        return self._block.take()
