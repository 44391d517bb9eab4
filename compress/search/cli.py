"""Command ``python -m compress.search``: the best artifact that keeps a budget.

Exit codes: 0 found, 1 error or no candidate keeps the budget, 2 usage, 3 the best one breaks no
limit, but not all are proven on this much data or on a machine this busy.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Final

from benchmarks.command import run_command, say
from compress.inheritance import trained_as_before

from .config import SearchConfig
from .search import search

__all__ = ["main"]

PROG: Final = "python -m compress.search"


def main(argv: Sequence[str] | None = None) -> int:
    """Run the command line."""
    return run_command(argv, SearchConfig, _work, prog=PROG, defaults=trained_as_before)


def _work(config: SearchConfig) -> int:
    found = search(config)
    if found is None:
        say("nothing is left to train; the search itself goes on with full trainings")
        return 0
    found.report.show()
    for line in found.lines:
        print(line)
    if found.best is None:
        print(f"wrote {config.output}; loosen the budget or widen --targets and --widths")
    else:
        print(
            f"wrote {config.output}; next, on crops that chose nothing: python -m "
            f"benchmarks.accuracy {config.output / found.folder} --data TEST"
        )
    return found.exit_code
