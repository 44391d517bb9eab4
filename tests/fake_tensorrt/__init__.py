"""TensorRT and CUDA without a GPU, for the logic around them.

``module.make(version)`` has exactly the names that ``tests/data/trt_api/surface.json`` records for
a version; what it builds is the ONNX file, and ONNX Runtime computes. ``cuda`` has the memory,
streams and graphs of cuda-python, in host memory, and records every call. ``modules`` holds both
as packages, for processes of their own: put it first in ``sys.path``.
"""
