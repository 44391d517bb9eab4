"""Build kits: what they hold, and what a device makes of them, without torch and onnx."""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import sys
from dataclasses import replace
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pytest

import export.trt.cli
import export.trt.kit
from export.parity import GateConfig
from export.trt.kit import KitConfig, build_kit
from export.trt.kit_files import load_kit
from runtime.errors import ArtifactError, EngineError
from runtime.manifest import Manifest
from runtime.passport import rebuild_command
from runtime.reader import Reader
from runtime.staging import file_digest
from tests.fake_tensorrt.fixtures import MODULES, install
from train.checkpoint import load_checkpoint
from train.data import load_crops
from train.scoring import score

ROOT = Path(__file__).parents[4]
DEVICE = """
import os, sys
for heavy in ("torch", "onnx", "nncf", "tyro", "scipy", "safetensors", "onnxscript"):
    sys.modules[heavy] = None  # importing it fails
import runtime.gpu
found = () if "NO_GPU" in os.environ else (runtime.gpu.Gpu("Orin", "8.7"),)
runtime.gpu.cuda_devices = lambda: found
from export.trt.kit import main
raise SystemExit(main(sys.argv[1:]))
"""


def arguments(checkpoint: Path, lamps: Path, output: Path, *more: str) -> list[str]:
    lists = ["--validation", str(lamps / "val"), "--gate.max-flips", "0.05"]
    return [str(checkpoint), *lists, "--output", str(output), *more]


