"""What else a user would pick, measured beside our artifacts (docs/peers.md).

Other engines and models need no adapter of their own where a description says all
(``benchmarks.foreign``: torch, ONNX Runtime, CTC models, fast-plate-ocr's). Here is what is more
than a model: OpenVINO's own measuring tool, and a library that runs models.
"""
