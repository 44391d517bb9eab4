"""A detector for the gateway: any ONNX graph that puts out boxes, run by ONNX Runtime.

It takes graphs with one input, (1, 3, H, W) float32 RGB in [0, 1], and one output (1, N, 6): left,
top, right, bottom in input pixels, confidence, class; non-maximum suppression inside. Many
detectors export so ("end to end"). In gateway.toml::

    [camera.reading.regions]
    detector = "onnx_detector:make"  # this file in the folder where the gateway starts

and the graph's path in the environment variable DETECTOR_ONNX.
"""

from __future__ import annotations

import os
from collections.abc import Sequence

import cv2
import numpy as np

from runtime.arrays import Image
from runtime.engine_imports import import_onnxruntime  # with its telemetry switched off
from runtime.gateway.finding import Finder, Region
from runtime.regions import box_quads

LEAST_CONFIDENCE = 0.4


def make() -> Finder:
    """Load the graph; called once per camera."""
    onnxruntime = import_onnxruntime()
    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = 1  # cameras are the parallelism here
    session = onnxruntime.InferenceSession(
        os.environ["DETECTOR_ONNX"], options, providers=["CPUExecutionProvider"]
    )
    (graph_input,) = session.get_inputs()
    height, width = graph_input.shape[2:]

    def find(frame: Image) -> Sequence[Region]:
        resized = cv2.resize(frame, (width, height), interpolation=cv2.INTER_AREA)
        blob = resized[None, :, :, ::-1].transpose(0, 3, 1, 2).astype(np.float32) / 255
        (rows,) = session.run(None, {graph_input.name: blob})[0]
        rows = rows[rows[:, 4] >= LEAST_CONFIDENCE]
        scale = np.asarray([frame.shape[1] / width, frame.shape[0] / height] * 2)
        quads = box_quads(rows[:, :4] * scale)
        return [Region(quad, float(row[4])) for quad, row in zip(quads, rows, strict=True)]

    return find
