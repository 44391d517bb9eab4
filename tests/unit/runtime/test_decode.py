from __future__ import annotations

from dataclasses import fields
from itertools import product
from math import prod

import numpy as np
import numpy.typing as npt
import pytest
from hypothesis import given
from hypothesis import strategies as st

from runtime.decode import Decoder, decode
from runtime.errors import EngineError
from runtime.schema import Format, Head, HeadKind, Reading, Schema, load_schema
from runtime.scores import OperatingPoint, probabilities
from tests.artifacts import SMALL_SCHEMA
from tests.strategies import Scores, logits, operating_points, schemas, tied_logits

Probabilities = dict[str, npt.NDArray[np.float64]]


def head_probabilities(schema: Schema, scores: Scores, point: OperatingPoint) -> Probabilities:
    return {
        head.name: probabilities(head, scores[head.name], point.temperatures.get(head.name, 1.0))
        for head in schema.heads
    }


def best_value(schema: Schema, reading: Reading, probs: Probabilities, row: int) -> float:
    """Probability of the best text: try every combination of labels that fits a format."""
    heads = [schema.head(name) for name in reading.heads]
    formats = reading.formats or (Format("any", tuple(head.labels for head in heads)),)
    candidates = [
        [head.labels.index(label) for head, label in zip(heads, labels, strict=True)]
        for allowed in formats
        for labels in product(*allowed.positions)
    ]
    return max(
        prod(float(probs[h.name][row, i]) for h, i in zip(heads, indices, strict=True))
        for indices in candidates
    )


@given(st.data())
def test_readings_against_brute_force(data: st.DataObject) -> None:
    schema = data.draw(schemas())
    point = data.draw(operating_points(schema))
    scores = data.draw(logits(schema, 5))
    decoded = decode(schema, scores, point)
    probs = head_probabilities(schema, scores, point)
    for reading in schema.readings:
        for row in range(5):
            value = best_value(schema, reading, probs, row)
            if value < 1e-290:  # the product underflows, so brute force cannot rank
                continue
            answers = decoded.readings[reading.name]
            assert answers.confidence[row] == pytest.approx(value, rel=1e-9)
            found = [int(decoded.choices[name][row]) for name in reading.heads]
            chosen = prod(probs[n][row, i] for n, i in zip(reading.heads, found, strict=True))
            assert chosen == pytest.approx(value, rel=1e-9)  # equal up to ties
            letters = [
                schema.head(name).labels[index]
                for name, index in zip(reading.heads, found, strict=True)
            ]
            # An accepted answer is shown whole; without a fitted threshold none is accepted for it.
            whole = bool(point.answer_threshold) and bool(decoded.accepted[row])
            shown = [
                letter if whole or probs[n][row, i] >= point.choice_thresholds.get(n, 0.0) else "?"
                for n, i, letter in zip(reading.heads, found, letters, strict=True)
            ]
            assert answers.raw_texts[row] == "".join(x for x in letters if x != reading.blank)
            expected = "".join(
                x for x, raw in zip(shown, letters, strict=True) if x == "?" or raw != reading.blank
            )
            assert answers.texts[row] == expected


def plain_choice(
    schema: Schema, scores: Scores, point: OperatingPoint, row: int
) -> tuple[dict[str, int], dict[str, float]]:
    """The rule in plain steps: the first of the best formats, the first of its best labels."""
    scaled, confidence, chosen = {}, {}, {}
    for head in schema.heads:
        temperature = np.float64(point.temperatures.get(head.name, 1.0))
        scaled[head.name] = scores[head.name][row].astype(np.float64) / temperature
        if head.kind is HeadKind.CHOICE:
            chosen[head.name] = int(scaled[head.name].argmax())
    width = max((h.size for h in schema.heads if h.kind is HeadKind.CHOICE), default=1)
    for reading in schema.readings:
        heads = [schema.head(name) for name in reading.heads]
        allowed = [
            [
                [h.labels.index(label) for label in labels]
                for h, labels in zip(heads, f.positions, strict=True)
            ]
            for f in reading.formats
        ]
        totals = [
            np.add.reduce([max(scaled[h.name][p]) for h, p in zip(heads, places, strict=True)])
            for places in allowed
        ]
        if totals:
            best = allowed[totals.index(max(totals))]
            for head, places in zip(heads, best, strict=True):
                chosen[head.name] = max(sorted(places), key=lambda i: scaled[head.name][i])
    for name, label in chosen.items():
        padded = np.full(width, -np.inf)
        padded[: len(scaled[name])] = scaled[name]
        shares = np.exp(padded - padded.max())
        confidence[name] = float(shares[label] / np.add.reduce(shares))
    return chosen, confidence


