"""The scripts that a kit is started with."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Final

__all__ = ["LAUNCHERS"]

_SHELL: Final = """\
#!/bin/sh
# Measures what this kit holds on this device; results go to results/. Options: ./run.sh --help
# PYTHON names the interpreter (3.10 or newer), python3 unless told.
set -eu
HERE="$(dirname "$0")"
PYTHON="${PYTHON:-python3}"
if [ -d "$HERE/wheels" ] && [ ! -d "$HERE/site" ]; then
    # No virtual environment: a Jetson's own TensorRT stays visible.
    "$PYTHON" -m pip install --quiet --no-index --find-links "$HERE/wheels" --no-deps \\
        --target "$HERE/site.partial" "$HERE"/wheels/*.whl
    mv "$HERE/site.partial" "$HERE/site"
fi
exec "$PYTHON" "$HERE/run.py" "$@"
"""
_PYTHON: Final = '''\
"""Measures what this kit holds on this device; results go to results/."""

import os
import sys

if sys.version_info < (3, 10):
    raise SystemExit("error: Python 3.10 or newer is needed; name one: PYTHON=python3.11 ./run.sh")
HERE = os.path.dirname(os.path.abspath(__file__))
# Child processes must find the same packages.
PATHS = [os.path.join(HERE, "packages"), os.path.join(HERE, "site")]
os.environ["PYTHONPATH"] = os.pathsep.join([*PATHS, os.environ.get("PYTHONPATH", "")])
sys.path[:0] = PATHS
# Nothing is written into the kit, whose files are checked against their digests.
os.environ["PYTHONDONTWRITEBYTECODE"] = "1"
sys.dont_write_bytecode = True
try:
    import cv2
    import numpy
except ImportError as error:
    raise SystemExit(
        f"error: {error}; this device needs numpy, OpenCV and one engine. With pip and a network: "
        f"{sys.executable} -m pip install numpy opencv-python-headless onnxruntime; without one, "
        "pack wheels into the kit (--wheels)"
    )

from benchmarks.kit.running import main

raise SystemExit(main(kit=os.path.relpath(HERE)))
'''
LAUNCHERS: Final[Mapping[str, str]] = {"run.sh": _SHELL, "run.py": _PYTHON}
"""File name to content; all are executable."""
