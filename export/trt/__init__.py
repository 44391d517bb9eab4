"""Engines for TensorRT and TensorRT-RTX: ``python -m export.trt CHECKPOINT ...``.

Engines are built where they run. ``cli`` runs beside the checkpoint, with torch: it writes the
graph as TensorRT reads it, checks it, and builds and proves the engine, or, where no GPU can run
it, packs a build kit. ``kit`` runs on the device, without torch and onnx, and does there what is
left. ``options``, ``builder`` and ``worker`` build an engine and serve both.
"""
