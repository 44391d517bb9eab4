from __future__ import annotations

from collections.abc import Callable
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest

from runtime.errors import ConfigError
from runtime.gateway.finding import Finding, FindingOptions, Region, load_detector
from tests.painted import blank

QUAD = np.asarray([[0, 0], [8, 0], [8, 8], [0, 8]], np.float32)


def corners(options: FindingOptions) -> list[Any]:
    return [region.quad.tolist() for region in Finding(options)(blank(100, 200)).regions]


def test_nothing_given_is_the_whole_frame() -> None:
    assert corners(FindingOptions()) == [[[0, 0], [200, 0], [200, 100], [0, 100]]]


def test_boxes_then_quads_in_pixels() -> None:
    quad = ((10, 10), (60, 12), (58, 30), (9, 28))
    options = FindingOptions(boxes=((5, 6, 20, 10),), quads=(quad,))
    assert corners(options) == [[[5, 6], [25, 6], [25, 16], [5, 16]], [list(c) for c in quad]]


def test_shares_follow_the_size_of_the_frame() -> None:
    options = FindingOptions(boxes=((0.25, 0.5, 0.5, 0.25),), unit="share")
    assert corners(options) == [[[50, 50], [150, 50], [150, 75], [50, 75]]]


@pytest.mark.parametrize(
    ("options", "words"),
    [
        ({"unit": "percent"}, "unit"),
        ({"boxes": ((1, 2, 3),)}, "box"),
        ({"boxes": ((1, 2, 0, 4),)}, "box"),
        ({"boxes": ((1, 2, 3, float("nan")),)}, "box"),
        ({"quads": (((0, 0), (1, 0), (1, 1)),)}, "four corners"),
        ({"quads": (((0, 0), (1, 0), (1, 1), (0, float("inf"))),)}, "finite"),
        ({"boxes": ((0.5, 0.5, 0.6, 0.1),), "unit": "share"}, "share"),
        ({"boxes": ((1, 2, 3, 4),), "detector": "a:b"}, "not both"),
        ({"max_regions": 0}, "max_regions"),
        ({"budget_ms": float("nan")}, "budget_ms"),
    ],
)
def test_refuses_what_cannot_be(options: dict[str, Any], words: str) -> None:
    with pytest.raises(ConfigError, match=words):
        FindingOptions(**options)


@pytest.mark.parametrize(
    "item",
    [
        None,
        7,
        SimpleNamespace(quad=QUAD),
        SimpleNamespace(quad=QUAD[:3], confidence=1),
        SimpleNamespace(quad=QUAD * np.nan, confidence=1),
        SimpleNamespace(quad=QUAD + 1e9, confidence=1),
        SimpleNamespace(quad="plate", confidence=1),
        SimpleNamespace(quad=QUAD, confidence=1.1),
        SimpleNamespace(quad=QUAD, confidence=float("nan")),
        SimpleNamespace(quad=QUAD, confidence="sure"),
    ],
)
def test_one_bad_region_costs_nobody_else(item: object) -> None:
    finding = Finding(FindingOptions(), detector=lambda image: [Region(QUAD, 0.5), item])  # type: ignore[list-item]
    found = finding(blank())
    assert [region.confidence for region in found.regions] == [0.5]
    assert found.errors == 1
    assert found.problem


@pytest.mark.parametrize("output", [None, 3, {"quad": 1}, iter([])])
def test_output_that_is_no_sequence_is_an_error(output: Any) -> None:
    found = Finding(FindingOptions(), detector=lambda image: output)(blank())
    assert (found.regions, found.errors) == ([], 1)


def test_only_the_surest_regions_are_read() -> None:
    many = [Region(QUAD, confidence) for confidence in (0.2, 0.9, 0.4, 0.7)]
    found = Finding(FindingOptions(max_regions=2), detector=lambda image: many)(blank())
    assert [region.confidence for region in found.regions] == [0.9, 0.7]
    flood = [Region(QUAD, 0.5)] * 5000
    found = Finding(FindingOptions(), detector=lambda image: flood)(blank())
    assert (len(found.regions), found.errors) == (32, 1)


def nobody() -> None:
    return None


def broken() -> Callable[..., Any]:
    raise RuntimeError("no camera")


@pytest.mark.parametrize(
    "name", ["x", "x:", ":y", "no.such.module:f", f"{__name__}:missing", f"{__name__}:nobody",
             f"{__name__}:broken"],
)  # fmt: skip
def test_a_detector_that_cannot_be_made(name: str) -> None:
    with pytest.raises(ConfigError):
        load_detector(name)


def good() -> Callable[..., Any]:
    return lambda image: [Region(QUAD, 0.5)]


def test_a_detector_is_named_by_its_factory() -> None:
    finding = Finding(FindingOptions(detector=f"{__name__}:good"))
    assert not finding.fixed
    assert len(finding(blank()).regions) == 1
