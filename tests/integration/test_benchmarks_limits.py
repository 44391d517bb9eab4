"""``benchmarks.scaling`` and ``benchmarks.roofline`` from the command line to their pictures."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from benchmarks.figures import check_matplotlib
from benchmarks.roofline import ceilings
from benchmarks.roofline.cli import main as roofline
from benchmarks.scaling.cli import main as scaling
from runtime.errors import MissingExtraError
from tests.artifacts import TinyNetwork, write_artifact
from tests.engines import require

PNG = b"\x89PNG"


@pytest.fixture(scope="module")
def artifacts(tmp_path_factory: pytest.TempPathFactory) -> list[str]:
    folders = []
    for engine, package in {"onnx": "onnxruntime", "openvino": "openvino"}.items():
        require(package)
        folders.append(tmp_path_factory.mktemp("limits") / engine)
        write_artifact(folders[-1], TinyNetwork(), engine=engine)
    try:
        check_matplotlib()
    except MissingExtraError as error:
        pytest.skip(str(error))
    return [str(folder) for folder in folders]


def test_throughput_along_all_axes(artifacts: list[str], tmp_path: Path) -> None:
    quick = ["--duration", "0.05", "--tries", "1", "--fps", "500"]
    places = ["--batch", "1", "3", "--threads", "1", "--streams", "2", "--cameras", "2", "4"]
    sizes = ["--size", "1", "2"]
    output = tmp_path / "out"
    assert scaling([artifacts[1], *quick, *places, *sizes, "--output", str(output)]) == 0
    points = json.loads((output / "result.json").read_text())["points"]
    rates = {(p["artifact"], p["axis"], p["value"]): p["samples_per_s"] for p in points}
    assert len(rates) == 2 + 1 + 1 + 2 + 2
    known = {key: rate for key, rate in rates.items() if key[1:] != ("size", 2.0)}
    assert all(rate > 0 for rate in known.values())
    cameras = [p for p in points if p["axis"] == "cameras" and p["value"] == 4]
    assert all(p["samples_per_s"] <= 4 * 500 * 1.1 for p in cameras)  # no more than are sent
    # The matrix product has as many weights as the picture has cells.
    fixed = [p["reason"] for p in points if (p["axis"], p["value"]) == ("size", 2.0)]
    assert fixed == [
        "the graph fixes its size inside; "
        "`python -m train.backbones --imgsz H W` times new networks"
    ]
    assert (output / "scaling.png").read_bytes().startswith(PNG)
    assert "| artifact |" in (output / "report.md").read_text().replace("  ", "")


def test_engines_under_the_roof(
    artifacts: list[str], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(ceilings, "_SHAPES", ((32, 16),))
    monkeypatch.setattr(ceilings, "_SIZE", 256)
    output = tmp_path / "out"
    quick = ["--duration", "0.05", "--ceiling-s", "0.02", "--tries", "1", "--batch", "1", "4"]
    assert roofline([*artifacts, *quick, "--output", str(output)]) == 0
    found = json.loads((output / "result.json").read_text())
    assert found["ceilings"]["peaks"]["fp32"]["macs_per_s"] > 1e8
    assert [(p["artifact"], p["batch"]) for p in found["artifacts"]] == [
        ("onnx", 1), ("onnx", 4), ("openvino", 1), ("openvino", 4)
    ]  # fmt: skip
    for placed in found["artifacts"]:
        # Where memory bounds every layer both are one sum, added up in another order.
        assert 0 < placed["share"] <= placed["share_by_layer"] * (1 + 1e-9) < 1.5
        assert placed["macs"] == sum(layer["macs"] for layer in placed["layers"])
    assert (output / "roofline.png").read_bytes().startswith(PNG)


@pytest.mark.parametrize("options", [["--batch", "0"], ["--duration", "0"], ["--ceiling-s", "99"]])
def test_options_that_cannot_be_are_errors(artifacts: list[str], options: list[str]) -> None:
    assert roofline([*artifacts, *options]) == 1
