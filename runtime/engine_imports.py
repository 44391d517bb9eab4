"""Importing engines without their telemetry.

ONNX Runtime and OpenVINO report usage over the network by default, and write identifiers below
the home folder; NNCF reports through OpenVINO's package. All import them through this module, or
call ``forbid_telemetry`` before they do, because the switches work only before the import.
"""

from __future__ import annotations

import importlib
import os
import sys
import threading
from functools import cache
from typing import Any, Final

from .errors import EngineUnavailableError

__all__ = [
    "forbid_telemetry",
    "import_litert",
    "import_onnxruntime",
    "import_openvino",
    "openvino_core",
]

_CORE_LOCK: Final = threading.Lock()
_IMPORT_LOCK: Final = threading.Lock()
_CONVERTER: Final = "openvino.tools.ovc"


def forbid_telemetry() -> None:
    """Switch off the telemetry of ONNX Runtime, OpenVINO and NNCF for this process.

    Nothing is written to disk. Call it before importing any of them.
    """
    # disable_telemetry_events() after the import comes too late: the files are written by then.
    os.environ["ORT_DISABLE_TELEMETRY"] = "1"
    # None makes `import openvino_telemetry` fail; OpenVINO and NNCF take that as "not installed".
    sys.modules.setdefault("openvino_telemetry", None)  # type: ignore[arg-type]


def import_onnxruntime() -> Any:
    """Return the ``onnxruntime`` module.

    Raises:
        EngineUnavailableError: it is not installed or cannot be loaded.
    """
    return _import("onnxruntime")


def import_openvino() -> Any:
    """Return the ``openvino`` module, without its converter unless that is asked for.

    OpenVINO imports the converter (command line parsing, e-mail, logging of Abseil, masked arrays)
    if it is there: half of the time and memory of the import. ``openvino.convert_model`` works as
    always, for all of the process; it is imported when it is first asked for.

    Raises:
        EngineUnavailableError: it is not installed or cannot be loaded.
    """
    with _IMPORT_LOCK:
        if "openvino" in sys.modules or _CONVERTER in sys.modules:
            return _import("openvino")
        sys.modules[_CONVERTER] = None  # type: ignore[assignment]  # "not installed"
        try:
            openvino = _import("openvino")
        finally:
            del sys.modules[_CONVERTER]
        openvino.__getattr__ = _find_converter
    return openvino


def _find_converter(name: str) -> object:
    """What the ``openvino`` module does for a name that it has not (PEP 562)."""
    if name != "convert_model":
        raise AttributeError(f"module 'openvino' has no attribute {name!r}")
    found = importlib.import_module(_CONVERTER).convert_model
    sys.modules["openvino"].convert_model = found  # type: ignore[attr-defined]
    return found


def import_litert() -> Any:
    """Return the interpreter module of ``ai_edge_litert``.

    Raises:
        EngineUnavailableError: it is not installed or cannot be loaded.
    """
    return _import("ai_edge_litert.interpreter", extra="tflite")


def openvino_core() -> Any:
    """Return the one ``openvino.Core`` of this process, which lives as long as the process.

    The CPU plugin of every Core gives its thread a stack for signal handlers, and frees it when the
    Core ends. If one ends while a Core that was made later is in use, and then that one ends, the
    freed stack is installed again, and the next signal (Ctrl-C, SIGTERM) kills the process: seen
    with OpenVINO 2026.4 whenever a model was replaced while it ran.

    Raises:
        EngineUnavailableError: OpenVINO is not installed or cannot be loaded.
    """
    with _CORE_LOCK:
        return _new_core()


@cache
def _new_core() -> Any:
    core = import_openvino().Core()
    # Weights mapped from a file change under the engine when the file changes.
    core.set_property({"ENABLE_MMAP": False})
    return core


def _import(package: str, *, extra: str = "") -> Any:
    forbid_telemetry()
    try:
        return importlib.import_module(package)
    except ImportError as error:
        raise EngineUnavailableError(
            f"{package} cannot be imported ({error}); pip install 'headlight[{extra or package}]'"
        ) from error
