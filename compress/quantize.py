"""INT8 after training: ``python -m compress.quantize CHECKPOINT --calibration LIST --output DIR``.

One set of decisions for every engine: symmetric ranges, signed 8-bit activations with zero point 0,
weights per output channel, biases left in float. NNCF (the only module that imports it) measures
the ranges on the deployed ONNX graph; its unsigned ranges are rewritten to
signed ones, because TensorRT reads unsigned ones wrongly. The result is a checkpoint whose
``int8.onnx`` exporters translate into the form that their engine runs fastest.
"""

from __future__ import annotations

import contextlib
import io
import logging
import tempfile
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, Any

import numpy as np
import tyro

from benchmarks.command import missing_extra, run_command, say
from benchmarks.compare import flips
from benchmarks.metrics import evaluate
from benchmarks.report import show_table
from runtime.arrays import Images, Logits
from runtime.decode import decode
from runtime.engine_imports import forbid_telemetry
from runtime.errors import ConfigError, MissingExtraError, ParityError
from runtime.session import Session, SessionOptions
from runtime.session_onnx import OnnxSession
from runtime.staging import check_free
from train.checkpoint import QUANTISED_FILE, Checkpoint, load_checkpoint, save_checkpoint
from train.data import CropSet, load_crops
from train.graph import replace_constants, write_graph
from train.lineage import lineage_entry
from train.scoring import score

from .calibration import draw_calibration

__all__ = ["QuantizeConfig", "main", "quantize"]

_BATCH = 64


@dataclass(frozen=True, slots=True, kw_only=True)
class QuantizeConfig:
    """Decide the INT8 form of a checkpoint.

    Raises:
        ConfigError: a checkpoint count or drop out of range.
    """

    checkpoint: tyro.conf.Positional[Path]
    """Float checkpoint to quantise."""
    calibration: tuple[Path, ...]
    """Lists of real crops of the task; ranges are measured on these and nothing else."""
    validation: tuple[Path, ...]
    """Labelled lists on which the drop is measured."""
    output: Path
    """Checkpoint folder to make."""
    samples: int = 300
    """Calibration crops to draw."""
    max_drop: Annotated[float, tyro.conf.arg(name="max-drop")] = 0.01
    """Largest loss of exact answers on validation, as a share; more is an error."""
    seed: int = 0
    """Of the draw."""
    skip_bad: bool = False
    """Leave bad rows out instead of failing."""
    overwrite: bool = False
    """Replace an existing OUTPUT."""

    def __post_init__(self) -> None:
        if self.samples < 1 or not 0 <= self.max_drop <= 1:
            raise ConfigError(
                f"samples must be >= 1 and max-drop in [0, 1], got {self.samples}, {self.max_drop}"
            )


def quantize(config: QuantizeConfig) -> Checkpoint:
    """Quantise as ``config`` says and write a new checkpoint.

    Raises:
        ParityError: the INT8 graph loses more than ``max_drop``; nothing is written.
        HeadlightError: bad options, data or checkpoint.
    """
    check_free(config.output, overwrite=config.overwrite)
    checkpoint = load_checkpoint(config.checkpoint)
    schema, spec = checkpoint.schema, checkpoint.input
    images, digest = draw_calibration(
        config.calibration,
        schema,
        spec,
        count=config.samples,
        seed=config.seed,
        skip_bad=config.skip_bad,
    )
    crops = load_crops(config.validation, schema, spec, skip_bad=config.skip_bad)
    network = checkpoint.build()
    say(f"calibrating on {len(images)} crops")
    with tempfile.TemporaryDirectory() as scratch:
        graph = Path(scratch) / "float.onnx"
        write_graph(network, schema, spec, graph)
        decided = Path(scratch) / QUANTISED_FILE
        decide_int8(graph, images, decided)
        report = _judge(config, checkpoint, crops, decided)
        return save_checkpoint(
            config.output,
            network,
            schema=schema,
            spec=spec,
            config=checkpoint.network,
            slimmed=checkpoint.channels is not None,
            operating=checkpoint.operating,
            metrics={**checkpoint.metrics, "quantize": report},
            lineage={
                **checkpoint.lineage,
                "quantize": lineage_entry(
                    config, {"checkpoint": checkpoint.digest, "calibration": digest}
                ),
            },
            extra_files={QUANTISED_FILE: decided},
            overwrite=config.overwrite,
        )


