"""The manifest of an engine that is not yet proven: what it is and where it came from."""

from __future__ import annotations

import time
from collections.abc import Mapping
from pathlib import Path
from typing import Final

from benchmarks.environment import device
from runtime.manifest import GOLDEN_FILE, FileRecord, Manifest
from runtime.passport import QUANTISED_LAYERS
from runtime.staging import file_digest
from train.lineage import lineage_entry

from .exporter import Exporter, ExportSource

__all__ = ["draft_manifest", "source_facts"]

_GOLDEN_TOLERANCE: Final[Mapping[str, float]] = {"fp32": 0.02, "fp16": 0.05, "bf16": 0.1}
"""Probability difference that a load accepts. A CPU without half-precision kernels computes such
layers in FP32: measured apart by 0.0015 (fp16) and 0.017 (bf16)."""
_INTEGER_TOLERANCE: Final = 0.25
"""Integer kernels round differently on every instruction set."""


def source_facts(source: ExportSource) -> Mapping[str, str]:
    """Return the passport's part that every engine has: what it was made from.

    The graph may be a temporary file; this reads it.
    """
    facts = {
        "source_sha256": file_digest(source.graph),
        "precision": source.precision,
        "batch": "any" if source.config.batch is None else str(source.config.batch),
    }
    if source.precision == "int8":
        facts[QUANTISED_LAYERS] = str(_quantised_layers(source.graph))
    return facts


def _quantised_layers(graph: Path) -> int:
    """Count the convolutions and matrix products whose weights are INT8."""
    import onnx

    nodes = onnx.load(graph).graph.node
    makers = {output: node for node in nodes for output in node.output}

    def quantised(name: str) -> bool:
        maker = makers.get(name)
        while maker is not None and maker.op_type in ("Transpose", "Reshape"):
            maker = makers.get(maker.input[0])
        return maker is not None and maker.op_type == "DequantizeLinear"

    layers = [node for node in nodes if node.op_type in ("Conv", "Gemm", "MatMul")]
    return sum(quantised(node.input[1]) for node in layers)


def draft_manifest(
    source: ExportSource, folder: Path, exporter: Exporter, passport: Mapping[str, str]
) -> Manifest:
    """Return the manifest of the engine in ``folder``; golden vectors are a placeholder record.

    Args:
        source: What it was built from.
        folder: The staged artifact, engine files inside.
        exporter: What built it.
        passport: What it and ``source_facts`` say of it.
    """
    config, checkpoint, precision = source.config, source.checkpoint, source.precision
    digest = FileRecord.of(folder / exporter.engine_file)
    files = {path.name: FileRecord.of(path) for path in folder.iterdir()}
    return Manifest(
        id=f"{checkpoint.schema.name}-{precision}-{exporter.engine}-{digest.sha256[:12]}",
        version=int(time.time()) if config.version is None else config.version,
        schema=checkpoint.schema,
        input=checkpoint.input,
        engine=exporter.engine,
        engine_file=exporter.engine_file,
        precision=precision,
        operating=checkpoint.operating,
        golden_tolerance=_GOLDEN_TOLERANCE.get(precision, _INTEGER_TOLERANCE),
        files={**files, GOLDEN_FILE: digest},
        passport={**passport, **_device()},
        lineage={
            **checkpoint.lineage,
            "export": lineage_entry(config, {"checkpoint": checkpoint.digest}),
        },
    )


def _device() -> Mapping[str, str]:
    """Where the engine was made and proven."""
    here = device()
    return {
        key: " ".join(value) if isinstance(value, list) else str(value)
        for key, value in here.items()
        if key in ("arch", "cpu", "flags")
    }
