"""List backbones, their sizes, costs and latencies: ``python -m train.backbones``."""

from __future__ import annotations

from collections.abc import Sequence

from benchmarks.command import run_command, say
from runtime.staging import write_text

from .table import PROG, TableConfig, make_page

__all__ = ["main"]


def main(argv: Sequence[str] | None = None) -> int:
    """Run the command line."""
    return run_command(argv, TableConfig, _work, prog=PROG)


def _work(config: TableConfig) -> int:
    page = make_page(config)
    print(page, end="")
    if config.output is not None:
        write_text(config.output, page)
        say(f"wrote {config.output}; next: python -m train.fit --help")
    return 0


if __name__ == "__main__":
    raise SystemExit(main())
