"""Checkpoints: a folder with weights (safetensors) and everything that rebuilds the network (JSON).

No pickle anywhere: a network is rebuilt from its config and channel plan, then filled. A quantised
checkpoint holds, beside the float weights, the INT8 decisions as one ONNX graph.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any, Final

from safetensors import SafetensorError
from safetensors.torch import load_file

from benchmarks.report import to_json
from runtime.errors import CheckpointError, ConfigError, HeadlightError
from runtime.preprocess import InputSpec
from runtime.schema import Schema
from runtime.scores import OperatingPoint
from runtime.staging import file_digest, new_folder
from runtime.strict import StrictObject

from .network import ChannelPlan, Channels, Network, NetworkConfig, build, channel_plan
from .tensor_file import save_tensors

__all__ = [
    "CHECKPOINT_FILE",
    "OWN_FILE",
    "QUANTISED_FILE",
    "Checkpoint",
    "load_checkpoint",
    "save_checkpoint",
]

FORMAT_VERSION: Final = 1
CHECKPOINT_FILE: Final = "checkpoint.json"
WEIGHTS_FILE: Final = "weights.safetensors"
QUANTISED_FILE: Final = "int8.onnx"
OWN_FILE: Final = "int8-openvino.onnx"
"""INT8 decisions by OpenVINO's own rules, beside those that serve every engine."""
_DECISIONS: Final[Mapping[str, str]] = {
    "quantised_sha256": QUANTISED_FILE,
    "own_quantised_sha256": OWN_FILE,
}


@dataclass(frozen=True, slots=True, kw_only=True)
class Checkpoint:
    """A trained network on disk."""

    folder: Path
    """Where it was read from."""
    schema: Schema
    input: InputSpec
    network: NetworkConfig
    channels: ChannelPlan | None
    """Channel counts after slimming; None: as the config says."""
    operating: OperatingPoint
    """Temperatures and thresholds of the float network, fitted on its validation data."""
    metrics: Mapping[str, Any]
    """Measured when it was made."""
    lineage: Mapping[str, Any]
    """One entry per step: its resolved config, the digests of what it read, tool versions."""
    quantised: bool = False
    """Whether the folder holds INT8 decisions (``int8.onnx``)."""
    digest: str = field(default="", compare=False)
    """SHA-256 of the weights file."""

    def build(self) -> Network:
        """Rebuild the network and fill it, ready to evaluate.

        Raises:
            CheckpointError: weights and channel plan do not fit each other, or the network is of
                the user's own and its module cannot be imported.
        """
        try:
            network = build(self.schema, self.input, self.network, self.channels)
        except ConfigError as error:
            raise CheckpointError(f"{self.folder}: {error}") from error
        try:
            weights = load_file(self.folder / WEIGHTS_FILE)
            network.load_state_dict(weights, strict=True)
        except (OSError, SafetensorError, RuntimeError) as error:
            raise CheckpointError(
                f"{self.folder / WEIGHTS_FILE} does not fit its channel plan: {error}"
            ) from error
        return network.eval()

    @property
    def graph(self) -> Path:
        """The ONNX file with the INT8 decisions.

        Raises:
            CheckpointError: this checkpoint was not quantised.
        """
        if not self.quantised:
            raise CheckpointError(
                f"{self.folder} holds no INT8 decisions; run `python -m compress.quantize "
                f"{self.folder} --calibration LIST`"
            )
        return self.folder / QUANTISED_FILE

    @property
    def own_graph(self) -> Path:
        """The ONNX file with the INT8 decisions that only OpenVINO reads.

        Raises:
            CheckpointError: there are none.
        """
        path = self.folder / OWN_FILE
        if not path.is_file():
            raise CheckpointError(
                f"{self.folder} holds no decisions by OpenVINO's own rules; run "
                "`python -m compress.quantize` with --engine-best, or export the shared ones"
            )
        return path

    def require_schema(self, schema: Schema) -> None:
        """Fail unless the checkpoint answers ``schema``.

        Raises:
            CheckpointError: it was trained for other heads or labels.
        """
        if schema != self.schema:
            raise CheckpointError(
                f"{self.folder} was trained for the schema {self.schema.name!r} "
                f"({len(self.schema.heads)} heads), asked for {schema.name!r} "
                f"({len(schema.heads)} heads) or one with other labels; pass the right checkpoint"
            )


