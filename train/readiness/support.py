"""What each version of TensorRT has: operators and types.

Sources: ``OnnxParser.supports_operator`` of TensorRT-RTX 1.7.1; onnx-tensorrt's operators.md of
8.5 and 10.15 and its changelog; ``DataType`` of the Python bindings of each version.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Final

from .findings import Target

__all__ = ["NARROWED", "grids", "input_types", "rejects", "types"]

_NOWHERE: Final = frozenset(
    {
        "AffineGrid",
        "Bernoulli",
        "BitCast",
        "BitShift",
        "BitwiseAnd",
        "BitwiseNot",
        "BitwiseOr",
        "BitwiseXor",
        "CenterCropPad",
        "Col2Im",
        "Compress",
        "ConcatFromSequence",
        "ConvInteger",
        "CumProd",
        "DFT",
        "Det",
        "DynamicQuantizeLinear",
        "ImageDecoder",
        "MatMulInteger",
        "MaxRoiPool",
        "MaxUnpool",
        "MelWeightMatrix",
        "Multinomial",
        "NegativeLogLikelihoodLoss",
        "Optional",
        "OptionalGetElement",
        "OptionalHasElement",
        "QLinearConv",
        "QLinearMatMul",
        "RegexFullMatch",
        "SequenceAt",
        "SequenceConstruct",
        "SequenceEmpty",
        "SequenceErase",
        "SequenceInsert",
        "SequenceLength",
        "SequenceMap",
        "SoftmaxCrossEntropyLoss",
        "SplitToSequence",
        "StringConcat",
        "StringNormalizer",
        "StringSplit",
        "SwiGLU",
        "TfIdfVectorizer",
        "Unique",
    }
)
"""Operators that the parser of no version has."""

_AFTER_10_3: Final = frozenset({"BlackmanWindow", "HammingWindow", "HannWindow", "STFT"})

_NOT_YET: Final[Mapping[Target, frozenset[str]]] = {
    "8.6": _AFTER_10_3 | {"DeformConv", "Hardmax"},
    "10.3": _AFTER_10_3,
    # TensorRT computes it with a plugin; TensorRT-RTX brings none.
    "rtx": frozenset({"DeformConv"}),
}
"""Version to the operators that only others have."""

_ALWAYS: Final = frozenset({"FLOAT", "FLOAT16", "INT8", "INT32", "BOOL"})
_SINCE_10_0: Final = _ALWAYS | {"BFLOAT16", "INT64", "FLOAT8E4M3FN", "INT4"}
_TYPES: Final[Mapping[Target, frozenset[str]]] = {
    # Its bindings name FP8 as well, but its parser does not read it: that came with 9.0.
    "8.6": _ALWAYS,
    "10.3": _SINCE_10_0,
}
"""Version to the types of ONNX that it computes with; newer ones have four-bit floats, too."""

_QUANTISED: Final = frozenset({"INT8", "INT4", "FLOAT8E4M3FN", "FLOAT4E2M1"})
_OUTSIDE: Final = frozenset({"FLOAT", "FLOAT16", "BFLOAT16", "INT8", "INT32", "INT64", "BOOL"})

NARROWED: Final = frozenset({"DOUBLE", "INT64"})
"""Types that the parser makes FLOAT and INT32 of where TensorRT has them not: harmless inside a
graph, where shapes are INT64, but whoever fills such an input fills it wrongly."""


def rejects(target: Target, operator: str) -> bool:
    """Return whether the parser is known not to have an operator of ONNX."""
    return operator in _NOWHERE or operator in _NOT_YET.get(target, ())


def types(target: Target) -> frozenset[str]:
    """Return the types that a version computes with, as ONNX calls them."""
    return _TYPES.get(target, _SINCE_10_0 | {"FLOAT4E2M1"})


def grids(target: Target) -> frozenset[str]:
    """Return the types that a version quantises to."""
    return types(target) & _QUANTISED


def input_types(target: Target) -> frozenset[str]:
    """Return what any input may be; UINT8 has a rule of its own."""
    return types(target) & _OUTSIDE
