"""Turning a checkpoint into an artifact that is proven to answer as it does."""

from benchmarks.command import require_packages

require_packages("export", "torch", "safetensors", "tyro", "onnx")
