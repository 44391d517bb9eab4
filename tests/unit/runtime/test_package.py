"""The package's surface: what it exports, what it imports, what its errors are."""

from __future__ import annotations

import ast
import inspect
import os
import pkgutil
import subprocess
import sys
from pathlib import Path

import pytest

import runtime
from runtime import errors

ROOT = Path(runtime.__file__).parents[1]
HEAVY = {"torch", "onnx", "nncf", "onnxruntime", "openvino", "rich", "tyro", "matplotlib"}


def test_all_is_what_the_package_defines() -> None:
    modules = {name for _, name, _ in pkgutil.iter_modules(runtime.__path__)}
    public = {name for name in vars(runtime) if not name.startswith("_")} - modules
    assert set(runtime.__all__) == public
    assert list(runtime.__all__) == sorted(runtime.__all__)


@pytest.mark.parametrize("name", sorted(n for _, n, _ in pkgutil.iter_modules(runtime.__path__)))
def test_every_public_name_exists(name: str) -> None:
    module = __import__(f"runtime.{name}", fromlist=["x"])
    assert all(hasattr(module, public) for public in module.__all__)


def test_all_errors_are_exported() -> None:
    assert set(errors.__all__) <= set(runtime.__all__)


def test_the_drawn_tree_of_errors_is_the_real_one() -> None:
    classes = dict(inspect.getmembers(errors, inspect.isclass))
    assert set(classes) == set(errors.__all__)
    drawing = (errors.__doc__ or "").split("::")[1].split("Messages say")[0]
    stack: list[tuple[int, str]] = []
    for line in drawing.splitlines():
        name = next((word for word in line.split() if word.endswith("Error")), None)
        if name is None:
            continue
        depth = line.index(name)
        while stack and stack[-1][0] >= depth:
            stack.pop()
        base = stack[-1][1] if stack else "Exception"
        assert [parent.__name__ for parent in classes.pop(name).__bases__] == [base]
        stack.append((depth, name))
    assert not classes


def test_importing_is_cheap_and_pulls_no_engine() -> None:
    program = "import sys, runtime, runtime.show; print(*{m.split('.')[0] for m in sys.modules})"
    loaded = subprocess.run(
        [sys.executable, "-c", program],
        check=True, capture_output=True, text=True, env={**os.environ, "PYTHONPATH": str(ROOT)},
    )  # fmt: skip
    assert not HEAVY & set(loaded.stdout.split())


@pytest.mark.parametrize("path", sorted(Path(runtime.__file__).parent.glob("*.py")), ids=str)
def test_runs_on_python_3_10_under_any_name(path: Path) -> None:
    tree = ast.parse(path.read_text(encoding="utf-8"), feature_version=(3, 10))
    for node in ast.walk(tree):
        if isinstance(node, ast.ImportFrom):
            assert node.level == 1 or node.module != "runtime"
            assert not (node.module or "").startswith("runtime.")
            forbidden = {"StrEnum", "Self", "assert_never", "override"}
            assert not forbidden & {alias.name for alias in node.names}
        if isinstance(node, ast.Import):
            assert not {"runtime", "tomllib"} & {a.name.split(".")[0] for a in node.names}
