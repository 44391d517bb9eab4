"""Making a checkpoint smaller: slimming and INT8."""

from benchmarks.command import require_packages

require_packages("compress", "torch", "safetensors", "tyro")
