"""Results of real runs joined into one report, which is then opened in a browser."""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING

import jsonschema
import pytest

from benchmarks import accuracy, latency
from benchmarks.page import Paragraph, Section, page
from benchmarks.report.cli import main as report
from tests.artifacts import TinyNetwork, write_artifact
from tests.browser import chromium
from tests.engines import require
from tests.integration.test_benchmarks import NETWORK, budget, write_list
from tests.pages import check_page

if TYPE_CHECKING:
    from playwright.sync_api import Browser

SCHEMA = Path(__file__).parents[2] / "docs" / "report.schema.json"


def run(main: object, *arguments: object) -> int:
    return main([str(argument) for argument in arguments])  # type: ignore[no-any-return, operator]


@pytest.fixture(scope="module")
def results(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """What accuracy and latency wrote of two artifacts, and the second as from another device."""
    for package in ("tyro", "matplotlib", "jinja2", "onnxruntime"):
        require(package)
    folder = tmp_path_factory.mktemp("results")
    pair = (folder / "right", folder / "other")
    write_artifact(pair[0], NETWORK)
    write_artifact(pair[1], TinyNetwork(scale=3.0, seed=1))
    lists = ("--data", write_list(folder / "test", 60, seed=1))
    limits = budget(
        folder,
        '{ metric = "accuracy.exact", min = 0.01 }',
        '{ metric = "versus.flips", max = 0.0001 }',
        '{ metric = "size.engine_mb", max = 10 }',
    )
    judged = ("--budget", limits)
    assert run(accuracy.main, *pair, *lists, *judged, "--output", folder / "accuracy") == 1
    quick = ("--duration", 0.1, "--cold-starts", 0, "--tries", 1)
    quick += ("--cameras", 8, "--fps", 200)
    scenarios = ("--scenario", "single-stream", "camera")
    timed = folder / "latency"
    assert run(latency.main, *pair, *quick, *scenarios, *judged, "--output", timed) == 0
    value = json.loads((timed / "result.json").read_text(encoding="utf-8"))
    value["environment"]["device"] |= {"soc": "vendor,board vendor,chip7", "cores": 6}
    (folder / "board").mkdir()
    (folder / "board" / "result.json").write_text(json.dumps(value), encoding="utf-8")
    return folder


@pytest.fixture(scope="module")
def browser() -> Iterator[Browser]:
    with chromium() as opened:
        yield opened


@pytest.fixture(scope="module")
def joined(results: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    out = tmp_path_factory.mktemp("joined") / "report"
    names = [results / name for name in ("accuracy", "latency", "board", "right")]
    assert run(report, *names, "-o", out, "--title", "Two <models>") == 1  # flips are a limit
    return out


def test_everything_is_written_and_the_json_keeps_its_schema(joined: Path) -> None:
    found = {str(path.relative_to(joined)) for path in joined.rglob("*") if path.is_file()}
    cards = {"cards/right.md", "cards/other.md"}
    assert found == {"report.html", "report.md", "report.json"} | cards
    value = json.loads((joined / "report.json").read_text(encoding="utf-8"))
    schema = json.loads(SCHEMA.read_text(encoding="utf-8"))
    jsonschema.Draft202012Validator.check_schema(schema)
    jsonschema.validate(value, schema)
    del value["models"][0]["accuracy"][0]["exact"]
    with pytest.raises(jsonschema.ValidationError):
        jsonschema.validate(value, schema)


def test_what_was_measured_stands_in_it(results: Path, joined: Path) -> None:
    value = json.loads((joined / "report.json").read_text(encoding="utf-8"))
    assert [device["name"].split(",")[0] for device in value["devices"]][1] == "chip7"
    right, other = value["models"]
    (judged,) = right["accuracy"]
    assert judged["exact"]["value"] == 0.9
    assert judged["heads"]["colour"]["value"] == 0.9
    assert judged["flips"] is None
    assert other["accuracy"][0]["flips"]["hits"] > 0
    (first, second) = right["latency"]
    assert (first["device"], second["device"]) == tuple(d["name"] for d in value["devices"])
    raw = json.loads((results / "latency" / "result.json").read_text(encoding="utf-8"))
    assert first["percentiles_ms"]["read"] == raw["artifacts"]["right"]["read"]["percentiles_ms"]
    assert [point["name"] for point in value["pareto"][0]["models"]] == ["right", "other"]
    outcomes = {(v["model"], v["limit"]): v["outcome"] for v in value["verdict"]["limits"]}
    assert outcomes["other", "versus.flips <= 0.0001"] == "fail"
    assert outcomes["right", "size.engine_mb <= 10"] == "pass"


def test_the_page_in_a_browser(browser: Browser, joined: Path) -> None:
    check_page(browser, joined / "report.html")


def test_the_pages_of_single_commands_in_a_browser(browser: Browser, results: Path) -> None:
    check_page(browser, results / "accuracy" / "report.html")


@pytest.mark.parametrize(
    "fault",
    [
        '<img src="data:image/gif;base64,R0lGODlhAQABAAAAACwAAAAAAQABAAA=">',
        '<img src="data:image/png;base64,AAAA" alt="broken">',
        '<img src="https://example.invalid/a.png" alt="fetched">',
        '<div style="width: 900px">wide</div>',
        "<script>console.log('loud')</script>",
        '<p style="color: #999">faint</p>',
        '<svg viewBox="0 0 1000 10"><text font-size="9">small</text></svg>',
    ],
)
def test_the_browser_sees_what_is_wrong(browser: Browser, fault: str, tmp_path: Path) -> None:
    require("jinja2")
    path = tmp_path / "page.html"
    text = page("Page", [Section("Part", [Paragraph("FAULT")])])
    path.write_text(text.replace("FAULT", fault), encoding="utf-8")
    with pytest.raises(AssertionError):
        check_page(browser, path)


def test_the_page_shows_pictures_of_changed_answers_and_markdown_the_verdict(
    joined: Path,
) -> None:
    html = (joined / "report.html").read_text(encoding="utf-8")
    assert "<script" not in html
    assert "Two &lt;models&gt;" in html
    assert html.count("data:image/jpeg;base64,") > 5
    assert "<svg" in html
    text = (joined / "report.md").read_text(encoding="utf-8")
    assert "**Fail: 1 of 7 limits broken**" in text
    assert "- other: answers that differ from those of right: " in text
    assert "asked for: at most 0.01%" in text


def test_cards_tell_where_a_model_came_from_only_if_it_is_at_hand(joined: Path) -> None:
    right = (joined / "cards" / "right.md").read_text(encoding="utf-8")
    other = (joined / "cards" / "other.md").read_text(encoding="utf-8")
    for text in (right, other):
        assert "exact: right in every part" in text
        assert "| chip7, 6 cores, " in text
        assert "## What is not known" in text
    assert "| colour | one of | 2" in right
    assert "name the artifact's folder among the results" in other
    assert "name the artifact's folder among the results" not in right


def test_what_cannot_be_joined_is_said(
    tmp_path: Path, results: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    def told(*arguments: object) -> str:
        assert run(report, *arguments, "-o", tmp_path / "out") == 1
        assert not (tmp_path / "out").exists()
        return capsys.readouterr().err

    assert "name at least one result" in told()
    assert "expected what a command wrote with --output" in told(tmp_path / "absent")
    (tmp_path / "result.json").write_text('{"a": 1}', encoding="utf-8")
    assert "no text under 'command', but [\"a\"]" in told(tmp_path)
    assert run(report, results / "accuracy", "-o", results) == 1
    assert "exists" in capsys.readouterr().err


def test_measurements_without_limits_are_not_judged(
    browser: Browser, results: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    value = json.loads((results / "board" / "result.json").read_text(encoding="utf-8"))
    value["verdicts"] = {}
    (tmp_path / "result.json").write_text(json.dumps(value), encoding="utf-8")
    assert run(report, tmp_path, "-o", tmp_path / "out") == 0
    assert "Not judged: these are measurements without limits" in capsys.readouterr().err
    text = (tmp_path / "out" / "report.md").read_text(encoding="utf-8")
    assert "no model was both" in text
    check_page(browser, tmp_path / "out" / "report.html")
