"""Fixing the number of images that a graph takes at once."""

from __future__ import annotations

from pathlib import Path

__all__ = ["fix_batch"]


def fix_batch(graph: Path, target: Path, batch: int) -> None:
    """Write a copy of an ONNX graph that takes exactly ``batch`` images.

    Engines for microcontrollers and some accelerators take no free size, and others run a fixed
    one faster.

    Args:
        graph: The ONNX file; the first size of its input is free.
        target: The file to write.
        batch: At least 1.
    """
    import onnx

    model = onnx.load(graph)
    (image,) = model.graph.input
    free = image.type.tensor_type.shape.dim[0].dim_param
    for value in (*model.graph.input, *model.graph.output, *model.graph.value_info):
        for size in value.type.tensor_type.shape.dim:
            if size.dim_param == free:
                size.dim_value = batch  # a union: the name goes
    onnx.save(model, target)
    onnx.checker.check_model(target, full_check=True)
