from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from runtime.arrays import Images
from runtime.errors import EngineError
from runtime.graph_contract import (
    Port,
    Scores,
    check_graph,
    check_images,
    run_fixed,
    run_within,
)
from tests.artifacts import SMALL_INPUT, SMALL_SCHEMA, random_images

PATH = Path("model.onnx")


def ports(batch: int | None) -> tuple[list[Port], list[Port]]:
    inputs = [Port("image", "uint8", (batch, 16, 32, 3))]
    return inputs, [Port(h.name, "float32", (batch, h.size)) for h in SMALL_SCHEMA.heads]


@pytest.mark.parametrize("batch", [None, 1, 4])
def test_accepts(batch: int | None) -> None:
    assert check_graph(PATH, *ports(batch), SMALL_SCHEMA, SMALL_INPUT) == batch


def test_an_output_may_lose_the_fixed_batch() -> None:
    assert check_graph(PATH, ports(4)[0], ports(None)[1], SMALL_SCHEMA, SMALL_INPUT) == 4


@pytest.mark.parametrize(
    "change",
    [
        lambda i, _: i.clear(),
        lambda i, _: i.append(i[0]),
        lambda i, _: i.__setitem__(0, Port("input", "uint8", i[0].shape)),
        lambda i, _: i.__setitem__(0, Port("image", "float32", i[0].shape)),
        lambda i, _: i.__setitem__(0, Port("image", "uint8", (None, 3, 16, 32))),
        lambda i, _: i.__setitem__(0, Port("image", "uint8", (None, 16, None, 3))),
        lambda i, _: i.__setitem__(0, Port("image", "uint8", ())),
        lambda _, o: o.reverse(),
        lambda _, o: o.pop(),
        lambda _, o: o.append(Port("more", "float32", (None, 2))),
        lambda _, o: o.__setitem__(0, Port("first", "float16", (None, 3))),
        lambda _, o: o.__setitem__(0, Port("first", "float32", (None, 4))),
        lambda _, o: o.__setitem__(0, Port("first", "float32", (None, None))),
        lambda _, o: o.__setitem__(0, Port("first", "float32", (7, 3))),
        lambda _, o: o.__setitem__(0, Port("first", "float32", ())),
    ],
)
def test_refuses(change: Callable[[list[Port], list[Port]], Any]) -> None:
    inputs, outputs = ports(None)
    change(inputs, outputs)
    with pytest.raises(EngineError, match=r"model\.onnx: the graph's (input|outputs) must be"):
        check_graph(PATH, inputs, outputs, SMALL_SCHEMA, SMALL_INPUT)


@pytest.mark.parametrize(
    "images",
    [
        random_images(0),
        random_images(1)[0],
        random_images(1)[:, :8],
        random_images(1).astype(np.float32),
        random_images(1).transpose(0, 3, 1, 2),
    ],
)
def test_images_that_do_not_fit(images: Any) -> None:
    with pytest.raises(EngineError, match=r"expected images \(N >= 1, 16, 32, 3\) uint8"):
        check_images(images, SMALL_INPUT)


@given(count=st.integers(1, 11), batch=st.integers(1, 5))
def test_run_fixed_gives_every_image_its_own_score(count: int, batch: int) -> None:
    def run(part: Images) -> Scores:
        assert len(part) == batch
        total = part.reshape(batch, -1).sum(axis=1, dtype=np.float32)
        return [total[:, None], -total[:, None]]

    images = random_images(count)
    expected = images.reshape(count, -1).sum(axis=1, dtype=np.float32)
    positive, negative = run_fixed(run, images, batch)
    assert (positive[:, 0] == expected).all()
    assert (negative[:, 0] == -expected).all()


@given(count=st.integers(1, 20), smallest=st.integers(1, 4), more=st.integers(0, 4))
def test_run_within_pads_and_parts(count: int, smallest: int, more: int) -> None:
    sizes = []

    def run(part: Images) -> Scores:
        sizes.append(len(part))
        return [part.reshape(len(part), -1).sum(axis=1, dtype=np.float32)[:, None]]

    images = random_images(count)
    expected = images.reshape(count, -1).sum(axis=1, dtype=np.float32)
    (scores,) = run_within(run, images, smallest, smallest + more)
    assert (scores[:, 0] == expected).all()
    assert all(smallest <= size <= smallest + more for size in sizes)
    # No more calls, and no more padding, than it takes.
    assert len(sizes) == -(-count // (smallest + more))
    assert sum(sizes) - count < smallest
