"""Models that spell in an alphabet of their own, against probabilities worked out by hand."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import pytest
from hypothesis import given
from hypothesis import strategies as st

from benchmarks.foreign import open_foreign
from benchmarks.foreign.alphabet import Alphabet
from benchmarks.foreign.description import Description, InputDescription
from benchmarks.foreign.graphs import Tensor
from benchmarks.foreign.outputs import CtcDescription, OutputDescription
from benchmarks.foreign.session import ForeignSession
from runtime.arrays import Images
from runtime.decode import decode
from runtime.errors import ConfigError
from runtime.schema import Head, HeadKind, Reading, Schema
from runtime.scores import OperatingPoint, softmax
from runtime.session import SessionOptions
from tests.artifacts import SMALL_INPUT, TinyNetwork, random_images
from tests.engines import require
from tests.foreign import ROW_SCHEMA, Shape, description_of, write_description, write_foreign

Scores = npt.NDArray[np.float64]
LABELS = ("0", "A", "B", "x")
"""Of the model; no head knows ``x``."""
SCHEMA = Schema(
    name="spelled",
    heads=(
        Head(name="one", kind=HeadKind.CHOICE, labels=("A", "B")),
        Head(name="two", kind=HeadKind.CHOICE, labels=("_", "0", "A", "Q")),
        Head(name="three", kind=HeadKind.CHOICE, labels=("_", "A", "0", "B")),
        Head(name="colour", kind=HeadKind.CHOICE, labels=("red", "blue")),
    ),
    readings=(Reading(name="code", heads=("one", "two", "three"), blank="_"),),
)


class Graph:
    """Gives what it is told, whatever it sees."""

    batches = None

    def __init__(
        self,
        output: npt.NDArray[Any],
        shape: tuple[int | None, ...] | None = None,
        *,
        samples_axis: int = 0,
    ) -> None:
        self.facts = {"engine": "told"}
        self.inputs = [Tensor("pixels", "uint8", (None, *SMALL_INPUT.shape))]
        self.outputs = [Tensor("steps", "float32", shape or (None,) * output.ndim)]
        self._output, self._axis = output.astype(np.float32), samples_axis

    def run(self, feed: Images) -> Sequence[npt.NDArray[np.float32]]:
        return [self._output.take(range(len(feed)), axis=self._axis)]

    def close(self) -> None:
        pass


def described(**outputs: Any) -> Description:
    ctc = CtcDescription(output="steps", **{"blank": 4, **outputs.pop("ctc", {})})
    told: dict[str, Any] = {"labels": LABELS, "unanswered": ("colour",), "ctc": ctc}
    return Description(
        path=Path("told.toml"),
        engine="onnx",
        model=Path("told.onnx"),
        schema=SCHEMA,
        input=InputDescription(
            name="pixels", layout="NHWC", dtype="uint8", colour="BGR", size=SMALL_INPUT
        ),
        outputs=OutputDescription(**{"scores": "probabilities", **told, **outputs}),
    )


def answer(given: Description, output: npt.NDArray[Any], count: int = 1) -> dict[str, Scores]:
    """Probabilities of the heads."""
    opened = ForeignSession(given, Graph(output))  # type: ignore[arg-type]
    found = opened.run(random_images(count))
    assert [*found] == [head.name for head in SCHEMA.heads]
    return {name: softmax(np.asarray(each, np.float64)) for name, each in found.items()}


def sharp(*classes: int, sure: float = 0.96) -> Scores:
    """(1, T, 5) probabilities: ``sure`` for the class of each step, the rest for the others."""
    shares = np.full((1, len(classes), 5), (1 - sure) / 4)
    shares[0, np.arange(len(classes)), classes] = sure
    return shares


BLANK = 4


def test_steps_become_the_distributions_of_heads() -> None:
    steps = sharp(BLANK, 2, 2, BLANK, 0)  # B 0
    steps[0, 4] = [0.5, 0.3, 0.1, 0.06, 0.04]
    found = answer(described(), steps)
    # One: A .01, B .96, and .03 of 0, x and the blank, which it has not, for both alike.
    np.testing.assert_allclose(found["one"][0], [0.01 + 0.015, 0.96 + 0.015], atol=1e-6)
    # Two: the blank is "_", no class is "Q"; B and x, .16, are shared by four.
    np.testing.assert_allclose(found["two"][0], np.array([0.04, 0.5, 0.3, 0]) + 0.04, atol=1e-6)
    np.testing.assert_allclose(found["three"][0], [1, 0, 0, 0], atol=1e-6)  # the end
    np.testing.assert_allclose(found["colour"][0], [0.5, 0.5])


def test_positions_behind_the_end_where_no_label_says_so_are_open() -> None:
    found = answer(described(), sharp(BLANK, BLANK))
    np.testing.assert_allclose(found["one"][0], [0.5, 0.5], atol=1e-6)
    np.testing.assert_allclose(found["two"][0], [1, 0, 0, 0], atol=1e-6)


def test_a_text_longer_than_the_heads_is_not_taken_for_a_shorter_one() -> None:
    found = answer(described(), sharp(1, 0, 1, 0))  # A 0 A 0
    assert found["two"][0].argmax() == 1
    np.testing.assert_allclose(found["three"][0], 0.25, atol=1e-6)


@pytest.mark.parametrize("axes", ["TK", "KT", "TNK"])
@pytest.mark.parametrize("scores", ["logits", "log-probabilities", "probabilities"])
def test_axes_and_scores_say_the_same_in_other_ways(axes: str, scores: str) -> None:
    steps = np.concatenate([sharp(2, BLANK, 0, 0, 1), sharp(1, 1, BLANK, BLANK, 1)])
    expected = answer(described(), steps, 2)
    turned = steps if scores == "probabilities" else np.log(steps)
    turned = turned + 3 if scores == "logits" else turned
    order = {"TK": (0, 1, 2), "KT": (0, 2, 1), "TNK": (1, 0, 2)}[axes]
    graph = Graph(turned.transpose(order), samples_axis=order.index(0))
    opened = ForeignSession(described(scores=scores, ctc={"axes": axes}), graph)  # type: ignore[arg-type]
    for name, found in opened.run(random_images(2)).items():
        np.testing.assert_allclose(softmax(found.astype(np.float64)), expected[name], atol=1e-5)


@given(st.lists(st.sampled_from([0, 1]), min_size=1, max_size=2), st.integers(1, 2))
def test_texts_that_the_schema_can_say_are_read(rest: list[int], repeats: int) -> None:
    letters = [1, *rest]
    path = [step for letter in letters for step in [letter] * repeats + [BLANK]]
    logits = answer(described(), sharp(*path))
    scores = {name: np.log(each).astype(np.float32) for name, each in logits.items()}
    found = decode(SCHEMA, scores, OperatingPoint())
    assert found.readings["code"].raw_texts == ["".join(LABELS[each] for each in letters)]
    # The blank is one of "two" and "three"'s labels; what they lack is spread over four.
    assert found.readings["code"].confidence[0] == pytest.approx(
        0.975 * np.prod([0.96 + 0.01 * (2 if place == 0 else 1) / 4 for place in range(len(rest))]),
        abs=1e-3,
    )


@pytest.mark.parametrize(
    ("change", "told"),
    [
        ({"ctc": {"blank": 9}}, "told.toml: outputs.ctc.blank is 9, but 4 labels and the blank"),
        ({"labels": ("京", "沪"), "ctc": {"blank": 0}}, "has none of the labels of head 'one'"),
        ({"labels": ("0", "A"), "ctc": {"blank": 0}}, "'TK' and 3 classes do not fit"),
        ({"ctc": {"axes": "KT"}}, "do not fit"),
        ({"scores": "log-probabilities"}, "gave scores from"),
        ({"scores": "logits"}, "softmax was applied"),
    ],
)
def test_what_does_not_fit_is_told(change: dict[str, Any], told: str) -> None:
    with pytest.raises(ConfigError, match=told):
        answer(described(**change), sharp(2, BLANK, 0))


@pytest.mark.parametrize(
    ("shape", "change", "told"),
    [
        ((None, 5, 18), {}, 'did you mean axes = "KT"?'),
        ((None, 18, 5), {"ctc": {"axes": "KT"}}, 'did you mean axes = "TK"?'),
        ((None, 18, 4), {}, "is the blank among the labels?"),
        ((None, 90), {}, "5 classes on axis 2"),
    ],
)
def test_what_the_file_tells_of_its_shape_is_checked(
    shape: tuple[int | None, ...], change: dict[str, Any], told: str
) -> None:
    with pytest.raises(ConfigError) as caught:
        ForeignSession(described(**change), Graph(np.zeros((1, 1, 1)), shape))  # type: ignore[arg-type]
    assert told in str(caught.value)


@pytest.mark.parametrize(
    ("change", "told"),
    [
        ({"labels": ()}, "outputs.ctc needs outputs.labels"),
        ({"labels": ("A", "A")}, r"has \['A'\] twice"),
        ({"rows": 0}, "rows and ctc"),
        ({"ctc": {"blank": -1}}, "index of the blank class, from 0; got -1"),
        ({"ctc": {"axes": "NTK"}}, "ctc.axes 'NTK' is unknown; use one of TK, KT, TNK"),
        ({"ctc": {"reading": "plate"}}, r"reading is 'plate'; schema 'spelled' has the readings"),
        ({"unanswered": ()}, r"no output is given for the heads \['colour'\]"),
        ({"unanswered": ("colour", "one")}, r"twice where the heads \['one'\]"),
        ({"unanswered": ("color",)}, r"names the heads \['color'\]"),
        ({"ctc": {}, "heads": {"two": 0}}, r"twice where the heads \['two'\]"),
    ],
)
def test_contradictions_are_told(change: dict[str, Any], told: str) -> None:
    with pytest.raises(ConfigError, match=told):
        described(**change)


def test_what_model_and_schema_do_not_share_is_told() -> None:
    opened = ForeignSession(described(), Graph(sharp(2)))  # type: ignore[arg-type]
    assert opened.description["classes without a label"] == "x"
    assert opened.description["labels without a class"] == "Q"
    assert opened.description["unanswered"] == "colour"


def test_heads_of_several_labels_at_a_time_spell_nothing() -> None:
    extras = Head(name="extras", kind=HeadKind.LABELS, labels=("A", "B"))
    schema = Schema(name="sets", heads=(*SCHEMA.heads[:1], extras))
    with pytest.raises(ConfigError, match=r"choose one label; \['extras'\] may give several"):
        Alphabet(schema, ["one", "extras"], ["A", "B"])


PADDED = Schema(
    name="padded",
    heads=tuple(
        Head(name=name, kind=HeadKind.CHOICE, labels=("0", "1", "A", "-"))
        for name in ("first", "second", "third")
    ),
)
"""``ROW_SCHEMA`` in the order of fast-plate-ocr: its pad character last."""


def fast_plate_ocr(value: dict[str, Any]) -> dict[str, Any]:
    return {**value, "outputs": {**value["outputs"], "labels": ["0", "1", "A", "_"]}}


@pytest.mark.parametrize("rows", ["TK", "KT", "flat"])
@pytest.mark.parametrize("colour", ["GREY", "RGB"])
def test_a_graph_like_those_of_fast_plate_ocr(rows: str, colour: str, tmp_path: Path) -> None:
    require("onnxruntime")
    network = TinyNetwork(PADDED, scale=3.0)
    shape = Shape(layout="NHWC", dtype="uint8", colour=colour, scores="probabilities", rows=rows)
    write_foreign(tmp_path, network, shape)
    value = fast_plate_ocr(description_of(network, shape, "onnx", "tiny.onnx"))
    path = write_description(tmp_path, TinyNetwork(ROW_SCHEMA), value)
    _, session = open_foreign(path, SessionOptions())
    images = random_images(3)
    images = np.repeat(images[..., :1], 3, axis=3)  # grey in any colour order
    found = session.run(images)
    for name, logits in network.logits(images).items():
        expected = softmax(np.asarray(logits, np.float64))[:, [3, 0, 1, 2]]
        np.testing.assert_allclose(softmax(found[name].astype(np.float64)), expected, atol=1e-4)


def test_fewer_slots_than_heads_leave_the_last_ones_empty(tmp_path: Path) -> None:
    require("onnxruntime")
    two = Schema(name="two", heads=PADDED.heads[:2])
    network = TinyNetwork(two, scale=3.0)
    shape = Shape(layout="NHWC", dtype="uint8", colour="BGR", scores="probabilities", rows="flat")
    write_foreign(tmp_path, network, shape)
    value = fast_plate_ocr(description_of(network, shape, "onnx", "tiny.onnx"))
    _, session = open_foreign(
        write_description(tmp_path, TinyNetwork(ROW_SCHEMA), value), SessionOptions()
    )
    images = random_images(3)
    found = {name: softmax(each.astype(np.float64)) for name, each in session.run(images).items()}
    for name, logits in network.logits(images).items():
        expected = softmax(np.asarray(logits, np.float64))[:, [3, 0, 1, 2]]
        np.testing.assert_allclose(found[name], expected, atol=1e-4)
    np.testing.assert_allclose(found["third"], np.tile([1.0, 0, 0, 0], (3, 1)), atol=1e-6)


def forget(labels: Sequence[str]) -> Callable[[dict[str, Any]], dict[str, Any]]:
    def change(value: dict[str, Any]) -> dict[str, Any]:
        return {**value, "outputs": {**value["outputs"], "labels": [*labels]}}

    return change


@pytest.mark.parametrize(
    ("labels", "told"),
    [
        (("0", "1", "A", "-"), "lacks '_', which stands for 'no character'"),
        (("0", "1", "_"), "3 heads of 3 labels need 9 scores, but the output is"),
        (("0", "1", "A", "B", "C", "_"), "3 heads of 6 labels need 18 scores"),
    ],
)
def test_rows_in_an_alphabet_that_does_not_fit(
    labels: Sequence[str], told: str, tmp_path: Path
) -> None:
    require("onnxruntime")
    network = TinyNetwork(PADDED)
    shape = Shape(layout="NHWC", dtype="uint8", scores="probabilities", rows="TK")
    write_foreign(tmp_path, network, shape)
    value = forget(labels)(description_of(network, shape, "onnx", "tiny.onnx"))
    path = write_description(tmp_path, TinyNetwork(ROW_SCHEMA), value)
    with pytest.raises(ConfigError) as caught:
        open_foreign(path, SessionOptions())
    assert told in str(caught.value)
