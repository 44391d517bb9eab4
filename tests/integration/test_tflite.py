"""Export for TFLite: every backbone, every precision, and the checkpoint that was trained."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path

import numpy as np
import onnx
import pytest
import torch
from torch import Tensor, nn

import benchmarks.command
import export.tflite.cli
from benchmarks.labelled import read_labelled
from runtime.engine_imports import import_litert
from runtime.errors import EngineError
from runtime.manifest import Manifest
from runtime.preprocess import load_image
from runtime.reader import Reader
from runtime.session import SessionOptions, open_session
from tests.engines import require
from tests.slimming import SCHEMA, SPEC, tiny_network
from tests.tflite import (
    CROPS,
    OWN,
    decided_logits,
    logits,
    network_of,
    quantised,
    session,
    signal_to_noise_db,
)  # fmt: skip
from train.checkpoint import load_checkpoint
from train.network import NetworkConfig, build

require("litert_torch")
from export.tflite.carrying import Decided, carry, read_decisions  # noqa: E402
from export.tflite.converting import convert  # noqa: E402
from export.tflite.quantising import (  # noqa: E402
    store_dynamic,
    store_half,
    to_integer,
    with_decisions,
)

pytestmark = pytest.mark.usefixtures("one_thread")

AGAIN = """
import hashlib, sys
from pathlib import Path
import onnx
from export.tflite.carrying import carry, read_decisions
from export.tflite.converting import convert
from export.tflite.quantising import with_decisions
from train.checkpoint import load_checkpoint

checkpoint = load_checkpoint(Path(sys.argv[1]))
network = checkpoint.build()
graph = convert(network, checkpoint.schema, checkpoint.input, batch=1)
carried = carry(graph, read_decisions(onnx.load(checkpoint.graph)), network, checkpoint)
print(hashlib.sha256(with_decisions(graph, carried)).hexdigest())
"""


def arguments(checkpoint: Path, lamps: Path, output: Path, *more: str) -> list[str]:
    return [str(checkpoint), "--validation", str(lamps / "val"), "--output", str(output), *more]


# ---- every backbone ----------------------------------------------------------------------------

# A conversion takes 0.1 s an operator. ``OWN`` has one of each part of MobileNet v3 and MixNet; the
# others are like those here. Float graphs are compared on the way to INT8, too.


def test_a_float_graph_answers_as_the_network(tmp_path: Path) -> None:
    network = network_of("resnet18_v2")
    graph = convert(network, SCHEMA, SPEC, batch=1)
    found = session(tmp_path, graph.inlined()).run(CROPS)
    for name, values in logits(network).items():
        np.testing.assert_allclose(found[name], values, rtol=1e-4, atol=1e-4)


@pytest.mark.parametrize(("backbone", "strips"), [("resnext18", 0), (OWN, 1)])
def test_int8_answers_as_the_decisions(backbone: str, strips: int, tmp_path: Path) -> None:
    checkpoint = quantised(tmp_path, backbone)
    network = checkpoint.build()
    expected = logits(network)
    graph = convert(network, SCHEMA, SPEC, batch=1)
    found = session(tmp_path, graph.inlined()).run(CROPS)
    assert signal_to_noise_db(expected, found) > 80
    decided = read_decisions(onnx.load(checkpoint.graph))
    carried = carry(graph, decided, network, checkpoint)
    int8 = session(tmp_path, with_decisions(graph, carried), precision="int8")
    rounded, reference = int8.run(CROPS), decided_logits(checkpoint)
    # As near to the float network as ONNX Runtime is with the same decisions.
    assert signal_to_noise_db(expected, rounded) > signal_to_noise_db(expected, reference) - 2
    agree = np.mean([(rounded[n].argmax(1) == reference[n].argmax(1)).mean() for n in reference])
    assert agree >= 0.9
    # A large depthwise kernel stays in float, in strips.
    layers = sum("CONV" in operator.kind for operator in carried.integer)
    assert layers + len(carried.dynamic) == decided.count - strips
    assert "int8" in int8.description["precision"]
    assert not carried.kept
    with pytest.raises(EngineError, match=r"of them were never decided, such as the logits; pass"):
        to_integer(graph, carried, None, "int8")
    foreign = Decided({"elsewhere": (0.0, 1.0)}, {}, 1)
    with pytest.raises(EngineError, match="that its network does not have"):
        carry(graph, foreign, network, checkpoint)


# ---- the checkpoint that was trained -----------------------------------------------------------


@pytest.mark.parametrize("precision", ["fp32", "int8"])
def test_the_command(
    precision: str,
    lamps_checkpoint: Path,
    lamps_int8: Path,
    lamps: Path,
    tmp_path: Path,
    capsys: pytest.CaptureFixture[str],
) -> None:
    checkpoint = lamps_int8 if precision == "int8" else lamps_checkpoint
    folder = tmp_path / precision
    loose = ("--gate.max-flips", "0.05", "--version", "7")
    assert export.tflite.cli.main(arguments(checkpoint, lamps, folder, *loose)) == 0
    assert capsys.readouterr().out.startswith(f"wrote {folder} (derived-{precision}-tflite-")
    manifest = Manifest.load(folder)
    assert (manifest.engine, manifest.precision) == ("tflite", precision)
    assert manifest.parity["flips"] <= (0 if precision == "fp32" else 4)
    listed = read_labelled(lamps / "val", SCHEMA)
    images = [load_image(path) for path in listed.paths[:20]]
    with Reader.open(folder) as reader:
        alone = [reader.read(image) for image in images]
        together = reader.read_many(images)
    for one, other in zip(alone, together, strict=True):
        assert one.heads["colour"].labels == other.heads["colour"].labels  # type: ignore[union-attr]
    if precision == "int8":  # the same bytes, in another process whose sets are ordered otherwise
        expected = manifest.files["model.tflite"].sha256
        found = subprocess.run(
            [sys.executable, "-W", "ignore", "-c", AGAIN, str(checkpoint)],
            check=True, capture_output=True, text=True, env={**os.environ, "PYTHONHASHSEED": "7"},
        )  # fmt: skip
        assert found.stdout.strip() == expected


def test_a_graph_without_float(lamps_int8: Path, lamps: Path, tmp_path: Path) -> None:
    target, train = tmp_path / "uint8", str(lamps / "train")
    options = ("--gate.max-flips", "0.05", "--io", "uint8", "--calibration", train)
    assert export.tflite.cli.main(arguments(lamps_int8, lamps, target, *options)) == 0
    opened = open_session(target, Manifest.load(target), SessionOptions())
    assert opened.description["precision"] == "int8"
    interpreter = import_litert().Interpreter(str(target / "model.tflite"))
    ends = (*interpreter.get_input_details(), *interpreter.get_output_details())
    assert {details["dtype"] for details in ends} == {np.uint8}
    assert all(scores.dtype == np.float32 for scores in opened.run(CROPS).values())


# ---- other forms, on one conversion ------------------------------------------------------------


def test_smaller_forms_and_batches(tmp_path: Path) -> None:
    network = tiny_network("attention", width=32)
    graph = convert(network, SCHEMA, SPEC, batch=4)
    expected, whole = logits(network), graph.inlined()
    for content, precision, least_db, most in (
        (store_half(graph), "fp16", 50, 0.6),
        (store_dynamic(graph), "dynamic", 25, 0.5),
    ):
        opened = session(tmp_path, content, precision=precision)
        assert signal_to_noise_db(expected, opened.run(CROPS)) > least_db
        assert len(content) < most * len(whole)
        told = opened.description.get("fallback", "")
        assert ("run in fp32, not fp16" in told) == (precision == "fp16")
    opened = session(tmp_path, whole)
    for count in (1, 4, 6):
        for name, values in opened.run(CROPS[:count]).items():
            np.testing.assert_allclose(values, expected[name][:count], rtol=1e-4, atol=1e-4)


# ---- what fails --------------------------------------------------------------------------------


class Sorting(nn.Module):
    """A network of somebody's own with an operator that TFLite has not."""

    def __init__(self) -> None:
        super().__init__()
        self.conv = nn.Conv2d(3, 4, 3, 2, 1)

    def forward(self, image: Tensor) -> Tensor:
        features = self.conv(image)
        return torch.linalg.svd(features)[0]


