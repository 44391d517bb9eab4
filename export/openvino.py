"""Export for OpenVINO: ``python -m export.openvino CHECKPOINT --validation LIST --output DIR``."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Final

from runtime.engine_imports import import_openvino
from runtime.staging import scratch_folder
from train.int8.requantise import adapt_to

from .artifact import Exporter, ExportSource, run_export

__all__ = ["EXPORTER", "main"]

ENGINE_FILE: Final = "model.xml"


def write_openvino(graph: Path, folder: Path, *, half: bool = False) -> Mapping[str, str]:
    """Write ``model.xml`` and ``model.bin`` and return their passport.

    Args:
        graph: The ONNX file.
        folder: Where to.
        half: Store float weights in FP16.

    Raises:
        EngineUnavailableError: OpenVINO is not installed.
    """
    import onnx

    openvino = import_openvino()
    model = onnx.load(graph)
    adapt_to("openvino", model)
    with scratch_folder() as scratch:
        adapted = scratch / "model.onnx"
        onnx.save(model, adapted)
        converted = openvino.convert_model(adapted)
    openvino.save_model(converted, folder / ENGINE_FILE, compress_to_fp16=half)
    return {"engine": f"openvino {openvino.__version__}", "onnx": onnx.__version__}


def _write(source: ExportSource, folder: Path) -> Mapping[str, str]:
    # BF16 has no storage of its own: the session lets the CPU round. All else stays as decided.
    return write_openvino(source.graph, folder, half=source.precision == "fp16")


EXPORTER: Final = Exporter(
    engine="openvino",
    engine_file=ENGINE_FILE,
    write=_write,
    precisions=("fp32", "fp16", "bf16", "int8"),
)


def main(argv: Sequence[str] | None = None) -> int:
    """Run the command line."""
    return run_export(argv, EXPORTER)


if __name__ == "__main__":
    raise SystemExit(main())
