from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest

from benchmarks.assessment import Assessment, assess
from benchmarks.evaluation.gallery import aligned, confident_mistakes, gallery, least_likely
from benchmarks.evaluation.report import Evaluated, mistakes, write_evaluation
from benchmarks.evaluation.tables import (
    confusion_matrix,
    confusion_rows,
    head_rows,
    label_rows,
)
from benchmarks.labelled import Targets
from benchmarks.metrics import ChoiceMetrics
from benchmarks.page import Position
from benchmarks.report import Report
from runtime.arrays import Image
from runtime.errors import DataError
from runtime.scores import OperatingPoint
from tests.unit.benchmarks.cases import GARMENTS, PLATES, logits_of, targets_of

pytest.importorskip("matplotlib")
pytest.importorskip("jinja2")


class FakeCrops:
    """Pictures that note which of them were read."""

    def __init__(self, count: int) -> None:
        self.count = count
        self.seen: list[int] = []

    def __len__(self) -> int:
        return self.count

    def __getitem__(self, index: int) -> Path:
        return Path(f"/data/<crop>_{index}.png")

    def read(self, index: int) -> Image:
        self.seen.append(index)
        return np.full((20, 50, 3), index % 255, np.uint8)


TRUTH = {
    "one": [1, 2, 1, 1, 2, -1],  # A B A A B ?
    "two": [1, 1, 0, 2, 1, 1],  # A A _ B A A
    "rows": [0, 0, 1, 0, 1, 0],
}
ANSWER = {"one": [1, 1, 1, 1, 2, 1], "two": [1, 1, 1, 2, 1, 1], "rows": [0, 0, 0, 0, 1, 0]}
GAPS = np.array([12, 6, 9, 12, 12, 12])[:, None]


def plates(operating: OperatingPoint | None = None) -> tuple[Assessment, Targets]:
    """Six plates: the second and third are wrong, the third with more confidence."""
    logits = {
        name: (value * GAPS).astype(np.float32)
        for name, value in logits_of(PLATES, ANSWER, gap=1.0).items()
    }
    targets = targets_of(PLATES, TRUTH)
    return assess(PLATES, logits, targets, operating or OperatingPoint()), targets


def test_mistakes_are_wrong_accepted_and_ordered_by_confidence() -> None:
    found, _ = plates()
    assert confident_mistakes(found).tolist() == [2, 1]
    strict, _ = plates(OperatingPoint(answer_threshold=0.9999))
    assert strict.decoded.accepted.tolist() == [True, False, False, True, True, True]
    assert confident_mistakes(strict).tolist() == []
    medium, _ = plates(OperatingPoint(answer_threshold=float(found.decoded.confidence[2])))
    assert confident_mistakes(medium).tolist() == [2]


def test_least_likely_truths_leave_out_what_is_likely() -> None:
    found, _ = plates()
    index = least_likely(found)
    assert index.tolist() == [2, 1]
    assert (np.diff(found.truth_probability[index]) >= 0).all()


def test_texts_of_one_length_stand_as_they_are() -> None:
    assert aligned("AB1", "AC1") == [
        Position("A", "A", False),
        Position("B", "C", True),
        Position("1", "1", False),
    ]


def test_a_missing_character_shifts_nothing() -> None:
    found = aligned("ABCD", "ABD")
    assert [place.wrong for place in found] == [False, False, True, False]
    assert (found[2].truth, found[2].answer) == ("C", "–")
    assert aligned("", "A") == [Position("–", "A", True)]


def test_gallery_says_what_was_taken_for_what() -> None:
    found, targets = plates(OperatingPoint(choice_thresholds={"one": 0.9999, "rows": 0.5}))
    crops = FakeCrops(6)
    second, third, sixth = gallery(found, targets, crops, [1, 2, 5]).items
    assert crops.seen == [1, 2, 5]
    assert second.title == "BA read as AA"
    assert [place.wrong for place in second.positions] == [True, False]
    assert "printed: ?A" in second.caption
    assert "rows: double taken for single" in third.caption
    assert third.title == "A read as AA"
    assert "<crop>_2.png" in third.caption
    assert sixth.title == "(not given) read as AA"
    assert not sixth.positions


def test_gallery_of_a_schema_without_readings() -> None:
    answers = {"colour": [0, 1], "tags": [[0, 1], [1, 1]]}
    truth = {"colour": [0, -1], "tags": [[0, 1], [0, -1]]}
    targets = targets_of(GARMENTS, truth)
    found = assess(GARMENTS, logits_of(GARMENTS, answers), targets, OperatingPoint())
    first, second = gallery(found, targets, FakeCrops(2), [0, 1]).items
    assert first.caption.splitlines()[:2] == ["colour: red", "tags: worn"]
    # "worn" is not given, so that only "new" can be wrong; neither is the colour.
    assert second.caption.splitlines()[:2] == ["colour: green", "tags: none taken for new"]


def test_heads_with_their_thresholds() -> None:
    point = OperatingPoint(choice_thresholds={"one": 0.9999}, temperatures={"one": 1.5})
    found, targets = plates(point)
    one, two, rows = head_rows(found, targets)
    assert (one["position"], two["position"], rows["position"]) == ("text 1", "text 2", "-")
    assert one["accuracy"].startswith("0.8000")
    assert (one["temperature"], one["threshold"]) == ("1.500", "0.9999")
    sure = found.decoded.choice_accepted["one"]
    assert one["above it"].startswith(f"{sure[:5].mean():.4f}")
    assert two["threshold"] == "-"