def save_checkpoint(
    target: Path,
    network: Network,
    *,
    schema: Schema,
    spec: InputSpec,
    config: NetworkConfig,
    slimmed: bool,
    operating: OperatingPoint,
    metrics: Mapping[str, Any],
    lineage: Mapping[str, Any],
    extra_files: Mapping[str, Path | bytes] | None = None,
    overwrite: bool = False,
) -> Checkpoint:
    """Write a new checkpoint folder in one step and return it.

    Args:
        target: The folder to make.
        network: Whose weights to keep.
        schema: Heads that it answers.
        spec: Input size that it was trained for.
        config: What, with ``schema`` and ``spec``, rebuilds it before slimming.
        slimmed: Whether channel counts differ from what ``config`` says.
        operating: Temperatures and thresholds of the float network.
        metrics: What was measured, as plain values.
        lineage: One entry per step so far (``train.lineage``).
        extra_files: More files for the folder, by name: a path to copy or the content.
        overwrite: Replace an existing ``target``.

    Raises:
        ConfigError: ``target`` exists and is not to be overwritten.
    """
    value = {
        "format_version": FORMAT_VERSION,
        "schema": schema.to_object(),
        "input": spec.to_object(),
        "network": config.to_object(),
        "channels": channel_plan(network) if slimmed else None,
        "operating": operating.to_object(),
        "metrics": dict(metrics),
        "lineage": dict(lineage),
    }
    with new_folder(target, overwrite=overwrite) as folder:
        save_tensors(network.state_dict(), folder / WEIGHTS_FILE)
        for name, content in (extra_files or {}).items():
            data = content if isinstance(content, bytes) else content.read_bytes()
            (folder / name).write_bytes(data)
        digests = {"weights_sha256": file_digest(folder / WEIGHTS_FILE)}
        for key, name in _DECISIONS.items():
            if (folder / name).is_file():
                digests[key] = file_digest(folder / name)
        (folder / CHECKPOINT_FILE).write_text(to_json({**value, **digests}), encoding="utf-8")
    return load_checkpoint(target)


def load_checkpoint(folder: Path) -> Checkpoint:
    """Read and check a checkpoint folder; the weights are read by ``Checkpoint.build``.

    Raises:
        CheckpointError: not a checkpoint folder, another format version, or a changed file.
    """
    path = folder / CHECKPOINT_FILE
    try:
        value = json.loads(path.read_text(encoding="utf-8"))
    except (OSError, ValueError, RecursionError) as error:
        raise CheckpointError(
            f"{path} cannot be read ({error}); expected a checkpoint folder as written by "
            "`python -m train.fit`"
        ) from error
    version = value.get("format_version") if isinstance(value, dict) else None
    if version != FORMAT_VERSION:
        raise CheckpointError(f"{path}: format version {version!r} is not {FORMAT_VERSION}")
    try:
        checkpoint = _parse(folder, value)
    except HeadlightError as error:
        raise CheckpointError(f"{path}: {error}") from error
    _check_digest(folder / WEIGHTS_FILE, checkpoint.digest)
    for key, name in _DECISIONS.items():
        if value.get(key) is not None:
            _check_digest(folder / name, value[key])
    return replace(checkpoint, quantised=value.get("quantised_sha256") is not None)


def _parse(folder: Path, value: object) -> Checkpoint:
    with StrictObject(value, CHECKPOINT_FILE, ConfigError) as item:
        item.integer("format_version")
        for key in _DECISIONS:
            item.optional_text(key)
        channels = None
        plan = item.optional_mapping("channels")
        if plan is not None:
            with StrictObject(plan, "channels", ConfigError) as layers:
                channels = {name: _channels(layers.integers(name), name) for name in plan}
        schema = Schema.from_object(item.mapping("schema"))
        operating = OperatingPoint.from_object(item.mapping("operating"))
        operating.check_schema(schema)
        return Checkpoint(
            folder=folder,
            schema=schema,
            input=InputSpec.from_object(item.mapping("input")),
            network=NetworkConfig.from_object(item.mapping("network")),
            channels=channels,
            operating=operating,
            metrics=item.mapping("metrics"),
            lineage=item.mapping("lineage"),
            digest=item.text("weights_sha256"),
        )


def _channels(values: tuple[int, ...], name: str) -> Channels:
    # Headlight 0.1 wrote pairs: it knew no grouped convolutions.
    if len(values) not in (2, 3):
        raise ConfigError(
            f"channels[{name!r}] must be [inputs, outputs, groups], got {list(values)}"
        )
    return Channels(*values)


def _check_digest(path: Path, expected: str) -> None:
    try:
        found = file_digest(path)
    except OSError as error:
        raise CheckpointError(f"{path} cannot be read: {error.strerror or error}") from error
    if found != expected:
        raise CheckpointError(
            f"{path} was changed: expected sha256 {expected[:12]}..., got {found[:12]}...; "
            "copy the checkpoint again or make it anew"
        )
