"""Both exporters on a network that was trained for seconds, in FP32 and INT8.

Law 3: one image goes through the training evaluation and through the runtime, and both read the
same.
"""

from __future__ import annotations

import json
import sys
from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace
from functools import partial
from pathlib import Path
from shutil import copytree

import numpy as np
import onnx
import pytest
from onnx import numpy_helper

import export.artifact
import export.onnx
import export.openvino
import export.scoreboard
import runtime.show
from benchmarks.labelled import read_labelled
from benchmarks.scenarios import compare_interleaved, single_stream
from export.scoreboard import _columns
from runtime.decode import decode
from runtime.errors import IntegrityError
from runtime.manifest import Manifest
from runtime.preprocess import load_image
from runtime.reader import Reader
from runtime.results import Result
from tests.engines import require
from train.checkpoint import load_checkpoint
from train.data import load_crops
from train.scoring import score

pytestmark = pytest.mark.usefixtures("one_thread")
COMMANDS: Mapping[str, Callable[[list[str]], int]] = {
    "onnx": export.onnx.main,
    "openvino": export.openvino.main,
}


@dataclass(frozen=True)
class Exported:
    engine: str
    precision: str
    folder: Path
    checkpoint: Path


def arguments(checkpoint: Path, lamps: Path, output: Path, *more: str) -> list[str]:
    return [str(checkpoint), "--validation", str(lamps / "val"), "--output", str(output), *more]


@pytest.fixture(scope="module", params=["onnx-fp32", "onnx-int8", "openvino-fp32", "openvino-int8"])
def exported(
    request: pytest.FixtureRequest, lamps_checkpoint: Path, lamps_int8: Path, lamps: Path
) -> Exported:
    engine, precision = str(request.param).split("-")
    require({"onnx": "onnxruntime", "openvino": "openvino"}[engine])
    checkpoint = lamps_int8 if precision == "int8" else lamps_checkpoint
    folder = lamps / request.param
    # A network of seconds is unsure of a few crops, where rounding decides.
    loose = ("--gate.max-flips", "0.05") if precision == "int8" else ()
    assert COMMANDS[engine](arguments(checkpoint, lamps, folder, *loose)) == 0
    return Exported(engine, precision, folder, checkpoint)


def test_the_folder_is_whole(exported: Exported) -> None:
    files = {
        "onnx": ["artifact.json", "golden.npz", "model.onnx"],
        "openvino": ["artifact.json", "golden.npz", "model.bin", "model.xml"],
    }
    assert sorted(path.name for path in exported.folder.iterdir()) == files[exported.engine]
    manifest = Manifest.load(exported.folder)
    manifest.check_files(exported.folder)
    assert (manifest.engine, manifest.precision) == (exported.engine, exported.precision)
    steps = ["fit", "quantize", "export"] if exported.precision == "int8" else ["fit", "export"]
    assert list(manifest.lineage) == steps
    assert manifest.parity["crops"] == 96


def test_the_runtime_reads_what_training_evaluation_reads(exported: Exported, lamps: Path) -> None:
    checkpoint = load_checkpoint(exported.checkpoint)
    listed = read_labelled(lamps / "val", checkpoint.schema)
    crops = load_crops([lamps / "val"], checkpoint.schema, checkpoint.input)
    with Reader.open(exported.folder) as reader:
        results = [reader.read(load_image(path)) for path in listed.paths]
        together = reader.read_many([load_image(path) for path in listed.paths])
        operating = reader.info.operating
    logits = score(checkpoint.build(), crops)
    expected = decode(checkpoint.schema, logits, operating)
    for head in checkpoint.schema.heads:
        wanted = [head.labels[index] for index in expected.choices[head.name]]
        found = [result.heads[head.name].labels[0] for result in results]
        differ = [i for i, (a, b) in enumerate(zip(found, wanted, strict=True)) if a != b]
        allowed = 0 if exported.precision == "fp32" else 4
        assert len(differ) <= allowed, (head.name, differ)
    confidences = np.array([result.confidence for result in results])
    apart = np.abs(confidences - expected.confidence)
    assert apart.max() <= (0.01 if exported.precision == "fp32" else 0.6)
    assert np.median(apart) <= (0.001 if exported.precision == "fp32" else 0.1)
    for one, many in zip(results, together, strict=True):
        assert isinstance(many, Result)
        assert many.heads["colour"].labels == one.heads["colour"].labels


