"""Accuracy over what was removed: ``python -m compress.peers.curves STUDY --output DIR``.

STUDY is the folder of a ``train.study`` whose variants slim one network in several ways, by
``compress.slim`` and ``compress.peers``, by several amounts, for several seeds. Where the study
trained the network itself on as well (``train.fit --init``), the slimmed ones are compared with
that one: what training brings in the meantime is no merit of slimming.
"""

from __future__ import annotations

import io
import json
import re
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Annotated, Any, Final

import numpy as np

from benchmarks.arguments import POSITIONAL
from benchmarks.command import run_command
from benchmarks.figures import check_matplotlib
from benchmarks.report import Rows, markdown_table, show_table, to_json
from runtime.errors import DataError
from runtime.staging import check_free, new_folder
from train.checkpoint import Checkpoint, load_checkpoint

__all__ = ["CurvesConfig", "Slimmed", "main", "table"]

OURS: Final = "headlight"
_HEAD: Final = re.compile(r"accuracy\.head\.[^.]+")


@dataclass(frozen=True, slots=True, kw_only=True)
class CurvesConfig:
    """Draw accuracy over what was removed, for all ways of slimming in a study."""

    study: Annotated[Path, POSITIONAL]
    """Folder of a finished ``train.study``."""
    output: Path
    """Folder to make."""
    overwrite: bool = False
    """Replace an existing OUTPUT."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Slimmed:
    """One slimmed network of a study."""

    method: str
    """``headlight``, with its score where that is not the default, or the pruner of torch-pruning;
    ``+ L1`` after sparsity training."""
    share: float
    """Share of MACs or parameters that was asked for."""
    seed: int
    macs_gone: float
    """Share removed."""
    parameters_gone: float
    """Share removed."""
    pruned: float
    """Exact on validation right after the removal, before any training."""
    points: Mapping[str, float]
    """Test list to exact minus that of the reference of the same seed: of the network before,
    trained on where the study did so."""
    head_points: Mapping[str, float]
    """Test list to the mean accuracy of all heads, minus that of the reference."""
    torch_speedup: float
    """Latency before over after in torch, batch 1, measured while the study ran."""


@dataclass(frozen=True, slots=True)
class _Reached:
    """What a network reached on a list."""

    exact: float
    heads: float
    """Mean accuracy of all heads."""

    @classmethod
    def of(cls, values: Mapping[str, float]) -> _Reached:
        heads = [value for name, value in values.items() if _HEAD.fullmatch(name)]
        return cls(values["accuracy.exact"], _mean(heads))


def read_study(folder: Path) -> list[Slimmed]:
    """Return all slimmed networks of a study.

    Raises:
        DataError: the folder holds no finished study, or one without slimmed networks.
    """
    try:
        runs = json.loads((folder / "study.json").read_text(encoding="utf-8"))["runs"]
    except (OSError, ValueError, KeyError) as error:
        raise DataError(
            f"{folder / 'study.json'} cannot be read ({error}); expected the folder of a finished "
            "`python -m train.study`"
        ) from error
    networks = {
        (run["variant"], run["seed"]): load_checkpoint(folder / f"{run['variant']}-s{run['seed']}")
        for run in runs
    }
    reached = {
        networks[run["variant"], run["seed"]].digest: {
            name: _Reached.of(values) for name, values in run["lists"].items()
        }
        for run in runs
    }
    # The network before goes under its own digest, or what it became with nothing removed.
    references = dict(reached)
    for checkpoint in networks.values():
        start = _last_step(checkpoint).get("inputs", {}).get("init")
        if start in reached:
            references[start] = reached[checkpoint.digest]
    found = [
        _slimmed(checkpoint, seed, reached[checkpoint.digest], references)
        for (_, seed), checkpoint in networks.items()
        if "slim" in checkpoint.metrics
    ]
    if not found:
        raise DataError(f"{folder} holds no slimmed network; its runs are {sorted(networks)}")
    return found


def _last_step(checkpoint: Checkpoint) -> Mapping[str, Any]:
    step: Mapping[str, Any] = list(checkpoint.lineage.values())[-1]
    return step


def _slimmed(
    checkpoint: Checkpoint,
    seed: int,
    reached: Mapping[str, _Reached],
    references: Mapping[str, Mapping[str, _Reached]],
) -> Slimmed:
    step = _last_step(checkpoint)
    config, found = step["config"], checkpoint.metrics["slim"]
    before, after = found["before"], found["after"]
    source = step["inputs"]["checkpoint"]
    if source not in references:
        raise DataError(f"{checkpoint.folder} was slimmed from a network that the study has not")
    method = config.get("pruner", OURS)
    if config["score"] != "auto" and method == OURS:
        method += f" by {config['score']}"
    if config["sparse_steps"] and config["sparsity"]:
        method += " + L1"
    whole = references[source]
    return Slimmed(
        method=method,
        share=config["target_macs"] or config["target"],
        seed=seed,
        macs_gone=1 - after["macs"] / before["macs"],
        parameters_gone=1 - after["parameters"] / before["parameters"],
        pruned=found["exact_before_tuning"],
        points={name: each.exact - whole[name].exact for name, each in reached.items()},
        head_points={name: each.heads - whole[name].heads for name, each in reached.items()},
        torch_speedup=found["latency"]["speedups"]["after"]["value"],
    )


def table(found: Sequence[Slimmed]) -> Rows:
    """Return one row per way and share: means over the seeds, ± their standard deviation."""
    rows = []
    for share in sorted({each.share for each in found}):
        for method in dict.fromkeys(each.method for each in found):
            group = [each for each in found if (each.share, each.method) == (share, method)]
            if not group:
                continue
            row = {
                "asked": f"{share:.0%}",
                "method": method,
                "seeds": str(len(group)),
                "MACs gone": f"{_mean(each.macs_gone for each in group):.1%}",
                "parameters gone": f"{_mean(each.parameters_gone for each in group):.1%}",
                "faster in torch": f"{_mean(each.torch_speedup for each in group):.2f}x",
                "exact before tuning": _spread([each.pruned for each in group]),
            }
            for name in group[0].points:
                change = [100 * each.points[name] for each in group]
                row[f"{name}, exact, points"] = _spread(change, "+.2f")
                change = [100 * each.head_points[name] for each in group]
                row[f"{name}, heads, points"] = _spread(change, "+.2f")
            rows.append(row)
    return rows


def _mean(values: Any) -> float:
    return float(np.mean([*values]))


def _spread(values: Sequence[float], form: str = ".4f") -> str:
    spread = f" ± {np.std(values, ddof=1):{form.lstrip('+')}}" if len(values) > 1 else ""
    return f"{np.mean(values):{form}}{spread}"


def draw(found: Sequence[Slimmed]) -> bytes:
    """Return a PNG: exact before tuning, and the change after it, over the share of MACs gone."""
    from matplotlib.figure import Figure

    lists = [*found[0].points]
    figure = Figure(figsize=(4.6 * (1 + len(lists)), 3.8), layout="constrained")
    left, *right = figure.subplots(1, 1 + len(lists), squeeze=False)[0]
    for number, method in enumerate(dict.fromkeys(each.method for each in found)):
        group = [each for each in found if each.method == method]
        panels = [(left, [each.pruned for each in group])]
        panels += [
            (axes, [100 * each.points[name] for each in group])
            for axes, name in zip(right, lists, strict=True)
        ]
        for axes, values in panels:
            gone = np.array([each.macs_gone for each in group])
            axes.plot(gone, values, ".", color=f"C{number}", alpha=0.6)
            shares = [each.share for each in group]
            means = [
                (
                    _mean(gone[[s == share for s in shares]]),
                    _mean(v for v, s in zip(values, shares, strict=True) if s == share),
                )
                for share in sorted(set(shares))
            ]
            axes.plot(*zip(*means, strict=True), "-", color=f"C{number}", label=method)
    left.set(title="right after the removal", ylabel="exact, validation", xlabel="MACs gone")
    for axes, name in zip(right, lists, strict=True):
        axes.set(title=f"trained on: {name}", ylabel="exact, points", xlabel="MACs gone")
        axes.axhline(0, color="grey", linewidth=0.8)
    for axes in (left, *right):
        axes.grid(alpha=0.3)
    left.legend(fontsize="small")
    stream = io.BytesIO()
    figure.savefig(stream, format="png", dpi=100)
    return stream.getvalue()


def main(argv: Sequence[str] | None = None) -> int:
    """Run the command line."""
    return run_command(argv, CurvesConfig, _work, prog="python -m compress.peers.curves")


def _work(config: CurvesConfig) -> int:
    check_free(config.output, overwrite=config.overwrite)
    check_matplotlib()
    found = read_study(config.study)
    rows = table(found)
    study = json.loads((config.study / "study.json").read_text(encoding="utf-8"))
    record = {
        "title": study["title"],
        "environment": study["environment"],
        "networks": [asdict(each) for each in found],
    }
    text = (
        f"# {study['title']}\n\n{markdown_table(rows)}\n"
        "Means over the seeds ± standard deviation; points: exact, and the mean accuracy of all "
        "heads, on the test list minus that of the network before, trained on as long where the "
        "study did so.\n\n![curves](curves.png)\n"
    )
    with new_folder(config.output, overwrite=config.overwrite) as folder:
        (folder / "curves.png").write_bytes(draw(found))
        (folder / "curves.json").write_text(to_json(record), encoding="utf-8")
        (folder / "curves.md").write_text(text, encoding="utf-8")
    show_table(study["title"], rows)
    print(f"wrote {config.output / 'curves.md'}")
    return 0


if __name__ == "__main__":
    raise SystemExit(main())
