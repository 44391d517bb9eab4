"""The whole chain through the command lines: rendered plates in, judged artifacts out."""

from __future__ import annotations

import json
from functools import partial
from pathlib import Path

import numpy as np
import pytest

import benchmarks.accuracy
import benchmarks.latency
import compress.quantize.cli
import compress.slim.cli
import compress.slim.comparison
import export.onnx
import export.openvino
import runtime.show
import train.evaluate
import train.fit
import train.synth.cli
from benchmarks.labelled import read_labelled
from benchmarks.scenarios import compare_interleaved
from runtime.builtin_schemas import us_plate
from runtime.decode import decode
from runtime.manifest import Manifest
from runtime.preprocess import load_image
from runtime.reader import Reader
from tests.engines import require
from train.checkpoint import load_checkpoint
from train.cost import count_parameters
from train.data import load_crops
from train.scoring import score

pytestmark = pytest.mark.usefixtures("one_thread")

BUDGET = """schema = 1
limits = [
    { metric = "accuracy.exact", min = 0.0 },
    { metric = "versus.flips", max = 1.0 },
    { metric = "size.engine_mb", max = 1.2 },
    { metric = "latency.engine_ms", stat = "p50", max = 1000.0 },
]
"""
"""A network of seconds reads nothing rightly; this is about the chain."""


def options(place: Path, **paths: str) -> list[str]:
    """``data="train"`` to ``--data PLACE/train``."""
    return [word for name, path in paths.items() for word in (f"--{name}", str(place / path))]


@pytest.fixture(scope="module")
def place(one_thread: None, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """All steps but the benchmarks, each a folder."""
    for package in ("onnxruntime", "openvino", "nncf"):
        require(package)
    folder = tmp_path_factory.mktemp("chain")
    for name, count, seed in (("train", 160, 1), ("val", 48, 2), ("test", 40, 3)):
        target = str(folder / name)
        numbers = ["-n", str(count), "--seed", str(seed), "--workers", "1"]
        assert train.synth.cli.main(["us-plate", *numbers, "-o", target]) == 0
    fit = [
        "tiny",
        *("--schema", "us-plate", "--imgsz", "24", "72", "--threads", "1"),
        *("--network.sizes", "width=32", "last_width=32", "--loop.batch", "16"),
        *("--loop.steps", "30", "--loop.validate-every", "15", "--loop.optim.warmup", "5"),
    ]
    data = options(folder, data="train", validation="val")
    assert train.fit.main([*fit, *data, *options(folder, output="base")]) == 0
    slim = [
        *(str(folder / "base"), "--target", "0.5", "--threads", "1", "--batch", "16"),
        *("--sparse-steps", "8", "--tune-steps", "16", "--validate-every", "8"),
    ]
    with pytest.MonkeyPatch.context() as patch:
        quick = partial(compare_interleaved, rounds=5, block_s=0.001)
        patch.setattr(compress.slim.comparison, "compare_interleaved", quick)
        assert compress.slim.cli.main([*slim, *data, *options(folder, output="slim")]) == 0
    int8 = [str(folder / "slim"), "--samples", "48", "--max-drop", "1", "--max-flips", "1"]
    lists = options(folder, calibration="train", validation="val", output="int8")
    assert compress.quantize.cli.main([*int8, *lists]) == 0
    # A network of seconds is unsure everywhere: rounding decides, so every flip is let pass.
    gate = ["--gate.max-flips", "1", *options(folder, validation="val")]
    for main, checkpoint, output in (
        (export.onnx.main, "base", "float-onnx"),
        (export.onnx.main, "int8", "int8-onnx"),
        (export.openvino.main, "int8", "int8-openvino"),
    ):
        assert main([str(folder / checkpoint), *gate, *options(folder, output=output)]) == 0
    return folder


def test_every_step_left_one_whole_folder(place: Path) -> None:
    steps = {"train", "val", "test", "base", "slim", "int8"}
    artifacts = {"float-onnx", "int8-onnx", "int8-openvino"}
    assert {path.name for path in place.iterdir()} == steps | artifacts
    base, slim = (load_checkpoint(place / name) for name in ("base", "slim"))
    assert count_parameters(slim.build()) <= 0.5 * count_parameters(base.build())
    for name in artifacts:
        manifest = Manifest.load(place / name)
        assert manifest.schema == us_plate()
        expected = ["fit", "export"] if name == "float-onnx" else [
            "fit", "slim", "quantize", "export",
        ]  # fmt: skip
        assert list(manifest.lineage) == expected


def test_the_runtime_reads_the_texts_that_training_evaluation_reads(place: Path) -> None:
    checkpoint = load_checkpoint(place / "base")
    crops = load_crops([place / "test"], checkpoint.schema, checkpoint.input)
    paths = read_labelled(place / "test", checkpoint.schema).paths
    with Reader.open(place / "float-onnx") as reader:
        results = [reader.read(load_image(path)) for path in paths]
        operating = reader.info.operating
    logits = score(checkpoint.build(), crops)
    expected = decode(checkpoint.schema, logits, operating)
    confidences = np.array([result.confidence for result in results])
    np.testing.assert_allclose(confidences, expected.confidence, atol=1e-3)
    assert [result.text for result in results] == list(expected.readings["plate"].texts)


def test_a_checkpoint_is_evaluated(place: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert train.evaluate.main([str(place / "slim"), *options(place, data="test")]) == 0
    assert "plate exact" in capsys.readouterr().out


def test_artifacts_are_judged_by_a_budget(place: Path, tmp_path: Path) -> None:
    budget = tmp_path / "budget.toml"
    budget.write_text(BUDGET, encoding="utf-8")
    artifacts = [str(place / "int8-onnx"), str(place / "int8-openvino")]
    accuracy = ["--budget", str(budget), "--output", str(tmp_path / "accuracy")]
    data = options(place, data="test", validation="val")
    assert benchmarks.accuracy.main([*artifacts, *data, *accuracy]) == 0
    speed = ["--duration", "0.1", "--tries", "1", "--cold-starts", "0", "--budget", str(budget)]
    latency = ["--output", str(tmp_path / "latency")]
    assert benchmarks.latency.main([artifacts[1], *speed, *latency]) == 0
    for name in ("accuracy", "latency"):
        result = json.loads((tmp_path / name / "result.json").read_text(encoding="utf-8"))
        assert result["artifacts"]
        assert (tmp_path / name / "junit.xml").exists()
    strict = BUDGET.replace('"accuracy.exact", min = 0.0', '"accuracy.exact", min = 0.999')
    budget.write_text(strict, encoding="utf-8")
    assert benchmarks.accuracy.main([artifacts[0], *data, "--budget", str(budget)]) == 1


def test_show_reads_a_picture(place: Path, capsys: pytest.CaptureFixture[str]) -> None:
    image = place / "test" / "images" / "000" / "000000.jpg"
    for name in ("int8-onnx", "int8-openvino"):
        assert runtime.show.main([str(place / name), "--image", str(image)]) == 0
        line = capsys.readouterr().out.splitlines()[-1]
        assert line.startswith(f"{image}\t")
        assert line.split("\t")[-1] in ("accepted", "abstained")