@given(st.data())
def test_ties_and_all_else_as_the_plain_rule_to_the_last_bit(data: st.DataObject) -> None:
    schema = data.draw(schemas())
    point = data.draw(operating_points(schema))
    scores = data.draw(logits(schema, 6) | tied_logits(schema, 6))
    decoded = decode(schema, scores, point)
    for row in range(6):
        chosen, confidence = plain_choice(schema, scores, point, row)
        assert {n: int(c[row]) for n, c in decoded.choices.items()} == chosen
        assert {n: float(c[row]) for n, c in decoded.choice_confidence.items()} == confidence


@pytest.mark.parametrize("spread", [0.0, 1.0, 3.0, 10.0])
def test_chinese_plates_as_the_plain_rule(spread: float) -> None:
    schema = load_schema("cn-plate")
    random = np.random.default_rng(1)
    scores = {h.name: random.normal(0, 1, (40, h.size)).astype(np.float32) for h in schema.heads}
    (reading,) = schema.readings
    for row in range(40):  # a text of some format, more or less clearly
        allowed = reading.formats[row % len(reading.formats)]
        for name, labels in zip(reading.heads, allowed.positions, strict=True):
            scores[name][row, schema.head(name).labels.index(labels[row % len(labels)])] += spread
    point = OperatingPoint(temperatures={"char_1": 0.7, "colour": 2.0})
    decoded = decode(schema, scores, point)
    for row in range(40):
        chosen, confidence = plain_choice(schema, scores, point, row)
        assert {n: int(c[row]) for n, c in decoded.choices.items()} == chosen
        assert {n: float(c[row]) for n, c in decoded.choice_confidence.items()} == confidence


@given(st.data())
def test_free_heads_take_their_best_label(data: st.DataObject) -> None:
    schema = data.draw(schemas())
    point = data.draw(operating_points(schema))
    scores = data.draw(logits(schema, 3))
    decoded = decode(schema, scores, point)
    probs = head_probabilities(schema, scores, point)
    for head in schema.free_heads:
        if head.kind is HeadKind.CHOICE:
            assert (decoded.choices[head.name] == scores[head.name].argmax(axis=1)).all()
            np.testing.assert_allclose(
                decoded.choice_confidence[head.name], probs[head.name].max(axis=1)
            )
            limit = point.choice_thresholds.get(head.name, 0.0)
            reached = decoded.choice_confidence[head.name] >= limit
            assert (decoded.choice_accepted[head.name] == reached).all()
        else:
            np.testing.assert_allclose(decoded.label_probability[head.name], probs[head.name])
            reached = decoded.label_probability[head.name] >= point.thresholds_of(head)
            assert (decoded.labels[head.name] == reached).all()


