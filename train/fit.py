"""Train a network: ``python -m train.fit plates --data A B --validation C --output DIR``."""

from __future__ import annotations

import shutil
from collections.abc import Sequence
from typing import Any

import torch
import tyro

from benchmarks.command import run_command, say
from benchmarks.figures import check_matplotlib
from benchmarks.operating_point import fit_operating_point
from runtime.errors import ConfigError
from runtime.preprocess import InputSpec
from runtime.schema import Schema
from runtime.staging import check_free

from .checkpoint import Checkpoint, load_checkpoint, save_checkpoint
from .config import FitConfig
from .curves import draw_curves
from .data import CropSet, load_crops
from .labels import resolve_schema
from .lineage import lineage_entry, plain
from .loop import run_training
from .network import build
from .recipes import RECIPES

__all__ = ["fit", "main"]


def fit(config: FitConfig) -> Checkpoint:
    """Train as ``config`` says and write a checkpoint.

    Raises:
        HeadlightError: bad options, data, or an unfinished run of other settings.
        KeyboardInterrupt: interrupted; the same call goes on.
    """
    check_free(config.output, overwrite=config.overwrite)
    check_matplotlib()
    torch.set_num_threads(config.threads or torch.get_num_threads())
    schema = resolve_schema(config.schema, (*config.data, *config.validation))
    spec = InputSpec(height=config.imgsz[0], width=config.imgsz[1], resize=config.resize)
    start = _start(config, schema, spec)
    crops = load_crops(config.data, schema, spec, repeats=config.repeats, skip_bad=config.skip_bad)
    validation = load_crops(config.validation, schema, spec, skip_bad=config.skip_bad)
    say(f"{len(crops)} training crops, {len(validation)} validation crops, schema {schema.name}")
    torch.manual_seed(config.loop.seed)
    network = start.build() if start else build(schema, spec, config.network)
    run = config.output.with_name(config.output.name + ".run")
    result = run_training(
        network,
        schema,
        crops,
        validation,
        config.loop,
        run,
        identity={
            "network": plain(config.network),
            "schema": schema.to_object(),
            "input": spec.to_object(),
            "init": start.digest if start else None,
        },
        title=f"fit {config.output.name}",
    )
    metrics = {
        "exact": result.evaluation.exact,
        "heads": dict(result.evaluation.head_accuracy),
        "best_step": result.best_step,
        "history": list(result.history),
    }
    checkpoint = save_checkpoint(
        config.output,
        network,
        schema=schema,
        spec=spec,
        config=start.network if start else config.network,
        slimmed=start is not None and start.channels is not None,
        operating=fit_operating_point(
            schema,
            result.evaluation.logits,
            validation.targets,
            fitted_on=_origin(config, validation),
        ),
        metrics=metrics,
        lineage={
            **(start.lineage if start else {}),
            "fit": lineage_entry(config, {"data": crops.digest, "validation": validation.digest}),
        },
        extra_files={"curves.png": draw_curves(result.history)},
        overwrite=config.overwrite,
    )
    shutil.rmtree(run)
    return checkpoint


def _start(config: FitConfig, schema: Schema, spec: InputSpec) -> Checkpoint | None:
    if config.init is None:
        return None
    checkpoint = load_checkpoint(config.init)
    checkpoint.require_schema(schema)
    made = checkpoint.input
    # Heads over columns have weights for every column; averages over the height fit any height.
    if checkpoint.network.pool == "columns" and made.width != spec.width:
        raise ConfigError(
            f"{config.init} was trained for {made.height}x{made.width} px, asked for "
            f"{spec.height}x{spec.width}; pass --imgsz {made.height} {made.width}"
        )
    return checkpoint


def _origin(config: FitConfig, validation: CropSet) -> str:
    names = ", ".join(map(str, config.validation))
    return f"{names}: {len(validation)} crops, sha256 {validation.digest[:12]}"


def main(argv: Sequence[str] | None = None) -> int:
    """Run the command line."""
    return run_command(argv, _command_type(), _work, prog="python -m train.fit")


def _command_type() -> Any:
    return tyro.extras.subcommand_type_from_defaults(
        {name: recipe for name, (_, recipe) in RECIPES.items()},
        {name: description for name, (description, _) in RECIPES.items()},
    )


def _work(config: FitConfig) -> int:
    checkpoint = fit(config)
    print(f"validation exact {checkpoint.metrics['exact']:.4f}")
    print(f"wrote {checkpoint.folder}; next: python -m compress.slim {checkpoint.folder} --help")
    return 0


if __name__ == "__main__":
    raise SystemExit(main())
