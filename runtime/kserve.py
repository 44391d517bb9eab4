"""What a client and a server of the KServe v2 inference protocol must agree on.

The protocol with its binary tensor data extension: JSON first, then the bytes of those tensors that
the JSON says are binary, one after the other and little-endian.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Final

__all__ = ["BINARY_SIZE", "DATATYPES", "HEADER_LENGTH", "LARGEST_JSON_BYTES"]

HEADER_LENGTH: Final = "Inference-Header-Content-Length"
"""HTTP header with the bytes of JSON before the binary tensors; absent where there are none."""
BINARY_SIZE: Final = "binary_data_size"
"""Parameter of a binary tensor: its bytes."""
DATATYPES: Final[Mapping[str, str]] = {"UINT8": "uint8", "FP32": "float32"}
"""The protocol's names of the types that networks here take and give, as numpy spells them."""
LARGEST_JSON_BYTES: Final = 1 << 20
"""More than names, shapes and parameters ever take."""
