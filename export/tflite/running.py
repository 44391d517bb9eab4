"""Running a TFLite graph step by step, to see what its tensors hold."""

from __future__ import annotations

import warnings
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
import numpy.typing as npt

from .flatfile import FlatFile

__all__ = ["tensor_values"]


def tensor_values(
    graph: FlatFile, batches: Sequence[npt.NDArray[np.uint8]]
) -> Mapping[str, npt.NDArray[np.float32]]:
    """Return what every computed float tensor holds, (batches, ...), by name.

    Args:
        graph: A float graph.
        batches: Inputs, each of the graph's size.
    """
    from ai_edge_litert.interpreter import Interpreter, OpResolverType

    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # it warns that keeping tensors takes memory
        interpreter: Any = Interpreter(
            model_content=graph.content,
            num_threads=1,
            # XNNPACK keeps no tensors between its operators.
            experimental_op_resolver_type=OpResolverType.BUILTIN_WITHOUT_DEFAULT_DELEGATES,
            experimental_preserve_all_tensors=True,
        )
    interpreter.allocate_tensors()
    (source,) = interpreter.get_input_details()
    made = {tensor.index for operator in graph.operators for tensor in operator.outputs}
    found: dict[str, list[Any]] = {}
    for batch in batches:
        interpreter.set_tensor(source["index"], batch.astype(source["dtype"]))
        interpreter.invoke()
        for tensor in graph.tensors:
            if tensor.index in made:
                found.setdefault(tensor.name, []).append(interpreter.get_tensor(tensor.index))
    arrays = {name: np.stack(parts) for name, parts in found.items()}
    return {name: array for name, array in arrays.items() if array.dtype == np.float32}
