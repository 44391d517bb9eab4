"""TensorRT-RTX builds real engines without a GPU: its parser and compiler judge our graphs.

And they judge the rules of ``train.readiness``: what the parser rejects, the rules find.
"""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import onnx
import pytest

from export.trt.cli import main, prepare_graph
from export.trt.kit_files import load_kit
from export.trt.options import BuildOptions
from export.trt.worker import build_apart
from runtime.errors import EngineError
from runtime.gpu import cuda_devices
from runtime.manifest import FileRecord
from runtime.trt_module import import_tensorrt, new_log
from tests.engines import require
from tests.unit.train.readiness import test_rules as cases
from tests.unit.train.readiness.graphs import quantised
from train.checkpoint import load_checkpoint
from train.graph import write_graph

pytestmark = pytest.mark.usefixtures("one_thread")
MAGIC = b"vtrt"


@pytest.fixture(autouse=True)
def rtx() -> None:
    require("tensorrt_rtx")


@pytest.fixture(scope="module")
def graph(one_thread: None, lamps_checkpoint: Path, lamps: Path) -> Path:
    """The float checkpoint's graph."""
    checkpoint = load_checkpoint(lamps_checkpoint)
    path = lamps / "for-rtx.onnx"
    write_graph(checkpoint.build(), checkpoint.schema, checkpoint.input, path)
    return path


def source(graph: Path, precision: str) -> Any:
    return SimpleNamespace(graph=graph, precision=precision)


@pytest.mark.parametrize("precision", ["fp32", "fp16", "int8"])
def test_our_graphs_become_engines(
    precision: str, graph: Path, lamps_int8: Path, tmp_path: Path
) -> None:
    found = load_checkpoint(lamps_int8).graph if precision == "int8" else graph
    prepare_graph(source(found, precision), "rtx", tmp_path / "model.onnx")
    options = BuildOptions(engine="rtx", precision=precision, profile=(1, 8, 32))
    report = build_apart(tmp_path / "model.onnx", tmp_path / "engine", options)
    assert (tmp_path / "engine").read_bytes().startswith(MAGIC)
    assert "WARNING" not in report.log
    assert "Engine generation completed" in report.log
    assert str(tmp_path) not in report.log


def test_the_graph_for_version_8_6_builds_as_well(lamps_int8: Path, tmp_path: Path) -> None:
    prepared = tmp_path / "model.onnx"
    prepare_graph(source(load_checkpoint(lamps_int8).graph, "int8"), "8.6", prepared)
    assert onnx.load(prepared).opset_import[0].version == 17
    options = BuildOptions(engine="rtx", precision="int8", profile=(1, 1, 1))
    build_apart(prepared, tmp_path / "engine", options)


@pytest.mark.skipif(bool(cuda_devices()), reason="a machine with a GPU makes an artifact")
def test_a_kit_for_rtx_holds_the_engine_as_proof(
    lamps_int8: Path, lamps: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    words = [str(lamps_int8), "--validation", str(lamps / "val"), "--rtx"]
    assert main([*words, "--output", str(tmp_path / "kit")]) == 0
    told = capsys.readouterr()
    assert "built the engine (" in told.err
    assert "it has not run yet" in told.err
    assert "a build kit, not an artifact" in told.out
    assert (tmp_path / "kit" / "proof.engine").read_bytes().startswith(MAGIC)
    kit = load_kit(tmp_path / "kit")
    assert (kit.options.engine, kit.target, kit.draft.engine) == ("rtx", "rtx", "rtx")
    assert kit.draft.files["model.onnx"] == FileRecord.of(tmp_path / "kit" / "model.onnx")


# ---- what goes wrong ---------------------------------------------------------------------------


def build(model: onnx.ModelProto, folder: Path) -> None:
    onnx.save(model, folder / "model.onnx")
    options = BuildOptions(engine="rtx", precision="int8", profile=(1, 2, 4))
    build_apart(folder / "model.onnx", folder / "engine", options)


def test_a_graph_that_crashes_the_compiler_is_an_error(tmp_path: Path) -> None:
    with pytest.raises(EngineError, match=r"tensorrt_rtx crashed \(SIGSEGV\) while it built model"):
        build(cases.scale_input(), tmp_path)


def test_unsigned_zero_points_are_an_error_though_the_parser_only_warns(tmp_path: Path) -> None:
    with pytest.raises(EngineError, match=r"would misread \d quantisers of model\.onnx: .*UINT8"):
        build(quantised(z=np.uint8(0)), tmp_path)


def test_a_graph_that_checks_refuse_names_its_node(lamps_int8: Path, tmp_path: Path) -> None:
    model = onnx.load(load_checkpoint(lamps_int8).graph)
    zero = next(entry for entry in model.graph.initializer if entry.name == "div/zero")
    zero.CopyFrom(onnx.numpy_helper.from_array(np.zeros((), np.uint8), zero.name))
    onnx.save(model, tmp_path / "broken.onnx")
    with pytest.raises(EngineError, match=r"R03 div/QuantizeLinear: UINT8, which TensorRT reads"):
        prepare_graph(source(tmp_path / "broken.onnx", "int8"), "rtx", tmp_path / "model.onnx")
    assert not (tmp_path / "model.onnx").exists()


def parsed(model: onnx.ModelProto) -> bool:
    trt = import_tensorrt("rtx")
    log = new_log(trt)
    network = trt.Builder(log).create_network(0)
    return bool(trt.OnnxParser(network, log).parse(model.SerializeToString()))


REJECTED = {"R01": [0], "R02": [0, 1], "R04": [0], "R07": [0, 1, 2], "R09": [0], "R10": [0]}
REJECTED |= {"R12": [0, 2], "R13": [0]}
"""Rule to those of its cases that the parser rejects; it takes the others, and that is why there
are rules for them."""


@pytest.mark.parametrize("rule", sorted(cases.CASES))
def test_the_parser_rejects_what_the_rules_say_it_does(rule: str) -> None:
    rejected = [i for i, (broken, _) in enumerate(cases.CASES[rule]) if not parsed(broken())]
    expected = REJECTED.get(rule, [])
    assert [i for i in expected if i not in rejected] == []
    if rule.startswith("W"):
        assert rejected == []


KEPT: list[Callable[[], onnx.ModelProto]] = [
    kept for rule in cases.CASES if rule not in ("R12",) for _, kept in cases.CASES[rule]
]


@pytest.mark.parametrize("kept", KEPT)
def test_the_parser_takes_the_graphs_that_keep_the_rules(
    kept: Callable[[], onnx.ModelProto],
) -> None:
    assert parsed(kept())
