"""Importing TensorRT, full or RTX, and hearing what it says.

Both have the same Python API under two names. Full TensorRT comes with JetPack or from NVIDIA;
TensorRT-RTX is on PyPI, builds without a GPU, and its engines run on RTX cards only.
"""

from __future__ import annotations

import importlib
from collections.abc import Callable, Mapping
from typing import Any, Final

from .errors import EngineUnavailableError

__all__ = ["PACKAGES", "import_tensorrt", "new_log"]

PACKAGES: Final[Mapping[str, str]] = {"trt": "tensorrt", "rtx": "tensorrt_rtx"}
"""Engine in manifests to the Python package that runs it."""
_INSTALL: Final[Mapping[str, str]] = {
    "trt": "it comes with JetPack; elsewhere install it as NVIDIA says",
    "rtx": "run: pip install 'headlight[rtx]'",
}


def import_tensorrt(engine: str) -> Any:
    """Return TensorRT's Python module.

    Args:
        engine: A key of ``PACKAGES``.

    Raises:
        EngineUnavailableError: it is not installed or cannot be loaded.
    """
    package = PACKAGES[engine]
    try:
        return importlib.import_module(package)
    except (ImportError, OSError) as error:  # OSError: a library that it needs is not there
        raise EngineUnavailableError(
            f"{package} cannot be imported ({error}); {_INSTALL[engine]}"
        ) from error


def new_log(trt: Any, tell: Callable[[str], object] | None = None) -> Any:
    """Return a logger for TensorRT that keeps what is worth a warning.

    Args:
        trt: The module.
        tell: Called with every line but the verbose ones, as soon as it comes.

    Returns:
        An ``ILogger`` with ``warnings`` and ``errors``, lists of texts.
    """
    quiet = (trt.ILogger.Severity.VERBOSE, trt.ILogger.Severity.INFO)

    class Log(trt.ILogger):  # type: ignore[misc]
        def __init__(self) -> None:
            trt.ILogger.__init__(self)
            self.warnings: list[str] = []
            self.errors: list[str] = []

        def log(self, severity: Any, message: str) -> None:
            if tell is not None and severity != trt.ILogger.Severity.VERBOSE:
                tell(f"{str(severity).rpartition('.')[2]}: {message}")
            if severity not in quiet:
                worse = severity != trt.ILogger.Severity.WARNING
                (self.errors if worse else self.warnings).append(message)

    return Log()
