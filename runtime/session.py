"""What the reader asks of an engine, and which engines there are."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Final, Protocol

from .arrays import Images, Logits
from .errors import EngineError
from .manifest import Manifest

__all__ = ["OPENERS", "Session", "SessionOptions", "open_session"]


@dataclass(frozen=True, slots=True, kw_only=True)
class SessionOptions:
    """How to run an engine.

    Raises:
        EngineError: fewer than one thread or image per batch, or an unknown hint.
    """

    threads: int = 1
    """Threads for one query, >= 1."""
    hint: str = "latency"
    """``latency`` or ``throughput``; engines without such a hint ignore it."""
    batch: int = 16
    """The usual size of batches of more than one image; engines may prepare for it."""

    def __post_init__(self) -> None:
        known = self.hint in ("latency", "throughput")
        if self.threads < 1 or self.batch < 1 or not known:
            raise EngineError(
                f"threads and batch must be >= 1 and hint 'latency' or 'throughput', got "
                f"{self.threads}, {self.batch} and {self.hint!r}"
            )


class Session(Protocol):
    """A loaded engine. Any thread may call ``run``; implementations lock or pool as needed."""

    def run(self, images: Images) -> Logits:
        """Score a batch.

        Args:
            images: (N, height, width, 3) uint8, N >= 1, C-contiguous.

        Returns:
            Head name to (N, K) float32 in the manifest's order, owned by the caller.

        Raises:
            EngineError: the engine failed or was closed.
        """

    def close(self) -> None:
        """Free the engine; a second call does nothing."""

    @property
    def description(self) -> Mapping[str, str]:
        """Engine, its version, and the precision and device that it really uses."""


def _onnx(path: Path, manifest: Manifest, options: SessionOptions) -> Session:
    from .session_onnx import OnnxSession

    return OnnxSession(path, manifest.schema, manifest.input, options)


def _openvino(path: Path, manifest: Manifest, options: SessionOptions) -> Session:
    from .session_openvino import OpenVinoSession

    return OpenVinoSession(path, manifest.schema, manifest.input, options, manifest.precision)


OPENERS: Final[Mapping[str, Callable[[Path, Manifest, SessionOptions], Session]]] = {
    "onnx": _onnx,
    "openvino": _openvino,
}


def open_session(folder: Path, manifest: Manifest, options: SessionOptions) -> Session:
    """Load the engine of an artifact whose files were checked before.

    Raises:
        EngineUnavailableError: the engine's package is not installed.
        EngineError: the engine is unknown here or refuses the file.
    """
    if manifest.engine not in OPENERS:
        raise EngineError(
            f"engine {manifest.engine!r} is unknown to this runtime; it has {sorted(OPENERS)}"
        )
    return OPENERS[manifest.engine](folder / manifest.engine_file, manifest, options)
