"""The command: an artifact where the engine can run, a build kit where it cannot."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest

import export.trt.cli
import export.trt.worker
from export.trt.cli import TrtConfig, main, target_here, why_not_here
from export.trt.kit_files import load_kit
from export.trt.options import BuildOptions
from export.trt.worker import build_apart
from runtime.errors import ConfigError, EngineError
from runtime.manifest import Manifest
from runtime.reader import Reader
from tests.fake_tensorrt.fixtures import install
from tests.unit.export.trt.test_kit import arguments

OPTIONS = BuildOptions(engine="trt", precision="fp32", profile=(1, 1, 1))


def config(**changes: Any) -> TrtConfig:
    given: dict[str, Any] = {"checkpoint": Path(), "validation": (), "output": Path("out")}
    return TrtConfig(**(given | changes))


# ---- where the engine can run ------------------------------------------------------------------


@pytest.mark.parametrize("version", ["8.6.1", "10.3.0", "11.4.0", "rtx-1.7.1"])
def test_with_a_gpu_it_is_a_proven_artifact(
    version: str, lamps_int8: Path, lamps: Path, tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str],
) -> None:  # fmt: skip
    install(monkeypatch, version)
    rtx = ("--rtx",) if version.startswith("rtx") else ()
    target = tmp_path / "artifact"
    assert main(arguments(lamps_int8, lamps, target, *rtx, "--version", "7")) == 0
    told = capsys.readouterr()
    engine = "rtx" if rtx else "trt"
    assert told.out.startswith(f"wrote {target} (derived-int8-{engine}-")
    manifest = Manifest.load(target)
    manifest.check_files(target)
    assert sorted(manifest.files) == ["golden.npz", "model.engine"]
    package = "tensorrt_rtx" if rtx else "tensorrt"
    conditions = {key for key in manifest.passport if key.startswith("requires_")}
    # An RTX engine runs on every RTX card.
    expected = {f"requires_{package}"} | (set() if rtx else {"requires_compute_capability"})
    assert conditions == expected
    header = json.loads((target / "model.engine").read_bytes().partition(b"\n")[0])
    assert header["flags"] == (["INT8"] if version == "8.6.1" else [])
    with Reader.open(target) as reader:
        assert reader.engine["engine"] == package


def test_half_precision_and_a_fixed_batch(
    lamps_checkpoint: Path, lamps: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    install(monkeypatch, "10.3.0")
    more = ("--precision", "fp16", "--batch", "4", "--timing-cache", str(tmp_path / "timings"))
    loose = ("--gate.max-score-difference", "0.05")
    assert main(arguments(lamps_checkpoint, lamps, tmp_path / "a", *more, *loose)) == 0
    manifest = Manifest.load(tmp_path / "a")
    assert (manifest.precision, manifest.passport["profile"]) == ("fp16", "4 4 4")
    with Reader.open(tmp_path / "a") as reader:
        assert reader.engine["batch"] == "4 to 4"
    assert (tmp_path / "timings").read_bytes().startswith(b"timings")


# ---- where it cannot ---------------------------------------------------------------------------


def test_why_an_engine_cannot_be_built_here(monkeypatch: pytest.MonkeyPatch) -> None:
    install(monkeypatch, "10.3.0")
    assert why_not_here(config()) is None
    assert why_not_here(config(kit=True)) == "--kit was given"
    assert (why_not_here(config(rtx=True)) or "").startswith("tensorrt_rtx cannot be imported")
    monkeypatch.setattr(export.trt.cli, "cuda_devices", lambda: ())
    assert why_not_here(config()) == "this machine has no NVIDIA GPU that its driver knows of"


def test_without_a_gpu_it_says_that_this_is_a_kit_and_what_to_run(
    lamps_int8: Path, lamps: Path, tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str],
) -> None:  # fmt: skip
    monkeypatch.setattr(export.trt.cli, "cuda_devices", lambda: ())
    kit = tmp_path / "kit"
    assert main(arguments(lamps_int8, lamps, kit, "--target", "8.6")) == 0
    first, second = capsys.readouterr().out.splitlines()
    assert first.startswith(f"wrote a build kit, not an artifact, to {kit}: this machine has no NV")
    assert second == "  sh kit/build.sh --output ARTIFACT   # int8, batch 1 to 32"
    found = load_kit(kit)
    assert (found.target, found.options.engine) == ("8.6", "trt")
    assert main(arguments(lamps_int8, lamps, kit)) == 1
    assert "exists and is not empty" in capsys.readouterr().err


def test_an_rtx_kit_without_rtx_has_no_proof_and_says_so(
    lamps_int8: Path, lamps: Path, tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str],
) -> None:  # fmt: skip
    monkeypatch.setitem(sys.modules, "tensorrt_rtx", None)  # type: ignore[arg-type]
    monkeypatch.setattr(export.trt.cli, "cuda_devices", lambda: ())
    assert main(arguments(lamps_int8, lamps, tmp_path / "kit", "--rtx")) == 0
    assert "note: the kit holds no proof that its engine can be built" in capsys.readouterr().err
    assert not (tmp_path / "kit" / "proof.engine").exists()


def test_a_kit_takes_nothing_of_the_device(
    lamps_int8: Path, lamps: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    for option in ("--timing-cache", "--report"):
        words = arguments(lamps_int8, lamps, tmp_path / "kit", "--kit", option, str(tmp_path / "x"))
        assert main(words) == 1
        assert f"error: {option} " in capsys.readouterr().err
    assert not (tmp_path / "kit").exists()


def test_options_that_contradict_each_other_are_refused() -> None:
    for wrong in (
        {"rtx": True, "timing_cache": Path("t")},
        {"rtx": True, "dla": 0, "precision": "fp16"},
        {"rtx": True, "target": "10.3"},
        {"dla": 0},
        {"profile": (2, 1, 4)},
        {"batch": 0},
    ):
        with pytest.raises(ConfigError):
            config(**wrong)
    assert config(batch=4).options("fp32").profile == (4, 4, 4)
    assert config(dla=1, precision="fp16").options("fp16").dla == 1


def test_a_dla_needs_a_float_checkpoint(
    lamps_int8: Path, lamps: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    words = arguments(lamps_int8, lamps, tmp_path / "a", "--dla", "0", "--precision", "fp16")
    assert main(words) == 1
    assert "holds INT8 decisions, asked for --precision fp16" in capsys.readouterr().err


@pytest.mark.parametrize(
    ("version", "target"),
    [
        ("8.6.1", "8.6"),
        ("9.2.0", "8.6"),
        ("10.0.1", "8.6"),
        ("10.3.0.26", "10.3"),
        ("10.9.0", "10.3"),
        ("10.13.3", "10.13"),
        ("10.16.2.10", "10.16"),
        ("11.0.0", "10.16"),
        ("11.4.1", "11.4"),
        ("12.1.0", "11.4"),
    ],
)
def test_the_rules_are_those_of_the_version_that_is_here(
    version: str, target: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    module = SimpleNamespace(__version__=version)
    monkeypatch.setitem(sys.modules, "tensorrt", module)  # type: ignore[arg-type]
    assert target_here("trt") == target


def test_a_version_that_is_too_old_is_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    module = SimpleNamespace(__version__="8.5.2")
    monkeypatch.setitem(sys.modules, "tensorrt", module)  # type: ignore[arg-type]
    with pytest.raises(ConfigError, match=r"8\.5\.2 is too old; Headlight builds with 8\.6 and"):
        target_here("trt")


# ---- the process that builds -------------------------------------------------------------------


def test_a_crash_is_an_error_with_the_last_words(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    crash = "import os, sys; print('INFO: at layer 7', flush=True); os.abort()"
    monkeypatch.setattr(export.trt.worker, "_PROGRAM", crash)
    with pytest.raises(EngineError, match=r"crashed \(SIGABRT\) .* last words: INFO: at layer 7;"):
        build_apart(tmp_path / "model.onnx", tmp_path / "engine", OPTIONS)


def test_a_process_that_ends_without_an_answer_is_an_error(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(export.trt.worker, "_PROGRAM", "raise SystemExit(3)")
    with pytest.raises(EngineError, match=r"ended with exit code 3 .* last words: none"):
        build_apart(tmp_path / "model.onnx", tmp_path / "engine", OPTIONS)


def test_without_tensorrt_the_process_says_so(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    blocked = tmp_path / "blocked"
    blocked.mkdir()
    (blocked / "tensorrt.py").write_text("raise ImportError('libnvinfer.so.10 is missing')")
    monkeypatch.syspath_prepend(blocked)
    with pytest.raises(EngineError, match=r"tensorrt cannot be imported \(libnvinfer\.so\.10 is"):
        build_apart(tmp_path / "model.onnx", tmp_path / "engine", OPTIONS)


def test_the_device_side_imports_neither_torch_nor_onnx() -> None:
    code = (
        "import sys; import export.trt.kit, export.trt.worker, runtime.session_trt; "
        "print(*{'torch', 'onnx', 'tyro', 'scipy', 'safetensors', 'train'} & set(sys.modules))"
    )
    done = subprocess.run(
        [sys.executable, "-c", code], check=True, capture_output=True, text=True,
        cwd=Path(__file__).parents[4],
    )  # fmt: skip
    assert done.stdout.split() == []
