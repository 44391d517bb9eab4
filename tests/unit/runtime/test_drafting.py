from __future__ import annotations

from math import prod

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from runtime.decode import Decoder
from runtime.drafting import Drafter
from runtime.errors import EngineError
from runtime.joined import JoinedScores, ScoreBlock
from runtime.manifest import ArtifactName
from runtime.results import HeadAnswer, ReadingAnswer, Result, Timings
from runtime.schema import HeadKind, Schema
from runtime.scores import OperatingPoint
from tests.artifacts import SMALL_SCHEMA
from tests.strategies import Scores, logits, operating_points, schemas, tied_logits

NAME = ArtifactName("a", 1)
TIMES = Timings(1, 2, 3)


def joined(schema: Schema, scores: Scores) -> JoinedScores:
    block = ScoreBlock({head.name: head.size for head in schema.heads})
    for part, values in zip(block.parts, scores.values(), strict=True):
        part[:] = values
    return block.take()


def plain_results(
    schema: Schema, scores: Scores, point: OperatingPoint, artifact: ArtifactName | None
) -> list[Result]:
    """What ``Decoder`` says, as results."""
    decoded = Decoder(schema, point)(scores)
    results = []
    for row in range(len(decoded)):
        heads = {}
        for head in schema.heads:
            if head.kind is HeadKind.CHOICE:
                label = head.labels[decoded.choices[head.name][row]]
                confidence = float(decoded.choice_confidence[head.name][row])
                accepted = bool(decoded.choice_accepted[head.name][row])
                heads[head.name] = HeadAnswer(label, (label,), confidence, accepted, {})
            else:
                holds = decoded.labels[head.name][row].tolist()
                values = decoded.label_probability[head.name][row].tolist()
                labels = tuple(x for x, yes in zip(head.labels, holds, strict=True) if yes)
                right = prod(v if yes else 1 - v for v, yes in zip(values, holds, strict=True))
                by_label = dict(zip(head.labels, values, strict=True))
                heads[head.name] = HeadAnswer(None, labels, right, True, by_label)
        readings = {
            name: ReadingAnswer(said.texts[row], said.raw_texts[row], float(said.confidence[row]))
            for name, said in decoded.readings.items()
        }
        results.append(
            Result(
                text=next((said.text for said in readings.values()), None),
                confidence=float(decoded.confidence[row]),
                accepted=bool(decoded.accepted[row]),
                heads=heads,
                readings=readings,
                timings_ns=TIMES,
                tag="tag",
                artifact=artifact,
            )
        )
    return results


@given(st.data())
def test_the_same_as_a_batch_of_one_to_the_last_bit(data: st.DataObject) -> None:
    schema = data.draw(schemas())
    point = data.draw(operating_points(schema))
    scores = data.draw(logits(schema, 1) | tied_logits(schema, 1))
    (expected,) = plain_results(schema, scores, point, NAME)
    drafter = Drafter(schema, point, NAME)
    for given_scores in (scores, joined(schema, scores)):
        (draft,) = drafter(given_scores)
        found = draft(TIMES, "tag", None)
        assert found == expected
        assert repr(found) == repr(expected)  # types too, and the order of heads
        assert [*found.heads] == [head.name for head in schema.heads]


@given(st.data(), st.integers(2, 6))
def test_the_same_as_larger_batches_to_the_last_bit(data: st.DataObject, count: int) -> None:
    schema = data.draw(schemas())
    point = data.draw(operating_points(schema))
    scores = data.draw(logits(schema, count) | tied_logits(schema, count))
    expected = plain_results(schema, scores, point, None)
    drafter = Drafter(schema, point)
    found = [draft(TIMES, "tag", None) for draft in drafter(scores)]
    alone = [
        drafter({name: part[row : row + 1] for name, part in scores.items()})[0](TIMES, "tag", None)
        for row in range(count)
    ]
    assert repr(found) == repr(expected) == repr(alone)


@pytest.mark.parametrize("value", [np.nan, np.inf, -np.inf])
@pytest.mark.parametrize("head", ["third", "extras"])
@pytest.mark.parametrize("join", [False, True])
def test_scores_that_are_no_numbers(head: str, value: float, *, join: bool) -> None:
    scores = {h.name: np.zeros((1, h.size), np.float32) for h in SMALL_SCHEMA.heads}
    scores[head][0, 1] = value
    with pytest.raises(EngineError, match=rf"\['{head}'\]: the engine returned NaN or inf"):
        Drafter(SMALL_SCHEMA, OperatingPoint())(joined(SMALL_SCHEMA, scores) if join else scores)


def test_infinities_that_cancel_out_are_found() -> None:
    scores = {h.name: np.zeros((1, h.size), np.float32) for h in SMALL_SCHEMA.heads}
    scores["first"][0, :2] = np.inf, -np.inf
    with pytest.raises(EngineError, match="'first'"):
        Drafter(SMALL_SCHEMA, OperatingPoint())(joined(SMALL_SCHEMA, scores))


def test_scores_whose_squares_overflow_are_numbers() -> None:
    scores = {h.name: np.zeros((1, h.size), np.float32) for h in SMALL_SCHEMA.heads}
    scores["colour"][0, 1] = 1e30
    (draft,) = Drafter(SMALL_SCHEMA, OperatingPoint())(joined(SMALL_SCHEMA, scores))
    head = draft(TIMES, None, None).heads["colour"]
    assert (head.label, head.confidence) == (SMALL_SCHEMA.head("colour").labels[1], 1.0)


def test_a_head_of_the_wrong_length() -> None:
    scores = {h.name: np.zeros((1, h.size), np.float32) for h in SMALL_SCHEMA.heads}
    scores["first"], scores["second"] = scores["second"], scores["first"]
    with pytest.raises(EngineError, match="expected"):
        Drafter(SMALL_SCHEMA, OperatingPoint())(scores)


@pytest.mark.parametrize(("limit", "reached"), [(0.5, True), (0.5000001, False)])
def test_a_threshold_that_is_just_reached(limit: float, *, reached: bool) -> None:
    scores = {h.name: np.zeros((1, h.size), np.float32) for h in SMALL_SCHEMA.heads}
    point = OperatingPoint(
        choice_thresholds={"colour": limit}, label_thresholds={"extras": (limit, 0.1, 0.9)}
    )
    assert SMALL_SCHEMA.head("colour").size == 2
    answer = Drafter(SMALL_SCHEMA, point)(scores)[0](TIMES, None, None)
    assert answer.heads["colour"].accepted is reached
    first, second, _ = SMALL_SCHEMA.head("extras").labels
    assert answer.heads["extras"].labels == ((first, second) if reached else (second,))
