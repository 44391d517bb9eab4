"""Calling exporters: by their command lines, in a process of their own.

``compress`` and ``export`` never import each other (ARCHITECTURE.md), and the contract of an
exporter is its command: a checkpoint folder in, an artifact folder out. One process serves all
calls, because to import torch and the engines takes longer than to export.
"""

from __future__ import annotations

import multiprocessing
import signal
from collections.abc import Sequence
from concurrent.futures import ProcessPoolExecutor
from concurrent.futures.process import BrokenProcessPool
from contextlib import redirect_stderr, redirect_stdout
from importlib import import_module
from pathlib import Path
from types import TracebackType
from typing import Final

from runtime.errors import HeadlightError

__all__ = ["CommandError", "Exports"]

OPEN_GATE: Final = ("--gate.max-flips", "1", "--gate.max-score-difference", "1")
"""For networks that are not finished: how they run counts, not whether rounding changes them."""


class CommandError(HeadlightError):
    """An exporter refused; the message is its own."""


class Exports:
    """Makes artifacts; a context manager that ends its process."""

    def __init__(self) -> None:
        self._pool: ProcessPoolExecutor | None = None

    def __enter__(self) -> Exports:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        if self._pool is not None:
            self._pool.shutdown()

    def export(
        self,
        engine: str,
        checkpoint: Path,
        output: Path,
        *,
        validation: Sequence[Path],
        options: Sequence[str] = (),
    ) -> None:
        """Run ``python -m export.ENGINE``.

        Args:
            engine: Name of the exporter.
            checkpoint: Folder to export.
            output: Artifact folder to make; what the exporter said is kept beside it.
            validation: Lists for its gate and thresholds.
            options: More of its options.

        Raises:
            CommandError: it failed; nothing was made.
        """
        words = [str(checkpoint), "--validation", *map(str, validation), "--output", str(output)]
        log = output.with_name(f"{output.name}.log")
        log.parent.mkdir(parents=True, exist_ok=True)
        if self._pool is None:
            context = multiprocessing.get_context("spawn")
            self._pool = ProcessPoolExecutor(1, mp_context=context, initializer=_ignore_interrupts)
        try:
            code = self._pool.submit(_run, f"export.{engine}", [*words, *options], log).result()
        except BrokenProcessPool as error:
            self._pool = None
            raise CommandError(f"export.{engine} was killed while it made {output}") from error
        if code:
            told = log.read_text(encoding="utf-8").rpartition("error: ")[2].splitlines()
            raise CommandError(f"{told[0] if told else 'it said nothing'} (see {log})")
        log.unlink()


def _ignore_interrupts() -> None:
    """Let Ctrl-C reach the search alone, which waits for the export at hand."""
    signal.signal(signal.SIGINT, signal.SIG_IGN)


def _run(module: str, words: Sequence[str], log: Path) -> int:
    with (
        log.open("w", encoding="utf-8") as stream,
        redirect_stdout(stream),
        redirect_stderr(stream),
    ):
        code: int = import_module(module).main(words)
    return code
