"""Every name of TensorRT that our code uses exists in every version, or is asked for first.

The names were recorded from the bindings of six versions and of TensorRT-RTX; the fakes that other
tests run on have those names only. Here the source is read, so that no path is missed.
"""

from __future__ import annotations

import ast
from collections.abc import Iterator
from pathlib import Path

import pytest

import export.trt.builder
import runtime.session_trt
import runtime.trt_lanes
import runtime.trt_module
from tests.fake_tensorrt import surface

SOURCES = [
    Path(str(module.__file__))
    for module in (
        export.trt.builder,
        runtime.session_trt,
        runtime.trt_lanes,
        runtime.trt_module,
    )
]
VARIABLES = {
    "builder": "Builder",
    "config": "IBuilderConfig",
    "network": "INetworkDefinition",
    "parser": "OnnxParser",
    "profile": "IOptimizationProfile",
    "image": "ITensor",
    "cache": "ITimingCache",
    "inspector": "EngineInspector",
    "engine": "ICudaEngine",
    "loaded": "ICudaEngine",
    "context": "IExecutionContext",
}
"""What our code calls an object, and its class."""
SINCE_10 = ["10.3.0", "10.13.3", "10.16.1", "11.0.0", "11.4.0", "rtx-1.7.1"]
ASKED_FIRST = {
    "BuilderFlag.FP16": ["8.6.1", "10.3.0", "10.13.3", "10.16.1"],
    "BuilderFlag.INT8": ["8.6.1", "10.3.0", "10.13.3", "10.16.1"],
    "NetworkDefinitionCreationFlag.EXPLICIT_BATCH": ["8.6.1", "10.3.0", "10.13.3", "10.16.1"],
    "NetworkDefinitionCreationFlag.STRONGLY_TYPED": SINCE_10,
    "CudaGraphStrategy.WHOLE_GRAPH_CAPTURE": ["rtx-1.7.1"],
    "ICudaEngine.create_runtime_config": SINCE_10[1:],
    "IRuntimeConfig.cuda_graph_strategy": ["rtx-1.7.1"],
}
"""Names that are reached only after ``hasattr``, and the versions that have them."""
ATTRIBUTES = {"context": "IExecutionContext", "_engine": "ICudaEngine", "_runtime": "Runtime"}
"""The same for attributes of our own objects."""


def used(tree: ast.AST) -> Iterator[str]:
    """Yield ``Class.member`` of every attribute that is TensorRT's."""
    for node in ast.walk(tree):
        if not isinstance(node, ast.Attribute) or node.attr.startswith("__"):
            continue
        owner = node.value
        if isinstance(owner, ast.Name) and owner.id in VARIABLES:
            yield f"{VARIABLES[owner.id]}.{node.attr}"
        if isinstance(owner, ast.Attribute):
            if isinstance(owner.value, ast.Name) and owner.value.id == "trt":
                yield f"{owner.attr}.{node.attr}"
            if owner.attr in ATTRIBUTES:
                yield f"{ATTRIBUTES[owner.attr]}.{node.attr}"


NAMES = sorted({name for path in SOURCES for name in used(ast.parse(path.read_text("utf-8")))})


def renamed(name: str) -> str:
    """The RTX runtime config is called ``config`` as the builder's is."""
    other = "IBuilderConfig.cuda_graph_strategy"
    return "IRuntimeConfig.cuda_graph_strategy" if name == other else name


def test_the_source_is_really_read() -> None:
    assert len(NAMES) > 40
    for known in ("Builder.create_network", "DataType.UINT8", "IExecutionContext.execute_async_v3"):
        assert known in NAMES
    assert set(ASKED_FIRST) <= set(map(renamed, NAMES))


@pytest.mark.parametrize("version", surface.versions())
def test_every_name_exists(version: str) -> None:
    members = surface.members(version)
    missing = []
    for name in map(renamed, NAMES):
        owner, member = name.split(".")
        if version in ASKED_FIRST.get(name, [version]) and member not in members.get(owner, ()):
            missing.append(name)
    assert missing == []


@pytest.mark.parametrize("name", sorted(ASKED_FIRST))
def test_what_is_asked_for_first_is_missing_in_the_others(name: str) -> None:
    owner, member = name.split(".")
    have = [v for v in surface.versions() if member in surface.members(v).get(owner, ())]
    assert have == ASKED_FIRST[name]
