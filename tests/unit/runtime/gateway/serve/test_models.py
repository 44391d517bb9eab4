"""Answers as bytes."""

from __future__ import annotations

import json

import pytest

from runtime.gateway.serve.models import answer_json
from runtime.manifest import ArtifactName
from runtime.results import HeadAnswer, ReadingAnswer, Result, Timings


@pytest.mark.parametrize("artifact", ["plates-1", "京", "\ud800"])
def test_an_answer_is_json_whatever_an_artifact_is_called(artifact: str) -> None:
    result = Result(
        text="京?1",
        confidence=0.1234567891,
        accepted=False,
        heads={
            "first": HeadAnswer("京", ("京",), 0.75, True, {}),
            "extras": HeadAnswer(None, ("dirty", "night"), 0.5, True, {"dirty": 0.9}),
        },
        readings={"code": ReadingAnswer("京?1", "京A1", 0.1234567891)},
        timings_ns=Timings(80_000, 310_000, 110_000, 50_000),
        artifact=ArtifactName(artifact, 7),
    )
    assert json.loads(answer_json(result)) == {
        "text": "京?1",
        "confidence": 0.123457,
        "accepted": False,
        "heads": {
            "first": {"label": "京", "labels": ["京"], "confidence": 0.75, "accepted": True},
            "extras": {
                "label": None,
                "labels": ["dirty", "night"],
                "confidence": 0.5,
                "accepted": True,
            },
        },
        "readings": {"code": {"text": "京?1", "raw_text": "京A1", "confidence": 0.123457}},
        "artifact": {"id": artifact, "version": 7},
        "timings_ms": {"prepare": 0.08, "queue": 0.05, "engine": 0.31, "decode": 0.11},
    }
