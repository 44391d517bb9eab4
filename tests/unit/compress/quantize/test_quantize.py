"""A quantised checkpoint: what it holds, what it reports, and what is refused."""

from __future__ import annotations

import sys
from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import onnx
import pytest
from onnx import numpy_helper

import compress.quantize.cli
import compress.quantize.harm
import export.onnx
import export.openvino
from compress.quantize.cli import QuantizeConfig, main, quantize
from compress.quantize.decisions import Decisions
from compress.quantize.drops import allowed_drops
from compress.quantize.own_decisions import decide_for_openvino
from runtime.errors import CheckpointError, ConfigError, MissingExtraError
from runtime.session import SessionOptions
from runtime.session_onnx import OnnxSession
from tests.engines import require
from tests.slimming import SPEC
from train.checkpoint import load_checkpoint
from train.data import load_crops
from train.scoring import score

pytestmark = pytest.mark.usefixtures("one_thread")


def arguments(checkpoint: Path, lamps: Path, output: Path, *more: str) -> list[str]:
    return [
        str(checkpoint),
        *("--calibration", str(lamps / "train"), "--validation", str(lamps / "val")),
        *("--samples", "64", "--max-flips", "1", "--output", str(output), *more),
    ]


# ---- what is written --------------------------------------------------------------------------


def test_decisions_are_symmetric_signed_and_per_channel(lamps_int8: Path) -> None:
    model = onnx.load(load_checkpoint(lamps_int8).graph)
    onnx.checker.check_model(model, full_check=True)
    values = {entry.name: numpy_helper.to_array(entry) for entry in model.graph.initializer}
    quantisers = [n for n in model.graph.node if n.op_type.endswith("antizeLinear")]
    assert len(quantisers) > 40
    assert {values[node.input[2]].dtype.type for node in quantisers} == {np.int8}
    assert not any(values[node.input[2]].any() for node in quantisers)
    convolutions = [node for node in model.graph.node if node.op_type == "Conv"]
    assert len(convolutions) == 20
    assert all(node.input[1].endswith(".weight/dq") for node in convolutions)


def test_a_quantised_checkpoint_keeps_the_float_one(
    lamps_int8: Path, lamps_checkpoint: Path
) -> None:
    before, after = load_checkpoint(lamps_checkpoint), load_checkpoint(lamps_int8)
    assert after.quantised
    assert after.digest == before.digest
    assert after.operating == before.operating
    assert list(after.lineage) == ["fit", "quantize"]
    assert after.lineage["quantize"]["inputs"]["checkpoint"] == before.digest
    assert after.metrics["history"] == before.metrics["history"]


def test_the_report_holds_drops_forms_layers_and_the_verdict(lamps_int8: Path) -> None:
    checkpoint = load_checkpoint(lamps_int8)
    report = checkpoint.metrics["quantize"]
    assert report["crops"] == 96
    assert list(report["drops"]) == ["exact", "colour", "side"]
    assert all(drop["within"] and drop["total"] == 96 for drop in report["drops"].values())
    model = onnx.load(checkpoint.graph)
    layers = [node.name for node in model.graph.node if node.op_type in ("Conv", "Gemm")]
    assert report["int8_layers"] == layers
    assert report["returned"] == report["never_int8"] == []
    assert report["calibration"]["crops"] == 64
    digest = checkpoint.lineage["quantize"]["inputs"]["calibration"]
    assert report["calibration"]["sha256"] == digest
    assert "faster than float on openvino" in report["speed"]["verdict"]
    assert list(report["forms"]) == ["int8", "int8 on openvino"]
    assert report["forms"]["int8"]["flips"]["total"] == 96


def test_int8_answers_are_those_of_the_checkpoint(lamps_int8: Path, lamps: Path) -> None:
    checkpoint = load_checkpoint(lamps_int8)
    crops = load_crops([lamps / "val"], checkpoint.schema, SPEC)
    session = OnnxSession(checkpoint.graph, checkpoint.schema, SPEC, SessionOptions())
    expected = score(checkpoint.build(), crops)
    for name, values in session.run(crops.images_at(np.arange(len(crops)))).items():
        assert (values.argmax(1) == expected[name].argmax(1)).mean() >= 0.97
        # It is quantised: the scores are near, not equal.
        difference = np.abs(values - expected[name]).max()
        assert 1e-4 < difference < 0.25 * np.abs(expected[name]).max()


# ---- choosing layers --------------------------------------------------------------------------


@pytest.fixture(scope="module")
def measured(one_thread: None, lamps_checkpoint: Path, lamps: Path) -> Decisions:
    source = load_checkpoint(lamps_checkpoint)
    images = load_crops([lamps / "train"], source.schema, SPEC).images_at(np.arange(64))
    return Decisions.measure(source.build(), source.schema, SPEC, images)


@pytest.fixture
def quick(monkeypatch: pytest.MonkeyPatch, measured: Decisions) -> Decisions:
    """Skip the timing, and measure ranges only once."""
    decisions = replace(measured, steps=dict(measured.steps))
    monkeypatch.setattr(Decisions, "measure", lambda *_: decisions)
    silent = SimpleNamespace(verdict=lambda: "no verdict", to_object=dict)
    monkeypatch.setattr(compress.quantize.cli, "compare_speed", lambda *_: silent)
    return decisions


