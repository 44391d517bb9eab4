"""What each layer costs each head: ``python -m compress.sensitivity CHECKPOINT --data A -o DIR``.

Every layer is run in INT8 alone, and every group of tied channels loses its lowest scales alone,
while all others stay as they are. Two things are measured: the accuracy of every head and of exact
answers, and how far the probabilities of every head move (``drops.divergence``), which ranks layers
long before a crop is lost. Layers are called as in the checkpoint and as in the ONNX graph.
"""

from __future__ import annotations

import hashlib
import json
import shutil
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Annotated, Any, Final, Literal

import numpy as np
import tyro

from benchmarks.command import require_packages, run_command, say
from benchmarks.figures import check_matplotlib
from benchmarks.labelled import Targets
from benchmarks.metrics import evaluate
from benchmarks.report import Rows, show_table, to_json
from compress.quantize.decisions import Decisions
from compress.quantize.drops import EXACT, divergence
from compress.slim.groups import find_groups
from compress.slim.scales import channel_scores
from compress.slim.surgery import mask_channels
from runtime.arrays import Images, Logits
from runtime.decode import decode
from runtime.errors import CheckpointError, ConfigError
from runtime.staging import check_free, new_folder, write_text
from train.checkpoint import Checkpoint, load_checkpoint
from train.data import load_crops
from train.lineage import lineage_entry
from train.progress import progress
from train.scoring import score
from train.threads import use_threads

from .heat_map import draw_heat_maps

__all__ = ["SensitivityConfig", "main", "measure_sensitivity"]

PROG: Final = "python -m compress.sensitivity"
_SHOWN: Final = 12
Kind = Literal["quantise", "slim"]
Trial = Callable[[], Logits]


@dataclass(frozen=True, slots=True, kw_only=True)
class SensitivityConfig:
    """Measure what each layer alone costs each head.

    Raises:
        ConfigError: a count or share out of range, or no kind.
    """

    checkpoint: tyro.conf.Positional[Path]
    """Float checkpoint."""
    data: tuple[Path, ...]
    """Labelled lists to measure on; not those of the test."""
    output: Annotated[Path, tyro.conf.arg(aliases=("-o",))]
    """Folder to make: sensitivity.json and pictures. An interrupted run waits in OUTPUT.run and
    goes on from there."""
    kinds: tuple[Kind, ...] = ("quantise", "slim")
    """What to do to a layer."""
    crops: int = 500
    """Crops to draw from the lists."""
    share: float = 0.5
    """Share of a group's channels that slimming takes, in (0, 1)."""
    seed: int = 0
    """Of the draw."""
    threads: int = 0
    """Threads of torch and of ONNX Runtime; 0 for one per core."""
    skip_bad: bool = False
    """Leave bad rows out instead of failing."""
    overwrite: bool = False
    """Replace an existing OUTPUT."""

    def __post_init__(self) -> None:
        if self.crops < 1 or not 0 < self.share < 1 or not self.kinds:
            raise ConfigError(
                f"need --crops >= 1, --share in (0, 1) and a kind, got {self.crops}, {self.share} "
                f"and {list(self.kinds)}"
            )


@dataclass(frozen=True, slots=True)
class _Bench:
    """What is measured against."""

    source: Checkpoint
    images: Images
    targets: Targets
    reference: Logits

    def accuracies(self, logits: Logits) -> dict[str, float]:
        """Return exact and head to accuracy; heads that no crop has a label of are left out."""
        schema = self.source.schema
        found = evaluate(schema, decode(schema, logits, self.source.operating), self.targets)
        heads = {name: head.accuracy for name, head in found.heads.items()}
        shares = {EXACT: found.exact, **heads}
        return {name: share.value for name, share in shares.items() if share.total}

    def row(self, kind: str, layer: str, trial: Trial) -> dict[str, Any]:
        """Try one layer and return what it cost."""
        began = time.monotonic()
        logits = trial()
        return {
            "kind": kind,
            "layer": layer,
            "accuracy": self.accuracies(logits),
            "divergence": divergence(self.source.schema, self.reference, logits),
            "seconds": round(time.monotonic() - began, 2),
        }


def measure_sensitivity(config: SensitivityConfig) -> Mapping[str, Any]:
    """Measure as ``config`` says, write the folder and return the report.

    Raises:
        HeadlightError: bad options, data or checkpoint, or an unfinished run of other settings.
        KeyboardInterrupt: interrupted; the same call goes on.
    """
    check_free(config.output, overwrite=config.overwrite)
    check_matplotlib()
    require_packages("compress", "onnx", "onnxscript")
    use_threads(config.threads)
    source = load_checkpoint(config.checkpoint)
    crops = load_crops(config.data, source.schema, source.input, skip_bad=config.skip_bad)
    order = np.random.default_rng(config.seed).permutation(len(crops))
    index = np.sort(order[: config.crops])
    images = crops.images_at(index)
    bench = _Bench(source, images, crops.targets.take(index), score(source.build(), images))
    identity = f"{source.digest} {crops.digest} {config.crops} {config.share} {config.seed}"
    trials: dict[tuple[str, str], Trial] = {
        (kind, layer): trial
        for kind in config.kinds
        for layer, trial in _TRIALS[kind](bench, config.share).items()
    }
    run = config.output.with_name(config.output.name + ".run")
    rows = _measure(bench, trials, run, hashlib.sha256(identity.encode()).hexdigest())
    report = {
        "crops": len(images),
        "baseline": bench.accuracies(bench.reference),
        "rows": rows,
        **lineage_entry(config, {"checkpoint": source.digest, "data": crops.digest}),
    }
    with new_folder(config.output, overwrite=config.overwrite) as folder:
        (folder / "sensitivity.json").write_text(to_json(report), encoding="utf-8")
        for kind in config.kinds:
            chosen = [row for row in rows if row["kind"] == kind]
            picture = draw_heat_maps(chosen, report["baseline"], _TITLES[kind])
            (folder / f"{kind}.png").write_bytes(picture)
    shutil.rmtree(run, ignore_errors=True)
    return report


