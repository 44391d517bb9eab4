"""Slim a checkpoint: ``python -m compress.slim CHECKPOINT --data A --validation B --output DIR``.

Network slimming after Liu et al., "Learning Efficient Convolutional Networks through Network
Slimming", ICCV 2017: train with a penalty that drives the smallest BatchNorm scales to zero,
remove their channels, measure the statistics anew, train on.
"""

from __future__ import annotations

import shutil
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, Final

from torch import Tensor

from benchmarks.command import run_command, say
from benchmarks.figures import check_matplotlib
from benchmarks.operating_point import fit_operating_point
from benchmarks.report import show_table
from compress.distill.distillation import Distillation
from compress.distill.teachers import Teacher, load_teachers, teacher_digests
from compress.inheritance import trained_as_before
from compress.layer_costs.engine_timing import require_engine, time_networks
from runtime.errors import DataError
from runtime.staging import check_free
from train.checkpoint import Checkpoint, load_checkpoint, save_checkpoint
from train.curves import draw_curves
from train.data import CropSet, load_sets
from train.lineage import lineage_entry, plain, step_name
from train.loop import LoopConfig, TrainingResult, run_training
from train.network import Network, channel_plan
from train.scoring import Evaluation, evaluate_network
from train.threads import use_threads

from .comparison import Side, comparison_rows, measure_eager_latency
from .config import SlimConfig
from .latency_goal import LatencyGoal
from .loss_curves import loss_curves
from .pictures import draw_scales
from .pruning import ChannelChooser, PruningGoal, mended, prune
from .recovery import training_images
from .selection import Scores
from .sparsity import ScaleShrinker, total_rate
from .surgery import ChannelGroup, Removed
from .verdict import foreseen, latency_verdict

__all__ = ["Cut", "SlimConfig", "main", "slim"]

Cut = Callable[[Network, Checkpoint, PruningGoal], Network]
"""(network, its checkpoint, what is to go) to a smaller network of the same schema."""

PROG: Final = "python -m compress.slim"
_STATISTICS_BATCHES: Final = 50
_CURVE_BATCHES: Final = 4


@dataclass(frozen=True, slots=True)
class _Bench:
    """What all phases work on."""

    config: SlimConfig
    source: Checkpoint
    chooser: ChannelChooser
    latency: LatencyGoal | None
    teachers: tuple[Teacher, ...]
    crops: CropSet
    validation: CropSet
    run: Path
    peer: Cut | None
    """Cuts in place of ``chooser``."""

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

    def guidance(self, network: Network) -> Distillation | None:
        config, source = self.config, self.source
        if not self.teachers:
            return None
        return Distillation(
            self.teachers, network, source.schema, source.input, config.distill, config.loss
        )

    def evaluate(self, network: Network) -> Evaluation:
        return evaluate_network(network, self.validation, self.source.schema)

    def images(self, number: int) -> list[Tensor]:
        return training_images(
            self.crops, self.config.phase(1, final_lr=self.config.lr, seed=self.config.seed), number
        )


def slim(config: SlimConfig, peer: Cut | None = None) -> Checkpoint:
    """Slim as ``config`` says and write a checkpoint.

    Args:
        config: What to slim, and how.
        peer: Cuts the network instead, all around staying the same, for comparisons.

    Raises:
        HeadlightError: bad options, data, or an unfinished run of other settings.
        KeyboardInterrupt: interrupted; the same call goes on.
    """
    check_free(config.output, overwrite=config.overwrite)
    check_matplotlib()
    use_threads(config.threads)
    bench = _open(config, peer)
    source, original = bench.source, bench.source.build()
    before = Side.of(original, source.input, bench.evaluate(original))
    say(f"before: {before.parameters:,} parameters, validation exact {before.exact:.4f}")
    network, scales, history = _sparsify(bench, source.build())
    result = _shrink(bench, network)
    network, after = result.network, Side.of(result.network, source.input, result.evaluation)
    found: dict[str, Any] = {
        "before": before.to_object(),
        "after": after.to_object(),
        "exact_before_tuning": result.pruned[-1],
        "rounds": result.pruned,
        "latency": measure_eager_latency(original, network, source.input).to_object(),
        "scales": scales,
        "widths": result.widths,
        **_engine_metrics(bench, original, network),
    }
    found["verdict"] = latency_verdict(
        before, after, found["latency"], found.get("engine"), found.get("predicted")
    )
    metrics = {
        "exact": result.evaluation.exact,
        "heads": dict(result.evaluation.head_accuracy),
        "history": history + result.history,
        "slim": found,
    }
    checkpoint = _write(bench, network, result.evaluation, metrics)
    shutil.rmtree(bench.run, ignore_errors=True)
    return checkpoint


