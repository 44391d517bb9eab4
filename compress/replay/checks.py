"""What differs between a chain as it was recorded and as it is repeated."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from typing import Any, Final

from benchmarks.environment import environment
from benchmarks.report import Rows
from runtime.errors import DataError
from runtime.staging import file_digest
from train.checkpoint import OWN_FILE, QUANTISED_FILE, Checkpoint
from train.data import load_crops

from .steps import Step

__all__ = ["data_differences", "environment_differences", "metric_rows", "weight_rows"]


_DATA: Final[Mapping[str, str]] = {
    **dict.fromkeys(("data", "validation"), "its pictures, their names, labels or repeats"),
    "calibration": "the pixels that are drawn of it",
}
"""Option with data to what its digest is of."""


def environment_differences(steps: Sequence[Step]) -> list[str]:
    """Return how machine, packages and sources differ from the records, each difference once."""
    now = environment()
    found: dict[str, list[str]] = {}
    for step in steps:
        for difference in _changed(step.environment, now):
            found.setdefault(difference, []).append(step.name)
    return [f"{', '.join(names)}: {difference}" for difference, names in found.items()]


def _changed(then: Mapping[str, Any], now: Mapping[str, Any]) -> Iterator[str]:
    for name in ("packages", "device"):
        old, new = then.get(name, {}), now[name]
        for key in [key for key in old if old[key] != new.get(key)]:
            yield f"{key} was {old[key]}, is {new.get(key)}"
    if "git_commit" in then and then["git_commit"] != now["git_commit"]:
        yield f"the sources were at {then['git_commit']}, are at {now['git_commit']}"


def data_differences(steps: Sequence[Step], checkpoint: Checkpoint) -> list[str]:
    """Read the steps' data and return which of it is not what it was.

    Args:
        steps: Steps with the digests of their data.
        checkpoint: What their chain ended in; its schema says what labels mean.

    Raises:
        DataError: data that cannot be read at all.
    """
    found: dict[object, str] = {}
    differences = []
    for step in steps:
        for name, parts in _DATA.items():
            if name not in step.inputs:
                continue
            sources = _sources(step, name)
            key = tuple(sources.items())
            found[key] = found.get(key) or _digest(step, name, sources, checkpoint)
            if found[key] != step.inputs[name]:
                differences.append(
                    f"{step.name}: --{name} is not what it was: {parts} have "
                    f"sha256 {found[key][:12]}..., recorded {step.inputs[name][:12]}..."
                )
    return differences


def _sources(step: Step, name: str) -> dict[str, Any]:
    """Return what decides which crops a step reads."""
    skip_bad = step.config.skip_bad
    if name == "calibration":
        names = ("calibration", "samples", "seed", "skip_bad")
        return {option: getattr(step.config, option) for option in names}
    if name == "validation":
        return {"sources": step.config.validation, "skip_bad": skip_bad}
    training = step.training
    return {
        "sources": training.data,
        "unlabelled": getattr(training, "unlabelled", ()),
        "repeats": training.repeats,
        "skip_bad": skip_bad,
    }


def _digest(step: Step, name: str, sources: Mapping[str, Any], checkpoint: Checkpoint) -> str:
    schema, spec = checkpoint.schema, checkpoint.input
    try:
        if name == "calibration":
            digest: str = step.config.draw(schema, spec).digest
            return digest
        return load_crops(schema=schema, spec=spec, cache_mb=0, **sources).digest
    except DataError as error:
        raise DataError(
            f"data of step {step.name!r}: {error}\nrelative paths count from the folder in which "
            "the chain was run: start the replay there"
        ) from error


def weight_rows(steps: Sequence[Step], made: Sequence[Checkpoint], recorded: Checkpoint) -> Rows:
    """Return a table: whether each step's weights are the recorded ones, bit for bit.

    The last row says the same of the INT8 graphs, where there are some: weights are the float ones.

    Args:
        steps: The steps that were repeated.
        made: What each made.
        recorded: What the last one once made.
    """
    # What a step made is what the next one read.
    following = [step.inputs.get(step.kind.start) for step in steps[1:]]
    rows = []
    for step, checkpoint, digest in zip(steps, made, [*following, recorded.digest], strict=True):
        same = "unknown" if digest is None else "same" if digest == checkpoint.digest else "differ"
        rows.append({"step": step.name, "weights": same, "checkpoint": str(checkpoint.folder)})
    if recorded.quantised:
        equal = _graphs(recorded) == _graphs(made[-1])
        rows[-1] |= {"INT8": "same" if equal else "differ"}
    return rows


def _graphs(checkpoint: Checkpoint) -> list[str]:
    """Return the digests of the INT8 graphs of a checkpoint."""
    paths = [checkpoint.folder / name for name in (QUANTISED_FILE, OWN_FILE)]
    return [file_digest(path) for path in paths if path.is_file()]


def metric_rows(recorded: Checkpoint, made: Checkpoint, command: str) -> Rows:
    """Return a table of numbers then and now.

    Args:
        recorded: The checkpoint of the record.
        made: The one that was made now.
        command: The last step's; of what it measured, single numbers are compared too.
    """
    then, now = (_numbers(checkpoint.metrics, command) for checkpoint in (recorded, made))
    return [
        {
            "metric": name,
            "recorded": f"{value:.4f}",
            "now": f"{now[name]:.4f}" if name in now else "",
            "change": f"{now[name] - value:+.4f}" if name in now else "",
        }
        for name, value in then.items()
    ]


def _numbers(metrics: Mapping[str, Any], command: str) -> dict[str, float]:
    own = metrics.get(command, {})
    values = {
        "exact": metrics.get("exact"),
        **metrics.get("heads", {}),
        **{f"{command}.{name}": value for name, value in own.items()},
    }
    return {name: float(v) for name, v in values.items() if type(v) in (int, float)}
