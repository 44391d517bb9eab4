"""Is INT8 worth it: float against INT8 in one engine of this machine, timed by turns."""

from __future__ import annotations

from collections.abc import Mapping
from contextlib import ExitStack, closing
from copy import deepcopy
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any

from benchmarks.environment import device
from benchmarks.scenarios import Comparison, compare_interleaved
from runtime.arrays import Images, Logits
from runtime.preprocess import InputSpec
from runtime.schema import Schema
from runtime.session import Session
from runtime.staging import scratch_folder
from train.data import CropSet
from train.engines import open_graph_file
from train.int8.requantise import adapt_to

from .decisions import score_session

__all__ = ["Speed", "compare_speed", "score_on"]

FLOAT = "float"


@dataclass(frozen=True, slots=True)
class Speed:
    """Float and INT8 in one engine: one crop, one thread."""

    engine: str
    comparison: Comparison
    """``float`` first."""

    def verdict(self) -> str:
        """Return what to conclude, one line per INT8 form."""
        times, lines = self.comparison.medians_ms, []
        for name, ratio in self.comparison.speedups.items():
            low, high = ratio.bounds(0.975)
            if name == FLOAT:
                continue
            if low > 1:
                line = f"{name} is {ratio.value:.2f}x faster than float on {self.engine}"
            else:
                line = (
                    f"{name} is no faster than float on {self.engine}: keep the float network "
                    "there, unless the size of the file decides"
                )
            lines.append(
                f"{line} ({times[FLOAT]:.3f} ms float, {times[name]:.3f} ms {name}, one crop, one "
                f"thread; 95 % interval of the ratio {low:.2f} to {high:.2f})"
            )
        return "\n".join(lines)

    def to_object(self) -> Mapping[str, Any]:
        """Return plain JSON values."""
        return {
            "engine": self.engine,
            "cpu": device()["cpu"],
            "verdict": self.verdict(),
            **self.comparison.to_object(),
        }


def _open(model: Any, engine: str, path: Path, schema: Schema, spec: InputSpec) -> Session:
    """Open a copy of ``model`` in the form that the engine's exporter would write to ``path``.

    Raises:
        EngineError: the engine is not installed or refuses the graph.
    """
    import onnx

    copy = deepcopy(model)
    adapt_to(engine, copy)
    onnx.save(copy, path)
    return open_graph_file(engine, path, schema, spec, "int8")


def score_on(
    engine: str, model: Any, schema: Schema, spec: InputSpec, crops: CropSet | Images
) -> Logits:
    """Score crops with INT8 decisions in the form that an exporter would give to ``engine``.

    Args:
        engine: ``onnxruntime`` or ``openvino``.
        model: ``onnx.ModelProto`` with decisions; it stays as it is.
        schema: Its heads.
        spec: Its input.
        crops: N crops.

    Returns:
        Head name to (N, K) float32.
    """
    with scratch_folder() as scratch:
        path = scratch / "int8.onnx"
        with closing(_open(model, engine, path, schema, spec)) as session:
            return score_session(session, crops)


def compare_speed(
    engine: str,
    models: Mapping[str, Any],
    schema: Schema,
    spec: InputSpec,
    image: Images,
) -> Speed:
    """Time graphs by turns in one engine, one crop at a time, one thread.

    Args:
        engine: ``onnxruntime`` or ``openvino``.
        models: Name to ``onnx.ModelProto``; ``float`` is what the others are compared with.
        schema: Heads of all.
        spec: Input of all.
        image: (1, height, width, 3) uint8.

    Raises:
        EngineError: the engine is not installed or refuses a graph.
    """
    ordered = {FLOAT: models[FLOAT], **models}
    with ExitStack() as stack:
        scratch = stack.enter_context(scratch_folder())
        queries = {}
        for number, (name, model) in enumerate(ordered.items()):
            session = _open(model, engine, scratch / f"{number}.onnx", schema, spec)
            stack.callback(session.close)
            queries[name] = partial(session.run, image)
        return Speed(engine, compare_interleaved(queries))
