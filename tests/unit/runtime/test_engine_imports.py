from __future__ import annotations

import importlib
import os
import subprocess
import sys
from pathlib import Path

import pytest

from runtime import EngineUnavailableError, Reader
from runtime.engine_imports import forbid_telemetry, import_onnxruntime, import_openvino
from runtime.errors import EngineError
from runtime.manifest import Manifest
from runtime.session import OPENERS, SessionOptions, open_session
from tests.artifacts import TinyNetwork, write_artifact


@pytest.mark.parametrize("package", ["onnxruntime", "openvino"])
def test_a_missing_engine_names_the_command(package: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, package, None)
    load = {"onnxruntime": import_onnxruntime, "openvino": import_openvino}[package]
    with pytest.raises(EngineUnavailableError, match=rf"pip install 'headlight\[{package}\]'"):
        load()


def test_telemetry_is_off_before_the_import(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("ORT_DISABLE_TELEMETRY", "0")
    monkeypatch.delitem(sys.modules, "openvino_telemetry", raising=False)
    forbid_telemetry()
    assert os.environ["ORT_DISABLE_TELEMETRY"] == "1"
    with pytest.raises(ImportError):
        importlib.import_module("openvino_telemetry")


def test_an_artifact_of_a_missing_engine(
    tmp_path: Path, network: TinyNetwork, monkeypatch: pytest.MonkeyPatch
) -> None:
    write_artifact(tmp_path / "a", network)
    monkeypatch.setitem(sys.modules, "onnxruntime", None)
    with pytest.raises(EngineUnavailableError):
        Reader.open(tmp_path / "a")


def test_an_engine_that_this_runtime_does_not_know(tmp_path: Path, network: TinyNetwork) -> None:
    write_artifact(tmp_path / "a", network)
    text = (tmp_path / "a" / "artifact.json").read_text(encoding="utf-8")
    manifest = Manifest.from_json(text.replace('"engine": "onnx"', '"engine": "abacus"'))
    with pytest.raises(EngineError, match="'abacus' is unknown") as caught:
        open_session(tmp_path / "a", manifest, SessionOptions())
    assert all(name in str(caught.value) for name in OPENERS)


def test_the_converter_of_openvino_is_imported_when_it_is_asked_for() -> None:
    pytest.importorskip("openvino")
    code = """
import sys
from runtime.engine_imports import import_openvino
openvino = import_openvino()
assert "openvino.tools.ovc" not in sys.modules
assert not hasattr(openvino, "no_such_name")
from openvino import convert_model
from openvino.tools.ovc import convert_model as same
assert convert_model is same and openvino.convert_model is same
assert import_openvino() is openvino
"""
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