def test_label_rows_show_the_worst_first_and_mark_rare_ones() -> None:
    found, _ = plates()
    rows = label_rows(PLATES.heads[0], found.metrics.heads["one"], np.zeros(0))
    assert [row["label"] for row in rows] == ["B", "A"]  # F1 2/3 and 6/7; "_" never occurs
    assert rows[0]["support"] == "2"
    assert rows[0]["recall"] == "0.5000"
    assert rows[0][""].startswith("rare")
    many = targets_of(PLATES, {name: value[:1] * 30 for name, value in TRUTH.items()})
    logits = logits_of(PLATES, {name: value[:1] * 30 for name, value in ANSWER.items()})
    common = assess(PLATES, logits, many, OperatingPoint())
    assert label_rows(PLATES.heads[0], common.metrics.heads["one"], np.zeros(0))[0][""] == ""


def test_confusions_most_frequent_first() -> None:
    truth = {"one": [1, 1, 1, 2, 0], "two": [1] * 5, "rows": [0] * 5}
    answer = {"one": [2, 2, 1, 1, 0], "two": [1] * 5, "rows": [0] * 5}
    found = assess(PLATES, logits_of(PLATES, answer), targets_of(PLATES, truth), OperatingPoint())
    assert [tuple(row.values()) for row in confusion_rows(found)] == [
        ("one", "A", "B", "2", "66.7% of 3"),
        ("one", "B", "A", "1", "100.0% of 1"),
    ]
    assert len(confusion_rows(found, limit=1)) == 1


def test_matrix_shows_labels_that_occur_and_marks_what_is_wrong() -> None:
    found, _ = plates()
    metrics = found.metrics.heads["one"]
    assert isinstance(metrics, ChoiceMetrics)
    matrix = confusion_matrix(PLATES.heads[0], metrics)
    assert matrix is not None
    assert (matrix.rows, matrix.columns) == (["A", "B"], ["A", "B"])
    assert [[cell.text for cell in row] for row in matrix.cells] == [["3", ""], ["1", "1"]]
    assert [[cell.wrong for cell in row] for row in matrix.cells] == [[False, True], [True, False]]
    assert matrix.cells[0][1].shade == 0
    assert matrix.cells[1][0].shade == 0.5
    perfect = assess(PLATES, logits_of(PLATES, ANSWER), targets_of(PLATES, ANSWER), found.operating)
    right = perfect.metrics.heads["one"]
    assert isinstance(right, ChoiceMetrics)
    assert confusion_matrix(PLATES.heads[0], right) is None


def test_a_label_that_is_only_answered_is_a_column_and_no_row() -> None:
    truth = {"one": [1, 1], "two": [1, 1], "rows": [0, 0]}
    answer = {**truth, "one": [1, 2]}
    found = assess(PLATES, logits_of(PLATES, answer), targets_of(PLATES, truth), OperatingPoint())
    metrics = found.metrics.heads["one"]
    assert isinstance(metrics, ChoiceMetrics)
    matrix = confusion_matrix(PLATES.heads[0], metrics)
    assert matrix is not None
    assert (matrix.rows, matrix.columns) == (["A"], ["A", "B"])
    rows = label_rows(PLATES.heads[0], metrics, np.zeros(0))
    assert rows[0]["label"] == "B"
    assert rows[0][""] == "never true, only answered"


def entry(name: str, crops: FakeCrops) -> Evaluated:
    found, targets = plates()
    return Evaluated(name=name, found=found, targets=targets, crops=crops)


def test_report_is_written_whole_and_reads_only_what_it_shows(tmp_path: Path) -> None:
    crops = [FakeCrops(6), FakeCrops(6)]
    entries = [entry("a/<b>", crops[0]), entry("a/b", crops[1])]
    report = Report(title="T", tables={"Head": [{"x": "1"}]}, data={"m": mistakes(entries[0])})
    write_evaluation(tmp_path, report, entries)
    assert sorted(path.name for path in tmp_path.iterdir()) == [
        "0_a_b_reliability.png",
        "0_a_b_risk_coverage.png",
        "1_a_b_reliability.png",
        "1_a_b_risk_coverage.png",
        "report.html",
        "report.md",
        "result.json",
    ]
    html = (tmp_path / "report.html").read_text(encoding="utf-8")
    assert "a/&lt;b&gt;: Confident mistakes" in html
    assert "2 in all, 2 shown; no threshold was fitted." in html
    assert html.count("data:image/jpeg") == 8
    assert set(crops[0].seen) == {1, 2}
    markdown = (tmp_path / "report.md").read_text(encoding="utf-8")
    assert "## a/b: top confusions" in markdown
    result = json.loads((tmp_path / "result.json").read_text(encoding="utf-8"))
    assert [mistake["row"] for mistake in result["m"]] == [2, 1]
    assert result["m"][0]["path"] == "/data/<crop>_2.png"


def test_a_picture_that_vanished_is_told(tmp_path: Path) -> None:
    class Gone(FakeCrops):
        def read(self, index: int) -> Image:
            raise DataError(f"{self[index]}: cannot be read")

    with pytest.raises(DataError, match="cannot be read"):
        write_evaluation(tmp_path, Report(title="T", tables={}, data={}), [entry("x", Gone(6))])
