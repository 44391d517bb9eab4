"""Turning a checkpoint into an artifact that is proven to answer as it does.

What runs on devices needs no torch: ``proof``, ``parity`` and ``trt.kit``. So only the commands
ask for what they need, as early as can be.
"""

import sys

from benchmarks.command import require_packages

if sys.argv[:1] == ["-m"] and "export.trt.kit" not in sys.orig_argv:
    require_packages("export", "torch", "safetensors", "tyro", "onnx")