def break_stem(decisions: Decisions) -> None:
    """Give the stem a range that cuts almost all of its input."""
    stem = decisions.layers[0]
    assert stem.name == "backbone.stem.0"
    decisions.steps[stem.input] /= 1000


def test_layers_that_cost_too_much_go_back_to_float(
    quick: Decisions, lamps_checkpoint: Path, lamps: Path, tmp_path: Path,
    capsys: pytest.CaptureFixture[str],
) -> None:  # fmt: skip
    break_stem(quick)
    assert main(arguments(lamps_checkpoint, lamps, tmp_path / "out")) == 0
    told = capsys.readouterr()
    assert "Layers back in float" in told.out
    assert "20 of 21 layers in INT8" in told.out
    assert "backbone.stem.0 goes back to float" in told.err
    checkpoint = load_checkpoint(tmp_path / "out")
    (returned,) = checkpoint.metrics["quantize"]["returned"]
    assert returned["layer"] == "backbone.stem.0"
    assert "loses 0." in returned["why"]
    assert returned["harm"] > 0.01
    nodes = {node.name: node for node in onnx.load(checkpoint.graph).graph.node}
    assert nodes["backbone.stem.0"].input[0] == "div"
    assert not nodes["backbone.stem.0"].input[1].endswith("/dq")
    assert nodes["backbone.stages.0.0.conv1"].input[1].endswith("/dq")


def test_a_budget_that_allows_the_loss_keeps_the_layer(
    quick: Decisions, lamps_checkpoint: Path, lamps: Path, tmp_path: Path
) -> None:
    break_stem(quick)
    loose = ("--max-drop", "1")
    assert main(arguments(lamps_checkpoint, lamps, tmp_path / "out", *loose)) == 0
    report = load_checkpoint(tmp_path / "out").metrics["quantize"]
    assert report["returned"] == []
    assert report["drops"]["exact"]["drop"] > 0.1


def test_layers_that_change_too_many_answers_go_back_to_float(
    quick: Decisions, lamps_checkpoint: Path, lamps: Path, tmp_path: Path
) -> None:
    break_stem(quick)
    options = ("--max-drop", "1", "--max-flips", "0.05")
    assert main(arguments(lamps_checkpoint, lamps, tmp_path / "out", *options)) == 0
    report = load_checkpoint(tmp_path / "out").metrics["quantize"]
    (returned,) = report["returned"]
    assert returned["layer"] == "backbone.stem.0"
    assert returned["why"].endswith("float network, allowed are 4 (0.05)")
    assert report["forms"]["int8"]["flips"]["value"] <= 0.05


def test_where_no_layer_keeps_the_budget_nothing_is_written(
    quick: Decisions, lamps_checkpoint: Path, lamps: Path, tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str],
) -> None:  # fmt: skip
    wrong = {head: -np.ones((96, size), np.float32) for head, size in (("colour", 3), ("side", 2))}
    # float32 scores that are the same for all labels: every answer is the first label.
    monkeypatch.setattr(Decisions, "score", lambda *_: wrong)
    monkeypatch.setattr(compress.quantize.harm, "rank_layers", lambda found, _: {
        name: {"colour": 1.0, "side": 1.0} for name in found.names
    })  # fmt: skip
    assert main(arguments(lamps_checkpoint, lamps, tmp_path / "out")) == 1
    told = capsys.readouterr().err
    assert "error: exact loses 0." in told
    assert "allowed are 1 of 96 crops (more than 0.01), with all layers but ['heads.li" in told
    assert not list(tmp_path.iterdir())


def test_what_a_form_loses_in_its_engine_is_told(
    quick: Decisions, lamps_checkpoint: Path, lamps: Path, tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str],
) -> None:  # fmt: skip
    wrong = {head: -np.ones((96, size), np.float32) for head, size in (("colour", 3), ("side", 2))}
    monkeypatch.setattr(compress.quantize.cli, "score_on", lambda *_: wrong)
    engine = ("--engine", "onnxruntime")
    assert main(arguments(lamps_checkpoint, lamps, tmp_path / "out", *engine)) == 0
    told = capsys.readouterr().out
    assert "int8 on onnxruntime: exact loses 0." in told
    forms = load_checkpoint(tmp_path / "out").metrics["quantize"]["forms"]
    assert forms["int8"]["exceeded"] == []
    assert len(forms["int8 on onnxruntime"]["exceeded"]) == 3


# ---- OpenVINO's own ---------------------------------------------------------------------------


