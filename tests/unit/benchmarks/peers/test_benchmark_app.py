"""Our timings beside those of OpenVINO's own tool."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path

import pytest

from benchmarks.peers import benchmark_app
from benchmarks.peers.benchmark_app import VendorTimes, main, parse_times
from runtime.errors import EngineError
from runtime.session_openvino import precision_hint
from tests.artifacts import TinyNetwork, write_artifact
from tests.engines import require

PRINTED = """\
[ INFO ] Count:            125 iterations
[ INFO ] Duration:         2001.74 ms
[ INFO ] Latency:
[ INFO ]    Median:        {median}
[ INFO ]    Average:       15.77 ms
[ INFO ]    Min:           1.18 ms
[ INFO ] Throughput:   62.45 FPS
"""


@pytest.mark.parametrize(("median", "expected_ms"), [("15.49 ms", 15.49), ("345.67 us", 0.34567)])
def test_times_are_read_in_either_unit(median: str, expected_ms: float) -> None:
    found = parse_times(PRINTED.format(median=median))
    assert found.median_ms == pytest.approx(expected_ms)
    assert found.images_per_s == 62.45


@pytest.mark.parametrize("text", ["", "Throughput: 3 FPS", "Median: 3.1 s\nThroughput: 62.45 FPS"])
def test_what_was_not_printed_is_not_made_up(text: str) -> None:
    with pytest.raises(EngineError, match="no median or no throughput"):
        parse_times(text)


@pytest.fixture(scope="module")
def artifact(tmp_path_factory: pytest.TempPathFactory) -> Path:
    for package in ("openvino", "tyro"):
        require(package)
    folder = tmp_path_factory.mktemp("vendor") / "artifact"
    write_artifact(folder, TinyNetwork(), engine="openvino")
    return folder


def test_both_are_measured_on_the_same_graph(
    artifact: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    quick = ["--rounds", "1", "--seconds", "1", "--batch", "3"]
    assert main([str(artifact), *quick, "--output", str(tmp_path / "out")]) == 0
    found = json.loads((tmp_path / "out" / "result.json").read_text(encoding="utf-8"))
    (ours,), (theirs,) = found["ours"], found["benchmark_app"]
    for each in (ours, theirs):
        # Half of the calls, of three images each, take the median or more.
        assert 3000 / each["images_per_s"] >= each["median_ms"] / 2 > 0
    assert found["difference"]["median_ms"] == [ours["median_ms"] / theirs["median_ms"] - 1]
    assert "benchmark_app" in capsys.readouterr().out


@pytest.mark.parametrize("precision", ["fp32", "int8", "bf16", "fp16"])
def test_the_tool_is_told_what_our_session_sets(
    precision: str, artifact: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    told: list[list[str]] = []
    settings: list[object] = []

    class Done:
        returncode = 0
        stdout = PRINTED.format(median="1.00 ms")

    def run(command: list[str], **_: object) -> Done:
        told.append(command)
        loaded = Path(command[command.index("-load_config") + 1])
        settings.append(json.loads(loaded.read_text(encoding="utf-8")))
        return Done()

    monkeypatch.setattr(benchmark_app.subprocess, "run", run)
    manifest = replace(benchmark_app.Manifest.load(artifact), precision=precision)
    config = benchmark_app.BenchmarkAppConfig(artifact=artifact, threads=2, batch=4)
    found = benchmark_app.run_vendor(artifact / manifest.engine_file, manifest, config)
    assert found == VendorTimes(1.0, 62.45)
    # What fp16 becomes is the CPU's matter.
    known = {"fp32": "f32", "int8": "f32", "bf16": "bf16"}
    expected = known.get(precision) or precision_hint(precision)
    assert settings == [
        {
            "CPU": {
                "PERFORMANCE_HINT": "LATENCY",
                "INFERENCE_NUM_THREADS": "2",
                "INFERENCE_PRECISION_HINT": expected,
            }
        }
    ]
    (command,) = told
    assert command[command.index("-shape") + 1] == "image[4,16,32,3]"
    assert command[command.index("-api") + 1] == "sync"


def test_a_tool_that_fails_is_told(artifact: Path, tmp_path: Path) -> None:
    manifest = benchmark_app.Manifest.load(artifact)
    config = benchmark_app.BenchmarkAppConfig(artifact=artifact)
    with pytest.raises(EngineError, match="benchmark_app failed"):
        benchmark_app.run_vendor(tmp_path / "absent.xml", manifest, config)


def test_what_cannot_be_compared(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    require("onnxruntime")
    write_artifact(tmp_path / "a", TinyNetwork(), engine="onnx", precision="fp32")
    assert main([str(tmp_path / "a")]) == 1
    assert "is for onnx, fp32" in capsys.readouterr().err
    assert main([str(tmp_path / "a"), "--rounds", "0"]) == 1
