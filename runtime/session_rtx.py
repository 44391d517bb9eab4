"""TensorRT-RTX: its sessions are those of ``session_trt``, what a host has of it is its own."""

from __future__ import annotations

from collections.abc import Mapping

from . import session_trt

__all__ = ["host_facts"]


def host_facts() -> Mapping[str, str]:
    """Return the version of TensorRT-RTX and the first GPU of this host.

    Raises:
        EngineUnavailableError: it is not installed.
    """
    return session_trt.host_facts("rtx")