def decide_int8(graph: Path, images: Images, target: Path) -> None:
    """Write the Q/DQ form of a float ONNX graph.

    Args:
        graph: Deployed float graph.
        images: (N, height, width, 3) uint8 calibration crops.
        target: File to write.

    Raises:
        MissingExtraError: NNCF is not installed.
    """
    forbid_telemetry()
    try:
        import nncf
        import onnx
    except ImportError as error:
        raise MissingExtraError(missing_extra(error.name or "nncf", "compress")) from error
    nncf.set_log_level(logging.ERROR)
    dataset = nncf.Dataset([{"image": image[None]} for image in images])
    with contextlib.redirect_stdout(io.StringIO()):  # its progress bars know no terminal
        quantised = nncf.quantize(
            onnx.load(graph),
            dataset,
            preset=nncf.QuantizationPreset.PERFORMANCE,  # symmetric weights and activations
            target_device=nncf.TargetDevice.CPU,
            subset_size=len(images),
            # Measured on a slimmed plate network (docs/adr/0006): with the correction the mean
            # error of the logits was twice as large as without.
            advanced_parameters=nncf.AdvancedQuantizationParameters(disable_bias_correction=True),
        )
    to_signed(quantised)
    onnx.checker.check_model(quantised, full_check=True)
    onnx.save(quantised, target)


def to_signed(model: Any) -> int:
    """Rewrite unsigned activations with zero point 0 to signed ones, in place.

    The range stays: 255 steps of s become 127 of s * 255/127. Returns how many nodes changed.

    Raises:
        ParityError: an activation is asymmetric, which no symmetric engine can read.
    """
    from onnx import numpy_helper

    graph = model.graph
    values = {entry.name: entry for entry in graph.initializer}
    made: dict[str, Any] = {}
    changed = 0
    for node in graph.node:
        if node.op_type not in ("QuantizeLinear", "DequantizeLinear") or len(node.input) < 3:
            continue
        scale, zero = node.input[1], node.input[2]
        if zero not in values:
            continue
        if numpy_helper.to_array(values[zero]).any():
            raise ParityError(f"{node.name}: asymmetric activation; calibrate symmetrically")
        if numpy_helper.to_array(values[zero]).dtype != np.uint8:
            continue
        wide = numpy_helper.to_array(values[scale]) * np.float32(255 / 127)
        nought = np.zeros_like(numpy_helper.to_array(values[zero]), np.int8)
        made[f"{scale}_signed"] = numpy_helper.from_array(wide, f"{scale}_signed")
        made[f"{zero}_signed"] = numpy_helper.from_array(nought, f"{zero}_signed")
        node.input[1], node.input[2] = f"{scale}_signed", f"{zero}_signed"
        changed += 1
    replace_constants(model, made)
    return changed


def _run(session: Session, crops: CropSet) -> Logits:
    parts = [session.run(images) for images in crops.image_batches(_BATCH)]
    return {name: np.concatenate([part[name] for part in parts]) for name in parts[0]}


def _judge(
    config: QuantizeConfig, checkpoint: Checkpoint, crops: CropSet, decided: Path
) -> Mapping[str, Any]:
    """Compare INT8 with float on validation.

    Raises:
        ParityError: the drop is larger than allowed.
    """
    schema, spec = checkpoint.schema, checkpoint.input
    float_logits = score(checkpoint.build(), crops)
    session = OnnxSession(decided, schema, spec, SessionOptions(threads=2))
    try:
        int8_logits = _run(session, crops)
    finally:
        session.close()
    before = decode(schema, float_logits, checkpoint.operating)
    after = decode(schema, int8_logits, checkpoint.operating)
    rows, exact = [], []
    for name, decoded in (("float", before), ("int8", after)):
        metrics = evaluate(schema, decoded, crops.targets)
        exact.append(metrics.exact.value)
        worst = min(metrics.heads.items(), key=lambda item: item[1].accuracy.value)
        rows.append(
            {
                "network": name,
                "exact": f"{metrics.exact.value:.4f}",
                "weakest head": f"{worst[0]} {worst[1].accuracy.value:.4f}",
            }
        )
    changed = flips(before, after).share.value
    show_table("INT8 against float", rows)
    print(f"answers that differ: {changed:.2%} of {len(crops)}")
    drop = exact[0] - exact[1]
    if not drop <= config.max_drop:
        raise ParityError(
            f"INT8 loses {drop:.4f} exact on {len(crops)} crops, allowed are {config.max_drop}; "
            "calibrate on more or more typical crops, or allow more with --max-drop"
        )
    return {"exact_float": exact[0], "exact_int8": exact[1], "flips": changed, "crops": len(crops)}


def main(argv: Sequence[str] | None = None) -> int:
    """Run the command line."""
    return run_command(argv, QuantizeConfig, _work, prog="python -m compress.quantize")


def _work(config: QuantizeConfig) -> int:
    checkpoint = quantize(config)
    print(f"wrote {checkpoint.folder}; next: python -m export.openvino {checkpoint.folder} --help")
    return 0


if __name__ == "__main__":
    raise SystemExit(main())
