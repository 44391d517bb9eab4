"""Options of ``python -m export.repository``."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, Literal

import tyro

from runtime.errors import ConfigError
from train.readiness import Target

__all__ = ["RepositoryConfig", "Server"]

Server = Literal["triton", "ovms", "deepstream"]


@dataclass(frozen=True, slots=True, kw_only=True)
class RepositoryConfig:
    """Write a model repository for a server; artifacts go into it unchanged.

    Raises:
        ConfigError: a value out of range.
    """

    artifacts: tyro.conf.Positional[tuple[Path, ...]]
    """Artifact folders."""
    server: Annotated[Server, tyro.conf.arg(name="for")]
    """triton; ovms (OpenVINO Model Server); deepstream (a classifier for nvinfer)."""
    output: Path
    """Folder to make."""
    names: tuple[str, ...] = ()
    """A model name for each artifact, its folder's by default; artifacts of one name are versions
    of one model."""
    max_batch: int = 16
    """Images that the server may put together."""
    queue_delay_us: int = 0
    """How long Triton may wait for more images; 0 puts together only what is there already."""
    instances: int = 1
    """Copies of a model that run at the same time."""
    threads: int = 1
    """CPU threads of each copy."""
    tensorrt: Target = "10.3"
    """Version that nvinfer will build its engine with: what the graph is checked for."""
    verify: Path | None = None
    """Public key (PEM) whose owner must have signed every artifact."""
    overwrite: bool = False
    """Replace an existing OUTPUT."""

    def __post_init__(self) -> None:
        least = {"max_batch": 1, "queue_delay_us": 0, "instances": 1, "threads": 1}
        for name, value in least.items():
            if getattr(self, name) < value:
                raise ConfigError(f"{name} must be >= {value}, got {getattr(self, name)}")
