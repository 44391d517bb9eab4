from __future__ import annotations

import json
import struct
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp

from runtime.errors import DataError
from runtime.gateway.serve.tensors import (
    BYTES,
    Output,
    Question,
    TensorSpec,
    encode_answer,
    parse_question,
)

PIXELS = TensorSpec("image", "UINT8", (-1, 2, 3, 3))
PICTURES = TensorSpec("image", BYTES, (-1,))
HEADS = ["first", "second"]
SIZE = 18


def entry(count: int = 1, **more: Any) -> dict[str, Any]:
    return {"name": "image", "datatype": "UINT8", "shape": [count, 2, 3, 3], **more}


def ask(
    value: Any, tail: bytes = b"", spec: TensorSpec = PIXELS, *, cut: int | None = None
) -> Question:
    text = value if isinstance(value, bytes) else json.dumps(value).encode()
    return parse_question(text + tail, len(text) if cut is None else cut, spec, HEADS, max_batch=4)


@given(hnp.arrays(np.uint8, st.tuples(st.integers(1, 4), st.just(2), st.just(3), st.just(3))))
def test_binary_flat_and_nested_numbers_are_one_tensor(images: Any) -> None:
    tail = images.tobytes()
    binary = entry(len(images), parameters={"binary_data_size": len(tail)})
    for value, rest in (
        ({"inputs": [binary]}, tail),
        ({"inputs": [entry(len(images), data=images.ravel().tolist())]}, b""),
        ({"inputs": [entry(len(images), data=images.tolist())]}, b""),
    ):
        question = ask(value, rest)
        assert isinstance(question.values, np.ndarray)
        assert question.values.dtype == np.uint8
        np.testing.assert_array_equal(question.values, images)
        assert question.outputs == [Output("first", False), Output("second", False)]


@given(st.lists(st.binary(max_size=20), min_size=1, max_size=4))
def test_elements_come_behind_their_length(elements: list[bytes]) -> None:
    tail = b"".join(struct.pack("<I", len(element)) + element for element in elements)
    value = {
        "name": "image",
        "datatype": "BYTES",
        "shape": [len(elements)],
        "parameters": {"binary_data_size": len(tail)},
    }
    assert ask({"inputs": [value]}, tail, PICTURES).values == elements
    # One byte less or more is no such list.
    for broken in (tail[:-1], tail + b"x"):
        value["parameters"] = {"binary_data_size": len(broken)}
        with pytest.raises(DataError, match="expected"):
            ask({"inputs": [value]}, broken, PICTURES)


def test_outputs_come_in_the_order_in_which_they_were_asked_for() -> None:
    wanted = [{"name": "second"}, {"name": "first", "parameters": {"binary_data": False}}]
    question = ask(
        {
            "id": "7",
            "parameters": {"binary_data_output": True, "timeout": 1500},
            "inputs": [entry(data=[1] * SIZE)],
            "outputs": wanted,
        }
    )
    assert question.outputs == [Output("second", True), Output("first", False)]
    assert (question.id, question.timeout_ms) == ("7", 1.5)


GOOD = entry(data=[0] * SIZE)


