"""Which engines there are to test with, and what happens where one is missing."""

from __future__ import annotations

import importlib.util
import os

import pytest

__all__ = ["ENGINES", "require"]

ENGINES = {"onnx": "onnxruntime", "openvino": "openvino"}
"""Engine name in manifests to the package that runs it."""


def require(package: str) -> None:
    """Skip the test when ``package`` is missing; fail where the job promised to install it.

    A CI job lists what it installs in HEADLIGHT_INSTALLED, separated by spaces.
    """
    if importlib.util.find_spec(package) is not None:
        return
    reason = f"{package} is not installed"
    if package in os.environ.get("HEADLIGHT_INSTALLED", "").split():
        pytest.fail(f"{reason}, but HEADLIGHT_INSTALLED names it")
    pytest.skip(reason)
