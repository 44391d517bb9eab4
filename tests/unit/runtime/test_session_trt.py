"""The TensorRT session on a recorded fake of the bindings; tests/integration has the real ones."""

from __future__ import annotations

import json
import sys
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from contextlib import closing
from pathlib import Path
from typing import Any

import numpy as np
import pytest

import runtime.session_trt
from runtime.arrays import Images, Logits
from runtime.errors import ConfigError, EngineError, EngineUnavailableError
from runtime.schema import Schema
from runtime.session import SessionOptions, host_facts
from runtime.session_trt import TrtSession
from runtime.trt_module import PACKAGES
from tests.artifacts import SMALL_INPUT, SMALL_SCHEMA, TinyNetwork, random_images
from tests.fake_tensorrt import cuda, surface
from tests.fake_tensorrt.fixtures import install
from tests.fake_tensorrt.module import plan

NETWORK = TinyNetwork()
Open = Callable[..., TrtSession]


@pytest.fixture
def version(request: pytest.FixtureRequest) -> str:
    return str(getattr(request, "param", "10.3.0"))


@pytest.fixture
def open_it(version: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Open:
    """Open an engine for batches of 1 to 32, or as told."""
    install(monkeypatch, version)

    def open_it(
        profile: tuple[int, int, int] | None = (1, 8, 32),
        *,
        fixed: int | None = None,
        schema: Schema = SMALL_SCHEMA,
        batch: int = 16,
        **passport: str,
    ) -> TrtSession:
        path = tmp_path / "model.engine"
        shapes = [(size, *SMALL_INPUT.shape) for size in profile] if profile else None
        path.write_bytes(plan(version, NETWORK.to_onnx(batch=fixed).SerializeToString(), shapes))
        return TrtSession(
            path,
            schema,
            SMALL_INPUT,
            SessionOptions(batch=batch),
            engine="rtx" if version.startswith("rtx") else "trt",
            precision="fp32",
            passport=passport,
        )

    return open_it


every_version = pytest.mark.parametrize("version", surface.versions(), indirect=True)


def check(found: Logits, images: Images) -> None:
    expected = NETWORK.logits(images)
    assert list(found) == list(expected)
    for name, scores in expected.items():
        assert found[name].dtype == np.float32
        np.testing.assert_allclose(found[name], scores, atol=1e-5)


# ---- every version -----------------------------------------------------------------------------


@every_version
def test_it_scores_any_number_of_images(open_it: Open) -> None:
    session = open_it()
    for count in (1, 5, 16, 1, 16, 40, 32):
        images = random_images(count, seed=count)
        check(session.run(images), images)
    session.close()
    assert not cuda.LIVE


@every_version
def test_a_graph_of_fixed_batch_has_no_profile(open_it: Open) -> None:
    session = open_it(None, fixed=4)
    for count in (1, 4, 6):
        images = random_images(count, seed=count)
        check(session.run(images), images)
    assert session.description["batch"] == "4 to 4"
    session.close()


@every_version
def test_graphs_are_recorded_where_the_version_can(open_it: Open, version: str) -> None:
    told = open_it().description["cuda_graphs"]
    expected = {"8.6.1": "off", "rtx-1.7.1": "by the engine"}
    assert told == expected.get(version, "for a batch of 1 and 16")
    assert ("cudaStreamBeginCapture" in cuda.CALLS) == told.startswith("for")


@every_version
def test_graphs_can_be_switched_off_to_measure_them(
    open_it: Open, version: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("HEADLIGHT_CUDA_GRAPHS", "off")
    with closing(open_it()) as session:
        assert session.description["cuda_graphs"] == "off"
    assert "cudaStreamBeginCapture" not in cuda.CALLS
    monkeypatch.setenv("HEADLIGHT_CUDA_GRAPHS", "no")
    with pytest.raises(ConfigError, match="HEADLIGHT_CUDA_GRAPHS must be on or off, got 'no'"):
        open_it()


@pytest.mark.parametrize("version", ["8.6.1"], indirect=True)
def test_version_8_records_the_one_graph_of_a_fixed_profile(open_it: Open) -> None:
    session = open_it((4, 4, 4))
    assert session.description["cuda_graphs"] == "for a batch of 4"
    images = random_images(4)
    check(session.run(images), images)
    assert cuda.CALLS[-2:] == ["cudaGraphLaunch", "cudaStreamSynchronize"]


# ---- graphs, memory, streams -------------------------------------------------------------------


def test_a_usual_batch_is_one_launch_after_it_was_recorded(open_it: Open) -> None:
    session = open_it(batch=16)
    images = random_images(16)
    check(session.run(images), images)
    cuda.CALLS.clear()
    for seed in range(3):  # the graph reads what is in the buffers now
        images = random_images(16, seed=seed)
        check(session.run(images), images)
    assert cuda.CALLS == ["cudaGraphLaunch", "cudaStreamSynchronize"] * 3
    cuda.CALLS.clear()
    check(session.run(images[:5]), images[:5])
    assert "execute 5" in cuda.CALLS
    assert "cudaGraphLaunch" not in cuda.CALLS
    cuda.CALLS.clear()
    check(session.run(images), images)  # other shapes in between did not disturb it
    assert cuda.CALLS == ["cudaGraphLaunch", "cudaStreamSynchronize"]


def test_memory_is_taken_once_and_given_back(open_it: Open) -> None:
    session = open_it()
    taken = [name for name in cuda.CALLS if name in ("cudaMalloc", "cudaHostAlloc")]
    assert len(taken) == 2 * (1 + len(SMALL_SCHEMA.heads))
    cuda.CALLS.clear()
    for count in (1, 32, 7, 64):
        session.run(random_images(count))
    assert not {"cudaMalloc", "cudaHostAlloc", "cudaStreamCreateWithFlags"} & set(cuda.CALLS)
    session.close()
    session.close()
    assert not cuda.LIVE
    with pytest.raises(EngineError, match=r"was closed; open the artifact again"):
        session.run(random_images(1))


def test_the_stream_is_its_own_and_does_not_wait_for_the_default_one(open_it: Open) -> None:
    open_it()
    assert "stream 1" in cuda.LIVE.values()  # cudaStreamNonBlocking


def test_images_that_are_fewer_than_the_smallest_batch_are_padded(open_it: Open) -> None:
    session = open_it((4, 8, 8))
    assert session.description["cuda_graphs"] == "for a batch of 4 and 8"
    for count in (1, 3, 4, 9):
        images = random_images(count, seed=count)
        check(session.run(images), images)


def test_threads_take_turns(open_it: Open) -> None:
    session = open_it()

    def read(seed: int) -> None:
        images = random_images(1 + seed % 20, seed=seed)
        check(session.run(images), images)

    with ThreadPoolExecutor(8) as pool:
        list(pool.map(read, range(64)))


def test_the_scores_belong_to_the_caller(open_it: Open) -> None:
    session = open_it()
    first = session.run(random_images(2, seed=1))
    kept = {name: scores.copy() for name, scores in first.items()}
    session.run(random_images(2, seed=2))
    for name, scores in first.items():
        np.testing.assert_array_equal(scores, kept[name])


# ---- what fails --------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "name", ["cudaMalloc", "cudaHostAlloc", "cudaStreamCreateWithFlags", "cudaMemcpyAsync"]
)
def test_a_failing_start_says_what_and_keeps_nothing(open_it: Open, name: str) -> None:
    cuda.FAILING.add(name)
    with pytest.raises(EngineError, match=rf"CUDA: {name} failed: error 700"):
        open_it()
    assert not cuda.LIVE


@pytest.mark.parametrize(
    ("name", "message"),
    [
        ("cudaGraphLaunch", "cudaGraphLaunch failed"),
        ("cudaStreamSynchronize", "cudaStreamSynchronize failed"),
    ],
)
def test_a_failing_call_is_an_error(open_it: Open, name: str, message: str) -> None:
    session = open_it()
    cuda.FAILING.add(name)
    with pytest.raises(EngineError, match=rf"model\.engine: CUDA: {message}"):
        session.run(random_images(1))
    cuda.FAILING.clear()
    images = random_images(1)
    check(session.run(images), images)


def test_an_engine_that_does_not_start_is_an_error(open_it: Open) -> None:
    session = open_it()
    cuda.FAILING.add("execute")
    with pytest.raises(EngineError, match="TensorRT failed on a batch of 3"):
        session.run(random_images(3))


@pytest.mark.parametrize("name", ["cudaStreamEndCapture", "cudaGraphInstantiateWithFlags"])
def test_without_graphs_it_works_and_says_so(open_it: Open, name: str) -> None:
    cuda.FAILING.add(name)
    session = open_it()
    for count in (1, 16, 1):
        images = random_images(count)
        check(session.run(images), images)
    assert session.description["cuda_graphs"] == "off"
    assert session.description["fallback"] == f"no CUDA graphs: CUDA: {name} failed: error 700"


def test_an_engine_of_another_version_is_refused_with_tensorrts_reason(
    open_it: Open, monkeypatch: pytest.MonkeyPatch
) -> None:
    open_it().close()
    monkeypatch.setattr(sys.modules["tensorrt"], "__version__", "10.4.0")
    with pytest.raises(EngineError, match=r"cannot load .*: built by 10\.3\.0, not 10\.4\.0"):
        open_it()


def test_an_engine_of_another_schema_is_refused(open_it: Open) -> None:
    heads = SMALL_SCHEMA.heads
    other = Schema(name="other", heads=(heads[1], *heads[3:]))
    with pytest.raises(EngineError, match="the graph's outputs must be"):
        open_it(schema=other)
    assert not cuda.LIVE


def test_without_a_gpu_or_a_package_it_says_what_is_missing(
    open_it: Open, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setitem(sys.modules, "cuda.bindings.runtime", None)  # type: ignore[arg-type]
    monkeypatch.setitem(sys.modules, "cuda.cudart", None)  # type: ignore[arg-type]
    with pytest.raises(EngineUnavailableError, match=r"pip install 'headlight\[tensorrt\]'"):
        open_it()
    monkeypatch.setattr(runtime.session_trt, "cuda_devices", lambda: ())
    with pytest.raises(EngineUnavailableError, match="needs an NVIDIA GPU and its driver"):
        open_it()
    monkeypatch.setitem(sys.modules, "tensorrt", None)  # type: ignore[arg-type]
    with pytest.raises(EngineUnavailableError, match=r"tensorrt cannot be imported .*JetPack"):
        open_it()


def test_older_cuda_bindings_serve_as_well(open_it: Open, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "cuda.cudart", sys.modules["cuda.bindings.runtime"])
    monkeypatch.setitem(sys.modules, "cuda.bindings.runtime", None)  # type: ignore[arg-type]
    images = random_images(2)
    check(open_it().run(images), images)


# ---- what it says ------------------------------------------------------------------------------


def test_the_description_says_what_is_really_used(open_it: Open) -> None:
    assert open_it().description == {
        "engine": "tensorrt",
        "version": "10.3.0",
        "device": "Orin, compute capability 8.7",
        "precision": "fp32",
        "threads": "1",
        "batch": "1 to 32",
        "cuda_graphs": "for a batch of 1 and 16",
    }


def test_layers_that_run_elsewhere_are_told(open_it: Open) -> None:
    session = open_it(dla_fallback="3 of 41 layers run on the GPU, not the DLA")
    assert session.description["fallback"] == "3 of 41 layers run on the GPU, not the DLA"


def report(*types: str) -> str:
    layers = [
        {"LayerType": "CaskConvolution", "Inputs": [{"Format/Datatype": text}]} for text in types
    ]
    return json.dumps({"Layers": layers})


@pytest.mark.parametrize(
    ("types", "decided", "expected"),
    [
        (("Row major Int8 format",) * 2, "2", ""),
        (("Row major Int8 format", "Row major FP32"), "2", "1 of 2 quantised layers run in float"),
        (("Row major FP32",) * 2, "2", "2 of 2 quantised layers run in float"),
        # Two of four layers are told; the others were compiled into one.
        (("Row major Int8 format", "Row major FP32"), "4", ""),
    ],
)
def test_float_layers_of_an_int8_engine_are_told_where_all_layers_are(
    types: tuple[str, ...], decided: str, expected: str
) -> None:
    layers: Any = runtime.session_trt.count_precisions(report(*types))
    told = runtime.session_trt._other_precision("int8", {"quantised_layers": decided}, layers)
    assert told == expected


@pytest.mark.parametrize(
    ("version", "engine", "other"), [("10.3.0", "trt", "rtx"), ("rtx-1.7.1", "rtx", "trt")]
)
def test_host_facts(version: str, engine: str, other: str, monkeypatch: pytest.MonkeyPatch) -> None:
    install(monkeypatch, version)
    expected = {PACKAGES[engine]: version.removeprefix("rtx-")}
    assert host_facts(engine) == {**expected, "compute_capability": "8.7", "gpu": "Orin"}
    monkeypatch.setattr(runtime.session_trt, "cuda_devices", lambda: ())
    assert host_facts(engine) == expected
    with pytest.raises(EngineUnavailableError, match=f"{PACKAGES[other]} cannot be imported"):
        host_facts(other)
