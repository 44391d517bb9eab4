"""INT8 decisions: which form they have, and what a quantised checkpoint is."""

from __future__ import annotations

import sys
from pathlib import Path

import numpy as np
import numpy.typing as npt
import onnx
import onnxruntime
import pytest
from onnx import TensorProto, helper, numpy_helper

import compress.quantize
from compress.quantize import QuantizeConfig, main, quantize, to_signed
from runtime.errors import ConfigError, MissingExtraError, ParityError
from runtime.session import SessionOptions
from runtime.session_onnx import OnnxSession
from tests.slimming import SPEC
from train.checkpoint import load_checkpoint
from train.data import load_crops
from train.scoring import score

pytestmark = pytest.mark.usefixtures("one_thread")


# ---- from unsigned to signed ------------------------------------------------------------------


def small_graph(zero: npt.NDArray[np.generic] | None, scale: float = 0.02) -> onnx.ModelProto:
    """A ReLU, quantised and back, times a quantised weight, twice over one pair of constants."""
    zero = np.zeros((), np.uint8) if zero is None else zero
    values = {
        "scale": np.float32(scale),
        "zero": zero,
        "weight": np.array([[100, -50], [7, 127]], np.int8),
        "weight_scale": np.float32(0.01),
        "weight_zero": np.zeros((), np.int8),
    }
    nodes = [
        helper.make_node("Relu", ["x"], ["positive"]),
        helper.make_node("QuantizeLinear", ["positive", "scale", "zero"], ["q"]),
        helper.make_node("DequantizeLinear", ["q", "scale", "zero"], ["back"]),
        helper.make_node("DequantizeLinear", ["weight", "weight_scale", "weight_zero"], ["w"]),
        helper.make_node("MatMul", ["back", "w"], ["y"]),
    ]
    graph = helper.make_graph(
        nodes,
        "small",
        [helper.make_tensor_value_info("x", TensorProto.FLOAT, ["n", 2])],
        [helper.make_tensor_value_info("y", TensorProto.FLOAT, ["n", 2])],
        [numpy_helper.from_array(np.asarray(value), name) for name, value in values.items()],
    )
    return helper.make_model(graph, opset_imports=[helper.make_opsetid("", 20)], ir_version=9)


def run(model: onnx.ModelProto, x: npt.NDArray[np.float32]) -> npt.NDArray[np.float32]:
    onnx.checker.check_model(model, full_check=True)
    settings = onnxruntime.SessionOptions()
    settings.intra_op_num_threads = 1
    session = onnxruntime.InferenceSession(model.SerializeToString(), settings)
    found: npt.NDArray[np.float32] = session.run(None, {"x": x})[0]
    return found


def zero_types(model: onnx.ModelProto) -> list[type]:
    """Types of the activations' zero points, in order."""
    values = {entry.name: numpy_helper.to_array(entry) for entry in model.graph.initializer}
    return [
        values[node.input[2]].dtype.type
        for node in model.graph.node
        if node.op_type in ("QuantizeLinear", "DequantizeLinear") and node.input[0] not in values
    ]


def test_unsigned_activations_become_signed_over_the_same_range() -> None:
    model = small_graph(None)
    x = np.random.default_rng(0).uniform(-1, 5.1, (500, 2)).astype(np.float32)
    before = run(model, x)
    assert to_signed(model) == 2
    assert zero_types(model) == [np.int8, np.int8]
    after = run(model, x)
    # Half of the steps: at most half of a step of 255/127 times the old one, per input.
    step = 0.02 * 255 / 127
    weights = np.abs(np.array([[1.0, -0.5], [0.07, 1.27]])).sum(0)
    assert (np.abs(after - before) <= (step / 2 + 0.02 / 2) * weights + 1e-5).all()
    assert np.abs(after).max() == pytest.approx(np.abs(before).max(), rel=0.01)  # not cut


def test_weights_and_signed_activations_stay() -> None:
    model = small_graph(np.zeros((), np.int8))
    before = model.SerializeToString()
    assert to_signed(model) == 0
    assert model.SerializeToString() == before
    model = small_graph(None)
    to_signed(model)
    values = {entry.name: numpy_helper.to_array(entry) for entry in model.graph.initializer}
    assert values["weight"].tolist() == [[100, -50], [7, 127]]
    assert values["weight_zero"].dtype == np.int8
    assert "zero" not in values  # what nobody uses is gone


def test_once_is_enough() -> None:
    model = small_graph(None)
    to_signed(model)
    assert to_signed(model) == 0


@pytest.mark.parametrize("zero", [np.array(3, np.uint8), np.array(-4, np.int8)])
def test_asymmetric_activations_are_refused(zero: npt.NDArray[np.generic]) -> None:
    with pytest.raises(ParityError, match="asymmetric activation; calibrate symmetrically"):
        to_signed(small_graph(zero))


# ---- a quantised checkpoint -------------------------------------------------------------------


def arguments(checkpoint: Path, lamps: Path, output: Path, *more: str) -> list[str]:
    return [
        str(checkpoint),
        *("--calibration", str(lamps / "train"), "--validation", str(lamps / "val")),
        *("--samples", "64", "--output", str(output), *more),
    ]


