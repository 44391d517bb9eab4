from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from benchmarks.scaling.sizes import measure_sizes
from runtime.engine_imports import import_openvino
from tests.artifacts import TinyNetwork, write_artifact
from tests.engines import require


@pytest.fixture
def pooled(tmp_path: Path) -> Path:
    """An artifact whose graph averages over all positions, so that it takes any size."""
    require("openvino")
    folder = tmp_path / "pooled"
    manifest = write_artifact(folder, TinyNetwork(), engine="openvino")
    openvino = import_openvino()
    from openvino import opset13 as ops

    image = ops.parameter([-1, 16, 32, 3], np.uint8, name="image")
    planes = ops.transpose(ops.convert(image, "f32"), ops.constant(np.array([0, 3, 1, 2])))
    kernel = ops.constant(np.ones((64, 3, 5, 5), np.float32))
    maps = ops.convolution(planes, kernel, [1, 1], [2, 2], [2, 2], [1, 1])
    scores = ops.reduce_mean(maps, ops.constant(np.array([2, 3])), keep_dims=False)
    openvino.save_model(openvino.Model([scores], [image]), folder / manifest.engine_file)
    return folder


def _measure(folder: Path, *factors: float) -> dict[float, tuple[float | None, str | None, str]]:
    points = measure_sizes("a", folder, factors, threads=1, duration_s=0.05, tries=1)
    return {p.value: (p.samples_per_s, p.reason, p.more["px"]) for p in points}


def test_larger_pictures_take_longer_where_the_graph_allows_them(pooled: Path) -> None:
    found = _measure(pooled, 0.5, 1.0, 8.0)
    assert [px for _, _, px in found.values()] == ["8x16", "16x32", "128x256"]
    assert all(reason is None for _, reason, _ in found.values())
    # 64 times as much to compute; other processes cannot hide that.
    assert (found[1.0][0] or 0) > 2 * (found[8.0][0] or 0) > 0


@pytest.mark.parametrize("engine", ["onnx", "openvino"], indirect=True)
def test_graphs_that_fix_their_size_say_so(tiny_artifact: Path) -> None:
    require("openvino")
    found = _measure(tiny_artifact, 1.0, 2.0)
    assert found[1.0][0]
    assert found[2.0][:2] == (
        None,
        "the graph fixes its size inside; "
        "`python -m train.backbones --imgsz H W` times new networks",
    )


def test_other_graphs_say_so_too(tmp_path: Path) -> None:
    from dataclasses import replace

    from runtime.manifest import MANIFEST_FILE

    manifest = write_artifact(tmp_path / "one", TinyNetwork(), engine="onnx")
    plan = replace(
        manifest,
        engine_file="model.plan",
        files={**manifest.files, "model.plan": manifest.files["model.onnx"]},
    )
    (tmp_path / "one" / MANIFEST_FILE).write_text(plan.to_json())
    (found,) = _measure(tmp_path / "one", 2.0).values()
    assert "not .plan" in (found[1] or "")
