from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import pytest

from benchmarks.noise import Noise
from benchmarks.roofline.ceilings import Bandwidth, Ceilings, Peak
from benchmarks.roofline.layers import Layer
from benchmarks.roofline.placing import Placed, graph_for
from runtime.errors import ConfigError, EngineError
from runtime.manifest import MANIFEST_FILE, Manifest
from tests.artifacts import TinyNetwork, write_artifact
from tests.engines import require


def _ceilings() -> Ceilings:
    return Ceilings(
        threads=1,
        peaks={
            "fp32": Peak("fp32", "fp32", 100.0, "graph"),
            "int8": Peak("int8", "int8", 400.0, "graph"),
        },
        bandwidths=[Bandwidth("L2", 1000, 50.0), Bandwidth("memory", float("inf"), 10.0)],
        numpy_macs_per_s=90.0,
        noise=Noise(0.0),
    )


def _layer(macs: int, weights: int, precision: str) -> Layer:
    return Layer(name="x", macs=macs, weights=weights, activations=0, precision=precision)


def _placed(*layers: Layer, call_s: float) -> Placed:
    return Placed(
        name="a", batch=2, layers=layers, call_s=call_s, noise=Noise(0.0), ceilings=_ceilings()
    )


def test_the_longer_of_arithmetic_and_memory_is_the_limit() -> None:
    # 200 MACs of int8 take 0.5 s, 25 bytes of the L2 as well; 100 MACs of fp32 1 s.
    placed = _placed(_layer(200, 25, "int8"), _layer(100, 0, "fp32"), call_s=3.0)
    assert placed.arithmetic_s == pytest.approx(1.5)
    assert placed.memory_s == pytest.approx(0.5)
    assert placed.share == pytest.approx(0.5)
    assert "(arithmetic)" in placed.row()["limit, ms"]


def test_layer_by_layer_the_limit_is_closer() -> None:
    # One layer waits for 5 s of memory, the other for 4 s of arithmetic.
    placed = _placed(_layer(1, 250, "int8"), _layer(400, 0, "fp32"), call_s=10.0)
    assert placed.share == pytest.approx(0.5, abs=0.01)
    assert placed.share_by_layer == pytest.approx(0.9)
    assert placed.share <= placed.share_by_layer


def test_a_working_set_beyond_the_cache_moves_at_the_rate_of_the_memory() -> None:
    small, large = (_placed(_layer(1, size, "int8"), call_s=1.0) for size in (1000, 1001))
    assert small.bytes_per_s == 50.0
    assert large.bytes_per_s == 10.0
    assert "(memory)" in large.row()["limit, ms"]


def test_rows_are_per_sample() -> None:
    row = _placed(_layer(4_000_000, 10, "int8"), call_s=0.004).row()
    assert (row["MMAC"], row["ms"]) == ("2.0", "2.0000")


def _artifact(folder: Path, checkpoint: str, **change: object) -> Path:
    manifest = write_artifact(folder, TinyNetwork(), engine="onnx")
    lineage = {"export": {"inputs": {"checkpoint": checkpoint}}}
    changed = replace(manifest, lineage=lineage, **change)  # type: ignore[arg-type]
    (folder / MANIFEST_FILE).write_text(changed.to_json())
    return folder


@pytest.fixture
def unreadable(tmp_path: Path) -> Callable[[str], Path]:
    """Make an artifact of a checkpoint whose graph OpenVINO cannot read."""
    require("openvino")

    def make(checkpoint: str) -> Path:
        folder = _artifact(tmp_path / f"bad-{checkpoint}", checkpoint)
        (folder / Manifest.load(folder).engine_file).write_bytes(b"no graph")
        return folder

    return make


def test_a_graph_that_can_be_read_is_the_artifacts_own(tmp_path: Path) -> None:
    require("openvino")
    one, other = (_artifact(tmp_path / name, "same") for name in ("one", "other"))
    assert graph_for(one, [one, other]) == one


def test_another_artifact_of_the_checkpoint_lends_its_graph(
    tmp_path: Path, unreadable: Callable[[str], Path]
) -> None:
    bad, good = unreadable("same"), _artifact(tmp_path / "good", "same")
    assert graph_for(bad, [bad, good]) == good


def test_graphs_of_other_checkpoints_and_precisions_do_not_count(
    tmp_path: Path, unreadable: Callable[[str], Path]
) -> None:
    bad = unreadable("one")
    others = [
        _artifact(tmp_path / "elsewhere", "two"),
        _artifact(tmp_path / "int8", "one", precision="int8"),
    ]
    with pytest.raises(EngineError, match="cannot read"):
        graph_for(bad, [bad, *others])


def test_engines_of_gpus_are_refused(tmp_path: Path) -> None:
    folder = _artifact(tmp_path / "plan", "one", engine="trt")
    with pytest.raises(ConfigError, match="runs on a GPU"):
        graph_for(folder, [folder])
