"""Will TensorRT read this graph as it is meant: ``python -m export.readiness MODEL.onnx``.

Needs no GPU and no TensorRT. What the rules are stands in docs/tensorrt.md.
"""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

import tyro

from benchmarks.command import require_packages, run_command
from runtime.errors import ConfigError, DataError
from runtime.staging import write_text
from train.readiness import Finding, Target, check_readiness

__all__ = ["ReadinessConfig", "main", "readiness"]

PROG: Final = "python -m export.readiness"


@dataclass(frozen=True, slots=True, kw_only=True)
class ReadinessConfig:
    """Check an ONNX graph, float or with Q/DQ nodes, for TensorRT."""

    model: tyro.conf.Positional[Path]
    """The ``.onnx`` file; its weights may lie beside it."""
    target: Target = "10.3"
    """TensorRT version (JetPack 6.1 and 6.2 have 10.3), or ``rtx`` for TensorRT-RTX."""
    output: Path | None = None
    """JSON report to write."""


def readiness(config: ReadinessConfig) -> list[Finding]:
    """Check as ``config`` says and return what was found, errors first.

    Raises:
        DataError: the file cannot be read as an ONNX graph.
        ConfigError: there is no place for the report.
    """
    require_packages("export", "onnx")
    if config.output is not None and not _writable(config.output):
        raise ConfigError(
            f"--output {config.output} is a folder or in none; name a file in a folder that exists"
        )
    model = _load(config.model)
    try:
        findings = check_readiness(model, config.target)
    except DataError as error:
        raise DataError(f"{config.model} is no valid ONNX graph: {error}") from error
    if config.output is not None:
        report = {
            "model": str(config.model),
            "target": config.target,
            "ready": not any(finding.breaks for finding in findings),
            "findings": [finding.to_object() for finding in findings],
        }
        write_text(config.output, json.dumps(report, indent=1) + "\n")
    return findings


def _writable(file: Path) -> bool:
    return file.parent.is_dir() and not file.is_dir()


def _load(path: Path) -> Any:
    import onnx
    from google.protobuf.message import DecodeError  # type: ignore[import-untyped]

    try:
        model = onnx.load(path)
    except (OSError, ValueError, DecodeError, onnx.checker.ValidationError) as error:
        raise DataError(
            f"{path} cannot be read ({error}); expected an ONNX file, external weights beside it"
        ) from error
    if not model.graph.node:
        raise DataError(f"{path} holds no ONNX graph")
    return model


def _work(config: ReadinessConfig) -> int:
    findings = readiness(config)
    for finding in findings:
        print(finding)
    broken = sum(finding.breaks for finding in findings)
    verdict = f"not ready: {broken} rules broken" if broken else "ready"
    print(
        f"{config.model}: {verdict} for TensorRT {config.target}, {len(findings) - broken} warnings"
    )
    return 1 if broken else 0


def main(argv: Sequence[str] | None = None) -> int:
    """Run the command line."""
    return run_command(argv, ReadinessConfig, _work, prog=PROG)
