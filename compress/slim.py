"""Slim a checkpoint: ``python -m compress.slim CHECKPOINT --data A --validation B --output DIR``.

Network slimming after Liu et al., "Learning Efficient Convolutional Networks through Network
Slimming", ICCV 2017: train with a penalty that drives the smallest BatchNorm scales to zero,
remove their channels, measure the statistics anew, train on.
"""

from __future__ import annotations

import shutil
from collections.abc import Mapping, Sequence
from contextlib import closing
from dataclasses import dataclass
from itertools import islice
from pathlib import Path
from typing import Any, Final

import torch
from torch import Tensor

from benchmarks.command import run_command, say
from benchmarks.figures import check_matplotlib
from benchmarks.operating_point import fit_operating_point
from benchmarks.report import show_table
from runtime.errors import DataError
from runtime.staging import check_free
from train.augment import augment_batch
from train.checkpoint import Checkpoint, load_checkpoint, save_checkpoint
from train.curves import draw_curves
from train.data import CropSet, load_sets, training_batches
from train.lineage import lineage_entry, plain
from train.loop import LoopConfig, TrainingResult, run_training
from train.network import Network, channel_plan
from train.scoring import Evaluation, evaluate_network

from .comparison import Side, comparison_rows, measure_eager_latency
from .pictures import draw_scales
from .pruning import ChannelChooser, prune
from .slim_config import SlimConfig
from .sparsity import ScaleShrinker, total_rate

__all__ = ["SlimConfig", "main", "slim"]

PROG: Final = "python -m compress.slim"
_STATISTICS_BATCHES: Final = 50
_FAR: Final = 1_000_000
"""Step whose batches measure statistics: no phase trains on it."""


@dataclass(frozen=True, slots=True)
class _Bench:
    """What all phases work on."""

    config: SlimConfig
    source: Checkpoint
    chooser: ChannelChooser
    crops: CropSet
    validation: CropSet
    run: Path

    def train(
        self,
        network: Network,
        name: str,
        loop: LoopConfig,
        identity: Mapping[str, Any],
        **more: Any,
    ) -> TrainingResult:
        return run_training(
            network,
            self.source.schema,
            self.crops,
            self.validation,
            loop,
            self.run / name,
            identity={"phase": f"slim {name}", "from": self.source.digest, **identity},
            title=f"slim {self.config.output.name}: {name}",
            **more,
        )

    def evaluate(self, network: Network) -> Evaluation:
        return evaluate_network(network, self.validation, self.source.schema)

    def statistics_images(self) -> list[Tensor]:
        count, seed = self.config.batch, self.config.seed
        batches = training_batches(
            self.crops, self.config.sampling, batch=count, seed=seed, start=_FAR
        )
        with closing(batches):
            return [
                augment_batch(
                    batch.images,
                    self.config.augment,
                    seed=seed,
                    step=step,
                    rows=(0, count),
                    batch=count,
                )
                for step, batch in enumerate(islice(batches, _STATISTICS_BATCHES), start=_FAR)
            ]


def slim(config: SlimConfig) -> Checkpoint:
    """Slim as ``config`` says and write a checkpoint.

    Raises:
        HeadlightError: bad options, data, or an unfinished run of other settings.
        KeyboardInterrupt: interrupted; the same call goes on.
    """
    check_free(config.output, overwrite=config.overwrite)
    check_matplotlib()
    torch.set_num_threads(config.threads or torch.get_num_threads())
    bench = _open(config)
    source, original = bench.source, bench.source.build()
    before = Side.of(original, source.input, bench.evaluate(original))
    say(f"before: {before.parameters:,} parameters, validation exact {before.exact:.4f}")
    network, scales, history = _sparsify(bench, source.build())
    network, widths, pruned = _prune(bench, network)
    say(f"pruned, statistics measured anew: validation exact {pruned.exact:.4f}")
    evaluation, tuning = _tune(bench, network, pruned)
    history += [{**row, "step": row["step"] + config.sparse_steps} for row in tuning]
    latency = measure_eager_latency(original, network, source.input)
    metrics = {
        "exact": evaluation.exact,
        "heads": dict(evaluation.head_accuracy),
        "history": history,
        "slim": {
            "before": before.to_object(),
            "after": Side.of(network, source.input, evaluation).to_object(),
            "exact_before_tuning": pruned.exact,
            "latency": latency.to_object(),
            "scales": scales,
            "widths": widths,
        },
    }
    checkpoint = _write(bench, network, evaluation, metrics)
    shutil.rmtree(bench.run, ignore_errors=True)
    return checkpoint


