"""Training: data, networks, losses, the loop, checkpoints, and the graph that is deployed."""

from benchmarks.command import require_packages

require_packages("train", "torch", "safetensors", "tyro", "PIL", "kornia")