@pytest.fixture(scope="module")
def kit(lamps_int8: Path, lamps: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """An INT8 kit for TensorRT 10.3; do not change it."""
    target = tmp_path_factory.mktemp("kits") / "kit"
    options = ("--kit", "--profile", "1", "4", "16", "--opt-level", "2")
    assert export.trt.cli.main(arguments(lamps_int8, lamps, target, *options)) == 0
    return target


@pytest.fixture
def changed(kit: Path, tmp_path: Path) -> Path:
    return Path(shutil.copytree(kit, tmp_path / "changed"))


def on_device(kit: Path, output: Path, *more: str, version: str = "10.3.0", **variables: str):
    """Run the kit's command in a process that has neither torch nor onnx."""
    path = os.pathsep.join(map(str, (MODULES, ROOT)))
    return subprocess.run(
        [sys.executable, "-c", DEVICE, str(kit), "--output", str(output), *more],
        env={**os.environ, "PYTHONPATH": path, "HEADLIGHT_FAKE_TENSORRT": version, **variables},
        capture_output=True, text=True, check=False,
    )  # fmt: skip


# ---- what it holds -----------------------------------------------------------------------------


def test_a_kit_holds_graph_crops_and_the_checkpoints_scores(
    kit: Path, lamps_int8: Path, lamps: Path
) -> None:
    names = sorted(path.name for path in kit.iterdir())
    assert names == ["build.sh", "crops.npz", "kit.json", "model.onnx"]
    found = load_kit(kit)
    checkpoint = load_checkpoint(lamps_int8)
    crops = load_crops([lamps / "val"], checkpoint.schema, checkpoint.input)
    np.testing.assert_array_equal(
        found.crops.images_at(np.arange(96)), crops.images_at(np.arange(96))
    )
    assert list(found.crops.texts) == list(crops.texts)
    assert found.crops.origin == crops.origin
    for name, truth in crops.targets.choices.items():
        np.testing.assert_array_equal(found.crops.targets.choices[name], truth)
    for name, scores in score(checkpoint.build(), crops).items():
        np.testing.assert_array_equal(found.expected[name], scores)
    assert found.gate == GateConfig(max_flips=0.05)
    assert found.options.profile == (1, 4, 16)
    assert (found.options.precision, found.options.opt_level, found.target) == ("int8", 2, "10.3")
    assert found.draft.passport["quantised_layers"] == "21"


def test_no_path_of_this_machine_is_in_a_kit(kit: Path, lamps: Path) -> None:
    lineage = json.loads((kit / "kit.json").read_text("utf-8"))["manifest"].pop("lineage")
    assert "export" in lineage  # which names the lists, as every artifact does
    for path in kit.iterdir():
        if path.name != "kit.json":
            assert str(lamps).encode() not in path.read_bytes()


def test_a_reader_refuses_it_and_says_what_to_run(kit: Path) -> None:
    with pytest.raises(ArtifactError, match=r"is a build kit .*: nothing in it was proven; on the"):
        Reader.open(kit)


# ---- on the device -----------------------------------------------------------------------------


@pytest.fixture(scope="module")
def artifact(kit: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Built on a device that has neither torch nor onnx."""
    folder = tmp_path_factory.mktemp("device")
    done = on_device(kit, folder / "artifact", "--timing-cache", str(folder / "timings"))
    assert done.returncode == 0, done.stderr
    assert done.stdout.startswith(f"wrote {folder / 'artifact'} (derived-int8-trt-")
    assert "building with tensorrt for Orin (8.7)" in done.stderr
    assert (folder / "timings").read_bytes() == b"timings"
    return folder / "artifact"


def test_the_device_builds_and_proves_an_artifact(artifact: Path, kit: Path) -> None:
    manifest = Manifest.load(artifact)
    manifest.check_files(artifact)
    assert sorted(manifest.files) == ["golden.npz", "model.engine"]
    assert (manifest.engine, manifest.precision) == ("trt", "int8")
    assert manifest.id.endswith(manifest.files["model.engine"].sha256[:12])
    assert manifest.parity["crops"] == 96
    assert manifest.operating.answer_threshold is not None
    draft = load_kit(kit).draft
    assert manifest.version == draft.version
    assert dict(manifest.lineage) == dict(draft.lineage)
    passport = manifest.passport
    assert passport["requires_tensorrt"] == "10.3.0"
    assert passport["requires_compute_capability"] == "8.7"
    assert (passport["gpu"], passport["profile"]) == ("Orin", "1 4 16")
    assert passport["kit_sha256"] == file_digest(kit / "kit.json")
    assert rebuild_command(manifest) == "python -m export.trt.kit KIT --output NEW"
    assert passport["source_sha256"] == draft.passport["source_sha256"]


def test_it_is_read_where_it_was_built_and_nowhere_else(
    artifact: Path, lamps: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    install(monkeypatch, "10.3.0")
    with Reader.open(artifact) as reader:
        crops = load_crops([lamps / "val"], reader.info.schema, reader.info.input)
        results = reader.read_many(list(crops.images_at(np.arange(8))))
        assert [result.heads["colour"].labels[0] for result in results] == [
            text.split(",")[0] for text in crops.texts[:8]
        ]
    install(monkeypatch, "10.13.3")
    with pytest.raises(Exception, match=r"only with tensorrt 10\.3\.0 \(this host: 10\.13\.3\)"):
        Reader.open(artifact)


@pytest.mark.parametrize(
    ("version", "variables", "message"),
    [
        ("8.6.1", {}, "the kit was checked for TensorRT 10.3 and newer, this device has 8.6.1"),
        ("10.3.0", {"NO_GPU": "1"}, "this machine has no NVIDIA GPU that its driver knows of"),
    ],
)
def test_a_device_that_cannot_build_it_says_why(
    kit: Path, tmp_path: Path, version: str, variables: dict[str, str], message: str
) -> None:
    done = on_device(kit, tmp_path / "out", version=version, **variables)
    assert done.returncode == 1
    assert f"error: {message}" in done.stderr
    assert not list(tmp_path.iterdir())


def test_an_engine_that_answers_otherwise_leaves_nothing(
    changed: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:  # fmt: skip
    arrays = dict(np.load(changed / "crops.npz"))
    arrays["logits/side"] = arrays["logits/side"][:, ::-1]
    np.savez(changed / "crops.npz", allow_pickle=False, **arrays)
    sign_again(changed, "crops.npz")
    install(monkeypatch, "10.3.0")
    assert export.trt.kit.main([str(changed), "--output", str(tmp_path / "out")]) == 1
    assert "the int8 engine disagrees with its checkpoint on 96 of 96" in capsys.readouterr().err
    assert [path.name for path in tmp_path.iterdir()] == ["changed"]


# ---- what is refused ---------------------------------------------------------------------------


def sign_again(kit: Path, name: str) -> None:
    """Write the digest of a changed file into the kit."""
    from runtime.manifest import FileRecord

    value = json.loads((kit / "kit.json").read_text("utf-8"))
    record = FileRecord.of(kit / name)
    value["files"][name] = {"size_bytes": record.size_bytes, "sha256": record.sha256}
    (kit / "kit.json").write_text(json.dumps(value), encoding="utf-8")


@pytest.mark.parametrize("name", ["model.onnx", "crops.npz", "build.sh"])
def test_a_changed_or_missing_file_is_refused(changed: Path, name: str) -> None:
    content = (changed / name).read_bytes()
    (changed / name).write_bytes(content[:-1] + bytes([content[-1] ^ 1]))
    with pytest.raises(ArtifactError, match=rf"{name} was changed .*; copy the kit again"):
        load_kit(changed)
    (changed / name).unlink()
    with pytest.raises(ArtifactError, match="the kit lists"):
        load_kit(changed)


@pytest.mark.parametrize(
    ("version", "advice"),
    [
        ("10.13.3.9", "--target 10.13"),
        ("10.9.0.34", "--target 10.3"),
        ("8.6.2", "--target 8.6"),
        ("8.5.2", "Headlight builds with 8.6 and newer"),
    ],
)
def test_an_older_tensorrt_is_told_a_target_that_there_is(
    kit: Path, monkeypatch: pytest.MonkeyPatch, tmp_path: Path, version: str, advice: str
) -> None:
    newer = replace(load_kit(kit), target="10.16")
    monkeypatch.setattr(export.trt.kit, "load_kit", lambda _: newer)
    module = SimpleNamespace(__version__=version)
    monkeypatch.setitem(sys.modules, "tensorrt", module)  # type: ignore[arg-type]
    with pytest.raises(EngineError) as caught:
        build_kit(KitConfig(kit=kit, output=tmp_path / "out"))
    assert str(caught.value).endswith(advice)


def test_a_folder_that_is_no_kit_is_refused(changed: Path, tmp_path: Path) -> None:
    with pytest.raises(ArtifactError, match=r"kit\.json cannot be read .*; expected a build kit"):
        load_kit(tmp_path)
    (changed / "more").touch()
    with pytest.raises(ArtifactError, match="the kit lists"):
        load_kit(changed)
    (changed / "more").unlink()
    text = (changed / "kit.json").read_text("utf-8")
    for wrong in ("no JSON", text.replace('"kit_version": 2', '"kit_version": 3')):
        (changed / "kit.json").write_text(wrong, encoding="utf-8")
        with pytest.raises(ArtifactError, match=r"is not JSON|kit version 3 is not 2"):
            load_kit(changed)


def test_crops_of_other_shapes_or_with_objects_are_refused(changed: Path) -> None:
    arrays = dict(np.load(changed / "crops.npz"))
    short = {**arrays, "choice/side": arrays["choice/side"][:-1]}
    pickled = {**arrays, "texts": np.array(["a", None], object)}
    for wrong, message in ((short, "expected arrays"), (pickled, "Object arrays cannot be loaded")):
        np.savez(changed / "crops.npz", **wrong)
        sign_again(changed, "crops.npz")
        with pytest.raises(ArtifactError, match=message):
            load_kit(changed)
