"""Reading and writing TFLite files: their operators and tensors by name.

The format is a FlatBuffer whose schema ships with ai-edge-litert.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import Any, Final

import numpy as np

__all__ = ["FlatFile", "Operator", "Tensor"]

_IDENTIFIER: Final = b"TFL3"


@dataclass(frozen=True, slots=True)
class Tensor:
    """A tensor of a graph."""

    index: int
    name: str
    shape: tuple[int, ...]
    constant: bool


@dataclass(frozen=True, slots=True)
class Operator:
    """A step of a graph."""

    kind: str
    """As TFLite spells it: ``CONV_2D``; the name of a custom operator where it is not built in."""
    builtin: bool
    inputs: Sequence[Tensor]
    outputs: Sequence[Tensor]

    @property
    def activations(self) -> Sequence[Tensor]:
        """The inputs that are computed."""
        return [tensor for tensor in self.inputs if not tensor.constant]


class FlatFile:
    """A TFLite file in memory.

    Args:
        content: Its bytes.
    """

    def __init__(self, content: bytes) -> None:
        from ai_edge_litert import schema_py_generated as schema

        self.content = content
        self._schema: Any = schema
        self._model: Any = schema.ModelT.InitFromObj(schema.Model.GetRootAs(content, 0))

    @cached_property
    def tensors(self) -> Sequence[Tensor]:
        """All tensors of the graph."""
        model = self._model
        return [
            Tensor(
                index,
                tensor.name.decode(),
                tuple(int(size) for size in tensor.shape) if tensor.shape is not None else (),
                self._is_constant(model.buffers[tensor.buffer]),
            )
            for index, tensor in enumerate(model.subgraphs[0].tensors)
        ]

    @staticmethod
    def _is_constant(buffer: Any) -> bool:
        return buffer.data is not None or buffer.offset > 1

    @property
    def input(self) -> int:
        """Index of the graph's one input."""
        (index,) = self._model.subgraphs[0].inputs
        return int(index)

    @cached_property
    def operators(self) -> Sequence[Operator]:
        """All operators of the graph, in the order in which they run."""
        builtin = self._schema.BuiltinOperator
        names = {code: name for name, code in vars(builtin).items() if isinstance(code, int)}
        found = []
        for operator in self._model.subgraphs[0].operators:
            code = self._model.operatorCodes[operator.opcodeIndex]
            # Codes below 127 stand in the older of two fields.
            kind = max(code.builtinCode, code.deprecatedBuiltinCode)
            own = kind != builtin.CUSTOM
            found.append(
                Operator(
                    names[kind] if own else code.customCode.decode(),
                    own,
                    [self.tensors[index] for index in operator.inputs if index >= 0],
                    [self.tensors[index] for index in operator.outputs],
                )
            )
        return found

    def inlined(self) -> bytes:
        """Return the file with all weights inside the FlatBuffer.

        ai-edge-quantizer writes large ones behind it, where older readers do not look.
        """
        import flatbuffers

        for buffer in self._model.buffers:
            if buffer.offset > 1:
                end = buffer.offset + buffer.size
                buffer.data = np.frombuffer(self.content[buffer.offset : end], np.uint8)
                buffer.offset = buffer.size = 0
        builder = flatbuffers.Builder(len(self.content) + 65536)
        builder.Finish(self._model.Pack(builder), _IDENTIFIER)
        return bytes(builder.Output())
