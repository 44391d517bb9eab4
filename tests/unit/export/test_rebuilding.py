"""The command that builds an engine again knows every exporter's options and their defaults."""

from __future__ import annotations

from dataclasses import MISSING, Field, fields
from typing import Any, Final

from export.exporter import ExportConfig
from export.parity import GateConfig
from export.tflite.cli import TfliteConfig
from export.trt.cli import TrtConfig
from runtime.passport import OPTIONS

WITHOUT: Final = {
    "checkpoint", "validation", "output", "report", "version", "overwrite",
    "rtx", "timing_cache", "target", "kit",
}  # fmt: skip
"""Options that are written otherwise, or do not decide what the engine is."""


def default(field: Field[Any]) -> object:
    value = field.default
    assert value is not MISSING
    return list(value) if isinstance(value, tuple) else value


def test_options_and_defaults_are_those_of_the_exporters() -> None:
    found = {f"gate.{field.name}": default(field) for field in fields(GateConfig)}
    for config in (ExportConfig, TrtConfig, TfliteConfig):
        for field in fields(config):
            if field.name not in WITHOUT | {"gate"}:
                found.setdefault(field.name, default(field))
    assert dict(OPTIONS) == found