def test_openvinos_own_decisions_are_kept_and_exported_beside_the_shared_ones(
    lamps_checkpoint: Path, lamps: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    require("openvino")
    int8 = tmp_path / "int8"
    own = ("--engine-best", "--engine", "openvino")
    assert main(arguments(lamps_checkpoint, lamps, int8, *own)) == 0
    checkpoint = load_checkpoint(int8)
    report = checkpoint.metrics["quantize"]
    assert list(report["forms"]) == ["int8", "int8 on openvino", "OpenVINO's own on openvino"]
    assert list(report["speed"]["medians_ms"]) == ["float", "int8", "OpenVINO's own"]
    model = onnx.load(checkpoint.own_graph)
    zeros = [
        numpy_helper.to_array(entry)
        for entry in model.graph.initializer
        if entry.name.startswith("zero_point")
    ]
    assert any(zero.any() for zero in zeros)  # asymmetric
    capsys.readouterr()
    lists = ["--validation", str(lamps / "val"), "--gate.max-flips", "0.05"]
    target = ["--output", str(tmp_path / "artifact")]
    assert export.onnx.main([str(int8), *lists, *target, "--decisions", "own"]) == 1
    assert "--decisions own are OpenVINO's; onnx has the shared" in capsys.readouterr().err
    assert export.openvino.main([str(int8), *lists, *target, "--decisions", "own"]) == 0
    (int8 / "int8-openvino.onnx").write_bytes(b"other")
    with pytest.raises(CheckpointError, match=r"int8-openvino\.onnx was changed"):
        load_checkpoint(int8)


def test_a_checkpoint_without_own_decisions_says_how_to_make_them(
    lamps_int8: Path, lamps: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    words = f"{lamps_int8} --validation {lamps}/val --output {tmp_path}/a --decisions own".split()
    assert export.openvino.main(words) == 1
    assert "holds no decisions by OpenVINO's own rules; run `python -m" in capsys.readouterr().err


def test_without_nncf_it_says_what_to_install(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "nncf", None)
    with pytest.raises(MissingExtraError, match=r"'nncf'.* pip install 'headlight\[compress\]'"):
        decide_for_openvino(onnx.ModelProto(), np.zeros((1, 8, 8, 3), np.uint8), ())


# ---- what fails -------------------------------------------------------------------------------


def test_wrong_lists_fail_before_anything_is_measured(
    lamps_checkpoint: Path, lamps: Path, tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str],
) -> None:  # fmt: skip
    monkeypatch.setattr(Decisions, "measure", lambda *_: pytest.fail("measured"))
    options = arguments(lamps_checkpoint, lamps, tmp_path / "out")
    (tmp_path / "precious").touch()
    for more, message in (
        (("--validation", "nowhere"), "nowhere: cannot be read"),
        (("--calibration", "nowhere"), "nowhere: cannot be read"),
        (("--samples", "16"), "--samples 16 is too few: INT8 ranges need at least 32 crops"),
        (("--samples", "0"), "--samples 0 is too few"),
        (("--max-drop", "nan"), "must be in [0, 1], got [nan]"),
        (("--max-drops", "colour=2"), "must be in [0, 1], got [2.0]"),
        (("--max-drops", "hue=0.1"), "no head or reading ['hue']"),
        (("--qat-steps", "5"), "pass --qat.data"),
        (("--engine-best", "--engine", "onnxruntime"), "--engine-best is about OpenVINO"),
        (("--output", str(tmp_path)), "exists and is not empty"),
        (("--output", str(tmp_path / "precious" / "out")), "precious is a file"),
    ):
        assert main([*options, *more]) == 1
        told = capsys.readouterr().err
        assert told.startswith("error: ")
        assert message in told
    assert [path.name for path in tmp_path.iterdir()] == ["precious"]


def test_without_onnx_it_says_what_to_install(
    lamps_checkpoint: Path, lamps: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(
        "benchmarks.command.find_spec", lambda name: None if name == "onnxscript" else name
    )
    monkeypatch.setattr(sys, "argv", ["quantize"])
    config = QuantizeConfig(
        checkpoint=lamps_checkpoint,
        calibration=(lamps / "train",),
        validation=(lamps / "val",),
        output=tmp_path / "out",
    )
    with pytest.raises(MissingExtraError, match=r"'onnxscript'.* pip install 'headlight\[compress"):
        quantize(config)
    assert not list(tmp_path.iterdir())


def config(**changes: Any) -> QuantizeConfig:
    paths: Mapping[str, Any] = {"checkpoint": Path(), "output": Path()}
    return QuantizeConfig(calibration=(), validation=(), **{**paths, **changes})


def test_settings_out_of_range() -> None:
    for wrong, message in (
        ({"samples": 31}, "--samples 31 is too few"),
        ({"max_drop": -0.1}, r"--max-drop and --max-drops must be in \[0, 1\]"),
        ({"max_drops": {"a": 1.5}}, r"must be in \[0, 1\], got \[1.5\]"),
        ({"max_flips": 1.01}, r"--max-flips must be in \[0, 1\], got 1.01"),
    ):
        with pytest.raises(ConfigError, match=message):
            config(**wrong)


def test_a_named_budget_counts_before_the_overall_one(lamps_checkpoint: Path) -> None:
    found = config(max_drop=0.1, max_drops={"side": 0.0})
    schema = load_checkpoint(lamps_checkpoint).schema
    budgets = allowed_drops(schema, found.max_drop, found.max_drops)
    assert budgets == {"exact": 0.1, "colour": 0.1, "side": 0.0}