def _open(config: SlimConfig) -> _Bench:
    source = load_checkpoint(config.checkpoint)
    chooser = ChannelChooser.of(source.build(), source, config.goal)

    try:
        crops, validation = load_sets(
            config.data,
            config.validation,
            source.schema,
            source.input,
            repeats=config.repeats,
            skip_bad=config.skip_bad,
            cache_mb=config.cache_mb,
        )
    except DataError as error:
        raise DataError(
            f"{error}\n{config.checkpoint} answers the schema {source.schema.name!r} with the "
            f"heads {[head.name for head in source.schema.heads]}; --data and --validation must "
            "fit it"
        ) from error
    run = config.output.with_name(config.output.name + ".run")
    return _Bench(config, source, chooser, crops, validation, run)


def _sparsify(
    bench: _Bench, network: Network
) -> tuple[Network, list[dict[str, Any]], list[Mapping[str, Any]]]:
    """Train scales towards zero; return the network, how its scales went, and the history."""
    config = bench.config
    # The rate stays high: scales fall with it, and the second training anneals it anyway.
    loop = config.phase(max(1, config.sparse_steps), final_lr=config.lr / 4, seed=config.seed)
    chooser = bench.chooser
    strength = config.sparsity / total_rate(loop)
    shrinker = ScaleShrinker(chooser.groups, chooser.units, strength, chooser.choose)
    scales = [{"step": 0, **shrinker.observe(network)}]
    if not config.sparse_steps:
        return network, scales, []
    result = bench.train(
        network,
        "sparse",
        loop,
        {"sparsity": config.sparsity, "goal": plain(config.goal)},
        after_step=shrinker.step,
        observe=shrinker.observe,
        keep="last",
    )
    scales += [{key: row[key] for key in scales[0]} for row in result.history]
    kept = [name for name in result.history[0] if name not in scales[0] or name == "step"]
    return network, scales, [{name: row[name] for name in kept} for row in result.history]


def _prune(
    bench: _Bench, network: Network
) -> tuple[Network, dict[str, tuple[int, int]], Evaluation]:
    """Return the smaller network, widths before and after, and how it does untrained."""
    removed = bench.chooser.choose(network)
    groups = bench.chooser.groups
    widths = {group.name: (group.width, group.width - len(removed[group.name])) for group in groups}
    smaller = prune(network, bench.source, removed, bench.statistics_images())
    return smaller, widths, bench.evaluate(smaller)


def _tune(
    bench: _Bench, network: Network, pruned: Evaluation
) -> tuple[Evaluation, Sequence[Mapping[str, Any]]]:
    """Train the pruned network on; return its evaluation and history."""
    config = bench.config
    if not config.tune_steps:
        return pruned, []
    result = bench.train(
        network,
        "tune",
        config.phase(config.tune_steps, final_lr=config.lr / 100, seed=config.seed + 1),
        {"plan": channel_plan(network), "sparsity": config.sparsity, "steps": config.sparse_steps},
    )
    return result.evaluation, result.history


def _write(
    bench: _Bench, network: Network, evaluation: Evaluation, metrics: Mapping[str, Any]
) -> Checkpoint:
    config, source = bench.config, bench.source
    inputs = {
        "checkpoint": source.digest,
        "data": bench.crops.digest,
        "validation": bench.validation.digest,
    }
    names = ", ".join(map(str, config.validation))
    origin = f"{names}: {len(bench.validation)} crops, sha256 {bench.validation.digest[:12]}"
    pictures = {"scales.png": draw_scales(metrics["slim"]["scales"], metrics["slim"]["widths"])}
    if metrics["history"]:
        pictures["curves.png"] = draw_curves(metrics["history"])
    return save_checkpoint(
        config.output,
        network,
        schema=source.schema,
        spec=source.input,
        config=source.network,
        slimmed=True,
        operating=fit_operating_point(
            source.schema, evaluation.logits, bench.validation.targets, fitted_on=origin
        ),
        metrics=metrics,
        lineage={**source.lineage, _step_name(source): lineage_entry(config, inputs)},
        extra_files=pictures,
        overwrite=config.overwrite,
    )


def _step_name(source: Checkpoint) -> str:
    """``slim``, or ``slim2`` and so on for a checkpoint that was slimmed before."""
    count = sum(name.startswith("slim") for name in source.lineage)
    return f"slim{count + 1}" if count else "slim"


def main(argv: Sequence[str] | None = None) -> int:
    """Run the command line."""
    return run_command(argv, SlimConfig, _work, prog=PROG)


def _work(config: SlimConfig) -> int:
    checkpoint = slim(config)
    found = checkpoint.metrics["slim"]
    rows = comparison_rows(Side(**found["before"]), Side(**found["after"]), found["latency"])
    show_table("Slimming", rows)
    print("latency in engines: export both checkpoints and run python -m benchmarks.latency")
    print(
        f"wrote {checkpoint.folder}; next: python -m compress.quantize {checkpoint.folder} --help"
    )
    return 0


if __name__ == "__main__":
    raise SystemExit(main())
