"""Write a folder of synthetic samples, whole or not at all.

::

    DIR/images/000/000000.jpg   one thousand pictures a folder
    DIR/labels.tsv              path<TAB>TEXT,colour,layers (Latin schemas: path<TAB>TEXT)
    DIR/synth.json              what the folder was made from; equal for equal bytes

The folder is built beside its place as ``DIR.partial-PID`` and renamed at the end.
"""

from __future__ import annotations

import json
import multiprocessing
import os
import shutil
import signal
from collections.abc import Callable, Iterator
from concurrent.futures import Future, ProcessPoolExecutor
from concurrent.futures.process import BrokenProcessPool
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

import cv2

from runtime.errors import ConfigError, DataError

from .fonts import FontSet, font_digest
from .render import render

__all__ = ["GENERATOR_VERSION", "Job", "build", "describe", "is_already_there"]

GENERATOR_VERSION: Final = 2
"""Raised with every change that alters the bytes of a sample."""
_JPEG_QUALITY: Final = 95
_CHUNK: Final = 200


@dataclass(frozen=True, slots=True, kw_only=True)
class Job:
    """What to render."""

    schema: str
    """A key of ``render.SCHEMAS``."""
    count: int
    """Number of samples."""
    seed: int
    """Seed of the run."""
    fonts: FontSet
    """Fonts to draw with."""


def describe(job: Job) -> dict[str, Any]:
    """Return the content of ``synth.json``: everything that the bytes depend on."""
    return {
        "schema": job.schema,
        "n": job.count,
        "seed": job.seed,
        "generator_version": GENERATOR_VERSION,
        "fonts": {
            role: [{"path": str(path), "sha256": font_digest(path)} for path in paths]
            for role, paths in (
                ("cjk", job.fonts.cjk),
                ("latin", job.fonts.latin),
                ("words", job.fonts.words),
            )
        },
    }


def is_already_there(target: Path, description: dict[str, Any]) -> bool:
    """Say whether ``target`` holds this very result; False when it is absent or empty.

    Raises:
        DataError: ``target`` holds anything else.
    """
    if not target.exists():
        return False
    if not target.is_dir():
        raise DataError(f"{target}: exists and is not a folder; choose another -o")
    if not any(target.iterdir()):
        return False
    try:
        found = json.loads((target / "synth.json").read_text(encoding="utf-8"))
    except FileNotFoundError:
        raise DataError(f"{target}: is not empty; remove it or choose another -o") from None
    except (OSError, ValueError) as error:
        raise DataError(f"{target}/synth.json: cannot be read ({error})") from error
    if found != description:
        values = found if isinstance(found, dict) else {}
        names = sorted(k for k in description if values.get(k) != description[k])
        raise DataError(
            f"{target}: holds samples of another configuration (differs in "
            f"{', '.join(names) or 'unknown keys'}); remove it or choose another -o"
        )
    return True


def build(
    job: Job, target: Path, *, workers: int, progress: Callable[[int], None] | None = None
) -> None:
    """Render ``job`` into ``target``, which must be absent or empty.

    Args:
        job: What to render.
        target: The folder to make.
        workers: Number of processes; the bytes do not depend on it.
        progress: Called with the number of samples finished since the last call.

    Raises:
        ConfigError: ``job.count``, ``job.seed`` or ``workers`` is out of range.
        DataError: The folder or a picture cannot be written.
    """
    if job.count < 1 or workers < 1 or job.seed < 0:
        raise ConfigError(
            f"n and workers must be at least 1 and seed at least 0, "
            f"got n={job.count}, workers={workers}, seed={job.seed}"
        )
    description = describe(job)
    try:
        with _beside(target) as partial:
            rows: list[str] = []
            for chunk in _chunks(job, partial, workers):
                rows += chunk
                if progress is not None:
                    progress(len(chunk))
            (partial / "labels.tsv").write_text("".join(rows), encoding="utf-8")
            text = json.dumps(description, ensure_ascii=False, indent=2) + "\n"
            (partial / "synth.json").write_text(text, encoding="utf-8")
    except BrokenProcessPool as error:
        raise DataError("a worker process died (out of memory?); try fewer --workers") from error
    except OSError as error:
        raise DataError(f"{target}: cannot be written ({error})") from error


@contextmanager
def _beside(target: Path) -> Iterator[Path]:
    """Yield a temporary sibling that becomes ``target``, or vanishes if the body fails."""
    target = target.absolute()
    target.parent.mkdir(parents=True, exist_ok=True)
    partial = target.with_name(f"{target.name}.partial-{os.getpid()}")
    partial.mkdir()
    try:
        yield partial
        # Renaming onto an empty folder replaces it; onto anything else it fails.
        partial.rename(target)
    except BaseException:
        shutil.rmtree(partial, ignore_errors=True)
        raise


def _chunks(job: Job, folder: Path, workers: int) -> Iterator[list[str]]:
    """Yield the label rows of each chunk, in order of index."""
    starts = range(0, job.count, _CHUNK)
    if workers == 1 or len(starts) == 1:
        for start in starts:
            yield _write_chunk(job, folder, start)
        return
    # Forked children of a threaded parent can deadlock inside OpenCV, so they are spawned.
    pool = ProcessPoolExecutor(
        min(workers, len(starts)),
        mp_context=multiprocessing.get_context("spawn"),
        initializer=_start_worker,
    )
    try:
        with _interrupts_held():
            futures: list[Future[list[str]]] = [
                pool.submit(_write_chunk, job, folder, start) for start in starts
            ]
        for future in futures:
            yield future.result()
    finally:
        # Wait for running chunks, or they would write into a folder that is being removed.
        pool.shutdown(wait=True, cancel_futures=True)


@contextmanager
def _interrupts_held() -> Iterator[None]:
    """Hold SIGINT back; processes started meanwhile never see it.

    Ctrl-C reaches the whole process group, but only the parent may act on it.
    """
    before = signal.pthread_sigmask(signal.SIG_BLOCK, {signal.SIGINT})
    try:
        yield
    finally:
        signal.pthread_sigmask(signal.SIG_SETMASK, before)


def _start_worker() -> None:
    cv2.setNumThreads(1)


def _write_chunk(job: Job, folder: Path, start: int) -> list[str]:
    rows = []
    for index in range(start, min(start + _CHUNK, job.count)):
        image, text, colour, layers = render(job.schema, index, job.seed, fonts=job.fonts)
        name = f"images/{index // 1000:03d}/{index:06d}.jpg"
        path = folder / name
        path.parent.mkdir(parents=True, exist_ok=True)
        _, coded = cv2.imencode(".jpg", image, [cv2.IMWRITE_JPEG_QUALITY, _JPEG_QUALITY])
        path.write_bytes(coded.tobytes())
        label = ",".join(part for part in (text, colour, layers) if part)
        rows.append(f"{name}\t{label}\n")
    return rows
