"""The typed config of ``train.fit``."""

from __future__ import annotations

from dataclasses import dataclass, field
from pathlib import Path

import tyro

from .loop import LoopConfig
from .network import NetworkConfig

__all__ = ["FitConfig"]


@dataclass(frozen=True, slots=True, kw_only=True)
class FitConfig:
    """Train a network on labelled crops."""

    data: tuple[Path, ...] = tyro.MISSING
    """Training lists or trees."""
    validation: tuple[Path, ...] = tyro.MISSING
    """Validation lists or trees: choose the best weights, fit temperatures and thresholds."""
    output: Path = tyro.MISSING
    """Checkpoint folder to make. An interrupted run waits in OUTPUT.run and goes on from there."""
    schema: str = tyro.MISSING
    """Built-in schema, JSON file, or derive:labels / derive:colour,garment from the labels."""
    repeats: tuple[int, ...] = ()
    """How often an epoch shows each of --data; once where not given."""
    init: Path | None = None
    """Checkpoint to start from instead of random weights."""
    imgsz: tuple[int, int] = (48, 144)
    """Height and width of the input, px."""
    resize: str = "stretch"
    """``stretch`` or ``letterbox``."""
    network: NetworkConfig = field(default_factory=NetworkConfig)
    loop: LoopConfig = field(default_factory=LoopConfig)
    threads: int = 0
    """Threads of torch; 0 for one per core."""
    skip_bad: bool = False
    """Leave bad rows out instead of failing."""
    overwrite: bool = False
    """Replace an existing OUTPUT."""
