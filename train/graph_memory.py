"""Graphs that this process wrote already.

torch's exporter takes seconds for a network of any size, and one network is exported many times:
for each engine and precision, and again for the probe of its heads.
"""

from __future__ import annotations

import hashlib
import io
import pickle
from collections import OrderedDict
from collections.abc import Callable
from typing import Any, Final

import torch

__all__ = ["GraphMemory", "content_digest"]

_LIMIT_BYTES: Final = 128 << 20


class GraphMemory:
    """Files by what they were made from; the longest unused go first.

    Args:
        limit_bytes: Of all files together. A larger file is not kept.
    """

    def __init__(self, limit_bytes: int = _LIMIT_BYTES) -> None:
        self._limit = limit_bytes
        self._files: OrderedDict[str, bytes] = OrderedDict()

    def recall(self, make: Callable[[], bytes], *made_from: object) -> bytes:
        """Return what ``make`` returns, without calling it where the same was made before.

        Args:
            make: Returns the content of the file.
            made_from: All that decides what it returns.
        """
        digest = content_digest(*made_from)
        if digest is None:
            return make()
        content = self._files.get(digest)
        if content is None:
            content = make()
            if len(content) > self._limit:
                return content
            self._files[digest] = content
        self._files.move_to_end(digest)
        while sum(map(len, self._files.values())) > self._limit:
            self._files.popitem(last=False)
        return content


def content_digest(*parts: object) -> str | None:
    """SHA-256 of values, modules among them: their classes, attributes, and tensors by content.

    None where something cannot be pickled, such as a network with a lambda in it.
    """
    target = io.BytesIO()
    try:
        _Contents(target, protocol=pickle.HIGHEST_PROTOCOL).dump(parts)
    except Exception:  # noqa: BLE001 - whatever a class of the user's own raises
        return None
    return hashlib.sha256(target.getbuffer()).hexdigest()


class _Contents(pickle.Pickler):
    """Writes what a tensor holds in place of where its memory lies."""

    def persistent_id(self, value: Any) -> tuple[object, ...] | None:
        if not isinstance(value, torch.Tensor):
            return None
        flat = value.detach().cpu().contiguous().reshape(-1)
        content = hashlib.sha256(flat.view(torch.uint8).numpy().data).hexdigest()
        return str(value.dtype), tuple(value.shape), content
