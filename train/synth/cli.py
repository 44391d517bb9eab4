"""Command ``python -m train.synth``: render labelled plates into a folder."""

from __future__ import annotations

import sys
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, Literal

import tyro

from runtime.cores import own_cores
from runtime.errors import ConfigError, HeadlightError

from .dataset import Job, build, describe, is_already_there
from .fonts import find_fonts
from .render import needs_cjk

__all__ = ["SynthConfig", "main", "synthesize"]


@dataclass(frozen=True, slots=True, kw_only=True)
class SynthConfig:
    """Render synthetic number plates with their labels."""

    schema: tyro.conf.Positional[Literal["cn-plate", "us-plate", "latin-plate"]]
    """What to render."""
    n: Annotated[int, tyro.conf.arg(aliases=["-n"])] = 20_000
    """Number of samples."""
    out: Annotated[Path, tyro.conf.arg(aliases=["-o"])]
    """Folder to make; must be absent, empty, or hold this very result."""
    seed: int = 0
    """Seed; sample i depends only on the seed, i and the fonts."""
    workers: int | None = None
    """Number of processes; default one for each core that this process may use."""
    font: Path | None = None
    """Font for Chinese characters; default those of fonts-noto-cjk and fonts-wqy-*."""

    def __post_init__(self) -> None:
        """Check the ranges.

        Raises:
            ConfigError: A number is out of range.
        """
        for name, value, least in (("-n", self.n, 1), ("--seed", self.seed, 0)):
            if value < least:
                raise ConfigError(f"{name} must be at least {least}, got {value}")
        if self.workers is not None and self.workers < 1:
            raise ConfigError(f"--workers must be at least 1, got {self.workers}")


def synthesize(config: SynthConfig) -> bool:
    """Make the folder; returns False when it was already there.

    Raises:
        ConfigError: A CJK font is needed and missing, or an option cannot work.
        DataError: The folder holds something else or cannot be written.
    """
    fonts = find_fonts(needs_cjk=needs_cjk(config.schema), font=config.font)
    job = Job(schema=config.schema, count=config.n, seed=config.seed, fonts=fonts)
    if is_already_there(config.out, describe(job)):
        return False
    workers = config.workers or len(own_cores())
    with _progress(config.n) as advance:
        build(job, config.out, workers=workers, progress=advance)
    return True


@contextmanager
def _progress(total: int) -> Iterator[Callable[[int], None] | None]:
    """Show a bar where stderr is a terminal."""
    if not sys.stderr.isatty():
        yield None
        return
    from rich.console import Console  # slow to import, and only needed here
    from rich.progress import Progress

    with Progress(console=Console(stderr=True)) as bar:
        task = bar.add_task("render", total=total)
        yield lambda count: bar.advance(task, count)


def main(argv: Sequence[str] | None = None) -> int:
    """Run the command; returns the exit code."""
    try:
        config = tyro.cli(SynthConfig, prog="python -m train.synth", args=argv)
        made = synthesize(config)
    except HeadlightError as error:
        print(f"error: {error}", file=sys.stderr)
        return 1
    except KeyboardInterrupt:
        print("error: interrupted, nothing was written", file=sys.stderr)
        return 1
    except SystemExit as stop:  # tyro leaves this way after --help and usage errors
        return stop.code if isinstance(stop.code, int) else 2
    verb = "wrote" if made else "already there:"
    print(f"{verb} {config.n} samples in {config.out} (python -m train.fit --help)")
    return 0
