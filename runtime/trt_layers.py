"""What TensorRT's engine inspector tells about the layers of an engine.

It is asked for JSON, and the engine must have been built with detailed verbosity. TensorRT 8 and
10 name a tensor's type in the words of ``Format/Datatype``, 11 in ``DataType``.
"""

from __future__ import annotations

import json
import re
from collections import Counter
from collections.abc import Mapping
from typing import Any, Final

__all__ = ["count_precisions"]

_WEIGHTED: Final = re.compile(r"conv|gemm|matrix|matmul|fullyconnected", re.IGNORECASE)
_TYPES: Final = (
    ("int8", re.compile(r"\bint8", re.IGNORECASE)),
    ("bf16", re.compile(r"\b(bf16|bfloat16)\b", re.IGNORECASE)),
    ("fp16", re.compile(r"\b(fp16|half)\b", re.IGNORECASE)),
    ("fp32", re.compile(r"\b(fp32|float|tf32)\b", re.IGNORECASE)),
)


def count_precisions(report: str) -> Mapping[str, int]:
    """Return precision to the number of convolutions and matrix products that read it.

    Args:
        report: JSON of ``get_engine_information``. Layers that it does not describe, as those
            that were compiled together into one, are not counted.
    """
    try:
        value = json.loads(report)
    except ValueError:
        return {}
    layers = value.get("Layers") if isinstance(value, dict) else None
    found = [_precision(layer) for layer in layers] if isinstance(layers, list) else []
    return Counter(name for name in found if name)


def _precision(layer: Any) -> str | None:
    if not isinstance(layer, dict):  # built without details: a name only
        return None
    kind = f"{layer.get('LayerType', '')} {layer.get('ParameterType', '')}"
    inputs = layer.get("Inputs")
    if not _WEIGHTED.search(kind) or not isinstance(inputs, list) or not inputs:
        return None
    first = inputs[0] if isinstance(inputs[0], dict) else {}
    words = " ".join(str(value) for key, value in first.items() if "datatype" in key.lower())
    return next((name for name, pattern in _TYPES if pattern.search(words)), None)
