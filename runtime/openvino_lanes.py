"""Requests of a compiled OpenVINO graph, pooled so that any thread may ask.

Of its outputs OpenVINO makes one before it is compiled: ten cost 25 us of 280 a call, however
small they are.
"""

from __future__ import annotations

from collections.abc import Mapping
from queue import SimpleQueue
from typing import Any

import numpy as np

from .arrays import Images, Logits
from .joined import ScoreBlock
from .preprocess import InputSpec

__all__ = ["Lane", "joined_heads"]


def joined_heads(openvino: Any, model: Any) -> Any:
    """Return a model whose only output is (N, T): the scores of all heads, one after the other.

    Args:
        openvino: The module.
        model: One output (N, K) per head; it must not be used again.
    """
    heads = [result.input_value(0) for result in model.get_results()]
    joined = openvino.opset13.concat(heads, 1, name="scores")
    # Names that OpenVINO makes up count on, and a cache of compiled graphs would never match.
    result = openvino.opset13.result(joined, name="scores/result")
    return openvino.Model([result], model.get_parameters(), "joined")


class Lane:
    """A compiled graph and as many requests as it can run at a time.

    Args:
        openvino: The module.
        compiled: The graph, with one output of all heads' scores (``joined_heads``).
        spec: Size of its input.
        sizes: Head name to its number of labels, in the order of the output.
    """

    def __init__(
        self, openvino: Any, compiled: Any, spec: InputSpec, sizes: Mapping[str, int]
    ) -> None:
        self.compiled = compiled
        self._free: SimpleQueue[_Request] = SimpleQueue()
        for _ in range(compiled.get_property("OPTIMAL_NUMBER_OF_INFER_REQUESTS")):
            self._free.put(_Request(openvino, compiled, spec, sizes))

    def infer(self, images: Images) -> Logits:
        """Score images with the first request that is free; any thread may call."""
        request = self._free.get()
        try:
            return request.infer(images)
        finally:
            self._free.put(request)


class _Request:
    """An inference request bound to buffers of its own; one thread at a time.

    Binding once, instead of handing over arrays at every call, saves 15 us of 76.
    """

    def __init__(
        self, openvino: Any, compiled: Any, spec: InputSpec, sizes: Mapping[str, int]
    ) -> None:
        self._openvino = openvino
        self._request = compiled.create_infer_request()
        self._images: Images = np.empty((0, *spec.shape), np.uint8)
        self._block = ScoreBlock(sizes)
        self._scores = np.empty((0, sum(sizes.values())), np.float32)

    def infer(self, images: Images) -> Logits:
        if len(images) != len(self._images):
            self._bind(images.shape)
        np.copyto(self._images, images)
        # Not start_async and wait: those hand over to another thread, which takes 85 us of 430.
        self._request.infer(share_outputs=True)
        if len(images) == 1:
            return self._block.take()
        scores = self._scores.copy()
        return {name: scores[:, place] for name, place in self._block.places.items()}

    def _bind(self, shape: tuple[int, ...]) -> None:
        tensor = self._openvino.Tensor
        self._images = self._images[:0]  # if Ctrl-C comes in between, the next call binds again
        images = np.empty(shape, np.uint8)
        whole = self._block.whole
        self._scores = whole if shape[0] == 1 else np.empty((shape[0], whole.shape[1]), np.float32)
        self._request.set_input_tensor(tensor(images, shared_memory=True))
        self._request.set_output_tensor(0, tensor(self._scores, shared_memory=True))
        self._images = images
