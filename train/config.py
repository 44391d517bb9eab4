"""The typed config of ``train.fit``."""

from __future__ import annotations

from dataclasses import dataclass, field
from pathlib import Path

import tyro

from runtime.errors import ConfigError

from .data import CACHE_MB
from .loop import LoopConfig
from .network import NetworkConfig

__all__ = ["FitConfig"]


@dataclass(frozen=True, slots=True, kw_only=True)
class FitConfig:
    """Train a network on labelled crops.

    Raises:
        ConfigError: a time limit that is not positive.
    """

    data: tuple[Path, ...] = tyro.MISSING
    """Training lists, tables, trees or tar shards."""
    validation: tuple[Path, ...] = tyro.MISSING
    """Validation data of the same kinds: chooses weights, temperatures and thresholds."""
    output: Path = tyro.MISSING
    """Checkpoint folder to make. An interrupted run waits in OUTPUT.run and goes on from there."""
    schema: str = tyro.MISSING
    """Built-in schema, JSON file, or derived from the labels: derive:labels, derive:colour,garment
    or, with + for a head that takes several labels, derive:colour,tags+."""
    repeats: tuple[int, ...] = ()
    """How often an epoch shows each of --data, and after these, where teachers are followed on
    them, each of --unlabelled; once where not given."""
    init: Path | None = None
    """Checkpoint to start from instead of random weights; its network is kept as it is."""
    imgsz: tuple[int, int] = (48, 144)
    """Height and width of the input, px."""
    resize: str = "stretch"
    """``stretch`` or ``letterbox``."""
    network: NetworkConfig = field(default_factory=NetworkConfig)
    loop: LoopConfig = field(default_factory=LoopConfig)
    threads: int = 0
    """Threads of torch; 0 for one per core."""
    rank_timeout_s: float = 600.0
    """Under torchrun: how long a process waits for the others, s; longer than a validation."""
    cache_mb: int = CACHE_MB
    """Memory for decoded crops, MiB; those beyond it are decoded whenever they are needed."""
    skip_bad: bool = False
    """Leave bad rows out instead of failing."""
    overwrite: bool = False
    """Replace an existing OUTPUT."""

    def __post_init__(self) -> None:
        if not 0 < self.rank_timeout_s < float("inf"):
            raise ConfigError(f"need rank_timeout_s > 0, got {self.rank_timeout_s}")
