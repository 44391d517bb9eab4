"""One way to build with every version of TensorRT, on modules with that version's names only."""

from __future__ import annotations

import json
from pathlib import Path
from types import ModuleType
from typing import Any

import onnx
import pytest

from export.trt.builder import build_engine
from export.trt.options import BuildOptions
from runtime.errors import ArtifactError, ConfigError, EngineError
from runtime.trt_module import new_log
from tests.artifacts import TinyNetwork
from tests.fake_tensorrt import surface
from tests.fake_tensorrt.module import make

PRECISIONS = ("fp32", "fp16", "int8")


@pytest.fixture(params=surface.versions())
def trt(request: pytest.FixtureRequest) -> ModuleType:
    return make(str(request.param))


@pytest.fixture
def trt10() -> ModuleType:
    return make("10.3.0")


@pytest.fixture(scope="module")
def graph(tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("graph") / "model.onnx"
    onnx.save(TinyNetwork().to_onnx(), path)
    return path


def options(precision: str = "fp32", **more: Any) -> BuildOptions:
    settings = {"engine": "trt", "profile": (1, 8, 32), "workspace_mb": 64, "opt_level": 5}
    return BuildOptions(precision=precision, **(settings | more))


def built(trt: ModuleType, graph: Path, precision: str = "fp32", **more: Any) -> dict[str, Any]:
    found = build_engine(trt, graph, options(precision, **more), new_log(trt))
    header: dict[str, Any] = json.loads(found.plan.partition(b"\n")[0])
    return {**header, "facts": found.facts}


@pytest.mark.parametrize("precision", PRECISIONS)
def test_every_version_builds_every_precision_its_own_way(
    trt: Any, graph: Path, precision: str
) -> None:
    header = built(trt, graph, precision)
    assert header["profile"] == [[size, 16, 32, 3] for size in (1, 8, 32)]
    assert header["workspace"] == {"WORKSPACE": 64 << 20}
    assert header["cleared"] == ["TF32"]  # it is on by default
    flags = trt.NetworkDefinitionCreationFlag
    if trt.__version__ == "8.6.1":
        assert header["network_flags"] == 1 << flags.EXPLICIT_BATCH
        assert header["flags"] == {"fp32": [], "fp16": ["FP16"], "int8": ["INT8"]}[precision]
    elif trt.__version__.startswith("10."):
        assert header["network_flags"] == 1 << flags.STRONGLY_TYPED
        assert header["flags"] == []
    else:
        assert header["network_flags"] == 0
        assert header["flags"] == []


def test_a_graph_of_fixed_batch_needs_no_profile(trt: ModuleType, tmp_path: Path) -> None:
    onnx.save(TinyNetwork().to_onnx(batch=4), tmp_path / "fixed.onnx")
    assert built(trt, tmp_path / "fixed.onnx", profile=(4, 4, 4))["profile"] is None


def test_a_profile_that_is_refused_is_an_error(
    trt: ModuleType, graph: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(trt.IBuilderConfig, "add_optimization_profile", lambda *_: -1)
    with pytest.raises(EngineError, match=r"refuses the profile \(1, 8, 32\)"):
        built(trt, graph)


def test_the_dla_falls_back_to_the_gpu_and_says_how_much(trt: ModuleType, graph: Path) -> None:
    header = built(trt, graph, "fp16", dla=0)
    assert "GPU_FALLBACK" in header["flags"]
    assert header["facts"] == {
        "dla": "0",
        "dla_fallback": "1 of 3 layers run on the GPU, not the DLA",
    }
    with pytest.raises(EngineError, match=r"no DLA 1: this device, with this TensorRT, has 1"):
        built(trt, graph, "fp16", dla=1)


def test_timings_are_kept_and_those_of_another_gpu_are_not_used(
    trt10: ModuleType, graph: Path
) -> None:
    def timings(known: bytes | None) -> bytes:
        return build_engine(trt10, graph, options(), new_log(trt10), known).timing_cache

    assert timings(None) == b""
    assert timings(b"") == b"timings"
    assert timings(b"old ") == b"old timings"
    assert timings(b"other GPU") == b"timings"


def test_a_graph_that_is_none_is_refused_with_the_parsers_reason(
    trt10: ModuleType, tmp_path: Path
) -> None:
    (tmp_path / "model.onnx").write_bytes(b"no graph")
    with pytest.raises(
        EngineError, match=r"cannot read model\.onnx: no graph: .*export\.readiness"
    ):
        built(trt10, tmp_path / "model.onnx")


@pytest.mark.parametrize(
    "warning",
    [
        "TensorRT supports QuantizeLinear/DequantizeLinear with UINT8 zero_point only on DLA",
        "zero_point with type UINT8 is read as INT8",
    ],
)
def test_warnings_of_zero_points_are_errors(
    trt10: Any, graph: Path, monkeypatch: pytest.MonkeyPatch, warning: str
) -> None:
    parse = trt10.OnnxParser.parse_from_file

    def warn(parser: Any, path: str) -> bool:
        parser._log.log(trt10.ILogger.Severity.WARNING, warning)
        return bool(parse(parser, path))

    monkeypatch.setattr(trt10.OnnxParser, "parse_from_file", warn)
    with pytest.raises(EngineError, match="would misread 1 quantisers of model"):
        built(trt10, graph, "int8")


def test_a_builder_that_cannot_start_or_build_says_why(
    trt10: Any, graph: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def fail(_: Any, network: Any, config: Any) -> None:
        return None

    monkeypatch.setattr(trt10.Builder, "build_serialized_network", fail)
    with pytest.raises(EngineError, match="cannot build the engine: it gave no reason"):
        built(trt10, graph)

    def no_driver(_: Any, log: Any) -> None:
        log.log(trt10.ILogger.Severity.ERROR, "CUDA initialization failure with error: 35")
        raise TypeError("pybind11::init(): factory function returned nullptr")

    monkeypatch.setattr(trt10.Builder, "__init__", no_driver)
    with pytest.raises(EngineError, match="cannot start: CUDA initialization failure with error"):
        built(trt10, graph)


def test_options_that_cannot_work_are_refused() -> None:
    for wrong in (
        {"profile": (0, 1, 2)},
        {"profile": (4, 2, 8)},
        {"workspace_mb": 0},
        {"opt_level": 6},
        {"dla": 0},
        {"dla": -1, "precision": "fp16"},
    ):
        with pytest.raises(ConfigError):
            options(**{"precision": "fp32", **wrong})  # type: ignore[arg-type]


def test_options_travel_as_json() -> None:
    for chosen in (options(), options("fp16", dla=0, opt_level=None, profile=(2, 2, 2))):
        text = json.dumps(chosen.to_object())
        assert BuildOptions.from_object(json.loads(text)) == chosen
    for change in ({"profile": [1, 2]}, {"engine": "other"}, {"extra": 1}):
        with pytest.raises(ArtifactError):
            BuildOptions.from_object({**options().to_object(), **change})
