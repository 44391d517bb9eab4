"""All that is known of one artifact's speed and size."""

from __future__ import annotations

from .finding import Finding
from .footprint import size_measurements
from .loads import Loads
from .measuring import (
    ON_GPU,
    SCENARIOS,
    Plan,
    Speed,
    measure_speed,
    scenarios_for,
    speedup_measurement,
)
from .subject import Subject, artifact_sizes_mb, engine_input, open_subject

__all__ = [
    "ON_GPU",
    "SCENARIOS",
    "Finding",
    "Loads",
    "Plan",
    "Speed",
    "Subject",
    "artifact_sizes_mb",
    "engine_input",
    "measure_speed",
    "open_subject",
    "scenarios_for",
    "size_measurements",
    "speedup_measurement",
]
