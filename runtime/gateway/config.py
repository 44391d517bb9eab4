"""What ``gateway.toml`` can say; docs/gateway.md explains it by an example."""

from __future__ import annotations

from dataclasses import dataclass, field
from pathlib import Path
from typing import Final

from runtime.deployment import DeploymentOptions
from runtime.errors import ConfigError
from runtime.queue import QueueOptions

from .cameras.options import CameraOptions
from .events.json_lines import JsonLinesOptions
from .events.mqtt import MqttOptions
from .events.outbox import OutboxOptions
from .events.webhook import WebhookOptions
from .pictures import PictureOptions
from .pipeline import PipelineOptions
from .privacy import PrivacyOptions
from .serve.options import ServeOptions
from .tables import options_of, read_table

__all__ = ["GatewayOptions", "ModelOptions", "WatchedCamera", "read_config"]

_LEVELS: Final = ("debug", "info", "warning", "error")


def _served() -> QueueOptions:
    # Clients of the HTTP server wait here; cameras take their newest frame themselves.
    return QueueOptions(capacity=64, on_full="drop_newest", deadline_ms=1000.0)


@dataclass(frozen=True, slots=True, kw_only=True)
class ModelOptions:
    """What reads: one artifact for good, or the version in use of a store.

    Raises:
        ConfigError: neither or both were given, or a value out of range.
    """

    artifact: str = ""
    """Folder of an artifact."""
    store: str = ""
    """Folder of versions, filled by ``python -m runtime.install``: new ones are taken up while
    everything goes on, bad ones are rolled back."""
    verify: str = ""
    """Public key (PEM file) whose owner must have signed what is loaded."""
    threads: int = 1
    """Threads for one engine call, >= 1."""
    hint: str = "latency"
    """``latency`` or ``throughput``."""
    max_batch: int = 16
    """Images per engine call, >= 1."""
    cache_dir: str = ""
    """Where OpenVINO may keep compiled graphs; trusted as the artifact itself."""
    queue: QueueOptions = field(default_factory=_served)
    """How requests of HTTP clients wait."""
    follow: DeploymentOptions = field(default_factory=DeploymentOptions)
    """How a store is followed."""

    def __post_init__(self) -> None:
        if bool(self.artifact) == bool(self.store):
            raise ConfigError(
                "model: give artifact (a folder) or store (a folder of versions), and one of them"
            )


@dataclass(frozen=True, slots=True, kw_only=True, repr=False)
class WatchedCamera(CameraOptions):
    """One camera, and what is made of its frames."""

    reading: PipelineOptions = field(default_factory=PipelineOptions)


@dataclass(frozen=True, slots=True, kw_only=True)
class GatewayOptions:
    """All of ``gateway.toml``; a key that stands in none of these options is an error.

    Raises:
        ConfigError: options that contradict each other.
    """

    model: ModelOptions
    camera: tuple[WatchedCamera, ...] = ()
    """None: only the HTTP server."""
    outbox: OutboxOptions = field(default_factory=OutboxOptions)
    json_lines: tuple[JsonLinesOptions, ...] = ()
    webhook: tuple[WebhookOptions, ...] = ()
    mqtt: tuple[MqttOptions, ...] = ()
    privacy: PrivacyOptions = field(default_factory=PrivacyOptions)
    pictures: PictureOptions | None = None
    """None: no picture is kept."""
    serve: ServeOptions | None = field(default_factory=ServeOptions)
    log_level: str = "info"
    """``debug``, ``info``, ``warning`` or ``error``."""

    def __post_init__(self) -> None:
        names = [camera.name for camera in self.camera]
        if len(set(names)) < len(names):
            raise ConfigError(f"cameras must have different names, got {names}")
        sinks = [
            *(sink.name for sink in self.json_lines),
            *(sink.name for sink in self.webhook),
            *(sink.name for sink in self.mqtt),
        ]
        if len(set(sinks)) < len(sinks):
            raise ConfigError(
                f"json_lines, webhook and mqtt must have different names, got {sinks}; set name"
            )
        if self.log_level not in _LEVELS:
            raise ConfigError(f"log_level must be one of {_LEVELS}, got {self.log_level!r}")
        if self.pictures is not None and self.privacy.text != "clear":
            raise ConfigError(
                f"pictures show what privacy.text = {self.privacy.text!r} hides; leave [pictures] "
                "out, or make texts clear"
            )
        if not self.camera and self.serve is None:
            raise ConfigError("there is nothing to do: give a [[camera]], or [serve]")


def read_config(path: Path) -> GatewayOptions:
    """Read ``gateway.toml``.

    Raises:
        ConfigError: it cannot be read, says something unknown, or cannot work.
    """
    return options_of(GatewayOptions, read_table(path), str(path))
