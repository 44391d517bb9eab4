"""Check anybody's ONNX graph for TensorRT: ``python -m export.readiness MODEL.onnx``."""
