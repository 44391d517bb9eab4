"""Building an engine in a process of its own, so that a crash of TensorRT is an error here.

TensorRT is a large C++ library that some graphs crash; and what it allocates on the GPU while it
tries kernels is freed for certain only when its process ends.
"""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
from collections.abc import Mapping
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

from runtime.errors import EngineError, HeadlightError
from runtime.staging import scratch_folder, write_bytes
from runtime.trt_module import PACKAGES, import_tensorrt, new_log

from .builder import build_engine
from .options import BuildOptions

__all__ = ["BuildReport", "build_apart"]

_PROGRAM: Final = "import sys; from export.trt.worker import work; work(sys.argv[1])"
_LAST_LINES: Final = 5


@dataclass(frozen=True, slots=True)
class BuildReport:
    """How a build went."""

    version: str
    """Of TensorRT."""
    facts: Mapping[str, str]
    """What the passport should say of the build."""
    log: str
    """What TensorRT said."""


def build_apart(
    graph: Path, target: Path, options: BuildOptions, *, timing_cache: Path | None = None
) -> BuildReport:
    """Build the engine of ``graph`` into the file ``target``.

    Args:
        graph: ONNX file, in the precision of ``options``.
        target: The engine file to write.
        options: How to build.
        timing_cache: File of timings to start from and to add to; made where it is not there.

    Raises:
        EngineError: TensorRT is not installed, refuses the graph, cannot build, or crashed.
    """
    with scratch_folder() as folder:
        request = {
            "graph": graph.name,  # the log names it
            "target": str(target.resolve()),
            "timing_cache": None if timing_cache is None else str(timing_cache.resolve()),
            "options": options.to_object(),
        }
        (folder / "request.json").write_text(json.dumps(request), encoding="utf-8")
        code = _run(folder, graph.parent)
        log = (folder / "build.log").read_text(encoding="utf-8", errors="replace")
        answer = _answer(folder / "answer.json")
    if answer is None:
        raise EngineError(
            f"{PACKAGES[options.engine]} {_ending(code)} while it built {graph.name}; its last "
            f"words: {' | '.join(log.splitlines()[-_LAST_LINES:]) or 'none'}; check the graph with "
            "python -m export.readiness, or try a smaller --profile or --workspace-mb"
        )
    if "error" in answer:
        raise EngineError(answer["error"])
    return BuildReport(answer["version"], answer["facts"], log)


def _run(folder: Path, here: Path) -> int:
    # The child finds the packages where this process found them, installed or not.
    path = os.pathsep.join(str(Path(entry).resolve()) for entry in sys.path)
    with (folder / "build.log").open("wb") as log:
        return subprocess.run(
            [sys.executable, "-c", _PROGRAM, str(folder)],
            cwd=here,
            stdin=subprocess.DEVNULL,
            stdout=log,
            stderr=log,
            env={**os.environ, "PYTHONPATH": path},
            check=False,
        ).returncode


def _answer(path: Path) -> Any:
    return json.loads(path.read_text(encoding="utf-8")) if path.exists() else None


def _ending(code: int) -> str:
    if code < 0:
        with suppress(ValueError):
            return f"crashed ({signal.Signals(-code).name})"
    return f"ended with exit code {code}"


def work(folder: str) -> None:
    """Build as ``request.json`` in ``folder`` says and write ``answer.json``; for the child."""
    try:
        answer = _build(json.loads((Path(folder) / "request.json").read_text(encoding="utf-8")))
    except HeadlightError as error:
        answer = {"error": str(error)}
    write_bytes(Path(folder) / "answer.json", json.dumps(answer).encode())


def _tell(line: str) -> None:
    sys.stdout.write(line + "\n")
    sys.stdout.flush()  # a crash would lose it


def _build(request: Mapping[str, Any]) -> Mapping[str, Any]:
    options = BuildOptions.from_object(request["options"])
    trt = import_tensorrt(options.engine)
    log = new_log(trt, _tell)
    cache = None if request["timing_cache"] is None else Path(request["timing_cache"])
    known = cache.read_bytes() if cache is not None and cache.exists() else b""
    built = build_engine(
        trt, Path(request["graph"]), options, log, None if cache is None else known
    )
    Path(request["target"]).write_bytes(built.plan)
    if cache is not None and built.timing_cache:
        write_bytes(cache, built.timing_cache)
    return {"version": str(trt.__version__), "facts": dict(built.facts)}
