"""What the reader asks of an engine, and which engines there are."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from importlib import import_module
from pathlib import Path
from typing import Final, Protocol

from .arrays import Images, Logits
from .errors import EngineError
from .manifest import Manifest
from .passport import REQUIRES, check_passport

__all__ = ["OPENERS", "Session", "SessionOptions", "host_facts", "open_session"]


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
    cache_dir: Path | None = None
    """Where OpenVINO keeps compiled graphs, so that the next start is faster; no cache where not
    given. Whoever can write this folder decides what the engine computes: keep it as safe as the
    artifact itself. Other engines ignore it."""

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
        """Keys ``engine``, ``version``, ``device``, ``precision``, ``threads`` as really used.

        Where anything runs elsewhere or in another precision than asked, ``fallback`` says what
        and how much.
        """


def _open(
    kind: Callable[..., Session],
    path: Path,
    manifest: Manifest,
    options: SessionOptions,
    **more: object,
) -> Session:
    """Return a session of ``kind`` with what all of them are told."""
    return kind(
        path,
        manifest.schema,
        manifest.input,
        options,
        precision=manifest.precision,
        passport=manifest.passport,
        **more,
    )


def _onnx(path: Path, manifest: Manifest, options: SessionOptions) -> Session:
    from .session_onnx import OnnxSession

    return _open(OnnxSession, path, manifest, options)


def _openvino(path: Path, manifest: Manifest, options: SessionOptions) -> Session:
    from .session_openvino import OpenVinoSession

    return _open(OpenVinoSession, path, manifest, options)


def _trt(path: Path, manifest: Manifest, options: SessionOptions) -> Session:
    from .session_trt import TrtSession

    return _open(TrtSession, path, manifest, options, engine=manifest.engine)


def _tflite(path: Path, manifest: Manifest, options: SessionOptions) -> Session:
    from .session_tflite import TfliteSession

    return _open(TfliteSession, path, manifest, options)


OPENERS: Final[Mapping[str, Callable[[Path, Manifest, SessionOptions], Session]]] = {
    "onnx": _onnx,
    "openvino": _openvino,
    "trt": _trt,
    "rtx": _trt,
    "tflite": _tflite,
}


def host_facts(engine: str) -> Mapping[str, str]:
    """Return what this host has for an engine, to be compared with an artifact's passport.

    Args:
        engine: A key of ``OPENERS``.

    Raises:
        EngineUnavailableError: the engine's package is not installed.
    """
    module = import_module(f".session_{engine}", __package__)
    facts: Mapping[str, str] = module.host_facts()
    return facts


def open_session(folder: Path, manifest: Manifest, options: SessionOptions) -> Session:
    """Load the engine of an artifact whose files were checked before.

    Raises:
        EngineUnavailableError: the engine's package is not installed.
        EngineError: the engine is unknown here, was built for another host, or refuses the file.
    """
    if manifest.engine not in OPENERS:
        raise EngineError(
            f"engine {manifest.engine!r} is unknown to this runtime; it has {sorted(OPENERS)}"
        )
    if any(key.startswith(REQUIRES) for key in manifest.passport):
        check_passport(manifest, host_facts(manifest.engine))
    path = folder / manifest.engine_file
    try:
        return OPENERS[manifest.engine](path, manifest, options)
    except UnicodeDecodeError as error:
        # Names in a damaged graph; the bindings of any engine turn them into text when asked.
        raise EngineError(
            f"{manifest.engine} cannot load {path}: a name in it is no UTF-8; export it again"
        ) from error
