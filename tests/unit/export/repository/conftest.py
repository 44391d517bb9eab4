from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from export.repository.config import RepositoryConfig
from runtime.manifest import FileRecord, Manifest
from runtime.scores import OperatingPoint
from tests.artifacts import TinyNetwork, write_artifact

__all__ = ["as_config", "set_manifest"]

POINT = OperatingPoint(temperatures={"first": 1.5, "extras": 0.7}, answer_threshold=0.1)


def as_config(*artifacts: Path, server: Any, **options: Any) -> RepositoryConfig:
    return RepositoryConfig(
        artifacts=artifacts, server=server, output=artifacts[0].parent / "repository", **options
    )


def set_manifest(folder: Path, **changes: Any) -> None:
    """Change what the manifest says."""
    manifest = replace(Manifest.load(folder), **changes)
    (folder / "artifact.json").write_text(manifest.to_json(), encoding="utf-8")


@pytest.fixture
def make(tmp_path: Path, network: TinyNetwork) -> Callable[..., Path]:
    """Write an artifact: ``make("plates", version=2, engine="openvino")``."""

    def write(name: str, *, version: int = 1, **options: Any) -> Path:
        folder = tmp_path / name
        options = {"network": network, "operating": POINT, **options}
        write_artifact(folder, options.pop("network"), **options)
        set_manifest(folder, version=version)
        return folder

    return write


@pytest.fixture
def tensorrt(make: Callable[..., Path]) -> Path:
    """An artifact that says it is a TensorRT engine for 1 to 12 images."""
    folder = make("trt")
    (folder / "model.onnx").rename(folder / "model.engine")
    files = dict(Manifest.load(folder).files)
    del files["model.onnx"]
    set_manifest(
        folder,
        engine="trt",
        engine_file="model.engine",
        files={**files, "model.engine": FileRecord.of(folder / "model.engine")},
        passport={"profile": "1 8 12", "requires_tensorrt": "10.3.0.26"},
    )
    return folder