def test_decisions_are_symmetric_signed_and_per_channel(lamps_int8: Path) -> None:
    model = onnx.load(load_checkpoint(lamps_int8).graph)
    onnx.checker.check_model(model, full_check=True)
    values = {entry.name: numpy_helper.to_array(entry) for entry in model.graph.initializer}
    quantisers = [n for n in model.graph.node if n.op_type.endswith("antizeLinear")]
    assert len(quantisers) > 40
    for node in quantisers:
        zero = values[node.input[2]]
        assert zero.dtype == np.int8
        assert not zero.any()
    made = {output: node for node in model.graph.node for output in node.output}
    convolutions = [node for node in model.graph.node if node.op_type == "Conv"]
    assert len(convolutions) == 20
    for node in convolutions:
        weight = made[node.input[1]]
        assert weight.op_type == "DequantizeLinear"
        assert values[weight.input[0]].dtype == np.int8
        assert values[weight.input[1]].size == values[weight.input[0]].shape[0]
        source = made[node.input[0]]
        if source.op_type == "MaxPool":
            source = made[source.input[0]]
        assert source.op_type == "DequantizeLinear"
        assert values[node.input[2]].dtype == np.float32  # biases stay in float


def test_a_quantised_checkpoint_keeps_the_float_one(
    lamps_int8: Path, lamps_checkpoint: Path, lamps: Path
) -> None:
    before, after = load_checkpoint(lamps_checkpoint), load_checkpoint(lamps_int8)
    assert after.quantised
    assert after.digest == before.digest
    assert after.operating == before.operating
    assert list(after.lineage) == ["fit", "quantize"]
    assert after.lineage["quantize"]["inputs"]["checkpoint"] == before.digest
    report = after.metrics["quantize"]
    assert report["crops"] == 96
    assert report["exact_float"] - report["exact_int8"] <= 0.01
    assert after.metrics["history"] == before.metrics["history"]


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


def test_the_same_call_decides_the_same(
    lamps_int8: Path, lamps_checkpoint: Path, lamps: Path, tmp_path: Path
) -> None:
    assert main(arguments(lamps_checkpoint, lamps, tmp_path / "again")) == 0
    graphs = [folder / "int8.onnx" for folder in (lamps_int8, tmp_path / "again")]
    assert graphs[0].read_bytes() == graphs[1].read_bytes()


# ---- what fails -------------------------------------------------------------------------------


def fake_decisions(monkeypatch: pytest.MonkeyPatch, lamps_int8: Path, *, broken: bool) -> None:
    """Skip NNCF: take the decisions of ``lamps_int8``, with other heads where ``broken``."""
    model = onnx.load(lamps_int8 / "int8.onnx")
    if broken:
        for entry in model.graph.initializer:
            if entry.name.endswith("fused.bias"):
                stuck = np.array([1e4, 0, 0, 1e4, 0], np.float32)
                entry.CopyFrom(numpy_helper.from_array(stuck, entry.name))
    monkeypatch.setattr(compress.quantize, "write_graph", lambda *_: None)
    monkeypatch.setattr(
        compress.quantize, "decide_int8", lambda _, __, target: onnx.save(model, target)
    )


def test_too_large_a_drop_is_an_error_and_nothing_is_written(
    lamps_int8: Path,
    lamps_checkpoint: Path,
    lamps: Path,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    fake_decisions(monkeypatch, lamps_int8, broken=True)
    assert main(arguments(lamps_checkpoint, lamps, tmp_path / "out")) == 1
    told = capsys.readouterr()
    assert "error: INT8 loses 0." in told.err
    assert "on 96 crops, allowed are 0.01; calibrate on more" in told.err
    assert "INT8 against float" in told.out
    assert not list(tmp_path.iterdir())
    assert main(arguments(lamps_checkpoint, lamps, tmp_path / "out", "--max-drop", "1")) == 0


def test_wrong_lists_fail_before_the_calibration(
    lamps_checkpoint: Path,
    lamps: Path,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    def no(*_: object) -> None:
        pytest.fail("calibrated")

    monkeypatch.setattr(compress.quantize, "write_graph", no)
    options = arguments(lamps_checkpoint, lamps, tmp_path / "out")
    (tmp_path / "precious").touch()
    for more, message in (
        (("--validation", "nowhere"), "nowhere: cannot be read"),
        (("--calibration", "nowhere"), "nowhere: cannot be read"),
        (("--samples", "5"), "5 calibration crops"),
        (("--samples", "0"), "samples must be >= 1"),
        (("--max-drop", "nan"), "max-drop in [0, 1]"),
        (("--output", str(tmp_path)), "exists and is not empty"),
    ):
        assert main([*options, *more]) == 1
        told = capsys.readouterr().err
        assert told.startswith("error: ")
        assert message in told
    assert [path.name for path in tmp_path.iterdir()] == ["precious"]


def test_without_nncf_it_says_what_to_install(
    lamps_checkpoint: Path, lamps: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setitem(sys.modules, "nncf", None)
    monkeypatch.setattr(compress.quantize, "write_graph", lambda *_: None)
    config = QuantizeConfig(
        checkpoint=lamps_checkpoint,
        calibration=(lamps / "train",),
        validation=(lamps / "val",),
        output=tmp_path / "out",
    )
    with pytest.raises(MissingExtraError, match=r"'nncf'.* pip install 'headlight\[compress\]'"):
        quantize(config)
    assert not list(tmp_path.iterdir())


def test_settings_out_of_range() -> None:
    for wrong in ({"samples": 0}, {"max_drop": -0.1}, {"max_drop": 1.5}):
        with pytest.raises(ConfigError, match="samples must be >= 1 and max-drop in"):
            QuantizeConfig(checkpoint=Path(), calibration=(), validation=(), output=Path(), **wrong)
