"""Quick trainings on the lamps of ``tests.slimming``, for tests of everything that trains."""

from __future__ import annotations

import json
from pathlib import Path

from tests.slimming import SCHEMA, SPEC, tiny_config
from train.augment import AugmentConfig
from train.config import FitConfig
from train.loop import LoopConfig
from train.optim import OptimConfig

__all__ = ["NO_CHANGES", "lamps_config", "quick_loop", "write_schema"]

NO_CHANGES = AugmentConfig(
    geometry=0, tilt=0, colour=0, light=0, erase=0, blur=0, noise=0, resolution=0, jpeg=0
)


def quick_loop(steps: int = 8, **changes: object) -> LoopConfig:
    """A loop of few small steps that validates half-way and at the end."""
    settings: dict[str, object] = {
        "steps": steps,
        "batch": 16,
        "validate_every": max(1, steps // 2),
        "optim": OptimConfig(lr=5e-3, final_lr=5e-5, warmup=min(10, steps // 2)),
    }
    return LoopConfig(**(settings | changes))  # type: ignore[arg-type]


def write_schema(path: Path) -> Path:
    """Write the lamps' schema as a JSON file."""
    path.write_text(json.dumps(SCHEMA.to_object()), encoding="utf-8")
    return path


def lamps_config(lamps: Path, output: Path, *, steps: int = 8, **changes: object) -> FitConfig:
    """Options of ``train.fit`` on the fixture ``lamps``."""
    settings: dict[str, object] = {
        "data": (lamps / "train",),
        "validation": (lamps / "val",),
        "output": output,
        "schema": "derive:colour,side",
        "imgsz": (SPEC.height, SPEC.width),
        "network": tiny_config(),
        "loop": quick_loop(steps),
        "threads": 1,
    }
    return FitConfig(**(settings | changes))  # type: ignore[arg-type]