@pytest.mark.parametrize(
    ("value", "message"),
    [
        (b"{", "not JSON"),
        (b"\xff", "not UTF-8"),
        (b"[" * 100_000, "not JSON"),
        ([], "JSON object"),
        ({}, "'inputs' is missing"),
        ({"inputs": []}, "one input"),
        ({"inputs": [GOOD, GOOD]}, "one input"),
        ({"inputs": [GOOD], "output": []}, "unknown keys"),
        ({"inputs": [GOOD], "id": 3}, "'id' must be str"),
        ({"inputs": [GOOD], "id": "x" * 257}, "256"),
        ({"inputs": [{**GOOD, "name": "other"}]}, "the model's input"),
        ({"inputs": [{**GOOD, "datatype": "FP32"}]}, "the model's input"),
        ({"inputs": [{**GOOD, "shape": [1, 3, 2, 3]}]}, "must be"),
        ({"inputs": [{**GOOD, "shape": [5, 2, 3, 3]}]}, "1 to 4"),
        ({"inputs": [{**GOOD, "shape": [0, 2, 3, 3]}]}, "1 to 4"),
        ({"inputs": [{**GOOD, "shape": [-1, 2, 3, 3]}]}, "1 to 4"),
        ({"inputs": [{**GOOD, "shape": []}]}, "must be"),
        ({"inputs": [entry(data=[0] * (SIZE - 1))]}, "18 whole numbers"),
        ({"inputs": [entry(data=[0.0] * SIZE)]}, "whole numbers"),
        ({"inputs": [entry(data=["0"] * SIZE)]}, "whole numbers"),
        ({"inputs": [entry(data=[256] * SIZE)]}, r"\[0, 255\]"),
        ({"inputs": [entry(data=[-1] * SIZE)]}, r"\[0, 255\]"),
        ({"inputs": [entry(data=[10**30] * SIZE)]}, "whole numbers"),
        ({"inputs": [entry(data=[[0], [0, 1]])]}, "different lengths"),
        ({"inputs": [entry(parameters={"binary_data_size": SIZE})]}, "got 0"),
        ({"inputs": [entry(parameters={"shared_memory_region": "x"})]}, "unknown keys"),
        ({"inputs": [GOOD], "parameters": {"sequence_id": 1}}, "unknown keys"),
        ({"inputs": [GOOD], "outputs": [{"name": "third"}]}, "unknown or comes twice"),
        ({"inputs": [GOOD], "outputs": [{"name": "first"}] * 2}, "unknown or comes twice"),
        (
            {"inputs": [GOOD], "outputs": [{"name": "first", "parameters": {"classification": 2}}]},
            "unknown keys",
        ),
    ],
)
def test_what_the_protocol_or_the_model_does_not_allow_is_refused(value: Any, message: str) -> None:
    with pytest.raises(DataError, match=message):
        ask(value)


def test_lengths_that_lie_are_refused() -> None:
    with pytest.raises(DataError, match="binary data"):
        ask({"inputs": [GOOD]}, cut=10**6)
    with pytest.raises(DataError, match="names no binary"):
        ask({"inputs": [GOOD]}, b"more")
    with pytest.raises(DataError, match="is 18 bytes, got 16"):
        ask({"inputs": [entry(parameters={"binary_data_size": 16})]}, bytes(16))
    with pytest.raises(DataError, match="the most"):
        ask({"inputs": [entry(data=[0] * 600_000)]})
    with pytest.raises(DataError, match="JSON cannot"):
        ask(
            {"inputs": [{"name": "image", "datatype": "BYTES", "shape": [1], "data": ["x"]}]},
            spec=PICTURES,
        )


def test_answers_are_json_and_behind_it_what_is_binary() -> None:
    scores = np.asarray([[1.5, -2.0]], np.float32)
    texts = [b"one", "京".encode()]
    first = TensorSpec("first", "FP32", (-1, 2))
    answer = TensorSpec("answer", BYTES, (-1,))
    model = {"model_name": "m", "model_version": "1"}
    body, length = encode_answer(
        model,
        [
            (Output("first", True), first, scores),
            (Output("answer", True), answer, texts),
            (Output("first", False), first, scores),
            (Output("answer", False), answer, texts),
        ],
        "\ud800",
    )
    assert length is not None
    assert json.loads(body[:length]) == {
        **model,
        "id": "\ud800",
        "outputs": [
            {
                "name": "first",
                "datatype": "FP32",
                "shape": [1, 2],
                "parameters": {"binary_data_size": 8},
            },
            {
                "name": "answer",
                "datatype": "BYTES",
                "shape": [2],
                "parameters": {"binary_data_size": 14},
            },
            {"name": "first", "datatype": "FP32", "shape": [1, 2], "data": [1.5, -2.0]},
            {"name": "answer", "datatype": "BYTES", "shape": [2], "data": ["one", "京"]},
        ],
    }
    assert body[length:] == struct.pack("<2f", 1.5, -2.0) + b"\3\0\0\0one\3\0\0\0" + texts[1]
    plain, length = encode_answer(model, [(Output("first", False), first, scores)], None)
    assert length is None
    assert "id" not in json.loads(plain)