def _open(config: SlimConfig, peer: Cut | None) -> _Bench:
    if config.engine is not None:
        require_engine(config.engine)
    source = load_checkpoint(config.checkpoint)
    teachers = load_teachers(config.teacher, source.schema, source.input)
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
    latency = None
    if config.for_latency:
        latency = LatencyGoal.open(source, config.engine, config.costs, run)
    network = source.build()

    def curves(groups: Sequence[ChannelGroup], scores: Scores) -> Mapping[str, Sequence[float]]:
        loop = config.phase(1, final_lr=config.lr, seed=config.seed)
        images = training_images(crops, loop, _CURVE_BATCHES)
        return loss_curves(network, groups, scores, source.schema, images, validation)

    chooser = ChannelChooser.of(
        network,
        source,
        config.goal(latency.whole_ms if latency else 0.0),
        latency=latency.predict if latency else None,
        curves=curves,
    )
    bench = _Bench(config, source, chooser, latency, teachers, crops, validation, run, peer)
    # Both fail now, not after the sparsity training.
    bench.guidance(source.build())
    if peer is not None:
        peer(network, source, chooser.goal.after(1, config.rounds))
    return bench


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
        {"sparsity": config.sparsity, "goal": plain(chooser.goal), "gains": dict(chooser.gains)},
        after_step=shrinker.step,
        observe=shrinker.observe,
        keep="last",
    )
    scales += [{key: row[key] for key in scales[0]} for row in result.history]
    kept = [name for name in result.history[0] if name not in scales[0] or name == "step"]
    return network, scales, [{name: row[name] for name in kept} for row in result.history]


@dataclass(slots=True)
class _Shrunk:
    """What the rounds of removal and training have left."""

    network: Network
    evaluation: Evaluation
    widths: dict[str, tuple[int, int]]
    """Group name to channels before and after; where a peer cut, the name of a layer."""
    pruned: list[float]
    """Validation exact right after each round's removal."""
    history: list[Mapping[str, Any]]


def _shrink(bench: _Bench, network: Network) -> _Shrunk:
    """Remove channels and train on, in as many rounds as asked for."""
    config, chooser = bench.config, bench.chooser
    before = _widths(bench, chooser, network, {})
    after = dict(before)
    images, goal = bench.images(_STATISTICS_BATCHES), chooser.goal
    pruned, history = list[float](), list[Mapping[str, Any]]()
    for number in range(1, config.rounds + 1):
        if number > 1:
            chooser = chooser.following(network, bench.source)
        chooser = replace(chooser, goal=goal.after(number, config.rounds))
        network, kept = _cut(bench, chooser, network, images, last=number == config.rounds)
        after |= kept
        evaluation = bench.evaluate(network)
        pruned.append(evaluation.exact)
        say(f"pruned, statistics measured anew: validation exact {evaluation.exact:.4f}")
        steps = config.sparse_steps + config.tune_steps * (number - 1) // config.rounds
        evaluation, rows = _tune(bench, network, evaluation, number)
        history += [{**row, "step": row["step"] + steps} for row in rows]
    widths = {name: (width, after[name]) for name, width in before.items()}
    return _Shrunk(network, evaluation, widths, pruned, history)


