"""``python -m export.tflite CHECKPOINT --validation LIST --output DIR``."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from importlib.metadata import version
from pathlib import Path
from typing import Final, Literal

import numpy as np

from export.artifact import Exporter, ExportSource, run_export
from export.exporter import ExportConfig
from runtime.arrays import Images
from runtime.errors import ConfigError
from train.data import load_crops

from .carrying import carry, read_decisions
from .converting import convert
from .quantising import store_dynamic, store_half, to_integer, with_decisions

__all__ = ["EXPORTER", "TfliteConfig", "main"]

ENGINE_FILE: Final = "model.tflite"
_CALIBRATION_CROPS: Final = 200
"""Of those given, evenly spread; 200 show the range of an activation."""


@dataclass(frozen=True, slots=True, kw_only=True)
class TfliteConfig(ExportConfig):
    """Export for TFLite; a quantised checkpoint becomes INT8, as was decided in compress.

    Raises:
        ConfigError: calibration crops for a graph that needs none.
    """

    batch: int | None = 1
    """Images that the graph takes at once; readers pad to it."""
    io: Literal["float", "uint8", "int8"] = "float"
    """``float``: uint8 images in, float logits out, for CPUs. ``uint8`` and ``int8`` make a graph
    without any float, for accelerators; readers convert the logits."""
    calibration: tuple[Path, ...] = ()
    """Labelled lists of crops for ``--io uint8|int8``: the ranges of activations that compress
    leaves in float, and so did not decide, are measured on these."""

    def __post_init__(self) -> None:
        ExportConfig.__post_init__(self)
        if self.batch is None:
            raise ConfigError("--batch must be a number: a TFLite graph has one size")
        if self.calibration and self.io == "float":
            raise ConfigError(
                "--calibration is for --io uint8 or int8; other graphs take their ranges from the "
                "checkpoint or need none"
            )


def write_tflite(source: ExportSource, folder: Path) -> Mapping[str, str]:
    """Write ``model.tflite`` and return its passport.

    Raises:
        MissingExtraError: the converter is not installed.
        ConfigError: an integer input for a checkpoint that was not quantised.
        EngineError: the network cannot be converted, or ranges are missing.
    """
    config = source.config
    assert isinstance(config, TfliteConfig)  # Exporter.config
    if config.io != "float" and not source.checkpoint.quantised:
        raise ConfigError(
            f"--io {config.io} needs INT8 decisions, and {source.checkpoint.folder} holds none; "
            "run `python -m compress.quantize` first"
        )
    integer = source.precision == "int8" and config.io != "float"
    checkpoint = source.checkpoint
    assert config.batch is not None  # __post_init__
    graph = convert(
        source.network, checkpoint.schema, checkpoint.input, batch=config.batch, integer=integer
    )
    if source.precision == "fp16":
        content = store_half(graph)
    elif source.precision == "dynamic":
        content = store_dynamic(graph)
    elif source.precision == "int8":
        import onnx

        decided = read_decisions(onnx.load(source.graph))
        carried = carry(graph, decided, source.network, checkpoint)
        if integer:
            content = to_integer(graph, carried, _calibration(source, config), config.io)
        else:
            content = with_decisions(graph, carried)
    else:
        content = graph.inlined()
    (folder / ENGINE_FILE).write_bytes(content)
    packages = ("litert-torch", "ai-edge-quantizer", "ai-edge-litert")
    return {"io": config.io, **{name: version(name) for name in packages}}


def _calibration(source: ExportSource, config: TfliteConfig) -> Images | None:
    if not config.calibration:
        return None
    checkpoint = source.checkpoint
    crops = load_crops(
        config.calibration, checkpoint.schema, checkpoint.input, skip_bad=config.skip_bad
    )
    count = min(_CALIBRATION_CROPS, len(crops))
    return crops.images_at(np.linspace(0, len(crops) - 1, count).astype(np.int64))


EXPORTER: Final = Exporter(
    engine="tflite",
    engine_file=ENGINE_FILE,
    write=write_tflite,
    precisions=("fp32", "fp16", "dynamic", "int8"),
    config=TfliteConfig,
)


def main(argv: Sequence[str] | None = None) -> int:
    """Run the command line."""
    return run_export(argv, EXPORTER)
