"""Tensors to a safetensors file, as networks have them: anywhere, in any order, shared or not."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path

from safetensors.torch import save_file
from torch import Tensor

__all__ = ["save_tensors"]


def save_tensors(
    tensors: Mapping[str, Tensor], path: Path, notes: Mapping[str, str] | None = None
) -> None:
    """Write tensors by name, and texts beside them; an existing file is overwritten.

    Those that share memory, as the weights of one block under two names do, are written once for
    each name: the format knows no sharing, and a network that shares reads both into one.
    """
    written: dict[str, Tensor] = {}
    memory = set[int]()
    for name, tensor in tensors.items():
        value = tensor.detach().cpu().contiguous()
        place = value.untyped_storage().data_ptr()
        written[name] = value.clone() if place in memory else value
        memory.add(place)
    save_file(written, path, dict(notes) if notes else None)
