"""Drawings are SVG with text, in the page's colours, that may stand several on a page."""

from __future__ import annotations

import re
from xml.etree import ElementTree

import numpy as np
import pytest

from benchmarks.noise import Noise
from benchmarks.page_template import STYLE
from benchmarks.report.charts import (
    SERIES,
    Interval,
    Point,
    _coarser,
    _colour,
    _marker,
    draw_heads,
    draw_histograms,
    draw_pareto,
    draw_runs,
)
from benchmarks.scenarios import Latency

pytest.importorskip("matplotlib")
HOSTILE = "_<script>&\"'苏 $\\frac$"


def points(count: int) -> list[Point]:
    found = Interval(0.9, 0.8, 1.0)
    return [Point(f"{HOSTILE} {i}", 0.1 * (i + 1), found, None, best=i == 0) for i in range(count)]


def latencies(seed: int) -> Latency:
    times = np.random.default_rng(seed).lognormal(13, 0.5, 500).astype(np.int64)
    return Latency(times, Noise(0.0))


def drawings() -> dict[str, str]:
    heads = {HOSTILE: {"one": Interval(1.0, 0.9, 1.0)}, "b": {"two": Interval(0.5, 0.4, 0.7)}}
    timed = {name: latencies(seed) for seed, name in enumerate((HOSTILE, "b"))}
    return {
        "pareto": draw_pareto(points(3), latency="latency", accuracy="accuracy"),
        "heads": draw_heads(heads),
        "histograms": draw_histograms({n: t.histogram() for n, t in timed.items()}, of="times"),
        "runs": draw_runs({n: t.over_time_ms() for n, t in timed.items()}, of="times"),
    }


def test_every_drawing_is_one_well_formed_element_without_rules_of_its_own() -> None:
    ids: set[str] = set()
    for name, svg in drawings().items():
        root = ElementTree.fromstring(svg)
        assert root.tag.endswith("}svg")
        assert "viewBox" in root.attrib
        assert not {"width", "height"} & set(root.attrib)
        assert not list(root.iter("{http://www.w3.org/2000/svg}style"))
        texts = [each.text or "" for each in root.iter("{http://www.w3.org/2000/svg}text")]
        assert any(HOSTILE in text for text in texts), name
        own = {each.attrib["id"] for each in root.iter() if "id" in each.attrib}
        targets = re.findall(r'(?:href="|url\()#([^")]+)', svg)
        assert set(targets) <= own
        assert not ids & own
        ids |= own


def test_no_two_of_many_models_look_alike() -> None:
    assert len({(_colour(place), _marker(place)) for place in range(40)}) == 40


def test_colours_are_the_pages_and_there_are_as_many() -> None:
    svg = draw_pareto(points(SERIES + 2), latency="latency", accuracy="accuracy")
    assert set(re.findall(r"var\(--series-(\d)\)", svg)) == set(map(str, range(SERIES)))
    assert "var(--ink)" in svg
    assert "#0001" not in svg
    for place in range(SERIES):
        assert STYLE.count(f"--series-{place}:") == 2  # light and dark


def test_the_same_results_give_the_same_drawing() -> None:
    assert drawings() == drawings()


def test_coarser_bins_lose_no_query_and_keep_their_edges() -> None:
    found = latencies(3)
    bins = found.histogram()
    counts, edges = _coarser(bins)
    assert counts.sum() == found.count
    assert len(edges) == len(counts) + 1
    times = found.queries_ns / 1e6
    for count, low, high in zip(counts, edges, edges[1:], strict=False):
        assert count == ((times >= low * (1 - 1e-12)) & (times < high * (1 - 1e-12))).sum()
