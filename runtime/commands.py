"""The ``headlight`` command: ``headlight train.fit ...`` is ``python -m train.fit ...``."""

from __future__ import annotations

import runpy
import sys
from collections.abc import Mapping, Sequence
from typing import Final

__all__ = ["COMMANDS", "main"]

COMMANDS: Final[Mapping[str, str]] = {
    "train.synth": "render labelled number plates",
    "train.audit": "check labelled crops before training",
    "train.split": "split labelled crops so that nothing leaks",
    "train.preview": "see crops as training changes them",
    "train.shards": "pack labelled crops into tar shards",
    "train.backbones": "compare networks: parameters, cost, latency",
    "train.fit": "train a network",
    "train.evaluate": "evaluate a checkpoint",
    "train.speed": "training throughput against a plain loop",
    "train.study": "compare settings over several seeds",
    "compress.slim": "remove channels and train on",
    "compress.peers": "the same as torch-pruning would, for comparisons",
    "compress.peers.curves": "accuracy over what was removed, for all ways of a study",
    "compress.layer_costs": "time a network's layers, for slimming to milliseconds",
    "compress.distill": "teach a student",
    "compress.replay": "repeat a checkpoint's chain",
    "compress.quantize": "decide the INT8 form",
    "compress.sensitivity": "what each layer costs each head",
    "compress.search": "find the best artifact that keeps a budget",
    "export.onnx": "export for ONNX Runtime",
    "export.openvino": "export for OpenVINO",
    "export.torch": "write a checkpoint as a PyTorch program, to measure against",
    "export.trt": "export for TensorRT, or make a build kit for a device",
    "export.trt.kit": "build and prove an engine from a build kit",
    "export.readiness": "check an ONNX graph for TensorRT",
    "export.repository": "write a repository for a model server",
    "export.sign": "sign an artifact",
    "export.tflite": "export for TFLite (LiteRT)",
    "export.matrix": "checkpoints x engines x precisions, measured",
    "export.scoreboard": "compare checkpoints and artifacts",
    "benchmarks.accuracy": "measure and judge accuracy",
    "benchmarks.latency": "measure and judge latency",
    "benchmarks.overhead": "what the reader adds to its engine",
    "benchmarks.gateway_load": "what a gateway costs on this machine",
    "benchmarks.serving": "HTTP servers that read crops, compared",
    "benchmarks.track_voting": "what fusing the frames of a vehicle gains",
    "benchmarks.compare": "has NEW become slower or worse than OLD?",
    "benchmarks.report": "join results of commands and devices into one report",
    "benchmarks.foreign": "describe a model that Headlight did not make",
    "benchmarks.peers.benchmark_app": "our timings beside those of OpenVINO's own tool",
    "benchmarks.self_check": "can verdicts on this machine be trusted?",
    "benchmarks.kit": "measure on a device without internet, or over SSH",
    "benchmarks.scaling": "how throughput grows with batch, threads, cameras, size",
    "benchmarks.roofline": "how close engines come to what the processor can do",
    "runtime.show": "verify and print an artifact",
    "runtime.gateway.app": "run a gateway: cameras in, events out",
    "runtime.verify": "check who signed an artifact",
    "runtime.install": "put an artifact into use, or go back",
}
"""Command to what it does."""


def main(argv: Sequence[str] | None = None) -> int:
    """Run one command; without one, list them.

    Returns:
        0 or, for an unknown command, 2; a command itself ends the process with its exit code.
    """
    arguments = list(sys.argv[1:] if argv is None else argv)
    if not arguments or arguments[0] not in COMMANDS:
        width = max(map(len, COMMANDS))
        lines = [f"  {name:<{width}}  {text}" for name, text in COMMANDS.items()]
        text = "\n".join(["usage: headlight COMMAND ...", *lines])
        known = arguments in (["-h"], ["--help"])
        print(text, file=sys.stdout if known else sys.stderr)
        return 0 if known else 2
    # By name and as ``python -m`` would: the runtime must not depend on what is built on top of it.
    sys.argv = [arguments[0], *arguments[1:]]
    runpy.run_module(arguments[0], run_name="__main__", alter_sys=True)
    return 0


if __name__ == "__main__":
    raise SystemExit(main())
