"""The probe: what it answers, through the real graph, and which mix-ups it finds."""

from __future__ import annotations

from collections.abc import Mapping
from itertools import combinations
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given

from export.probe import check_probe, make_probe, probe_logits, tells_in_8_bits
from runtime.arrays import Images, Logits
from runtime.errors import ParityError
from runtime.schema import Head, HeadKind, Schema
from runtime.session import SessionOptions
from runtime.session_onnx import OnnxSession
from tests.slimming import SPEC
from tests.strategies import schemas

pytestmark = pytest.mark.usefixtures("one_thread")
TWINS = Schema(
    name="twins",
    heads=tuple(
        Head(name=name, kind=kind, labels=("yes", "no"))
        for name, kind in (
            ("hat", HeadKind.CHOICE),
            ("bag", HeadKind.CHOICE),
            ("coat", HeadKind.LABELS),
        )
    ),
)


@given(schemas())
def test_patterns_differ_at_every_label_and_are_exact_in_bfloat16(schema: Schema) -> None:
    patterns = probe_logits(schema)
    assert list(patterns) == [head.name for head in schema.heads]
    for (_, first), (_, second) in combinations(patterns.items(), 2):
        size = min(first.shape[1], second.shape[1])
        assert (np.abs(first[:, :size] - second[:, :size]) >= 1).all()
    for values in patterns.values():
        assert len(set(values[0])) == values.shape[1]
        # bfloat16 keeps the upper 16 bits of float32.
        assert not (values.view(np.uint32) & 0xFFFF).any()


@pytest.mark.parametrize("int8", [False, True])
@pytest.mark.parametrize("pool", ["columns", "attention", "global"])
def test_the_deployed_graph_of_a_probe_answers_its_patterns(
    tmp_path: Path, pool: str, int8: bool
) -> None:
    probe = make_probe(TWINS, SPEC, pool, int8=int8)
    assert make_probe(TWINS, SPEC, pool, int8=int8) is probe
    assert (b"QuantizeLinear" in probe.graph) == int8
    (tmp_path / "probe.onnx").write_bytes(probe.graph)
    session = OnnxSession(tmp_path / "probe.onnx", TWINS, SPEC, SessionOptions())
    check_probe(session, TWINS, SPEC)


@given(schemas())
def test_8_bit_outputs_leave_patterns_apart_where_it_is_said(schema: Schema) -> None:
    patterns = probe_logits(schema)
    if not tells_in_8_bits(schema):
        return
    for values in patterns.values():
        step = np.abs(values).max() / 127
        rounded = np.round(values / step) * step if step else values
        assert np.abs(rounded - values).max() <= 0.25


def test_many_labels_need_more_than_8_bits() -> None:
    many = Head(name="word", kind=HeadKind.CHOICE, labels=tuple(map(str, range(128))))
    assert tells_in_8_bits(TWINS)
    assert not tells_in_8_bits(Schema(name="words", heads=(many,)))


class Mixed:
    """An engine of a probe that takes ``sources`` for its heads."""

    description: Mapping[str, str] = {}

    def __init__(self, sources: Mapping[str, str], shift: int = 0) -> None:
        self.sources, self.shift = sources, shift

    def run(self, images: Images) -> Logits:
        patterns = probe_logits(TWINS)
        rows = np.ones((len(images), 1), np.float32)
        return {
            name: np.roll(patterns[source], self.shift, axis=1) * rows
            for name, source in self.sources.items()
        }

    def close(self) -> None:
        pass


RIGHT = {"hat": "hat", "bag": "bag", "coat": "coat"}


@pytest.mark.parametrize(
    ("engine", "told"),
    [
        (Mixed({**RIGHT, "hat": "bag", "bag": "hat"}), "'hat' is not this head.* is head 'bag'"),
        (Mixed({**RIGHT, "coat": "bag"}), "'coat' is not this head.* which is head 'bag'"),
        (Mixed({"bag": "bag", "hat": "hat", "coat": "coat"}), "outputs are .* expected"),
        (Mixed({"hat": "hat", "bag": "bag"}), "outputs are .* expected"),
        (Mixed(RIGHT, shift=1), "'hat' is not this head"),
    ],
)
def test_what_is_mixed_up_is_found(engine: Mixed, told: str) -> None:
    check_probe(Mixed(RIGHT), TWINS, SPEC)
    with pytest.raises(ParityError, match=told):
        check_probe(engine, TWINS, SPEC)