def test_an_operator_that_tflite_has_not(tmp_path: Path) -> None:
    network = build(SCHEMA, SPEC, NetworkConfig(backbone=f"{__name__}:Sorting", pool="global"))
    with pytest.raises(EngineError, match=r"litert-torch cannot convert the network: .*svd"):
        convert(network, SCHEMA, SPEC, batch=1)


@pytest.mark.parametrize(
    ("options", "told"),
    [
        (("--io", "int8"), "--io int8 needs INT8 decisions"),
        (("--precision", "bf16"), "builds engines in fp32, fp16, dynamic, int8, asked for bf16"),
        (("--calibration", "x"), "--calibration is for --io uint8 or int8"),
    ],
)
def test_options_that_cannot_work(
    options: tuple[str, ...],
    told: str,
    lamps_checkpoint: Path,
    lamps: Path,
    tmp_path: Path,
    capsys: pytest.CaptureFixture[str],
) -> None:
    command = arguments(lamps_checkpoint, lamps, tmp_path / "out", *options)
    assert export.tflite.cli.main(command) == 1
    assert told in capsys.readouterr().err


def test_a_quantised_checkpoint_has_one_precision(
    lamps_int8: Path, lamps: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    command = arguments(lamps_int8, lamps, tmp_path / "out", "--precision", "fp32")
    assert export.tflite.cli.main(command) == 1
    assert "holds INT8 decisions" in capsys.readouterr().err


def test_without_the_converter_it_says_what_to_install(
    lamps_checkpoint: Path,
    lamps: Path,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    there = benchmarks.command.find_spec
    monkeypatch.setattr(
        benchmarks.command, "find_spec", lambda name: None if "litert" in name else there(name)
    )
    assert export.tflite.cli.main(arguments(lamps_checkpoint, lamps, tmp_path / "out")) == 1
    assert "pip install 'headlight[export-tflite]'" in capsys.readouterr().err


def test_no_decision_is_read_twice(lamps_int8: Path) -> None:
    checkpoint = load_checkpoint(lamps_int8)
    decided = read_decisions(onnx.load(checkpoint.graph))
    path = checkpoint.folder / "checkpoint.json"
    found = json.loads(path.read_text(encoding="utf-8"))["metrics"]["quantize"]
    assert decided.count == len(found["int8_layers"])
