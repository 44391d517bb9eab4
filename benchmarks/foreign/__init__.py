"""Models that Headlight did not make, measured as its artifacts are.

A bare graph (ONNX, OpenVINO IR, TFLite, a TensorRT engine) says neither which colours its input
wants nor what its outputs mean. A *description*, a small TOML or JSON file beside it, says so
(docs/foreign-models.md); ``python -m benchmarks.foreign MODEL`` drafts one. Wherever a command of
this package takes an artifact folder, it takes such a file as well.
"""

from __future__ import annotations

from .description import Description, find_description, read_description
from .opening import ForeignManifest, foreign_manifest, open_foreign, open_reader

__all__ = [
    "Description",
    "ForeignManifest",
    "find_description",
    "foreign_manifest",
    "open_foreign",
    "open_reader",
    "read_description",
]
