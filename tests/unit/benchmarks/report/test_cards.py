"""Model cards say what is known, and what is not."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from benchmarks.foreign import foreign_manifest
from benchmarks.page import (
    Banner,
    Chart,
    Charts,
    Gallery,
    Paragraph,
    Section,
    Table,
    Terms,
    Thumbnail,
)
from benchmarks.report.cards import card, card_name
from benchmarks.report.joining import Model, join
from benchmarks.report.markdown import escaped, markdown
from benchmarks.report.reading import Result
from runtime.manifest import GOLDEN_FILE, FileRecord, Manifest
from runtime.scores import OperatingPoint
from tests.artifacts import SMALL_INPUT, SMALL_SCHEMA, TinyNetwork
from tests.foreign import write_foreign

SHARE = {"value": 0.9, "low": 0.8, "high": 0.95}
POINT = {"answer_threshold": 0.75, "precision_floor": 0.999, "fitted_on": "val.tsv"}
LINEAGE = {
    "fit": {
        "config": {
            "data": ["/far/synth", "/far/train.tsv"],
            "network": {"backbone": "resnet18"},
            "loop": {"steps": 6000, "seed": 0},
        },
        "inputs": {"data": "d1g3st"},
        "environment": {"packages": {"torch": "2.13.0"}, "git_commit": "c0ffee"},
    },
    "by hand": "an odd entry",
}


def accuracy() -> Result:
    mistake = {"truth": "A_1", "answer": "B|1", "confidence": 0.9876}
    entry: dict[str, Any] = {
        "id": "small-1",
        "metrics": {"samples": 10, "exact": SHARE, "heads": {"first": {"accuracy": SHARE}}},
        "operating": POINT,
        "recall_at_precision": {"recall": SHARE, "precision": {**SHARE, "value": None}},
        "reliability": {"expected_calibration_error": 0.01},
        "confident_mistakes": [mistake],
        "flip_examples": [{"effect": "lost"}, {"effect": "lost"}, {"effect": "gained"}],
    }
    data = {"origin": "/x/test.tsv, 10 samples, sha256 abc"}
    value = {"command": "benchmarks.accuracy", "artifacts": {"m": entry}, "data": data}
    return Result(Path("result.json"), value)


def manifest() -> Manifest:
    return Manifest(
        id="small-1",
        version=7,
        schema=SMALL_SCHEMA,
        input=SMALL_INPUT,
        engine="onnx",
        engine_file="model.onnx",
        precision="int8",
        operating=OperatingPoint(answer_threshold=0.5),
        golden_tolerance=0.01,
        files=dict.fromkeys(["model.onnx", GOLDEN_FILE], FileRecord(1234, "ab" * 32)),
        parity={"crops": 194, "flips": 2},
        lineage=LINEAGE,
    )


def test_a_card_of_an_artifact_at_hand_tells_everything() -> None:
    joined = join([accuracy()], {Path("m"): manifest()})
    text = card(joined.models[0], joined)
    for part in (
        "- artifact for the engine onnx, precision int8",
        "- file model.onnx: 1,234 bytes, sha256 `" + "ab" * 32,
        "they are brought to 16 x 32 px (height x width) by stretch",
        "- Reading code: a text of up to 3 characters; formats: letters, province",
        "| extras | any of | 3",
        "| exact: right in every part | 90.00% (80.0% to 95.0%) |",
        "- the artifact: at a confidence of 0.5000 or more\n",
        "at a confidence of 0.7500 or more, for a precision of 0.999, fitted on val.tsv",
        "- A\\_1 read as B\\|1 (confidence 0.988)",
        "changed answers: 2 lost, 1 gained, 0 wrong in both, 0 right in both",
        "1. **fit**: network backbone resnet18, loop steps 6000",
        "   - data: far/synth, far/train.tsv, sha256 `d1g3st`",
        "   - with torch 2.13.0, commit c0ffee",
        "2. **by hand**: an odd entry",
        "compared 194 crops with the checkpoint: 2 answers differ",
        "How fast it is: no result of benchmarks.latency was given",
    ):
        assert part in text, part
    assert "right of accepted" not in text  # nothing was accepted, so no share of it


def test_a_card_from_a_result_alone_says_what_is_missing() -> None:
    joined = join([accuracy()], {})
    text = card(joined.models[0], joined)
    assert "## How it was made" not in text
    assert "name the artifact's folder among the results" in text
    bare = Model(name="m", id="i", about={})
    text = card(bare, join([], {}))
    assert "no result of benchmarks.accuracy was given" in text


def test_names_of_cards_are_plain() -> None:
    names = {"a/b c": "a_b_c.md", "../x": "x.md", "苏": "苏.md", "...": "model.md"}
    for name, expected in names.items():
        assert card_name(Model(name=name, id="i", about={})) == expected


def test_markdown_shows_every_kind_of_block_and_nothing_as_markup() -> None:
    hostile = "<b>*x*</b>\n# |[y](z)"
    lead = [Banner("fail", hostile, [hostile])]
    blocks = [
        Paragraph(hostile),
        Table([{"a": "1"}], "caption"),
        Table([{"b": "2"}], folded="folded"),
        Charts([Chart("<svg></svg>", "chart")]),
        Gallery([Thumbnail(b"", "lost", "A read as B")]),
        Terms({"word": "meaning"}),
    ]
    text = markdown(hostile, lead, [Section("Part", blocks)])
    assert text.count(escaped(hostile)) == 4
    assert escaped(hostile) == r"\<b\>\*x\*\</b\> \# \|\[y\](z)"
    for part in ("**caption**\n\n| a ", "**folded**", "- chart (drawn in the page)"):
        assert part in text
    assert "- A read as B: lost" in text
    assert "- **word**: meaning" in text


def test_a_card_of_a_bare_model_says_so(tmp_path: Path) -> None:
    path = write_foreign(tmp_path, TinyNetwork())
    joined = join([], {path: foreign_manifest(path)})
    text = card(joined.models[0], joined)
    assert "- bare model for the engine onnx, precision not told" in text
    assert "made outside the graph: float32 NCHW RGB, (pixel * 0.00392157 - 0.485" in text
    assert "- How it was made: a bare model does not tell." in text
    assert "- version" not in text