def test_show_verifies_and_reads(
    exported: Exported, lamps: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    image = str(lamps / "val" / "0.png")
    assert runtime.show.main([str(exported.folder), "--image", image]) == 0
    printed = capsys.readouterr().out
    assert f"precision  {exported.precision}" in printed
    assert "golden     16 samples match" in printed
    assert "colour=" in printed.splitlines()[-1]


@pytest.mark.parametrize("place", [10, -10])
def test_one_changed_byte_is_found_before_an_engine_sees_it(
    exported: Exported, tmp_path: Path, capsys: pytest.CaptureFixture[str], place: int
) -> None:
    for name in Manifest.load(exported.folder).files:
        folder = Path(copytree(exported.folder, tmp_path / name))
        data = bytearray((folder / name).read_bytes())
        data[place] ^= 1
        (folder / name).write_bytes(data)
        with pytest.raises(IntegrityError, match="was changed"):
            Reader.open(folder)
        assert runtime.show.main([str(folder)]) == 1
        told = capsys.readouterr()
        assert told.out == ""
        assert told.err.startswith(f"error: {folder / name} was changed")
        assert len(told.err.splitlines()) == 1


def test_a_crop_of_one_pixel_is_one_error_among_answers(exported: Exported, lamps: Path) -> None:
    good = load_image(lamps / "val" / "0.png")
    with Reader.open(exported.folder) as reader:
        first, bad, last = reader.read_many([good, np.zeros((1, 1, 3), np.uint8), good])
        assert isinstance(first, Result)
        assert isinstance(last, Result)
        assert "at least 4 px" in str(bad)
        assert first.heads["colour"].labels == last.heads["colour"].labels
        assert reader.stats().bad_images == 1


@pytest.mark.parametrize("precision", ["fp16", "bf16"])
def test_openvino_in_half_precision(
    lamps_checkpoint: Path, lamps: Path, tmp_path: Path, precision: str
) -> None:
    require("openvino")
    folder = tmp_path / "half"
    options = arguments(lamps_checkpoint, lamps, folder, "--precision", precision)
    assert export.openvino.main(options) == 0
    manifest = Manifest.load(folder)
    assert (manifest.precision, manifest.passport["precision"]) == (precision, precision)
    weights = (lamps_checkpoint / "weights.safetensors").stat().st_size
    ratio = (folder / "model.bin").stat().st_size / weights
    assert ratio < 0.6 if precision == "fp16" else ratio > 0.9
    with Reader.open(folder) as reader:
        # Either the CPU computes so, or it is told that it does not.
        missing = reader.engine["precision"] != precision
        assert ("fallback" in reader.engine) is missing is ("fallback" in manifest.passport)


def test_onnx_runtime_has_no_half_precision(
    lamps_checkpoint: Path,
    lamps: Path,
    tmp_path: Path,
    capsys: pytest.CaptureFixture[str],
) -> None:
    options = arguments(lamps_checkpoint, lamps, tmp_path / "out", "--precision", "fp16")
    assert export.onnx.main(options) == 1
    assert "export.onnx builds engines in fp32, int8, asked for fp16" in capsys.readouterr().err


@pytest.mark.parametrize("target", sorted(COMMANDS))
def test_a_fixed_batch(lamps_int8: Path, lamps: Path, tmp_path: Path, target: str) -> None:
    require({"onnx": "onnxruntime", "openvino": "openvino"}[target])
    folder = tmp_path / "fixed"
    options = arguments(lamps_int8, lamps, folder, "--batch", "4", "--gate.max-flips", "0.05")
    assert COMMANDS[target](options) == 0
    manifest = Manifest.load(folder)
    assert manifest.passport["batch"] == "4"
    with Reader.open(folder) as reader:
        images = [load_image(lamps / "val" / f"{i}.png") for i in range(6)]
        alone = [reader.read(image) for image in images]
        together = reader.read_many(images)
        for one, other in zip(alone, together, strict=True):
            assert isinstance(other, Result)
            assert one.heads["side"].labels == other.heads["side"].labels


def test_the_passport_tells_what_ran(exported: Exported) -> None:
    passport = Manifest.load(exported.folder).passport
    assert len(passport["source_sha256"]) == 64
    assert passport["precision"] == exported.precision
    # ONNX Runtime has no integer kernel for a linear layer with a float bias, as decided.
    float_head = (exported.engine, exported.precision) == ("onnx", "int8")
    told = "1 of 21 quantised layers run in float" if float_head else None
    assert passport.get("fallback") == told
    assert exported.precision in passport["computed_in"]
    decided = passport.get("quantised_layers")
    assert decided == ("21" if exported.precision == "int8" else None)


def test_int8_layers_that_stay_float_are_told(
    exported: Exported, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """A graph in another form than its engine fuses, as a device may load after an update."""
    if exported.precision != "fp32":
        return
    folder = Path(copytree(exported.folder, tmp_path / "copy"))
    manifest = Manifest.load(folder)
    passport = {**manifest.passport, "quantised_layers": "21"}
    text = replace(manifest, precision="int8", passport=passport).to_json()
    (folder / "artifact.json").write_text(text, encoding="utf-8")
    with Reader.open(folder) as reader:
        assert reader.engine["fallback"] == "21 of 21 quantised layers run in float"
    assert runtime.show.main([str(folder)]) == 0
    assert "fallback   21 of 21 quantised layers run in float\n" in capsys.readouterr().out


# ---- the form that engines run fastest --------------------------------------------------------


def test_onnx_runtime_gets_unsigned_activations_after_relu(
    lamps_int8: Path, lamps: Path, tmp_path: Path
) -> None:
    export.onnx.write_onnx(load_checkpoint(lamps_int8).graph, tmp_path)
    model = onnx.load(tmp_path / "model.onnx")
    onnx.checker.check_model(model, full_check=True)
    values = {entry.name: numpy_helper.to_array(entry) for entry in model.graph.initializer}
    made = {output: node for node in model.graph.node for output in node.output}
    kinds = {
        values[node.input[2]].dtype
        for node in model.graph.node
        if node.op_type == "QuantizeLinear" and made[node.input[0]].op_type == "Relu"
    }
    assert kinds == {np.dtype(np.uint8)}


def test_openvino_keeps_integer_weights(lamps_int8: Path, tmp_path: Path) -> None:
    require("openvino")
    export.openvino.write_openvino(load_checkpoint(lamps_int8).graph, tmp_path)
    text = (tmp_path / "model.xml").read_text(encoding="utf-8")
    assert 'element_type="i8"' in text
    assert 'element_type="f16"' not in text
    weights = (lamps_int8 / "weights.safetensors").stat().st_size
    assert (tmp_path / "model.bin").stat().st_size < 0.5 * weights


# ---- what fails -------------------------------------------------------------------------------


def corrupted(graph: Path, folder: Path) -> Mapping[str, str]:
    """Write an engine whose last layer has its classes mixed up."""
    model = onnx.load(graph)
    (bias,) = (entry for entry in model.graph.initializer if entry.name.endswith("fused.bias"))
    wrong = numpy_helper.to_array(bias) + np.array([50, 0, 0, 0, 50], np.float32)
    bias.CopyFrom(numpy_helper.from_array(wrong, bias.name))
    onnx.save(model, folder / "model.onnx")
    return {}


def test_an_engine_with_corrupted_weights_is_not_exported(
    lamps_int8: Path,
    lamps: Path,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    monkeypatch.setattr(export.onnx, "write_onnx", corrupted)
    assert export.onnx.main(arguments(lamps_int8, lamps, tmp_path / "out")) == 1
    assert capsys.readouterr().err.startswith("error: the engine's output 'colour' is not this")
    monkeypatch.setattr(export.artifact, "check_probe", lambda *_: None)
    assert export.onnx.main(arguments(lamps_int8, lamps, tmp_path / "out")) == 1
    told = capsys.readouterr()
    assert told.err.startswith("error: the int8 engine disagrees with its checkpoint on ")
    assert "crop " in told.err
    assert told.out == ""
    assert not list(tmp_path.iterdir())


def test_outputs_that_only_int8_mixes_up_are_found(
    lamps_checkpoint: Path,
    lamps_int8: Path,
    lamps: Path,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    def swapping(graph: Path, folder: Path) -> Mapping[str, str]:
        passport = write(graph, folder)
        model = onnx.load(folder / "model.onnx")
        if any(node.op_type == "QuantizeLinear" for node in model.graph.node):
            (bias,) = (e for e in model.graph.initializer if e.name.endswith("fused.bias"))
            right = numpy_helper.to_array(bias)
            bias.CopyFrom(numpy_helper.from_array(right[[0, 1, 2, 4, 3]], bias.name))
            onnx.save(model, folder / "model.onnx")
        return passport

    write = export.onnx.write_onnx
    monkeypatch.setattr(export.onnx, "write_onnx", swapping)
    assert export.onnx.main(arguments(lamps_checkpoint, lamps, tmp_path / "float")) == 0
    assert export.onnx.main(arguments(lamps_int8, lamps, tmp_path / "int8")) == 1
    told = capsys.readouterr().err
    assert "error: the engine's output 'side' is not this head" in told
    assert [path.name for path in tmp_path.iterdir()] == ["float"]


@pytest.mark.parametrize("engine", ["onnx", "openvino"])
def test_without_the_engine_it_says_what_to_install(
    engine: str,
    lamps_int8: Path,
    lamps: Path,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    package = {"onnx": "onnxruntime", "openvino": "openvino"}[engine]
    monkeypatch.setitem(sys.modules, package, None)
    assert COMMANDS[engine](arguments(lamps_int8, lamps, tmp_path / "out")) == 1
    told = capsys.readouterr().err
    assert told.startswith(f"error: {package} cannot be imported")
    assert f"pip install 'headlight[{package}]'" in told
    assert not list(tmp_path.iterdir())


def test_a_changed_checkpoint_is_not_exported(
    lamps_int8: Path, lamps: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    for name in ("weights.safetensors", "int8.onnx"):
        copy = Path(copytree(lamps_int8, tmp_path / "checkpoint", dirs_exist_ok=True))
        data = bytearray((copy / name).read_bytes())
        data[-10] ^= 1
        (copy / name).write_bytes(data)
        assert export.onnx.main(arguments(copy, lamps, tmp_path / "out")) == 1
        assert capsys.readouterr().err.startswith(f"error: {copy / name} was changed")
    assert not (tmp_path / "out").exists()


def test_an_existing_output_is_kept(
    lamps_int8: Path, lamps: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    (tmp_path / "precious").touch()
    assert export.openvino.main(arguments(lamps_int8, lamps, tmp_path)) == 1
    assert "exists and is not empty" in capsys.readouterr().err
    assert [path.name for path in tmp_path.iterdir()] == ["precious"]


# ---- side by side -----------------------------------------------------------------------------


def test_the_scoreboard(
    lamps_checkpoint: Path,
    lamps_int8: Path,
    lamps: Path,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    quick = partial(compare_interleaved, block_s=0.001)
    monkeypatch.setattr(export.scoreboard, "compare_interleaved", quick)
    monkeypatch.setattr(
        export.scoreboard, "single_stream", partial(single_stream, min_duration_s=0.02)
    )
    artifact = tmp_path / "int8-onnx"
    loose = ("--gate.max-flips", "0.05")
    assert export.onnx.main(arguments(lamps_int8, lamps, artifact, *loose)) == 0
    capsys.readouterr()
    # A checkpoint of the same name from elsewhere is a row of its own.
    twin = Path(copytree(lamps_checkpoint, tmp_path / "twin" / "checkpoint"))
    options = [
        *("--baseline", str(lamps_checkpoint), "--checkpoints", str(twin)),
        *("--artifacts", str(artifact)),
        *("--data", str(lamps / "val"), "--validation", str(lamps / "train")),
        *("--output", str(tmp_path / "board"), "--rounds", "5"),
    ]
    assert export.scoreboard.main(options) == 0
    board = json.loads((tmp_path / "board" / "scoreboard.json").read_text(encoding="utf-8"))
    first, twin_row, second = board["table"]
    assert first["network"] == f"{lamps.name}/checkpoint (torch eager fp32)"
    assert twin_row["network"] == "twin/checkpoint (torch eager fp32)"
    assert float(twin_row["flips lamps0/val"]) == 0
    assert second["network"] == "int8-onnx"
    assert float(first["exact lamps0/val"]) >= 0.95
    assert float(second["flips lamps0/val"]) <= 0.05
    assert "speedup" in second
    assert len(board["timing"]["single_stream"]) == 3
    text = (tmp_path / "board" / "scoreboard.md").read_text(encoding="utf-8")
    assert "| int8-onnx" in text
    assert export.scoreboard.main(options) == 1
    assert "exists and is not empty" in capsys.readouterr().err


def test_test_lists_of_like_paths_have_columns_of_their_own() -> None:
    assert _columns(["old/plates/test.tsv", "val.tsv"]) == ["plates/test", "val"]
    alike = ["a/old/plates/test.tsv", "a/new/plates/test.tsv"]
    assert _columns(alike) == ["old/plates/test", "new/plates/test"]
    # One folder with the list in two forms: only the suffix tells them apart.
    assert _columns(["a/test.tsv", "a/test.csv"]) == ["a/test.tsv", "a/test.csv"]


def test_a_scoreboard_needs_lists(capsys: pytest.CaptureFixture[str]) -> None:
    options = ["--baseline", "a", "--data", "--validation", "b", "--output", "c"]
    assert export.scoreboard.main(options) == 1
    assert "--data and --validation need a list each" in capsys.readouterr().err
