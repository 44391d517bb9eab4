"""Two artifacts, measured now: timed by turns, and judged on the same crops."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from contextlib import ExitStack
from pathlib import Path
from typing import Any

from benchmarks.assessment import Difference, assess, difference
from benchmarks.budget import Limit
from benchmarks.evaluation.examples import flip_examples
from benchmarks.labelled import LabelledCrops
from benchmarks.scenarios import Turns
from benchmarks.scoring import open_engine, score_crops
from benchmarks.speed import Subject, open_subject

from .racing import Race, Track, noise_floor, race

__all__ = ["compare_answers", "compare_speed"]


def compare_speed(old: Path, new: Path, limits: dict[str, Limit], track: Track) -> list[Race]:
    """Time the engine call and ``Reader.read`` of two artifacts by turns.

    Both get the same crops, OLD's golden ones, enlarged, each in its own input size.

    Args:
        old: Artifact folder.
        new: Artifact folder.
        limits: ``engine`` and ``read``, some of them, to the limit that ends the race.
        track: How to time.

    Raises:
        ArtifactError: a folder is no artifact.
        EngineError: an engine cannot be loaded, or answers wrongly while it is timed.
    """
    with ExitStack() as stack:

        def opened(folder: Path, like: Subject | None = None) -> Subject:
            crops = like.crops if like else ()
            each = open_subject(folder, threads=track.threads, max_batch=1, crops=crops)
            return stack.enter_context(each)

        first = opened(old)
        again, second = opened(old, first), opened(new, first)
        races = []
        for of, limit in limits.items():
            a, b, c = (_query(of, subject) for subject in (first, again, second))
            floor = noise_floor(a, b, track)
            races.append(race(of, a, c, floor, limit, track))
        return races


def _query(of: str, subject: Subject) -> Turns:
    return Turns(subject.engine(1) if of == "engine" else subject.reader)


def compare_answers(
    old: Path, new: Path, data: LabelledCrops, *, threads: int = 1
) -> tuple[Difference, Sequence[Mapping[str, Any]]]:
    """Judge two artifacts, each with its own thresholds, on the same crops.

    Returns:
        The difference, and the crops that they answer differently.

    Raises:
        ArtifactError: a folder is no artifact.
        EngineError: an engine cannot be loaded or run.
    """
    found = []
    for folder in (old, new):
        with open_engine(folder, threads=threads) as (manifest, session):
            logits = score_crops(session, manifest.input, data)
        found.append(assess(data.schema, logits, data.targets, manifest.operating))
    before, after = found
    versus = difference(before, after)
    where = versus.flips.where.tolist()
    return versus, flip_examples(before, after, data.targets, data.paths, where)
