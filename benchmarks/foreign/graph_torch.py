"""Programs that ``torch.export`` wrote, run by torch on the CPU: interpreted, or compiled."""

from __future__ import annotations

import threading
import warnings
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any, Final

from benchmarks.command import missing_extra
from runtime.errors import EngineError, MissingExtraError
from runtime.session import SessionOptions

from .graphs import Array, Tensor, fixed_batch

__all__ = ["TorchGraph"]

_BACKEND: Final = "inductor"
_COMPILER: Final[Mapping[str, bool]] = {"freezing": True}
"""Weights become constants of the compiled program, as PyTorch advises for inference on CPUs."""


class TorchGraph:
    """See ``Graph``; where ``compiled``, for one sample, for the usual batch and for any.

    Args:
        path: The ``.pt2`` file. Loading one may run code that is in it: load what you trust.
        options: Threads, usual batch.
        compiled: Whether ``torch.compile`` makes native code of the program, which takes a minute
            and a C++ compiler, or torch runs it operation by operation.

    Raises:
        MissingExtraError: torch is not installed.
        EngineError: the file is no such program, or cannot be compiled.
    """

    def __init__(self, path: Path, options: SessionOptions, *, compiled: bool = False) -> None:
        try:
            import torch
        except ImportError as error:
            raise MissingExtraError(missing_extra("torch", "train")) from error
        self._path, self._torch, self._threads = path, torch, options.threads
        # What torch raises for damaged files and failing programs shares no base but this one.
        self._errors: type[Exception] = Exception
        try:
            with warnings.catch_warnings():
                warnings.simplefilter("ignore")  # of weights on other devices
                program = torch.export.load(path)
            self.inputs, self.outputs = _tensors(program)
            self._program: Callable[..., Any] | None = program.module()
        except self._errors as error:
            raise EngineError(f"torch cannot load {path}: {error}") from error
        self.batches = fixed_batch(self.inputs[0].shape) if self.inputs else None
        self._compiled = compiled
        self._own_size = {1, options.batch}
        self._lock = threading.Lock()
        self._by_batch: dict[int, Callable[..., Any]] = {}
        self.facts: Mapping[str, str] = {
            "engine": f"torch, {_BACKEND}" if compiled else "torch, eager",
            "version": str(torch.__version__),
            "device": "cpu",
            "threads": str(options.threads),
        }

    def run(self, feed: Array) -> Sequence[Array]:
        """See ``Graph``."""
        torch = self._torch
        if torch.get_num_threads() != self._threads:  # one number for the whole process
            torch.set_num_threads(self._threads)
        program = self._program_for(len(feed))
        try:
            with torch.inference_mode():
                found = program(torch.from_numpy(feed))
                found = (found,) if isinstance(found, torch.Tensor) else found
                # Eager programs may give views of one array, which callers would share.
                return [
                    (each.float() if each.is_floating_point() else each).numpy().copy()
                    for each in found
                ]
        except self._errors as error:
            text = str(error).strip().splitlines()
            raise EngineError(
                f"torch failed on {self._path}: {text[0] if text else type(error).__name__}"
                + ("; compile = false runs it without a compiler" if self._compiled else "")
            ) from error

    def _program_for(self, batch: int) -> Callable[..., Any]:
        with self._lock:
            if self._program is None:
                raise EngineError(f"{self._path} was closed")
            if not self._compiled:
                return self._program
            size = batch if batch in self._own_size else 0
            if size not in self._by_batch:
                self._by_batch[size] = self._torch.compile(
                    self._program, backend=_BACKEND, dynamic=not size, options={**_COMPILER}
                )
            return self._by_batch[size]

    def close(self) -> None:
        """See ``Graph``."""
        with self._lock:
            self._program = None
            self._by_batch.clear()


def _tensors(program: Any) -> tuple[Sequence[Tensor], Sequence[Tensor]]:
    """Return inputs and outputs; outputs that are no tensors fail later, with their number."""
    given = set(program.graph_signature.user_inputs)
    nodes = [
        node for node in program.graph.nodes if node.op == "placeholder" and node.name in given
    ]
    (last,) = (node for node in program.graph.nodes if node.op == "output")
    named = zip(program.graph_signature.user_outputs, _results(program, last), strict=True)
    return (
        [_tensor(node.name, node.meta["val"]) for node in nodes],
        [_tensor(str(name), value) for name, value in named],
    )


def _results(program: Any, last: Any) -> Sequence[Any]:
    """Return what the program computes for its callers, without what it keeps for itself."""
    own = len(last.args[0]) - len(program.graph_signature.user_outputs)
    return [node.meta["val"] for node in last.args[0][own:]]


def _tensor(name: str, value: Any) -> Tensor:
    # A free size is a symbol, which compares as a number but is none.
    sizes = tuple(size if type(size) is int else None for size in value.shape)
    return Tensor(name, str(value.dtype).removeprefix("torch."), sizes)
