from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from export.repository.models import check_engines, copy_versions, gather
from export.sign import sign_artifact
from runtime.errors import ArtifactError, ConfigError, IntegrityError, SignatureError
from runtime.manifest import FileRecord, Manifest
from runtime.preprocess import InputSpec
from runtime.trust import verify_artifact
from tests.artifacts import TinyNetwork
from tests.engines import require
from tests.signing import make_keys

from .conftest import as_config, set_manifest


def test_models_are_named_after_their_folders(make: Callable[..., Path]) -> None:
    models = gather(as_config(make("plates"), make("clothes", version=7), server="triton"))
    found = {model.name: [*model.versions] for model in models}
    assert found == {"plates": [1], "clothes": [7]}


def test_artifacts_of_one_name_are_versions_in_order(make: Callable[..., Path]) -> None:
    new, old = make("new", version=12), make("old", version=3)
    config = as_config(new, old, server="triton", names=("plates", "plates"))
    (model,) = gather(config)
    assert [*model.versions.items()] == [(3, old), (12, new)]
    assert model.manifest == Manifest.load(new)


@pytest.mark.parametrize("engine", ["onnx", "openvino"])
@pytest.mark.parametrize("batch", [None, 4])
def test_batch_is_read_from_the_graph(
    make: Callable[..., Path], engine: str, batch: int | None
) -> None:
    require({"onnx": "onnxruntime"}.get(engine, engine))
    (model,) = gather(as_config(make("plates", engine=engine, batch=batch), server="triton"))
    assert model.batch == batch


@pytest.mark.parametrize(("profile", "batch"), [("1 8 12", None), ("4 4 4", 4), ("", None)])
def test_batch_of_tensorrt_is_its_profile(tensorrt: Path, profile: str, batch: int | None) -> None:
    set_manifest(tensorrt, passport={"profile": profile})
    (model,) = gather(as_config(tensorrt, server="triton"))
    assert model.batch == batch


@pytest.mark.parametrize("engine", ["onnx", "openvino"])
def test_what_is_no_graph_is_refused(make: Callable[..., Path], engine: str) -> None:
    require({"onnx": "onnxruntime"}.get(engine, engine))
    folder = make("plates", engine=engine)
    manifest = Manifest.load(folder)
    (folder / manifest.engine_file).write_bytes(b"\xffno graph")
    record = FileRecord.of(folder / manifest.engine_file)
    set_manifest(folder, files={**manifest.files, manifest.engine_file: record})
    with pytest.raises(ArtifactError, match="no size of a batch"):
        gather(as_config(folder, server="triton"))


def test_versions_must_fit_together(make: Callable[..., Path]) -> None:
    fixed = make("fixed", version=2, batch=4)
    config = as_config(make("free"), fixed, server="triton", names=("plates",) * 2)
    with pytest.raises(ConfigError, match="cannot be a version"):
        gather(config)


@pytest.mark.parametrize(
    ("versions", "options", "reason"),
    [
        ((2, 2), {"names": ("a", "a")}, "both version 2"),
        ((0, 1), {}, "count from 1"),
        ((1, 1), {"names": ("a",)}, "one name per artifact"),
        ((1, 1), {"names": ("a", "../b")}, "letters"),
        ((1, 1), {"names": ("a", ".b")}, "letters"),
    ],
)
def test_what_no_server_takes(
    make: Callable[..., Path], versions: tuple[int, int], options: dict[str, Any], reason: str
) -> None:
    folders = [make(f"artifact{i}", version=version) for i, version in enumerate(versions)]
    with pytest.raises(ConfigError, match=reason):
        gather(as_config(*folders, server="triton", **options))


def test_folders_of_one_name_must_be_told_apart(tmp_path: Path, make: Callable[..., Path]) -> None:
    first = make("plates")
    (tmp_path / "more").mkdir()
    second = make("more/plates")
    with pytest.raises(ConfigError, match="--names"):
        gather(as_config(first, second, server="triton"))


def test_a_changed_artifact_is_refused(make: Callable[..., Path]) -> None:
    folder = make("plates")
    (folder / "golden.npz").write_bytes(b"x")
    with pytest.raises(IntegrityError):
        gather(as_config(folder, server="triton"))


def test_signatures_are_asked_for_and_go_along(make: Callable[..., Path], tmp_path: Path) -> None:
    folder, keys = make("plates"), make_keys(tmp_path)
    config = as_config(folder, server="triton", verify=keys.public)
    with pytest.raises(SignatureError):
        gather(config)
    sign_artifact(folder, keys.key)
    (model,) = gather(config)
    (tmp_path / "there").mkdir()
    copy_versions(model, tmp_path / "there")
    assert verify_artifact(tmp_path / "there" / "1", keys.public) == model.manifest


def test_engines_must_be_the_servers(make: Callable[..., Path]) -> None:
    models = gather(as_config(make("plates"), server="ovms"))
    check_engines(models, ("onnx",), "it")
    with pytest.raises(ConfigError, match=r"plates is built and proven for 'onnx', .*export\.trt"):
        check_engines(models, ("openvino", "trt"), "it")


def test_another_input_is_another_model(make: Callable[..., Path]) -> None:
    network = TinyNetwork(spec=InputSpec(height=32, width=32))
    config = as_config(
        make("one"), make("two", version=2, network=network), server="triton", names=("a", "a")
    )
    with pytest.raises(ConfigError, match="cannot be a version"):
        gather(config)
