"""Repositories for Triton: ``config.pbtxt``, label files and version folders for each model.

Fields are those of Triton's model_config.proto. A version folder is the artifact itself; Triton
reads the engine file of it and leaves the rest alone.
"""

from __future__ import annotations

import importlib.util
import json
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any, Final

from benchmarks.command import say
from runtime.errors import ConfigError
from runtime.passport import REQUIRES
from runtime.schema import INPUT_NAME, Head

from .config import RepositoryConfig
from .models import Model, check_engines, copy_versions

__all__ = ["model_config_type", "write_triton"]

_BACKENDS: Final[Mapping[str, str]] = {
    "onnx": "onnxruntime",
    "openvino": "openvino",
    "trt": "tensorrt",
}


def write_triton(models: Sequence[Model], config: RepositoryConfig, folder: Path) -> None:
    """Write a Triton repository into ``folder``.

    Raises:
        ConfigError: an engine that Triton has no backend for, or a batch that it cannot take.
    """
    check_engines(models, tuple(_BACKENDS), "Triton")
    for model in models:
        place = folder / model.name
        place.mkdir()
        for head in model.manifest.schema.heads:
            lines = "".join(f"{label}\n" for label in head.labels)
            (place / _labels_file(head)).write_text(lines, encoding="utf-8")
        text = "\n".join(_config(model, config)) + "\n"
        _check(text)
        (place / "config.pbtxt").write_text(text, encoding="utf-8")
        copy_versions(model, place)
        _tell_conditions(model)


def _labels_file(head: Head) -> str:
    # Not in a folder of their own: the server warns of folders that are no versions.
    return f"labels_{head.name}.txt"


def _config(model: Model, config: RepositoryConfig) -> Iterator[str]:
    manifest = model.manifest
    # Triton's OpenVINO backend fixes the graph to max_batch_size and fails, or pads, what is
    # smaller; with 0 it leaves the free size of the graph alone, and puts no requests together.
    batches = model.batch is None and manifest.engine != "openvino"
    largest = _largest_batch(model, config) if batches else 0
    lead = [] if batches else [model.batch or -1]
    dims = [*lead, *manifest.input.shape]
    yield f"name: {_text(model.name)}"
    yield f"backend: {_text(_BACKENDS[manifest.engine])}"
    yield f"default_model_filename: {_text(manifest.engine_file)}"
    yield f"max_batch_size: {largest}"
    yield f"input [{{ name: {_text(INPUT_NAME)} data_type: TYPE_UINT8 dims: {dims} }}]"
    outputs = [
        f"  {{ name: {_text(head.name)} data_type: TYPE_FP32 dims: {[*lead, head.size]} "
        f"label_filename: {_text(_labels_file(head))} }}"
        for head in manifest.schema.heads
    ]
    yield "output [\n" + ",\n".join(outputs) + "\n]"
    yield f"version_policy {{ latest {{ num_versions: {len(model.versions)} }} }}"
    kind = "KIND_GPU" if manifest.engine == "trt" else "KIND_CPU"
    yield f"instance_group [{{ count: {config.instances} kind: {kind} }}]"
    if batches:
        delay = f"max_queue_delay_microseconds: {config.queue_delay_us}"
        yield f"dynamic_batching {{ {delay} }}"
    # Not ready before an image and a full batch went through: engines prepare for each size.
    full = largest or model.batch or config.max_batch
    warm_ups = [_warm_up(size, model, batches=batches) for size in sorted({model.batch or 1, full})]
    yield "model_warmup [\n" + ",\n".join(warm_ups) + "\n]"
    for key, value in _parameters(manifest.engine, config).items():
        yield f"parameters {{ key: {_text(key)} value {{ string_value: {_text(value)} }} }}"


def _warm_up(size: int, model: Model, *, batches: bool) -> str:
    dims = [*([] if batches else [size]), *model.manifest.input.shape]
    return (
        f'  {{ name: "{size}" batch_size: {size if batches else 1} inputs {{ '
        f"key: {_text(INPUT_NAME)} value {{ data_type: TYPE_UINT8 dims: {dims} "
        "zero_data: true } } }"
    )


def _parameters(engine: str, config: RepositoryConfig) -> Mapping[str, str]:
    threads = str(config.threads)
    if engine == "onnx":
        return {"intra_op_thread_count": threads, "inter_op_thread_count": "1"}
    if engine == "openvino":
        return {
            "PERFORMANCE_HINT": "LATENCY",
            "INFERENCE_NUM_THREADS": threads,
            "NUM_STREAMS": "1",
        }
    return {}


def _largest_batch(model: Model, config: RepositoryConfig) -> int:
    largest = config.max_batch
    for version, manifest in zip(model.versions, model.manifests, strict=True):
        profile = manifest.passport.get("profile", "").split()
        if not profile:
            continue
        if int(profile[0]) > 1:
            raise ConfigError(
                f"{model.name}, version {version}: the engine takes {profile[0]} to {profile[-1]} "
                "images, and Triton sends it as few as one; build it with a --profile that begins "
                "at 1, or with --batch"
            )
        if int(profile[-1]) < largest:
            largest = int(profile[-1])
            say(
                f"{model.name}: the engine of version {version} takes {largest} images at most, "
                "which becomes the batch of all"
            )
    return largest


def _tell_conditions(model: Model) -> None:
    found: dict[str, list[str]] = {}
    for version, manifest in zip(model.versions, model.manifests, strict=True):
        wanted = [
            f"{key.removeprefix(REQUIRES)} {value}"
            for key, value in manifest.passport.items()
            if key.startswith(REQUIRES)
        ]
        found.setdefault(", ".join(wanted), []).append(str(version))
    for conditions, versions in found.items():
        if conditions:
            where = f", version {', '.join(versions)}" if len(found) > 1 else ""
            say(f"{model.name}{where}: the server must have {conditions}; Triton does not check it")


def _text(value: str) -> str:
    # Names are ASCII; JSON's escapes are then those of protobuf's text format.
    return json.dumps(value)


def _check(text: str) -> None:
    """Parse a config by Triton's own schema, where a client of it is installed."""
    kind = model_config_type()
    if kind is None:
        return
    from google.protobuf import text_format  # type: ignore[import-untyped]

    try:
        text_format.Parse(text, kind())
    except text_format.ParseError as error:
        raise ConfigError(
            f"the installed tritonclient does not know this config: {error}; install the one of "
            f"your server\n{text}"
        ) from error


def model_config_type() -> Any:
    """Return Triton's ``ModelConfig`` message type, or None without tritonclient."""
    found = importlib.util.find_spec("tritonclient")
    if found is None or not found.submodule_search_locations:
        return None
    # By its file: the package around it imports gRPC, which nothing here needs.
    path = Path(found.submodule_search_locations[0]) / "grpc" / "model_config_pb2.py"
    spec = importlib.util.spec_from_file_location("headlight_model_config_pb2", path)
    if spec is None or spec.loader is None or not path.is_file():
        return None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module.ModelConfig
