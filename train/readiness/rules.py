"""All rules on one graph."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

from benchmarks.command import say
from runtime.errors import EngineError

from .findings import Finding, Target
from .operators import check_input, check_operator, check_opset, check_plugin, check_tensors
from .placement import check_activation, check_addition, check_half_quantised
from .quantisers import check_quantiser, check_types
from .view import GraphView

__all__ = ["check_readiness", "require_ready"]

_NODE_RULES = (
    check_types,
    check_addition,
    check_activation,
    check_half_quantised,
)
_TARGET_RULES = (check_operator, check_quantiser)
"""Those that differ among versions."""
_SHOWN = 10


def check_readiness(model: Any, target: Target) -> list[Finding]:
    """Return what TensorRT would reject or misread (R) and what would run worse (W), R first.

    Args:
        model: ``onnx.ModelProto``, float or with Q/DQ nodes.
        target: Version to check for.

    Raises:
        DataError: it is no valid graph.
    """
    return sorted(_findings(GraphView(model), target), key=lambda finding: finding.rule)


def _findings(view: GraphView, target: Target) -> Iterator[Finding]:
    yield from check_opset(view, target)
    for value in view.inputs:
        yield from check_input(view, value, target)
    yield from check_tensors(view, target)
    for plugin in view.plugins:
        yield from check_plugin(plugin)
    for target_rule in _TARGET_RULES:
        for node in view.nodes:
            yield from target_rule(view, node, target)
    for rule in _NODE_RULES:
        for node in view.nodes:
            yield from rule(view, node)


def require_ready(model: Any, target: Target, what: str) -> None:
    """Fail on a graph that TensorRT would reject or misread; tell what would run worse.

    Args:
        model: ``onnx.ModelProto``.
        target: Version to check for.
        what: Name of the graph in messages.

    Raises:
        EngineError: it breaks an R rule; the message names each with its node.
        DataError: it is no valid graph.
    """
    findings = check_readiness(model, target)
    broken = [finding for finding in findings if finding.breaks]
    if broken:
        shown = "\n  ".join(map(str, broken[:_SHOWN]))
        more = f"\n  ... and {len(broken) - _SHOWN} more" if len(broken) > _SHOWN else ""
        raise EngineError(
            f"{what} is not ready for TensorRT {target}, it breaks {len(broken)} rules:"
            f"\n  {shown}{more}"
        )
    for finding in findings[:_SHOWN]:
        say(f"{what}: {finding}")
    if len(findings) > _SHOWN:
        say(f"{what}: ... and {len(findings) - _SHOWN} more warnings")
