from __future__ import annotations

import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from export.repository.models import gather
from export.repository.triton import model_config_type, write_triton
from runtime.errors import ConfigError
from runtime.manifest import Manifest
from tests.artifacts import SMALL_SCHEMA
from tests.engines import require

from .conftest import as_config, set_manifest

UINT8, FP32 = "TYPE_UINT8", "TYPE_FP32"


@pytest.fixture
def written(tmp_path: Path) -> Callable[..., Any]:
    """Write a repository of one model; return its config, parsed by Triton's schema."""

    def write(artifact: Path, **options: Any) -> Any:
        config = as_config(artifact, server="triton", **options)
        (tmp_path / "out").mkdir()
        write_triton(gather(config), config, tmp_path / "out")
        return _parse(tmp_path / "out" / artifact.name / "config.pbtxt")

    return write


def _parse(path: Path) -> Any:
    kind = model_config_type()
    if kind is None:
        pytest.skip("tritonclient, which has Triton's schema, is not installed")
    from google.protobuf import text_format

    return text_format.Parse(path.read_text(encoding="utf-8"), kind())


def _kind(io: Any) -> str:
    return str(
        io.DESCRIPTOR.fields_by_name["data_type"].enum_type.values_by_number[io.data_type].name
    )


def test_ports_are_the_artifacts(make: Callable[..., Path], written: Callable[..., Any]) -> None:
    config = written(make("plates"))
    assert (config.name, config.backend) == ("plates", "onnxruntime")
    assert config.default_model_filename == "model.onnx"
    assert [(io.name, _kind(io), [*io.dims]) for io in config.input] == [
        ("image", UINT8, [16, 32, 3])
    ]
    assert [(io.name, _kind(io), [*io.dims]) for io in config.output] == [
        (head.name, FP32, [head.size]) for head in SMALL_SCHEMA.heads
    ]


def test_labels_stand_in_the_order_of_the_scores(
    make: Callable[..., Path], written: Callable[..., Any], tmp_path: Path
) -> None:
    config = written(make("plates"))
    for io, head in zip(config.output, SMALL_SCHEMA.heads, strict=True):
        text = (tmp_path / "out" / "plates" / io.label_filename).read_text(encoding="utf-8")
        assert text.splitlines() == [*head.labels]


def test_a_version_folder_is_the_artifact(
    make: Callable[..., Path], written: Callable[..., Any], tmp_path: Path
) -> None:
    artifact = make("plates", version=41)
    written(artifact)
    copy = tmp_path / "out" / "plates" / "41"
    Manifest.load(copy).check_files(copy)
    assert (copy / "artifact.json").read_bytes() == (artifact / "artifact.json").read_bytes()


def test_options_of_batching(make: Callable[..., Path], written: Callable[..., Any]) -> None:
    config = written(make("plates"), max_batch=8, queue_delay_us=700, instances=3, threads=2)
    assert config.max_batch_size == 8
    assert config.dynamic_batching.max_queue_delay_microseconds == 700
    assert [(group.count, group.kind) for group in config.instance_group] == [(3, 2)]  # KIND_CPU
    assert config.parameters["intra_op_thread_count"].string_value == "2"
    assert config.version_policy.latest.num_versions == 1
    warm = [(step.batch_size, [*step.inputs["image"].dims]) for step in config.model_warmup]
    assert warm == [(1, [16, 32, 3]), (8, [16, 32, 3])]


def test_openvino_keeps_its_free_size(
    make: Callable[..., Path], written: Callable[..., Any]
) -> None:
    require("openvino")
    config = written(make("plates", engine="openvino"), max_batch=8)
    assert (config.backend, config.default_model_filename) == ("openvino", "model.xml")
    assert config.max_batch_size == 0
    assert not config.HasField("dynamic_batching")
    assert [*config.input[0].dims] == [-1, 16, 32, 3]
    assert [*config.output[0].dims] == [-1, 3]
    warm = [(step.batch_size, [*step.inputs["image"].dims]) for step in config.model_warmup]
    assert warm == [(1, [1, 16, 32, 3]), (1, [8, 16, 32, 3])]


def test_a_fixed_size_is_said(make: Callable[..., Path], written: Callable[..., Any]) -> None:
    config = written(make("plates", batch=4))
    assert config.max_batch_size == 0
    assert [*config.input[0].dims] == [4, 16, 32, 3]
    assert [[*step.inputs["image"].dims] for step in config.model_warmup] == [[4, 16, 32, 3]]


def test_tensorrt_is_bound_by_its_profile_and_tells_its_conditions(
    tensorrt: Path, written: Callable[..., Any], capsys: pytest.CaptureFixture[str]
) -> None:
    config = written(tensorrt, max_batch=16)
    assert (config.backend, config.default_model_filename) == ("tensorrt", "model.engine")
    assert config.max_batch_size == 12
    assert config.instance_group[0].kind == 1  # KIND_GPU
    told = capsys.readouterr().err
    assert "12 images at most" in told
    assert "tensorrt 10.3.0.26" in told


def test_a_profile_that_does_not_begin_at_1_is_refused(
    tensorrt: Path, tmp_path: Path, written: Callable[..., Any]
) -> None:
    set_manifest(tensorrt, passport={"profile": "4 8 32"})
    with pytest.raises(ConfigError, match=r"takes 4 to 32 images.*--profile that begins at 1"):
        written(tensorrt)
    set_manifest(tensorrt, passport={"profile": "4 4 4"})
    (tmp_path / "out").rename(tmp_path / "before")
    assert written(tensorrt).max_batch_size == 0


def test_the_narrowest_version_bounds_all(
    tensorrt: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    older = Path(shutil.copytree(tensorrt, tmp_path / "older"))
    conditions = {"profile": "1 4 8", "requires_tensorrt": "8.6.1"}
    set_manifest(older, version=1, passport=conditions)
    set_manifest(tensorrt, version=2)
    config = as_config(older, tensorrt, server="triton", names=("plates",) * 2, max_batch=16)
    (tmp_path / "out").mkdir()
    write_triton(gather(config), config, tmp_path / "out")
    text = (tmp_path / "out" / "plates" / "config.pbtxt").read_text(encoding="utf-8")
    assert "max_batch_size: 8\n" in text
    told = capsys.readouterr().err
    assert "the engine of version 1 takes 8 images at most" in told
    assert "version 1: the server must have tensorrt 8.6.1" in told
    assert "version 2: the server must have" in told
    set_manifest(older, passport={"profile": "4 8 32"})
    with pytest.raises(ConfigError, match="version 1: the engine takes 4 to 32 images"):
        write_triton(gather(config), config, tmp_path)


def test_versions_are_all_served(make: Callable[..., Path], tmp_path: Path) -> None:
    config = as_config(make("a"), make("b", version=2), server="triton", names=("plates",) * 2)
    (tmp_path / "out").mkdir()
    write_triton(gather(config), config, tmp_path / "out")
    parsed = _parse(tmp_path / "out" / "plates" / "config.pbtxt")
    assert parsed.version_policy.latest.num_versions == 2
    assert {path.name for path in (tmp_path / "out" / "plates").glob("[0-9]")} == {"1", "2"}


def test_a_client_of_another_schema_is_named(
    make: Callable[..., Path], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    from google.protobuf.descriptor_pb2 import FileDescriptorProto

    monkeypatch.setattr("export.repository.triton.model_config_type", lambda: FileDescriptorProto)
    config = as_config(make("plates"), server="triton")
    (tmp_path / "out").mkdir()
    with pytest.raises(ConfigError, match="tritonclient does not know"):
        write_triton(gather(config), config, tmp_path / "out")
