from __future__ import annotations

from types import SimpleNamespace
from typing import Any

import numpy as np
import numpy.typing as npt
import pytest

from runtime.joined import JoinedScores
from runtime.openvino_lanes import Lane
from runtime.preprocess import InputSpec

SPEC = InputSpec(height=8, width=8)


class FakeRequest:
    """Scores are the image's first pixels; a call may be interrupted."""

    scores: npt.NDArray[np.float32]

    def __init__(self) -> None:
        self.interrupt = False

    def set_input_tensor(self, images: Any) -> None:
        self.images = images

    def set_output_tensor(self, index: int, scores: Any) -> None:
        assert index == 0
        self.scores = scores

    def infer(self, *, share_outputs: bool) -> None:
        assert share_outputs  # or each output is copied into a dictionary
        self.scores[:] = self.images[:, 0, : self.scores.shape[1], 0]
        if self.interrupt:  # signals come through once the engine has returned
            self.interrupt = False
            raise KeyboardInterrupt


@pytest.fixture
def request_() -> FakeRequest:
    return FakeRequest()


@pytest.fixture
def lane(request_: FakeRequest) -> Lane:
    openvino = SimpleNamespace(Tensor=lambda array, shared_memory: array)
    compiled = SimpleNamespace(get_property=lambda _name: 1, create_infer_request=lambda: request_)
    return Lane(openvino, compiled, SPEC, {"a": 2, "b": 3})


def images(count: int) -> npt.NDArray[np.uint8]:
    return np.arange(count * 8 * 8 * 3, dtype=np.uint8).reshape(count, *SPEC.shape)


def test_scores_by_head(lane: Lane) -> None:
    for count in (1, 2, 1):  # the buffers are those of the batch before
        found = lane.infer(images(count))
        first = images(count)[:, 0, :, 0]
        assert isinstance(found, JoinedScores) == (count == 1)
        assert [*found] == ["a", "b"]
        assert (found["a"] == first[:, :2]).all()
        assert (found["b"] == first[:, 2:5]).all()
        assert found["b"].dtype == np.float32


def test_a_request_that_ctrl_c_ends_is_free_again(lane: Lane, request_: FakeRequest) -> None:
    request_.interrupt = True
    with pytest.raises(KeyboardInterrupt):
        lane.infer(images(1))
    assert lane.infer(images(1))["a"].tolist() == [[0, 3]]
