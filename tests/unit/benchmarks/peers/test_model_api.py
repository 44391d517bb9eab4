"""openvino-model-api runs our artifacts; its calls are recorded where it is not installed."""

from __future__ import annotations

import sys
from collections.abc import Callable
from pathlib import Path
from time import perf_counter
from types import ModuleType
from typing import Any

import numpy as np
import pytest

from benchmarks import overhead
from benchmarks.bare import bare_resize
from benchmarks.peers.model_api import async_loop, open_adapter, sync_engine
from runtime.arrays import Images
from runtime.errors import MissingExtraError
from runtime.manifest import Manifest
from runtime.preprocess import InputSpec
from tests.artifacts import TinyNetwork, random_images, write_artifact
from tests.engines import require

NETWORK = TinyNetwork()


@pytest.fixture
def artifact(tmp_path: Path) -> Path:
    require("openvino")
    write_artifact(tmp_path / "artifact", NETWORK, engine="openvino")
    return tmp_path / "artifact"


class Recorder:
    """What ``OpenvinoAdapter`` is used for, with its names."""

    def __init__(self, core: Any, model: str, **options: Any) -> None:
        self.model, self.options, self.shape = model, options, {}
        self.seen: list[Images] = []

    def reshape_model(self, shape: dict[str, list[int]]) -> None:
        self.shape = shape

    def load_model(self) -> None:
        self.loaded = True

    def infer_sync(self, feed: dict[str, Images]) -> Images:
        self.seen.append(feed["image"])
        return feed["image"]

    def set_callback(self, callback: Callable[[Any, Any], None]) -> None:
        self.callback = callback

    def infer_async(self, feed: dict[str, Images], data: object) -> None:
        self.callback(self.infer_sync(feed), data)

    def copy_raw_result(self, request: object) -> object:
        return request

    def await_all(self) -> None:
        self.waited = True


@pytest.fixture
def recorded(monkeypatch: pytest.MonkeyPatch) -> None:
    package, module = ModuleType("model_api"), ModuleType("model_api.adapters")
    module.OpenvinoAdapter = Recorder  # type: ignore[attr-defined]
    monkeypatch.setitem(sys.modules, "model_api", package)
    monkeypatch.setitem(sys.modules, "model_api.adapters", module)


@pytest.mark.usefixtures("recorded")
def test_it_is_set_up_as_the_bare_loop_is(artifact: Path) -> None:
    for threads, hint in ((1, "LATENCY"), (2, "THROUGHPUT")):
        adapter = open_adapter(artifact / "model.xml", (1, 16, 32, 3), threads=threads)
        assert adapter.shape == {"image": [1, 16, 32, 3]}
        assert adapter.loaded
        assert adapter.options["plugin_config"] == {
            "PERFORMANCE_HINT": hint,
            "INFERENCE_NUM_THREADS": threads,
            "INFERENCE_PRECISION_HINT": "f32",
        }


@pytest.mark.usefixtures("recorded")
def test_the_queue_gets_every_crop_resized(artifact: Path) -> None:
    adapter = open_adapter(artifact / "model.xml", (1, 16, 32, 3), threads=1)
    crops = random_images(3, InputSpec(height=40, width=80))
    resizes = [bare_resize(crop, NETWORK.spec) for crop in crops]
    count = async_loop(adapter, resizes)(perf_counter() + 0.02)
    assert count == len(adapter.seen) > 0
    assert adapter.waited
    for place, seen in enumerate(adapter.seen):
        np.testing.assert_array_equal(seen[0], resizes[place % 3]())


def test_the_real_one_scores_as_the_network(artifact: Path) -> None:
    require("model_api")
    adapter = open_adapter(artifact / "model.xml", (1, *NETWORK.spec.shape), threads=1)
    image = random_images(1)
    expected = NETWORK.logits(image)
    found: Any = sync_engine(adapter)(image)
    kept: list[Any] = []
    real = adapter.copy_raw_result
    adapter.copy_raw_result = lambda request: kept.append(real(request))
    for name, scores in expected.items():
        np.testing.assert_allclose(found[name], scores, atol=1e-4)
    count = async_loop(adapter, [lambda: image[0]])(perf_counter() + 0.02)
    assert count == len(kept) > 0
    for result in kept:
        for name, scores in expected.items():
            np.testing.assert_allclose(result[name], scores, atol=1e-4)


def test_without_it(artifact: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "model_api", None)
    monkeypatch.setitem(sys.modules, "model_api.adapters", None)
    with pytest.raises(MissingExtraError, match=r"headlight\[model-api\]"):
        open_adapter(artifact / "model.xml", (1, 16, 32, 3), threads=1)


@pytest.mark.usefixtures("recorded")
def test_overhead_measures_it_when_asked(
    artifact: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    require("tyro")
    import cv2

    (tmp_path / "crops").mkdir()
    for place, crop in enumerate(random_images(4)):
        cv2.imwrite(str(tmp_path / "crops" / f"{place}.png"), crop)
    options = ["--data", str(tmp_path / "crops"), "--peers", "--cold-starts", "0"]
    quick = ["--rounds", "3", "--turn", "0.02", "--batch", "2"]
    assert overhead.main([str(artifact), *options, *quick]) == 0
    alone, several = capsys.readouterr().out.split("2 threads")
    assert "model-api infer_sync" in alone
    assert "model-api infer_async" in alone
    assert "model-api infer_sync" not in several
    assert "model-api infer_async" in several


def test_overhead_refuses_what_it_cannot_run(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    require("tyro")
    require("onnxruntime")
    write_artifact(tmp_path / "artifact", NETWORK)
    assert Manifest.load(tmp_path / "artifact").engine == "onnx"
    import cv2

    (tmp_path / "crops").mkdir()
    cv2.imwrite(str(tmp_path / "crops" / "0.png"), random_images(1)[0])
    command = [str(tmp_path / "artifact"), "--data", str(tmp_path / "crops"), "--peers"]
    assert overhead.main(command) == 1
    assert "leave --peers out" in capsys.readouterr().err
