"""Crops in a joined report: each once, with what every model said of it."""

from __future__ import annotations

from base64 import b64encode
from pathlib import Path
from typing import Any

from benchmarks.page import Gallery, Paragraph, Table
from benchmarks.report.galleries import changed_answers, confident_mistakes, new_answers
from benchmarks.report.joining import Joined, join
from benchmarks.report.reading import Result

PICTURE = b64encode(b"jpeg").decode()


def example(path: str, answer: str, confidence: float, **more: Any) -> dict[str, Any]:
    told = {"path": path, "truth": "AA", "answer": answer, "confidence": confidence}
    return {**told, "picture": PICTURE, **more}


def flip(path: str, answer: str, effect: str, **more: Any) -> dict[str, Any]:
    return example(path, answer, 0.5, before="AA", confidence_before=0.9, effect=effect, **more)


def joined(entries: dict[str, dict[str, Any]]) -> Joined:
    artifacts = {name: {"id": f"id-{name}", **entry} for name, entry in entries.items()}
    data = {"origin": "/x/test.tsv, 10 samples, sha256 abc"}
    value = {"command": "benchmarks.accuracy", "artifacts": artifacts, "data": data}
    return join([Result(Path("result.json"), value)], {})


def against(hits: int, *examples: dict[str, Any]) -> dict[str, Any]:
    flips = {"hits": hits, "total": 10}
    return {"versus_first": {"flips": flips, "exact": {}}, "flip_examples": list(examples)}


def test_a_changed_answer_is_shown_once_and_the_worst_first() -> None:
    entries = {
        "base": {"versus_first": None},
        "one": against(2, flip("p1", "AB", "gained"), flip("p2", "CC", "lost")),
        "two": against(1, flip("p2", "DD", "wrong in both")),
    }
    table, gallery = changed_answers(joined(entries))
    assert isinstance(table, Table)
    assert table.caption == "Against base, on x/test.tsv (10 crops)"
    assert [(row["model"], row["changed answers"], row["lost"]) for row in table.rows] == [
        ("one", "2 of 10", "1"),
        ("two", "1 of 10", "0"),
    ]
    assert isinstance(gallery, Gallery)
    assert [item.title for item in gallery.items] == ["AA read as CC", "AA read as AB"]
    assert gallery.items[0].jpeg == b"jpeg"
    assert gallery.items[0].caption.splitlines() == [
        "truth: AA",
        "base: AA (0.900)",
        "one: CC (0.500), lost",
        "two: DD (0.500), wrong in both",
    ]


def test_effects_of_answers_that_are_not_all_listed_are_not_counted() -> None:
    (table, *_) = changed_answers(joined({"base": {}, "one": against(9, flip("p", "B", "lost"))}))
    assert isinstance(table, Table)
    assert table.rows == [{"model": "one", "changed answers": "9 of 10"}]


def test_mistakes_that_most_models_make_come_first_and_need_a_picture() -> None:
    entries = {
        "one": {"confident_mistakes": [example("p1", "B", 0.99), example("p2", "C", 0.6)]},
        "two": {"confident_mistakes": [example("p2", "C", 0.7), example("p3", "D", 0.5)]},
    }
    entries["two"]["confident_mistakes"][1]["picture"] = None
    told, gallery = confident_mistakes(joined(entries))
    assert isinstance(told, Paragraph)
    assert told.text.startswith("3 crops of x/test.tsv (10 crops)")
    assert isinstance(gallery, Gallery)
    assert [item.title for item in gallery.items] == ["AA read as C", "AA read as B"]
    assert "two: C (0.700)" in gallery.items[0].caption


def test_what_new_answers_otherwise_than_old() -> None:
    value = {
        "command": "benchmarks.compare",
        "config": {"old": "a/before", "new": "a/after"},
        "accuracy": {"flip_examples": [flip("p", "AB", "lost")]},
    }
    (gallery,) = new_answers(Result(Path("result.json"), value))
    assert isinstance(gallery, Gallery)
    assert gallery.items[0].caption.splitlines()[1:] == [
        "before: AA (0.900)",
        "after: AB (0.500), lost",
    ]
    assert list(new_answers(Result(Path("result.json"), {**value, "accuracy": None}))) == []


def test_nothing_changed_and_nothing_wrong_is_nothing_to_show() -> None:
    assert list(changed_answers(joined({"base": {"versus_first": None}}))) == []
    assert list(confident_mistakes(joined({"base": {"confident_mistakes": []}}))) == []