@given(st.data(), st.integers(0, 70))
def test_a_batch_decodes_like_its_samples(data: st.DataObject, count: int) -> None:
    schema = data.draw(schemas())
    decoder = Decoder(schema, data.draw(operating_points(schema)))
    scores = data.draw(logits(schema, count))
    whole = decoder(scores)
    assert len(whole) == count
    for row in (0, count // 2, count - 1) if count else ():
        single = decoder({name: s[row : row + 1] for name, s in scores.items()})
        assert single.confidence[0] == whole.confidence[row]
        assert single.accepted[0] == whole.accepted[row]
        for name, choices in whole.choices.items():
            assert single.choices[name][0] == choices[row]
        for name, answers in whole.readings.items():
            assert single.readings[name].texts[0] == answers.texts[row]


@given(st.data())
def test_joint_confidence_and_acceptance(data: st.DataObject) -> None:
    schema = data.draw(schemas())
    point = data.draw(operating_points(schema))
    decoded = decode(schema, data.draw(logits(schema, 4)), point)
    if schema.readings:
        expected = np.prod([r.confidence for r in decoded.readings.values()], axis=0)
    else:
        factors = [
            *decoded.choice_confidence.values(),
            *(
                np.where(decoded.labels[name], p, 1 - p).prod(axis=1)
                for name, p in decoded.label_probability.items()
            ),
        ]
        expected = np.prod(factors, axis=0)
    np.testing.assert_allclose(decoded.confidence, expected)
    assert (decoded.accepted == (decoded.confidence >= (point.answer_threshold or 0.0))).all()


def scores_for(text: dict[str, str]) -> Scores:
    """Scores that favour one label per head of the small schema."""
    scores = {h.name: np.zeros((1, h.size), np.float32) for h in SMALL_SCHEMA.heads}
    for name, label in text.items():
        scores[name][0, SMALL_SCHEMA.head(name).labels.index(label)] = 5
    return scores


@pytest.mark.parametrize(
    ("favoured", "text"),
    [
        ({"first": "A", "second": "B", "third": "_"}, "AB"),
        ({"first": "京", "second": "1", "third": "0"}, "京10"),
        ({"first": "京", "second": "1", "third": "_"}, "京10"),  # the format has no blank
        ({"first": "A", "second": "1", "third": "0"}, "京10"),  # two positions against one
    ],
)
def test_blank_and_formats(favoured: dict[str, str], text: str) -> None:
    decoded = decode(SMALL_SCHEMA, scores_for(favoured), OperatingPoint())
    assert decoded.readings["code"].texts == [text]


def test_positions_under_their_threshold_print_a_question_mark() -> None:
    point = OperatingPoint(choice_thresholds={"second": 0.999, "third": 0.999})
    scores = scores_for({"first": "A", "second": "B", "third": "_"})
    answers = decode(SMALL_SCHEMA, scores, point).readings["code"]
    assert (answers.texts, answers.raw_texts) == (["A??"], ["AB"])


@pytest.mark.parametrize("value", [np.nan, np.inf, -np.inf])
@pytest.mark.parametrize("head", ["third", "extras"])
def test_scores_that_are_no_numbers(head: str, value: float) -> None:
    scores = scores_for({})
    scores[head][0, 1] = value
    with pytest.raises(EngineError, match=head):
        decode(SMALL_SCHEMA, scores, OperatingPoint())


def test_a_head_of_the_wrong_length() -> None:
    scores = scores_for({})
    scores["first"], scores["second"] = scores["second"], scores["first"]
    with pytest.raises(EngineError, match="expected"):
        decode(SMALL_SCHEMA, scores, OperatingPoint())


def test_a_schema_of_labels_only() -> None:
    schema = Schema(name="s", heads=(Head(name="l", kind=HeadKind.LABELS, labels=("x", "y")),))
    decoded = decode(schema, {"l": np.asarray([[0.0, 2.0]], np.float32)}, OperatingPoint())
    assert decoded.labels["l"].tolist() == [[True, True]]
    assert decoded.confidence[0] == pytest.approx(0.5 / (1 + np.exp(-2)))


def test_chinese_plates_never_break_a_format() -> None:
    schema = load_schema("cn-plate")
    (reading,) = schema.readings
    random = np.random.default_rng(0)
    scores = {h.name: random.normal(0, 3, (200, h.size)).astype(np.float32) for h in schema.heads}
    decoded = decode(schema, scores, OperatingPoint())
    for row in range(200):
        labels = [schema.head(n).labels[decoded.choices[n][row]] for n in reading.heads]
        assert any(
            all(x in allowed for x, allowed in zip(labels, f.positions, strict=True))
            for f in reading.formats
        )


def test_scores_are_not_changed() -> None:
    scores = scores_for({"first": "A"})
    before = {name: s.copy() for name, s in scores.items()}
    decoded = decode(SMALL_SCHEMA, scores, OperatingPoint(temperatures={"first": 2.0}))
    assert all((scores[name] == before[name]).all() for name in scores)
    assert {field.name for field in fields(decoded)} >= {"choices", "readings", "accepted"}
