"""Single samples in results: told rightly, each kind with its few pictures."""

from __future__ import annotations

import json
from base64 import b64decode

import cv2
import numpy as np
import pytest

from benchmarks.assessment import Assessment, assess, difference
from benchmarks.evaluation import examples
from benchmarks.evaluation.examples import described, flip_examples
from benchmarks.report import to_json
from runtime.scores import OperatingPoint
from tests.unit.benchmarks.cases import GARMENTS, PLATES, logits_of, targets_of
from tests.unit.benchmarks.evaluation.test_report import FakeCrops

TRUTH = {"one": [1, 1, 1, 2], "two": [1, 1, 2, 2], "rows": [-1, 0, 0, 1]}
BEFORE = {"one": [1, 2, 1, 1], "two": [1, 1, 2, 2], "rows": [0, 0, 1, 1]}
AFTER = {"one": [2, 1, 1, 0], "two": [1, 1, 2, 2], "rows": [1, 0, 1, 0]}


def plates(answers: dict[str, list[int]]) -> Assessment:
    return assess(PLATES, logits_of(PLATES, answers), targets_of(PLATES, TRUTH), OperatingPoint())


def test_flips_tell_what_changed_and_to_what_effect(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(examples, "SHOWN", 2)
    before, after = plates(BEFORE), plates(AFTER)
    where = difference(before, after).flips.where.tolist()
    assert where == [0, 1, 3]
    crops = FakeCrops(4)
    found = flip_examples(before, after, targets_of(PLATES, TRUTH), crops, where)
    told = [(e["row"], e["truth"], e["before"], e["answer"], e["effect"]) for e in found]
    assert told == [
        (0, "text AA, rows (not given)", "text AA, rows single", "text BA, rows double", "lost"),
        (1, "AA", "BA", "AA", "gained"),
        (3, "text BB, rows double", "text AB, rows double", "text B, rows single", "wrong in both"),
    ]
    assert crops.seen == [0, 1]
    assert [e["picture"] is None for e in found] == [False, False, True]
    picture = cv2.imdecode(np.frombuffer(b64decode(found[0]["picture"]), np.uint8), 1)
    assert picture is not None
    assert picture.shape == (48, 120, 3)
    json.loads(to_json(found))


def test_a_sample_tells_what_is_wrong_only() -> None:
    found = plates(AFTER)
    targets, crops = targets_of(PLATES, TRUTH), FakeCrops(4)
    wrong = described(found, targets, crops, 0, picture=False)
    assert (wrong["truth"], wrong["answer"]) == ("AA", "BA")  # its rows are not known
    right = described(found, targets, crops, 1, picture=False)
    assert (right["truth"], right["answer"]) == ("text AA, rows single", "text AA, rows single")
    assert crops.seen == []


def test_heads_outside_readings_are_told_by_name() -> None:
    truth = {"colour": [0], "tags": [[1, 0]]}
    targets = targets_of(GARMENTS, truth)
    logits = logits_of(GARMENTS, {"colour": [2], "tags": [[1, 1]]})
    found = assess(GARMENTS, logits, targets, OperatingPoint())
    told = described(found, targets, FakeCrops(1), 0, picture=False)
    assert told["truth"] == "colour red, tags new"
    assert told["answer"] == "colour blue, tags new | worn"
