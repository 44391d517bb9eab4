"""Turning artifacts into what a model server reads: Triton, OpenVINO Model Server, DeepStream."""