def _quantise_trials(bench: _Bench, _: float) -> dict[str, Trial]:
    """Return layer to the scores with it alone in INT8."""
    source = bench.source
    # The ranges of the very crops that are measured: what rounding costs, not a bad calibration.
    decisions = Decisions.measure(source.build(), source.schema, source.input, bench.images)
    return {name: partial(decisions.score, (name,), bench.images) for name in decisions.names}


def _slim_trials(bench: _Bench, share: float) -> dict[str, Trial]:
    """Return group to the scores without the share of its channels whose scales are lowest."""
    network = bench.source.build()
    groups = find_groups(network, bench.source.input)
    scores = channel_scores(network, groups, {})

    def trial(name: str) -> Logits:
        lowest = np.argsort(scores[name], kind="stable")[: max(1, int(share * len(scores[name])))]
        with mask_channels(network, groups, {name: np.sort(lowest).tolist()}):
            return score(network, bench.images)

    return {group.name: partial(trial, group.name) for group in groups}


_TRIALS: Final[Mapping[str, Callable[[_Bench, float], dict[str, Trial]]]] = {
    "quantise": _quantise_trials,
    "slim": _slim_trials,
}
_TITLES: Final = {
    "quantise": "this layer alone in INT8",
    "slim": "this group alone without its lowest scales",
}


def _measure(
    bench: _Bench,
    trials: Mapping[tuple[str, str], Trial],
    run: Path,
    identity: str,
) -> list[dict[str, Any]]:
    """Do the trials that ``run`` has not yet, and return all rows in order."""
    with _journal(run, identity) as (done, note):
        with progress("layers alone", len(trials), len(done)) as bar:
            for (kind, layer), trial in trials.items():
                if (kind, layer) not in done:
                    done[kind, layer] = bench.row(kind, layer, trial)
                    note(done[kind, layer])
                    bar(len(done), layer)
        return [done[key] for key in trials]


@contextmanager
def _journal(
    run: Path, identity: str
) -> Iterator[tuple[dict[tuple[str, str], dict[str, Any]], Callable[[object], None]]]:
    """Yield the rows of an interrupted run, and what writes down another.

    Raises:
        ConfigError: the run is one of other settings or data.
        CheckpointError: it cannot be read.
    """
    path = run / "rows.jsonl"
    done: dict[tuple[str, str], dict[str, Any]] = {}
    run.mkdir(parents=True, exist_ok=True)
    if path.exists():
        first, *lines = path.read_text(encoding="utf-8").splitlines() or [""]
        if first != identity:
            raise ConfigError(
                f"{run} holds an unfinished run of other settings or data; delete the folder to "
                "start anew, or choose another --output"
            )
        try:
            rows = [json.loads(line) for line in lines]
            done = {(row["kind"], row["layer"]): row for row in rows}
        except (ValueError, KeyError, TypeError) as error:
            raise CheckpointError(f"{path} cannot be read: {error}; delete {run}") from error
        say(f"{run}: going on after {len(done)} layers")
    else:
        write_text(path, f"{identity}\n")
    with path.open("a", encoding="utf-8") as stream:

        def note(row: object) -> None:
            stream.write(json.dumps(row) + "\n")
            stream.flush()

        yield done, note


def sensitivity_rows(report: Mapping[str, Any], kind: str) -> Rows:
    """Return table rows of the layers that move the heads most."""
    base = report["baseline"]
    rows = [row for row in report["rows"] if row["kind"] == kind]
    rows.sort(key=lambda row: -sum(row["divergence"].values()))
    table = []
    for row in rows[:_SHOWN]:
        drops = {name: base[name] - value for name, value in row["accuracy"].items()}
        worst = max((name for name in drops if name != EXACT), key=drops.__getitem__)
        table.append(
            {
                "layer": row["layer"],
                "divergence, nats": f"{sum(row['divergence'].values()):.2e}",
                "exact, points": _points(drops[EXACT]),
                "weakest head": f"{worst} {_points(drops[worst])}",
            }
        )
    return table


def _points(drop: float) -> str:
    return f"{-100 * drop + 0:+.2f}"  # + 0: no minus before a zero


def main(argv: Sequence[str] | None = None) -> int:
    """Run the command line."""
    return run_command(argv, SensitivityConfig, _work, prog=PROG)


def _work(config: SensitivityConfig) -> int:
    report = measure_sensitivity(config)
    for kind in config.kinds:
        title = f"{_TITLES[kind]}, {report['crops']} crops, worst {_SHOWN}"
        show_table(title, sensitivity_rows(report, kind))
    print(f"wrote {config.output}")
    return 0