def _cut(
    bench: _Bench,
    chooser: ChannelChooser,
    network: Network,
    images: Sequence[Tensor],
    *,
    last: bool,
) -> tuple[Network, dict[str, int]]:
    """Return the network of a round without the channels that are to go, and its widths."""
    source = bench.source
    if bench.peer is not None:
        smaller = mended(bench.peer(network, source, chooser.goal), network, images)
        return smaller, _widths(bench, chooser, smaller, {})
    if bench.latency is not None and last:
        removed = bench.latency.choose(chooser, network, source, bench.run)
    else:
        removed = chooser.choose(network)
    smaller = prune(network, source, chooser.groups, removed, images)
    return smaller, _widths(bench, chooser, smaller, removed)


def _widths(
    bench: _Bench, chooser: ChannelChooser, network: Network, removed: Removed
) -> dict[str, int]:
    """Return the channels of ``network``: of each group without what was removed.

    A peer need not cut by these groups, of which several may share a layer, so its choice is told
    by their first layers.
    """
    if bench.peer is not None:
        plan = channel_plan(network)
        layers = [next(iter(group.outputs)) for group in chooser.groups]
        return {layer: plan[layer].outputs for layer in layers}
    return {
        group.name: (group.width - len(removed.get(group.name, ()))) * group.channels
        for group in chooser.groups
    }


def _tune(
    bench: _Bench, network: Network, pruned: Evaluation, number: int
) -> tuple[Evaluation, Sequence[Mapping[str, Any]]]:
    """Train the pruned network on in round ``number``; return its evaluation and history."""
    config, rounds = bench.config, bench.config.rounds
    if not config.tune_steps:
        return pruned, []
    steps = config.tune_steps * number // rounds - config.tune_steps * (number - 1) // rounds
    # Only the last round anneals: the ones before are to be trained on.
    final_lr = config.lr / (100 if number == rounds else 4)
    result = bench.train(
        network,
        "tune" if rounds == 1 else f"tune-{number}",
        config.phase(steps, final_lr=final_lr, seed=config.seed + number),
        {"plan": channel_plan(network), "sparsity": config.sparsity, "steps": config.sparse_steps},
        guidance=bench.guidance(network),
    )
    return result.evaluation, result.history


def _engine_metrics(bench: _Bench, original: Network, network: Network) -> dict[str, Any]:
    """Measure both networks in the engine that was asked for, beside what was foreseen."""
    found: dict[str, Any] = {}
    engine: str | None = bench.config.engine
    if bench.latency is not None:
        found["predicted"] = bench.latency.foresight(channel_plan(network))
        engine = engine or bench.latency.engine
    if engine is not None:
        source = bench.source
        networks = {"before": original, "after": network}
        comparison = time_networks(engine, networks, source.schema, source.input)
        found["engine"] = {"name": engine, **comparison.to_object()}
    return found


def _write(
    bench: _Bench, network: Network, evaluation: Evaluation, metrics: Mapping[str, Any]
) -> Checkpoint:
    config, source = bench.config, bench.source
    inputs = {
        "checkpoint": source.digest,
        "data": bench.crops.digest,
        "validation": bench.validation.digest,
        **teacher_digests(bench.teachers),
    }
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
            source.schema,
            evaluation.logits,
            bench.validation.targets,
            fitted_on=bench.validation.origin,
        ),
        metrics=metrics,
        lineage={
            **source.lineage,
            step_name(source.lineage, "peer" if bench.peer else "slim"): lineage_entry(
                config, inputs
            ),
        },
        extra_files=pictures,
        overwrite=config.overwrite,
    )


def main(argv: Sequence[str] | None = None) -> int:
    """Run the command line."""
    return run_command(argv, SlimConfig, _work, prog=PROG, defaults=trained_as_before)


def _work(config: SlimConfig) -> int:
    checkpoint = slim(config)
    found = checkpoint.metrics["slim"]
    before, after = Side(**found["before"]), Side(**found["after"])
    rows = comparison_rows(before, after, found["latency"], found.get("engine"))
    show_table("Slimming", rows)
    print(found["verdict"])
    if "predicted" in found and not found["predicted"]["here"]:
        print(foreseen(found["predicted"]))
    print(
        f"wrote {checkpoint.folder}; next: python -m compress.quantize {checkpoint.folder} --help"
    )
    return 0
