"""What importing the package may and may not bring in."""

from __future__ import annotations

import importlib
import pkgutil
import subprocess
import sys
from pathlib import Path

import pytest

import benchmarks

MODULES = sorted(
    name.removeprefix("benchmarks.")
    for _, name, _ in pkgutil.walk_packages(benchmarks.__path__, "benchmarks.")
    if not name.endswith("__main__")
)


def test_measuring_needs_numpy_and_the_runtime_only() -> None:
    # tyro is optional, and some versions of it bring rich along.
    code = "import sys\nsys.modules['tyro'] = None\n"
    code += "".join(f"import benchmarks.{name}\n" for name in MODULES)
    heavy = "{'torch', 'onnx', 'onnxruntime', 'openvino', 'matplotlib', 'scipy', 'rich'}"
    code += f"assert not {heavy} & set(sys.modules), {heavy} & set(sys.modules)\n"
    root = Path(benchmarks.__path__[0]).parent
    subprocess.run([sys.executable, "-c", code], check=True, cwd=root)


@pytest.mark.parametrize("name", MODULES)
def test_all_names_what_the_module_defines(name: str) -> None:
    module = importlib.import_module(f"benchmarks.{name}")
    exported = getattr(module, "__all__", ())
    assert all(hasattr(module, item) for item in exported)
    assert len(set(exported)) == len(exported)
