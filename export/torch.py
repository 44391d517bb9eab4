"""Write a checkpoint as a PyTorch program: ``python -m export.torch CHECKPOINT --output DIR``.

It is no artifact, no gateway runs it: it is what the artifact of the same checkpoint is measured
against (docs/foreign-models.md). The folder holds ``model.pt2``, and two descriptions of it for
the commands of benchmarks, which show their names: ``DIR-eager.json``, as torch runs it operation
by operation, and ``DIR-compiled.json``, by ``torch.compile``.
"""

from __future__ import annotations

import warnings
from collections.abc import Mapping, Sequence
from contextlib import nullcontext
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, Any, Final, Literal

import torch
import tyro
from torch import Tensor, nn

from benchmarks.arguments import OUTPUT
from benchmarks.command import run_command, say
from benchmarks.report import to_json
from runtime.errors import ConfigError, EngineError
from runtime.schema import INPUT_NAME
from runtime.staging import check_free, new_folder
from train.checkpoint import Checkpoint, load_checkpoint
from train.graph import export_refused
from train.network import DeployedNetwork

__all__ = ["TorchConfig", "export_torch", "main"]

PROG: Final = "python -m export.torch"
ENGINE_FILE: Final = "model.pt2"
DESCRIPTIONS: Final[Mapping[str, bool]] = {"-eager.json": False, "-compiled.json": True}
"""End of a file's name, behind the folder's, to whether torch compiles the program."""
_SCHEMA_FILE: Final = "schema.json"
_TOLERANCE: Final[Mapping[str, float]] = {"fp32": 1e-4, "bf16": 0.05}
"""Most that a logit may differ from the checkpoint's, as a share of the largest."""
_CHECKED: Final = 4


@dataclass(frozen=True, slots=True, kw_only=True)
class TorchConfig:
    """Write a float checkpoint as a PyTorch program, to measure artifacts against."""

    checkpoint: tyro.conf.Positional[Path]
    """Float checkpoint."""
    output: Annotated[Path, OUTPUT]
    """New folder for the program and its descriptions."""
    precision: Literal["fp32", "bf16"] = "fp32"
    """What convolutions and matrix products are computed in; ``bf16`` as torch.autocast does."""
    overwrite: bool = False
    """Replace the output folder."""


class _Program(nn.Module):
    """The deployed network with its precision inside, so that whoever loads it computes in that."""

    def __init__(self, network: nn.Module, precision: str) -> None:
        super().__init__()
        self.network, self._half = network, precision == "bf16"

    def forward(self, image: Tensor) -> tuple[Tensor, ...]:
        """(N, H, W, 3) uint8 BGR to one (N, K) float32 logits per head, in schema order."""
        with torch.autocast("cpu", torch.bfloat16) if self._half else nullcontext():
            logits: tuple[Tensor, ...] = self.network(image)
        return tuple(scores.float() for scores in logits)


def export_torch(config: TorchConfig) -> int:
    """Run the command.

    Returns:
        The exit code.

    Raises:
        CheckpointError: ``checkpoint`` is none.
        ConfigError: it is quantised, or the output exists.
        EngineError: the written program gives other scores than the checkpoint.
    """
    check_free(config.output, overwrite=config.overwrite)
    checkpoint = load_checkpoint(config.checkpoint)
    if checkpoint.quantised:
        raise ConfigError(
            f"{config.checkpoint} holds INT8 decisions, which only ONNX graphs have; write the "
            "float checkpoint that it was quantised from"
        )
    with new_folder(config.output, overwrite=config.overwrite) as folder:
        # Of storage that weights share, and of devices that they might lie on.
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            _write(folder / ENGINE_FILE, checkpoint, config.precision)
        (folder / _SCHEMA_FILE).write_text(to_json(checkpoint.schema.to_object()), encoding="utf-8")
        names = {f"{config.output.name}{end}": flag for end, flag in DESCRIPTIONS.items()}
        for name, compiled in names.items():
            value = _description(checkpoint, config.precision, compiled=compiled)
            (folder / name).write_text(to_json(value), encoding="utf-8")
    files = " ".join(str(config.output / name) for name in names)
    say(f"wrote {config.output}; next: python -m benchmarks.latency ARTIFACT {files}")
    return 0


def _write(path: Path, checkpoint: Checkpoint, precision: str) -> None:
    network = DeployedNetwork(checkpoint.build()).eval()
    example = torch.zeros((2, *checkpoint.input.shape), dtype=torch.uint8)
    try:
        program = torch.export.export(
            _Program(network, precision).eval(),
            (example,),
            dynamic_shapes=({0: torch.export.Dim("batch", min=1)},),
        )
    except RuntimeError as error:  # the root of what it raises
        raise export_refused(error) from error
    torch.export.save(program, path)
    _check(path, network, checkpoint.input.shape, precision)


def _check(path: Path, network: nn.Module, shape: Sequence[int], precision: str) -> None:
    """Fail unless the file scores pictures of noise as the network does, also one alone."""
    random = torch.Generator().manual_seed(0)
    images = torch.randint(0, 256, (_CHECKED, *shape), generator=random, dtype=torch.uint8)
    with torch.inference_mode():
        loaded = torch.export.load(path).module()
        expected = torch.cat(network(images), dim=1)
        found = torch.cat(loaded(images), dim=1)
        alone = torch.cat(loaded(images[:1]), dim=1)
    most = _TOLERANCE[precision] * max(1.0, float(expected.abs().max()))
    apart = max(float((found - expected).abs().max()), float((alone - expected[:1]).abs().max()))
    if not apart <= most:
        raise EngineError(
            f"{path.name}: the program's logits differ by up to {apart:.3g} from the checkpoint's, "
            f"{most:.3g} is allowed in {precision}; this torch version is not supported"
        )


def _description(checkpoint: Checkpoint, precision: str, *, compiled: bool) -> Mapping[str, Any]:
    size = checkpoint.input
    return {
        "format": 1,
        "engine": "torch",
        "file": ENGINE_FILE,
        "compile": compiled,
        "schema": _SCHEMA_FILE,
        "precision": precision,
        "input": {
            "name": INPUT_NAME,
            "layout": "NHWC",
            "dtype": "uint8",
            "colour": "BGR",
            "height": size.height,
            "width": size.width,
            "resize": size.resize,
        },
        "outputs": {
            "scores": "logits",
            "heads": {head.name: place for place, head in enumerate(checkpoint.schema.heads)},
        },
    }


def main(argv: Sequence[str] | None = None) -> int:
    """Run the command line."""
    return run_command(argv, TorchConfig, export_torch, prog=PROG)


if __name__ == "__main__":
    raise SystemExit(main())
