"""Verify an artifact, print what it is, and read pictures with it.

::

    python -m runtime.show runs/plates-int8-openvino --image crop.png other.png
"""

from __future__ import annotations

import argparse
import json
import sys
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

from .errors import HeadlightError
from .golden import GoldenReport, check_golden
from .manifest import Manifest
from .preprocess import load_image
from .printable import printable
from .reader import Reader
from .results import HeadAnswer, Result
from .schema import Head, Reading
from .scores import ACCEPT_NOTHING

__all__ = ["ShowConfig", "main", "show"]

_LINEAGE_WIDTH = 100


@dataclass(frozen=True, slots=True, kw_only=True)
class ShowConfig:
    """What to show."""

    artifact: Path
    images: tuple[Path, ...] = ()
    threads: int = 1


def show(config: ShowConfig) -> bool:
    """Print the artifact and one line per image; return whether every image was read.

    Raises:
        HeadlightError: the artifact is broken, changed, or computes something else here.
    """
    # A trial, because this is where people look at files of others. The golden vectors are checked
    # below, one by one and as a batch: engines may compile both.
    with Reader.open(
        config.artifact, threads=config.threads, check_golden=False, trial=True
    ) as reader:
        reports = [
            check_golden(reader.session, reader.info, config.artifact, batch=batch)
            for batch in (1, reader.max_batch)
        ]
        worst = max(reports, key=lambda report: report.max_abs_diff)
        for name, value in _summary(reader, worst):
            print(f"{name:10} {printable(value)}")
        done = [_read(reader, path) for path in config.images]  # all, whichever fails
        return all(done)


def _summary(reader: Reader, golden: GoldenReport) -> Iterator[tuple[str, str]]:
    manifest, spec = reader.info, reader.info.input
    yield "artifact", f"{manifest.id}, version {manifest.version}"
    engine = dict(reader.engine)
    fallback = engine.pop("fallback", None)
    yield "engine", ", ".join(f"{name} {value}" for name, value in engine.items())
    if fallback is not None:
        yield "fallback", fallback
    yield "precision", manifest.precision
    yield "input", f"{spec.height}x{spec.width} px uint8 BGR, {spec.resize}"
    for head in manifest.schema.heads:
        yield "head", _head(head)
    for reading in manifest.schema.readings:
        yield "reading", _reading(reading)
    yield "operating", _operating(manifest)
    for name, record in manifest.files.items():
        yield "file", f"{name}, {record.size_bytes:,} bytes, sha256 {record.sha256[:12]}... matches"
    yield (
        "golden",
        f"{f'{golden.samples - golden.missed} of ' if golden.missed else ''}{golden.samples} "
        f"samples match: largest probability difference {golden.max_abs_diff:.2g} "
        f"({golden.worst_head}), allowed {golden.tolerance:g}; scores drifted by "
        f"{golden.drift:.2g} of their size",
    )
    for name, value in {**manifest.passport, **manifest.lineage}.items():
        yield "lineage", _shortened(f"{name}: {json.dumps(value, ensure_ascii=False)}")


def _head(head: Head) -> str:
    return _shortened(f"{head.name}: {head.kind} of {head.size}: {' '.join(head.labels)}")


def _reading(reading: Reading) -> str:
    formats = ", ".join(allowed.name for allowed in reading.formats) or "any"
    return f"{reading.name}: {len(reading.heads)} positions, formats: {formats}"


def _operating(manifest: Manifest) -> str:
    point = manifest.operating
    if point.answer_threshold is None:
        return "never fitted: every answer is accepted"
    floor = "" if point.precision_floor is None else f" for precision >= {point.precision_floor:g}"
    if point.answer_threshold == ACCEPT_NOTHING:
        return f"accepts no answer: no confidence was enough{floor} on {point.fitted_on}"
    fitted = "" if point.fitted_on is None else f", fitted on {point.fitted_on}"
    return f"accepts at confidence >= {point.answer_threshold:.4f}{floor}{fitted}"


def _read(reader: Reader, path: Path) -> bool:
    try:
        result = reader.read(load_image(path))
    except HeadlightError as error:
        print(f"error: {path}: {printable(str(error), lines=True)}", file=sys.stderr)
        return False
    print(printable("\t".join([str(path), *_answers(reader, result)])))
    return True


def _answers(reader: Reader, result: Result) -> Iterator[str]:
    if result.text is not None:
        yield result.text
    yield f"{result.confidence:.4f}"
    yield "accepted" if result.accepted else "abstained"
    for head in reader.info.schema.free_heads:
        yield f"{head.name}={_head_answer(result.heads[head.name])}"


def _head_answer(answer: HeadAnswer) -> str:
    return f"{'|'.join(answer.labels) or '-'} ({answer.confidence:.4f})"


def _shortened(text: str) -> str:
    return text if len(text) <= _LINEAGE_WIDTH else text[: _LINEAGE_WIDTH - 3] + "..."


def main(argv: Sequence[str] | None = None) -> int:
    """Run the command; return 0, or 1 after printing ``error: ...``."""
    parser = argparse.ArgumentParser(
        prog="python -m runtime.show", description=(__doc__ or "").partition("\n")[0]
    )
    parser.add_argument("artifact", type=Path, help="artifact folder")
    parser.add_argument("--image", type=Path, nargs="+", default=[], help="pictures to read")
    parser.add_argument("--threads", type=int, default=1, help="threads of the engine")
    options = parser.parse_args(argv)
    config = ShowConfig(
        artifact=options.artifact, images=tuple(options.image), threads=options.threads
    )
    try:
        return 0 if show(config) else 1
    except HeadlightError as error:
        print(f"error: {printable(str(error), lines=True)}", file=sys.stderr)
        return 1


if __name__ == "__main__":
    raise SystemExit(main())
